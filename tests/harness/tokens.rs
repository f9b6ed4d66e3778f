//! An operator with accounts and users, whose tokens are signed here, and connections that show
//! them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use super::server::Server;

/// What those hear who are not let in.
pub const VIOLATION: [&str; 2] = ["-ERR 'Authorization Violation'", "(closed)"];
/// Nothing that is waited for takes longer.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Now, seconds since 1970.
pub fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

/// A signed token. `claims` may set `exp` and the like; `nats` is what its kind says.
pub fn sign(by: &KeyPair, kind: &str, subject: &str, claims: Value, nats: Value) -> String {
    let mut all = json!({ "jti": "x", "iat": now_s(), "iss": by.public_key(), "sub": subject });
    let mut inner = json!({ "type": kind, "version": 2 });
    merge(&mut all, claims);
    merge(&mut inner, nats);
    all["nats"] = inner;
    let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let header = encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let text = format!("{header}.{}", encode(all.to_string().as_bytes()));
    let signature = by.sign(text.as_bytes()).expect("a seed");
    format!("{text}.{}", encode(&signature))
}

/// Takes over what `from` says, object by object.
pub fn merge(into: &mut Value, from: Value) {
    let Value::Object(from) = from else { return };
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(inner @ Value::Object(_)), value @ Value::Object(_)) => merge(inner, value),
            (_, value) => into[key] = value,
        }
    }
}

/// An account: its key, and what its token says.
pub struct Account {
    pub key: KeyPair,
    pub claims: Value,
    pub nats: Value,
}

impl Account {
    pub fn new(name: &str, nats: Value) -> Account {
        let unlimited = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1,
        });
        let mut body = json!({ "limits": unlimited, "default_permissions": {} });
        merge(&mut body, nats);
        Account { key: KeyPair::new_account(), claims: json!({ "name": name }), nats: body }
    }

    pub fn id(&self) -> String {
        self.key.public_key()
    }

    /// A user that this account has signed itself.
    pub fn user(&self, claims: Value, nats: Value) -> User {
        User::signed_by(&self.key, claims, nats)
    }
}

/// A user's key and token.
pub struct User {
    pub key: KeyPair,
    pub token: String,
}

impl User {
    pub fn signed_by(by: &KeyPair, claims: Value, nats: Value) -> User {
        let mut body = json!({ "subs": -1, "data": -1, "payload": -1 });
        merge(&mut body, nats);
        let key = KeyPair::new_user();
        let token = sign(by, "user", &key.public_key(), claims, body);
        User { key, token }
    }

    /// Of a signing key with a role: it says nothing of its own rights.
    pub fn scoped(by: &KeyPair, account: &Account, claims: Value, nats: Value) -> User {
        let mut body = json!({ "issuer_account": account.id() });
        merge(&mut body, nats);
        let key = KeyPair::new_user();
        let token = sign(by, "user", &key.public_key(), claims, body);
        User { key, token }
    }

    /// A file of credentials, as the tools write it.
    pub fn credentials(&self) -> String {
        let seed = self.key.seed().expect("a seed");
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
            self.token
        )
    }
}

/// An operator and its system account.
pub struct World {
    pub operator: KeyPair,
    pub operator_nats: Value,
    pub system: Account,
    /// When the operator's token was made, in Unix seconds: it is the same one in every file.
    made_unix_s: i64,
}

impl World {
    pub fn new() -> World {
        World {
            operator: KeyPair::new_operator(),
            operator_nats: json!({}),
            system: Account::new("SYS", json!({})),
            made_unix_s: now_s(),
        }
    }

    pub fn token_of(&self, account: &Account) -> String {
        let (claims, nats) = (account.claims.clone(), account.nats.clone());
        sign(&self.operator, "account", &account.id(), claims, nats)
    }

    /// The operator, its system account's key, and no resolver yet.
    pub fn head(&self) -> Vec<String> {
        let subject = self.operator.public_key();
        let mut nats = json!({ "system_account": self.system.id() });
        merge(&mut nats, self.operator_nats.clone());
        let claims = json!({ "name": "O", "iat": self.made_unix_s });
        let token = sign(&self.operator, "operator", &subject, claims, nats);
        vec![format!("operator: {token}"), format!("system_account: {}", self.system.id())]
    }

    pub fn preload(&self, accounts: &[&Account]) -> Vec<String> {
        let mut lines = vec!["resolver_preload {".to_string()];
        let all = accounts.iter().copied().chain([&self.system]);
        lines.extend(all.map(|it| format!("  {}: {}", it.id(), self.token_of(it))));
        lines.push("}".to_string());
        lines
    }

    /// Everything for a server that has these accounts in memory.
    pub fn conf(&self, accounts: &[&Account]) -> Vec<String> {
        let mut lines = self.head();
        lines.push("resolver: MEMORY".to_string());
        lines.extend(self.preload(accounts));
        lines
    }
}

/// A connection as a client has it.
pub struct Conn {
    stream: TcpStream,
    pub info: Value,
    read: Vec<u8>,
}

impl Conn {
    /// Dials, and reads INFO.
    pub fn open(server: &Server) -> Conn {
        Conn::greeted(server.dial().expect("a connection"))
    }

    /// As [`Conn::open`], from another address of this machine.
    pub fn open_from(server: &Server, address: [u8; 4]) -> Conn {
        Conn::greeted(server.dial_from(address).expect("a connection"))
    }

    fn greeted(stream: TcpStream) -> Conn {
        stream.set_read_timeout(Some(TIME_MAX)).expect("a timeout");
        let mut conn = Conn { stream, info: Value::Null, read: Vec::new() };
        let line = conn.line().expect("INFO");
        let info = line.strip_prefix("INFO ").expect("INFO");
        conn.info = serde_json::from_str(info).expect("JSON");
        conn
    }

    /// As [`Conn::open`], and shows who it is; see [`Conn::log_in`].
    pub fn with(server: &Server, user: &User) -> (Conn, Vec<String>) {
        let mut conn = Conn::open(server);
        let lines = conn.log_in(user);
        (conn, lines)
    }

    /// The nonce, signed.
    pub fn signature(&self, key: &KeyPair) -> String {
        let nonce = self.info["nonce"].as_str().unwrap_or_default();
        BASE64URL_NOPAD.encode(&key.sign(nonce.as_bytes()).expect("a seed"))
    }

    /// Shows who it is.
    pub fn show(&mut self, user: &User) {
        let sig = self.signature(&user.key);
        self.begin(json!({ "jwt": user.token, "sig": sig }));
    }

    /// Shows who it is; what comes back up to a PONG or the end.
    pub fn log_in(&mut self, user: &User) -> Vec<String> {
        self.show(user);
        self.settle()
    }

    /// CONNECT with these words; what comes back up to a PONG or the end.
    pub fn connect(&mut self, words: Value) -> Vec<String> {
        self.begin(words);
        self.settle()
    }

    /// CONNECT with these words.
    pub fn begin(&mut self, words: Value) {
        let mut all = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "protocol": 0, "name": "test", "lang": "rust", "version": "1",
        });
        merge(&mut all, words);
        self.send(&format!("CONNECT {all}\r\n"));
    }

    pub fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        // Fails if the server has closed: reading tells.
        let _ = self.stream.write_all(bytes);
    }

    /// Something has come, or the server has closed.
    pub fn has_news(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let come = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false).expect("a socket");
        come || !self.read.is_empty()
    }

    /// PING, and what comes up to its PONG or the end.
    pub fn settle(&mut self) -> Vec<String> {
        self.send("PING\r\n");
        self.until("PONG")
    }

    /// What comes up to this line, which is left out, or up to the end.
    pub fn until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line() {
            if line == last {
                return lines;
            }
            match line.as_str() {
                "PING" => self.send("PONG\r\n"),
                _ => lines.push(line),
            }
        }
        lines.push("(closed)".to_string());
        lines
    }

    /// What comes up to the end.
    pub fn rest(&mut self) -> Vec<String> {
        self.until("(nothing is like this)")
    }

    /// The next message: its reply subject, its header and its payload.
    pub fn request(&mut self) -> Option<(String, String, Vec<u8>)> {
        let line = loop {
            match self.line()? {
                line if line.starts_with("MSG ") || line.starts_with("HMSG ") => break line,
                line if line == "PING" => self.send("PONG\r\n"),
                _ => {}
            }
        };
        let words: Vec<&str> = line.split(' ').collect();
        let with_header = words[0] == "HMSG";
        let number = |at: usize| words[words.len() - at].parse::<usize>().expect("a number");
        let (header, all) = (if with_header { number(2) } else { 0 }, number(1));
        let reply = words.len() - if with_header { 2 } else { 1 } > 3;
        let reply = if reply { words[3].to_string() } else { String::new() };
        while self.read.len() < all + 2 {
            self.fill()?;
        }
        let body: Vec<u8> = self.read.drain(..all + 2).collect();
        let text = String::from_utf8_lossy(&body[..header]).into_owned();
        Some((reply, text, body[header..all].to_vec()))
    }

    /// The payload of the next message.
    pub fn message(&mut self) -> String {
        while let Some(line) = self.line() {
            if line.starts_with("MSG ") || line.starts_with("HMSG ") {
                return self.line().unwrap_or_default();
            }
        }
        "(closed)".to_string()
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = self.read.drain(..at + 2).collect::<Vec<u8>>();
                return Some(String::from_utf8_lossy(&line).trim_end().to_string());
            }
            self.fill()?;
        }
    }

    /// None: the server has closed.
    fn fill(&mut self) -> Option<()> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => None,
            Ok(count) => {
                self.read.extend_from_slice(&bytes[..count]);
                Some(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Some(()),
            Err(error) => panic!("nothing came: {error}; unread {:?}", self.read),
        }
    }
}
