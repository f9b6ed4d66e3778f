//! The filter without sockets: a client of rustls's on one side, a stub of an engine on the other.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mesh::Rate;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    CipherSuiteCommon, ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    SupportedCipherSuite, Tls12CipherSuite,
};
use shard::limits::{MILLIS, SECONDS};
use shard::report::Ask;
use shard::{Close, CloseReason, ConnId, Effects, Hangup, Input, Name, Nanos, Peer, Secured};

use super::secure::{Sealed, Secure};
use super::session::HANDSHAKE_BYTES_MAX;
use super::{CertificateFiles, Tls, TlsSettings};
use crate::engine::Engine;

/// Says what it was told, and gives out what it is given.
#[derive(Default)]
struct Stub {
    told: Vec<(ConnId, String)>,
    heard: HashMap<ConnId, Vec<u8>>,
    out: HashMap<ConnId, VecDeque<Vec<u8>>>,
    sent: u64,
    /// Closed when the server ends, with some words.
    parting: Option<ConnId>,
}

// SAFETY: a `Vec`'s bytes stay where they are, and nobody else has it.
unsafe impl Engine for Stub {
    type Chunk = Vec<u8>;

    fn step(&mut self, _now: Nanos, input: Input<'_>, effects: &mut Effects) {
        let mut close = |conn, reason, flush| effects.closes.push(Close { conn, reason, flush });
        let (conn, text) = match input {
            Input::Open { conn, peer } => {
                let first = peer.tls.is_some_and(|offer| offer.first);
                if !first {
                    self.out.entry(conn).or_default().push_back(b"INFO\r\n".to_vec());
                }
                (conn, format!("open first={first}"))
            }
            Input::Bytes { conn, bytes, .. } => {
                self.heard.entry(conn).or_default().extend_from_slice(bytes);
                self.out.entry(conn).or_default().push_back(bytes.to_vec());
                effects.dirty.push(conn);
                return;
            }
            Input::Sent { bytes, .. } => return self.sent += bytes,
            Input::Ask(Ask::Shutdown) => {
                let Some(conn) = self.parting.take() else { return };
                self.out.entry(conn).or_default().push_back(b"-ERR 'bye'\r\n".to_vec());
                close(conn, CloseReason::ServerShutdown, true);
                return;
            }
            Input::Hangup { conn, cause } => {
                close(conn, CloseReason::ClientClosed, cause == Hangup::Closed);
                (conn, format!("hangup {cause:?}"))
            }
            Input::Secured { conn, what } => match what {
                Secured::Established(facts) => (
                    conn,
                    format!("established {} {} first={}", facts.version, facts.cipher, facts.first),
                ),
                Secured::Silent => {
                    self.out.entry(conn).or_default().push_back(b"INFO\r\n".to_vec());
                    (conn, "silent".to_owned())
                }
                Secured::Started => (conn, "started".to_owned()),
                Secured::Declined => (conn, "declined".to_owned()),
                over => {
                    close(conn, CloseReason::TlsHandshakeFailure, false);
                    (conn, format!("{over:?}"))
                }
            },
            _ => return,
        };
        self.told.push((conn, text));
    }

    fn take_chunk(&mut self, conn: ConnId) -> Option<Vec<u8>> {
        self.out.get_mut(&conn)?.pop_front()
    }

    fn recycle(&mut self, _: Vec<u8>) {}

    fn flush_over(&mut self, conn: ConnId) {
        self.out.remove(&conn);
        self.told.push((conn, "flush over".to_owned()));
    }

    fn deadline(&self) -> Option<Nanos> {
        None
    }

    fn has_work(&self) -> bool {
        false
    }

    fn handed_over(&mut self, _tell: impl FnMut(Nanos, u64)) {}
}

/// Certificates made for this test, in files.
struct Files {
    directory: PathBuf,
    ca: PathBuf,
    server: CertificateFiles,
    client: CertificateFiles,
}

impl Files {
    fn new() -> Files {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringbus-tls-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let signed = |name: &str, sans: Vec<SanType>| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.subject_alt_names = sans;
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &ca).unwrap();
            CertificateFiles {
                cert_file: write(&format!("{name}.pem"), certificate.pem()),
                key_file: write(&format!("{name}.key"), key.serialize_pem()),
            }
        };
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let email = SanType::Rfc822Name("derek@nats.io".try_into().unwrap());
        let uri = SanType::URI("spiffe://a/b".try_into().unwrap());
        let server = signed("server", vec![dns("localhost")]);
        let client = signed("client", vec![email, dns("box.local"), uri]);
        Files { ca: write("ca.pem", ca.pem()), server, client, directory: directory.clone() }
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings {
            certificates: vec![self.server.clone()],
            ca_file: Some(self.ca.clone()),
            ..TlsSettings::default()
        }
    }

    /// A client, of this version only.
    fn client(&self, version: &'static rustls::SupportedProtocolVersion, shows: bool) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = if shows {
            let chain = vec![CertificateDer::from_pem_file(&self.client.cert_file).unwrap()];
            let key = PrivateKeyDer::from_pem_file(&self.client.key_file).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        Client::new(Arc::new(config), "localhost")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

struct Client {
    tls: ClientConnection,
    /// Read before TLS began.
    plain: Vec<u8>,
    got: Vec<u8>,
    failed: Option<rustls::Error>,
}

impl Client {
    fn new(config: Arc<ClientConfig>, name: &'static str) -> Client {
        let name = ServerName::try_from(name).unwrap();
        let tls = ClientConnection::new(config, name).unwrap();
        Client { tls, plain: Vec::new(), got: Vec::new(), failed: None }
    }

    fn says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn hears(&mut self, mut bytes: &[u8]) {
        if let Some(rest) = bytes.strip_prefix(b"INFO\r\n") {
            self.plain.extend_from_slice(b"INFO\r\n");
            bytes = rest;
        }
        while !bytes.is_empty() && self.failed.is_none() {
            self.tls.read_tls(&mut bytes).unwrap();
            self.failed = self.tls.process_new_packets().err();
            // The end of what there is reads as an error.
            let _ = self.tls.reader().read_to_end(&mut self.got);
        }
    }

    fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.got)
    }
}

struct World {
    secure: Secure<Stub>,
    effects: Effects,
    now: Nanos,
    slots: u32,
}

impl World {
    fn new(settings: &TlsSettings) -> World {
        let tls: Tls = settings.load().unwrap();
        let secure = Secure::new(Stub::default(), Some(Arc::new(tls)), Arc::new(Rate::default()));
        World { secure, effects: Effects::new(1), now: 0, slots: 0 }
    }

    fn step(&mut self, input: Input<'_>) {
        self.secure.step(self.now, input, &mut self.effects);
    }

    fn toil(&mut self) {
        if self.secure.has_toil() {
            self.secure.toil(self.now, &mut self.effects);
        }
    }

    fn open(&mut self) -> ConnId {
        let conn = ConnId { slot: self.slots, generation: 1 };
        self.slots += 1;
        let addr = ([127, 0, 0, 1], 1).into();
        let peer =
            Peer { cid: 1, addr, start_unix_ns: 0, refused: false, tls: None, proxied: false };
        self.step(Input::Open { conn, peer });
        conn
    }

    fn turns(&mut self) {
        while self.secure.has_work() {
            self.step(Input::Turn);
            self.toil();
        }
    }

    fn wait(&mut self, time: Nanos) {
        self.now += time;
        self.step(Input::Turn);
    }

    /// All that waits for a connection, and the kernel takes it in two parts.
    fn output(&mut self, conn: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.secure.take_chunk(conn) {
            let length = chunk.as_ref().len() as u64;
            bytes.extend_from_slice(chunk.as_ref());
            for part in [length / 3, length - length / 3].into_iter().filter(|part| *part > 0) {
                self.step(Input::Sent { conn, bytes: part });
            }
            self.secure.recycle(chunk);
        }
        bytes
    }

    /// Both talk until neither has anything to say. The server hears in cuts of so many bytes.
    fn talk(&mut self, conn: ConnId, client: &mut Client, cut: usize) {
        loop {
            let output = self.output(conn);
            client.hears(&output);
            let said = client.says();
            if said.is_empty() && output.is_empty() {
                return;
            }
            for bytes in said.chunks(cut) {
                self.step(Input::Bytes { conn, at: 0, bytes });
                self.turns();
            }
        }
    }

    fn told(&self, conn: ConnId) -> Vec<&str> {
        let told = self.secure.inner().told.iter();
        told.filter(|(whose, _)| *whose == conn).map(|(_, text)| text.as_str()).collect()
    }
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn bytes_pass_whatever_the_cuts() {
    let files = Files::new();
    for version in VERSIONS {
        for cut in (1..40).chain([100, 1000, 5000, 1 << 20]) {
            let mut world = World::new(&files.settings());
            let mut client = files.client(version, false);
            let conn = world.open();
            world.talk(conn, &mut client, cut);
            assert_eq!(client.plain, b"INFO\r\n");
            let message: Vec<u8> = (0..40_000u32).map(|i| (i * 7) as u8).collect();
            for part in [&message[..1], &message[1..300], &message[300..]] {
                client.tls.writer().write_all(part).unwrap();
            }
            let mut back = Vec::new();
            while back.len() < message.len() {
                world.talk(conn, &mut client, cut);
                let read = client.read();
                assert!(!read.is_empty(), "cut {cut}: {:?}", client.failed);
                back.extend(read);
            }
            assert!(back == message, "cut {cut}");
            assert!(world.secure.inner().heard[&conn] == message, "cut {cut}");
            let told = 6 + message.len() as u64;
            assert_eq!(world.secure.inner().sent, told, "the engine hears of its own bytes only");
        }
    }
}

#[test]
fn what_comes_with_the_last_of_the_handshake_is_heard() {
    let files = Files::new();
    for version in VERSIONS {
        let mut world = World::new(&files.settings());
        let mut client = files.client(version, false);
        let conn = world.open();
        client.tls.writer().write_all(b"PING\r\n").unwrap();
        world.talk(conn, &mut client, 1 << 20);
        assert_eq!(client.read(), b"PING\r\n");
        let told = world.told(conn);
        assert!(told[0] == "open first=false" && told[1] == "started", "{told:?}");
        assert!(told[2].starts_with("established 1."), "{told:?}");
    }
}

#[test]
fn steps_of_handshakes_are_done_one_by_one_and_never_in_a_turn() {
    let files = Files::new();
    let mut world = World::new(&files.settings());
    let mut clients = Vec::new();
    for _ in 0..50 {
        let conn = world.open();
        let mut client = files.client(&rustls::version::TLS13, false);
        let info = world.output(conn);
        client.hears(&info);
        let hello = client.says();
        world.step(Input::Bytes { conn, at: 0, bytes: &hello });
        clients.push((conn, client));
    }
    let mut answered = Vec::new();
    for turn in 1..=50 {
        world.step(Input::Turn);
        assert!(clients.iter().all(|(conn, _)| world.output(*conn).is_empty()));
        assert!(world.secure.has_work() && world.secure.has_toil(), "turn {turn}");
        world.toil();
        answered.extend(clients.iter().filter_map(|(conn, _)| {
            let bytes = world.output(*conn);
            (!bytes.is_empty()).then_some(*conn)
        }));
        assert_eq!(answered.len(), turn, "one step at a time, whoever waits");
    }
    assert!(!world.secure.has_work() && !world.secure.has_toil());
    let in_order: Vec<ConnId> = clients.iter().map(|(conn, _)| *conn).collect();
    assert_eq!(answered, in_order, "first come, first served");
}

#[test]
fn a_client_that_only_fills_memory_is_cut_off() {
    let files = Files::new();
    let mut world = World::new(&files.settings());
    let conn = world.open();
    // A record of a handshake message that never ends.
    let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    record.resize(HANDSHAKE_BYTES_MAX - 1, 0);
    world.step(Input::Bytes { conn, at: 0, bytes: &record });
    world.turns();
    assert_eq!(world.effects.closes.len(), 0);
    world.step(Input::Bytes { conn, at: 0, bytes: &[0; 4] });
    assert_eq!(world.effects.closes.len(), 1);
    assert!(world.told(conn).last().unwrap().contains("handshake message too large"));
    assert_eq!(world.output(conn), b"INFO\r\n", "what was said before goes out");
}

#[test]
fn nonsense_ends_a_handshake() {
    let files = Files::new();
    let hello = |files: &Files| files.client(&rustls::version::TLS13, false).says();
    // No TLS at all.
    let mut world = World::new(&files.settings());
    let conn = world.open();
    world.output(conn);
    world.step(Input::Bytes { conn, at: 0, bytes: b"CONNECT {}\r\n" });
    world.turns();
    assert!(world.told(conn).last().unwrap().contains("probe: true"));
    assert_eq!(world.output(conn), b"", "whoever does not know TLS gets no alert");
    // A hello, and nonsense behind it.
    let mut world = World::new(&files.settings());
    let conn = world.open();
    world.output(conn);
    let mut bytes = hello(&files);
    bytes.extend_from_slice(&[0x17, 3, 3, 0, 40]);
    bytes.extend_from_slice(&[9; 40]);
    world.step(Input::Bytes { conn, at: 0, bytes: &bytes });
    world.turns();
    assert!(world.told(conn).last().unwrap().contains("probe: false"));
    let answer = world.output(conn);
    assert!(!answer.is_empty() && world.effects.closes[0].flush, "the alert goes out");
    // Random bytes in the place of a handshake, of any length, with any start.
    let mut seed = 7u64;
    for round in 0..2000 {
        let mut world = World::new_from(&world);
        let conn = world.open();
        let mut bytes = if round % 2 == 0 { hello(&files) } else { vec![0x16, 3, 1, 0, 200] };
        for _ in 0..20 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = (seed >> 20) as u8;
            if seed.is_multiple_of(3) {
                bytes.push((seed >> 40) as u8);
            }
        }
        for part in bytes.chunks(1 + round % 97) {
            world.step(Input::Bytes { conn, at: 0, bytes: part });
            world.turns();
        }
        world.output(conn);
        world.wait(3 * SECONDS);
        assert!(!world.told(conn).iter().any(|text| text.starts_with("established")));
    }
}

#[test]
fn silence_has_its_times() {
    let files = Files::new();
    // A slow handshake.
    let mut world = World::new(&files.settings());
    let conn = world.open();
    let hello = files.client(&rustls::version::TLS13, false).says();
    for byte in &hello[..20] {
        world.wait(90 * MILLIS);
        world.step(Input::Bytes { conn, at: 0, bytes: &[*byte] });
    }
    assert_eq!(world.effects.closes.len(), 0);
    world.wait(300 * MILLIS);
    assert_eq!(world.told(conn).last(), Some(&"TimedOut"));
    assert_eq!(world.secure.live(), 0, "nothing is kept");
    // `handshake_first: auto`.
    let auto = TlsSettings { first: true, fallback_ns: 50 * MILLIS, ..files.settings() };
    let mut world = World::new(&auto);
    let (quiet, quick) = (world.open(), world.open());
    let mut client = files.client(&rustls::version::TLS13, false);
    assert_eq!(world.output(quiet), b"", "no INFO yet");
    world.talk(quick, &mut client, 1 << 20);
    assert!(world.told(quick).last().unwrap().ends_with("first=true"));
    world.wait(50 * MILLIS);
    assert_eq!(world.output(quiet), b"INFO\r\n");
    let mut client = files.client(&rustls::version::TLS13, false);
    world.talk(quiet, &mut client, 1 << 20);
    assert!(world.told(quiet).last().unwrap().ends_with("first=false"));
}

#[test]
fn a_client_may_do_without_where_it_may() {
    let files = Files::new();
    let mut world = World::new(&TlsSettings { optional: true, ..files.settings() });
    let (plain, secret, quiet) = (world.open(), world.open(), world.open());
    world.step(Input::Bytes { conn: plain, at: 0, bytes: b"PING\r\n" });
    assert_eq!(world.told(plain).last(), Some(&"declined"));
    assert_eq!(world.output(plain), b"INFO\r\nPING\r\n");
    let mut client = files.client(&rustls::version::TLS13, false);
    world.talk(secret, &mut client, 1 << 20);
    assert!(world.told(secret).last().unwrap().starts_with("established"));
    world.wait(2 * SECONDS);
    assert_eq!(world.told(quiet).last(), Some(&"declined"), "saying nothing is no handshake");
}

#[test]
fn handshakes_are_rationed() {
    let files = Files::new();
    let mut world = World::new(&TlsSettings { rate_max: 3, ..files.settings() });
    let hello = files.client(&rustls::version::TLS13, false).says();
    let throttled = |world: &mut World| {
        let conns: Vec<ConnId> = (0..5).map(|_| world.open()).collect();
        for conn in &conns {
            world.step(Input::Bytes { conn: *conn, at: 0, bytes: &hello });
        }
        conns.iter().filter(|conn| world.told(**conn).last() == Some(&"Throttled")).count()
    };
    assert_eq!(throttled(&mut world), 2);
    world.wait(SECONDS);
    assert_eq!(throttled(&mut world), 2);
}

#[test]
fn certificates_say_who_a_client_is() {
    let files = Files::new();
    let settings = TlsSettings { verify: true, map: true, ..files.settings() };
    for version in VERSIONS {
        let mut world = World::new(&settings);
        let conn = world.open();
        let mut client = files.client(version, true);
        world.talk(conn, &mut client, 1000);
        assert!(world.told(conn).last().unwrap().starts_with("established"), "{:?}", client.failed);
        let mut world = World::new(&settings);
        let conn = world.open();
        let mut client = files.client(version, false);
        world.talk(conn, &mut client, 1000);
        let told = world.told(conn).last().unwrap().to_string();
        assert!(told.contains("client didn't provide a certificate"), "{told}");
        assert!(client.failed.is_some(), "it hears of it");
    }
    let der = CertificateDer::from_pem_file(&files.client.cert_file).unwrap();
    let names = super::identity::names(&der);
    let texts: Vec<&str> = names
        .iter()
        .filter_map(|name| match name {
            Name::Text(text) => Some(text.as_str()),
            Name::Distinguished(_) => None,
        })
        .collect();
    let subject = "CN=rcgen self signed cert";
    assert_eq!(texts, ["derek@nats.io", "box.local", "spiffe://a/b", subject]);
    assert!(matches!(&names[3], Name::Distinguished(dn) if dn.is_named(subject)));
}

#[test]
fn only_pinned_keys_come_in() {
    let files = Files::new();
    let der = CertificateDer::from_pem_file(&files.client.cert_file).unwrap();
    let own = super::identity::certificates(&[der])[0].spki_sha256.clone();
    for (pinned, lets_in) in [(own, true), ("0".repeat(64), false)] {
        let settings = TlsSettings { verify: true, pinned: vec![pinned], ..files.settings() };
        let mut world = World::new(&settings);
        let conn = world.open();
        let mut client = files.client(&rustls::version::TLS13, true);
        world.talk(conn, &mut client, 1000);
        let told = world.told(conn).last().unwrap().to_string();
        assert_eq!(told.starts_with("established"), lets_in, "{told}");
        assert_eq!(told.contains("certificate not pinned"), !lets_in, "{told}");
    }
}

#[test]
fn whoever_has_a_key_that_is_not_pinned_any_more_is_closed() {
    let files = Files::new();
    let der = CertificateDer::from_pem_file(&files.client.cert_file).unwrap();
    let own = super::identity::certificates(&[der])[0].spki_sha256.clone();
    let settings = TlsSettings { verify: true, ..files.settings() };
    let mut world = World::new(&settings);
    let conn = world.open();
    let mut client = files.client(&rustls::version::TLS13, true);
    world.talk(conn, &mut client, 1000);
    for (pinned, stays) in [(vec![own], true), (vec!["0".repeat(64)], false)] {
        let tls = TlsSettings { pinned, ..settings.clone() }.load().unwrap();
        world.secure.secure_with(Some(Arc::new(tls)));
        assert!(world.secure.has_work());
        world.turns();
        let told = world.told(conn).last().unwrap().to_string();
        assert_eq!(told.starts_with("established"), stays, "{told}");
        assert_eq!(told.contains("certificate not pinned any more"), !stays, "{told}");
    }
    assert_eq!(world.effects.closes.len(), 1);
}

#[test]
fn ends_are_said() {
    let files = Files::new();
    for version in VERSIONS {
        // The client's.
        let mut world = World::new(&files.settings());
        let conn = world.open();
        let mut client = files.client(version, false);
        world.talk(conn, &mut client, 1 << 20);
        client.tls.writer().write_all(b"last words").unwrap();
        client.tls.send_close_notify();
        world.talk(conn, &mut client, 1 << 20);
        assert_eq!(world.told(conn).last(), Some(&"hangup Closed"));
        assert_eq!(client.read(), b"last words", "and ours come before our goodbye");
        assert!(client.tls.process_new_packets().unwrap().peer_has_closed());
        world.secure.flush_over(conn);
        assert_eq!(world.secure.live(), 0);
        assert_eq!(world.told(conn).last(), Some(&"flush over"), "the engine hears of it too");
        // Without one.
        let mut world = World::new(&files.settings());
        let conn = world.open();
        world.step(Input::Hangup { conn, cause: Hangup::Closed });
        assert!(world.told(conn).last().unwrap().contains("EOF"));
        assert_eq!(world.secure.live(), 0);
    }
}

#[test]
fn nothing_is_said_in_plain_text_in_the_middle_of_a_handshake() {
    let files = Files::new();
    let mut world = World::new(&files.settings());
    let conn = world.open();
    let mut client = files.client(&rustls::version::TLS13, false);
    let info = world.output(conn);
    client.hears(&info);
    let hello = client.says();
    world.step(Input::Bytes { conn, at: 0, bytes: &hello });
    world.turns();
    assert_eq!(world.output(conn).first(), Some(&0x16), "a record");
    world.secure.inner_mut().parting = Some(conn);
    world.step(Input::Ask(Ask::Shutdown));
    assert!(world.effects.closes[0].flush, "an orderly end");
    assert_eq!(world.output(conn), b"");
    world.secure.flush_over(conn);
    assert_eq!(world.secure.live(), 0);
}

#[test]
fn new_certificates_are_for_new_connections() {
    let (files, other) = (Files::new(), Files::new());
    let mut world = World::new(&files.settings());
    let before = world.open();
    let mut client = files.client(&rustls::version::TLS13, false);
    world.talk(before, &mut client, 1 << 20);
    world.secure.secure_with(Some(Arc::new(other.settings().load().unwrap())));
    let after = world.open();
    let mut stranger = files.client(&rustls::version::TLS13, false);
    world.talk(after, &mut stranger, 1 << 20);
    assert!(stranger.failed.is_some(), "the new one is from somebody else");
    let last = world.open();
    let mut friend = other.client(&rustls::version::TLS13, false);
    world.talk(last, &mut friend, 1 << 20);
    assert!(world.told(last).last().unwrap().starts_with("established"));
    client.tls.writer().write_all(b"still here").unwrap();
    world.talk(before, &mut client, 1 << 20);
    assert_eq!(client.read(), b"still here");
}

#[test]
fn a_connection_holds_no_settings_that_a_reload_has_replaced() {
    let files = Files::new();
    for version in VERSIONS {
        let mut world = World::new(&files.settings());
        let conn = world.open();
        let mut client = files.client(version, false);
        world.talk(conn, &mut client, 1 << 20);
        let before = Arc::downgrade(&world.secure.tls().expect("TLS"));
        world.secure.secure_with(Some(Arc::new(files.settings().load().unwrap())));
        assert!(before.upgrade().is_none(), "{version:?}");
        client.tls.writer().write_all(b"still here").unwrap();
        world.talk(conn, &mut client, 1 << 20);
        assert_eq!(client.read(), b"still here");
    }
}

#[test]
fn sessions_are_resumed() {
    let files = Files::new();
    for version in VERSIONS {
        let mut world = World::new(&files.settings());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&files.ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut client = Client::new(Arc::clone(&config), "localhost");
            let conn = world.open();
            world.talk(conn, &mut client, 1 << 20);
            kinds.push(client.tls.handshake_kind().unwrap());
        }
        assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
    }
}

#[test]
fn the_certificate_for_the_name_is_shown() {
    let files = Files::new();
    let other = Files::new();
    let settings = TlsSettings {
        certificates: vec![other.client.clone(), files.server.clone()],
        ..files.settings()
    };
    let mut world = World::new(&settings);
    let conn = world.open();
    let mut client = files.client(&rustls::version::TLS13, false);
    world.talk(conn, &mut client, 1 << 20);
    assert!(world.told(conn).last().unwrap().starts_with("established"), "{:?}", client.failed);
}

#[test]
fn faults_of_files_are_told() {
    let files = Files::new();
    let fault = |change: fn(&mut TlsSettings, &Files)| {
        let mut settings = files.settings();
        change(&mut settings, &files);
        settings.load().unwrap_err()
    };
    let missing = fault(|it, _| it.certificates[0].cert_file = "/nowhere.pem".into());
    assert!(missing.contains("open /nowhere.pem: no such file"), "{missing}");
    let swapped = fault(|it, files| it.certificates[0].key_file = files.client.key_file.clone());
    assert!(swapped.contains("private key does not match public key"), "{swapped}");
    let keyless = fault(|it, files| it.certificates[0].key_file = files.ca.clone());
    assert!(keyless.contains("no private key in it"), "{keyless}");
    let none = fault(|it, files| {
        (it.verify, it.ca_file) = (true, Some(files.server.key_file.clone()));
    });
    assert!(none.contains("failed to parse root ca certificate"), "{none}");
    let suite = fault(|it, _| it.cipher_suites = vec!["TLS_NONE".to_owned()]);
    assert!(suite.contains("TLS_NONE"), "{suite}");
}

impl World {
    /// With the same certificates.
    fn new_from(other: &World) -> World {
        let tls = other.secure.tls().expect("it has TLS");
        let secure = Secure::new(Stub::default(), Some(tls), Arc::new(Rate::default()));
        World { secure, effects: Effects::new(1), now: 0, slots: 0 }
    }
}

impl Files {
    /// A server of TLS 1.2 whose keys are good for so many records.
    fn short_lived(&self, records: u64) -> World {
        let suite = ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
        let SupportedCipherSuite::Tls12(suite) = suite else { panic!("not of TLS 1.2") };
        let Tls12CipherSuite { common, prf_provider, kx, sign, aead_alg } = suite;
        let CipherSuiteCommon { suite, hash_provider, .. } = common;
        let common = CipherSuiteCommon {
            suite: *suite,
            hash_provider: *hash_provider,
            confidentiality_limit: records,
        };
        let (prf_provider, kx, sign, aead_alg) = (*prf_provider, *kx, *sign, *aead_alg);
        let suite = Tls12CipherSuite { common, prf_provider, kx, sign, aead_alg };
        let suite = SupportedCipherSuite::Tls12(Box::leak(Box::new(suite)));
        let provider = CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() };
        let chain = vec![CertificateDer::from_pem_file(&self.server.cert_file).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&self.server.key_file).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let tls = Tls { clients: Arc::new(config), ..self.settings().load().unwrap() };
        let secure = Secure::new(Stub::default(), Some(Arc::new(tls)), Arc::new(Rate::default()));
        World { secure, effects: Effects::new(1), now: 0, slots: 0 }
    }
}

/// A client behind a server whose keys are good for ten records, its own last words of the
/// handshake among them.
fn short_lived(files: &Files) -> (World, ConnId, Client) {
    let mut world = files.short_lived(10);
    let mut client = files.client(&rustls::version::TLS12, false);
    let conn = world.open();
    world.talk(conn, &mut client, 1 << 20);
    assert!(world.told(conn).last().unwrap().starts_with("established 1.2"));
    (world, conn, client)
}

#[test]
fn a_connection_whose_keys_are_used_up_ends_at_once() {
    let files = Files::new();
    for lengths in [&[1; 20][..], &[200_000], &[1, 200_000, 1]] {
        let (mut world, conn, mut client) = short_lived(&files);
        let waiting = world.secure.inner_mut().out.entry(conn).or_default();
        waiting.extend(lengths.iter().map(|length| vec![b'x'; *length]));
        let output = world.output(conn);
        client.hears(&output);
        assert!(world.secure.has_work(), "it is pressing");
        world.turns();
        assert_eq!(world.told(conn).last(), Some(&"hangup WriteError"));
        assert_eq!(world.effects.closes.len(), 1);
        assert!(world.effects.closes[0].flush, "a goodbye goes out");
        let goodbye = world.output(conn);
        client.hears(&goodbye);
        let sealed = lengths.iter().take_while(|length| **length == 1).count().min(9);
        assert_eq!(client.read().len(), sealed, "what the keys were good for");
        assert!(client.tls.process_new_packets().unwrap().peer_has_closed());
        world.secure.flush_over(conn);
        assert!(world.secure.live() == 0 && !world.secure.has_work());
    }
}

#[test]
fn keys_that_are_used_up_by_last_words_leave_a_goodbye() {
    let files = Files::new();
    let (mut world, conn, mut client) = short_lived(&files);
    let waiting = world.secure.inner_mut().out.entry(conn).or_default();
    waiting.extend(vec![vec![b'x']; 20]);
    client.tls.send_close_notify();
    let said = client.says();
    world.step(Input::Bytes { conn, at: 0, bytes: &said });
    assert!(world.effects.closes[0].flush);
    let output = world.output(conn);
    client.hears(&output);
    assert_eq!(client.read().len(), 9, "what the keys were good for");
    assert!(client.tls.process_new_packets().unwrap().peer_has_closed());
    assert!(!world.secure.has_work(), "it is closed already");
}

/// What a busy connection has used is not held by a few bytes for a slow one.
#[test]
fn a_large_buffer_is_for_whoever_has_much_waiting() {
    let files = Files::new();
    let mut world = World::new(&files.settings());
    let mut client = files.client(VERSIONS[1], false);
    let conn = world.open();
    while world.told(conn).last().is_none_or(|told| !told.starts_with("established")) {
        world.talk(conn, &mut client, 5000);
    }
    let mut send = |world: &mut World, lengths: &[usize]| {
        let waiting = world.secure.inner_mut().out.entry(conn).or_default();
        waiting.extend(lengths.iter().map(|length| vec![b'x'; *length]));
        let chunk = world.secure.take_chunk(conn).expect("bytes");
        client.hears(chunk.as_ref());
        assert_eq!(client.read().len(), lengths.iter().sum::<usize>());
        let Sealed::Records(buffer, _) = &chunk else { panic!("not sealed") };
        let (held, at) = (buffer.capacity(), buffer.as_ptr());
        (held, at, chunk)
    };
    let mut slow = Vec::new();
    for lengths in
        [&[1][..], &[4000], &[5000], &[40_000], &[200_000], &[10, 10, 5000], &[60_000; 2]]
    {
        let (held, much, chunk) = send(&mut world, &[1024 * 1024]);
        assert!(held > 1024 * 1024);
        world.secure.recycle(chunk);
        let sum: usize = lengths.iter().sum();
        for _ in 0..3 {
            let (held, _, chunk) = send(&mut world, lengths);
            assert!(held <= 9 * sum.max(2048), "{held} bytes are held for {sum}");
            slow.push(chunk);
        }
        let (_, again, chunk) = send(&mut world, &[1024 * 1024]);
        assert_eq!(again, much, "the large one is in use again");
        world.secure.recycle(chunk);
    }
}
