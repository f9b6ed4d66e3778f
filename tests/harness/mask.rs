//! Hides in INFO what may differ between two runs (ids, ports, versions) and nothing else.

/// Masked values keep their type and their place.
const MASKED: [&str; 8] =
    ["server_id", "server_name", "version", "go", "port", "client_id", "nonce", "xkey"];
/// Present or not by how the server was built.
const DROPPED: [&str; 1] = ["git_commit"];

/// The frame with the varying values of an INFO replaced; any other frame as it is.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    let Some(json) = bytes.strip_prefix(b"INFO ") else { return bytes.to_vec() };
    let Some(end) = json.iter().rposition(|b| *b == b'}') else { return bytes.to_vec() };
    let Some(fields) = object(&json[..=end]) else { return bytes.to_vec() };
    let mut out = b"INFO {".to_vec();
    for (key, value) in fields.iter().filter(|(key, _)| !DROPPED.contains(&key.as_str())) {
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        let value = if MASKED.contains(&key.as_str()) { masked(value) } else { value };
        out.extend_from_slice(format!("\"{key}\":{value}").as_bytes());
    }
    out.push(b'}');
    out.extend_from_slice(&json[end + 1..]);
    out
}

fn masked(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'"') if value.len() > 2 => "\"*\"",
        Some(b'"') => "\"\"",
        Some(b'[') => "[*]",
        _ => "0",
    }
}

/// The members of a JSON object, in order, values as written; `None` if it isn't one.
pub fn object(json: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(json).ok()?.trim();
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    split_top(inner).into_iter().filter(|part| !part.trim().is_empty()).map(member).collect()
}

fn member(part: &str) -> Option<(String, String)> {
    let rest = part.trim().strip_prefix('"')?;
    let (key, value) = rest.split_once('"')?;
    Some((key.to_string(), value.trim_start().strip_prefix(':')?.trim().to_string()))
}

/// Splits at the commas that are inside no string, array or object.
pub fn split_top(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

#[test]
fn only_what_varies_is_hidden() {
    let info = b"INFO {\"server_id\":\"NA,}\",\"git_commit\":\"x\",\
        \"proto\":1,\"port\":42,\"l\":[1,2]} \r\n";
    let shown = b"INFO {\"server_id\":\"*\",\"proto\":1,\"port\":0,\"l\":[1,2]} \r\n";
    assert_eq!(frame(info), shown);
    assert_eq!(frame(b"MSG a 1 0\r\n\r\n"), b"MSG a 1 0\r\n\r\n");
    assert_eq!(object(b"[1]"), None);
}
