//! Walls between accounts, and the doors in them: the protocol's own text, with one shard and with
//! several.

#[path = "support/bus.rs"]
mod bus;

use std::sync::Arc;

use bus::Bus;
use shard::access::{
    Access, ConnectionTypes, Permissions, Proof, Rule, RuleSet, Rules, Secret, User,
};
use shard::account::{Agreements, Latency, Limits, ResponseType, ServiceTerms, Ties};
use shard::limits::SECONDS;
use shard::report::Ask;
use shard::{AccountId, Options};
use subject::{Mapping, Mappings};

const A: AccountId = AccountId(1);
const B: AccountId = AccountId(2);
const C: AccountId = AccountId(3);

/// Accounts A, B and C with a user each, a, b and c.
fn options(agree: impl FnOnce(&mut Agreements), bind: impl Fn(AccountId, &mut Ties)) -> Options {
    let mut access = Access::default();
    let names = ["A", "B", "C"];
    let ids: Vec<AccountId> = names.iter().map(|name| access.account(name)).collect();
    assert_eq!(ids, [A, B, C]);
    for (name, account) in names.iter().zip(ids) {
        access.add_user(User {
            name: name.to_lowercase().into(),
            proof: Proof::Password(Secret::new("p")),
            account,
            permissions: None,
            connection_types: ConnectionTypes::ANY,
            limits: Default::default(),
        });
    }
    let names: Vec<String> = access.accounts().iter().map(|a| a.name.to_string()).collect();
    let mut agreements = Agreements::new(names.iter().map(String::as_str));
    agree(&mut agreements);
    for (at, mut ties) in agreements.into_ties().into_iter().enumerate() {
        let account = AccountId(at as u32);
        bind(account, &mut ties);
        access.bind(account, ties, Limits::default());
    }
    Options { access: Arc::new(access), ..Options::default() }
}

fn on_each(options: &Options, scenario: impl Fn(Bus, usize)) {
    for n in [1, 2, 4] {
        scenario(Bus::with(n, options.clone()), n - 1);
    }
}

fn join(bus: &mut Bus, shard: usize, user: &str) -> bus::Id {
    let id = bus.connect(shard);
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
         \"user\":\"{user}\",\"pass\":\"p\"}}\r\nPING\r\n"
    );
    bus.send(id, &connect);
    let got = bus.take(id);
    assert!(got.starts_with("PONG\r\n"), "{got}");
    id
}

/// The operator changes what accounts have agreed on.
fn change(bus: &mut Bus, before: &Options, after: &Access) {
    let mut after = after.clone();
    after.recognise(&before.access);
    bus.ask(&Ask::Access(Arc::new(after)));
}

fn no_ties(_: AccountId, _: &mut Ties) {}

#[test]
fn the_same_subject_in_two_accounts_is_two_subjects() {
    on_each(&options(|_| {}, no_ties), |mut bus, far| {
        let (a, b) = (join(&mut bus, 0, "a"), join(&mut bus, 0, "b"));
        let (a_far, b_far) = (join(&mut bus, far, "a"), join(&mut bus, far, "b"));
        for id in [a, b, a_far, b_far] {
            bus.send(id, "SUB > 1\r\nSUB foo q 2\r\nPING\r\n");
            bus.take(id);
        }
        for _ in 0..3 {
            bus.send(a, "PUB foo 1\r\na\r\n");
            bus.send(b, "PUB foo 1\r\nb\r\n");
        }
        for (id, foreign) in [(a, "b\r\n"), (a_far, "b\r\n"), (b, "a\r\n"), (b_far, "a\r\n")] {
            let got = bus.take(id);
            assert_eq!(got.matches("MSG foo 1 1\r\n").count(), 3, "{got}");
            assert!(!got.contains(foreign), "{got}");
        }
    });
}

#[test]
fn nobody_in_another_account_is_a_responder() {
    on_each(&options(|_| {}, no_ties), |mut bus, far| {
        let (a, b) = (join(&mut bus, 0, "a"), join(&mut bus, far, "b"));
        bus.send(b, "SUB foo 1\r\nPING\r\n");
        bus.take(b);
        bus.send(a, "SUB in 1\r\nPUB foo in 0\r\n\r\n");
        assert!(bus.take(a).starts_with("HMSG in 1 35 35\r\nNATS/1.0 503"));
    });
}

#[test]
fn an_imported_stream_arrives_under_its_subject_here() {
    let options = options(
        |agreements| {
            agreements.export_stream(A, b"pub.>", &[], 0).expect("export");
            agreements.export_stream(A, b"priv.*.*", &[B], 0).expect("export");
            agreements.import_stream_under(B, A, b"pub.>", b"from.a").expect("import");
            agreements.import_stream(B, A, b"priv.*.*", b"x.$2.$1").expect("import");
            agreements.import_stream(C, A, b"pub.one", b"").expect("import");
            let refused = agreements.import_stream(C, A, b"priv.*.*", b"").expect_err("private");
            assert_eq!(refused.to_string(), "stream import not authorized");
        },
        no_ties,
    );
    on_each(&options, |mut bus, far| {
        let a = join(&mut bus, 0, "a");
        let (b, c) = (join(&mut bus, far, "b"), join(&mut bus, far, "c"));
        bus.send(b, "SUB > 1\r\nSUB x.*.m 2\r\nSUB from.a.pub.one 3\r\nSUB pub.> 4\r\nPING\r\n");
        bus.send(c, "SUB > 1\r\nPING\r\n");
        bus.take(b);
        bus.take(c);
        bus.send(a, "PUB pub.one re 1\r\n1\r\nPUB priv.m.n 1\r\n2\r\nPUB other 1\r\n3\r\n");
        let got = bus.take(b);
        assert_eq!(got.matches("MSG from.a.pub.one 1 re 1\r\n1\r\n").count(), 1, "{got}");
        assert_eq!(got.matches("MSG from.a.pub.one 3 re 1\r\n1\r\n").count(), 1, "{got}");
        assert_eq!(got.matches("MSG x.n.m 1 1\r\n2\r\n").count(), 1, "{got}");
        assert_eq!(got.matches("MSG x.n.m 2 1\r\n2\r\n").count(), 1, "{got}");
        assert_eq!(got.matches("MSG").count(), 4, "{got}");
        assert_eq!(bus.take(c), "MSG pub.one 1 re 1\r\n1\r\n");
        bus.send(b, "UNSUB 1\r\nUNSUB 2\r\nUNSUB 3\r\nPING\r\n");
        bus.take(b);
        bus.send(a, "PUB pub.one 1\r\n1\r\nPUB priv.m.n 1\r\n2\r\n");
        assert_eq!(bus.take(b), "");
        bus.send(b, "SUB from.> q 9\r\nPING\r\nUNSUB 9\r\nPING\r\n");
        assert_eq!(bus.take(b), "PONG\r\nPONG\r\n");
        assert_eq!(bus.take(a), "");
        bus.hangup(b);
        bus.hangup(c);
        bus.assert_replicated();
        for shard in &bus.shards {
            assert!(shard.announced().is_empty());
        }
    });
}

#[test]
fn messages_that_are_alike_arrive_in_order_under_the_subject_of_each_account() {
    let options = options(
        |agreements| {
            agreements.export_stream(A, b"t.*.*", &[], 0).expect("export");
            agreements.import_stream(B, A, b"t.*.*", b"b.$2.$1").expect("import");
            agreements.import_stream(C, A, b"t.*.*", b"").expect("import");
        },
        no_ties,
    );
    on_each(&options, |mut bus, far| {
        let a = join(&mut bus, 0, "a");
        let users = ["b", "b", "b", "c", "c", "a"];
        let conns = users.map(|user| join(&mut bus, far, user));
        let sids = [1, 1, 2, 1, 1, 1];
        for (conn, (user, sid)) in conns.into_iter().zip(users.into_iter().zip(sids)) {
            let subject = if user == "b" { "b.y.x" } else { "t.x.y" };
            bus.send(conn, &format!("SUB {subject} {sid}\r\nPING\r\n"));
            bus.take(conn);
        }
        let many: String = (0..50).map(|n| format!("PUB t.x.y 2\r\n{n:02}\r\n")).collect();
        bus.send(a, &many);
        // One that hears of it twice, and one that has had enough.
        bus.send(conns[0], "SUB b.> 7\r\nPING\r\n");
        bus.send(conns[5], "UNSUB 1 51\r\nPING\r\n");
        let [pong, end] = ["PONG\r\n", ""];
        for (at, (conn, (user, sid))) in
            conns.into_iter().zip(users.into_iter().zip(sids)).enumerate()
        {
            let subject = if user == "b" { "b.y.x" } else { "t.x.y" };
            let heard = |n| format!("MSG {subject} {sid} 2\r\n{n:02}\r\n");
            let wanted: String = (0..50).map(heard).collect();
            assert_eq!(bus.take(conn), wanted + if at % 5 == 0 { pong } else { end }, "{user}");
        }
        bus.send(a, &many);
        let got = bus.take(conns[0]);
        assert_eq!(got.matches("MSG b.y.x 1 2\r\n").count(), 50, "{got}");
        assert_eq!(got.matches("MSG b.y.x 7 2\r\n").count(), 50, "{got}");
        assert_eq!(bus.take(conns[5]), "MSG t.x.y 1 2\r\n00\r\n");
        assert_eq!(bus.take(conns[4]).matches("MSG t.x.y 1 2\r\n").count(), 50);
    });
}

#[test]
fn an_imported_service_answers_and_nobody_else_sees_it() {
    let options = options(
        |agreements| {
            let terms = ServiceTerms::default();
            agreements.export_service(B, b"svc.*", &[A], 0, terms).expect("export");
            agreements.import_service(A, B, b"ask.$1", b"svc.*", false).expect("import");
        },
        no_ties,
    );
    on_each(&options, |mut bus, far| {
        let (a, b, c) =
            (join(&mut bus, 0, "a"), join(&mut bus, far, "b"), join(&mut bus, far, "c"));
        bus.send(c, "SUB > 1\r\nPING\r\n");
        bus.take(c);
        bus.send(a, "SUB in.* 7\r\nPING\r\nPUB ask.x in.1 2\r\nhi\r\n");
        let got = bus.take(a);
        assert!(got.starts_with("PONG\r\nHMSG in.1 7 37 37\r\nNATS/1.0 503\r\n"), "{got}");
        bus.send(b, "SUB svc.x 3\r\nPING\r\n");
        bus.take(b);
        bus.send(a, "PUB ask.x in.1 2\r\nhi\r\n");
        let got = bus.take(b);
        let words: Vec<&str> = got.split([' ', '\r']).collect();
        assert_eq!(words[..3], ["HMSG", "svc.x", "3"], "{got}");
        assert!(got.contains("\r\nNats-Request-Info: {\"acc\":\"A\",\"rtt\":"), "{got}");
        assert!(got.ends_with("}\r\n\r\nhi\r\n"), "{got}");
        let reply = words[3];
        assert!(reply.starts_with("_R_."), "{got}");
        bus.send(b, &format!("PUB {reply} 3\r\nyes\r\nPUB {reply} 3\r\nno!\r\nPING\r\n"));
        assert_eq!(bus.take(a), "MSG in.1 7 3\r\nyes\r\n");
        assert_eq!(bus.take(b), "PONG\r\n");
        assert_eq!(bus.take(c), "");
        bus.assert_replicated();
    });
}

#[test]
fn a_service_knows_who_asks_even_if_asking_ended_it() {
    let agree = |agreements: &mut Agreements| {
        let terms = ServiceTerms::default();
        agreements.export_service(B, b"svc", &[A], 0, terms).expect("export");
        agreements.import_service(A, B, b"svc", b"svc", false).expect("import");
    };
    let options = Options { pending_bytes_max: 300, ..options(agree, no_ties) };
    let mut bus = Bus::with(1, options);
    let (a, b) = (join(&mut bus, 0, "a"), join(&mut bus, 0, "b"));
    bus.send(b, "SUB svc 1\r\n");
    bus.stick(a, true);
    bus.send(a, &format!("SUB svc 1\r\nSUB svc 2\r\nPUB svc 200\r\n{}\r\n", "x".repeat(200)));
    assert!(bus.is_closed(a));
    let got = bus.take(b);
    assert!(got.contains("\r\nNats-Request-Info: {\"acc\":\"A\",\"rtt\":"), "{got}");
}

#[test]
fn a_stream_of_responses_ends_with_an_empty_one_or_in_time() {
    let options = options(
        |agreements| {
            let terms = ServiceTerms {
                response: ResponseType::Stream,
                threshold_ns: Some(5 * SECONDS),
                latency: None,
            };
            agreements.export_service(B, b"svc", &[], 0, terms).expect("export");
            agreements.import_service(A, B, b"svc", b"svc", false).expect("import");
        },
        no_ties,
    );
    on_each(&options, |mut bus, far| {
        let (a, b) = (join(&mut bus, 0, "a"), join(&mut bus, far, "b"));
        bus.send(b, "SUB svc 3\r\nPING\r\n");
        bus.take(b);
        bus.send(a, "SUB in 7\r\nPUB svc in 0\r\n\r\n");
        let got = bus.take(b);
        let reply = got.split(' ').nth(3).expect("a reply");
        bus.send(b, &format!("PUB {reply} 1\r\n1\r\nPUB {reply} 1\r\n2\r\nPUB {reply} 0\r\n\r\n"));
        bus.send(b, &format!("PUB {reply} 1\r\n3\r\n"));
        assert_eq!(bus.take(a), "MSG in 7 1\r\n1\r\nMSG in 7 1\r\n2\r\nMSG in 7 0\r\n\r\n");
        bus.send(a, "PUB svc in 0\r\n\r\n");
        let got = bus.take(b);
        let reply = got.split(' ').nth(3).expect("a reply");
        bus.pass(3 * SECONDS);
        bus.send(b, &format!("PUB {reply} 1\r\n1\r\n"));
        bus.pass(3 * SECONDS);
        bus.send(b, &format!("PUB {reply} 1\r\n2\r\n"));
        bus.pass(6 * SECONDS);
        bus.send(b, &format!("PUB {reply} 1\r\n3\r\n"));
        assert_eq!(bus.take(a).replace("PING\r\n", ""), "MSG in 7 1\r\n1\r\nMSG in 7 1\r\n2\r\n");
    });
}

#[test]
fn services_in_a_row_and_a_conversation_of_replies() {
    let options = options(
        |agreements| {
            let terms = ServiceTerms::default;
            agreements.export_service(C, b"deep", &[], 0, terms()).expect("export");
            agreements.export_service(B, b"mid", &[], 0, terms()).expect("export");
            agreements.import_service(B, C, b"mid", b"deep", false).expect("import");
            agreements.import_service(A, B, b"top", b"mid", true).expect("import");
        },
        no_ties,
    );
    on_each(&options, |mut bus, far| {
        let (a, c) = (join(&mut bus, 0, "a"), join(&mut bus, far, "c"));
        bus.send(c, "SUB deep 3\r\nSUB more 4\r\nPING\r\n");
        bus.take(c);
        bus.send(a, "SUB in 7\r\nPUB top in 0\r\n\r\n");
        let got = bus.take(c);
        assert!(got.contains("\"acc\":\"A\",\"svc\":\"B\",\"user\":\"a\""), "{got}");
        let reply = got.split(' ').nth(3).expect("a reply");
        bus.send(c, &format!("PUB {reply} more 2\r\nok\r\n"));
        let got = bus.take(a);
        assert!(got.starts_with("MSG in 7 _R_.") && got.ends_with(" 2\r\nok\r\n"), "{got}");
        let reply = got.split(' ').nth(3).expect("a reply");
        bus.send(a, &format!("PUB {reply} 5\r\nagain\r\n"));
        assert_eq!(bus.take(c), "MSG more 4 5\r\nagain\r\n");
    });
}

#[test]
fn what_a_service_takes_is_published_where_it_is_measured() {
    let options = options(
        |agreements| {
            let latency = Some(Latency { sampling: 100, subject: b"lat".as_slice().into() });
            let terms = ServiceTerms { latency, ..ServiceTerms::default() };
            agreements.export_service(B, b"svc", &[], 0, terms).expect("export");
            agreements.import_service(A, B, b"svc", b"svc", false).expect("import");
        },
        no_ties,
    );
    on_each(&options, |mut bus, far| {
        let (a, b) = (join(&mut bus, 0, "a"), join(&mut bus, far, "b"));
        bus.send(b, "SUB lat 9\r\nPING\r\n");
        bus.take(b);
        bus.send(a, "SUB in 7\r\nPUB svc 0\r\n\r\nPUB svc in 0\r\n\r\n");
        let got = bus.take(b);
        assert!(got.contains("\"status\":400,\"description\":\"Bad Request\""), "{got}");
        assert!(got.contains("\"status\":503,\"description\":\"Service Unavailable\""), "{got}");
        assert!(bus.take(a).contains("503"));
        bus.send(b, "SUB svc 3\r\nPING\r\n");
        bus.take(b);
        bus.send(a, "PUB svc in 0\r\n\r\n");
        let got = bus.take(b);
        let reply = got.split(' ').nth(3).expect("a reply").to_string();
        bus.send(b, &format!("PUB {reply} 2\r\nok\r\n"));
        assert_eq!(bus.take(a), "MSG in 7 2\r\nok\r\n");
        let got = bus.take(b);
        let wanted = "{\"type\":\"io.nats.server.metric.v1.service_latency\",\"id\":\"";
        assert!(got.contains(wanted) && got.contains("\"status\":200,\"requestor\":"), "{got}");
    });
}

fn measured(agreements: &mut Agreements) {
    let latency = Some(Latency { sampling: 100, subject: b"lat".as_slice().into() });
    let threshold_ns = Some(5 * SECONDS);
    let terms = ServiceTerms { latency, threshold_ns, ..ServiceTerms::default() };
    agreements.export_service(B, b"svc", &[], 0, terms).expect("export");
    agreements.import_service(A, B, b"svc", b"svc", false).expect("import");
}

#[test]
fn who_has_had_the_last_it_wanted_when_time_was_over_may_go() {
    on_each(&options(measured, no_ties), |mut bus, far| {
        let (a, b) = (join(&mut bus, 0, "a"), join(&mut bus, far, "b"));
        let once = join(&mut bus, 0, "b");
        bus.send(once, "SUB lat 1\r\nUNSUB 1 1\r\nPING\r\n");
        bus.send(b, "SUB svc 3\r\nPING\r\n");
        bus.send(a, "SUB in 7\r\nPUB svc in 0\r\n\r\n");
        bus.pass(6 * SECONDS);
        assert!(bus.take(once).contains("\"status\":504"));
        bus.hangup(once);
        bus.pass(SECONDS);
        bus.take(a);
        bus.send(a, "PUB x 0\r\n\r\nPING\r\n");
        assert_eq!(bus.take(a), "PONG\r\n");
    });
}

#[test]
fn who_has_had_its_last_may_share_bytes_that_come_from_another_account() {
    let options = options(
        |agreements| {
            measured(agreements);
            agreements.export_stream(B, b"lat", &[], 0).expect("export");
            agreements.import_stream(A, B, b"lat", b"lat").expect("import");
        },
        no_ties,
    );
    on_each(&options, |mut bus, far| {
        let (a, b) = (join(&mut bus, 0, "a"), join(&mut bus, far, "b"));
        let (once, ever) = (join(&mut bus, 0, "a"), join(&mut bus, 0, "a"));
        bus.send(once, "SUB > 1\r\nUNSUB 1 1\r\nPING\r\n");
        bus.send(ever, "SUB > 1\r\nPING\r\n");
        bus.send(b, "SUB svc 3\r\nPING\r\n");
        bus.take(once);
        bus.take(ever);
        bus.send(a, "PUB svc 0\r\n\r\nPING\r\n");
        assert!(bus.take(a).contains("PONG\r\n"));
        assert!(bus.take(once).starts_with("MSG svc 1 0\r\n"));
        let got = bus.take(ever);
        assert!(got.starts_with("MSG svc 1 0\r\n") && got.contains("\"status\":400"), "{got}");
    });
}

#[test]
fn mappings_lead_to_another_subject_and_lose_what_they_shall() {
    let options = options(
        |_| {},
        |account, ties| {
            if account == A {
                let mut mappings = Mappings::default();
                let all = |to: &str| vec![(to.as_bytes().to_vec(), 100)];
                mappings.add(Mapping::new(b"old.*", &all("new.$1")).expect("valid"));
                mappings.add(Mapping::new(b"part.*", &all("p.{{partition(3,1)}}")).expect("valid"));
                let lossy = [(b"lossy".to_vec(), 0)];
                mappings.add(Mapping::new(b"lossy", &lossy).expect("valid"));
                ties.mappings = mappings;
            }
        },
    );
    on_each(&options, |mut bus, far| {
        let (a, sub) = (join(&mut bus, 0, "a"), join(&mut bus, far, "a"));
        let b = join(&mut bus, far, "b");
        for id in [sub, b] {
            bus.send(id, "SUB > 1\r\nPING\r\n");
            bus.take(id);
        }
        for _ in 0..2 {
            bus.send(a, "PUB old.x 1\r\n1\r\nPUB part.foo 1\r\n2\r\nPUB lossy 1\r\n3\r\n");
            bus.send(a, "PUB new.y 1\r\n4\r\n");
            let wanted = "MSG new.x 1 1\r\n1\r\nMSG p.0 1 1\r\n2\r\nMSG new.y 1 1\r\n4\r\n";
            assert_eq!(bus.take(sub), wanted);
        }
        let b2 = join(&mut bus, 0, "b");
        bus.send(b2, "PUB old.x 1\r\n1\r\n");
        assert_eq!(bus.take(b), "MSG old.x 1 1\r\n1\r\n");
        bus.send(a, "SUB in 1\r\nPUB old.x in 0\r\n\r\n");
        assert_eq!(bus.take(sub), "MSG new.x 1 in 0\r\n\r\n");
    });
}

fn mapped(all: &[(&str, &[(&str, u8)])]) -> Mappings {
    let mut mappings = Mappings::default();
    for (source, to) in all {
        let to: Vec<_> = to.iter().map(|(to, weight)| (to.as_bytes().to_vec(), *weight)).collect();
        mappings.add(Mapping::new(source.as_bytes(), &to).expect("valid"));
    }
    mappings
}

/// Account A has these mappings, and nobody has agreed on anything.
fn with_mappings(all: &[(&str, &[(&str, u8)])]) -> Options {
    options(
        |_| {},
        |account, ties| {
            if account == A {
                ties.mappings = mapped(all);
            }
        },
    )
}

#[test]
fn what_is_known_of_a_mapped_subject_is_over_when_anything_changes() {
    let before = with_mappings(&[("foo.*", &[("bar.$1", 100)])]);
    on_each(&before, |mut bus, far| {
        let (a, sub) = (join(&mut bus, 0, "a"), join(&mut bus, far, "a"));
        bus.send(sub, "SUB bar.x 1\r\nSUB baz.x 2\r\nSUB foo.* 3\r\nPING\r\n");
        bus.take(sub);
        let heard = |bus: &mut Bus, wanted: &[&str]| {
            // Alike, and not; more of them than are looked at anew.
            bus.send(a, &"PUB foo.x 1\r\n1\r\nPUB foo.x 1\r\n1\r\nPUB foo.x 0\r\n\r\n".repeat(3));
            let got = bus.take(sub);
            for line in wanted {
                assert_eq!(got.matches(&format!("MSG {line} 1\r\n1\r\n")).count(), 6, "{got}");
            }
            assert_eq!(got.matches("MSG").count(), 9 * wanted.len(), "{got}");
        };
        heard(&mut bus, &["bar.x 1"]);
        bus.send(sub, "SUB bar.> 4\r\nPING\r\n");
        bus.take(sub);
        heard(&mut bus, &["bar.x 1", "bar.x 4"]);
        bus.send(sub, "UNSUB 1\r\nPING\r\n");
        bus.take(sub);
        heard(&mut bus, &["bar.x 4"]);
        for (mappings, wanted) in [
            (&[("foo.*", &[("baz.$1", 100)][..])][..], "baz.x 2"),
            (&[], "foo.x 3"),
            (&[("foo.x", &[("foo.x", 100)][..])], "foo.x 3"),
            (&[("foo.*", &[("bar.$1", 100)][..])], "bar.x 4"),
        ] {
            change(&mut bus, &before, &with_mappings(mappings).access);
            heard(&mut bus, &[wanted]);
        }
    });
}

/// As everywhere, those that match the same share a plan; nothing else is hidden by it.
#[test]
fn subjects_that_ties_have_no_say_about_share_a_plan() {
    let tied = |mappings: Mappings| {
        let agree = |agreements: &mut Agreements| {
            agreements
                .export_service(B, b"ask.>", &[], 0, ServiceTerms::default())
                .expect("export");
            agreements.import_service(A, B, b"ask.>", b"ask.>", false).expect("import");
        };
        let bind = |account, ties: &mut Ties| {
            if account == A {
                ties.mappings = mappings.clone();
            }
        };
        Options { match_cache: false, ..options(agree, bind) }
    };
    let before = tied(Mappings::default());
    let mut bus = Bus::with(1, before.clone());
    let (a, sub, b) = (join(&mut bus, 0, "a"), join(&mut bus, 0, "a"), join(&mut bus, 0, "b"));
    bus.send(sub, "SUB t.> 1\r\nSUB u 2\r\nSUB *.> 3\r\n");
    bus.send(b, "SUB ask.> 1\r\n");
    let made = |bus: &Bus| bus.shards[0].figures().plans_made;
    let at_first = made(&bus);
    let says: String = (0..100).map(|n| format!("PUB t.a.{n} 0\r\n\r\n")).collect();
    bus.send(a, &says);
    assert_eq!(bus.take(sub).matches("MSG t.a.").count(), 200);
    assert!(made(&bus) - at_first <= 2, "{} plans", made(&bus) - at_first);
    for n in 0..3 {
        bus.send(a, &format!("PUB ask.it.{n} 0\r\n\r\n"));
        assert!(bus.take(b).starts_with(&format!("HMSG ask.it.{n} 1 ")));
        assert_eq!(bus.take(sub), format!("MSG ask.it.{n} 3 0\r\n\r\n"));
    }
    change(&mut bus, &before, &tied(mapped(&[("t.a.*", &[("u", 100)])])).access);
    bus.send(a, "PUB t.a.1 0\r\n\r\nPUB t.a.2 0\r\n\r\nPUB t.b.1 0\r\n\r\n");
    let wanted = "MSG u 2 0\r\n\r\nMSG u 2 0\r\n\r\nMSG t.b.1 1 0\r\n\r\nMSG t.b.1 3 0\r\n\r\n";
    assert_eq!(bus.take(sub), wanted);
}

#[test]
fn what_a_mapping_gives_is_not_mapped_again_however_often() {
    let swapped = with_mappings(&[("foo", &[("bar", 100)]), ("bar", &[("foo", 100)])]);
    on_each(&swapped, |mut bus, far| {
        let (a, sub) = (join(&mut bus, 0, "a"), join(&mut bus, far, "a"));
        bus.send(sub, "SUB foo 1\r\nSUB bar 2\r\nPING\r\n");
        bus.take(sub);
        for _ in 0..5 {
            bus.send(a, "PUB foo 1\r\n1\r\nPUB bar 1\r\n2\r\nPUB bar 1\r\n3\r\n");
            let wanted = "MSG bar 2 1\r\n1\r\nMSG foo 1 1\r\n2\r\nMSG foo 1 1\r\n3\r\n";
            assert_eq!(bus.take(sub), wanted);
        }
    });
}

#[test]
fn a_mapping_by_weight_keeps_to_its_weights() {
    let all: [(&str, &[(&str, u8)]); 2] =
        [("w.*", &[("l.$1", 30), ("r.$1", 60)]), ("lossy", &[("lossy", 40)])];
    on_each(&with_mappings(&all), |mut bus, far| {
        let (a, sub) = (join(&mut bus, 0, "a"), join(&mut bus, far, "a"));
        bus.send(sub, "SUB > 1\r\nPING\r\n");
        bus.take(sub);
        let mut got = String::new();
        for _ in 0..100 {
            bus.send(a, &"PUB w.x 0\r\n\r\n".repeat(10));
            bus.send(a, &"PUB lossy 0\r\n\r\n".repeat(10));
            got += &bus.take(sub);
        }
        for (subject, wanted) in [("l.x", 300), ("r.x", 600), ("w.x", 100), ("lossy", 400)] {
            let count = got.matches(&format!("MSG {subject} 1 0\r\n")).count();
            assert!(count.abs_diff(wanted) < 60, "{subject}: {count}");
        }
    });
}

#[test]
fn what_is_known_of_a_request_is_over_when_anything_changes() {
    let agreed = |from: &'static str, to: &'static str| {
        let agree = move |agreements: &mut Agreements| {
            let terms = ServiceTerms::default();
            agreements.export_service(A, b"svc.*", &[], 0, terms).expect("export");
            agreements.import_service(B, A, from.as_bytes(), to.as_bytes(), false).expect("import");
        };
        options(agree, |account, ties| {
            if account == B {
                ties.mappings = mapped(&[("short", &[("ask.a", 100)])]);
            }
        })
    };
    let before = agreed("ask.*", "svc.*");
    on_each(&before, |mut bus, far| {
        let (a, b) = (join(&mut bus, far, "a"), join(&mut bus, 0, "b"));
        bus.send(a, "SUB svc.* 1\r\nPING\r\n");
        bus.send(b, "SUB in 1\r\nPING\r\n");
        bus.take(a);
        bus.take(b);
        let ask = |bus: &mut Bus, subject: &str, served: &str| {
            for _ in 0..3 {
                bus.send(b, &format!("PUB {subject} in 2\r\nhi\r\n"));
                let got = bus.take(a);
                if served.is_empty() {
                    assert_eq!(got, "");
                    assert!(bus.take(b).contains("NATS/1.0 503"));
                    continue;
                }
                assert!(got.starts_with(&format!("HMSG {served} 1 _R_.")), "{got}");
                let reply = got.split(' ').nth(3).expect("a reply");
                bus.send(a, &format!("PUB {reply} 2\r\nok\r\nPUB {reply} 2\r\nno\r\n"));
                assert_eq!(bus.take(b), "MSG in 1 2\r\nok\r\n");
            }
        };
        ask(&mut bus, "ask.a", "svc.a");
        ask(&mut bus, "short", "svc.a");
        bus.send(a, "UNSUB 1\r\nPING\r\n");
        bus.take(a);
        ask(&mut bus, "ask.a", "");
        bus.send(a, "SUB svc.a 1\r\nPING\r\n");
        bus.take(a);
        ask(&mut bus, "short", "svc.a");
        ask(&mut bus, "ask.a", "svc.a");
        change(&mut bus, &before, &agreed("other.*", "svc.*").access);
        ask(&mut bus, "ask.a", "");
        ask(&mut bus, "short", "");
        ask(&mut bus, "other.a", "svc.a");
        change(&mut bus, &before, &agreed("ask.a", "svc.a").access);
        ask(&mut bus, "ask.a", "svc.a");
        ask(&mut bus, "short", "svc.a");
        ask(&mut bus, "other.a", "");
    });
}

#[test]
fn who_may_not_publish_where_a_mapping_leads_is_told_so_each_time() {
    let open = with_mappings(&[("foo.*", &[("bar.$1", 100)]), ("w", &[("bar.x", 50), ("no", 50)])]);
    let walled = |patterns: &[&str]| {
        let mut access = (*open.access).clone();
        let rules = patterns.iter().map(|text| Rule::parse(text, false).expect("a pattern"));
        let allow = RuleSet::new(&rules.collect::<Vec<_>>());
        access.add_user(User {
            name: "a2".into(),
            proof: Proof::Password(Secret::new("p")),
            account: A,
            permissions: Some(Arc::new(Permissions {
                publish: Rules { allow: Some(allow), deny: None },
                ..Permissions::default()
            })),
            connection_types: ConnectionTypes::ANY,
            limits: Default::default(),
        });
        Arc::new(access)
    };
    let options = Options { access: walled(&["bar.*"]), ..Options::default() };
    on_each(&options, |mut bus, far| {
        let (a, sub) = (join(&mut bus, 0, "a2"), join(&mut bus, far, "a"));
        bus.send(sub, "SUB > 1\r\nPING\r\n");
        bus.take(sub);
        let violation =
            |to: &str| format!("-ERR 'Permissions Violation for Publish to \"{to}\"'\r\n");
        for _ in 0..4 {
            bus.send(a, "PUB foo.x 1\r\n1\r\nPUB foo.x 1\r\n1\r\n");
            assert_eq!(bus.take(sub), "MSG bar.x 1 1\r\n1\r\n".repeat(2));
            assert_eq!(bus.take(a), "");
        }
        bus.send(a, &"PUB w 1\r\n1\r\n".repeat(200));
        let (got, refused) = (bus.take(sub).matches("MSG bar.x 1").count(), bus.take(a));
        assert_eq!(got + refused.matches(&violation("no")).count(), 200);
        assert!(got.abs_diff(100) < 40, "{got}");
        change(&mut bus, &options, &walled(&["foo.*", "no"]));
        for _ in 0..4 {
            bus.send(a, "PUB foo.x 1\r\n1\r\nPUB foo.x 1\r\n1\r\n");
            assert_eq!(bus.take(sub), "");
            assert_eq!(bus.take(a), violation("bar.x").repeat(2));
        }
    });
}

#[test]
fn imports_in_circles_are_refused() {
    let names = ["$G", "A", "B", "C"];
    let mut agreements = Agreements::new(names.into_iter());
    for account in [A, B, C] {
        let terms = ServiceTerms::default();
        agreements.export_service(account, b"help", &[], 0, terms).expect("export");
        agreements.export_stream(account, b"news.>", &[], 0).expect("export");
    }
    agreements.import_service(A, B, b"help", b"help", false).expect("first");
    agreements.import_service(B, C, b"help", b"help", false).expect("second");
    let refused = agreements.import_service(C, A, b"help", b"help", false).expect_err("third");
    assert_eq!(refused.to_string(), "import forms a cycle");
    agreements.import_stream(A, B, b"news.>", b"").expect("first");
    let refused = agreements.import_stream(B, A, b"news.>", b"").expect_err("second");
    assert_eq!(refused.to_string(), "import forms a cycle");
    let twice = agreements.import_stream(A, B, b"news.>", b"").expect_err("twice");
    assert_eq!(twice.to_string(), "stream import already exists");
}
