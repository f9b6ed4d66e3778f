//! A configuration with a service, and the service.

use data_encoding::BASE64URL_NOPAD;
use nkeys::{KeyPair, XKey};
use serde_json::{Value, json};

use crate::command::await_that;
use crate::harness::server::{Program, Server, same_of_each};
use crate::harness::tokens::{Conn, merge, now_s, sign};

pub struct House {
    pub issuer: KeyPair,
    pub xkey: Option<XKey>,
    /// Further lines of `auth_callout`.
    pub more: Vec<String>,
}

/// What is said to a request, apart from what makes it an answer to it.
pub struct Said {
    pub by: KeyPair,
    /// For whom, for which server, and until when it counts.
    pub subject: String,
    pub claims: Value,
    pub body: Value,
}

impl House {
    pub fn new() -> House {
        House { issuer: KeyPair::new_account(), xkey: None, more: Vec::new() }
    }

    pub fn sealed() -> House {
        House { xkey: Some(XKey::new()), ..House::new() }
    }

    pub fn conf(&self) -> Vec<String> {
        let sealed = self.xkey.as_ref().map(|key| format!("xkey: {}", key.public_key()));
        let user = |name: &str| format!("{{ user: {name}, password: pw }}");
        let nkey = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        vec![
            "accounts {".to_string(),
            format!("  AUTH {{ users: [{}, {}] }}", user("auth"), user("same")),
            format!("  APP {{ users: [{}, {{ nkey: {nkey} }}] }}", user("known")),
            format!("  OTHER {{ users: [{}] }}", user("elsewhere")),
            format!("  SYS {{ users: [{}] }}", user("sys")),
            "}".to_string(),
            "system_account: SYS".to_string(),
            "authorization {".to_string(),
            "  timeout: 1".to_string(),
            format!(
                "  auth_callout {{ issuer: {}, account: AUTH, auth_users: [auth, sys], {} {} }}",
                self.issuer.public_key(),
                sealed.unwrap_or_default(),
                self.more.join(" ")
            ),
            "}".to_string(),
        ]
    }

    /// Somebody who listens to what the server asks.
    pub fn service(&self, server: &Server) -> Conn {
        let mut service = Conn::open(server);
        assert_eq!(service.connect(json!({ "user": "auth", "pass": "pw" })), [""; 0]);
        service.send("SUB $SYS.REQ.USER.AUTH 1\r\n");
        service.settle();
        service
    }

    /// Takes in one request: where its answer goes, and what it asks.
    pub fn take(&self, service: &mut Conn) -> (String, Value) {
        let (reply, header, mut payload) = service.request().expect("a request");
        if let Some(key) = &self.xkey {
            let server = header.lines().find_map(|line| line.strip_prefix("Nats-Server-Xkey: "));
            let server = XKey::from_public_key(server.expect("a header")).expect("a key");
            payload = key.open(&payload, &server).expect("it is sealed");
        }
        let text = String::from_utf8(payload).expect("a token");
        let claims = text.split('.').nth(1).expect("claims");
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).expect("base64");
        (reply, serde_json::from_slice(&claims).expect("JSON"))
    }

    /// What is to be said to what was asked, as it should be.
    pub fn said(&self, asked: &Value, body: Value) -> Said {
        let server = asked["nats"]["server_id"]["id"].clone();
        Said {
            by: KeyPair::from_seed(&self.issuer.seed().expect("a seed")).expect("a seed"),
            subject: user_key(asked),
            claims: json!({ "aud": server }),
            body,
        }
    }

    /// Says it.
    pub fn say(&self, service: &mut Conn, reply: &str, asked: &Value, said: &Said) {
        let Said { by, subject, claims, body } = said;
        let token = sign(by, "authorization_response", subject, claims.clone(), body.clone());
        let mut bytes = token.into_bytes();
        if let (Some(key), Some(server)) = (&self.xkey, asked["nats"]["server_id"]["xkey"].as_str())
        {
            let server = XKey::from_public_key(server).expect("a key");
            bytes = key.seal(&bytes, &server).expect("it can be sealed");
        }
        say_plainly(service, reply, &bytes);
    }

    /// Answers one request as the name of its user says, and gives what was asked.
    pub fn answer(&self, service: &mut Conn) -> Value {
        let (reply, asked) = self.take(service);
        let name = asked["nats"]["connect_opts"]["user"].as_str().unwrap_or("good");
        let mut said = self.said(&asked, self.decide(name, &user_key(&asked)));
        match name {
            "empty" => say_plainly(service, &reply, b""),
            "text" => say_plainly(service, &reply, b"yes"),
            "stranger" => {
                said.by = KeyPair::new_account();
                self.say(service, &reply, &asked, &said);
            }
            _ => self.say(service, &reply, &asked, &said),
        }
        asked
    }

    /// A body that lets somebody in.
    pub fn user(&self, key: &str, account: &str, nats: Value) -> Value {
        self.user_with(key, json!({ "aud": account, "name": "named" }), nats)
    }

    pub fn user_with(&self, key: &str, claims: Value, nats: Value) -> Value {
        let mut body = json!({ "subs": -1, "data": -1, "payload": -1 });
        merge(&mut body, nats);
        json!({ "jwt": sign(&self.issuer, "user", key, claims, body) })
    }

    /// What is said of each client, by its name.
    fn decide(&self, name: &str, key: &str) -> Value {
        match name {
            "limited" => self.user(key, "APP", json!({ "pub": { "allow": ["a"] } })),
            "inside" => self.user(key, "AUTH", json!({})),
            "nameless" => self.user_with(key, json!({ "aud": "APP" }), json!({})),
            "lost" => self.user(key, "NOWHERE", json!({})),
            "other" => self.user(&KeyPair::new_user().public_key(), "APP", json!({})),
            "bad" => json!({ "error": "not today" }),
            _ => self.user(key, "APP", json!({})),
        }
    }
}

fn say_plainly(service: &mut Conn, reply: &str, bytes: &[u8]) {
    service.send_bytes(format!("PUB {reply} {}\r\n", bytes.len()).as_bytes());
    service.send_bytes(bytes);
    service.send_bytes(b"\r\n");
}

/// The key that was made for a request.
pub fn user_key(asked: &Value) -> String {
    asked["nats"]["user_nkey"].as_str().expect("a key").to_string()
}

/// What was asked, without what differs from time to time and from server to server.
pub fn described(asked: &Value) -> String {
    let mut all = asked.clone();
    let server = all["iss"].take();
    assert_eq!(server, all["nats"]["server_id"]["id"].take(), "{asked}");
    for key in ["jti", "sub"] {
        assert!(all[key].take().is_string(), "{asked}");
    }
    let (now, end) = (all["iat"].take(), all["exp"].take());
    let (now, end) = (now.as_i64().expect("a time"), end.as_i64().expect("a time"));
    assert!((now_s() - 60..=now_s()).contains(&now) && (now..=now + 2).contains(&end), "{asked}");
    all["nats"]["user_nkey"].take();
    all["nats"]["client_info"]["id"].take();
    let server = &mut all["nats"]["server_id"];
    for key in
        ["name", "xkey"].into_iter().filter(|key| !server[*key].is_null()).collect::<Vec<_>>()
    {
        server[key] = json!("<some>");
    }
    all.to_string()
}

pub fn start(program: &Program, conf: &[String]) -> Server {
    Server::with_conf(program, conf, 3)
}

/// What both servers do; it is the same.
pub fn both(house: &House, work: impl Fn(&mut Server) -> Vec<String>) -> Vec<String> {
    same_of_each(|program| work(&mut start(program, &house.conf())))
}

/// What it has logged with this level, once there is so much, without the time and the connection.
pub fn logged(server: &mut Server, level: &str, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    await_that(&format!("{count} lines of {level}"), || {
        let text = server.log_text();
        let of_level = text.lines().filter_map(|line| line.split_once(level));
        let words = of_level.map(|(_, rest)| rest.trim().to_string());
        lines = words.filter(|rest| !rest.contains("laintext passwords")).collect();
        lines.len() >= count
    });
    lines
}

/// Which of these a text has in it, if any.
pub fn holds(text: &str, secrets: &[&str]) -> Option<String> {
    secrets.iter().find(|secret| text.contains(**secret)).map(|secret| secret.to_string())
}
