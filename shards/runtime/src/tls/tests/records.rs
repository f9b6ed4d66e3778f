//! Records once rustls has done its part: keys that change, and what no peer may send.

use super::super::record::Keys;
use super::*;

/// Clients hand out their keys.
fn client_with_keys(files: &Files) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    Client::new(Arc::new(config), "localhost")
}

/// Somebody who has done a handshake and can seal anything since.
struct Forger {
    world: World,
    conn: ConnId,
    own: Keys,
    servers: Keys,
}

impl Forger {
    fn new(files: &Files) -> Forger {
        let mut world = World::new(&files.settings());
        let conn = world.open();
        let mut client = client_with_keys(files);
        world.talk(conn, &mut client, 1 << 20);
        let secrets = client.tls.dangerous_extract_secrets().unwrap();
        let (own, servers) = (Keys::new(secrets.tx).unwrap(), Keys::new(secrets.rx).unwrap());
        Forger { world, conn, own, servers }
    }

    fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut room = vec![0; content.len() + 22];
        assert_eq!(self.own.seal(kind, content, &mut room), Some(room.len()));
        room
    }

    fn says(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let (now, conn) = (self.world.now, self.conn);
        self.world.secure.take_in(now, conn, 0, &mut bytes, &mut self.world.effects);
        self.world.turns();
    }

    /// What has come since: types and contents.
    fn hears(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = self.world.output(self.conn);
        let mut records = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let end = at + 5 + usize::from(u16::from_be_bytes([bytes[at + 3], bytes[at + 4]]));
            let (kind, length) = self.servers.open(&mut bytes[at..end], 0).unwrap();
            records.push((kind, bytes[at..at + length].to_vec()));
            at = end;
        }
        records
    }

    fn heard(&self) -> Vec<u8> {
        self.world.secure.inner().heard.get(&self.conn).cloned().unwrap_or_default()
    }

    fn is_open(&self) -> bool {
        self.world.effects.closes.is_empty()
            && !self.world.told(self.conn).iter().any(|text| text.contains("hangup"))
    }
}

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

#[test]
fn keys_may_change_at_any_time_in_both_directions() {
    let files = Files::new();
    for cut in [1, 2, 7, 23, 1000, 1 << 20] {
        let mut world = World::new(&files.settings());
        let mut client = files.client(&rustls::version::TLS13, false);
        let conn = world.open();
        world.talk(conn, &mut client, cut);
        let mut said = Vec::new();
        for round in 0..40u8 {
            let part = vec![round; 1 + 997 * usize::from(round)];
            client.tls.writer().write_all(&part).unwrap();
            // Asks for an update of the other side's keys too.
            client.tls.refresh_traffic_keys().unwrap();
            client.tls.writer().write_all(b"behind").unwrap();
            said.extend([&part[..], b"behind"].concat());
            world.talk(conn, &mut client, cut);
        }
        assert!(client.failed.is_none(), "cut {cut}: {:?}", client.failed);
        assert!(client.read() == said, "cut {cut}: what came back");
        assert!(world.secure.inner().heard[&conn] == said, "cut {cut}: what came");
    }
}

#[test]
fn worn_keys_are_changed_before_they_are_used_up() {
    let files = Files::new();
    let mut world = World::new(&files.settings());
    let mut client = files.client(&rustls::version::TLS13, false);
    let conn = world.open();
    world.talk(conn, &mut client, 1 << 20);
    world.secure.records(conn).unwrap().wear_after(3);
    let message: Vec<u8> = (0..300_000u32).map(|i| (i * 11) as u8).collect();
    let mut back = Vec::new();
    for part in message.chunks(50_000) {
        client.tls.writer().write_all(part).unwrap();
        world.talk(conn, &mut client, 1 << 20);
        back.extend(client.read());
    }
    assert!(back == message, "{:?}", client.failed);
    let sealed = world.secure.records(conn).unwrap().sealed();
    assert!(sealed <= 3, "{sealed} records with one key");
}

#[test]
fn whatever_is_no_record_of_now_ends_a_connection_with_an_alert() {
    let files = Files::new();
    type Spoils = fn(&mut Forger) -> Vec<u8>;
    let cases: [(&str, u8, Spoils); 15] = [
        ("a bit of the content", 20, |it| flipped(it.record(DATA, b"PING\r\n"), 7)),
        ("a bit of the tag", 20, |it| flipped(it.record(DATA, b"PING\r\n"), 20)),
        ("a bit of the version", 20, |it| flipped(it.record(DATA, b"PING\r\n"), 1)),
        ("the same record again", 20, |it| it.record(DATA, b"PING\r\n").repeat(2)),
        ("a record left out", 20, |it| {
            it.record(DATA, b"PING\r\n");
            it.record(DATA, b"PING\r\n")
        }),
        ("no room for a tag", 20, |_| vec![23, 3, 3, 0, 3, 1, 2, 3]),
        ("too long", 22, |_| vec![23, 3, 3, 0x41, 1]),
        ("too much in it", 22, |it| it.record(DATA, &[1; (16 << 10) + 1])),
        ("an open handshake", 10, |_| vec![22, 3, 3, 0, 5, 24, 0, 0, 1, 0]),
        ("an open alert", 10, |_| vec![21, 3, 3, 0, 2, 1, 0]),
        ("a change of ciphers", 10, |_| vec![20, 3, 3, 0, 1, 1]),
        ("nothing but padding", 10, |it| it.record(0, &[0; 9])),
        ("a hello", 10, |it| it.record(HANDSHAKE, &[1, 0, 0, 0])),
        ("half an update", 50, |it| it.record(HANDSHAKE, &[24, 0, 0, 1])),
        ("an update and more", 50, |it| it.record(HANDSHAKE, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0])),
    ];
    for (what, alert, spoils) in cases {
        for cut in [1, 1 << 20] {
            let mut it = Forger::new(&files);
            let good = it.record(DATA, b"before");
            let bad = spoils(&mut it);
            for part in [good, bad].concat().chunks(cut) {
                it.says(part);
            }
            assert!(!it.is_open(), "{what}");
            assert!(it.heard().starts_with(b"before"), "{what}");
            let told = it.hears();
            assert_eq!(told.last().unwrap(), &(ALERT, vec![2, alert]), "{what}");
            it.says(&[23, 3, 3, 0, 20, 1]);
        }
    }
}

fn flipped(mut record: Vec<u8>, at: usize) -> Vec<u8> {
    record[at] ^= 1;
    record
}

#[test]
fn what_is_allowed_besides_data_passes() {
    let files = Files::new();
    let mut it = Forger::new(&files);
    let padded = it.record(0, b"padded\x17\0\0\0\0");
    let empty = it.record(DATA, b"");
    let cancelled = it.record(ALERT, &[1, 90]);
    let full = it.record(DATA, &[7; 16 << 10]);
    it.says(&[padded, empty, cancelled, full].concat());
    assert!(it.is_open());
    assert!(it.heard() == [&b"padded"[..], &[7; 16 << 10]].concat());
}

#[test]
fn who_only_sends_records_without_data_is_sent_away() {
    let files = Files::new();
    for (kind, content) in [(DATA, &b""[..]), (ALERT, &[1, 90])] {
        let mut it = Forger::new(&files);
        for _ in 0..20 {
            // Data in between excuses them.
            for _ in 0..30 {
                let record = it.record(kind, content);
                it.says(&record);
            }
            let record = it.record(DATA, b".");
            it.says(&record);
        }
        assert!(it.is_open(), "{kind}");
        for _ in 0..33 {
            let record = it.record(kind, content);
            it.says(&record);
        }
        assert!(!it.is_open(), "{kind}");
        assert_eq!(it.hears().last().unwrap(), &(ALERT, vec![2, 10]), "{kind}");
    }
}

#[test]
fn after_a_goodbye_nothing_is_heard() {
    let files = Files::new();
    let mut it = Forger::new(&files);
    let (said, goodbye) = (it.record(DATA, b"said"), it.record(ALERT, &[1, 0]));
    let behind = it.record(DATA, b"behind");
    it.says(&[said, goodbye, behind.clone()].concat());
    it.says(&behind);
    assert_eq!(it.heard(), b"said");
    let mut it = Forger::new(&files);
    let alert = it.record(ALERT, &[2, 80]);
    it.says(&alert);
    assert!(!it.is_open());
    assert!(it.hears().iter().all(|(kind, _)| *kind != ALERT), "an alert is no answer to one");
}

/// Random cuts of random records, good ones only: what is heard does not depend on the cuts.
#[test]
fn the_cuts_of_what_comes_do_not_matter() {
    let files = Files::new();
    let mut seed = 11u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    for _ in 0..60 {
        let mut it = Forger::new(&files);
        let (mut bytes, mut data) = (Vec::new(), Vec::new());
        for _ in 0..1 + random(40) {
            let length = [0, 1, 15, 16, 17, 300, 5000, 16 << 10][random(8)];
            let content: Vec<u8> = (0..length).map(|_| random(256) as u8).collect();
            bytes.extend(it.record(DATA, &content));
            data.extend(content);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = [1, 10, 1000, 70_000][random(4)];
            let (now, later) = rest.split_at((1 + random(most)).min(rest.len()));
            it.says(now);
            rest = later;
        }
        assert!(it.is_open());
        assert!(it.heard() == data);
    }
}
