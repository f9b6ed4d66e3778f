//! What changes for clients while a bus runs: other options, and its slow end.

#[path = "support/bus.rs"]
mod bus;

use std::sync::Arc;

use bus::{Bus, Id};
use shard::access::Access;
use shard::limits::SECONDS;
use shard::report::{Ask, LameDuck, News, Reload, Saying};
use shard::{AccountId, ConnId, Input, Options};

/// A client that knows what an INFO at any time means.
fn modern(bus: &mut Bus, shard: usize) -> Id {
    let client = bus.connect(shard);
    bus.send(client, "CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n");
    assert!(bus.take(client).contains("connect_info"));
    client
}

#[test]
fn other_options_hold_at_once_and_clients_are_told() {
    let mut bus = Bus::new(2);
    let (new, old) = (modern(&mut bus, 0), bus.quiet(1));
    let options = Options { payload_max: 5, ..Options::default() };
    let reload = Reload { options, host: "h".to_string(), port: 7, excess: 0 };
    bus.ask(&Ask::Reload(Arc::new(reload.clone())));
    let told = bus.take(new);
    assert!(told.starts_with("INFO {") && told.contains("\"host\":\"h\",\"port\":7,"), "{told}");
    assert!(told.contains("\"max_payload\":5,"), "{told}");
    assert_eq!(bus.take(old), "");
    bus.send(old, "PUB a 6\r\n");
    assert_eq!(bus.take(old), "-ERR 'Maximum Payload Violation'\r\n");
    // The same again is no news.
    bus.ask(&Ask::Reload(Arc::new(reload)));
    assert_eq!(bus.take(new), "");
}

#[test]
fn those_who_are_too_many_now_are_told_why_they_go() {
    let mut bus = Bus::new(1);
    let clients: Vec<Id> = (0..5).map(|_| bus.quiet(0)).collect();
    let reload = Reload { excess: 3, ..Reload::default() };
    bus.ask(&Ask::Reload(Arc::new(reload)));
    let closed = clients.iter().filter(|client| bus.is_closed(**client)).count();
    assert_eq!(closed, 3);
    for client in clients {
        let text = bus.take(client);
        let wanted =
            if bus.is_closed(client) { "-ERR 'maximum connections exceeded'\r\n" } else { "" };
        assert_eq!(text, wanted);
    }
}

#[test]
fn a_lame_duck_says_so_and_closes_one_after_the_other_in_its_time() {
    let mut bus = Bus::new(2);
    let clients: Vec<Id> = (0..40).map(|at| modern(&mut bus, at % 2)).collect();
    bus.ask(&Ask::LameDuck(LameDuck { grace_ns: 10 * SECONDS, duration_ns: 20 * SECONDS }));
    for client in &clients {
        let told = bus.take(*client);
        assert!(told.starts_with("INFO {") && told.contains("\"ldm\":true"), "{told}");
    }
    let open = |bus: &Bus| clients.iter().filter(|client| !bus.is_closed(**client)).count();
    bus.pass(10 * SECONDS - 1_000);
    assert_eq!(open(&bus), 40, "nobody goes within the grace period");
    let mut left = vec![40];
    for _ in 0..20 {
        bus.pass(SECONDS);
        left.push(open(&bus));
    }
    assert_eq!(left.last(), Some(&0), "{left:?}");
    assert!(left.windows(2).all(|pair| pair[0] - pair[1] <= 6), "in steps: {left:?}");
    assert!(left[5] > 20, "spread over the time: {left:?}");
}

#[test]
fn a_lame_duck_serves_until_the_end_and_greets_as_one() {
    let mut bus = Bus::new(2);
    let (publisher, subscriber) = (modern(&mut bus, 0), modern(&mut bus, 1));
    bus.ask(&Ask::LameDuck(LameDuck { grace_ns: SECONDS, duration_ns: SECONDS }));
    bus.take(subscriber);
    bus.send(subscriber, "SUB a 1\r\nPING\r\n");
    bus.take(subscriber);
    bus.send(publisher, "PUB a 1\r\nx\r\n");
    assert_eq!(bus.take(subscriber), "MSG a 1 1\r\nx\r\n");
}

/// It was let in before the server began to go, and its shard hears of it after.
#[test]
fn whoever_comes_to_a_lame_duck_is_closed_with_the_others() {
    let mut bus = Bus::new(2);
    let first = modern(&mut bus, 0);
    bus.ask(&Ask::LameDuck(LameDuck { grace_ns: 10 * SECONDS, duration_ns: 20 * SECONDS }));
    let second = bus.connect(1);
    assert!(bus.info.contains("\"ldm\":true"), "{}", bus.info);
    bus.pass(10 * SECONDS - 1_000);
    assert!(!bus.is_closed(first) && !bus.is_closed(second), "within the grace period");
    for _ in 0..20 {
        bus.pass(SECONDS);
    }
    assert!(bus.is_closed(first) && bus.is_closed(second));
    for shard in 0..2 {
        let third = bus.connect(shard);
        assert!(bus.shards[shard].deadline().is_some_and(|due| due <= bus.now), "it is its turn");
        bus.pass(1);
        assert!(bus.is_closed(third), "all others have gone");
    }
}

/// Two shards, the first of which holds a service of the server's.
fn serving(options: Options) -> Bus {
    let mut access = Access::default();
    access.system = Some(AccountId::GLOBAL);
    let mut bus = Bus::with(2, Options { access: Arc::new(access), ..options });
    let conn = ConnId { slot: 1000, generation: 1 };
    let (subjects, elsewhere) = (vec!["ask.server".to_owned()], Vec::new());
    bus.step(0, Input::Ask(Ask::Serve { conn, subjects, elsewhere }));
    bus.settle();
    bus
}

/// It takes all it is sent at once, so nobody waits for it, and no limit is its.
#[test]
fn requests_to_the_server_itself_stall_nobody() {
    for (no_fast_producer_stall, bytes) in [(false, 900), (true, 900), (false, 1500)] {
        let pending_bytes_max = 1000;
        let options = Options { pending_bytes_max, no_fast_producer_stall, ..Options::default() };
        let mut bus = serving(options);
        let request = format!("PUB ask.server re {bytes}\r\n{}\r\n", "x".repeat(bytes));
        for shard in 0..2 {
            let client = bus.quiet(shard);
            bus.news.clear();
            bus.send(client, &request.repeat(3));
            bus.send(client, "PING\r\n");
            assert_eq!(bus.take(client), "PONG\r\n");
            assert_eq!(bus.news.len(), 3);
            assert!(bus.news.iter().all(|news| matches!(news, News::Request(_))));
        }
        let figures = bus.shards[0].figures();
        assert_eq!((figures.stalled_clients, figures.slow_pending_bytes), (0, 0));
        assert_eq!(figures.dropped_behind, 0);
    }
}

/// As if a client had said it: the name of the subscription is free again at once.
#[test]
fn a_subscription_ends_with_the_last_message_it_wants_from_the_server_too() {
    let mut bus = serving(Options::default());
    for shard in 0..2 {
        let client = bus.quiet(shard);
        for _ in 0..3 {
            bus.send(client, "SUB answer 1\r\nUNSUB 1 1\r\nPING\r\n");
            bus.take(client);
            let saying = Saying::new(b"answer".to_vec(), b"x".to_vec());
            bus.step(0, Input::Ask(Ask::Say(Box::new(saying))));
            bus.settle();
            assert_eq!(bus.take(client), "MSG answer 1 1\r\nx\r\n");
        }
    }
}
