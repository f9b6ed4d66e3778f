//! Distinguished names: of a certificate's subject, and as an operator writes them (RFC 4514).

/// A distinguished name, the most specific part first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedName(Vec<Part>);

/// One relative name: its attributes, type and value.
pub type Part = Vec<(String, String)>;

impl DistinguishedName {
    /// Of these parts, the most specific first.
    pub fn new(parts: Vec<Part>) -> DistinguishedName {
        DistinguishedName(parts)
    }

    /// `CN=client,OU=tele+L=x,O=acme`; none if it is nothing of the kind.
    pub fn parse(text: &str) -> Option<DistinguishedName> {
        let mut parts = vec![Part::new()];
        let mut rest = text.as_bytes();
        loop {
            let (attribute, end) = attribute(&mut rest)?;
            parts.last_mut()?.push(attribute);
            match end {
                None => return Some(DistinguishedName(parts)),
                Some(b',') => parts.push(Part::new()),
                Some(_) => {}
            }
        }
    }

    /// The same parts in the same order?
    pub fn is_named(&self, text: &str) -> bool {
        Self::parse(text).is_some_and(|other| {
            self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| same(a, b))
        })
    }

    /// The same parts in any order?
    pub fn is_named_in_any_order(&self, text: &str) -> bool {
        let Some(DistinguishedName(mut others)) = Self::parse(text) else { return false };
        let all = self.0.iter().all(|part| {
            let found = others.iter().position(|other| same(part, other));
            found.map(|at| others.swap_remove(at)).is_some()
        });
        all && others.is_empty()
    }
}

/// Attributes in any order, their types in any case.
fn same(a: &Part, b: &Part) -> bool {
    let has = |part: &Part, (kind, value): &(String, String)| {
        part.iter().any(|(k, v)| k.eq_ignore_ascii_case(kind) && v == value)
    };
    a.len() == b.len() && a.iter().all(|x| has(b, x)) && b.iter().all(|x| has(a, x))
}

/// Takes `type=value` and what ended it, `,` or `+`.
fn attribute(rest: &mut &[u8]) -> Option<((String, String), Option<u8>)> {
    let equals = rest.iter().position(|b| *b == b'=')?;
    let kind = std::str::from_utf8(&rest[..equals]).ok()?.trim_matches(' ').to_string();
    if kind.is_empty() || kind.contains([',', '+', '\\']) || rest.get(equals + 1) == Some(&b'#') {
        return None;
    }
    *rest = &rest[equals + 1..];
    let (mut value, mut spaces) = (Vec::new(), 0);
    let end = loop {
        let Some((byte, after)) = rest.split_first() else { break None };
        *rest = after;
        match byte {
            b',' | b'+' => break Some(*byte),
            b' ' if value.is_empty() => continue,
            b'\\' => {
                value.push(escaped(rest)?);
                spaces = 0;
                continue;
            }
            byte => value.push(*byte),
        }
        spaces = if *byte == b' ' { spaces + 1 } else { 0 };
    };
    value.truncate(value.len() - spaces);
    Some(((kind, String::from_utf8(value).ok()?), end))
}

/// The byte that follows a backslash, or that two hexadecimal digits stand for.
fn escaped(rest: &mut &[u8]) -> Option<u8> {
    let (byte, after) = rest.split_first()?;
    if b" \"#+,;<=>\\".contains(byte) {
        *rest = after;
        return Some(*byte);
    }
    let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
    *rest = &rest[2..];
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dn(text: &str) -> DistinguishedName {
        DistinguishedName::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn names_are_compared_part_by_part() {
        let name = dn("CN=a\\,b, OU=x+L=y ,O=acme\\20inc");
        assert!(name.is_named("cn=a\\,b,l=y+ou=x,o=acme inc"));
        assert!(!name.is_named("O=acme inc,OU=x+L=y,CN=a\\,b"));
        assert!(name.is_named_in_any_order("O=acme inc,OU=x+L=y,CN=a\\,b"));
        assert!(!name.is_named_in_any_order("O=acme inc,OU=x+L=y"));
        for bad in ["", "alice", "CN", "=x", "CN=a,", "CN=#04", "CN=\\zz", "CN=\\"] {
            assert_eq!(DistinguishedName::parse(bad), None, "{bad}");
        }
    }

    /// A separator inside a name makes no other name of it, nor do more names.
    #[test]
    fn advisory_2026_13_separators_in_names_are_none() {
        let forged = dn("CN=a\\,O=acme");
        for name in ["CN=a,O=acme", "O=acme,CN=a", "CN=a", "CN=a+O=acme"] {
            assert!(!forged.is_named(name) && !forged.is_named_in_any_order(name), "{name}");
        }
        assert!(forged.is_named("CN=a\\,O=acme"));
        for more in ["CN=a,O=acme,CN=a", "CN=a,O=acme,O=acme", "CN=a,CN=a,O=acme"] {
            assert!(!dn(more).is_named_in_any_order("CN=a,O=acme"), "{more}");
            assert!(!dn("CN=a,O=acme").is_named_in_any_order(more), "{more}");
        }
    }
}
