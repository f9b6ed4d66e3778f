//! Whole runs against the floor, and against servers that lie, which must be found out.

use super::dial::{Door, dial};
use super::protocol::Protocol;
use super::{Job, Load, crowd, run};
use crate::certificate::Certificate;
use crate::plan::Plan;
use crate::scenario::Scenario;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn load(port: u16, threads: usize, text: &str) -> Load {
    load_at(&Door { port, protocol: Protocol::Nats, tls: None, congestion: None }, threads, text)
}

fn load_at(door: &Door, threads: usize, text: &str) -> Load {
    load_for(0.15, door, threads, text)
}

fn load_for(duration_s: f64, door: &Door, threads: usize, text: &str) -> Load {
    let head = "name='t'\ntitle='t'\ngroup='g'\ndrain_s=2.0\n";
    let scenario = Scenario::parse(&format!("{head}{text}")).unwrap();
    let plan = scenario.publish.as_ref().map(|_| Plan::new(&scenario, false).unwrap());
    let cores = crate::sys::cores().unwrap();
    let cores: Vec<usize> = (0..threads).map(|i| cores[i % cores.len()]).collect();
    let job = Job {
        scenario: &scenario,
        plan: plan.as_ref(),
        door,
        pid: std::process::id(),
        threads,
        cores: &cores,
        spin: false,
        warm_up_s: 0.05,
        duration_s,
    };
    run(&job).unwrap()
}

fn floor() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || crate::floor::serve(listener));
    port
}

fn exact(load: &Load) {
    assert_eq!(load.faults, Vec::<String>::new());
    assert_eq!(load.account.owed, load.account.came);
    assert!(load.account.came > 0);
}

const FAN: &str = "payload=16\n[publish]\nsubject='bench.a'\nburst=8\nwindow=64\n\
    [[subscribe]]\nsubject='bench.a'\nconnections=5\n";

#[test]
fn counted_fan_out_is_exact() {
    exact(&load(floor(), 1, FAN));
}

#[test]
fn verified_fan_out_on_two_threads_is_exact() {
    let text = FAN.replace("\nburst=8\nwindow=64", "").replace("16\n", "16\nreceive='verify'\n");
    exact(&load(floor(), 2, &text));
}

#[test]
fn pairs_are_exact_and_paced_ones_have_latencies() {
    let text = "payload=200\n[publish]\nsubject='p.{12}'\ndeal='own'\nconnections=12\n\
        rate=20000.0\nburst=3\n[[subscribe]]\nsubject='p.{12}'\ndeal='own'\nconnections=12\n";
    let load = load(floor(), 2, text);
    exact(&load);
    // 20,000 a second for 0.15 s, give or take a burst at either end.
    let noted = load.latencies.len();
    assert!((2950..=3050).contains(&noted), "{noted}");
}

#[test]
fn requests_all_have_replies() {
    let load = load(floor(), 1, "payload=16\n[request]\nin_flight=7\n");
    exact(&load);
    assert!(!load.latencies.is_empty());
}

#[test]
fn messages_larger_than_a_read_arrive() {
    let text = "payload=100000\n[publish]\nsubject='bench.a'\n[[subscribe]]\nsubject='bench.a'\n";
    exact(&load(floor(), 1, text));
}

#[test]
fn the_floor_delivers_what_wildcards_take_in_order() {
    // Each publisher goes round the subjects; some have 4 takers and some have 14, of several sids.
    let text = "payload=64\nreceive='verify'\n[publish]\nsubject='t.{4}.{3}'\nconnections=3\n\
        deal='share'\nrate=30000.0\nburst=6\n[[subscribe]]\nsubject='t.>'\nconnections=2\n\
        [[subscribe]]\nsubject='t.*.{3}'\nconnections=2\ndeal='own'\n\
        [[subscribe]]\nsubject='t.{4}.*'\n[[subscribe]]\nsubject='t.2.>'\nconnections=10\n";
    for threads in [1, 2] {
        exact(&load(floor(), threads, text));
    }
    let large = text.replace("64", "20000").replace("30000.0", "2000.0");
    exact(&load(floor(), 2, &large));
}

#[test]
fn the_floor_takes_what_comes_and_goes_meanwhile() {
    let text = "payload=128\n[publish]\nsubject='flow.{3}'\nconnections=3\ndeal='own'\n\
        rate=20000.0\nburst=5\n[[subscribe]]\nsubject='flow.{3}'\nconnections=3\ndeal='own'\n\
        [churn]\nconnections=300\nsubject='flow.churn'\noperations_per_second=20000.0\nkept=3\n";
    exact(&load(floor(), 1, text));
}

/// A plain client, and the answers it has had so far.
struct Plain(TcpStream);

impl Plain {
    fn new(port: u16, words: &str) -> Self {
        let mut plain = Self(TcpStream::connect(("127.0.0.1", port)).unwrap());
        plain.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(plain.says(words).starts_with("INFO "));
        plain
    }

    /// Says something and a PING; gives what comes before the PONG.
    fn says(&mut self, words: &str) -> String {
        self.0.write_all(format!("{words}PING\r\n").as_bytes()).unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"PONG\r\n") {
            let mut more = [0; 4096];
            let n = self.0.read(&mut more).unwrap();
            assert!(n > 0, "closed");
            got.extend_from_slice(&more[..n]);
        }
        got.truncate(got.len() - 6);
        String::from_utf8(got).unwrap()
    }
}

#[test]
fn the_floor_delivers_until_an_unsub_or_an_end_and_no_longer() {
    let port = floor();
    let mut one = Plain::new(port, "SUB a.* 1\r\nSUB a.b 2\r\nSUB > 3\r\n");
    let mut many: Vec<Plain> = (0..20).map(|_| Plain::new(port, "SUB a.c 7\r\n")).collect();
    let mut sorted = |words: &str| {
        let got = one.says(words);
        let mut lines: Vec<String> = got.lines().map(String::from).collect();
        lines.sort_unstable();
        lines.join(" ")
    };
    let all = "MSG a.b 1 2 MSG a.b 2 2 MSG a.b 3 2 hi hi hi";
    assert_eq!(sorted("PUB a.b 2\r\nhi\r\n"), all);
    assert_eq!(sorted("UNSUB 1\r\nPUB a.b r 2\r\nhi\r\n"), "MSG a.b 2 r 2 MSG a.b 3 r 2 hi hi");
    assert_eq!(
        sorted("UNSUB 3\r\nUNSUB 9\r\nPUB a.b 2\r\nhi\r\nPUB b 0\r\n\r\n"),
        "MSG a.b 2 2 hi"
    );
    // Those who have left are owed nothing, and the others miss nothing.
    many.truncate(15);
    assert_eq!(sorted("PUB a.c 1\r\nx\r\nPUB a.b 1\r\ny\r\n"), "MSG a.b 2 1 y");
    for plain in &mut many {
        assert_eq!(plain.says(""), "MSG a.c 7 1\r\nx\r\n");
    }
    many.truncate(3);
    assert_eq!(sorted("PUB a.c 2\r\nzz\r\n"), "");
    assert_eq!(many[2].says(""), "MSG a.c 7 2\r\nzz\r\n");
}

#[test]
fn the_floor_stands_a_storm() {
    let door = Door { port: floor(), protocol: Protocol::Nats, tls: None, congestion: None };
    let order = crowd::Order {
        connections: 500,
        subscriptions: 2,
        in_flight: 100,
        hold: None,
        pings_per_second: 0.0,
    };
    for _ in 0..2 {
        let made = crowd::run(&door, std::process::id(), &order).unwrap();
        assert_eq!((made.latencies.len(), made.faults.len()), (500, 0));
    }
}

#[test]
fn publishing_to_nobody_is_counted() {
    let load = load(floor(), 1, "payload=16\n[publish]\nsubject='bench.a'\n");
    assert!(load.faults.is_empty() && load.published > 0 && load.account.owed == 0);
}

#[derive(Clone, Copy)]
enum Lie {
    None,
    /// The hundredth delivery is left out.
    Drop,
    /// The hundredth delivery is made twice.
    Repeat,
    /// The hundredth delivery comes after the next one.
    Swap,
    /// The hundredth delivery's payload is damaged.
    Damage,
    /// The subscriber is cut off at the hundredth delivery.
    Cut,
}

/// A server of one subscriber, a thread per connection, that lies once.
fn liar(lie: Lie) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let subscriber: Arc<Mutex<Option<TcpStream>>> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let subscriber = Arc::clone(&subscriber);
            std::thread::spawn(move || converse(stream, &subscriber, lie));
        }
    });
    port
}

fn converse(stream: TcpStream, subscriber: &Mutex<Option<TcpStream>>, lie: Lie) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    out.write_all(b"INFO {} \r\n").ok()?;
    let mut lines = BufReader::new(stream);
    let mut held: Option<Vec<u8>> = None;
    let mut count = 0;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.starts_with("SUB ") {
            *subscriber.lock().ok()? = Some(out.try_clone().ok()?);
        } else if line.starts_with("PING") {
            // One lock for all writes keeps the PONG behind what was delivered.
            let _turn = subscriber.lock().ok()?;
            out.write_all(b"PONG\r\n").ok()?;
        } else if let Some(args) = line.strip_prefix("PUB ") {
            let (subject, size) = args.trim_end().split_once(' ')?;
            let mut payload = vec![0; size.parse::<usize>().ok()? + 2];
            lines.read_exact(&mut payload).ok()?;
            count += 1;
            let now = count == 100;
            if now && matches!(lie, Lie::Damage) {
                payload[17] ^= 1;
            }
            let mut frame = format!("MSG {subject} 1 {size}\r\n").into_bytes();
            frame.extend_from_slice(&payload);
            let guard = subscriber.lock().ok()?;
            let mut to = guard.as_ref()?;
            match lie {
                Lie::Drop if now => continue,
                Lie::Repeat if now => to.write_all(&frame).ok()?,
                Lie::Swap if now => {
                    held = Some(frame);
                    continue;
                }
                Lie::Cut if now => to.shutdown(std::net::Shutdown::Both).ok()?,
                _ => {}
            }
            let _ = to.write_all(&frame);
            if let Some(frame) = held.take() {
                to.write_all(&frame).ok()?;
            }
        }
    }
}

const ONE: &str = "payload=20\n[publish]\nsubject='bench.a'\nrate=5000.0\n\
    [[subscribe]]\nsubject='bench.a'\n";

#[test]
fn an_honest_server_passes_both_ways() {
    exact(&load(liar(Lie::None), 1, ONE));
    exact(&load(liar(Lie::None), 1, &format!("receive='verify'\n{ONE}")));
}

#[test]
fn a_lost_a_doubled_and_a_cut_off_delivery_are_found_by_counting() {
    for (lie, came_more) in [(Lie::Drop, false), (Lie::Repeat, true), (Lie::Cut, false)] {
        let load = load(liar(lie), 1, ONE);
        assert!(!load.faults.is_empty());
        assert_eq!(load.account.came > load.account.owed, came_more);
        assert_ne!(load.account.came, load.account.owed);
    }
}

#[test]
fn disorder_and_damage_are_found_by_verifying() {
    for (lie, word) in [(Lie::Swap, "order"), (Lie::Damage, "damaged"), (Lie::Repeat, "duplicate")]
    {
        let load = load(liar(lie), 1, &format!("receive='verify'\n{ONE}"));
        assert!(load.faults.iter().any(|f| f.contains(word)), "{word}: {:?}", load.faults);
    }
}

/// A number behind its sign, on a line of its own.
fn resp_number(lines: &mut impl BufRead, sign: char) -> Option<usize> {
    let mut line = String::new();
    lines.read_line(&mut line).ok()?;
    line.trim_end().strip_prefix(sign)?.parse().ok()
}

/// The words of the next command: an array of bulk strings.
fn resp_command(lines: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let count = resp_number(lines, '*')?;
    let mut word = |_| {
        let size = resp_number(lines, '$')?;
        let mut word = vec![0; size + 2];
        lines.read_exact(&mut word).ok()?;
        word.truncate(size);
        Some(word)
    };
    (0..count).map(&mut word).collect()
}

/// A server of one channel that speaks RESP, a thread per connection; every `lossy`th publication
/// is lost.
fn channel(lossy: Option<u64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let subscribers: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let subscribers = Arc::clone(&subscribers);
            std::thread::spawn(move || serve_channel(stream, &subscribers, lossy));
        }
    });
    port
}

fn serve_channel(
    stream: TcpStream,
    subscribers: &Mutex<Vec<TcpStream>>,
    lossy: Option<u64>,
) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream);
    let (mut count, mut subscribed) = (0, false);
    loop {
        let words = resp_command(&mut lines)?;
        let mut all = subscribers.lock().ok()?;
        match (&words[0][..], subscribed) {
            (b"SUBSCRIBE", _) => {
                subscribed = true;
                all.push(out.try_clone().ok()?);
                out.write_all(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n").ok()?;
            }
            (b"PING", true) => out.write_all(Protocol::Resp.subscribers_pong()).ok()?,
            (b"PING", false) => out.write_all(b"+PONG\r\n").ok()?,
            (b"PUBLISH", _) => {
                count += 1;
                let payload = String::from_utf8_lossy(&words[2]);
                let size = payload.len();
                let frame = format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${size}\r\n{payload}\r\n");
                for mut to in all.iter().filter(|_| lossy.is_none_or(|n| count % n != 0)) {
                    to.write_all(frame.as_bytes()).ok()?;
                }
                out.write_all(format!(":{}\r\n", all.len()).as_bytes()).ok()?;
            }
            _ => return None,
        }
    }
}

#[test]
fn a_server_of_channels_is_counted_exactly_too() {
    let text = "payload=20\n[publish]\nsubject='c'\nrate=5000.0\n\
        [[subscribe]]\nsubject='c'\nconnections=3\n";
    let at = |port| Door { port, protocol: Protocol::Resp, tls: None, congestion: None };
    exact(&load_at(&at(channel(None)), 1, text));
    let lossy = load_at(&at(channel(Some(100))), 1, text);
    assert!(!lossy.faults.is_empty() && lossy.account.came < lossy.account.owed);
}

/// In front of the floor; sends another INFO some time after a client's first PONG.
fn with_a_late_info() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let floor = floor();
    let one = move |mut client: TcpStream| -> std::io::Result<()> {
        let mut server = TcpStream::connect(("127.0.0.1", floor))?;
        let (mut heard, mut to_server) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || std::io::copy(&mut heard, &mut to_server));
        let mut said = vec![0; 256];
        let info = server.read(&mut said)?;
        client.write_all(&said[..info])?;
        let (mut len, pong) = (0, 6);
        while len < pong {
            len += server.read(&mut said[len..])?;
        }
        client.write_all(&said[..pong])?;
        std::thread::sleep(Duration::from_millis(20));
        client.write_all(b"INFO {\"connect_info\":true} \r\n")?;
        client.write_all(&said[pong..len])?;
        std::io::copy(&mut server, &mut client).map(|_| ())
    };
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || one(client));
        }
    });
    port
}

#[test]
fn an_info_behind_the_first_pong_is_no_message() {
    exact(&load(with_a_late_info(), 1, FAN));
}

/// A server of TLS in front of the floor: INFO in plain text, records from then on. `changed` may
/// change what the floor says.
fn behind_tls(certificate: &Certificate, changed: fn(&mut Vec<u8>)) -> u16 {
    let [_, _, cert, _, key] = certificate.flags();
    let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let floor = floor();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || relay(stream, floor, &config, changed));
        }
    });
    port
}

/// Carries bytes between a client and the floor until either ends.
fn relay(
    mut client: TcpStream,
    floor: u16,
    config: &Arc<ServerConfig>,
    changed: fn(&mut Vec<u8>),
) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", floor)).ok()?;
    let mut info = vec![0; 1024];
    let n = server.read(&mut info).ok()?;
    client.write_all(&info[..n]).ok()?;
    let tls = ServerConnection::new(Arc::clone(config)).ok()?;
    let mut secure = StreamOwned::new(tls, client);
    secure.conn.complete_io(&mut secure.sock).ok()?;
    let nap = Some(std::time::Duration::from_millis(1));
    secure.sock.set_read_timeout(nap).ok()?;
    server.set_read_timeout(nap).ok()?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        // As long as one side speaks, nobody waits for the other.
        while let Ok(n) = secure.read(&mut buffer) {
            server.write_all(&buffer[..n]).ok()?;
            (n > 0).then_some(())?;
        }
        while let Ok(n) = server.read(&mut buffer) {
            (n > 0).then_some(())?;
            let mut said = buffer[..n].to_vec();
            changed(&mut said);
            secure.write_all(&said).ok()?;
        }
    }
}

const OVER_TLS: &str = "payload=3000\ntls=true\n[publish]\nsubject='bench.a'\nburst=8\nwindow=64\n\
    [[subscribe]]\nsubject='bench.a'\nconnections=2\n";

#[test]
fn a_turn_as_long_as_the_measure_spoils_it() {
    let door = Door { port: floor(), protocol: Protocol::Nats, tls: None, congestion: None };
    // No turn is as short as this measure: both its ends fall into one, as after a stall.
    let load = load_for(1e-7, &door, 1, FAN);
    exact(&load);
    assert!(load.stalled_s.is_some());
}

#[test]
fn a_dialled_connection_has_the_congestion_control_of_its_door() {
    let host = crate::machine::Machine::read().congestion;
    let tls = None;
    let mut door = Door { port: floor(), protocol: Protocol::Nats, tls, congestion: None };
    let greetings = vec![super::dial::greeting("SUB a 1\r\n"); 3];
    for chosen in [None, Some("reno".to_string())] {
        door.congestion.clone_from(&chosen);
        for stream in dial(&door, &greetings, 3, |_| {}).unwrap() {
            let has = crate::sys::congestion(&stream).ok();
            assert_eq!(has.as_ref(), chosen.as_ref().or(host.as_ref()));
        }
    }
}

#[test]
fn what_comes_over_tls_is_counted_exactly_and_verified() {
    let certificate = Certificate::make().unwrap();
    let port = behind_tls(&certificate, |_| {});
    let door =
        Door { port, protocol: Protocol::Nats, tls: Some(certificate.client()), congestion: None };
    exact(&load_at(&door, 1, OVER_TLS));
    let large = OVER_TLS.replace("3000", "70000");
    exact(&load_at(&door, 1, &large));
    exact(&load_at(&door, 1, &format!("receive='verify'\n{OVER_TLS}")));
    exact(&load_at(&door, 1, "payload=16\ntls=true\n[request]\nin_flight=7\n"));
}

#[test]
fn what_is_lost_over_tls_is_found() {
    let certificate = Certificate::make().unwrap();
    // A byte of a message is dropped now and then.
    let port = behind_tls(&certificate, |said| {
        if said.len() > 1000 {
            said.pop();
        }
    });
    let door =
        Door { port, protocol: Protocol::Nats, tls: Some(certificate.client()), congestion: None };
    let load = load_at(&door, 1, OVER_TLS);
    assert!(!load.faults.is_empty());
}

#[test]
fn a_crowd_comes_in_over_tls_and_only_where_its_certificate_is_known() {
    let (certificate, other) = (Certificate::make().unwrap(), Certificate::make().unwrap());
    let port = behind_tls(&certificate, |_| {});
    let greetings = vec![super::dial::greeting("SUB a 1\r\n"); 20];
    let mut door =
        Door { port, protocol: Protocol::Nats, tls: Some(certificate.client()), congestion: None };
    let mut took = 0;
    let streams = dial(&door, &greetings, 20, |_| took += 1).unwrap();
    assert_eq!((streams.len(), took), (20, 20));
    door.tls = Some(other.client());
    let why = dial(&door, &greetings, 20, |_| {}).err().unwrap();
    assert!(why.contains("certificate"), "{why}");
}
