//! TOML, the second syntax: same keys, same values, chosen by the file's `.toml` ending. It has no
//! variables, includes or size suffixes.

use std::path::Path;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::{Data, Fault, Map, Position, Value};

/// # Errors
/// The first mistake, with its place.
pub fn parse_file(path: &Path) -> Result<Map, Fault> {
    let bytes = std::fs::read(path)
        .map_err(|error| Fault::nowhere(super::conf::unreadable(path, &error)))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Fault::nowhere(format!("{}: a TOML file must be UTF-8", path.display())))?;
    parse_text(path, &text)
}

/// # Errors
/// The first mistake, with its place.
pub fn parse_text(path: &Path, text: &str) -> Result<Map, Fault> {
    let places = Places { file: Rc::from(path.to_string_lossy().as_ref()), text };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map(|span| places.position(span.start));
        Fault { at, message: error.message().lines().collect::<Vec<_>>().join(", ") }
    })?;
    places.map(table.get_ref())
}

struct Places<'t> {
    file: Rc<str>,
    text: &'t str,
}

impl Places<'_> {
    fn position(&self, offset: usize) -> Position {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        Position {
            file: self.file.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(before.len() - line_start + 1).unwrap_or(u32::MAX),
        }
    }

    fn map(&self, table: &DeTable<'_>) -> Result<Map, Fault> {
        let mut map = Map::new();
        for (key, value) in table {
            let at = self.position(key.span().start);
            map.insert(key.get_ref().to_string(), Value::new(self.data(value)?, at));
        }
        Ok(map)
    }

    fn data(&self, value: &Spanned<DeValue<'_>>) -> Result<Data, Fault> {
        let at = self.position(value.span().start);
        let fault = |message: String| Fault { at: Some(at.clone()), message };
        Ok(match value.get_ref() {
            DeValue::String(text) => Data::Text(text.to_string()),
            DeValue::Integer(integer) => {
                let number = i64::from_str_radix(integer.as_str(), integer.radix());
                Data::Integer(
                    number
                        .map_err(|_| fault(format!("integer '{integer}' is out of the range")))?,
                )
            }
            DeValue::Float(float) => {
                let number = float.as_str().parse::<f64>().ok().filter(|number| number.is_finite());
                Data::Float(
                    number.ok_or_else(|| {
                        fault(format!("'{float}' is not a number to configure with"))
                    })?,
                )
            }
            DeValue::Boolean(flag) => Data::Bool(*flag),
            DeValue::Datetime(date) => Data::Date(date.to_string()),
            DeValue::Array(items) => {
                let item =
                    |item| Ok(Value::new(self.data(item)?, self.position(item.span().start)));
                Data::Array(items.iter().map(item).collect::<Result<Vec<_>, Fault>>()?.into())
            }
            DeValue::Table(table) => Data::Map(Rc::new(self.map(table)?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_places() {
        let text = "listen = \"127.0.0.1:4222\"\nport = 4_222\ndebug = true\n[shards]\ncount = 2\n";
        let map = parse_text(Path::new("a.toml"), text).unwrap();
        assert_eq!(map["port"].data, Data::Integer(4222));
        assert_eq!(map["debug"].at.to_string(), "a.toml:3:1");
        let Data::Map(shards) = &map["shards"].data else { panic!("shards is a map") };
        assert_eq!(shards["count"].data, Data::Integer(2));
        assert_eq!(shards["count"].at.to_string(), "a.toml:5:1");
    }

    #[test]
    fn faults_have_places() {
        for (text, at) in
            [("port = ", "a.toml:1:"), ("a = 1\na = 2", "a.toml:2:1"), ("x = nan", "a.toml:1:5")]
        {
            let fault = parse_text(Path::new("a.toml"), text).unwrap_err();
            assert!(fault.to_string().starts_with(at), "{text:?}: {fault}");
        }
    }
}
