//! Who comes in, what that costs while nobody knows them, and what changes when access does.

#[path = "support/bus.rs"]
mod bus;

use std::sync::Arc;

use bus::{Bus, Id};
use shard::access::{
    Access, ConnectionTypes, Outcome, Permissions, Proof, Responses, Rule, RuleSet, Rules, Secret,
    User,
};
use shard::limits::{CHECKS_MAX, MILLIS, SECONDS};
use shard::report::Ask;
use shard::{AccountId, Options};

/// Of `secret`, at the lowest cost there is.
const HASH: &str = "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

fn user(name: &str, secret: &str, account: AccountId) -> User {
    User {
        name: name.into(),
        proof: Proof::Password(Secret::new(secret)),
        account,
        permissions: None,
        connection_types: ConnectionTypes::ANY,
        limits: Default::default(),
    }
}

fn access(users: &[(&str, &str, &str)]) -> Access {
    let mut access = Access::default();
    for (name, secret, account) in users {
        let account = access.account(account);
        access.add_user(user(name, secret, account));
    }
    access
}

fn with(shards: usize, access: Access) -> Bus {
    Bus::with(shards, Options { access: Arc::new(access), ..Options::default() })
}

fn login(bus: &mut Bus, shard: usize, user: &str, pass: &str) -> Id {
    let id = bus.connect(shard);
    let text = format!(
        "CONNECT {{\"user\":\"{user}\",\"pass\":\"{pass}\",\"verbose\":false,\"pedantic\":false}}\r\n"
    );
    bus.send(id, &text);
    id
}

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

#[test]
fn accounts_do_not_hear_each_other() {
    for shards in [1, 3] {
        let mut bus = with(shards, access(&[("a", "pa", "A"), ("b", "pb", "B")]));
        let a = login(&mut bus, 0, "a", "pa");
        let far = login(&mut bus, shards - 1, "a", "pa");
        let b = login(&mut bus, shards - 1, "b", "pb");
        bus.send(far, "SUB > 1\r\nPING\r\n");
        bus.send(b, "SUB > 1\r\nSUB x q 2\r\nPING\r\n");
        bus.take(far);
        bus.take(b);
        bus.send(a, "PUB x 2\r\nhi\r\n");
        assert_eq!(bus.take(far), "MSG x 1 2\r\nhi\r\n");
        assert_eq!(bus.take(b), "");
        bus.send(b, "PUB x 1\r\nb\r\n");
        assert_eq!(bus.take(far), "");
        assert_eq!(bus.take(b), "MSG x 1 1\r\nb\r\nMSG x 2 1\r\nb\r\n");
        bus.assert_replicated();
    }
}

#[test]
fn nothing_but_connect_is_listened_to() {
    for verb in ["PING", "PUB x 0\r\n", "SUB x 1", "UNSUB 1", "+OK", "INFO {}", "", "zz"] {
        let mut bus = with(1, access(&[("a", "pa", "$G")]));
        let id = bus.connect(0);
        bus.send(id, &format!("{verb}\r\n"));
        assert_eq!(bus.take(id), VIOLATION, "{verb}");
        assert!(bus.is_closed(id));
    }
}

#[test]
fn a_check_makes_its_connection_wait_and_nobody_else() {
    let mut bus = with(2, access(&[("a", HASH, "$G"), ("b", "pb", "$G")]));
    bus.holds_checks = true;
    let b = login(&mut bus, 0, "b", "pb");
    bus.send(b, "SUB x 1\r\n");
    let most = CHECKS_MAX / 2;
    let ids: Vec<Id> = (0..most + 5)
        .map(|i| login(&mut bus, 0, "a", if i % 2 == 0 { "secret" } else { "wrong" }))
        .collect();
    assert_eq!(bus.checks.len(), most, "no more of one address are out at once");
    for id in &ids {
        bus.send(*id, "PUB x 1\r\n!\r\nPING\r\n");
    }
    bus.send(b, "PING\r\n");
    assert_eq!(bus.take(b), "PONG\r\n", "nothing of them is done yet");
    while bus.check() {}
    bus.settle();
    for (i, id) in ids.iter().enumerate() {
        let wanted = if i % 2 == 0 { "PONG\r\n" } else { VIOLATION };
        assert_eq!(bus.take(*id), wanted);
        assert_eq!(bus.is_closed(*id), i % 2 == 1);
    }
    assert_eq!(bus.take(b).matches("MSG x").count(), ids.len().div_ceil(2));
}

#[test]
fn a_crowd_from_one_address_leaves_room_for_others() {
    let mut bus = with(1, access(&[("a", HASH, "$G")]));
    bus.holds_checks = true;
    let come = |bus: &mut Bus, address: u8| {
        let id = bus.connect_from(0, [127, 0, 0, address]);
        bus.send(id, "CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"wrong\"}\r\n");
        id
    };
    for _ in 0..1500 {
        come(&mut bus, 1);
    }
    assert_eq!(bus.checks.len(), CHECKS_MAX / 2);
    let other = come(&mut bus, 2);
    assert_eq!(bus.checks.len(), CHECKS_MAX / 2 + 1, "it is looked at at once");
    // There is no end of addresses, but one of places; then they take turns.
    for at in 3..203 {
        come(&mut bus, at);
    }
    assert_eq!(bus.checks.len(), CHECKS_MAX);
    let late = come(&mut bus, 2);
    let refuse = |bus: &mut Bus| bus.answer(Outcome::Failed("x".into()));
    for _ in 0..CHECKS_MAX / 2 + 1 {
        refuse(&mut bus);
    }
    assert_eq!(bus.take(other), VIOLATION);
    let mut rounds = 0;
    while !bus.is_closed(late) {
        refuse(&mut bus);
        rounds += 1;
    }
    assert!(rounds < 400, "{rounds} others had their turn before");
    while !bus.checks.is_empty() {
        refuse(&mut bus);
    }
    assert!((0..1500).all(|id| bus.is_closed(id)), "everybody's turn has come");
}

#[test]
fn time_to_authenticate_runs_while_a_check_is_out() {
    let mut bus = with(1, access(&[("a", HASH, "$G")]));
    bus.holds_checks = true;
    let (silent, checked) = (bus.connect(0), login(&mut bus, 0, "a", "secret"));
    bus.pass(2 * SECONDS - MILLIS);
    assert!(!bus.is_closed(silent));
    bus.pass(2 * MILLIS);
    for id in [silent, checked] {
        assert_eq!(bus.take(id), "-ERR 'Authentication Timeout'\r\n");
        assert!(bus.is_closed(id));
    }
    bus.check();
    bus.settle();
    assert_eq!(bus.take(checked), "");
}

#[test]
fn too_much_behind_a_connect_that_is_checked_ends_it() {
    let mut bus = with(1, access(&[("a", HASH, "$G")]));
    bus.holds_checks = true;
    let id = login(&mut bus, 0, "a", "secret");
    bus.send(id, &"PUB x 1\r\n!\r\n".repeat(1000));
    assert_eq!(bus.take(id), VIOLATION);
}

#[test]
fn a_long_greeting_is_refused() {
    let options = Options {
        access: Arc::new(access(&[("a", "pa", "$G")])),
        control_line_max: 1 << 20,
        ..Options::default()
    };
    let mut bus = Bus::with(1, options);
    let id = bus.connect(0);
    bus.send(id, "CONNECT {\"name\":\"");
    for _ in 0..7 {
        bus.send(id, &"x".repeat(1000));
    }
    assert_eq!(bus.take(id), "-ERR 'maximum control line exceeded'\r\n");
}

fn allowed(patterns: &[&str], denied: &[&str]) -> Rules {
    let rules = |texts: &[&str]| {
        let rules: Vec<Rule> = texts.iter().map(|t| Rule::parse(t, true).unwrap()).collect();
        (!rules.is_empty()).then(|| RuleSet::new(&rules))
    };
    Rules { allow: rules(patterns), deny: rules(denied) }
}

fn restricted(publish: Rules, subscribe: Rules) -> Access {
    bound_by(Permissions { publish, subscribe, responses: None })
}

/// `a` is, `free` is not.
fn bound_by(permissions: Permissions) -> Access {
    let mut access = access(&[("free", "p", "$G")]);
    let bound = User { permissions: Some(Arc::new(permissions)), ..user("a", "p", AccountId(0)) };
    access.add_user(bound);
    access
}

#[test]
fn a_subscription_no_wider_than_what_is_allowed_gets_no_more() {
    for shards in [1, 2] {
        // nats-server takes the `>` of the subscription for one token, and gives it all of `a.>`.
        let access = restricted(Rules::default(), allowed(&["a.*"], &["a.no"]));
        let mut bus = with(shards, access);
        let (bound, free) =
            (login(&mut bus, shards - 1, "a", "p"), login(&mut bus, 0, "free", "p"));
        bus.send(bound, "SUB a.> 1\r\nPING\r\n");
        assert_eq!(bus.take(bound), "PONG\r\n");
        bus.send(free, "PUB a.b 0\r\n\r\nPUB a.b.c 0\r\n\r\nPUB a.no 0\r\n\r\n");
        assert_eq!(bus.take(bound), "MSG a.b 1 0\r\n\r\n");
    }
}

#[test]
fn a_request_may_be_answered_until_its_time_is_over() {
    for shards in [1, 2] {
        let mut bus = with(
            shards,
            bound_by(Permissions {
                publish: allowed(&["nothing"], &[]),
                subscribe: Rules::default(),
                responses: Some(Responses { max: None, expires_ns: Some(2 * MILLIS) }),
            }),
        );
        let (bound, free) =
            (login(&mut bus, shards - 1, "a", "p"), login(&mut bus, 0, "free", "p"));
        bus.send(bound, "SUB svc 1\r\n");
        bus.send(free, "SUB r 2\r\n");
        let answer = "PUB r 1\r\nx\r\n";
        for _ in 0..2 {
            bus.send(free, "PUB svc r 0\r\n\r\n");
            assert_eq!(bus.take(bound), "MSG svc 1 r 0\r\n\r\n");
            bus.pass(2 * MILLIS);
            bus.send(bound, answer);
            assert_eq!(bus.take(free), "MSG r 2 1\r\nx\r\n");
            assert_eq!(bus.take(bound), "");
            bus.pass(1);
            bus.send(bound, answer);
            let refused = "-ERR 'Permissions Violation for Publish to \"r\"'\r\n";
            assert_eq!(bus.take(bound), refused);
            assert_eq!(bus.take(free), "");
        }
    }
}

#[test]
fn who_no_longer_belongs_goes_when_access_changes() {
    let users = [("stays", "p", "A"), ("gone", "p", "A"), ("moved", "p", "A"), ("new", "p", "A")];
    let mut before = access(&users);
    before.add_user(user("hashed", "secret", AccountId(0)));
    let mut bus = with(2, before.clone());
    let names = ["stays", "gone", "moved", "new"];
    let ids = names.map(|name| login(&mut bus, 1, name, "p"));
    let hashed = login(&mut bus, 0, "hashed", "secret");
    let mut after = Access::after(&before);
    let (b, a) = (after.account("B"), after.account("A"));
    after.add_user(user("stays", "p", a));
    after.add_user(user("moved", "p", b));
    after.add_user(user("new", "other", a));
    after.add_user(user("hashed", HASH, AccountId(0)));
    after.recognise(&before);
    assert_eq!(after.find_account("A"), before.find_account("A"), "accounts keep their numbers");
    bus.ask(&Ask::Access(Arc::new(after)));
    for id in [ids[0], hashed] {
        bus.send(id, "PING\r\n");
        assert_eq!(bus.take(id), "PONG\r\n");
    }
    for (id, last) in [(ids[1], ""), (ids[2], ""), (ids[3], VIOLATION)] {
        assert!(bus.is_closed(id));
        assert_eq!(bus.take(id), last);
    }
    let late = login(&mut bus, 0, "gone", "p");
    assert_eq!(bus.take(late), VIOLATION);
}

#[test]
fn subscriptions_end_that_are_no_longer_allowed() {
    let before = restricted(Rules::default(), Rules::default());
    let mut bus = with(2, before.clone());
    let (bound, free) = (login(&mut bus, 1, "a", "p"), login(&mut bus, 0, "free", "p"));
    bus.send(bound, "SUB a 1\r\nSUB b 2\r\nSUB b q 3\r\nSUB c.* 4\r\nPUB x 0\r\n\r\nPING\r\n");
    assert_eq!(bus.take(bound), "PONG\r\n");
    let mut after = restricted(allowed(&["y"], &[]), allowed(&[], &["b", "c.no"]));
    after.recognise(&before);
    bus.ask(&Ask::Access(Arc::new(after)));
    let text = |rest: &str| format!("-ERR 'Permissions Violation for Subscription to {rest}'\r\n");
    let mut got: Vec<String> = bus.take(bound).lines().map(|line| format!("{line}\r\n")).collect();
    got.sort();
    let wanted = [text("\"b\" (sid \"2\")"), text("\"b\" using queue \"q\" (sid \"3\")")];
    assert_eq!(got, wanted);
    bus.send(free, "PUB a 0\r\n\r\nPUB b 0\r\n\r\nPUB c.no 0\r\n\r\nPUB c.x 0\r\n\r\n");
    assert_eq!(bus.take(bound), "MSG a 1 0\r\n\r\nMSG c.x 4 0\r\n\r\n");
    bus.send(bound, "PUB x 0\r\n\r\n");
    assert_eq!(bus.take(bound), "-ERR 'Permissions Violation for Publish to \"x\"'\r\n");
    bus.assert_replicated();
}

/// Its members are withdrawn because it has given them up, not because they may not be there.
#[test]
fn subscriptions_that_are_given_up_are_not_looked_at_when_permissions_change() {
    const COUNT: usize = 2000;
    let mut bus = with(2, restricted(Rules::default(), Rules::default()));
    let bound = login(&mut bus, 1, "a", "p");
    for n in 0..COUNT {
        bus.post(bound, format!("SUB q.{n} g {n}\r\n").as_bytes());
    }
    bus.send(bound, "PING\r\n");
    assert_eq!(bus.take(bound), "PONG\r\n");
    let again = r#"CONNECT {"user":"a","pass":"p","verbose":false,"pedantic":false}"#;
    bus.post(bound, format!("{again}\r\nPING\r\n").as_bytes());
    assert!(bus.shards[1].figures().subscriptions > 0, "in the middle of it");
    let after = Arc::new(restricted(Rules::default(), allowed(&[">"], &["q.>"])));
    bus.ask(&Ask::Access(after));
    assert_eq!(bus.take(bound), "PONG\r\n");
    assert_eq!(bus.shards[1].figures().subscriptions, 0);
    bus.assert_replicated();
}

/// What was decided while permissions were others holds no more, neither who may publish nor who
/// may see it: as one of two, as the only one, and as a group.
#[test]
fn what_was_decided_is_decided_anew_when_permissions_change() {
    for (shards, others) in [(1, 0), (1, 1), (1, 3), (2, 1)] {
        let open = restricted(allowed(&["p.*"], &["p.no"]), allowed(&["c.>"], &["c.no"]));
        let mut bus = with(shards, open.clone());
        let (bound, free) =
            (login(&mut bus, shards - 1, "a", "p"), login(&mut bus, 0, "free", "p"));
        let others: Vec<_> =
            (0..others).map(|_| login(&mut bus, shards - 1, "free", "p")).collect();
        for other in &others {
            bus.send(*other, "SUB c.* 1\r\n");
        }
        bus.send(bound, "SUB c.* 1\r\nSUB c.> crew 2\r\nPING\r\n");
        assert_eq!(bus.take(bound), "PONG\r\n");
        bus.send(free, "SUB p.* 1\r\nPING\r\n");
        assert_eq!(bus.take(free), "PONG\r\n");
        let said = |pattern: &str, subject: &str| format!("{pattern} {subject} 1 0\r\n\r\n");
        let closed = restricted(allowed(&["p.*"], &["p.yes"]), allowed(&["c.>"], &["c.yes"]));
        let mut before = open.clone();
        for (access, right, wrong) in
            [(&open, "yes", "no"), (&closed, "no", "yes"), (&open, "yes", "no")]
        {
            let mut after = access.clone();
            after.recognise(&before);
            bus.tell(&Ask::Access(Arc::new(after)));
            // Looked at by those who have not been looked at themselves yet.
            bus.post(free, format!("PUB c.{wrong} 0\r\n\r\nPUB c.{right} 0\r\n\r\n").as_bytes());
            bus.settle();
            for id in others.iter().chain([&bound, &free]) {
                bus.take(*id);
            }
            before = access.clone();
            for _ in 0..3 {
                bus.send(free, &format!("PUB c.{right} 0\r\n\r\nPUB c.{wrong} 0\r\n\r\n"));
                let got = bus.take(bound);
                let mut copies: Vec<&str> = got.split_inclusive("0\r\n\r\n").collect();
                copies.sort_unstable();
                let wanted =
                    [said("MSG", &format!("c.{right}")), format!("MSG c.{right} 2 0\r\n\r\n")];
                assert_eq!(copies, wanted);
                for other in &others {
                    let all =
                        said("MSG", &format!("c.{right}")) + &said("MSG", &format!("c.{wrong}"));
                    assert_eq!(bus.take(*other), all);
                }
                bus.send(bound, &format!("PUB p.{right} 0\r\n\r\nPUB p.{wrong} 0\r\n\r\n"));
                assert_eq!(bus.take(free), said("MSG", &format!("p.{right}")));
                let refused =
                    format!("-ERR 'Permissions Violation for Publish to \"p.{wrong}\"'\r\n");
                assert_eq!(bus.take(bound), refused);
            }
        }
    }
}

/// Of runs of messages that are alike, none goes to who may not see them.
#[test]
fn a_run_is_kept_as_one_message_is() {
    for shards in [1, 2] {
        let access = restricted(Rules::default(), allowed(&[], &["c.no"]));
        let mut bus = with(shards, access);
        let free = login(&mut bus, 0, "free", "p");
        // More than have a list of their own, so that each is asked.
        let bound: Vec<_> = (0..70).map(|_| login(&mut bus, shards - 1, "a", "p")).collect();
        let open = login(&mut bus, shards - 1, "free", "p");
        for id in bound.iter().chain([&open]) {
            bus.send(*id, "SUB c.* 1\r\n");
        }
        let (run, other) = ("PUB c.no 1\r\nx\r\n".repeat(5), "PUB c.x 1\r\nx\r\n".repeat(5));
        bus.send(free, &format!("{run}{other}"));
        let (no, yes) = ("MSG c.no 1 1\r\nx\r\n".repeat(5), "MSG c.x 1 1\r\nx\r\n".repeat(5));
        for id in bound {
            assert_eq!(bus.take(id), yes);
        }
        assert_eq!(bus.take(open), no + &yes);
    }
}

/// What peers sent before they could know of its limit is one too many, not one too few.
#[test]
fn a_member_beyond_its_limit_may_answer_what_it_gets() {
    let mut access = access(&[("a", "pa", "$G")]);
    let responses = Some(Responses { max: Some(1), expires_ns: None });
    let publish = Rules { allow: Some(RuleSet::new(&[])), deny: None };
    let permissions = Permissions { publish, responses, ..Permissions::default() };
    let permissions = Some(Arc::new(permissions));
    access.add_user(User { permissions, ..user("b", "pb", AccountId::GLOBAL) });
    let mut bus = with(2, access);
    let (a, b) = (login(&mut bus, 0, "a", "pa"), login(&mut bus, 1, "b", "pb"));
    bus.send(b, "SUB x q 1\r\nPING\r\n");
    bus.take(b);
    bus.post(a, b"PUB x r.1 1\r\n1\r\nPUB x r.2 1\r\n2\r\n");
    bus.post(b, b"UNSUB 1 1\r\n");
    bus.settle();
    assert_eq!(bus.take(b), "MSG x 1 r.1 1\r\n1\r\nMSG x 1 r.2 1\r\n2\r\n");
    bus.send(b, "PUB r.2 0\r\n\r\nPING\r\n");
    assert_eq!(bus.take(b), "PONG\r\n");
}
