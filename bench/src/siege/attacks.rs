//! The attacks. Each is bounded, and ends by itself within some seconds.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::sys;

/// Who healthy clients are.
pub const USER: &str = "healthy";
/// And how they prove it.
pub const PASSWORD: &str = "s3cr3t-of-the-healthy";

/// How long an attacker waits for the server's last word.
const PATIENCE: Duration = Duration::from_secs(4);

/// What attackers were told, and how many of them.
type Told = Vec<(String, u64)>;

/// One way to be a nuisance.
pub struct Attack {
    /// For the command line.
    pub name: &'static str,
    /// For the reader.
    pub does: &'static str,
    pub(super) run: fn(u16) -> Told,
}

/// All of them.
pub const ATTACKS: &[Attack] = &[
    Attack { name: "silence", does: "2,000 connections that say nothing", run: silence },
    Attack {
        name: "slowloris",
        does: "500 connections that send CONNECT a byte at a time, every 5 ms",
        run: slowloris,
    },
    Attack {
        name: "endless-line",
        does: "4 connections that send a control line of up to 256 MiB each",
        run: endless_line,
    },
    Attack {
        name: "endless-connect",
        does: "4 connections that send a CONNECT of up to 256 MiB each",
        run: endless_connect,
    },
    Attack {
        name: "sizes",
        does: "2,000 connections that announce payloads of 20 digits",
        run: sizes,
    },
    Attack {
        name: "promises",
        does: "2,000 connections that announce 1 MB before they have logged in",
        run: promises,
    },
    Attack {
        name: "half-open",
        does: "2,000 connections that end their half and stay",
        run: half_open,
    },
    Attack { name: "resets", does: "10,000 connections that are reset at once", run: resets },
    Attack {
        name: "wrong-passwords",
        does: "3,000 logins with a wrong password",
        run: wrong_passwords,
    },
    Attack { name: "noise", does: "1,000 connections that send random bytes", run: noise },
    Attack {
        name: "million-subscriptions",
        does: "one client that subscribes to 1,000,000 subjects and is cut off",
        run: million_subscriptions,
    },
];

fn silence(port: u16) -> Told {
    let held = crowd(port, 2000, |_| {});
    tally(held)
}

fn slowloris(port: u16) -> Told {
    let mut held = crowd(port, 500, |_| {});
    let line = b"CONNECT {\"verbose\":false,\"name\":\"a slow one, a very very slow one\",";
    for byte in line.iter().cycle().take(600) {
        for stream in &mut held {
            let _ = stream.write(std::slice::from_ref(byte));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    tally(held)
}

fn endless_line(port: u16) -> Told {
    endless(port, b"PUB ")
}

fn endless_connect(port: u16) -> Told {
    endless(port, b"CONNECT {\"name\":\"")
}

fn endless(port: u16, start: &[u8]) -> Told {
    let mut held = crowd(port, 4, |stream| {
        let _ = stream.write_all(start);
    });
    let block = vec![b'a'; 1 << 20];
    for stream in &mut held {
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_write_timeout(Some(Duration::from_millis(500)));
        for _ in 0..256 {
            if stream.write_all(&block).is_err() {
                break;
            }
        }
    }
    tally(held)
}

fn sizes(port: u16) -> Told {
    tally(crowd(port, 2000, |stream| {
        let hello = login(PASSWORD);
        let connect = hello.strip_suffix(b"PING\r\n").unwrap_or(&hello);
        let _ = stream.write_all(connect);
        let _ = stream.write_all(b"PUB a 99999999999999999999\r\n");
    }))
}

fn promises(port: u16) -> Told {
    tally(crowd(port, 2000, |stream| {
        let _ = stream.write_all(b"PUB a 1000000\r\nxxxxxxxx");
    }))
}

fn half_open(port: u16) -> Told {
    tally(crowd(port, 2000, |stream| {
        let _ = stream.shutdown(Shutdown::Write);
    }))
}

fn resets(port: u16) -> Told {
    let mut count = 0;
    for _ in 0..20 {
        let held = crowd(port, 500, |stream| {
            let _ = stream.write_all(b"CONNECT {}\r\nPING\r\n");
        });
        count += held.len() as u64;
    }
    vec![("(did not listen)".to_string(), count)]
}

fn wrong_passwords(port: u16) -> Told {
    tally(crowd(port, 3000, |stream| {
        let _ = stream.write_all(&login("wrong"));
    }))
}

fn noise(port: u16) -> Told {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    tally(crowd(port, 1000, |stream| {
        let mut bytes = [0u8; 2048];
        for byte in &mut bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        let _ = stream.write_all(&bytes);
    }))
}

fn million_subscriptions(port: u16) -> Told {
    let mut held = crowd(port, 1, |_| {});
    let Some(mut stream) = held.pop() else { return Vec::new() };
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_write_timeout(Some(Duration::from_secs(20)));
    let _ = stream.write_all(&login(PASSWORD));
    let mut lines = Vec::new();
    for n in 0..1_000_000 {
        lines.extend_from_slice(format!("SUB flood.{n} {n}\r\n").as_bytes());
        if lines.len() > 1 << 18 || n == 999_999 {
            if stream.write_all(&lines).is_err() {
                return tally(vec![stream]);
            }
            lines.clear();
        }
    }
    let _ = stream.write_all(b"PING\r\n");
    let until = Instant::now() + Duration::from_secs(30);
    vec![(last_word(&mut stream, until), 1)]
}

/// `-ERR` if it was wrong, PONG if it was right.
fn login(password: &str) -> Vec<u8> {
    format!("CONNECT {{\"verbose\":false,\"user\":\"{USER}\",\"pass\":\"{password}\"}}\r\nPING\r\n")
        .into_bytes()
}

/// Connections that did not fail at once, each after `act`.
fn crowd(port: u16, count: usize, mut act: impl FnMut(&mut TcpStream)) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let Ok(mut stream) = sys::connect(port, None) else { continue };
        let _ = sys::reset_on_close(&stream);
        if sys::wait_writable(&stream, Duration::from_secs(2)).unwrap_or(false) {
            act(&mut stream);
            held.push(stream);
        }
    }
    held
}

fn tally(held: Vec<TcpStream>) -> Told {
    let until = Instant::now() + PATIENCE;
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for mut stream in held {
        let _ = stream.set_nonblocking(false);
        *told.entry(last_word(&mut stream, until)).or_default() += 1;
    }
    let mut told: Told = told.into_iter().collect();
    told.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    told
}

/// The last `-ERR` or PONG, and how it ended.
fn last_word(stream: &mut TcpStream, until: Instant) -> String {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let _ = stream.set_read_timeout(Some(left));
        match stream.read(&mut buffer) {
            Ok(0) => break "closed",
            Ok(n) => heard.extend_from_slice(&buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break "left open";
            }
            Err(_) => break "reset",
        }
        if heard.ends_with(b"PONG\r\n") {
            return "PONG".to_string();
        }
        let excess = heard.len().saturating_sub(8192);
        heard.drain(..excess);
    };
    let text = String::from_utf8_lossy(&heard);
    let said = text.lines().rev().find(|line| line.starts_with("-ERR") || *line == "PONG");
    match said {
        Some(line) => format!("{line}, {end}"),
        None => format!("nothing, {end}"),
    }
}
