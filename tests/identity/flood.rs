//! Strangers that show tokens of accounts which nobody knows, while those who are known come and
//! go.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{none, same_of_both, serve_tokens, start};
use crate::command::await_that;
use crate::harness::server::{Program, Server};
use crate::harness::tokens::{Account, Conn, User, VIOLATION, World};

const STRANGERS: usize = 300;

/// Where those are not answered who ask for other tokens than it serves.
struct Place {
    address: String,
    unanswered: Arc<AtomicUsize>,
    /// What is not answered stays open.
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Place {
    fn open(tokens: Vec<(String, String)>) -> Place {
        let unanswered: Arc<AtomicUsize> = Arc::default();
        let held: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (count, keep) = (unanswered.clone(), held.clone());
        let address = serve_tokens(tokens, move |stream| {
            count.fetch_add(1, Ordering::SeqCst);
            keep.lock().expect("no panic while held").push(stream);
        });
        Place { address, unanswered, held }
    }
}

/// A place with the tokens of these accounts, and who goes there.
fn place(world: &World, accounts: &[&Account]) -> (Place, Vec<String>) {
    let all = accounts.iter().copied().chain([&world.system]);
    let place = Place::open(all.map(|it| (it.id(), world.token_of(it))).collect());
    let mut conf = world.head();
    conf.push(format!("resolver: URL({})", place.address));
    // Nobody is late here.
    conf.push("authorization { timeout: 30 }".to_string());
    (place, conf)
}

/// Each shows the token of an account of its own. All are there before the first one does: the time to
/// log in may run from when they connect.
fn crowd(server: &Server, count: usize) -> Vec<Conn> {
    let stranger = |_| Account::new("X", none()).user(none(), none());
    let strangers: Vec<User> = (0..count).map(stranger).collect();
    let mut conns: Vec<Conn> = strangers.iter().map(|_| Conn::open(server)).collect();
    conns.iter_mut().zip(&strangers).for_each(|(conn, stranger)| conn.show(stranger));
    conns
}

#[test]
fn a_storm_of_logins_of_unknown_accounts_keeps_nobody_out() {
    let world = World::new();
    let app = Account::new("APP", none());
    let user = app.user(none(), none());
    let server = start(&Program::under_test(), &world.conf(&[&app]));
    let mut crowd = crowd(&server, STRANGERS);
    assert_eq!(Conn::with(&server, &user).1, [""; 0]);
    for conn in &mut crowd {
        assert_eq!(conn.rest(), VIOLATION);
    }
}

#[test]
fn known_accounts_do_not_wait_for_unknown_ones() {
    let world = World::new();
    let app = Account::new("APP", none());
    let users: Vec<User> = (0..12).map(|_| app.user(none(), none())).collect();
    let (place, conf) = place(&world, &[&app]);
    let told = same_of_both(&conf, |server| {
        let (_held, lines) = Conn::with(server, &users[0]);
        assert_eq!(lines, [""; 0]);
        place.unanswered.store(0, Ordering::SeqCst);
        let _crowd = crowd(server, STRANGERS);
        await_that("somebody asks for them", || place.unanswered.load(Ordering::SeqCst) >= 4);
        let since = Instant::now();
        let told = users.iter().map(|user| Conn::with(server, user).1.concat()).collect();
        // A fetch takes that long: nobody has waited for one, and most are still to come.
        assert!(since.elapsed() < Duration::from_millis(1800), "{:?}", since.elapsed());
        place.held.lock().expect("no panic while held").clear();
        told
    });
    assert_eq!(told, [""; 12]);
}

/// From another address than the crowd.
const ELSEWHERE: [u8; 4] = [127, 0, 0, 2];

/// As many as may wait do, all from one address, and nobody answers who is asked about them.
#[test]
fn a_crowd_from_one_address_keeps_no_new_account_of_another_out() {
    let world = World::new();
    let apps: Vec<Account> = (0..3).map(|_| Account::new("APP", none())).collect();
    let (place, conf) = place(&world, &apps.iter().collect::<Vec<_>>());
    let server = start(&Program::under_test(), &conf);
    let mut crowd = crowd(&server, 1100);
    let last = crowd.last_mut().expect("there are some");
    assert_eq!(last.rest(), VIOLATION);
    let since = Instant::now();
    for app in &apps {
        let mut conn = Conn::open_from(&server, ELSEWHERE);
        assert_eq!(conn.log_in(&app.user(none(), none())), [""; 0], "nobody knew its account");
    }
    // A fetch in vain takes longer: nobody has waited for one.
    assert!(since.elapsed() < Duration::from_millis(1800), "{:?}", since.elapsed());
    let asked = place.unanswered.load(Ordering::SeqCst);
    assert!(asked > 0 && asked < 100, "{asked}");
}

/// Of a password nobody shows. To look at one takes some 50 ms.
const SLOW_HASH: &str = "$2a$10$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
/// Of `secret`.
const HASH: &str = "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

/// To look at what all strangers show takes many times what a login may.
fn with_hashes(timeout: u8, slow: &str) -> Server {
    let users = [("slow", slow), ("quick", HASH)];
    let users = users.map(|(name, hash)| format!("{{ user: {name}, password: \"{hash}\" }}"));
    let conf = [format!("authorization {{ users: [{}], timeout: {timeout} }}", users.join(", "))];
    start(&Program::under_test(), &conf)
}

/// How many have waited until their time to log in was over.
fn late(crowd: &mut [Conn]) -> usize {
    let ends = crowd.iter_mut().map(Conn::rest);
    ends.filter(|end| end[0] == "-ERR 'Authentication Timeout'").count()
}

#[test]
fn a_crowd_with_passwords_does_not_keep_another_address_waiting() {
    let server = with_hashes(2, SLOW_HASH);
    let mut crowd: Vec<Conn> = (0..300).map(|_| Conn::open(&server)).collect();
    crowd.iter_mut().for_each(|conn| conn.begin(json!({ "user": "slow", "pass": "x" })));
    for _ in 0..3 {
        let mut conn = Conn::open_from(&server, ELSEWHERE);
        assert_eq!(conn.connect(json!({ "user": "quick", "pass": "secret" })), [""; 0]);
    }
    let late = late(&mut crowd);
    assert!(late > 100, "they have waited in vain: {late}");
}

/// Of a password nobody shows, with a fourth of [`SLOW_HASH`]'s cost.
const LESS_SLOW_HASH: &str = "$2a$08$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

/// Each stranger has an address of its own, and some are gone before what they show is looked at.
/// First come, first served, all that stay would be told before who comes after them is let in.
#[test]
fn a_crowd_from_many_addresses_keeps_nobody_out() {
    // Nobody is late here.
    let server = with_hashes(60, LESS_SLOW_HASH);
    let address = |at: u16| [127, 1, at.to_be_bytes()[0], at.to_be_bytes()[1]];
    let strangers = (1..=600).map(|at| Conn::open_from(&server, address(at)));
    let mut crowd: Vec<Conn> = strangers.collect();
    crowd.iter_mut().for_each(|conn| conn.begin(json!({ "user": "slow", "pass": "x" })));
    // What all of them show has come when the first one has been told.
    assert_eq!(crowd.remove(0).rest(), VIOLATION);
    let mut nth = 0_usize;
    crowd.retain(|_| {
        nth += 1;
        !nth.is_multiple_of(4)
    });
    for own in 2..=4 {
        let mut conn = Conn::open_from(&server, [127, 0, 0, own]);
        let untold = || crowd.iter().filter(|conn| !conn.has_news()).count();
        let before = untold();
        assert_eq!(conn.connect(json!({ "user": "quick", "pass": "secret" })), [""; 0]);
        let after = untold();
        assert!(before > 100, "there is no crowd any more: {before}");
        assert!(after > before / 2, "of {before} that waited {after} still do");
    }
}

#[test]
fn more_than_may_wait_for_tokens_are_turned_away_at_once() {
    let world = World::new();
    let (place, conf) = place(&world, &[]);
    let server = start(&Program::under_test(), &conf);
    let mut crowd = crowd(&server, 1100);
    let last = crowd.last_mut().expect("there are some");
    assert_eq!(last.rest(), VIOLATION);
    // Nobody has asked for its account: there were more before it than can have been asked for.
    assert!(place.unanswered.load(Ordering::SeqCst) < 500);
}
