//! Bytes of strangers, to whole shards that let nobody in unknown: by tokens, looked at as the
//! thread `logins` does, by keys and by passwords. Nobody comes in who holds no secret, whoever
//! holds one does, nothing panics, and memory stays in bounds.
//!
//! `RINGBUS_FUZZ_CASES=1000000` has it run so often; the crate's README has the whole command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use shard::access::{Access, ConnectionTypes, Outcome, Proof, Secret, User};
use shard::limits::SECONDS;
use shard::report::Ask;
use shard::{AccountId, Options, Seat, ShardId};

use super::desk::{self, Answer, Desk};
use super::tests::{token, words};
use super::{Words, decode_account};
use crate::bus::{Bus, Id};

#[path = "../../../wire/tests/support/rng.rs"]
mod rng;

use rng::Rng;

/// What two shards, three connections and a look at what they show may take.
const BYTES_MAX: u64 = 2 << 20;
/// What is learned of accounts stays.
const KEPT_BYTES_MAX: i64 = 1 << 20;
/// Connections have other slots than those of other shards here.
const ONE: ShardId = ShardId(0);
const PASSWORD: &str = "a-password-nobody-guesses";
/// Tokens nobody is let in by, whoever signs the nonce.
const VOID: [&str; 7] = [
    "user_by_stranger",
    "user_expired",
    "user_not_yet",
    "user_revoked",
    "user_bad_subject",
    "account",
    "operator",
];

/// Who a client is, beside what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It holds no secret.
    Stranger,
    /// It holds one, and uses it as it should.
    Known,
    /// It holds one, but what it says was changed on its way.
    Garbled,
}

/// What all executions share.
struct Place {
    desk: Desk,
    by_key: Arc<Access>,
    user: KeyPair,
    other: KeyPair,
}

impl Place {
    fn new() -> Place {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../claims/tests/vectors.json")).expect("JSON");
        let key = |name: &str| {
            let seed = vectors["keys"][name]["seed"].as_str().expect("a seed");
            KeyPair::from_seed(seed).expect("a key")
        };
        let (user, other) = (key("user"), key("revoked"));
        let account = decode_account(&token("account")).expect("a token").claims.subject;
        let preload = BTreeMap::from([(account, token("account"))]);
        let mut access = Access::default();
        access.believe_tokens();
        let words = Words { preload, ..words() };
        let desk = Desk::open(words, Arc::new(access)).expect("all goes together");
        Place { desk, by_key: Arc::new(by_key(&user.public_key())), user, other }
    }

    /// As the thread `logins`.
    fn look_at(&mut self, bus: &mut Bus) -> bool {
        let Some((_, conn, check)) = bus.checks.front() else { return false };
        let holder = (ONE, *conn);
        let Some(shown) = check.shown().cloned() else {
            bus.check();
            bus.settle();
            return true;
        };
        let outcome = match self.desk.admit(&shown, false, holder) {
            Answer::Is(outcome) => outcome,
            Answer::Needs(account) => {
                let (resolver, trust) = (self.desk.resolver(), self.desk.trust().clone());
                if let Ok(found) = desk::gather(&resolver, &trust, &account, &BTreeSet::new()) {
                    self.desk.take_in(found);
                    self.desk.update();
                    bus.ask(&Ask::MoreAccounts(self.desk.access()));
                }
                match self.desk.admit(&shown, true, holder) {
                    Answer::Is(outcome) => outcome,
                    Answer::Needs(account) => Outcome::Failed(account.into()),
                }
            }
        };
        bus.answer(outcome);
        true
    }
}

fn by_key(key: &str) -> Access {
    let mut access = Access::default();
    let proofs = [
        (key, Proof::nkey(key).expect("a key")),
        ("known", Proof::Password(Secret::new(PASSWORD))),
    ];
    for (name, proof) in proofs {
        access.add_user(User {
            name: name.into(),
            proof,
            account: AccountId::GLOBAL,
            permissions: None,
            connection_types: ConnectionTypes::ANY,
            limits: Default::default(),
        });
    }
    access
}

#[test]
fn fuzz_strangers_come_in_with_a_secret_or_not_at_all() {
    let cases: u64 =
        std::env::var("RINGBUS_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000);
    let mut place = Place::new();
    let (mut known, mut most, mut kept) = (0, 0, 0);
    for seed in 1..=cases {
        let taken = allocation_counter::measure(|| known += execute(&mut place, seed));
        assert!(taken.bytes_max <= BYTES_MAX, "seed {seed}: {} bytes", taken.bytes_max);
        kept += taken.bytes_current;
        assert!(kept <= KEPT_BYTES_MAX, "seed {seed}: {kept} bytes are kept by now");
        most = most.max(taken.bytes_max);
    }
    assert!(known > cases / 4, "{known} came in");
    println!(
        "{cases} executions, {known} clients with a secret came in and nobody else, \
         {most} bytes of memory at most, {kept} bytes kept"
    );
}

/// Some clients on two shards. Gives how many came in as they should.
fn execute(place: &mut Place, seed: u64) -> u64 {
    let mut rng = Rng::new(seed);
    let by_token = rng.below(2) == 0;
    let access = if by_token { place.desk.access() } else { place.by_key.clone() };
    let control_line_max = [4096, 1 << 20][rng.below(2)];
    let mut bus = Bus::with(2, Options { access, control_line_max, ..Options::default() });
    bus.holds_checks = true;
    let mut clients = Vec::new();
    for at in 0..1 + rng.below(3) {
        let id = bus.connect(at % 2);
        let (kind, bytes) = says(place, &mut rng, by_token, &bus.info);
        clients.push((id, kind, bytes, Vec::new()));
    }
    let mut known = 0;
    while clients.iter().any(|(.., bytes, _)| !bytes.is_empty()) {
        let at = rng.below(clients.len());
        let (id, _, bytes, heard) = &mut clients[at];
        let most = [1 + rng.below(40), usize::MAX][rng.below(2)];
        let rest = bytes.split_off(most.min(bytes.len()));
        let now = std::mem::replace(bytes, rest);
        if bus.is_closed(*id) {
            bytes.clear();
        } else if !now.is_empty() {
            bus.post(*id, &now);
            bus.settle();
        }
        heard.extend(bus.take_bytes(*id));
        if rng.below(3) == 0 {
            place.look_at(&mut bus);
            catch_up(place, &mut bus);
        }
    }
    while place.look_at(&mut bus) {
        catch_up(place, &mut bus);
    }
    for (id, kind, _, heard) in &mut clients {
        heard.extend(bus.take_bytes(*id));
        known += u64::from(*kind == Kind::Known);
        judge(seed, &bus, *id, *kind, heard);
    }
    leave(place, &mut bus, &clients.iter().map(|(id, ..)| *id).collect::<Vec<_>>());
    assert!(bus.shards.iter().all(|shard| shard.announced().is_empty()), "seed {seed}");
    known
}

/// Seats are given back.
fn catch_up(place: &mut Place, bus: &mut Bus) {
    for seat in bus.seats.drain(..) {
        match seat {
            Seat::Taken(account, conn, cid) => place.desk.seats.add(account, (ONE, conn), cid),
            Seat::Left(account, conn) => place.desk.seats.free(account, (ONE, conn)),
        }
    }
}

/// Nobody is in who should not be, and everybody who should.
fn judge(seed: u64, bus: &Bus, id: Id, kind: Kind, heard: &[u8]) {
    let is_answer = |line: &[u8]| {
        [&b"PONG"[..], b"MSG", b"HMSG", b"+OK"].iter().any(|verb| line.starts_with(verb))
    };
    let is_in = heard.split(|byte| *byte == b'\n').any(is_answer);
    let said = heard.escape_ascii();
    match kind {
        Kind::Stranger => assert!(!is_in, "seed {seed}: a stranger is let in: {said}"),
        Kind::Known => {
            assert!(is_in && !bus.is_closed(id), "seed {seed}: nobody knows it: {said}");
        }
        Kind::Garbled => {}
    }
}

/// Whoever has not said all by now is sent away when its time is over; the rest leave.
fn leave(place: &mut Place, bus: &mut Bus, ids: &[Id]) {
    bus.pass(3 * SECONDS);
    for id in ids {
        bus.hangup(*id);
    }
    while place.look_at(bus) {}
    catch_up(place, bus);
    bus.assert_replicated();
}

/// A client's first words, and what it would like to do.
fn says(place: &Place, rng: &mut Rng, by_token: bool, info: &str) -> (Kind, Vec<u8>) {
    let nonce = info.split("\"nonce\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let nonce = nonce.expect("a nonce").as_bytes();
    let (mut kind, shown) = match by_token {
        true => shown_token(place, rng, nonce),
        false => shown_key(place, rng, nonce),
    };
    let mut bytes = format!("CONNECT {{{shown}\"verbose\":false}}\r\n").into_bytes();
    for _ in 0..rng.below(4) {
        bytes.extend_from_slice(
            rng.pick(&["SUB a 1\r\n", "PUB a 2\r\nhi\r\n", "UNSUB 1\r\n", "PING\r\n"]).as_bytes(),
        );
    }
    bytes.extend_from_slice(b"PING\r\n");
    if kind == Kind::Stranger || rng.below(3) == 0 {
        let changes = rng.below(4);
        for _ in 0..changes {
            mutate(rng, &mut bytes);
        }
        if kind == Kind::Known && changes > 0 {
            kind = Kind::Garbled;
        }
    }
    (kind, bytes)
}

fn signed(key: &KeyPair, nonce: &[u8]) -> String {
    BASE64URL_NOPAD.encode(&key.sign(nonce).expect("a key that signs"))
}

fn shown_token(place: &Place, rng: &mut Rng, nonce: &[u8]) -> (Kind, String) {
    let show = |name: &str, signature: &str| {
        format!("\"jwt\":\"{}\",\"sig\":\"{signature}\",", token(name))
    };
    match rng.below(8) {
        0..3 => (Kind::Known, show("user", &signed(&place.user, nonce))),
        3 => (Kind::Stranger, show(rng.pick::<&str>(&VOID), &signed(&place.user, nonce))),
        4 => (Kind::Stranger, show("user", &signed(&place.other, nonce))),
        5 => (Kind::Stranger, show("user", &signed(&place.user, b"another"))),
        6 => (Kind::Stranger, show("user", rng.pick::<&str>(&["", "AAAA", "=", "{}"]))),
        _ => (Kind::Stranger, "\"user\":\"known\",\"pass\":\"p\",".into()),
    }
}

fn shown_key(place: &Place, rng: &mut Rng, nonce: &[u8]) -> (Kind, String) {
    let (key, other) = (place.user.public_key(), place.other.public_key());
    let show = |key: &str, signature: &str| format!("\"nkey\":\"{key}\",\"sig\":\"{signature}\",");
    match rng.below(8) {
        0 | 1 => (Kind::Known, show(&key, &signed(&place.user, nonce))),
        2 => (Kind::Known, format!("\"user\":\"known\",\"pass\":\"{PASSWORD}\",")),
        3 => (Kind::Stranger, show(&other, &signed(&place.other, nonce))),
        4 => (Kind::Stranger, show(&key, &signed(&place.other, nonce))),
        5 => (Kind::Stranger, show(&key, rng.pick::<&str>(&["", "AAAA", "=", "{}"]))),
        6 => (Kind::Stranger, "\"user\":\"known\",\"pass\":\"a-guess\",".into()),
        _ => (Kind::Stranger, String::new()),
    }
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = rng.below(bytes.len().max(1));
    match rng.below(6) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
        1 => bytes.insert(at.min(bytes.len()), *b" \t\n\"{},:\\".get(rng.below(9)).unwrap_or(&0)),
        2 if !bytes.is_empty() => drop(bytes.remove(at)),
        3 => bytes.truncate(at),
        4 => drop(bytes.splice(at..at, std::iter::repeat_n(b'[', rng.below(5000)))),
        _ => {
            let copy = bytes[at..bytes.len().min(at + rng.below(200))].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}
