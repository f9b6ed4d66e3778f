//! Hides what may differ between two runs and nothing else: in INFO ids, ports and versions; in
//! messages reply subjects that the server makes, and times and ids in what it tells of clients.

/// Masked values keep their type and their place.
const MASKED: [&str; 8] =
    ["server_id", "server_name", "version", "go", "port", "client_id", "nonce", "xkey"];
/// Present or not by how the server was built.
const DROPPED: [&str; 1] = ["git_commit"];

/// In JSON that the server puts into messages.
const TOLD: [&str; 8] = ["start", "timestamp", "id", "rtt", "server", "service", "system", "total"];
/// Begins a reply subject that the server makes.
const REPLY: &str = "_R_.";
/// What tells of a client, in a header and in a message.
const ABOUT_CLIENTS: [&str; 2] = ["Nats-Request-Info: {", "{\"type\":\"io.nats.server."];

/// The frame with the varying values replaced; any frame without them as it is.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    let Some(json) = bytes.strip_prefix(b"INFO ") else { return message(bytes) };
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

fn message(bytes: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
    let tells = ABOUT_CLIENTS.iter().any(|mark| text.contains(mark));
    if !text.contains(REPLY) && !tells {
        return bytes.to_vec();
    }
    let (line, rest) = text.split_once("\r\n").unwrap_or((text, ""));
    let is_size = |word: &str| tells && word.bytes().all(|b| b.is_ascii_digit());
    let sizes_from = if line.starts_with("HMSG") { 2 } else { 1 };
    let count = line.split(' ').count();
    let words = line.split(' ').enumerate().map(|(at, word)| match word {
        _ if is_reply(word) => "_R_.*",
        _ if at + sizes_from >= count && is_size(word) => "*",
        _ => word,
    });
    let mut out = words.collect::<Vec<_>>().join(" ");
    out.push_str("\r\n");
    out.push_str(&if tells { told(rest) } else { rest.to_string() });
    out.into_bytes()
}

/// `_R_.account.entry`, the parts as long as the server makes them at least.
fn is_reply(word: &str) -> bool {
    word.strip_prefix(REPLY).is_some_and(|rest| rest.len() > 12 && rest.contains('.'))
}

/// Every `"key":value` of [`TOLD`] with its value replaced. No value has a comma.
fn told(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\":") {
        let (before, after) = rest.split_at(at + 2);
        out.push_str(before);
        rest = after;
        let key = before[..before.len() - 2].rsplit('"').next().unwrap_or_default();
        if TOLD.contains(&key) && !after.starts_with('{') {
            let end = after.find([',', '}']).unwrap_or(after.len());
            out.push_str(masked(&after[..end]));
            rest = &after[end..];
        }
    }
    out + rest
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
    let request = b"HMSG a 1 _R_.abcdef.123456 58 60\r\nNATS/1.0\r\n\
        Nats-Request-Info: {\"start\":\"2026\",\"acc\":\"B\",\"rtt\":12}\r\n\r\nhi\r\n";
    let shown = "HMSG a 1 _R_.* * *\r\nNATS/1.0\r\n\
        Nats-Request-Info: {\"start\":\"*\",\"acc\":\"B\",\"rtt\":0}\r\n\r\nhi\r\n";
    assert_eq!(String::from_utf8_lossy(&frame(request)), shown);
}
