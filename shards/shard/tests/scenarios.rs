//! Scenarios in the protocol's own text, with one shard and with several.

#[path = "support/bus.rs"]
mod bus;

use bus::{Bus, QUIET};
use shard::limits::{MILLIS, RELEASED_PER_STEP, SECONDS};
use shard::{ConnId, Hangup, Input, Options};

fn on_each(shards: &[usize], scenario: impl Fn(Bus, usize)) {
    for n in shards {
        scenario(Bus::new(*n), n - 1);
    }
}

#[test]
fn a_message_reaches_a_subscriber_anywhere() {
    on_each(&[1, 2, 4], |mut bus, far| {
        let (publisher, subscriber) = (bus.quiet(0), bus.quiet(far));
        bus.send(subscriber, "SUB tele.*.temp 7\r\nPING\r\n");
        assert_eq!(bus.take(subscriber), "PONG\r\n");
        bus.send(publisher, "PUB tele.a.temp 5\r\nhello\r\nPUB tele.a.temp re 0\r\n\r\n");
        let wanted = "MSG tele.a.temp 7 5\r\nhello\r\nMSG tele.a.temp 7 re 0\r\n\r\n";
        assert_eq!(bus.take(subscriber), wanted);
    });
}

/// A plan for subjects that begin alike must not outlive what it was made of, nor hide a pattern
/// that is just one of them.
#[test]
fn subjects_that_begin_alike_are_delivered_each_by_what_matches_it() {
    let options = Options { match_cache: false, ..Options::default() };
    let mut bus = Bus::with(1, options);
    let (publisher, wide, narrow) = (bus.quiet(0), bus.quiet(0), bus.quiet(0));
    bus.send(wide, "SUB t.> 1\r\nSUB t.a.x 2\r\n");
    bus.send(narrow, "SUB t.*.y 3\r\nSUB t.b.* 4\r\nSUB *.* 5\r\n");
    let says = "PUB t.a.v 0\r\n\r\nPUB t.a.w 0\r\n\r\nPUB t.a.x 0\r\n\r\nPUB t.a.y 0\r\n\r\n\
                PUB t.b.v 0\r\n\r\nPUB t.b.y 0\r\n\r\nPUB t.c 0\r\n\r\nPUB t.d 0\r\n\r\nPUB t. 0\r\n\r\n\
                PUB t.a. 0\r\n\r\nPUB t.b. 0\r\n\r\n";
    let msgs = |sids: &[(&str, u8)]| -> String {
        sids.iter().map(|(subject, sid)| format!("MSG {subject} {sid} 0\r\n\r\n")).collect()
    };
    let to_wide = msgs(&[
        ("t.a.v", 1),
        ("t.a.w", 1),
        ("t.a.x", 2),
        ("t.a.x", 1),
        ("t.a.y", 1),
        ("t.b.v", 1),
        ("t.b.y", 1),
        ("t.c", 1),
        ("t.d", 1),
    ]);
    let to_narrow =
        msgs(&[("t.a.y", 3), ("t.b.v", 4), ("t.b.y", 4), ("t.b.y", 3), ("t.c", 5), ("t.d", 5)]);
    for _ in 0..4 {
        bus.send(publisher, says);
        assert_eq!((bus.take(wide), bus.take(narrow)), (to_wide.clone(), to_narrow.clone()));
    }
    bus.send(narrow, "UNSUB 3\r\n");
    for _ in 0..4 {
        bus.send(publisher, "PUB t.a.v 0\r\n\r\nPUB t.a.y 0\r\n\r\nPUB t.b.y 0\r\n\r\n");
        let wanted = msgs(&[("t.a.v", 1), ("t.a.y", 1), ("t.b.y", 1)]);
        assert_eq!((bus.take(wide), bus.take(narrow)), (wanted, msgs(&[("t.b.y", 4)])));
    }
    bus.send(wide, "SUB t.a.* 6\r\n");
    bus.send(publisher, "PUB t.a.v 0\r\n\r\n");
    assert_eq!(bus.take(wide), msgs(&[("t.a.v", 1), ("t.a.v", 6)]));
    bus.send(publisher, "PUB t.a.v inbox 0\r\n\r\nPUB u.a.v inbox 0\r\n\r\n");
    assert!(bus.take(wide).ends_with("MSG t.a.v 6 inbox 0\r\n\r\n"));
}

#[test]
fn before_connect_a_client_is_verbose_and_pedantic() {
    let mut bus = Bus::new(2);
    let client = bus.connect(0);
    bus.send(client, "SUB a 1\r\nPUB a 2\r\nhi\r\nPUB a.* 0\r\n\r\nSUB a..b 2\r\nPING\r\n");
    let wanted = "+OK\r\n+OK\r\nMSG a 1 2\r\nhi\r\n-ERR 'Invalid Publish Subject'\r\n+OK\r\n\
                  -ERR 'Invalid Subject'\r\nPONG\r\n";
    assert_eq!(bus.take(client), wanted);
}

#[test]
fn the_first_pong_after_connect_brings_an_info_to_protocol_one() {
    let mut bus = Bus::new(1);
    let client = bus.connect(0);
    bus.send(client, "CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\nPING\r\n");
    let got = bus.take(client);
    assert!(got.starts_with("PONG\r\nINFO {") && got.ends_with("} \r\nPONG\r\n"), "{got}");
    assert!(got.contains("\"connect_info\":true,\"remote_account\":\"$G\""), "{got}");
}

#[test]
fn one_member_of_each_group_gets_it() {
    on_each(&[1, 3], |mut bus, far| {
        let publisher = bus.quiet(0);
        let members: Vec<_> = (0..6).map(|i| bus.quiet(i % (far + 1))).collect();
        for (i, member) in members.iter().enumerate() {
            let pattern = if i % 2 == 0 { "work.*" } else { "work.>" };
            bus.send(*member, &format!("SUB {pattern} crew {i}\r\nPING\r\n"));
            bus.take(*member);
        }
        for _ in 0..600 {
            bus.send(publisher, "PUB work.x 0\r\n\r\n");
        }
        let counts: Vec<usize> =
            members.iter().map(|m| bus.take(*m).matches("MSG work.x").count()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 600);
        assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
    });
}

#[test]
fn unsub_max_counts_from_the_subscription() {
    on_each(&[1, 2], |mut bus, far| {
        let (publisher, subscriber) = (bus.quiet(0), bus.quiet(far));
        bus.send(subscriber, "SUB a 1\r\nUNSUB 1 3\r\nPING\r\n");
        bus.take(subscriber);
        bus.send(publisher, &"PUB a 0\r\n\r\n".repeat(5));
        assert_eq!(bus.take(subscriber), "MSG a 1 0\r\n\r\n".repeat(3));
        bus.assert_replicated();
        assert!(bus.shards[far].announced().is_empty());
    });
}

#[test]
fn a_limited_member_on_another_shard_is_asked_first() {
    let mut bus = Bus::new(3);
    let publisher = bus.quiet(0);
    let (one, two) = (bus.quiet(1), bus.quiet(2));
    for member in [one, two] {
        bus.send(member, "SUB a q 1\r\nUNSUB 1 2\r\nPING\r\n");
        bus.take(member);
    }
    bus.send(publisher, &"PUB a 0\r\n\r\n".repeat(4));
    assert_eq!(bus.take(one), "MSG a 1 0\r\n\r\n".repeat(2));
    assert_eq!(bus.take(two), "MSG a 1 0\r\n\r\n".repeat(2));
    bus.send(publisher, "PUB a 0\r\n\r\nPING\r\n");
    assert_eq!(bus.take(publisher), "PONG\r\n");
    bus.assert_replicated();
}

#[test]
fn a_refused_publication_claims_nothing() {
    let mut bus = Bus::new(2);
    let (publisher, member) = (bus.quiet(0), bus.quiet(1));
    bus.send(member, "SUB > q 1\r\nUNSUB 1 1\r\nPING\r\n");
    bus.take(member);
    bus.send(publisher, "PUB _GR_.x 0\r\n\r\nPUB a _R_.x 0\r\n\r\nPUB a 0\r\n\r\n");
    assert_eq!(bus.take(member), "MSG a 1 0\r\n\r\n");
}

#[test]
fn a_subscription_that_ends_as_its_connection_does_ends_once() {
    let mut bus = Bus::with(1, Options { pending_bytes_max: 1000, ..Options::default() });
    let (publisher, slow, other) = (bus.quiet(0), bus.quiet(0), bus.quiet(0));
    bus.send(slow, "SUB a 1\r\nUNSUB 1 1\r\n");
    bus.stick(slow, true);
    bus.post(publisher, format!("PUB a 2000\r\n{}\r\n", "x".repeat(2000)).as_bytes());
    bus.post(other, b"SUB b 1\r\n");
    bus.settle();
    assert!(bus.is_closed(slow));
    bus.send(publisher, "PUB b 0\r\n\r\n");
    assert_eq!(bus.take(other), "MSG b 1 0\r\n\r\n");
    assert_eq!(bus.shards[0].figures().subscriptions, 1);
}

#[test]
fn subscribers_that_share_bytes_get_everything_in_order() {
    on_each(&[1, 2], |mut bus, far| {
        let (publisher, other) = (bus.quiet(0), bus.quiet(far));
        let subscribers: Vec<_> = (0..12).map(|_| bus.quiet(far)).collect();
        for subscriber in &subscribers {
            bus.send(*subscriber, "SUB a 1\r\nSUB b 2\r\nPING\r\n");
            bus.take(*subscriber);
        }
        bus.send(other, "SUB a 1\r\nUNSUB 1 2\r\nPING\r\n");
        bus.take(other);
        let body = "x".repeat(900);
        let (a, b) = (format!("PUB a 900\r\n{body}\r\n"), format!("PUB b 900\r\n{body}\r\n"));
        bus.send(publisher, &[&*a, &*a, &*b, &*a, "PUB b 0\r\n\r\n"].concat());
        let (a, b) = (format!("MSG a 1 900\r\n{body}\r\n"), format!("MSG b 2 900\r\n{body}\r\n"));
        let wanted = [&*a, &*a, &*b, &*a, "MSG b 2 0\r\n\r\n"].concat();
        for subscriber in &subscribers {
            assert!(bus.take(*subscriber) == wanted);
        }
        assert!(bus.take(other) == a.repeat(2));
        assert_eq!(bus.shards[far].figures().out_msgs, 12 * 5 + 2);
        bus.send(publisher, "PUB a 0\r\n\r\n");
        bus.send(subscribers[0], "UNSUB 1\r\nPING\r\n");
        assert_eq!(bus.take(subscribers[0]), "MSG a 1 0\r\n\r\nPONG\r\n");
    });
}

#[test]
fn nobody_there_is_said_to_who_asks() {
    on_each(&[1, 2], |mut bus, far| {
        let (client, other) = (bus.quiet(0), bus.quiet(far));
        bus.send(client, "SUB in.* 9\r\nPUB gone in.1 0\r\n\r\n");
        let wanted = "HMSG in.1 9 36 36\r\nNATS/1.0 503\r\nNats-Subject: gone\r\n\r\n\r\n";
        assert_eq!(bus.take(client), wanted);
        bus.send(other, "SUB gone 1\r\nPING\r\n");
        bus.send(client, "PUB gone in.1 0\r\n\r\nPUB gone out.1 0\r\n\r\n");
        assert_eq!(bus.take(client), "");
    });
}

#[test]
fn echo_off_leaves_out_its_own() {
    let mut bus = Bus::new(2);
    let client = bus.connect(0);
    let other = bus.quiet(1);
    bus.send(client, "CONNECT {\"verbose\":false,\"echo\":false}\r\nSUB a 1\r\nSUB a q 2\r\n");
    bus.send(other, "SUB a q 5\r\nPING\r\n");
    bus.take(other);
    bus.send(client, &"PUB a 0\r\n\r\n".repeat(20));
    assert_eq!(bus.take(client), "");
    assert_eq!(bus.take(other).matches("MSG a 5 0").count(), 20);
}

#[test]
fn headers_are_stripped_for_those_without() {
    on_each(&[1, 2], |mut bus, far| {
        let (with, plain, publisher) = (bus.quiet(far), bus.connect(far), bus.quiet(0));
        bus.send(with, "SUB h 1\r\nPING\r\n");
        bus.send(plain, "CONNECT {\"verbose\":false}\r\nSUB h 2\r\nPING\r\n");
        bus.take(with);
        bus.take(plain);
        bus.send(publisher, "HPUB h re 12 17\r\nNATS/1.0\r\n\r\nhello\r\n");
        assert_eq!(bus.take(with), "HMSG h 1 re 12 17\r\nNATS/1.0\r\n\r\nhello\r\n");
        assert_eq!(bus.take(plain), "MSG h 2 re 5\r\nhello\r\n");
    });
}

#[test]
fn a_pong_waits_for_the_peers() {
    let mut bus = Bus::new(2);
    let (subscriber, publisher) = (bus.quiet(0), bus.quiet(1));
    bus.post(subscriber, b"SUB a 1\r\nPING\r\nPING\r\n");
    assert_eq!(bus.take(subscriber), "");
    bus.post(publisher, b"PUB a 0\r\n\r\n");
    bus.settle();
    assert_eq!(bus.take(subscriber), "PONG\r\nPONG\r\n");
    bus.send(publisher, "PUB a 0\r\n\r\n");
    assert_eq!(bus.take(subscriber), "MSG a 1 0\r\n\r\n");
}

#[test]
fn a_leaving_member_takes_what_is_under_way() {
    let mut bus = Bus::new(2);
    let (member, publisher) = (bus.quiet(1), bus.quiet(0));
    bus.send(member, "SUB a q 1\r\nPING\r\n");
    bus.take(member);
    bus.post(publisher, b"PUB a 0\r\n\r\n");
    bus.post(member, b"UNSUB 1\r\nPING\r\n");
    bus.settle();
    assert_eq!(bus.take(member), "MSG a 1 0\r\n\r\nPONG\r\n");
    bus.assert_replicated();
}

#[test]
fn a_full_lane_pauses_its_publishers_and_loses_nothing() {
    let mut bus = Bus::new(2);
    bus.lane_frames = 1;
    let (publisher, subscriber) = (bus.quiet(0), bus.quiet(1));
    bus.send(subscriber, "SUB a 1\r\nPING\r\n");
    bus.take(subscriber);
    let message = format!("PUB a 1000\r\n{}\r\n", "x".repeat(1000));
    for _ in 0..1000 {
        bus.post(publisher, message.as_bytes());
    }
    assert!(bus.shards[0].figures().in_msgs < 1000, "a full lane stops its publishers");
    bus.settle();
    assert_eq!(bus.take(subscriber).matches("MSG a 1 1000\r\n").count(), 1000);
    assert!(bus.shards[0].figures().congested > 0);
}

#[test]
fn a_stuck_receiver_is_closed_and_costs_others_nothing() {
    on_each(&[1, 2], |_, far| {
        let options = Options { pending_bytes_max: 100_000, ..Options::default() };
        let mut bus = Bus::with(far + 1, options);
        let (publisher, stuck, healthy) = (bus.quiet(0), bus.quiet(far), bus.quiet(far));
        for subscriber in [stuck, healthy] {
            bus.send(subscriber, "SUB a 1\r\nPING\r\n");
            bus.take(subscriber);
        }
        bus.stick(stuck, true);
        let message = format!("PUB a 1000\r\n{}\r\n", "x".repeat(1000));
        for _ in 0..200 {
            bus.send(publisher, &message);
        }
        assert!(bus.shards[0].figures().in_msgs < 200, "publishers wait at first");
        bus.pass(50 * MILLIS);
        bus.pass(60 * MILLIS);
        bus.pass(60 * MILLIS);
        assert_eq!(bus.shards[0].figures().in_msgs, 200, "and not for ever");
        assert!(bus.is_closed(stuck));
        assert_eq!(bus.take(healthy).matches("MSG a 1 1000\r\n").count(), 200);
        assert_eq!(bus.shards[far].figures().slow_pending_bytes, 1);
    });
}

#[test]
fn a_draining_receiver_loses_nothing() {
    on_each(&[1, 2], |_, far| {
        let options = Options { pending_bytes_max: 100_000, ..Options::default() };
        let mut bus = Bus::with(far + 1, options);
        let (publisher, slow) = (bus.quiet(0), bus.quiet(far));
        bus.send(slow, "SUB a 1\r\nPING\r\n");
        bus.take(slow);
        let message = format!("PUB a 1000\r\n{}\r\n", "x".repeat(1000));
        let mut got = 0;
        for round in 0..500 {
            bus.stick(slow, true);
            bus.send(publisher, &message);
            if round % 50 == 49 {
                bus.pass(60 * MILLIS);
                bus.stick(slow, false);
                got += bus.take(slow).matches("MSG a 1 1000\r\n").count();
            }
        }
        bus.stick(slow, false);
        got += bus.take(slow).matches("MSG a 1 1000\r\n").count();
        assert_eq!(got, 500);
        assert!(!bus.is_closed(slow));
    });
}

/// As its collector of garbage makes it do; what it can take is not the question.
#[test]
fn a_receiver_that_drains_may_pause() {
    on_each(&[1, 2], |_, far| {
        let options = Options { pending_bytes_max: 100_000, ..Options::default() };
        let mut bus = Bus::with(far + 1, options);
        let (publisher, receiver) = (bus.quiet(0), bus.quiet(far));
        bus.send(receiver, "SUB a 1\r\nPING\r\n");
        bus.take(receiver);
        let message = format!("PUB a 1000\r\n{}\r\n", "x".repeat(1000));
        (0..150).for_each(|_| bus.send(publisher, &message));
        bus.stick(receiver, true);
        (0..150).for_each(|_| bus.send(publisher, &message));
        (0..15).for_each(|_| bus.pass(10 * MILLIS));
        assert!(!bus.is_closed(receiver));
        bus.stick(receiver, false);
        assert_eq!(bus.take(receiver).matches("MSG a 1 1000\r\n").count(), 300);
        // Not for ever.
        bus.stick(receiver, true);
        (0..150).for_each(|_| bus.send(publisher, &message));
        (0..110).for_each(|_| bus.pass(10 * MILLIS));
        assert_eq!(bus.shards[0].figures().in_msgs, 450);
        assert!(bus.is_closed(receiver));
    });
}

/// What publisher `who` says: so many numbered messages of `bytes` bytes.
fn numbered(who: usize, msgs: usize, bytes: usize) -> String {
    (0..msgs).map(|n| format!("PUB a {bytes}\r\n{:<bytes$}\r\n", format!("{who} {n}"))).collect()
}

/// How many messages there are, each publisher's in order and none twice.
fn assert_numbered(got: &str) -> usize {
    let mut next = std::collections::HashMap::new();
    let bodies = got.lines().filter(|line| !line.starts_with("MSG "));
    bodies
        .map(|body| {
            let (who, n) = body.trim_end().split_once(' ').expect("two numbers");
            let next = next.entry(who.to_owned()).or_insert(0);
            assert_eq!(n.parse(), Ok(*next), "of publisher {who}");
            *next += 1;
        })
        .count()
}

#[test]
fn those_who_waited_for_a_receiver_of_many_do_not_close_it_when_they_go_on() {
    for bytes in [1000, 10_000, 60_000] {
        let options = Options { pending_bytes_max: 400_000, ..Options::default() };
        let mut bus = Bus::with(1, options);
        let (slow, healthy) = (bus.quiet(0), bus.quiet(0));
        for subscriber in [slow, healthy] {
            bus.send(subscriber, "SUB a 1\r\n");
        }
        let publishers: Vec<_> = (0..40).map(|_| bus.quiet(0)).collect();
        bus.stick(slow, true);
        for publisher in &publishers {
            bus.post(*publisher, numbered(*publisher, 60_000 / bytes, bytes).as_bytes());
        }
        assert!(!bus.is_closed(slow), "messages of {bytes}: closed before it went on");
        bus.stick(slow, false);
        for subscriber in [slow, healthy] {
            assert!(!bus.is_closed(subscriber), "messages of {bytes}");
            assert_eq!(assert_numbered(&bus.take(subscriber)), 40 * 60_000 / bytes);
        }
        assert!(!bus.shards[0].has_work());
    }
}

#[test]
fn a_crowd_of_publishers_does_not_close_the_receiver_they_wait_for() {
    let options = Options { pending_bytes_max: 100_000, ..Options::default() };
    let mut bus = Bus::with(1, options);
    let slow = bus.quiet(0);
    bus.send(slow, "SUB a 1\r\n");
    let publishers: Vec<_> = (0..300).map(|_| bus.quiet(0)).collect();
    bus.stick(slow, true);
    for publisher in &publishers {
        bus.post(*publisher, numbered(*publisher, 1, 1000).as_bytes());
    }
    bus.stick(slow, false);
    assert!(!bus.is_closed(slow));
    assert_eq!(assert_numbered(&bus.take(slow)), 300);
    assert!(bus.shards[0].figures().stalled_clients > 200, "{:?}", bus.shards[0].figures());
}

/// What a step does for those who have waited is bounded by their number, and by what they bring.
#[test]
fn those_who_waited_go_on_a_few_at_a_time() {
    for (msgs, publishers_per_step) in [(1, RELEASED_PER_STEP), (60, 1)] {
        let options = Options { pending_bytes_max: 400_000, ..Options::default() };
        let mut bus = Bus::with(1, options);
        let (gone, healthy) = (bus.quiet(0), bus.quiet(0));
        for (sid, subscriber) in [gone, healthy].into_iter().enumerate() {
            bus.send(subscriber, &format!("SUB a {sid}\r\n"));
        }
        let publishers: Vec<_> = (0..100).map(|_| bus.quiet(0)).collect();
        bus.stick(gone, true);
        bus.post(publishers[0], numbered(publishers[0], 300, 1000).as_bytes());
        for publisher in &publishers[1..] {
            bus.post(*publisher, numbered(*publisher, msgs, 1000).as_bytes());
        }
        // Its being sent something would be a step of its own.
        bus.stick(healthy, true);
        let conn = ConnId { slot: gone as u32, generation: 1 };
        let mut before = bus.shards[0].figures().in_msgs;
        for input in [Input::Hangup { conn, cause: Hangup::Closed }, Input::Turn, Input::Turn] {
            bus.step(0, input);
            let after = bus.shards[0].figures().in_msgs;
            let about = (msgs * publishers_per_step) as u64;
            assert!(
                (about - about / 10..=about + 20).contains(&(after - before)),
                "{msgs}: {before} to {after}"
            );
            assert!(bus.shards[0].has_work());
            before = after;
        }
        bus.stick(healthy, false);
        assert_eq!(assert_numbered(&bus.take(healthy)), 300 + 99 * msgs);
    }
}

/// What they bring is known only once it is here.
#[test]
fn publishers_of_a_peer_go_on_as_long_as_there_is_room_for_what_they_bring() {
    let options = Options { pending_bytes_max: 4_000_000, ..Options::default() };
    let mut bus = Bus::with(2, options);
    let slow = bus.quiet(1);
    bus.send(slow, "SUB a 1\r\nPING\r\n");
    bus.take(slow);
    let publishers: Vec<_> = (0..60).map(|_| bus.quiet(0)).collect();
    bus.stick(slow, true);
    let first = bus.quiet(0);
    bus.send(first, &numbered(first, 3000, 1000));
    for publisher in &publishers {
        let all = numbered(*publisher, 61, 1000);
        let (one, more) = all.split_at(all.len() / 61);
        bus.send(*publisher, one);
        bus.send(*publisher, more);
    }
    let said = bus.shards[0].figures().in_msgs;
    assert!(said < 3100, "they wait with the rest: {said}");
    let conn = ConnId { slot: slow as u32, generation: 1 };
    let mut got = String::new();
    for _ in 0..2 {
        let chunk = bus.shards[1].take_chunk(conn).expect("much waits");
        got.push_str(std::str::from_utf8(chunk.as_ref()).expect("text"));
        bus.step(1, Input::Sent { conn, bytes: chunk.as_ref().len() as u64 });
    }
    bus.settle();
    assert!(!bus.is_closed(slow), "what they have is more than there is room for");
    assert!(bus.shards[0].figures().in_msgs > said + 1000, "but there is some");
    bus.stick(slow, false);
    got.push_str(&bus.take(slow));
    assert_eq!(assert_numbered(&got), 3000 + 60 * 61);
}

#[test]
fn a_receiver_that_stalls_again_and_again_is_asked_about_once_at_a_time() {
    let options = Options { pending_bytes_max: 10_000, ..Options::default() };
    let mut bus = Bus::with(1, options);
    let (publisher, slow) = (bus.quiet(0), bus.quiet(0));
    bus.send(slow, "SUB a 1\r\n");
    let stall = |bus: &mut Bus| {
        bus.stick(slow, true);
        bus.send(publisher, &numbered(0, 9, 1000));
    };
    for _ in 0..100 {
        stall(&mut bus);
        bus.stick(slow, false);
    }
    stall(&mut bus);
    assert!(bus.shards[0].figures().stalled_clients > 100);
    assert_eq!(bus.probes, 0);
    bus.pass(20 * MILLIS);
    assert_eq!(bus.probes, 1);
    bus.pass(20 * MILLIS);
    assert_eq!(bus.probes, 2);
}

#[test]
fn a_dead_client_is_stale_at_the_third_ping() {
    let mut bus = Bus::new(1);
    let client = bus.quiet(0);
    bus.pass(3 * SECONDS);
    assert_eq!(bus.take(client), "PING\r\n");
    bus.pass(120 * SECONDS);
    assert_eq!(bus.take(client), "PING\r\n");
    bus.pass(120 * SECONDS);
    assert_eq!(bus.take(client), "-ERR 'Stale Connection'\r\n");
    assert!(bus.is_closed(client));
}

/// Nothing is read of it meanwhile, not even that it is there.
#[test]
fn a_publisher_that_waits_for_a_receiver_is_not_stale() {
    on_each(&[1, 2], |_, far| {
        let options =
            Options { pending_bytes_max: 100_000, ping_interval_ns: SECONDS, ..Options::default() };
        let mut bus = Bus::with(far + 1, options);
        let (publisher, slow) = (bus.quiet(0), bus.quiet(far));
        bus.send(slow, "SUB a 1\r\nPING\r\n");
        bus.stick(slow, true);
        let message = format!("PUB a 1000\r\n{}\r\n", "x".repeat(1000));
        for _ in 0..10 {
            bus.send(publisher, &message.repeat(10));
        }
        let done = bus.shards[0].figures().in_msgs;
        assert!(done < 100, "it waits");
        for _ in 0..100 {
            bus.pass(50 * MILLIS);
            bus.trickle(slow, 1);
            bus.send(slow, "PONG\r\n");
        }
        assert_eq!(bus.shards[0].figures().in_msgs, done, "it still waits");
        assert!(!bus.is_closed(slow));
        assert!(!bus.is_closed(publisher));
        bus.stick(slow, false);
        assert_eq!(bus.take(slow).matches("MSG a 1 1000\r\n").count(), 100);
        // From now on it is asked again, and must answer.
        bus.pass(2 * SECONDS);
        assert!(bus.take(publisher).contains("PING"));
        bus.pass(2 * SECONDS);
        bus.pass(2 * SECONDS);
        assert!(bus.is_closed(publisher));
    });
}

#[test]
fn a_client_that_talks_is_not_pinged() {
    let mut bus = Bus::new(1);
    let client = bus.quiet(0);
    bus.pass(3 * SECONDS);
    bus.send(client, "PONG\r\n");
    bus.take(client);
    bus.pass(60 * SECONDS);
    bus.send(client, "PUB a 0\r\n\r\n");
    bus.pass(62 * SECONDS);
    assert_eq!(bus.take(client), "");
}

#[test]
fn closing_takes_interest_back_everywhere() {
    let mut bus = Bus::new(3);
    let client = bus.quiet(2);
    let subs: String = (0..2000).map(|i| format!("SUB s.{i} {i}\r\n")).collect();
    bus.send(client, &subs);
    bus.send(client, "SUB w.* q x\r\nPING\r\n");
    assert_eq!(bus.shards[0].heard(shard::ShardId(2)).len(), 2001);
    bus.hangup(client);
    bus.assert_replicated();
    assert!(bus.shards[0].heard(shard::ShardId(2)).is_empty());
    assert_eq!(bus.shards[2].figures().subscriptions, 0);
}

/// What peers send it meanwhile is lost to its group.
#[test]
fn a_closed_member_is_not_counted_on_after_one_turn() {
    let mut bus = Bus::new(2);
    let client = bus.quiet(1);
    bus.send(client, "SUB w.* q x\r\n");
    let subs: String = (0..2000).map(|i| format!("SUB s.{i} {i}\r\n")).collect();
    bus.send(client, &subs);
    let members = |bus: &Bus| {
        let heard = bus.shards[0].heard(shard::ShardId(1));
        heard.iter().filter(|(_, queue, _)| queue.is_some()).count()
    };
    assert_eq!(members(&bus), 1);
    bus.drop(client);
    bus.step(1, Input::Turn);
    while bus.pump(1, 0) | bus.drain(1, 0) {}
    assert_eq!(members(&bus), 0);
    assert!(bus.shards[1].has_work(), "the others go by and by");
    bus.settle();
    bus.assert_replicated();
}

#[test]
fn any_split_gives_the_same() {
    let script = format!(
        "{QUIET}\r\nSUB a.* 1\r\nPUB a.b 11\r\nhello world\r\nHPUB a.c re 12 14\r\nNATS/1.0\r\n\r\nhi\r\n\
         PING\r\nSUB a.b q 2\r\nUNSUB 1 5\r\nPUB a.b 0\r\n\r\nUNSUB 2\r\nPUB a.b 3\r\nend\r\nPING\r\nFOO"
    );
    let run = |cuts: &[usize]| {
        let mut bus = Bus::new(2);
        let client = bus.connect(1);
        let mut from = 0;
        for cut in cuts.iter().copied().chain([script.len()]) {
            bus.send(client, &script[from..cut]);
            from = cut;
        }
        (bus.take(client), bus.is_closed(client))
    };
    let whole = run(&[]);
    assert!(
        whole.1 && whole.0.ends_with("PONG\r\n-ERR 'Unknown Protocol Operation'\r\n"),
        "{whole:?}"
    );
    for cut in 1..script.len() {
        assert_eq!(run(&[cut]), whole, "cut at {cut}");
    }
    let every: Vec<usize> = (1..script.len()).collect();
    assert_eq!(run(&every), whole);
}
