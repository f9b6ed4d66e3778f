//! Requests out of any cut of a byte stream, and the bytes of responses.

#[path = "../../wire/tests/support/rng.rs"]
mod rng;

use monitor::{
    BODY_BYTES_MAX, Framing, HEAD_BYTES_MAX, Method, Monitor, Next, Request, Requests, Site, Step,
};
use rng::Rng;

#[derive(Clone, Debug, PartialEq)]
enum Found {
    Request(Box<Request>),
    Refused(u16, String),
}

/// All that comes out when the stream is pushed piece by piece, each after the last gave no more.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Found> {
    let mut requests = Requests::new();
    let mut found = Vec::new();
    for piece in pieces {
        requests.push(piece);
        loop {
            match requests.pull() {
                Next::Request(request) => {
                    let last = !request.framing.keep_alive;
                    found.push(Found::Request(request));
                    if last {
                        return found;
                    }
                }
                Next::More => break,
                Next::Refuse(response) => {
                    let body = String::from_utf8(response.body).unwrap();
                    found.push(Found::Refused(response.status, body));
                    return found;
                }
            }
        }
    }
    found
}

fn paths(found: &[Found]) -> Vec<&str> {
    let path = |found: &Found| match found {
        Found::Request(request) => Some(request.path.clone().leak() as &str),
        Found::Refused(..) => None,
    };
    found.iter().filter_map(path).collect()
}

#[test]
fn requests_that_are_taken() {
    for (text, path, query, keep_alive) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "/", "", true),
        ("GET /varz?a=b%20c HTTP/1.1\r\nHost: x\r\n\r\n", "/varz", "a=b%20c", true),
        ("GET /health%7a HTTP/1.1\r\nHost: x\r\n\r\n", "/healthz", "", true),
        ("GET /varz HTTP/1.1\nHost: x\n\n", "/varz", "", true),
        ("GET /varz HTTP/1.1\r\nhOsT:x\r\nConnection: close\r\n\r\n", "/varz", "", false),
        ("GET /varz HTTP/1.1\r\nHost: x\r\nConnection: a, Close\r\n\r\n", "/varz", "", false),
        ("GET /varz HTTP/1.0\r\n\r\n", "/varz", "", false),
        ("GET /varz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "/varz", "", true),
        ("GET http://foo:80/varz?x HTTP/1.1\r\nHost: x\r\n\r\n", "/varz", "x", true),
        ("GET http://foo HTTP/1.1\r\nHost: x\r\n\r\n", "/", "", true),
        ("POST /varz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "/varz", "", true),
        (
            "POST /v HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "/v",
            "",
            false,
        ),
        ("POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", "/v", "", false),
        ("POST /v HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", "/v", "", false),
        ("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", "", "", false),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "*", "", true),
    ] {
        match read([text.as_bytes()]).as_slice() {
            [Found::Request(request)] => {
                assert_eq!(request.path, path, "{text:?}");
                assert_eq!(request.raw_query, query, "{text:?}");
                assert_eq!(request.framing.keep_alive, keep_alive, "{text:?}");
                assert_eq!(request.framing.http10, text.contains("HTTP/1.0"), "{text:?}");
                assert!(!request.framing.head, "{text:?}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
    let head = read([&b"HEAD /varz HTTP/1.1\r\nHost: x\r\n\r\n"[..]]);
    let [Found::Request(request)] = head.as_slice() else { panic!("{head:?}") };
    assert!(request.framing.head);
    assert_eq!(request.method, Method::Head);
}

#[test]
fn requests_that_are_refused() {
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(200));
    for (text, status, body) in [
        ("GARBAGE\r\n\r\n", 400, "400 Bad Request"),
        ("\0\0\0\n\n", 400, "400 Bad Request"),
        ("GET varz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "400 Bad Request"),
        ("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "400 Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "400 Bad Request: missing required Host header"),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400, "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400, "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n", 400, "400 Bad Request"),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            400,
            "400 Bad Request",
        ),
        (
            "GET / HTTP/3.0\r\nHost: x\r\n\r\n",
            505,
            "505 HTTP Version Not Supported: unsupported protocol version",
        ),
        (many.as_str(), 431, "431 Request Header Fields Too Large"),
    ] {
        let wanted = Found::Refused(status, body.to_owned());
        assert_eq!(read([text.as_bytes()]), [wanted], "{text:?}");
    }
}

#[test]
fn every_cut_gives_the_same() {
    let streams: [&[u8]; 7] = [
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b?c=d HTTP/1.1\r\nHost: y\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: x\n\nHEAD /b HTTP/1.1\r\nHost: x\n\r\nGET /c HTTP/1.0\n\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nGET /no\r\n\
          \r\n\r\nGET /b HTTP/1.0\r\n\r\n",
        b"\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n\r\nBAD\r\n\r\nGET /never HTTP/1.0\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
          GET /never HTTP/1.0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ];
    for stream in streams {
        let whole = read([stream]);
        assert!(!whole.is_empty());
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(read(pieces), whole, "{first} {second}");
            }
        }
        assert_eq!(read(stream.chunks(1)), whole);
    }
    assert_eq!(paths(&read([streams[0]])), ["/a", "/b"]);
    assert_eq!(paths(&read([streams[1]])), ["/a", "/b", "/c"]);
    assert_eq!(paths(&read([streams[2]])), ["/a", "/b"]);
}

#[test]
fn bodies_are_skipped_up_to_their_bound() {
    let body = vec![b'x'; BODY_BYTES_MAX as usize];
    let head = format!("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    let next = &b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"[..];
    let pieces = std::iter::once(head.as_bytes()).chain(body.chunks(1000)).chain([next]);
    assert_eq!(paths(&read(pieces)), ["/a", "/b"]);
}

#[test]
fn heads_are_taken_up_to_their_bound() {
    let head = |len: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: x\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(len - frame))
    };
    assert_eq!(paths(&read([head(HEAD_BYTES_MAX).as_bytes()])), ["/"]);
    let too_large = Found::Refused(431, "431 Request Header Fields Too Large".to_owned());
    assert_eq!(read([head(HEAD_BYTES_MAX + 1).as_bytes()]), std::slice::from_ref(&too_large));
    let endless = vec![b'a'; HEAD_BYTES_MAX + 1];
    assert_eq!(read(endless.chunks(4096)), [too_large]);
}

#[test]
fn any_bytes_are_survived_and_every_request_is_answered() {
    let words: [&[u8]; 24] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"/",
        b"/varz",
        b"/connz?",
        b"sort=",
        b"subs=detail",
        b"&",
        b"%",
        b"%41",
        b"limit=",
        b"99999999999999999999",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"\r\n",
        b"\n",
        b"Host: x\r\n",
        b"Content-Length: 5\r\n",
        b"Connection: keep-alive\r\n",
        b"\r\n\r\n",
        b"\xff\x00",
        b"?",
        b"/..//",
    ];
    let mut random = Rng::new(0);
    let mut answered = 0;
    for _ in 0..20_000 {
        let mut stream = Vec::new();
        // Half are a GET with words of a target, the others any words.
        let words = if random.below(2) == 0 {
            stream.extend_from_slice(b"GET /connz?");
            &words[3..13]
        } else {
            &words
        };
        for _ in 0..random.below(24) {
            stream.extend_from_slice(words[random.below(words.len())]);
            if random.below(64) == 0 {
                stream.push(random.below(256) as u8);
            }
        }
        stream.extend_from_slice(b" HTTP/1.1\r\nHost: x\r\n\r\n");
        let whole = read([stream.as_slice()]);
        let cut = random.below(stream.len() + 1);
        assert_eq!(read([&stream[..cut], &stream[cut..]]), whole, "{stream:?} at {cut}");
        let mut monitor = Monitor::new(Site::default());
        for found in &whole {
            let Found::Request(request) = found else { continue };
            let response = match monitor.ask(request) {
                Step::Answer(response) => response,
                Step::Need(question) => monitor.answer(&question, &[], &Default::default(), 0),
            };
            let mut out = Vec::new();
            response.write(request.framing, 0, &mut out);
            assert!(out.starts_with(b"HTTP/1."));
            answered += 1;
        }
    }
    assert!(answered > 1_000, "the mix makes hardly any requests: {answered}");
}

#[test]
fn responses_are_framed_for_their_request() {
    let answer = |text: &str| {
        let found = read([text.as_bytes()]);
        let [Found::Request(request)] = found.as_slice() else { panic!("{found:?}") };
        let Step::Answer(response) = Monitor::new(Site::default()).ask(request) else {
            panic!("{text:?} needs shards")
        };
        let mut out = Vec::new();
        response.write(request.framing, 784_111_777_000_000_000, &mut out);
        String::from_utf8(out).unwrap()
    };
    let fields = "Access-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n\
                  Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 15\r\n";
    let body = "{\"status\":\"ok\"}";
    assert_eq!(
        answer("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")
    );
    assert_eq!(
        answer("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{fields}\r\n")
    );
    assert_eq!(
        answer("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{fields}Connection: close\r\n\r\n{body}")
    );
    assert_eq!(
        answer("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        format!("HTTP/1.0 200 OK\r\n{fields}Connection: keep-alive\r\n\r\n{body}")
    );
    let options = answer("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(options.starts_with("HTTP/1.1 200 OK\r\n"), "{options}");
    assert!(options.contains("Content-Length: 0\r\n"), "{options}");
    let connect = answer("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(connect.starts_with("HTTP/1.1 404 Not Found\r\n"), "{connect}");
}

#[test]
fn a_refusal_closes() {
    let mut requests = Requests::new();
    requests.push(b"BAD\r\n\r\n");
    let Next::Refuse(response) = requests.pull() else { panic!("it is bad") };
    let mut out = Vec::new();
    response.write(Framing::LAST, 0, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.contains("Connection: close\r\n"), "{text}");
}

#[test]
fn a_redirect_cannot_leave_the_server_or_split_the_head() {
    for (target, location) in [
        ("//evil.example/varz", "/evil.example/varz"),
        ("/a/../varz?x=%0d%0aSet-Cookie:y", "/varz?x=%0d%0aSet-Cookie:y"),
        ("/../../varz/", "/varz/"),
        ("///", "/"),
        ("/a/%2e%2e/./b", "/a/%2e%2e/b"),
    ] {
        let found = read([format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()]);
        let [Found::Request(request)] = found.as_slice() else { panic!("{found:?}") };
        let Step::Answer(response) = Monitor::new(Site::default()).ask(request) else {
            panic!("{target}")
        };
        assert_eq!(response.status, 307, "{target}");
        assert_eq!(response.header, Some(("Location", location.to_owned())), "{target}");
    }
}
