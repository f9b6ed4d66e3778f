//! What tokens say in odd ways, and what hostile ones try: nats-server and ringbus let the same
//! people in, and let them do the same.

use data_encoding::{BASE64, BASE64_MIME, BASE64URL_NOPAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

use super::{none, same_of_both, shown};
use crate::harness::server::Server;
use crate::harness::tokens::{Account, Conn, User, World, now_s, sign};

/// What is said of coming in, and of what it may do then.
fn tried(server: &Server, user: &User) -> Vec<String> {
    let (mut conn, mut lines) = Conn::with(server, user);
    if lines.is_empty() {
        lines.push("in".to_string());
        conn.send("SUB x 1\r\nSUB y 2\r\nSUB x q 3\r\nPUB x 0\r\n\r\nPUB y 0\r\n\r\n");
        lines.extend(conn.settle().into_iter().filter(|line| line.starts_with("-ERR")));
    }
    lines
}

/// The same of both servers; those who come in.
fn those_in(conf: &[String], users: &[(&str, User)]) -> Vec<String> {
    let told = same_of_both(conf, |server| {
        users.iter().map(|(what, user)| shown(what, &tried(server, user))).collect()
    });
    let inside = told.iter().filter_map(|line| line.strip_suffix(": in"));
    inside.map(str::to_string).collect()
}

#[test]
fn times_and_names_of_members() {
    let world = World::new();
    let app = Account::new("APP", none());
    let soon = now_s() + 1000;
    let cases = [
        ("begins later", json!({ "nbf": soon })),
        ("begins now", json!({ "nbf": now_s() })),
        ("began before time", json!({ "nbf": -5 })),
        ("never ends", json!({ "exp": 0 })),
        ("never ends, it says", json!({ "exp": null })),
        ("made at no time", json!({ "iat": null })),
        ("made later", json!({ "iat": soon })),
        ("half a second", json!({ "exp": soon as f64 + 0.5 })),
        ("in words", json!({ "exp": "never" })),
        ("ended, in capitals", json!({ "EXP": now_s() - 1000 })),
        ("begins later, in capitals", json!({ "Nbf": soon })),
        ("of another issuer", json!({ "iss": KeyPair::new_account().public_key() })),
    ];
    let users = cases.map(|(what, claims)| (what, app.user(claims, none())));
    let inside = those_in(&world.conf(&[&app]), &users);
    let right = ["begins now", "began before time", "never ends", "never ends, it says"];
    assert_eq!(inside, [&right[..], &["made at no time", "made later"]].concat());
}

#[test]
fn a_time_before_there_was_any_is_over() {
    let world = World::new();
    let mut over = Account::new("OVER", none());
    over.claims["exp"] = json!(-5);
    let app = Account::new("APP", none());
    let users = [app.user(json!({ "exp": -5 }), none()), over.user(none(), none())];
    same_of_both(&world.conf(&[&app, &over]), |server| {
        let ends = |user: &User| {
            let mut conn = Conn::open(server);
            conn.show(user);
            shown("", &conn.rest())
        };
        users.iter().map(ends).collect()
    });
}

#[test]
fn rights_in_odd_words() {
    let world = World::new();
    let app = Account::new("APP", none());
    let all_day = json!([{ "start": "00:00:00", "end": "23:59:59.5" }]);
    let at = |zone: &str| json!({ "times": all_day, "times_location": zone });
    let cases = [
        ("nothing", json!({ "pub": null, "sub": null, "src": null, "times": null, "tags": null })),
        ("nothing but a denied one", json!({ "pub": { "allow": [], "deny": ["y"] } })),
        ("nothing to hear but", json!({ "sub": { "allow": [], "deny": ["y"] } })),
        ("an empty list", json!({ "pub": { "allow": [] } })),
        ("in capitals", json!({ "PUB": { "Allow": ["x"] } })),
        ("through a proxy", json!({ "Proxy_Required": true })),
        ("with a group", json!({ "pub": { "deny": ["x\ty"] } })),
        ("with a line end", json!({ "pub": { "deny": ["x\n"] }, "sub": { "deny": ["y\n"] } })),
        ("no subject", json!({ "pub": { "deny": ["x.>.y"] } })),
        ("answers alone", json!({ "pub": { "deny": ["x"] }, "resp": {} })),
        ("no zone", json!({ "times_location": "Nowhere/Land" })),
        ("a file", json!({ "times_location": "../../etc/passwd" })),
        ("here", at("Local")),
        ("a zone", at("Europe/Berlin")),
        ("nearly a zone", at("europe/berlin")),
        ("no zone in so many words", at("Etc/Unknown")),
        ("no time", json!({ "times": [{ "start": "12:00:00", "end": "12:00:00" }] })),
        ("as one text", json!({ "src": "10.0.0.0/8, 127.0.0.0/8" })),
        ("within what is wider", json!({ "src": ["::ffff:0.0.0.0/90"] })),
        ("the same in other words", json!({ "src": ["::ffff:127.0.0.0/104"] })),
        ("one that is none", json!({ "src": ["127.0.0.0/8", "junk"] })),
        ("one kind misspelt", json!({ "allowed_connection_types": ["STANDRAD"] })),
        ("one of two", json!({ "allowed_connection_types": ["STANDRAD", "standard"] })),
        ("of no version", json!({ "version": 0 })),
        ("of the next", json!({ "version": 3 })),
        ("of another account", json!({ "issuer_account": Account::new("B", none()).id() })),
    ];
    let users = cases.map(|(what, nats)| (what, app.user(none(), nats)));
    let inside = those_in(&world.conf(&[&app]), &users);
    let right = ["nothing", "an empty list", "no subject", "here", "a zone", "as one text"];
    assert_eq!(inside, [&right[..], &["the same in other words", "one of two"]].concat());
}

#[test]
fn accounts_that_say_odd_things() {
    let world = World::new();
    let limits = |limits: Value| json!({ "limits": limits });
    let export = |subject: &str| json!([{ "subject": subject, "type": "stream" }]);
    let mut wild = limits(json!({ "exports": 5, "wildcards": false }));
    wild["exports"] = export("a.>");
    let mut too_many = limits(json!({ "exports": 0 }));
    too_many["exports"] = export("a");
    let defaults = json!({ "pub": { "allow": [], "deny": ["y"] } });
    let cases = [
        ("fewer than none", limits(json!({ "conn": -2 }))),
        ("none at all", limits(json!({ "conn": 0 }))),
        ("in capitals", json!({ "DEFAULT_PERMISSIONS": { "Pub": { "Deny": ["x"] } } })),
        ("fewer imports than none", limits(json!({ "imports": -2 }))),
        ("fewer exports than none", limits(json!({ "exports": -2 }))),
        ("exports", too_many),
        ("wildcards", wild),
        ("nothing by default", json!({ "default_permissions": defaults })),
        ("no rules", json!({ "default_permissions": null, "revocations": null })),
        ("of bytes", limits(json!({ "data": 1 }))),
        ("all made before", json!({ "revocations": { "*": now_s() + 60 } })),
        ("made before long ago", json!({ "revocations": { "*": now_s() - 60 } })),
        ("roles of no account", json!({ "signing_keys": [KeyPair::new_user().public_key()] })),
    ];
    let accounts = cases.map(|(what, nats)| {
        let mut account = Account::new(what, none());
        // Under the names that the case has chosen.
        let rename =
            |all: &mut Value, name: &str| all.as_object_mut().and_then(|it| it.remove(name));
        if nats.get("DEFAULT_PERMISSIONS").is_some() {
            rename(&mut account.nats, "default_permissions");
        }
        crate::harness::tokens::merge(&mut account.nats, nats);
        (what, account)
    });
    let users: Vec<(&str, User)> =
        accounts.iter().map(|(what, account)| (*what, account.user(none(), none()))).collect();
    let all: Vec<&Account> = accounts.iter().map(|(_, account)| account).collect();
    let inside = those_in(&world.conf(&all), &users);
    assert_eq!(inside, ["no rules", "of bytes", "made before long ago"]);
}

/// nats-server says so 20 ms before it closes.
#[test]
fn who_may_subscribe_to_nothing_does_not_stay() {
    let world = World::new();
    let [app, none_at_all] =
        [-1, 0].map(|subs| Account::new("APP", json!({ "limits": { "subs": subs } })));
    let users = [
        app.user(none(), json!({ "subs": 0 })),
        app.user(none(), json!({ "subs": -2 })),
        none_at_all.user(none(), none()),
    ];
    let told = same_of_both(&world.conf(&[&app, &none_at_all]), |server| {
        let ends = |user: &User| {
            let mut conn = Conn::open(server);
            conn.show(user);
            shown("", &conn.rest())
        };
        users.iter().map(ends).collect()
    });
    assert!(told[0].contains("maximum subscriptions exceeded"), "{told:#?}");
}

#[test]
fn roles_and_those_who_want_more() {
    let world = World::new();
    let keys = [KeyPair::new_account(), KeyPair::new_account()];
    let mut app = Account::new("APP", none());
    let templates = [
        json!({ "pub": { "allow": ["{{tag(t)}}.{{tag(t)}}", "{{TAG(t)}}", "{{name()}}"] } }),
        json!({ "pub": { "allow": ["x", "y"], "deny": ["{{name()}}"] } }),
    ];
    let scopes = keys.iter().zip(templates).map(|(key, template)| {
        json!({ "kind": "user_scope", "key": key.public_key(), "role": "r", "template": template })
    });
    app.nats["signing_keys"] = scopes.collect();
    let names = ["x", "x.y", "*", ">", " ", "", "x y", ".x", "x.", "\t", "x\n", "x*", "x\0"];
    let named = |key: &KeyPair, name: &str| {
        User::scoped(key, &app, json!({ "name": name }), json!({ "tags": ["t:z"] }))
    };
    let by_name =
        names.iter().flat_map(|name| keys.each_ref().map(|key| (*name, named(key, name))));
    let says = [
        json!({ "src": [] }),
        json!({ "times": [] }),
        json!({ "pub": { "allow": [] } }),
        json!({ "sub": {}, "resp": null, "subs": 0 }),
        json!({ "resp": {} }),
        json!({ "subs": -1 }),
        json!({ "bearer_token": true }),
        json!({ "times_location": "UTC" }),
    ];
    let more = says.map(|nats| ("more", User::scoped(&keys[1], &app, none(), nats)));
    let users: Vec<(&str, User)> = by_name.chain(more).collect();
    let tags =
        [json!(["t:x", "t:y"]), json!(["t:*"]), json!(["t:"]), json!(["T:x"]), json!(["t:.x"])];
    let tagged = tags.map(|tags| User::scoped(&keys[0], &app, none(), json!({ "tags": tags })));
    let told = same_of_both(&world.conf(&[&app]), |server| {
        let mut told: Vec<String> =
            users.iter().map(|(what, user)| shown(what, &tried(server, user))).collect();
        for user in &tagged {
            let (mut conn, mut lines) = Conn::with(server, user);
            for subject in ["x", "x.x", "x.y", "y.x", "y.y", "q.q"] {
                conn.send(&format!("PUB {subject} 0\r\n\r\n"));
            }
            lines.extend(conn.settle());
            told.push(shown("tags", &lines));
        }
        told
    });
    let of_both = &told[told.len() - tagged.len()];
    assert!(of_both.contains("Publish to \"x.y\"") && !of_both.contains("\"x.x\""), "{of_both}");
}

#[test]
fn signatures_in_other_words_and_of_others() {
    let world = World::new();
    let app = Account::new("APP", none());
    let (user, other) = (app.user(none(), none()), app.user(none(), none()));
    let bearer = app.user(none(), json!({ "bearer_token": true }));
    let told = same_of_both(&world.conf(&[&app]), |server| {
        let mut told = Vec::new();
        let mut show = |what: &str, words: &dyn Fn(&[u8], &str) -> Value| {
            let mut conn = Conn::open(server);
            let nonce = conn.info["nonce"].as_str().unwrap_or_default().to_string();
            let signature = user.key.sign(nonce.as_bytes()).expect("a seed");
            told.push(shown(what, &conn.connect(words(&signature, &nonce))));
        };
        let with = |sig: String| json!({ "jwt": user.token, "sig": sig });
        let plain = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        show("plain", &|it, _| with(plain(it)));
        show("standard", &|it, _| with(BASE64.encode(it)));
        show("in lines", &|it, _| with(BASE64_MIME.encode(it)));
        show("with a blank", &|it, _| with(plain(it) + " "));
        show("longer", &|it, _| with(plain(&[it, b"\0"].concat())));
        show("twice", &|it, _| with(plain(it) + &plain(it)));
        show("nothing", &|_, _| with(plain(&[0; 64])));
        show("of nothing", &|_, _| with(plain(&user.key.sign(b"").expect("a seed"))));
        let end = |end: &str| format!("{}{end}", user.token);
        show("a line", &|it, _| json!({ "jwt": end("\r\n"), "sig": plain(it) }));
        show("a blank", &|it, _| json!({ "jwt": end(" "), "sig": plain(it) }));
        show("one more part", &|it, _| json!({ "jwt": end("."), "sig": plain(it) }));
        show("in capitals", &|it, _| json!({ "JWT": user.token, "Sig": plain(it) }));
        let of_other = other.key.public_key();
        let nkey = |nkey: &str, token: &str, sig: String| json!({ "jwt": token, "nkey": nkey, "sig": sig });
        show("another's key", &|it, _| nkey(&of_other, &user.token, plain(it)));
        show("another's key and name", &|_, nonce| {
            nkey(&of_other, &user.token, plain(&other.key.sign(nonce.as_bytes()).expect("a seed")))
        });
        show("a bearer with a key", &|_, _| nkey(&of_other, &bearer.token, String::new()));
        show("a bearer's password", &|_, _| json!({ "user": "x", "pass": bearer.token }));
        show("a bearer's secret", &|_, _| json!({ "auth_token": bearer.token }));
        let (mut first, mut second) = (Conn::open(server), Conn::open(server));
        let stolen = first.signature(&user.key);
        told.push(shown("stolen", &second.connect(with(stolen.clone()))));
        told.push(shown("own", &first.connect(with(stolen))));
        told
    });
    let inside: Vec<&str> = told.iter().filter_map(|line| line.strip_suffix(": ")).collect();
    let right = ["plain", "standard", "in lines", "a line", "in capitals", "another's key"];
    assert_eq!(inside, [&right[..], &["a bearer with a key", "own"]].concat(), "{told:#?}");
}

#[test]
fn activations_that_others_have_given() {
    let world = World::new();
    let (signing, stranger) = (KeyPair::new_account(), KeyPair::new_account());
    let mut exporter = Account::new("EXP", none());
    exporter.nats["signing_keys"] = json!([signing.public_key()]);
    let (own, other) = (exporter.id(), Account::new("B", none()).id());
    let made = now_s();
    let of = |by: &KeyPair, claims: Value, issuer: &str, importer: &Account| {
        let mut body = json!({ "subject": "t", "kind": "stream" });
        if !issuer.is_empty() {
            body["issuer_account"] = json!(issuer);
        }
        sign(by, "activation", &importer.id(), claims, body)
    };
    type Given<'g> = (&'g str, &'g KeyPair, Value, &'g str);
    let cases: [Given; 11] = [
        ("own", &exporter.key, none(), ""),
        ("by a signing key", &signing, none(), &own),
        ("by a signing key for nobody", &signing, none(), ""),
        ("for another", &exporter.key, none(), &other),
        ("by a stranger", &stranger, none(), &own),
        ("by the operator", &world.operator, none(), &own),
        ("ended", &exporter.key, json!({ "exp": made - 5 }), ""),
        ("before time", &exporter.key, json!({ "exp": -5 }), ""),
        ("not yet", &exporter.key, json!({ "nbf": made + 500 }), ""),
        ("revoked just so", &exporter.key, json!({ "iat": made - 100 }), ""),
        ("made just after", &exporter.key, json!({ "iat": made - 99 }), ""),
    ];
    let importers = cases.map(|(what, by, claims, issuer)| {
        let mut importer = Account::new(what, none());
        let token = of(by, claims, issuer, &importer);
        importer.nats["imports"] =
            json!([{ "subject": "t", "type": "stream", "account": own, "token": token }]);
        (what, importer)
    });
    exporter.nats["exports"] = json!([{
        "subject": "t", "type": "stream", "token_req": true, "revocations": { "*": made - 100 },
    }]);
    let all: Vec<&Account> = importers.iter().map(|(_, it)| it).chain([&exporter]).collect();
    let users = importers.each_ref().map(|(what, importer)| (*what, importer.user(none(), none())));
    let from = exporter.user(none(), none());
    let told = same_of_both(&world.conf(&all), |server| {
        let mut from = Conn::with(server, &from).0;
        let mut told = Vec::new();
        for (what, user) in &users {
            let (mut to, mut lines) = Conn::with(server, user);
            if lines.is_empty() {
                to.send("SUB t 1\r\nSUB last 2\r\n");
                to.settle();
                from.send("PUB t 1\r\nx\r\n");
                from.settle();
                // What comes from elsewhere has come by now.
                to.send("PUB last 4\r\nlast\r\n");
                lines = to.until("last");
            }
            told.push(shown(what, &lines));
        }
        told
    });
    let gets = |line: &&String| line.contains("MSG t");
    let gets: Vec<&str> = told.iter().filter(gets).filter_map(|it| it.split(':').next()).collect();
    assert_eq!(gets, ["own", "by a signing key", "made just after"], "{told:#?}");
}
