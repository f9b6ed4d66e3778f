//! JSON as nats-server reads it: the case of members' names does not matter, and `null` says
//! nothing. A member that is said twice is refused: which one counts is not for a guess.

use std::fmt::{Formatter, Result as Formatted};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::token::Fault;

/// Objects whose members are called as their maker likes.
const FREE: [&str; 2] = ["revocations", "mappings"];

/// The text's value, names in lower case.
///
/// # Errors
/// It is no JSON, or says something twice.
pub(crate) fn parse(text: &[u8]) -> Result<Value, Fault> {
    let mut from = serde_json::Deserializer::from_slice(text);
    let value = Names::Known.deserialize(&mut from).and_then(|value| from.end().map(|()| value));
    value.map_err(|error| Fault::Malformed(error.to_string()))
}

/// Of the members of an object that may come.
#[derive(Clone, Copy)]
enum Names {
    Known,
    Free,
}

impl<'d> DeserializeSeed<'d> for Names {
    type Value = Value;

    fn deserialize<D: Deserializer<'d>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'d> Visitor<'d> for Names {
    type Value = Value;

    fn expecting(&self, f: &mut Formatter<'_>) -> Formatted {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(Names::Known)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'d>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(mut name) = from.next_key::<String>()? {
            if matches!(self, Names::Known) {
                name.make_ascii_lowercase();
            }
            let free = matches!(self, Names::Known) && FREE.contains(&name.as_str());
            let inner = if free { Names::Free } else { Names::Known };
            let value = from.next_value_seed(inner)?;
            if members.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate member {name:?}")));
            }
            if !value.is_null() {
                members.insert(name, value);
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_in_any_case_and_nothing_twice() {
        let value = parse(br#"{"Exp":1,"sub":null,"nats":{"Pub":{"ALLOW":["A"]}}}"#);
        assert_eq!(value, Ok(json!({ "exp": 1, "nats": { "pub": { "allow": ["A"] } } })));
        let free = parse(br#"{"Revocations":{"Ux":1,"UX":2},"mappings":{"A":[{"Subject":"B"}]}}"#);
        let read = json!({
            "revocations": { "Ux": 1, "UX": 2 }, "mappings": { "A": [{ "subject": "B" }] },
        });
        assert_eq!(free, Ok(read));
        for twice in [r#"{"exp":1,"exp":1}"#, r#"{"exp":1,"EXP":2}"#, r#"{"a":{"b":1,"b":2}}"#] {
            assert!(parse(twice.as_bytes()).is_err(), "{twice}");
        }
        assert!(parse(b"{} {}").is_err());
    }
}
