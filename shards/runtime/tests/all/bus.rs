//! Real shards over TCP.

use std::io::Write;
use std::thread;

use runtime::{Server, start};

use crate::client::{Client, end, settings};

fn serve(shards: usize) -> Server {
    start(settings(shards)).expect("it starts")
}

#[test]
fn publications_reach_subscribers_on_every_shard() {
    for shards in [1, 2, 4] {
        let server = serve(shards);
        let addr = server.client_addr();
        // Placed one after the other, so every shard has two.
        let mut clients: Vec<Client> = (0..2 * shards).map(|_| Client::hello(addr)).collect();
        for client in &mut clients {
            client.send("SUB news.* 7\r\n");
            client.ping();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&format!("PUB news.{number} 2\r\nhi\r\nPING\r\n"));
        }
        for (own, client) in clients.iter_mut().enumerate() {
            let mut seen: Vec<String> = Vec::new();
            while seen.len() < 2 * shards {
                match client.line().as_str() {
                    "PONG" | "hi" => {}
                    line => seen.push(line.to_owned()),
                }
            }
            seen.sort();
            let mut all: Vec<String> =
                (0..2 * shards).map(|number| format!("MSG news.{number} 7 2")).collect();
            all.sort();
            assert_eq!(seen, all, "client {own} of {shards} shards");
        }
        end(server);
    }
}

#[test]
fn every_message_crosses_once_and_in_order() {
    const MESSAGES: usize = 100_000;
    let server = serve(3);
    let addr = server.client_addr();
    let mut subscribers: Vec<Client> = (0..6).map(|_| Client::hello(addr)).collect();
    for subscriber in &mut subscribers {
        subscriber.send("SUB load 1\r\n");
        subscriber.ping();
    }
    let readers: Vec<_> = subscribers
        .into_iter()
        .map(|mut subscriber| {
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    subscriber.expect(&format!("MSG load 1 6\r\n{number:06}\r\n"));
                }
            })
        })
        .collect();
    let mut publisher = Client::hello(addr);
    let load: String = (0..MESSAGES).map(|n| format!("PUB load 6\r\n{n:06}\r\n")).collect();
    publisher.stream.write_all(load.as_bytes()).unwrap();
    publisher.ping();
    for reader in readers {
        reader.join().expect("all of them, in order");
    }
    end(server);
}

/// A flood of one publication on one shard to a subscriber on another, that takes what it gets.
fn flood(pending_bytes_max: u64, subject: &str, payload: usize, msgs: usize) {
    let mut settings = settings(2);
    settings.shard.pending_bytes_max = pending_bytes_max;
    let server = start(settings).expect("it starts");
    let mut subscriber = Client::hello(server.client_addr());
    subscriber.send(&format!("SUB {subject} 1\r\n"));
    subscriber.ping();
    let message_len = format!("MSG {subject} 1 {payload}\r\n").len() + payload + 2;
    let reader = thread::spawn(move || {
        let mut left = msgs * message_len;
        while left > 0 {
            let bytes = left.min(256 * 1024);
            subscriber.skip(bytes);
            left -= bytes;
        }
    });
    let mut publisher = Client::hello(server.client_addr());
    let publication = format!("PUB {subject} {payload}\r\n{}\r\n", " ".repeat(payload));
    let at_once = (256 * 1024 / publication.len()).max(1);
    let publications = publication.repeat(at_once);
    for _ in 0..msgs / at_once {
        publisher.send(&publications);
    }
    publisher.send(&publication.repeat(msgs % at_once));
    publisher.ping();
    reader.join().expect("it is not taken for slow");
    end(server);
}

#[test]
fn receivers_on_other_shards_that_take_what_they_get_are_not_too_slow() {
    flood(64 << 20, "large", 1_000_000, 200);
    flood(64 << 20, &"a.long.subject.".repeat(4)[..59], 0, 2_000_000);
    flood(4 << 20, "little.room", 16, 1_000_000);
}

#[test]
fn requests_cross_to_a_sleeping_shard_and_back() {
    const REQUESTS: usize = 5_000;
    let server = serve(2);
    let addr = server.client_addr();
    let mut asker = Client::hello(addr);
    let mut answerer = Client::hello(addr);
    asker.send("SUB inbox 1\r\n");
    asker.ping();
    answerer.send("SUB service 2\r\n");
    answerer.ping();
    let answering = thread::spawn(move || {
        for _ in 0..REQUESTS {
            answerer.expect("MSG service 2 inbox 1\r\n?\r\n");
            answerer.send("PUB inbox 1\r\n!\r\n");
        }
        answerer.ping();
    });
    for _ in 0..REQUESTS {
        asker.send("PUB service inbox 1\r\n?\r\n");
        asker.expect("MSG inbox 1 1\r\n!\r\n");
    }
    answering.join().expect("every request came");
    end(server);
}

#[test]
fn a_spinning_server_answers_too() {
    let mut settings = settings(2);
    settings.spin_ns = 50_000;
    let server = start(settings).expect("it starts");
    let mut client = Client::hello(server.client_addr());
    (0..100).for_each(|_| client.ping());
    end(server);
}

#[test]
fn pinned_shards_serve_too() {
    let mut settings = settings(2);
    settings.pin = true;
    settings.cores = vec![0, 0];
    let server = start(settings).expect("it starts");
    Client::hello(server.client_addr()).ping();
    end(server);
}

#[test]
fn a_fault_is_told_before_the_end() {
    let server = serve(2);
    let mut client = Client::hello(server.client_addr());
    client.send("NONSENSE\r\n");
    assert_eq!(client.rest(), "-ERR 'Unknown Protocol Operation'\r\n");
    end(server);
}

#[test]
fn one_too_many_is_greeted_and_refused() {
    let mut settings = settings(2);
    settings.shard.connections_max = Some(1);
    let server = start(settings).expect("it starts");
    let mut first = Client::hello(server.client_addr());
    let mut second = Client::new(server.client_addr());
    assert!(second.line().starts_with("INFO {"));
    assert_eq!(second.rest(), "-ERR 'maximum connections exceeded'\r\n");
    first.ping();
    end(server);
}
