//! TLS from outside: async-nats over it, `openssl s_client` in every version and suite, and what
//! those get that do it wrong. nats-server is asked the same.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use futures_util::StreamExt;

use crate::harness::server::{Program, Server, Setup};

const TIME_MAX: Duration = Duration::from_secs(20);

/// Certificates made for one test, removed with it.
pub struct Certificates(PathBuf);

impl Certificates {
    /// `ca`, `server`, `rsa` and `client`, each a `.pem` and a `.key`; and `stranger`, a client
    /// certificate from nobody.
    pub fn new(name: &str) -> Certificates {
        let directory = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let it = Certificates(directory);
        it.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -keyout ca.key -out ca.pem -subj /CN=ca",
        );
        let ec = "ec -pkeyopt ec_paramgen_curve:P-256";
        let server = "subjectAltName=DNS:localhost,IP:127.0.0.1";
        let client = "subjectAltName=email:derek@nats.io,DNS:box.local\n\
                      extendedKeyUsage=clientAuth";
        it.sign("server", ec, "/CN=localhost", server);
        it.sign("rsa", "rsa:2048", "/CN=localhost", server);
        it.sign("client", ec, "/O=org/OU=a, b/CN=client", client);
        it.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -keyout stranger.key -out stranger.pem -subj /CN=stranger",
        );
        it
    }

    fn sign(&self, name: &str, key: &str, subject: &str, extensions: &str) {
        std::fs::write(self.0.join("extensions"), extensions).unwrap();
        let mut request = vec!["req", "-newkey"];
        request.extend(key.split_ascii_whitespace());
        let (key_file, request_file) = (format!("{name}.key"), format!("{name}.csr"));
        request.extend(["-nodes", "-keyout", &key_file, "-out", &request_file, "-subj", subject]);
        self.run(&request);
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
             -extfile extensions -out {name}.pem"
        ));
    }

    fn openssl(&self, line: &str) {
        self.run(&line.split_ascii_whitespace().collect::<Vec<_>>());
    }

    fn run(&self, args: &[&str]) {
        let output = Command::new("openssl").args(args).current_dir(&self.0).output();
        let output = output.expect("openssl is needed for these tests: install it");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A `tls` block with that certificate, and more lines in it.
    pub fn block(&self, name: &str, more: &str) -> String {
        let (pem, key, ca) = (format!("{name}.pem"), format!("{name}.key"), "ca.pem");
        let (pem, key, ca) = (self.shown(&pem), self.shown(&key), self.shown(ca));
        format!("tls {{ cert_file: {pem:?}, key_file: {key:?}, ca_file: {ca:?}, {more} }}")
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn start(program: &Program, conf: &[String]) -> Server {
    Server::with_conf(program, conf, 2)
}

#[test]
fn async_nats_speaks_over_it() {
    let files = Certificates::new("ringbus-tls-clients");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for program in Program::both() {
        for (more, first, shows) in [
            ("", false, false),
            ("verify: true", false, true),
            ("handshake_first: true", true, false),
            ("handshake_first: auto", true, false),
            ("handshake_first: 30ms", false, false),
            ("min_version: \"1.3\"", false, false),
            ("curve_preferences: [CurveP384, X25519]", false, false),
        ] {
            println!("{} {more}", program.path.display());
            let server = start(&program, &[files.block("server", more)]);
            let mut options =
                ConnectOptions::new().add_root_certificates(files.path("ca.pem")).require_tls(true);
            if first {
                options = options.tls_first();
            }
            if shows {
                let (pem, key) = (files.path("client.pem"), files.path("client.key"));
                options = options.add_client_certificate(pem, key);
            }
            let work = converse(options, format!("tls://localhost:{}", server.address.port()));
            let work = async { tokio::time::timeout(TIME_MAX, work).await };
            runtime.block_on(work).expect("it ends in time");
        }
    }
}

/// Small and large messages, there and back over two connections.
async fn converse(options: ConnectOptions, url: String) {
    let reader = options.clone().connect(&url).await.expect("a connection");
    let writer = options.connect(&url).await.expect("a connection");
    let mut all = reader.subscribe("a.>").await.expect("a subscription");
    reader.flush().await.expect("a flush");
    // A whole round trip: the subscription is known everywhere.
    let own = reader.subscribe("own").await.expect("a subscription");
    reader.publish("own", "".into()).await.expect("a publish");
    let mut own = own;
    own.next().await.expect("it comes back");
    let sizes = [0, 1, 16, 1000, 16_384, 70_000, 900_000];
    for (number, size) in sizes.into_iter().enumerate() {
        let payload: Vec<u8> = (0..size).map(|at| (at + number) as u8).collect();
        writer.publish("a.b", payload.into()).await.expect("a publish");
    }
    for (number, size) in sizes.into_iter().enumerate() {
        let message = all.next().await.expect("a message");
        let expected: Vec<u8> = (0..size).map(|at| (at + number) as u8).collect();
        assert!(message.payload == expected, "message {number} of {size} bytes");
    }
}

/// What a client of openssl's was told.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    admitted: bool,
    version: Option<String>,
    suite: Option<String>,
}

/// `openssl s_client` says PING and then something that ends the connection.
fn ask(server: &Server, files: &Certificates, args: &str) -> Verdict {
    let ca = files.shown("ca.pem");
    let address = server.address.to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-CAfile", &ca, "-brief", "-ign_eof"]);
    command.args(["-servername", "localhost", "-verify_return_error"]);
    command.args(args.split_ascii_whitespace()).current_dir(&files.0);
    let output = say(command, b"PING\r\nNONSENSE\r\n");
    let text = String::from_utf8_lossy(&output);
    let after = |word: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(word));
        line.map(|rest| rest.trim().to_owned())
    };
    let admitted = text.contains("PONG");
    Verdict {
        admitted,
        version: after("Protocol version:").filter(|_| admitted),
        suite: after("Ciphersuite:").filter(|_| admitted),
    }
}

/// Runs it with this input, and gives all it says.
fn say(mut command: Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl is needed for these tests: install it");
    // It may have gone already.
    let _ = child.stdin.take().expect("it is piped").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    [output.stdout, output.stderr].concat()
}

#[test]
fn openssl_is_told_the_same() {
    let files = Certificates::new("ringbus-tls-openssl");
    let clients = [
        "",
        "-tls1_2",
        "-tls1_3",
        "-tls1_1",
        "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384",
        "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256",
        "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305",
        "-tls1_2 -cipher AES128-SHA",
        "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384",
        "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
        "-groups P-384",
        "-groups P-521",
        "-cert client.pem -key client.key",
        "-tls1_2 -cert client.pem -key client.key",
        "-cert stranger.pem -key stranger.key",
        "-tls1_2 -cert stranger.pem -key stranger.key",
    ];
    let servers = [
        ("server", ""),
        ("rsa", ""),
        ("server", "verify: true"),
        ("server", "min_version: \"1.3\""),
        ("server", "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]"),
        ("rsa", "curve_preferences: [CurveP384]"),
        ("server", "verify: true, pinned_certs: [\"{}\"]"),
    ];
    let mut differences = Vec::new();
    for (name, more) in servers {
        let more = more.replace("{}", &"0".repeat(64));
        let block = files.block(name, &format!("handshake_first: true, {more}"));
        let [reference, own] =
            Program::both().map(|program| start(&program, std::slice::from_ref(&block)));
        for client in clients {
            let (theirs, ours) = (ask(&reference, &files, client), ask(&own, &files, client));
            // Go has P-521, rustls with ring has not: docs/compat.md.
            let excused = client == "-groups P-521" && !ours.admitted;
            if theirs != ours && !excused {
                differences.push(format!("{name} {more} <- {client}: {theirs:?}, {ours:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "nats-server, ringbus:\n{}", differences.join("\n"));
}

/// Is somebody let in who shows this certificate, if any, and says this?
fn lets_in(server: &Server, files: &Certificates, certificate: &str, words: &str) -> bool {
    let address = server.address.to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-brief", "-ign_eof"]).current_dir(&files.0);
    if !certificate.is_empty() {
        let (pem, key) = (format!("{certificate}.pem"), format!("{certificate}.key"));
        command.args(["-cert", &pem, "-key", &key]);
    }
    let input = format!("CONNECT {{\"verbose\":false{words}}}\r\nPING\r\nNONSENSE\r\n");
    String::from_utf8_lossy(&say(command, input.as_bytes())).contains("PONG")
}

#[test]
fn who_a_certificate_makes_somebody() {
    let files = Certificates::new("ringbus-tls-who");
    let users = |users: &str| format!("authorization {{ users: [{users}] }}");
    let pw = "{user: pw, password: pw}";
    let rules = [
        users(&format!("{{user: \"derek@nats.io\"}}, {pw}")),
        users(&format!("{{user: \"box.local\"}}, {pw}")),
        users(&format!("{{user: \"CN=client,OU=a\\\\, b,O=org\"}}, {pw}")),
        users(&format!("{{user: \"O=org,OU=a,CN=client\"}}, {{user: \"b\"}}, {pw}")),
        users(&format!("{{user: \"box.local\", allowed_connection_types: [MQTT]}}, {pw}")),
        users(&format!("{{user: \"box.local\", password: pw}}, {pw}")),
        format!("{}\nno_auth_user: pw", users(pw)),
        "authorization { user: pw, password: pw }".to_owned(),
        "authorization { token: pw }".to_owned(),
    ];
    let said = [
        "",
        ",\"user\":\"pw\",\"pass\":\"pw\"",
        ",\"user\":\"box.local\",\"pass\":\"\"",
        ",\"auth_token\":\"pw\"",
    ];
    let mut found = Vec::new();
    for how in ["verify_and_map", "verify"] {
        for rules in &rules {
            let block = files.block("server", &format!("handshake_first: true, {how}: true"));
            let conf = [block, rules.clone()];
            let servers = Program::both().map(|program| start(&program, &conf));
            for certificate in ["client", "server", "stranger", ""] {
                for words in said {
                    let [theirs, ours] = servers
                        .each_ref()
                        .map(|server| lets_in(server, &files, certificate, words));
                    assert_eq!(ours, theirs, "{how} {rules} <- {certificate} {words}");
                    found.push((how, certificate, words, ours));
                }
            }
        }
    }
    let mapped = |(how, certificate, words, is_in): &&(&str, &str, &str, bool)| {
        (*how, *certificate, *words, *is_in) == ("verify_and_map", "client", "", true)
    };
    assert!(found.iter().filter(mapped).count() >= 3, "{found:#?}");
    assert!(found.iter().all(|(_, certificate, _, is_in)| *certificate == "client"
        || *certificate == "server"
        || !is_in));
}

#[test]
fn a_client_may_do_without_where_it_may() {
    let files = Certificates::new("ringbus-tls-without");
    for program in Program::both() {
        let conf = [files.block("server", ""), "allow_non_tls: true".to_owned()];
        let server = start(&program, &conf);
        let mut stream = server.dial().unwrap();
        stream.set_read_timeout(Some(TIME_MAX)).unwrap();
        stream.write_all(b"PING\r\nNONSENSE\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.contains("\"tls_available\":true"), "{text}");
        assert!(!text.contains("tls_required"), "{text}");
        assert!(text.contains("PONG"), "{text}");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let options = ConnectOptions::new().add_root_certificates(files.path("ca.pem"));
        let url = format!("tls://localhost:{}", server.address.port());
        let work = async { tokio::time::timeout(TIME_MAX, converse(options, url)).await };
        runtime.block_on(work).expect("it ends in time");
    }
}

#[test]
fn who_does_not_begin_in_time_is_cut_off() {
    let files = Certificates::new("ringbus-tls-silent");
    for program in Program::both() {
        let server = start(&program, &[files.block("server", "timeout: 0.3")]);
        for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
            let mut stream = server.dial().unwrap();
            stream.set_read_timeout(Some(TIME_MAX)).unwrap();
            stream.write_all(beginning).unwrap();
            let began = Instant::now();
            let mut text = Vec::new();
            // A reset is an end too.
            let _ = stream.read_to_end(&mut text);
            let text = String::from_utf8_lossy(&text);
            assert!(text.starts_with("INFO ") && !text.contains("-ERR"), "{text}");
            let took = began.elapsed();
            assert!(took >= Duration::from_millis(250) && took < TIME_MAX, "{took:?}");
        }
    }
}

#[test]
fn handshakes_are_rationed() {
    let files = Certificates::new("ringbus-tls-ration");
    for program in Program::both() {
        let server = start(&program, &[files.block("server", "connection_rate_limit: 3")]);
        let mut streams: Vec<_> = (0..8).map(|_| server.dial().unwrap()).collect();
        let mut refused = 0;
        for stream in &mut streams {
            stream.set_read_timeout(Some(TIME_MAX)).unwrap();
            stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
        }
        for stream in &mut streams {
            // Whoever was refused is gone already.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut text = Vec::new();
            let _ = stream.read_to_end(&mut text);
            let throttled = "-ERR 'Connection throttling is active. Please try again later.'";
            refused += usize::from(String::from_utf8_lossy(&text).contains(throttled));
        }
        // A second may end in between.
        assert!((2..=5).contains(&refused), "{}: {refused}", program.path.display());
    }
}

/// Half a handshake each: what they cost together, and that healthy clients do not notice.
#[test]
fn half_handshakes_cost_little_memory() {
    const CLIENTS: usize = 400;
    const BYTES_MAX: u64 = 16 * 1024;
    let files = Certificates::new("ringbus-tls-memory");
    let server = start(&Program::under_test(), &[files.block("server", "timeout: 60")]);
    // What is allocated once is allocated.
    drop(ask(&server, &files, "-tls1_3"));
    let before = server.resident_kib().expect("its memory");
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = server.dial().unwrap();
        let mut record = vec![0x16, 3, 1, 0x30, 0, 1, 0, 0x2f, 0xf0];
        record.resize(8000, 7);
        stream.write_all(&record).unwrap();
        streams.push(stream);
    }
    let end = Instant::now() + TIME_MAX;
    let mut each = 0;
    while Instant::now() < end {
        let now = server.resident_kib().expect("its memory");
        let grown = (now.saturating_sub(before)) * 1024 / CLIENTS as u64;
        if grown == each && each > 0 {
            break;
        }
        each = grown;
        std::thread::yield_now();
        drop(ask_runs(&server));
    }
    println!("{each} bytes each");
    assert!(each <= BYTES_MAX, "{each} bytes for each of {CLIENTS} connections");
    drop(streams);
}

/// A round over the loopback: whatever was sent before has reached the server.
fn ask_runs(server: &Server) -> Vec<u8> {
    let mut stream = server.dial().unwrap();
    stream.set_read_timeout(Some(TIME_MAX)).unwrap();
    let mut info = vec![0; 512];
    let length = stream.read(&mut info).unwrap();
    info.truncate(length);
    info
}

#[test]
fn monitoring_goes_over_it_too() {
    let files = Certificates::new("ringbus-tls-https");
    for program in Program::both() {
        // Nobody is asked for a certificate there.
        let conf = [files.block("server", "verify: true"), "https: 127.0.0.1:-1".to_owned()];
        let mut server = start(&program, &conf);
        let log = server.log_text();
        let line = log.lines().find(|line| line.contains("Starting https monitor on "));
        let address = line.and_then(|line| line.rsplit(' ').next()).expect("its address");
        let ca = files.shown("ca.pem");
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", address, "-CAfile", &ca, "-quiet"]);
        command.args(["-verify_return_error", "-servername", "localhost"]);
        let request = b"GET /varz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let output = say(command, request);
        let text = String::from_utf8_lossy(&output);
        let has = |part: &str| assert!(text.contains(part), "{part}: {text}");
        has("HTTP/1.1 200 OK");
        has("\"tls_required\": true");
        has("\"tls_verify\": true");
        has("\"auth_timeout\": 3");
        has("\"tls_cert_not_after\": \"20");
    }
}

#[test]
fn flags_stand_for_the_block() {
    let files = Certificates::new("ringbus-tls-flags");
    let pem = files.shown("server.pem");
    let key = files.shown("server.key");
    let block = files.block("rsa", "");
    for program in Program::both() {
        let start = |args: &[&str], conf: &[String]| {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            let setup = Setup { conf: conf.to_vec(), args, ..Setup::default() };
            Server::start(&program, &setup).unwrap_or_else(|fault| panic!("{fault}"))
        };
        let info = |server: &Server| String::from_utf8_lossy(&ask_runs(server)).into_owned();
        let server = start(&["--tls", "--tlscert", &pem, "--tlskey", &key], &[]);
        assert!(info(&server).contains("\"tls_required\":true"));
        let ca = files.shown("ca.pem");
        let args = ["--tlsverify", "--tlscert", &pem, "--tlskey", &key, "--tlscacert", &ca];
        assert!(info(&start(&args, &[])).contains("\"tls_verify\":true"));
        let off = start(&["--tls=false"], std::slice::from_ref(&block));
        assert!(!info(&off).contains("tls_"), "the block is off");
    }
}

/// For rooms that need files to name in configurations.
pub fn files_for_configurations(directory: &Path) {
    let name = directory.file_name().expect("a directory with a name").to_string_lossy();
    let files = Certificates::new(&format!("{name}-tls"));
    for name in ["ca.pem", "server.pem", "server.key", "client.pem", "client.key"] {
        std::fs::copy(files.path(name), directory.join(name)).unwrap();
    }
}
