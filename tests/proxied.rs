//! Clients that come from a proxy which says first where they really are: what both servers make
//! of good headers and of bad ones, and whom `/connz` shows.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;

use crate::harness::mask;
use crate::harness::server::{Program, Server, Setup};
use crate::monitoring::{ask, monitor_address};
use crate::tls::Certificates;

const WAIT_MAX: Duration = Duration::from_secs(10);

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V4: &[u8] = b"\xc0\0\x02\x07\x0a\0\0\x01\x30\x39\x10\x7e";
const SAYS: &[u8] = b"CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n";

fn version_2(first: u8, second: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[first, second], &len, rest].concat()
}

/// What comes ahead of what the client says, and whether the client says anything.
fn headers() -> Vec<(Vec<u8>, bool)> {
    let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 28], &[0x30, 0x39, 0x10, 0x7e]].concat();
    let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 9], &[0; 16], &[0, 80, 0, 80]].concat();
    let lines: [&str; 16] = [
        "",
        "PROXY TCP4 192.0.2.7 10.0.0.1 12345 4222\r\n",
        "PROXY TCP6 2001:db8::7 ::1 12345 4222\r\n",
        "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 4222\r\n",
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN 1 2 3\r\n",
        "PROXY TCP4 192.0.2.7\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.x 1 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 -1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 ::1 1.2.3.4 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY \r\n",
        "proxy TCP4 192.0.2.7 10.0.0.1 12345 4222\r\n",
        "FOO\r\nBAR\r\n",
    ];
    let binary = [
        version_2(0x21, 0x11, V4),
        version_2(0x21, 0x11, &[V4, &[7; 300]].concat()),
        version_2(0x21, 0x21, &v6),
        version_2(0x21, 0x21, &mapped),
        version_2(0x20, 0x00, b""),
        version_2(0x20, 0x00, &[1; 300]),
        version_2(0x21, 0x01, b"abc"),
        version_2(0x31, 0x11, V4),
        version_2(0x22, 0x11, V4),
        version_2(0x21, 0x12, V4),
        version_2(0x21, 0x31, &[0; 216]),
        version_2(0x21, 0x11, &V4[..4]),
        version_2(0x21, 0x21, V4),
        b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c".to_vec(),
    ];
    let whole = lines.map(|line| line.as_bytes().to_vec()).into_iter().chain(binary);
    let mut all: Vec<_> = whole.map(|header| (header, true)).collect();
    // Cut short, and one that never ends.
    let v4 = version_2(0x21, 0x11, V4);
    let parts =
        [&b""[..], b"PRO", b"PROXY ", b"PROXY TCP4", &v4[..9], &v4[..12], &v4[..14], &v4[..20]];
    all.extend(parts.map(|part| (part.to_vec(), false)));
    all.extend([(version_2(0x20, 0, &[1; 9])[..20].to_vec(), false)]);
    all.push((format!("PROXY {}\r\n", "x".repeat(200)).into_bytes(), false));
    all
}

fn serve(program: &Program, more: &str) -> Server {
    let conf = ["proxy_protocol: true", more].map(str::to_owned).to_vec();
    let args = vec!["-m".to_owned(), "-1".to_owned()];
    let setup = Setup { conf, args, shards: 2, ..Setup::default() };
    Server::start(program, &setup).expect("the server starts")
}

/// All that the server says up to its end, or to the INFO that follows the first PONG; ids hidden.
fn heard(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let greeted = text.split("PONG\r\n").nth(1).is_some_and(|rest| rest.ends_with("\r\n"));
        let mut part = [0; 4096];
        let read = if greeted { Ok(0) } else { stream.read(&mut part) };
        match read {
            Ok(0) => return shown(&text, greeted),
            Ok(len) => bytes.extend_from_slice(&part[..len]),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return shown(&text, false),
            Err(e) => panic!("{e} after {text}"),
        }
    }
}

fn shown(text: &str, greeted: bool) -> String {
    let line = |line: &str| {
        String::from_utf8_lossy(&mask::frame(format!("{line}\r\n").as_bytes())).into_owned()
    };
    let lines: String = text.lines().map(line).collect();
    lines + if greeted { "" } else { "(closed)" }
}

/// What is told of the last of so many connections. One that closes is listed as open for a moment,
/// and for another not at all.
fn last_of(monitor: SocketAddr, count: usize, closed: bool) -> String {
    let end = Instant::now() + WAIT_MAX;
    let cid = |entry: &&str| entry.split(',').next().and_then(|cid| cid.parse::<u64>().ok());
    loop {
        let connz = ask(monitor, "/connz?state=all");
        let entries = connz.split("\"cid\": ").skip(1);
        let last = entries.clone().max_by_key(cid).unwrap_or_default();
        if entries.count() >= count && last.contains("\"reason\": ") == closed {
            return last.to_owned();
        }
        assert!(Instant::now() < end, "{count} connections: {connz}");
    }
}

/// Each connection's dialogue, whom `/connz` shows, and the log's warnings.
fn judged(program: &Program, cuts: bool) -> Vec<String> {
    let mut server = serve(program, "");
    let monitor = monitor_address(&mut server);
    let mut all = vec![server.log_text().contains("PROXY protocol enabled").to_string()];
    for (header, speaks) in headers() {
        let mut stream = server.dial().expect("the server accepts");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a timeout can be set");
        let port = stream.local_addr().expect("an address").port().to_string();
        let says = [&header[..], if speaks { SAYS } else { b"" }].concat();
        match cuts {
            true => says.chunks(7).for_each(|part| drop(stream.write_all(part))),
            // Fails where the server has closed already.
            false => drop(stream.write_all(&says)),
        }
        if !speaks {
            // Refused where the server has closed already; reading tells.
            let _ = stream.shutdown(Shutdown::Write);
        }
        let said = heard(&mut stream);
        let entry = last_of(monitor, all.len(), said.ends_with("(closed)"));
        let wanted = ["\"ip\":", "\"port\":", "\"reason\":"];
        let shown = entry.lines().filter(|line| wanted.iter().any(|key| line.contains(key)));
        let last: Vec<String> = shown.map(|line| line.trim().replace(&port, "(own)")).collect();
        let last = last.join(" ");
        all.push(format!("{}: {said}\n{last}", header.escape_ascii()));
    }
    drop(server.wait_log("v1 line too long", WAIT_MAX));
    let log = server.log_text();
    let warnings = log.lines().filter_map(|line| line.split("[WRN] ").nth(1));
    all.extend(warnings.map(|line| {
        let at = line.find("127.0.0.1:").unwrap_or(0);
        let end = line[at..].find(": ").map_or(line.len(), |end| at + end);
        format!("{}{}", &line[..at], &line[end..])
    }));
    all
}

#[test]
fn headers_are_judged_alike() {
    let theirs = judged(&Program::reference(), false);
    for cuts in [false, true] {
        let ours = judged(&Program::under_test(), cuts);
        for (theirs, ours) in theirs.iter().zip(&ours) {
            assert_eq!(ours, theirs, "cuts: {cuts}");
        }
        assert_eq!(ours.len(), theirs.len(), "cuts: {cuts}");
    }
    assert!(theirs.iter().any(|it| it.contains("\"ip\": \"192.0.2.7\"")), "{theirs:?}");
}

/// A proxy: what comes to it goes on to the server, behind a header.
fn proxy(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut there = TcpStream::connect(server).expect("the server accepts");
            there.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 4222\r\n").expect("it reads");
            for (mut from, mut to) in [
                (client.try_clone().expect("a socket"), there.try_clone().expect("a socket")),
                (there, client),
            ] {
                std::thread::spawn(move || {
                    // Ends with either side.
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    address
}

/// The header comes in the clear, ahead of the handshake.
#[test]
fn a_client_of_a_proxy_may_use_tls() {
    let files = Certificates::new("ringbus-proxied");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ca = files.path("ca.pem");
    for program in Program::both() {
        for more in ["", "handshake_first: true", "handshake_first: auto"] {
            if more.ends_with("auto") && !program.takes_shards {
                // It takes the header for the beginning of a handshake, and the client waits.
                continue;
            }
            let mut server = serve(&program, &files.block("server", more));
            let monitor = monitor_address(&mut server);
            let through = proxy(server.address);
            let first = more.ends_with("true");
            let shown = runtime.block_on(async {
                let options = ConnectOptions::new().add_root_certificates(ca.clone());
                let options = options.require_tls(true);
                let options = if first { options.tls_first() } else { options };
                let client = options.connect(format!("tls://localhost:{}", through.port())).await;
                let client = client.unwrap_or_else(|e| panic!("{program:?} {more}: {e}"));
                client.flush().await.expect("it answers");
                ask(monitor, "/connz")
            });
            for text in ["\"ip\": \"192.0.2.7\"", "\"port\": 12345", "\"tls_version\": "] {
                assert!(shown.contains(text), "{program:?} {more}: no {text} in {shown}");
            }
        }
    }
}

/// Silence is not waited for for ever.
#[test]
fn a_header_that_does_not_come_is_given_up() {
    let mut server = serve(&Program::under_test(), "");
    let mut stream = server.dial().expect("the server accepts");
    stream.write_all(b"PROXY TCP4").expect("the server reads");
    let line = server.wait_log("failed to read v1 line: read tcp ", WAIT_MAX).expect("it is told");
    assert!(line.ends_with(": i/o timeout"), "{line}");
}
