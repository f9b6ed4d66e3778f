//! Messages that permissions keep from some who subscribe: whoever else may have them gets them,
//! and if nobody may, a request is told so. On one shard and on several.

#[path = "support/bus.rs"]
mod bus;

use std::sync::Arc;

use bus::{Bus, Id};
use shard::access::{
    Access, ConnectionTypes, Permissions, Proof, Responses, Rule, RuleSet, Rules, Secret, User,
};
use shard::account::{Agreements, Limits, ServiceTerms};
use shard::report::Ask;
use shard::{AccountId, Options};

/// `a.secret` and what is imported as `in.a.secret` are kept from `bound`, not from `free`.
fn access() -> Access {
    let mut access = Access::default();
    let denied: Vec<Rule> = ["a.secret", "in.a.secret"]
        .iter()
        .map(|text| Rule::parse(text, true).expect("a rule"))
        .collect();
    let subscribe = Rules { allow: None, deny: Some(RuleSet::new(&denied)) };
    let permissions = Permissions { subscribe, ..Permissions::default() };
    let (b, c) = (access.account("B"), access.account("C"));
    let mut user = |name: &str, account: AccountId, permissions: Option<Permissions>| {
        access.add_user(User {
            name: name.into(),
            proof: Proof::Password(Secret::new("p")),
            account,
            permissions: permissions.map(Arc::new),
            connection_types: ConnectionTypes::ANY,
            limits: Default::default(),
        });
    };
    user("free", AccountId::GLOBAL, None);
    user("bound", AccountId::GLOBAL, Some(permissions));
    user("other", b, None);
    user("asker", c, None);
    let names: Vec<String> = access.accounts().iter().map(|a| a.name.to_string()).collect();
    let mut agreements = Agreements::new(names.iter().map(String::as_str));
    let global = AccountId::GLOBAL;
    agreements.export_stream(b, b"a.*", &[], 0).expect("export");
    agreements.import_stream_under(global, b, b"a.*", b"in").expect("import");
    agreements.export_service(b, b"a.*", &[], 0, ServiceTerms::default()).expect("export");
    agreements.import_service(c, b, b"a.*", b"a.*", false).expect("import");
    for (at, ties) in agreements.into_ties().into_iter().enumerate() {
        access.bind(AccountId(at as u32), ties, Limits::default());
    }
    access
}

fn on_each(scenario: impl Fn(Bus, usize)) {
    for shards in [1, 2, 4] {
        let options = Options { access: Arc::new(access()), ..Options::default() };
        scenario(Bus::with(shards, options), shards);
    }
}

fn join(bus: &mut Bus, shard: usize, user: &str, then: &str) -> Id {
    let id = bus.connect(shard);
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
         \"user\":\"{user}\",\"pass\":\"p\"}}\r\n{then}PING\r\n"
    );
    bus.send(id, &connect);
    let got = bus.take(id);
    assert!(got.starts_with("PONG\r\n"), "{got}");
    id
}

fn publish(bus: &mut Bus, id: Id, line: &str, times: usize) {
    bus.send(id, &format!("PUB {line} 1\r\nx\r\n").repeat(times));
}

/// Asks twice, and is told so twice.
fn assert_no_responders(bus: &mut Bus, asker: Id, subject: &str) {
    publish(bus, asker, &format!("{subject} r"), 2);
    assert_eq!(bus.take(asker).matches("NATS/1.0 503").count(), 2);
}

#[test]
fn a_member_that_may_not_see_it_leaves_it_to_others() {
    on_each(|mut bus, shards| {
        let publisher = join(&mut bus, 0, "free", "");
        let bound: Vec<Id> = (0..shards)
            .map(|shard| join(&mut bus, shard, "bound", "SUB a.* q 1\r\nSUB a.> q 2\r\n"))
            .collect();
        publish(&mut bus, publisher, "a.secret", 3);
        let free = join(&mut bus, shards - 1, "free", "SUB a.* q 1\r\n");
        publish(&mut bus, publisher, "a.secret", 40);
        assert_eq!(bus.take(free).matches("MSG a.secret 1 1\r\n").count(), 40);
        publish(&mut bus, publisher, "a.open", 100);
        let mut got = vec![bus.take(free).matches("MSG a.open").count()];
        for id in bound {
            let text = bus.take(id);
            assert!(!text.contains("secret"), "{text}");
            got.push(text.matches("MSG a.open").count());
        }
        assert_eq!(got.iter().sum::<usize>(), 100, "{got:?}");
        assert!(got.iter().all(|count| *count > 0), "{got:?}");
        bus.send(publisher, "PING\r\n");
        bus.assert_replicated();
    });
}

#[test]
fn a_promise_to_one_that_leaves_is_kept() {
    let options = Options { access: Arc::new(access()), ..Options::default() };
    let mut bus = Bus::with(2, options);
    let publisher = join(&mut bus, 0, "free", "");
    let bound = join(&mut bus, 1, "bound", "SUB a.* q 1\r\n");
    bus.post(publisher, b"PUB a.open 1\r\nx\r\n");
    assert!(bus.pump(0, 1) && bus.drain(0, 1), "the claim");
    bus.post(bound, b"UNSUB 1\r\nPING\r\n");
    bus.settle();
    assert_eq!(bus.take(bound), "MSG a.open 1 1\r\nx\r\nPONG\r\n");
    bus.assert_replicated();
}

#[test]
fn a_request_that_nobody_may_see_has_no_responders() {
    on_each(|mut bus, shards| {
        let asker = join(&mut bus, 0, "free", "SUB r 9\r\n");
        for shard in 0..shards {
            join(&mut bus, shard, "bound", "SUB a.* 1\r\nSUB > 2\r\nSUB a.* q 3\r\n");
        }
        let refused = "HMSG r 9 40 40\r\nNATS/1.0 503\r\nNats-Subject: a.secret\r\n\r\n\r\n";
        publish(&mut bus, asker, "a.secret r", 2);
        assert_eq!(bus.take(asker), refused.repeat(2));
        publish(&mut bus, asker, "a.open r", 1);
        assert_eq!(bus.take(asker), "");
        let free = join(&mut bus, shards - 1, "free", "SUB *.secret 1\r\n");
        publish(&mut bus, asker, "a.secret r", 1);
        assert_eq!(bus.take(free), "MSG a.secret 1 r 1\r\nx\r\n");
        assert_eq!(bus.take(asker), "");
        bus.send(free, "UNSUB 1\r\nPING\r\n");
        publish(&mut bus, asker, "a.secret r", 1);
        assert_eq!(bus.take(asker), refused);
        bus.assert_replicated();
    });
}

#[test]
fn what_is_imported_is_kept_by_its_subject_here() {
    on_each(|mut bus, shards| {
        let other = join(&mut bus, 0, "other", "SUB r 9\r\n");
        let bound = join(&mut bus, shards - 1, "bound", "SUB in.a.* q 1\r\nSUB in.a.* 2\r\n");
        assert_no_responders(&mut bus, other, "a.secret");
        assert_eq!(bus.take(bound), "");
        publish(&mut bus, other, "a.open r", 2);
        let got = bus.take(bound);
        assert_eq!(got.matches("MSG in.a.open 1 r 1\r\n").count(), 2, "{got}");
        assert_eq!(got.matches("MSG in.a.open 2 r 1\r\n").count(), 2, "{got}");
        assert_eq!(bus.take(other), "");
        bus.assert_replicated();
    });
}

#[test]
fn who_imports_a_stream_is_no_responder_to_others() {
    on_each(|mut bus, shards| {
        let asker = join(&mut bus, 0, "asker", "SUB r 9\r\n");
        let heard = join(&mut bus, shards - 1, "free", "SUB in.a.* 1\r\n");
        assert_no_responders(&mut bus, asker, "a.open");
        assert_eq!(bus.take(heard), "");
        let shadow = join(&mut bus, shards - 1, "free", "SUB in.a.* q 1\r\n");
        assert_no_responders(&mut bus, asker, "a.open");
        let server = join(&mut bus, 0, "other", "SUB a.* q 1\r\n");
        publish(&mut bus, asker, "a.open r", 20);
        assert_eq!(bus.take(server).matches("MSG a.open 1 _R_.").count(), 20);
        assert_eq!((bus.take(shadow), bus.take(asker)), (String::new(), String::new()));
        bus.assert_replicated();
    });
}

/// `u0` may not see `a.0`, and so on.
fn many() -> Access {
    let mut access = Access::default();
    for n in 0..6 {
        let denied = Rule::parse(&format!("a.{n}"), true).expect("a rule");
        let subscribe = Rules { allow: None, deny: Some(RuleSet::new(&[denied])) };
        access.add_user(User {
            name: format!("u{n}").into(),
            proof: Proof::Password(Secret::new("p")),
            account: AccountId::GLOBAL,
            permissions: Some(Arc::new(Permissions { subscribe, ..Permissions::default() })),
            connection_types: ConnectionTypes::ANY,
            limits: Default::default(),
        });
    }
    access
}

/// More than have lists of their own, and more such lists than are kept.
#[test]
fn of_many_who_subscribe_each_user_lacks_something_else() {
    let options = Options { access: Arc::new(many()), ..Options::default() };
    let mut bus = Bus::with(2, options);
    let mut hears: Vec<(usize, Id)> = (0..90)
        .map(|at| (at % 6, join(&mut bus, 0, &format!("u{}", at % 6), "SUB a.* 1\r\n")))
        .collect();
    let from = [0, 1].map(|shard| join(&mut bus, shard, "u5", ""));
    for round in 0..4 {
        for publisher in from {
            for n in (0..7).chain(0..7) {
                publish(&mut bus, publisher, &format!("a.{n}"), 2);
            }
        }
        for (user, id) in &hears {
            let got = bus.take(*id);
            for n in 0..7 {
                let count = got.matches(&format!("MSG a.{n} 1 1\r\n")).count();
                assert_eq!(count, if n == *user { 0 } else { 8 }, "u{user} of a.{n}, {round}");
            }
        }
        // One leaves, and is heard of no more.
        let (_, gone) = hears.remove(round * 7);
        bus.send(gone, "UNSUB 1\r\n");
    }
}

/// Lists of receivers are kept by subject; what they say of a receiver must not outlive a change.
#[test]
fn who_may_answer_from_now_on_may_where_a_list_of_receivers_was_kept() {
    let walls = |mut access: Access, responses| {
        let rule = |text| RuleSet::new(&[Rule::parse(text, true).expect("a rule")]);
        let mut user = |name: &str, publish, denied, responses| {
            let subscribe = Rules { allow: None, deny: Some(rule(denied)) };
            access.add_user(User {
                name: name.into(),
                proof: Proof::Password(Secret::new("p")),
                account: AccountId::GLOBAL,
                permissions: Some(Arc::new(Permissions { publish, subscribe, responses })),
                connection_types: ConnectionTypes::ANY,
                limits: Default::default(),
            });
        };
        let nothing = || Rules { allow: Some(RuleSet::new(&[])), deny: None };
        user("asks", Rules::default(), "none", None);
        user("answers", nothing(), "a.dark", responses);
        user("kept", nothing(), "a.light", responses);
        access
    };
    let before = walls(Access::default(), None);
    let options = Options { access: Arc::new(before.clone()), ..Options::default() };
    let mut bus = Bus::with(1, options);
    let asker = join(&mut bus, 0, "asks", "SUB r.* 1\r\n");
    let answerer = join(&mut bus, 0, "answers", "SUB a.* 1\r\n");
    let _kept = join(&mut bus, 0, "kept", "SUB a.* 1\r\n");
    publish(&mut bus, asker, "a.light r.1", 3);
    bus.take(answerer);
    let responses = Some(Responses { max: Some(1), expires_ns: None });
    let mut after = walls(Access::after(&before), responses);
    after.recognise(&before);
    bus.ask(&Ask::Access(Arc::new(after)));
    publish(&mut bus, asker, "a.light r.2", 1);
    assert_eq!(bus.take(answerer), "MSG a.light 1 r.2 1\r\nx\r\n");
    publish(&mut bus, answerer, "r.2", 1);
    assert_eq!(
        (bus.take(answerer), bus.take(asker)),
        (String::new(), "MSG r.2 1 1\r\nx\r\n".into())
    );
}
