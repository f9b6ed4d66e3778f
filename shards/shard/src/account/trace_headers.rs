//! Headers of tracing systems that ask for a request to be measured.

use std::collections::BTreeMap;

/// Headers by their names in canonical form.
type Headers = BTreeMap<String, Vec<String>>;

const UBER: &str = "Uber-Trace-Id";
const UBER_CONTEXT: &str = "Uberctx-";
const B3: &str = "B3";
const B3_SAMPLED: &str = "X-B3-Sampled";
const B3_TRACE: &str = "X-B3-Traceid";
const B3_ALL: [&str; 4] = [B3_SAMPLED, B3_TRACE, "X-B3-Parentspanid", "X-B3-Spanid"];
const CONTEXT: &str = "Traceparent";
const CONTEXT_STATE: &str = "Tracestate";

/// Those that ask for a measurement; none if none does. The first system found decides.
pub(crate) fn asked_for(header: &[u8]) -> Option<Headers> {
    let headers = read(header);
    let first = |name: &str| headers.get(name).and_then(|values| values.first());
    let only = |keep: &dyn Fn(&str) -> bool| {
        let kept = headers.iter().filter(|(name, _)| keep(name));
        Some(kept.map(|(name, values)| (name.clone(), values.clone())).collect())
    };
    if let Some(id) = first(UBER) {
        let keep = |name: &str| name == UBER || name.starts_with(UBER_CONTEXT);
        return if uber_samples(id) { only(&keep) } else { None };
    }
    match first(B3_SAMPLED).map(String::as_str) {
        Some("1") => return only(&|name| B3_ALL.contains(&name)),
        Some("0") => return None,
        _ if headers.contains_key(B3_TRACE) => return only(&|name| B3_ALL.contains(&name)),
        _ => {}
    }
    if let Some(b3) = first(B3) {
        let parts: Vec<&str> = b3.split('-').collect();
        let denied = parts.get(2) == Some(&"0") || parts[..] == ["0"];
        return if denied { None } else { only(&|name| name == B3) };
    }
    let parts: Vec<&str> = first(CONTEXT)?.split('-').collect();
    let [_, _, _, flags] = parts[..] else { return None };
    let samples = flags.len() == 2 && i8::from_str_radix(flags, 16).is_ok_and(|f| f & 1 == 1);
    let keep = |name: &str| name == CONTEXT || name == CONTEXT_STATE;
    if samples { only(&keep) } else { None }
}

/// `trace:span:parent:flags`, the last bit of the flags.
fn uber_samples(id: &str) -> bool {
    let parts: Vec<&str> = id.split(':').collect();
    let [_, _, _, flags] = parts[..] else { return false };
    let is_hex = !flags.is_empty() && flags.bytes().all(|byte| byte.is_ascii_hexdigit());
    let flags = if is_hex && flags.len() <= 2 { u8::from_str_radix(flags, 16) } else { Ok(0) };
    flags.is_ok_and(|flags| flags & 1 == 1)
}

fn read(header: &[u8]) -> Headers {
    let mut headers = Headers::new();
    let text = String::from_utf8_lossy(header);
    for line in text.split("\r\n").skip(1) {
        if let Some((name, value)) = line.split_once(':') {
            let value = value.trim_matches([' ', '\t']).to_string();
            headers.entry(canonical(name)).or_default().push(value);
        }
    }
    headers
}

/// As Go writes names: each word begins with a capital, the rest is small.
fn canonical(name: &str) -> String {
    let mut start = true;
    let letter = |c: char| {
        let made = if start { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        start = c == '-';
        made
    };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tracing_system_decides() {
        let asked = |lines: &str| {
            let found = asked_for(format!("NATS/1.0\r\n{lines}\r\n").as_bytes());
            found.map(|headers| headers.into_keys().collect::<Vec<_>>().join(" "))
        };
        let yes = |names: &str| Some(names.to_string());
        assert_eq!(asked("a: b\r\n"), None);
        let uber = "Uber-Trace-Id: 479fefe9525eddb:5adb976bfc1f95c1:479fefe9525eddb:1\r\n";
        assert_eq!(asked(uber), yes("Uber-Trace-Id"));
        assert_eq!(asked(&format!("{uber}Uberctx-X: foo\r\n")), yes("Uber-Trace-Id Uberctx-X"));
        assert_eq!(asked("uber-trace-id: a:b:c:0\r\nX-B3-Sampled: 1\r\n"), None);
        assert_eq!(asked("x-b3-sampled: 1\r\n"), yes("X-B3-Sampled"));
        assert_eq!(asked("X-B3-Sampled: 0\r\nX-B3-TraceId: 80f198\r\n"), None);
        assert_eq!(asked("X-B3-TraceId: 80f198\r\n"), yes("X-B3-Traceid"));
        assert_eq!(asked("b3: 80f1-e457-1-05e3\r\n"), yes("B3"));
        assert_eq!(asked("b3: 0\r\n"), None);
        assert_eq!(asked("b3: 80f1-e457-0-05e3\r\n"), None);
        assert_eq!(asked("traceparent: 00-4bf9-00f0-01\r\n"), yes("Traceparent"));
        assert_eq!(asked("traceparent: 00-4bf9-00f0-00\r\n"), None);
    }
}
