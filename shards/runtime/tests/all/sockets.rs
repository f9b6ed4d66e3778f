//! Sockets under the toy engine.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use runtime::{LameDuck, Server, Settings, start_with};
use shard::limits::MILLIS;

use crate::client::{Client, PATIENCE, end, settings};
use crate::toy::{BIG_BYTES, Toy};

fn serve(settings: Settings) -> Server {
    start_with(settings, Toy::new).expect("it starts")
}

#[test]
fn bytes_come_back_however_they_are_cut() {
    let server = serve(settings(2));
    let mut client = Client::new(server.client_addr());
    for part in ["a", "bc", "def"] {
        client.send(part);
        client.expect(part);
    }
    for letter in "one at a time".split("") {
        client.send(letter);
    }
    client.expect("one at a time");
    end(server);
}

#[test]
fn megabytes_come_back_in_order_from_all_shards() {
    let server = serve(settings(3));
    let addr = server.client_addr();
    let clients = (0..6).map(|number| thread::spawn(move || stream_megabytes(addr, number)));
    for client in clients.collect::<Vec<_>>() {
        client.join().expect("all bytes, in order");
    }
    end(server);
}

fn stream_megabytes(addr: SocketAddr, number: u32) {
    let mut client = Client::new(addr);
    let mut writer = client.stream.try_clone().unwrap();
    let words =
        move || (0..1_000_000u32).map(move |word| word.wrapping_mul(2_654_435_761) ^ number);
    let writing = thread::spawn(move || {
        let bytes: Vec<u8> = words().flat_map(u32::to_le_bytes).collect();
        // Odd pieces: no boundary falls on a word.
        bytes.chunks(65_521).for_each(|piece| writer.write_all(piece).unwrap());
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    client.stream.read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back.iter().copied().eq(words().flat_map(u32::to_le_bytes)));
}

#[test]
fn a_slow_reader_gets_everything() {
    let server = serve(settings(1));
    let mut client = Client::new(server.client_addr());
    client.send("!b");
    // Somebody else is served meanwhile.
    let mut other = Client::new(server.client_addr());
    other.send("hello");
    other.expect("hello");
    let mut all = vec![0; BIG_BYTES];
    client.stream.read_exact(&mut all).unwrap();
    assert!(all.iter().all(|byte| *byte == b'b'));
    client.send("and on");
    client.expect("and on");
    end(server);
}

#[test]
fn a_paused_connection_is_read_later() {
    let server = serve(settings(1));
    let mut client = Client::new(server.client_addr());
    client.send("!p");
    client.expect("paused");
    client.send("waits");
    client.expect("waits");
    // Again and again, with a cancellation and a resumption crossing each other.
    for _ in 0..20 {
        client.send("!p");
        client.expect("paused");
        client.send("x");
        client.expect("x");
    }
    end(server);
}

#[test]
fn last_words_arrive_even_if_the_client_is_still_talking() {
    let server = serve(settings(1));
    for _ in 0..10 {
        let mut client = Client::new(server.client_addr());
        client.send("!q");
        // More than all buffers hold, and read by nobody: a close at once would be a reset.
        client.stream.write_all(&vec![b'n'; 4_000_000]).expect("taken and dropped");
        assert_eq!(client.rest(), "bye");
    }
    end(server);
}

#[test]
fn a_client_that_never_goes_is_closed_all_the_same() {
    let server = serve(settings(1));
    let mut client = Client::new(server.client_addr());
    client.send("!q");
    assert_eq!(client.rest(), "bye");
    // It stays half open from this side; the server gives up on it, and then answers with resets.
    let gone = |kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
    let until = Instant::now() + PATIENCE;
    loop {
        match client.stream.write_all(b"still here") {
            Err(error) if gone(error.kind()) => break,
            other => other.expect("nothing but a reset"),
        }
        assert!(Instant::now() < until);
        thread::yield_now();
    }
    end(server);
}

#[test]
fn a_close_without_flush_ends_the_connection() {
    let server = serve(settings(1));
    let mut client = Client::new(server.client_addr());
    client.send("!b");
    client.expect("b");
    client.send("!x");
    // A reset is as good as an end.
    let mut all = Vec::new();
    let _ = client.stream.read_to_end(&mut all);
    assert!(all.len() <= BIG_BYTES);
    end(server);
}

#[test]
fn the_limit_of_connections_is_the_servers_and_is_freed_again() {
    let mut settings = settings(2);
    settings.shard.connections_max = Some(3);
    let server = serve(settings);
    let greet = |client: &mut Client| {
        client.send("hi");
        client.expect("hi");
    };
    let mut clients: Vec<Client> = (0..3).map(|_| Client::new(server.client_addr())).collect();
    clients.iter_mut().for_each(greet);
    assert_eq!(Client::new(server.client_addr()).rest(), "full");
    let mut last = clients.pop().expect("three");
    last.send("!q");
    assert_eq!(last.rest(), "bye");
    greet(&mut Client::new(server.client_addr()));
    end(server);
}

#[test]
fn no_limit_of_connections_refuses_all_and_none() {
    let mut none = settings(1);
    none.shard.connections_max = Some(0);
    let server = serve(none);
    assert_eq!(Client::new(server.client_addr()).rest(), "full");
    end(server);
}

const ALONE: &str = "RINGBUS_TEST_ALONE";

#[test]
fn thousands_come_and_go_without_a_trace() {
    // Descriptors are counted, so nothing else may run in this process.
    if !alone("sockets::thousands_come_and_go_without_a_trace", "") {
        return;
    }
    let server = serve(settings(2));
    let addr = server.client_addr();
    let before = descriptors();
    (0..4_000).for_each(|round| visit(addr, round));
    wait_for_descriptors(before);
    // Nor is a buffer lost: both shards still receive.
    (0..20).for_each(|_| visit(addr, 1));
    end(server);
}

#[test]
fn a_lack_of_descriptors_passes() {
    if !alone("sockets::a_lack_of_descriptors_passes", "ulimit -n 100;") {
        return;
    }
    log::set_logger(&COMPLAINTS).expect("the first");
    log::set_max_level(log::LevelFilter::Error);
    let server = serve(settings(1));
    let addr = server.client_addr();
    // Each takes a descriptor here, and one on the server's side for as long as there is any.
    let mut spare = Some(std::fs::File::open("/dev/null").expect("one more"));
    let mut clients = Vec::new();
    loop {
        match TcpStream::connect(addr) {
            Ok(stream) => clients.push(stream),
            // The last one was the server's: one more for a client, and it has none.
            Err(error) if spare.take().is_none() => panic!("the server accepts all: {error}"),
            Err(_) => continue,
        }
        let Some(stream) = clients.last_mut() else { continue };
        stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        // Whoever was accepted hears itself.
        stream.write_all(b"x").expect("the kernel takes it");
        if stream.read(&mut [0; 1]).is_err() {
            break;
        }
    }
    assert!(clients.len() >= 10, "{} connections", clients.len());
    // Accepting goes on after the pause that follows a failure.
    drop(clients);
    visit(addr, 1);
    visit(addr, 2);
    end(server);
    let complaints = COMPLAINTS.0.lock().unwrap();
    let expected = "Temporary Client Accept Error(Too many open files";
    assert!(complaints.iter().any(|line| line.starts_with(expected)), "{complaints:?}");
    assert!(complaints.len() < 10, "said once a second: {complaints:?}");
}

/// What was logged.
struct Complaints(Mutex<Vec<String>>);

static COMPLAINTS: Complaints = Complaints(Mutex::new(Vec::new()));

impl log::Log for Complaints {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// True in a process that runs this test only, after these words to the shell. Makes that process
/// if this is another.
fn alone(name: &str, words: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let line = format!("{words} exec \"$0\" --exact {name}");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(line).arg(std::env::current_exe().unwrap()).env(ALONE, "1");
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn visit(addr: SocketAddr, round: usize) {
    let mut client = Client::new(addr);
    match round % 4 {
        0 => {}
        1 => {
            client.send("hello");
            client.expect("hello");
        }
        2 => {
            client.send("!q");
            assert_eq!(client.rest(), "bye");
        }
        // Leaves with megabytes on their way.
        _ => client.send("!b"),
    }
}

fn wait_for_descriptors(most: usize) {
    let until = Instant::now() + PATIENCE;
    while descriptors() > most {
        assert!(Instant::now() < until, "{} descriptors instead of {most}", descriptors());
        thread::yield_now();
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux").count()
}

#[test]
fn everything_ends_with_the_server() {
    let (done, ended) = mpsc::channel();
    let server = serve(settings(4));
    let mut clients: Vec<Client> = (0..40).map(|_| Client::new(server.client_addr())).collect();
    for client in &mut clients {
        client.send("here");
        client.expect("here");
    }
    let addr = server.client_addr();
    let stopper = server.stopper();
    thread::spawn(move || done.send(server.join()));
    stopper.shutdown();
    stopper.shutdown();
    assert!(clients.iter_mut().all(|client| client.rest().is_empty()));
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(Ok(())));
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let server = serve(settings(1));
    let mut again = settings(1);
    again.listen_port = server.client_addr().port();
    let error = start_with(again, Toy::new).map(end).expect_err("one of two").to_string();
    let address = format!("127.0.0.1:{}", server.client_addr().port());
    assert!(error.contains(&address) && error.contains("in use"), "{error}");
    end(server);
}

#[test]
fn a_core_that_does_not_exist_is_an_error() {
    let mut settings = settings(1);
    settings.pin = true;
    settings.cores = vec![100_000];
    assert!(start_with(settings, Toy::new).map(end).is_err());
    let mut none = crate::client::settings(1);
    none.cores = Vec::new();
    assert!(start_with(none, Toy::new).map(end).is_err());
}

/// As nats-server calls its end after the last of its list, whoever else is there.
#[test]
fn a_lame_duck_ends_when_its_time_is_over_whoever_is_left() {
    for shards in [1, 2] {
        let server = serve(settings(shards));
        let addr = server.client_addr();
        let mut clients: Vec<Client> = (0..shards).map(|_| Client::new(addr)).collect();
        for client in &mut clients {
            client.send("here");
            client.expect("here");
        }
        server.lame_duck(LameDuck { grace_ns: 10 * MILLIS, duration_ns: 10 * MILLIS });
        let ended = server.ended().recv_timeout(Duration::from_secs(10));
        assert_ne!(ended, Err(RecvTimeoutError::Timeout), "{shards} shards");
        server.join().expect("in order");
    }
}
