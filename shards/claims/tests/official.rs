//! Tokens made by the official libraries (`scripts/claims-vectors`), and what is believed of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use claims::*;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use nkeys::KeyPair;

#[derive(serde::Deserialize)]
struct Vectors {
    keys: BTreeMap<String, Key>,
    tokens: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
struct Key {
    public: String,
    seed: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors.json")).expect("tokens and keys")
}

impl Vectors {
    fn key(&self, name: &str) -> &str {
        &self.keys[name].public
    }

    fn trust(&self) -> Trust {
        let operator = decode_operator(&self.tokens["operator"]).expect("an operator");
        Trust::new(operator.keys())
    }

    fn account(&self, name: &str) -> Result<Account, Fault> {
        self.trust().account(self.key("account"), &self.tokens[name], now(self))
    }

    /// As `user` of `account` in the afternoon, from there, with the nonce signed by the user.
    fn admit(&self, user: &str, account: &str) -> Result<Admitted, Denied> {
        let who = if user == "user_revoked" { "revoked" } else { "user" };
        let signature = self.signed(who);
        self.admit_with(user, account, &|presented| presented.signature = &signature)
    }

    fn signed(&self, who: &str) -> String {
        let pair = KeyPair::from_seed(&self.keys[who].seed).expect("a seed");
        BASE64URL_NOPAD.encode(&pair.sign(NONCE).expect("a signature"))
    }

    fn admit_with<'t>(
        &'t self,
        user: &str,
        account: &str,
        change: &dyn Fn(&mut Presented<'t>),
    ) -> Result<Admitted, Denied> {
        let user = decode_user(&self.tokens[user]).expect("a user");
        let account = decode_account(&self.tokens[account]).expect("an account");
        let mut presented = Presented {
            nonce: NONCE,
            signature: "",
            address: Some(IpAddr::from([192, 0, 2, 9])),
            now_s: now(self),
            local_time: &|_| Some(LocalTime::of_day(15 * 3600)),
        };
        change(&mut presented);
        self.trust().admit(&user, &account, &presented)
    }
}

const NONCE: &[u8] = b"abcdefghijklmno";

/// A minute after the tokens were made.
fn now(vectors: &Vectors) -> i64 {
    decode_operator(&vectors.tokens["operator"]).expect("an operator").claims.issued_at_s + 60
}

#[test]
fn every_token_is_read_and_a_changed_one_is_not() {
    let vectors = vectors();
    for (name, token) in &vectors.tokens {
        assert!(decode(token).is_ok(), "{name}: {:?}", decode(token));
        let at = token.len() / 2;
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert!(decode(&changed).is_err(), "{name}");
    }
}

#[test]
fn what_is_no_token() {
    let vectors = vectors();
    let user = &vectors.tokens["user"];
    for text in ["", ".", "..", "...", "a.b.c", "eyJ.eyJ.eyJ", "é.é.é", &user[..user.len() - 3]]
    {
        assert!(decode(text).is_err(), "{text}");
    }
    assert_eq!(decode(&"x".repeat(TOKEN_BYTES_MAX + 1)), Err(Fault::TooLarge));
    assert_eq!(decode_user(&vectors.tokens["account"]), Err(Fault::Kind("user")));
    let none = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"none"}"#);
    let body = user.split('.').nth(1).expect("three parts");
    assert!(matches!(decode(&format!("{none}.{body}.")), Err(Fault::Header(_))));
}

#[test]
fn operators() {
    let vectors = vectors();
    let operator = decode_operator(&vectors.tokens["operator"]).expect("an operator");
    assert_eq!(operator.keys(), [vectors.key("operator"), vectors.key("operator_signing")]);
    assert_eq!(operator.system_account(), vectors.key("system"));
    assert_eq!(operator.check((2, 15, 1)), Ok(()));
    let strict = decode_operator(&vectors.tokens["operator_strict"]).expect("an operator");
    assert_eq!(strict.keys(), [vectors.key("operator_signing")]);
    let fault = strict.check((2, 15, 1)).expect_err("it wants 2.99.0").to_string();
    assert!(fault.ends_with("expected minor version 99 > server minor version 15"), "{fault}");
    assert_eq!(strict.check((3, 0, 0)), Ok(()));
}

#[test]
fn accounts_are_believed_if_an_operator_signed_them() {
    let vectors = vectors();
    let account = vectors.account("account").expect("a good account");
    assert_eq!(account.claims.name, "APP");
    assert_eq!(account.limits().connections_max, 10);
    assert_eq!(account.limits().payload_max, 1000);
    assert_eq!(account.default_permissions().publish.allowed(), ["default.>"]);
    assert_eq!(account.exports().len(), 2);
    let service = account.exports().iter().find(|e| e.kind == ExportKind::Service).unwrap();
    assert!(service.token_req);
    assert_eq!((service.account_token_position, service.response_threshold), (2, 1_000_000_000));
    assert_eq!(service.latency.as_ref().map(|l| l.sampling), Some(Sampling::Percent(50)));
    let import = account.imports().iter().find(|i| i.kind == ExportKind::Stream).unwrap();
    assert_eq!(import.activation().expect("a token").subject(), "private.>");
    assert_eq!(account.mappings()["foo"][1].weight(), 60);
    assert!(account.external().is_enabled());
    assert!(vectors.account("account_by_signing_key").is_ok());
    for bad in ["account_by_stranger", "account_by_itself", "account_expired"] {
        assert!(vectors.account(bad).is_err(), "{bad}");
    }
    assert_eq!(
        vectors.account("account_bad_exports"),
        Err(Fault::Invalid("export subject \"a.b\" is exported already".to_string()))
    );
    let elsewhere =
        vectors.trust().account(vectors.key("other"), &vectors.tokens["account"], now(&vectors));
    assert!(elsewhere.is_err(), "a token of another account");
}

#[test]
fn users_that_may_connect() {
    let vectors = vectors();
    let plain = vectors.admit("user", "account").expect("a good user");
    assert_eq!(plain.limits.permissions.publish.deny, ["foo.no"]);
    assert_eq!(plain.limits.permissions.subscribe.allowed(), ["bar", "work q"]);
    assert_eq!((plain.limits.subscriptions_max, plain.expiry), (5, None));
    assert!(!plain.limits.default_permissions());
    assert_eq!(vectors.admit("user_by_signing_key", "account"), Ok(plain));
    let bearer = vectors.admit_with("user_bearer", "account", &|p| p.signature = "");
    assert!(bearer.expect("no signature needed").limits.default_permissions());
    let by_day = vectors.admit("user_from_there_by_day", "account").expect("by day");
    assert_eq!(by_day.expiry, Some(Expiry { in_s: 3600 }));
    assert_eq!(by_day.limits.allowed_connection_types, ["STANDARD", "MQTT"]);
}

#[test]
fn a_role_is_filled_in() {
    let vectors = vectors();
    let scoped = vectors.admit("user_scoped", "account").expect("a device");
    let permissions = &scoped.limits.permissions;
    assert_eq!(permissions.publish.allowed(), ["APP.dev7.>", "red.x", "blue.x"]);
    let (user, account) = (vectors.key("user"), vectors.key("account"));
    assert_eq!(permissions.subscribe.allowed(), [format!("to.{user}"), format!("eu.{account}")]);
    assert_eq!(permissions.subscribe.deny, ["secret.>"]);
    assert_eq!(scoped.limits.subscriptions_max, 7);
    assert_eq!(permissions.respond, Some(ResponsePermission { max: 2, ttl: 60_000_000_000 }));
}

#[test]
fn users_that_may_not() {
    let vectors = vectors();
    let cases = [
        ("user_by_stranger", "account", Denied::Issuer),
        ("user_scoped_with_permissions", "account", Denied::Scope),
        ("user_scoped", "account_no_bearer", Denied::Issuer),
        ("user", "account_by_stranger", Denied::Untrusted),
        ("user", "account_by_itself", Denied::Untrusted),
        ("user", "account_expired", Denied::AccountExpired),
        ("user_bearer", "account_no_bearer", Denied::Bearer),
        ("user_revoked", "account", Denied::Revoked),
        ("user", "account_all_revoked", Denied::Revoked),
    ];
    for (user, account, denied) in cases {
        assert_eq!(vectors.admit(user, account), Err(denied), "{user} of {account}");
    }
    for user in ["user_expired", "user_not_yet", "user_bad_subject"] {
        assert!(matches!(vectors.admit(user, "account"), Err(Denied::User(_))), "{user}");
    }
}

#[test]
fn the_nonce_must_be_signed_by_the_user() {
    let vectors = vectors();
    let pair = KeyPair::from_seed(&vectors.keys["user"].seed).expect("a seed");
    let padded = BASE64.encode(&pair.sign(NONCE).expect("a signature"));
    let tried = |signature: &'static str| {
        vectors.admit_with("user", "account", &|presented| presented.signature = signature)
    };
    let leaked: &'static str = Box::leak(padded.into_boxed_str());
    assert!(tried(leaked).is_ok(), "plain base64 is understood too");
    let others: &'static str = Box::leak(vectors.signed("revoked").into_boxed_str());
    for signature in ["", "AAAA", "!", others] {
        assert_eq!(tried(signature), Err(Denied::Signature), "{signature}");
    }
}

#[test]
fn from_where_and_when() {
    let vectors = vectors();
    let signature = vectors.signed("user");
    let tried = |address: Option<[u8; 4]>, hour: Option<u32>| {
        vectors.admit_with("user_from_there_by_day", "account", &|presented| {
            presented.signature = &signature;
            presented.address = address.map(IpAddr::from);
            presented.local_time = match hour {
                Some(12) => {
                    &|zone| (zone == "Europe/Berlin").then_some(LocalTime::of_day(12 * 3600))
                }
                Some(_) => &|_| Some(LocalTime::of_day(20 * 3600)),
                None => &|_| None,
            };
        })
    };
    assert!(tried(Some([192, 0, 2, 1]), Some(12)).is_ok());
    assert_eq!(tried(Some([198, 51, 100, 1]), Some(12)), Err(Denied::Source));
    assert_eq!(tried(None, Some(12)), Err(Denied::Source));
    assert_eq!(tried(Some([192, 0, 2, 1]), Some(20)), Err(Denied::Hours));
    assert_eq!(tried(Some([192, 0, 2, 1]), None), Err(Denied::Hours), "no such zone");
}

#[test]
fn an_authorization_service_is_asked_and_answers() {
    let vectors = vectors();
    let (server, user) = (vectors.key("server"), vectors.key("user"));
    let answer = |token: &str, server: &str, user: &str| {
        read_response(&vectors.tokens[token], server, user, now(&vectors))
    };
    let good = answer("response", server, user).expect("an answer");
    assert_eq!(good.user_token(), Ok(&*vectors.tokens["user"]));
    let no = answer("response_no", server, user).expect("an answer");
    assert!(no.user_token().expect_err("it says no").ends_with("not today"));
    assert!(answer("response", server, vectors.key("revoked")).is_err());
    let other = KeyPair::new_server().public_key();
    assert!(answer("response", &other, user).is_err());
    assert!(answer("user", server, user).is_err());

    let pair = KeyPair::from_seed(&vectors.keys["server"].seed).expect("a seed");
    let asked = Request {
        server_id: ServerId { name: "hub".into(), id: server.to_string(), ..ServerId::default() },
        user_nkey: user.to_string(),
        client_info: ClientInfo { kind: "Client", transport: "nats", ..ClientInfo::default() },
        connect_opts: ConnectOptions { user: "bob".into(), ..ConnectOptions::default() },
        client_tls: None,
    };
    let token = request(&pair, vectors.key("account"), &asked, 1000, 1002).expect("a request");
    let parts: Vec<&str> = token.split('.').collect();
    let signed = &token[..parts[0].len() + 1 + parts[1].len()];
    let signature = BASE64URL_NOPAD.decode(parts[2].as_bytes()).expect("base64url");
    assert!(verify(server, signed.as_bytes(), &signature));
    let body = BASE64URL_NOPAD.decode(parts[1].as_bytes()).expect("base64url");
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["nats"]["connect_opts"]["user"], "bob");
    assert_eq!(body["nats"]["type"], "authorization_request");
    assert_eq!(body["exp"], 1002);
}

#[test]
fn decorations_around_a_token() {
    let text = "-----BEGIN NATS ACCOUNT JWT-----\neyJ0.eyJq.sig\n------END NATS ACCOUNT JWT------\n\n\
                ************** IMPORTANT\n";
    assert_eq!(undecorated(text), "eyJ0.eyJq.sig");
    assert_eq!(undecorated("  eyJ0.eyJq.sig\n"), "eyJ0.eyJq.sig");
}
