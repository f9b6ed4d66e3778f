//! A client that says CONNECT again begins anew: without its subscriptions, however many they are.

#[path = "support/bus.rs"]
mod bus;

use bus::{Bus, Id, QUIET};
use shard::{Input, Options};

/// Where little may be staged.
fn narrow() -> Bus {
    Bus::with(2, Options { pending_bytes_max: 4 * 1024 * 1024, ..Options::default() })
}

/// Subscriptions 1 to `count` of `many.1` and so on, every tenth of them in a queue group.
fn subscribe(bus: &mut Bus, client: Id, count: usize) {
    let line = |n: usize| match n % 10 {
        0 => format!("SUB many.{n} group {n}\r\n"),
        _ => format!("SUB many.{n} {n}\r\n"),
    };
    for first in (1..=count).step_by(1000) {
        let lines: String = (first..count.min(first + 999) + 1).map(line).collect();
        bus.send(client, &lines);
    }
    bus.send(client, "PING\r\n");
    assert_eq!(bus.take(client), "PONG\r\n");
}

/// The most that is staged for a peer that takes nothing meanwhile.
fn most_staged(bus: &mut Bus) -> usize {
    let turn = |_| {
        bus.step(0, Input::Turn);
        bus.staged_bytes(0, 1).0
    };
    (0..1000).map(turn).max().unwrap_or(0)
}

#[test]
fn a_client_with_many_subscriptions_begins_anew_in_pieces() {
    let mut bus = narrow();
    let (client, other) = (bus.quiet(0), bus.quiet(1));
    subscribe(&mut bus, client, 50_000);
    bus.post(client, format!("{QUIET}\r\nSUB many.1 5\r\nPING\r\n").as_bytes());
    let (most, bound) = (most_staged(&mut bus), bus.staged_bytes(0, 1).1);
    assert!(most <= 2 * bound, "{most} bytes are staged where {bound} are much");
    bus.settle();
    assert_eq!(bus.take(client), "PONG\r\n");
    bus.send(other, "PUB many.1 1\r\nx\r\nPUB many.5 1\r\ny\r\nPUB many.10 1\r\nz\r\n");
    assert_eq!(bus.take(client), "MSG many.1 5 1\r\nx\r\n");
    assert_eq!(bus.shards[0].figures().subscriptions, 1);
    bus.assert_replicated();
}

#[test]
fn whoever_begins_anew_may_go_before_it_has() {
    let mut bus = narrow();
    let (client, other) = (bus.quiet(0), bus.quiet(1));
    subscribe(&mut bus, client, 5000);
    bus.post(client, format!("{QUIET}\r\nSUB a 1\r\n").as_bytes());
    bus.step(0, Input::Turn);
    let left = bus.shards[0].figures().subscriptions;
    assert!((2..5000).contains(&left), "in the middle of it: {left}");
    bus.kick(client);
    bus.settle();
    assert!(bus.is_closed(client));
    bus.send(other, "PUB a 1\r\nx\r\nPUB many.1 1\r\nx\r\nPING\r\n");
    assert_eq!(bus.take(other), "PONG\r\n");
    assert_eq!(bus.shards[0].figures().subscriptions, 0);
    bus.assert_replicated();
}

/// What was published before its CONNECT it has; others of its group get what comes after.
#[test]
fn nothing_comes_for_old_subscriptions_while_their_client_begins_anew() {
    let mut bus = narrow();
    let (client, other) = (bus.quiet(0), bus.quiet(0));
    let far = bus.quiet(1);
    subscribe(&mut bus, client, 5000);
    bus.send(other, "SUB many.10 group 10\r\nSUB many.1 1\r\nPING\r\n");
    bus.take(other);
    bus.post(client, format!("PUB many.2 1\r\nx\r\n{QUIET}\r\nSUB a 2\r\nPING\r\n").as_bytes());
    bus.step(0, Input::Turn);
    let text: String = (1..=5000).step_by(3).map(|n| format!("PUB many.{n} 1\r\ny\r\n")).collect();
    bus.post(other, text.as_bytes());
    assert_eq!(bus.take(client), "MSG many.2 2 1\r\nx\r\n");
    assert_eq!(bus.take(other), "MSG many.1 1 1\r\ny\r\nMSG many.10 10 1\r\ny\r\n");
    bus.send(far, &text);
    assert_eq!(bus.take(client), "PONG\r\n");
    bus.send(far, "PUB a 1\r\nz\r\n");
    assert_eq!(bus.take(client), "MSG a 2 1\r\nz\r\n");
    bus.assert_replicated();
}

#[test]
fn subscriptions_wait_when_much_is_staged_of_their_patterns() {
    for length in [1, 1000] {
        let mut bus = narrow();
        let client = bus.quiet(0);
        let line = |n: usize| format!("SUB {}.{n} {n}\r\n", "x".repeat(length));
        let lines: String = (0..).map(line).take(4000 / length + 50).collect();
        bus.post(client, lines.as_bytes());
        let (staged, bound) = bus.staged_bytes(0, 1);
        assert!(staged <= 2 * bound, "{staged} bytes are staged where {bound} are much");
        bus.settle();
        let all = lines.lines().count() as u64;
        assert_eq!(bus.shards[0].figures().subscriptions, all);
        bus.assert_replicated();
    }
}
