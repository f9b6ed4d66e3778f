//! As much of HTTP/1.1 as a monitoring endpoint needs: requests cut out of a byte stream, responses
//! put together. Bodies of requests are skipped.

use std::io::Write;

use crate::duration::http_date;
use crate::query::{Query, unescape};

/// Longest request line and headers taken, bytes; longer ones are refused with 431.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Longest request body skipped, bytes; after a longer one the connection is closed.
pub const BODY_BYTES_MAX: u64 = 256 * 1024;
/// Most headers of one request.
const HEADERS_MAX: usize = 128;

/// The kinds of request that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Anything that is answered like GET, as nats-server does.
    Get,
    /// The response has no body.
    Head,
    /// Asks for what no resource has: `CONNECT host:port`.
    Connect,
}

/// How a response must be written for the request it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Of HTTP/1.0, which closes unless told otherwise.
    pub http10: bool,
    /// Headers only.
    pub head: bool,
    /// More requests may follow. When false, close after the response.
    pub keep_alive: bool,
}

impl Framing {
    /// For the answer to something that is not a request.
    pub const LAST: Framing = Framing { http10: false, head: false, keep_alive: false };
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// The path without its escapes; `*` for a request about the whole server.
    pub path: String,
    /// The path as it came.
    pub raw_path: String,
    /// The query as it came, without `?`.
    pub raw_query: String,
    /// The query's values.
    pub query: Query,
    /// For the response.
    pub framing: Framing,
}

/// What [`Requests::pull`] found.
#[derive(Debug)]
pub enum Next {
    /// Answer it, then ask for the next if its framing keeps the connection.
    Request(Box<Request>),
    /// Nothing yet: read more from the socket.
    More,
    /// Not a request that can be answered: write this with [`Framing::LAST`] and close.
    Refuse(Response),
}

/// Cuts a byte stream into requests.
///
/// Holds at most what was pushed since [`Next::More`] and [`HEAD_BYTES_MAX`]: push only after it.
#[derive(Debug, Default)]
pub struct Requests {
    bytes: Vec<u8>,
    /// Bytes of the buffer known not to end a head.
    scanned: usize,
    /// Bytes of a body still to be skipped.
    skip: u64,
}

impl Requests {
    /// For a new connection.
    pub fn new() -> Requests {
        Requests::default()
    }

    /// Takes what came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next request of what has been pushed.
    pub fn pull(&mut self) -> Next {
        self.skip_body();
        self.skip_blank_lines();
        let Some(end) = self.head_end() else {
            if self.bytes.len() > HEAD_BYTES_MAX {
                return Next::Refuse(Response::head_too_large());
            }
            return Next::More;
        };
        if end > HEAD_BYTES_MAX {
            return Next::Refuse(Response::head_too_large());
        }
        match parse(&self.bytes[..end]) {
            Ok((request, body_len)) => {
                self.bytes.drain(..end);
                self.scanned = 0;
                self.skip = body_len;
                Next::Request(Box::new(request))
            }
            Err(response) => Next::Refuse(response),
        }
    }

    fn skip_body(&mut self) {
        let now = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.drain(..now);
        self.skip -= now as u64;
    }

    /// Some clients send a line end after a body.
    fn skip_blank_lines(&mut self) {
        let blank = self.bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 {
            self.bytes.drain(..blank);
            self.scanned = 0;
        }
    }

    /// Where the empty line after the headers ends.
    fn head_end(&mut self) -> Option<usize> {
        while let Some(at) = self.bytes[self.scanned..].iter().position(|byte| *byte == b'\n') {
            let rest = self.scanned + at + 1;
            match &self.bytes[rest..] {
                [b'\n', ..] => return Some(rest + 1),
                [b'\r', b'\n', ..] => return Some(rest + 2),
                // The empty line may be under way: look at this line end again.
                [] | [b'\r'] => return None,
                _ => self.scanned = rest,
            }
        }
        self.scanned = self.bytes.len();
        None
    }
}

/// A whole head, and how long the body after it is.
fn parse(head: &[u8]) -> Result<(Request, u64), Response> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::Version) => return Err(Response::version_unsupported()),
        Err(httparse::Error::TooManyHeaders) => return Err(Response::head_too_large()),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Response::malformed()),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(Response::malformed());
    };
    let fields = Fields::gather(parsed.headers)?;
    let http10 = parsed.version == Some(0);
    if !fields.host && !http10 {
        return Err(Response::host_missing());
    }
    let framing = Framing {
        http10,
        head: method == "HEAD",
        keep_alive: fields.keep_alive(http10) && method != "CONNECT",
    };
    Ok((request(method, target, framing)?, fields.body_len))
}

fn request(method: &str, target: &str, framing: Framing) -> Result<Request, Response> {
    let method = match method {
        "HEAD" => Method::Head,
        "CONNECT" => Method::Connect,
        _ => Method::Get,
    };
    let target = match method {
        Method::Connect => "",
        _ => origin_form(target).ok_or_else(Response::malformed)?,
    };
    let (raw_path, raw_query) = target.split_once('?').unwrap_or((target, ""));
    let path = unescape(raw_path, false).ok_or_else(Response::malformed)?;
    Ok(Request {
        method,
        path: crate::json::text(&path),
        raw_path: raw_path.to_owned(),
        raw_query: raw_query.to_owned(),
        query: Query::parse(raw_query),
        framing,
    })
}

/// The part of a target from the path on; `*` stays.
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') || target == "*" {
        return Some(target);
    }
    let rest = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"))?;
    Some(rest.find('/').map_or("/", |at| &rest[at..]))
}

/// The headers that matter here.
#[derive(Default)]
struct Fields {
    host: bool,
    body_len: u64,
    has_body_len: bool,
    close: bool,
    keep: bool,
}

impl Fields {
    fn gather(headers: &[httparse::Header<'_>]) -> Result<Fields, Response> {
        let mut fields = Fields::default();
        for header in headers {
            fields.take(header).ok_or_else(Response::malformed)?;
        }
        // A body that is too long or of unknown length is not waited for.
        fields.close |= fields.body_len > BODY_BYTES_MAX;
        Ok(fields)
    }

    /// None if the header makes the request ambiguous.
    fn take(&mut self, header: &httparse::Header<'_>) -> Option<()> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let value = header.value.trim_ascii();
        if is("host") {
            return (!std::mem::replace(&mut self.host, true)).then_some(());
        }
        if is("content-length") {
            let text = str::from_utf8(value).ok()?;
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let len = digits.then(|| text.parse().ok())??;
            let first = !std::mem::replace(&mut self.has_body_len, true);
            if !first && len != self.body_len {
                return None;
            }
            self.body_len = len;
        } else if is("transfer-encoding") || is("expect") {
            self.close = true;
        } else if is("connection") {
            for option in value.split(|byte| *byte == b',') {
                self.close |= option.trim_ascii().eq_ignore_ascii_case(b"close");
                self.keep |= option.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Some(())
    }

    fn keep_alive(&self, http10: bool) -> bool {
        !self.close && (!http10 || self.keep)
    }
}

/// Sends a request for an unclean path, as `//varz`, to the clean one.
pub(crate) fn redirect(request: &Request) -> Option<Response> {
    if request.method == Method::Connect || request.raw_path == "*" {
        return None;
    }
    let mut clean = clean_path(&request.raw_path);
    if request.raw_path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    if clean == request.raw_path {
        return None;
    }
    if !request.raw_query.is_empty() {
        clean.push('?');
        clean.push_str(&request.raw_query);
    }
    Some(Response::redirect(clean))
}

/// Absolute, with no empty, `.` or `..` segment and no `/` at the end.
pub(crate) fn clean_path(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Escapes text for HTML, attributes included.
pub(crate) fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(char),
        }
    }
    out
}

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// A response, not yet bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// As in `200`.
    pub status: u16,
    /// Of the body.
    pub content_type: &'static str,
    /// One more header.
    pub header: Option<(&'static str, String)>,
    /// Further headers, the same every time.
    pub headers: &'static [(&'static str, &'static str)],
    /// The content, sent as it is.
    pub body: Vec<u8>,
    /// For the operator's log, as a warning.
    pub warnings: Vec<String>,
}

impl Response {
    pub(crate) fn json(status: u16, body: Vec<u8>) -> Response {
        let header = Some(("Access-Control-Allow-Origin", "*".to_owned()));
        Response { header, ..Response::new(status, JSON, body) }
    }

    pub(crate) fn html(body: String) -> Response {
        Response::new(200, HTML, body.into_bytes())
    }

    /// For a question about the server as a whole.
    pub(crate) fn empty() -> Response {
        Response::new(200, PLAIN, Vec::new())
    }

    pub(crate) fn text(status: u16, text: Vec<u8>) -> Response {
        Response::new(status, PLAIN, text)
    }

    /// A parameter is wrong.
    pub(crate) fn bad_request(text: Vec<u8>) -> Response {
        Response::new(400, PLAIN, text)
    }

    pub(crate) fn not_found() -> Response {
        let header = Some(("X-Content-Type-Options", "nosniff".to_owned()));
        Response { header, ..Response::new(404, PLAIN, b"404 page not found\n".to_vec()) }
    }

    fn redirect(to: String) -> Response {
        let body = format!("<a href=\"{}\">Temporary Redirect</a>.\n\n", escape_html(&to));
        Response { header: Some(("Location", to)), ..Response::new(307, HTML, body.into_bytes()) }
    }

    fn malformed() -> Response {
        Response::new(400, PLAIN, b"400 Bad Request".to_vec())
    }

    fn host_missing() -> Response {
        let body = b"400 Bad Request: missing required Host header".to_vec();
        Response::new(400, PLAIN, body)
    }

    fn head_too_large() -> Response {
        Response::new(431, PLAIN, b"431 Request Header Fields Too Large".to_vec())
    }

    fn version_unsupported() -> Response {
        let body = b"505 HTTP Version Not Supported: unsupported protocol version".to_vec();
        Response::new(505, PLAIN, body)
    }

    pub(crate) fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Response {
        Response { status, content_type, header: None, headers: &[], body, warnings: Vec::new() }
    }

    /// Appends the response's bytes. `now_unix_ns` is the wall clock, nanoseconds since 1970.
    pub fn write(&self, framing: Framing, now_unix_ns: u64, out: &mut Vec<u8>) {
        let (minor, status) = (u8::from(!framing.http10), self.status);
        let mut head = format!("HTTP/1.{minor} {status} {}\r\n", reason(status));
        let mut field = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        };
        if let Some((name, value)) = &self.header {
            field(name, value);
        }
        for (name, value) in self.headers {
            field(name, value);
        }
        field("Content-Type", self.content_type);
        field("Date", &http_date(now_unix_ns));
        field("Content-Length", &self.body.len().to_string());
        match (framing.keep_alive, framing.http10) {
            (false, _) => field("Connection", "close"),
            (true, true) => field("Connection", "keep-alive"),
            (true, false) => {}
        }
        out.reserve(head.len() + 2 + self.body.len());
        let _ = write!(out, "{head}\r\n");
        if !framing.head {
            out.extend_from_slice(&self.body);
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        404 => "Not Found",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, clean) in
            [("", "/"), ("/", "/"), ("nats", "/nats"), ("/a//b/../c/", "/a/c"), ("..", "/")]
        {
            assert_eq!(clean_path(path), clean);
        }
    }
}
