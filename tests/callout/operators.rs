//! Accounts of operators whose tokens leave it to a service who their users are: nats-server and
//! ringbus ask it the same and do as it says.

use nkeys::{KeyPair, XKey};
use serde_json::{Value, json};

use super::house::{House, Said, described, logged, user_key};
use crate::harness::server::{Server, same_of_each};
use crate::harness::tokens::{Account, Conn, User, VIOLATION, World, merge, now_s, sign};

/// The accounts, and the service's own users.
struct Firm {
    house: House,
    world: World,
    auth: Account,
    app: Account,
    other: Account,
    /// The service.
    service: User,
    /// Shown by everybody.
    sentinel: User,
    /// Another key of `auth`.
    signing: KeyPair,
    /// Other keys of `app`: with all rights, and for a role.
    plain: KeyPair,
    role: KeyPair,
}

fn copy(key: &KeyPair) -> KeyPair {
    KeyPair::from_seed(&key.seed().expect("a seed")).expect("a seed")
}

impl Firm {
    fn new(xkey: Option<XKey>) -> Firm {
        let (signing, plain) = (KeyPair::new_account(), KeyPair::new_account());
        let role = KeyPair::new_account();
        let mut app = Account::new("APP", json!({ "tags": ["of:app"] }));
        app.nats["signing_keys"] = json!([plain.public_key(), {
            "kind": "user_scope", "key": role.public_key(), "role": "r",
            "template": { "pub": { "allow": ["a.{{name()}}"] }, "sub": {}, "subs": -1, "data": -1,
                          "payload": -1 },
        }]);
        app.nats["default_permissions"] = json!({ "pub": { "deny": ["never"] } });
        let other = Account::new("OTHER", json!({}));
        let mut auth = Account::new("AUTH", json!({ "signing_keys": [signing.public_key()] }));
        let service = auth.user(json!({ "name": "svc" }), json!({}));
        let mut external = json!({
            "auth_users": [service.key.public_key()], "allowed_accounts": [app.id()],
        });
        if let Some(key) = &xkey {
            external["xkey"] = json!(key.public_key());
        }
        auth.nats["authorization"] = external;
        let nats = json!({ "bearer_token": true, "tags": ["s:1"] });
        let sentinel = auth.user(json!({ "name": "sentinel" }), nats);
        let house = House { issuer: copy(&auth.key), xkey, more: Vec::new() };
        let world = World::new();
        Firm { house, world, auth, app, other, service, sentinel, signing, plain, role }
    }

    fn conf(&self) -> Vec<String> {
        let mut conf = self.world.conf(&[&self.auth, &self.app, &self.other]);
        conf.push("authorization { timeout: 1 }".to_string());
        conf
    }

    fn service(&self, server: &Server) -> Conn {
        let (mut service, lines) = Conn::with(server, &self.service);
        assert_eq!(lines, [""; 0]);
        service.send("SUB $SYS.REQ.USER.AUTH 1\r\n");
        service.settle();
        service
    }

    /// Both servers do the same.
    fn both(&self, work: impl Fn(&mut Server) -> Vec<String>) -> Vec<String> {
        same_of_each(|program| work(&mut super::house::start(program, &self.conf())))
    }

    /// Somebody comes with the sentinel's token.
    fn come(&self, server: &Server, name: &str) -> Conn {
        let mut conn = Conn::open(server);
        conn.begin(json!({ "jwt": self.sentinel.token, "user": name, "pass": "pw" }));
        conn
    }

    /// A user of `app`, by its own key.
    fn user(&self, asked: &Value, nats: Value) -> Value {
        token(&self.app.key, asked, json!({ "name": "named" }), nats)
    }

    /// What is said of one of this name.
    fn decide(&self, name: &str, asked: &Value) -> Said {
        let named = json!({ "name": "named" });
        let of = |account: &Account, nats: Value| {
            let mut all = json!({ "issuer_account": account.id() });
            merge(&mut all, nats);
            all
        };
        let none = || json!({ "subs": 0, "data": 0, "payload": 0 });
        let body = match name {
            "inside" => token(&self.auth.key, asked, named, json!({})),
            "nameless" => token(&self.app.key, asked, json!({}), json!({})),
            "limited" => self.user(asked, json!({ "pub": { "allow": ["a"] }, "subs": 0 })),
            "signed" => token(&self.plain, asked, named, of(&self.app, json!({}))),
            "role" => token(&self.role, asked, named, of(&self.app, none())),
            "more" => token(&self.role, asked, named, of(&self.app, json!({ "payload": 5 }))),
            "forged" => token(&KeyPair::new_account(), asked, named, of(&self.app, json!({}))),
            "other" => token(&self.other.key, asked, named, json!({})),
            "nowhere" => token(&KeyPair::new_account(), asked, named, json!({})),
            "borrowed" => {
                let mut other = asked.clone();
                other["nats"]["user_nkey"] = json!(KeyPair::new_user().public_key());
                token(&self.app.key, &other, named, json!({}))
            }
            "bad" => json!({ "error": "not today" }),
            "proxy" => self.user(asked, json!({ "proxy_required": true })),
            "over" => token(&self.app.key, asked, json!({ "exp": now_s() - 10 }), json!({})),
            "night" => {
                self.user(asked, json!({ "times": [{ "start": "00:00:00", "end": "00:00:01" }] }))
            }
            _ => self.user(asked, json!({})),
        };
        let mut said = self.house.said(asked, body);
        match name {
            "other key" => said.by = copy(&self.signing),
            "named key" => {
                said.by = copy(&self.signing);
                said.body["issuer_account"] = json!(self.auth.id());
            }
            "other's key" => said.body["issuer_account"] = json!(self.app.id()),
            "stranger" => said.by = KeyPair::new_account(),
            "app's key" => said.by = copy(&self.app.key),
            _ => {}
        }
        said
    }

    /// Answers one request as its user's name says, and gives what was asked.
    fn answer(&self, service: &mut Conn) -> Value {
        let (reply, asked) = self.house.take(service);
        let name = asked["nats"]["connect_opts"]["user"].as_str().unwrap_or("good");
        self.house.say(service, &reply, &asked, &self.decide(name, &asked));
        asked
    }
}

fn token(by: &KeyPair, asked: &Value, claims: Value, nats: Value) -> Value {
    let mut body = json!({ "subs": -1, "data": -1, "payload": -1 });
    merge(&mut body, nats);
    json!({ "jwt": sign(by, "user", &user_key(asked), claims, body) })
}

/// Keys that were made for one request.
fn masked(line: &str) -> String {
    let is_key = |word: &str| word.len() == 56 && word.bytes().all(|b| b.is_ascii_alphanumeric());
    let parts: Vec<&str> =
        line.split('"').map(|part| if is_key(part) { "<key>" } else { part }).collect();
    parts.join("\"")
}

const IN: [&str; 8] =
    ["good", "inside", "nameless", "limited", "signed", "role", "other key", "named key"];
const OUT: [&str; 10] = [
    "more",
    "forged",
    "other",
    "nowhere",
    "borrowed",
    "bad",
    "proxy",
    "over",
    "night",
    "app's key",
];

fn who_comes_in(firm: &Firm) {
    // What is sealed comes from the service, whoever has signed it.
    let is_sealed = firm.house.xkey.is_some();
    let by_others = ["other's key", "stranger"];
    let out: Vec<&str> = OUT
        .into_iter()
        .filter(|name| !is_sealed || *name != "app's key")
        .chain(by_others.into_iter().filter(|_| !is_sealed))
        .collect();
    let told = firm.both(|server| {
        let mut service = firm.service(server);
        let mut told = Vec::new();
        for name in IN.iter().chain(&out) {
            let mut conn = firm.come(server, name);
            let asked = firm.answer(&mut service);
            told.push(described(&asked));
            let end = match IN.contains(name) {
                true => {
                    conn.send("SUB x 1\r\nPUB b 1\r\nx\r\nPUB a.named 1\r\nx\r\n");
                    conn.send("PUB never 1\r\nx\r\nPUB $SYS.REQ.USER.AUTH 1\r\nx\r\n");
                    conn.settle()
                }
                false => conn.rest(),
            };
            told.push(format!("{name}: {end:?}"));
        }
        let why = logged(server, "[WRN]", out.len());
        told.extend(why.iter().map(|line| masked(line)));
        told
    });
    let is_out = |name: &str| told.iter().any(|line| *line == format!("{name}: {VIOLATION:?}"));
    assert!(out.iter().all(|name| is_out(name)), "{told:#?}");
    assert!(!IN.iter().any(|name| is_out(name)), "{told:#?}");
}

#[test]
fn a_service_of_an_account_says_who_comes_in() {
    who_comes_in(&Firm::new(None));
}

#[test]
fn a_service_of_an_account_that_is_asked_under_seal() {
    who_comes_in(&Firm::new(Some(XKey::new())));
}

/// A user's own token must be good before anybody is asked about it; the service's need no service.
#[test]
fn who_is_asked_about() {
    let firm = Firm::new(None);
    let signed = firm.auth.user(json!({ "name": "signed" }), json!({ "tags": ["t"] }));
    let elsewhere = firm.app.user(json!({ "name": "app" }), json!({}));
    firm.both(|server| {
        let mut service = firm.service(server);
        let mut told = Vec::new();
        // With a key of its own, which it owns, and which it does not.
        let mut conn = Conn::open(server);
        let sig = conn.signature(&signed.key);
        conn.begin(json!({ "jwt": signed.token, "sig": sig }));
        let nonce = conn.info["nonce"].as_str().expect("a nonce").to_string();
        let asked = described(&firm.answer(&mut service));
        told.push(asked.replace(&nonce, "<nonce>").replace(&sig, "<sig>"));
        told.push(format!("{:?}", conn.settle()));
        let mut conn = Conn::open(server);
        let sig = conn.signature(&KeyPair::new_user());
        told.push(format!("{:?}", conn.connect(json!({ "jwt": signed.token, "sig": sig }))));
        // Of an account without a service, and the service's other connection.
        told.push(format!("{:?}", Conn::with(server, &elsewhere).1));
        let (mut second, lines) = Conn::with(server, &firm.service);
        told.push(format!("{lines:?}"));
        second.send("PUB $SYS.REQ.USER.AUTH 1\r\nx\r\n");
        told.push(format!("{:?}", second.settle()));
        told.push(format!("{:?}", service.settle()));
        told
    });
}

/// Clients that show no token are taken for the sentinel.
#[test]
fn a_sentinel_of_the_file() {
    let firm = Firm::new(None);
    let told = same_of_each(|program| {
        let mut conf = firm.conf();
        conf.push(format!("default_sentinel: {}", firm.sentinel.token));
        let server = super::house::start(program, &conf);
        let mut service = firm.service(&server);
        let mut told = Vec::new();
        for words in [json!({ "user": "good", "pass": "pw" }), json!({ "auth_token": "t" })] {
            let mut conn = Conn::open(&server);
            conn.begin(words);
            told.push(described(&firm.answer(&mut service)));
            told.push(format!("{:?}", conn.settle()));
        }
        told
    });
    assert_eq!([&told[1], &told[3]], ["[]", "[]"]);
}

#[test]
fn any_account_may_be_allowed() {
    let mut firm = Firm::new(None);
    firm.auth.nats["authorization"]["allowed_accounts"] = json!(["*"]);
    let told = firm.both(|server| {
        let mut service = firm.service(server);
        let mut told = Vec::new();
        for name in ["other", "good", "nowhere", "inside"] {
            let mut conn = firm.come(server, name);
            firm.answer(&mut service);
            told.push(format!("{name}: {:?}", conn.settle()));
        }
        told
    });
    assert_eq!(told[0], "other: []");
    assert_eq!(told[2], format!("nowhere: {VIOLATION:?}"));
}

/// The sentinel's time is the client's, unless the answer says otherwise.
#[test]
fn rights_that_end() {
    for (sentinel_s, answer_s) in [(3, None), (1000, Some(3))] {
        let firm = Firm::new(None);
        let told = firm.both(|server| {
            let claims = json!({ "exp": now_s() + sentinel_s });
            let ends = firm.auth.user(claims, json!({ "bearer_token": true }));
            let mut service = firm.service(server);
            let mut conn = Conn::open(server);
            conn.begin(json!({ "jwt": ends.token, "user": "good" }));
            let (reply, asked) = firm.house.take(&mut service);
            let end = answer_s.map(|in_s| json!({ "exp": now_s() + in_s }));
            let body = token(&firm.app.key, &asked, end.unwrap_or(json!({})), json!({}));
            firm.house.say(&mut service, &reply, &asked, &firm.house.said(&asked, body));
            let mut told = conn.settle();
            told.extend(conn.rest());
            told
        });
        assert_eq!(told, ["-ERR 'User Authentication Expired'", "(closed)"]);
    }
}

#[test]
fn no_service_lets_nobody_in() {
    let firm = Firm::new(None);
    let told = firm.both(|server| {
        let mut conn = firm.come(server, "good");
        vec![format!("{:?}", conn.rest())]
    });
    assert_eq!(told, [format!("{VIOLATION:?}")]);
}

/// Those of the account who are there already keep what they have: what they listen to, and that they
/// may ask the service. Who comes later may not ask it.
#[test]
fn those_who_are_there_when_an_account_gets_a_service() {
    let firm = Firm::new(None);
    let eve = firm.auth.user(json!({ "name": "eve" }), json!({}));
    let admin = firm.world.system.user(json!({}), json!({}));
    let mut before = Account { key: copy(&firm.auth.key), ..Account::new("AUTH", json!({})) };
    before.nats["signing_keys"] = firm.auth.nats["signing_keys"].clone();
    let told = same_of_each(|program| {
        let mut conf = firm.world.conf(&[&before, &firm.app, &firm.other]);
        conf.push("authorization { timeout: 2 }".to_string());
        let server = super::house::start(program, &conf);
        let mut service = firm.service(&server);
        let mut there = Conn::with(&server, &eve).0;
        there.send("SUB $SYS.REQ.USER.AUTH 1\r\nSUB $SYS.REQ.> q 2\r\n");
        there.settle();
        let mut admin = Conn::with(&server, &admin).0;
        let token = firm.world.token_of(&firm.auth);
        admin.send(&format!(
            "SUB _INBOX.x 1\r\nPUB $SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE _INBOX.x {}\r\n{token}\r\n",
            firm.auth.id(),
            token.len()
        ));
        let mut told = vec![admin.message().contains("jwt updated").to_string()];
        let mut conn = firm.come(&server, "good");
        told.push(described(&firm.answer(&mut service)));
        told.push(format!("{:?}", conn.settle()));
        // It hears of the client, by either subscription.
        told.extend(
            [there.message(), there.message()].map(|text| text.starts_with("eyJ").to_string()),
        );
        there.send("PUB $SYS.REQ.USER.AUTH 5\r\nasked\r\n");
        told.push(format!("there: {:?}", there.settle()));
        told.push(format!("service: {:?}", service.settle()));
        let (mut later, _) = Conn::with(&server, &firm.service);
        later.send("PUB $SYS.REQ.USER.AUTH 5\r\nlater\r\n");
        told.push(format!("later: {:?}", later.settle()));
        told.push(format!("service: {:?}", service.settle()));
        told
    });
    assert_eq!(told[3..5], ["true", "true"], "{told:#?}");
    assert!(!told[5].contains("Permissions Violation"), "{told:#?}");
    assert!(told[7].contains("Permissions Violation"), "{told:#?}");
}

/// What operators and the account's owner see of them.
#[test]
fn events_of_those_whom_a_service_has_let_in() {
    let firm = Firm::new(None);
    let root = firm.world.system.user(json!({}), json!({}));
    firm.both(|server| {
        let mut service = firm.service(server);
        service.send("SUB $SYS.ACCOUNT.CLIENT.AUTH.ERR 2\r\n");
        service.settle();
        let mut watch = Conn::with(server, &root).0;
        watch.send(&format!("SUB $SYS.ACCOUNT.{}.CONNECT 1\r\n", firm.app.id()));
        watch.send(&format!("SUB $SYS.ACCOUNT.{}.DISCONNECT 3\r\n", firm.app.id()));
        watch.send("SUB $SYS.SERVER.*.CLIENT.AUTH.ERR 2\r\n");
        watch.settle();
        let mut told = Vec::new();
        for name in ["good", "nameless", "role", "signed"] {
            let mut conn = firm.come(server, name);
            firm.answer(&mut service);
            told.push(format!("{name}: {:?}", conn.settle()));
            told.push(super::limits::event(&watch.message()));
            drop(conn);
            told.push(super::limits::event(&watch.message()));
        }
        for name in ["bad", "other", "late"] {
            let mut conn = firm.come(server, name);
            match name {
                "late" => drop(firm.house.take(&mut service)),
                _ => drop(firm.answer(&mut service)),
            }
            told.push(format!("{name}: {:?}", conn.rest()));
            told.extend([watch.message(), service.message()].map(|event| turned_away(&event)));
        }
        told
    });
}

/// Of whom, and why. nats-server shows them as the sentinel, whose token is nobody's business.
fn turned_away(event: &str) -> String {
    let all: Value = serde_json::from_str(event).expect("JSON");
    let client = &all["client"];
    let said = ["user", "name", "lang", "kind", "client_type"].map(|key| &client[key]);
    masked(&format!("{} {said:?} {}", all["type"], all["reason"].as_str().unwrap_or_default()))
}
