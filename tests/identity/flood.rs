//! Strangers that show tokens of accounts which nobody knows, while those who are known come and
//! go.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{VIOLATION, none, same_of_both, start};
use crate::harness::server::{Program, Server};
use crate::harness::tokens::{Account, Conn, User, World};

const STRANGERS: usize = 300;

/// Serves these tokens, and does not answer who asks for others.
struct Place {
    address: String,
    unanswered: Arc<AtomicUsize>,
    /// What is not answered stays open.
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Place {
    fn open(tokens: Vec<(String, String)>) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a port");
        let place = Place {
            address: format!("http://{address}/jwt/v1/accounts/"),
            unanswered: Arc::default(),
            held: Arc::default(),
        };
        let (unanswered, held) = (place.unanswered.clone(), place.held.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
                let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
                let Some(Ok(first)) = lines.next() else { continue };
                while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
                let path = first.split(' ').nth(1).unwrap_or_default();
                let key = path.rsplit('/').next().unwrap_or_default();
                let token = tokens.iter().find(|(known, _)| known == key).map(|(_, token)| token);
                match (key, token) {
                    ("", _) | (_, Some(_)) => {
                        let body = token.map_or("", String::as_str);
                        // Fails if whoever asked has lost patience.
                        let _ = write!(
                            stream,
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                            body.len()
                        );
                    }
                    _ => {
                        unanswered.fetch_add(1, Ordering::SeqCst);
                        held.lock().expect("no panic while held").push(stream);
                    }
                }
            }
        });
        place
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

/// Each shows the token of an account of its own.
fn crowd(server: &Server, count: usize) -> Vec<Conn> {
    let strangers = (0..count).map(|_| Account::new("X", none()).user(none(), none()));
    let log_in = |stranger: User| {
        let mut conn = Conn::open(server);
        let words = json!({ "jwt": stranger.token, "sig": conn.signature(&stranger.key) });
        conn.send(&format!("CONNECT {words}\r\n"));
        conn
    };
    strangers.map(log_in).collect()
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
        let since = Instant::now();
        while place.unanswered.load(Ordering::SeqCst) < 4 {
            assert!(since.elapsed() < Duration::from_secs(20), "nobody asks for them");
            std::thread::yield_now();
        }
        let since = Instant::now();
        let told = users.iter().map(|user| Conn::with(server, user).1.concat()).collect();
        // A fetch takes that long: nobody has waited for one, and most are still to come.
        assert!(since.elapsed() < Duration::from_millis(1800), "{:?}", since.elapsed());
        place.held.lock().expect("no panic while held").clear();
        told
    });
    assert_eq!(told, [""; 12]);
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
