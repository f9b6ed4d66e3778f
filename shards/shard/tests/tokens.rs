//! Users whose tokens are looked at elsewhere, and accounts whose connections are counted there.

#[path = "support/bus.rs"]
mod bus;

use std::sync::Arc;

use bus::{Bus, Id};
use shard::access::{
    Access, Admission, ConnectionTypes, Outcome, Proof, Secret, Terms, Token, User,
};
use shard::account::{Limits, Ties};
use shard::limits::{CHECKS_MAX, SECONDS};
use shard::report::Ask;
use shard::{AccountId, Input, Options, Seat};

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";
const SHOWN: &str = r#"CONNECT {"jwt":"t","sig":"s","verbose":false,"pedantic":false}"#;

fn believing() -> (Access, AccountId) {
    let mut access = Access::default();
    access.believe_tokens();
    let account = access.account("A");
    access.set_account(account, Ties::default(), Limits::default(), Arc::default());
    (access, account)
}

fn with(access: &Access) -> Bus {
    let mut bus = Bus::with(2, Options { access: Arc::new(access.clone()), ..Options::default() });
    bus.holds_checks = true;
    bus
}

fn user(account: AccountId, token: Token) -> Arc<User> {
    Arc::new(User {
        name: "UA".into(),
        proof: Proof::Token(token),
        account,
        permissions: None,
        connection_types: ConnectionTypes::ANY,
        limits: Limits { payload_max: Some(4), ..Limits::default() },
    })
}

fn admitted(user: Arc<User>, expires_in_ns: Option<u64>) -> Outcome {
    Outcome::Admitted(Box::new(Admission { user, expires_in_ns, is_seated: false }))
}

fn shown(bus: &mut Bus, shard: usize) -> Id {
    let id = bus.connect(shard);
    bus.send(id, &format!("{SHOWN}\r\nPING\r\n"));
    assert_eq!(bus.take(id), "", "it waits");
    id
}

#[test]
fn a_token_is_looked_at_elsewhere_and_holds_as_long_as_it_says() {
    let (access, account) = believing();
    let mut bus = with(&access);
    let id = shown(&mut bus, 0);
    let (_, _, check) = bus.checks.front().expect("it is out");
    let shown_of = check.shown().expect("a token");
    assert_eq!((shown_of.token.expose(), &*shown_of.applicant.signature), ("t", "s"));
    assert_eq!(shown_of.applicant.nonce.len(), 15);
    assert!(!format!("{check:?}").contains('t') || format!("{check:?}") == "Check(token)");
    bus.answer(admitted(user(account, Token::default()), Some(5 * SECONDS)));
    assert_eq!(bus.take(id), "PONG\r\n");
    bus.send(id, "PUB a 4\r\nfour\r\nPING\r\n");
    assert_eq!(bus.take(id), "PONG\r\n");
    bus.pass(4 * SECONDS);
    assert!(!bus.is_closed(id));
    bus.pass(2 * SECONDS);
    assert!(bus.take(id).ends_with("-ERR 'User Authentication Expired'\r\n"));
    assert!(bus.is_closed(id));
}

#[test]
fn a_payload_longer_than_its_user_may_send() {
    let (access, account) = believing();
    let mut bus = with(&access);
    let id = shown(&mut bus, 0);
    bus.answer(admitted(user(account, Token::default()), None));
    bus.take(id);
    bus.send(id, "PUB a 5\r\n");
    assert_eq!(bus.take(id), "-ERR 'Maximum Payload Violation'\r\n");
}

#[test]
fn whoever_is_not_believed_hears_the_one_answer() {
    let (access, _) = believing();
    let mut bus = with(&access);
    let id = shown(&mut bus, 0);
    bus.answer(Outcome::Failed("why".into()));
    assert_eq!(bus.take(id), VIOLATION);
    let id = bus.connect(0);
    bus.send(id, "SUB a 1\r\n");
    assert_eq!(bus.take(id), VIOLATION);
}

#[test]
fn other_terms_of_an_account_end_those_they_are_against() {
    let signed = Token { signing_key: "AK".into(), role: Some(1), ..Token::default() };
    let bearer = Token { is_bearer: true, ..Token::default() };
    let old = Token { issued_at_s: 10, ..Token::default() };
    let new = Token { issued_at_s: 30, ..Token::default() };
    let keys = [("AK".into(), 1)].into();
    let before = Terms { signing_keys: keys, ..Terms::default() };
    let changed = |change: &dyn Fn(&mut Terms)| {
        let mut terms = before.clone();
        change(&mut terms);
        terms
    };
    let revoking = |who: &str| changed(&|terms| terms.revoked.extend([(who.into(), 20)]));
    let cases = [
        (&old, changed(&|_| {}), ""),
        (&old, revoking("UA"), "-ERR 'User Authentication Revoked'\r\n"),
        (&old, revoking("*"), "-ERR 'User Authentication Revoked'\r\n"),
        (&new, revoking("*"), ""),
        (&old, revoking("UB"), ""),
        (&bearer, changed(&|terms| terms.no_bearer = true), VIOLATION),
        (&old, changed(&|terms| terms.no_bearer = true), ""),
        (
            &old,
            changed(&|terms| terms.has_expired = true),
            "-ERR 'Account Authentication Expired'\r\n",
        ),
        (&signed, changed(&|_| {}), ""),
        (&signed, changed(&|terms| terms.signing_keys.clear()), "(closed)"),
        (&signed, changed(&|terms| terms.signing_keys.extend([("AK".into(), 2)])), "(closed)"),
    ];
    for (at, (token, terms, expected)) in cases.iter().enumerate() {
        let (mut access, account) = believing();
        let put = |access: &mut Access, terms: &Terms| {
            let terms = Arc::new(terms.clone());
            access.set_account(account, Ties::default(), Limits::default(), terms);
        };
        put(&mut access, &before);
        let mut bus = with(&access);
        let id = shown(&mut bus, 1);
        bus.answer(admitted(user(account, (*token).clone()), None));
        assert_eq!(bus.take(id), "PONG\r\n");
        put(&mut access, terms);
        bus.ask(&Ask::Access(Arc::new(access)));
        assert_eq!(bus.is_closed(id), !expected.is_empty(), "case {at}");
        let said = bus.take(id);
        assert_eq!(
            if said.is_empty() && bus.is_closed(id) { "(closed)" } else { &said },
            *expected
        );
    }
}

#[test]
fn more_accounts_concern_nobody_and_other_access_no_login_under_way() {
    let (access, account) = believing();
    let mut bus = with(&access);
    let waiting = shown(&mut bus, 0);
    let mut more = access.clone();
    let other = more.account("B");
    more.set_account(other, Ties::default(), Limits::default(), Arc::default());
    assert!(!more.concerns_those_of(&access));
    bus.ask(&Ask::MoreAccounts(Arc::new(more.clone())));
    let far = shown(&mut bus, 1);
    bus.answer(admitted(user(account, Token::default()), None));
    bus.answer(admitted(user(other, Token::default()), None));
    assert_eq!((bus.take(waiting), bus.take(far)), ("PONG\r\n".into(), "PONG\r\n".into()));
    let late = shown(&mut bus, 1);
    let mut gone = more.clone();
    gone.end_account(account);
    assert!(gone.concerns_those_of(&more));
    bus.ask(&Ask::Access(Arc::new(gone)));
    assert_eq!(bus.take(waiting), "-ERR 'Account Authentication Expired'\r\n");
    bus.answer(admitted(user(other, Token::default()), None));
    assert_eq!(bus.take(late), "PONG\r\n");
    assert_eq!(bus.take(far), "");
    bus.assert_replicated();
}

/// With a password.
fn member(account: AccountId) -> User {
    User {
        name: "a".into(),
        proof: Proof::Password(Secret::new("p")),
        account,
        permissions: None,
        connection_types: ConnectionTypes::ANY,
        limits: Limits::default(),
    }
}

#[test]
fn a_seat_is_asked_for_and_given_back_once() {
    let mut access = Access::default();
    let account = access.account("A");
    access.bind(account, Ties::default(), Limits { connections_max: Some(1), ..Limits::default() });
    access.add_user(member(account));
    access.let_in_as("a");
    let mut bus = with(&access);
    let words = "CONNECT {\"user\":\"a\",\"pass\":\"p\",\"verbose\":false}\r\nPING\r\n";
    let first = bus.connect(0);
    bus.send(first, words);
    assert_eq!(bus.checks[0].2.wanted_seat(), Some((account, 1)));
    bus.answer(Outcome::Seated(account));
    assert_eq!(bus.take(first), "PONG\r\n");
    bus.send(first, "CONNECT {\"user\":\"a\",\"verbose\":false}\r\nPING\r\n");
    assert_eq!(bus.take(first), "PONG\r\n", "it keeps its seat");
    let second = bus.connect(1);
    bus.send(second, words);
    bus.answer(Outcome::Full);
    assert_eq!(bus.take(second), "-ERR 'maximum account active connections exceeded'\r\n");
    assert!(bus.is_closed(second) && bus.seats.is_empty());
    bus.hangup(first);
    assert!(matches!(std::mem::take(&mut bus.seats)[..], [Seat::Left(it, _)] if it == account));
    let silent = bus.connect(0);
    bus.send(silent, "PING\r\n");
    assert_eq!(bus.take(silent), "");
    bus.answer(Outcome::Seated(account));
    assert_eq!(bus.take(silent), "PONG\r\n", "and no +OK for a CONNECT it has not said");
    let gone = bus.connect(0);
    bus.send(gone, words);
    bus.ask(&Ask::Kick { cid: gone as u64 + 1 });
    assert!(bus.is_closed(gone));
    bus.answer(Outcome::Seated(account));
    let left = matches!(bus.seats[..], [Seat::Left(it, _)] if it == account);
    assert!(left, "nobody sits where somebody was let in too late");
}

#[test]
fn those_who_are_there_count_when_a_limit_comes() {
    let mut access = Access::default();
    let account = access.account("A");
    access.add_user(member(account));
    let mut bus = with(&access);
    let id = bus.connect(0);
    bus.send(id, "CONNECT {\"user\":\"a\",\"pass\":\"p\",\"verbose\":false}\r\nPING\r\n");
    assert_eq!(bus.take(id), "PONG\r\n");
    let limits = Limits { connections_max: Some(1), ..Limits::default() };
    access.bind(account, Ties::default(), limits);
    bus.ask(&Ask::Access(Arc::new(access)));
    let [Seat::Taken(taken, conn, 1)] = bus.seats[..] else { panic!("{:?}", bus.seats) };
    assert_eq!(taken, account);
    bus.hangup(id);
    assert_eq!(bus.seats[1..], [Seat::Left(account, conn)]);
}

#[test]
fn who_is_crowded_out_hears_why_and_gives_back_the_seat() {
    let mut access = Access::default();
    let account = access.account("A");
    access.bind(account, Ties::default(), Limits { connections_max: Some(2), ..Limits::default() });
    access.add_user(member(account));
    let mut bus = with(&access);
    let words = "CONNECT {\"user\":\"a\",\"pass\":\"p\",\"verbose\":false}\r\nPING\r\n";
    let ids = [(); 2].map(|()| {
        let id = bus.connect(0);
        bus.send(id, words);
        id
    });
    let conn = bus.checks[1].1;
    bus.ask(&Ask::CrowdOut { conn });
    assert!(!bus.is_closed(ids[1]), "it has no seat yet");
    bus.answer(Outcome::Seated(account));
    bus.answer(Outcome::Seated(account));
    bus.ask(&Ask::CrowdOut { conn });
    assert_eq!(bus.take(ids[0]), "PONG\r\n");
    let told = bus.take(ids[1]);
    assert_eq!(told, "PONG\r\n-ERR 'maximum account active connections exceeded'\r\n");
    assert!(bus.is_closed(ids[1]) && !bus.is_closed(ids[0]));
    assert_eq!(bus.seats, [Seat::Left(account, conn)]);
}

#[test]
fn a_lower_number_of_subscriptions_ends_those_who_have_as_many() {
    let (mut access, account) = believing();
    let mut bus = with(&access);
    let ids = [1, 2, 3].map(|count| {
        let id = shown(&mut bus, 0);
        bus.answer(admitted(user(account, Token::default()), None));
        (0..count).for_each(|sid| bus.send(id, &format!("SUB a {sid}\r\n")));
        bus.take(id);
        id
    });
    let mut allow = |max: Option<u32>, terms: Terms| {
        let limits = Limits { subscriptions_max: max, ..Limits::default() };
        access.set_account(account, Ties::default(), limits, Arc::new(terms));
        bus.ask(&Ask::Access(Arc::new(access.clone())));
        ids.map(|id| (bus.take(id), bus.is_closed(id)))
    };
    let open = (String::new(), false);
    assert_eq!(allow(Some(4), Terms::default()), [open.clone(), open.clone(), open.clone()]);
    let over = ("-ERR 'maximum subscriptions exceeded'\r\n".to_string(), true);
    assert_eq!(allow(Some(2), Terms::default()), [open.clone(), over.clone(), over]);
    let same = allow(Some(2), Terms { no_bearer: true, ..Terms::default() });
    assert_eq!(same[0], open);
}

#[test]
fn a_login_that_is_put_aside_holds_up_nobody() {
    let (access, account) = believing();
    let mut bus = with(&access);
    let most = CHECKS_MAX / 2;
    let ids: Vec<Id> = (0..=most).map(|_| shown(&mut bus, 0)).collect();
    assert_eq!(bus.checks.len(), most, "all come from one address");
    let (shard, aside, _) = bus.checks[0];
    bus.answer(Outcome::Aside);
    assert_eq!(bus.checks.len(), most, "the next one has its turn");
    while !bus.checks.is_empty() {
        bus.answer(admitted(user(account, Token::default()), None));
    }
    assert!(ids[1..].iter().all(|id| bus.take(*id) == "PONG\r\n"));
    assert_eq!(bus.take(ids[0]), "");
    bus.step(shard, Input::Checked { conn: aside, outcome: Outcome::Failed("x".into()) });
    bus.settle();
    assert_eq!(bus.take(ids[0]), VIOLATION);
}
