//! Who appears in a script that has tokens and keys, and what they show; `tests/README.md`
//! describes it. Keys are made of names, so they are the same in every run; tokens are signed when
//! they are needed.

use data_encoding::BASE64URL_NOPAD;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};

use super::tokens::{Account, World, merge, now_s, sign};

const SYSTEM: &str = "SYS";
const WORDS: [&str; 5] = ["account", "token", "key", "nkey", "user"];

/// Is this line of a script about somebody?
pub fn is_member(line: &str) -> bool {
    WORDS.iter().any(|word| line.strip_prefix(word).is_some_and(|rest| rest.starts_with(' ')))
}

#[derive(Default)]
pub struct Cast {
    members: Vec<Member>,
}

struct Member {
    name: String,
    role: Role,
    /// What its token says, with names in it.
    says: String,
}

enum Role {
    Account,
    /// Another token of an account.
    Token {
        of: String,
    },
    /// An account's signing key.
    Key,
    /// A user's key, without a token.
    Nkey,
    User {
        of: String,
        by: String,
        /// Its rights are those of the signing key.
        scoped: bool,
    },
}

impl Cast {
    /// From the lines of a script that are about somebody.
    pub fn read(lines: &[String]) -> Result<Cast, String> {
        let mut cast = Cast::default();
        if !lines.is_empty() {
            cast.members.push(parse("account SYS")?);
        }
        for line in lines {
            let member = parse(line).map_err(|fault| format!("`{line}`: {fault}"))?;
            cast.members.push(member);
        }
        for member in &cast.members {
            if let Role::Token { of } | Role::User { of, .. } = &member.role {
                cast.find(of).ok_or_else(|| format!("nobody is called `{of}`"))?;
            }
            cast.says(member)?;
        }
        Ok(cast)
    }

    fn find(&self, name: &str) -> Option<&Member> {
        self.members.iter().rev().find(|member| member.name == name)
    }

    fn world(&self) -> World {
        let mut world = World::new();
        world.operator = key(KeyPairType::Operator, "operator");
        world.system.key = key(KeyPairType::Account, SYSTEM);
        world
    }

    /// A script's configuration, with that of its accounts.
    pub fn conf(&self, lines: &[String]) -> Vec<String> {
        let of_conf = |it: &&Member| matches!(it.role, Role::Account) && it.name != SYSTEM;
        let accounts: Vec<Account> =
            self.members.iter().filter(of_conf).map(|it| self.account(it)).collect();
        let mut all = match accounts.is_empty() {
            true => Vec::new(),
            false => self.world().conf(&accounts.iter().collect::<Vec<_>>()),
        };
        let expanded = lines.iter().map(|line| self.expand(line.as_bytes(), ""));
        all.extend(expanded.map(|line| String::from_utf8_lossy(&line).into_owned()));
        all
    }

    /// What its token says, and what of it is under `nats`: names become keys, `"+2"` the time in two
    /// seconds.
    fn says(&self, member: &Member) -> Result<(Value, Value), String> {
        let text = self.expand(member.says.as_bytes(), "");
        let mut says: Value =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", member.name))?;
        in_time(&mut says);
        let nats = says.as_object_mut().and_then(|all| all.remove("nats"));
        Ok((says, nats.unwrap_or_default()))
    }

    fn account(&self, member: &Member) -> Account {
        let name = match &member.role {
            Role::Token { of } => of,
            _ => &member.name,
        };
        let (says, nats) = self.says(member).expect("read before");
        let mut account = Account::new(name, nats);
        account.key = key(KeyPairType::Account, name);
        merge(&mut account.claims, says);
        account
    }

    fn token(&self, member: &Member) -> Option<String> {
        let Role::User { of, by, scoped } = &member.role else {
            let has_token = matches!(member.role, Role::Account | Role::Token { .. });
            return has_token.then(|| self.world().token_of(&self.account(member)));
        };
        let (says, own_nats) = self.says(member).expect("read before");
        let (account, own) = (key(KeyPairType::Account, of), self.id(member));
        let mut nats = match scoped {
            true => json!({}),
            false => json!({ "subs": -1, "data": -1, "payload": -1 }),
        };
        if by != of {
            nats["issuer_account"] = json!(account.public_key());
        }
        merge(&mut nats, own_nats);
        Some(sign(&key(KeyPairType::Account, by), "user", &own, says, nats))
    }

    fn key(&self, member: &Member) -> KeyPair {
        match &member.role {
            Role::Account | Role::Key => key(KeyPairType::Account, &member.name),
            Role::Token { of } => key(KeyPairType::Account, of),
            Role::Nkey | Role::User { .. } => key(KeyPairType::User, &member.name),
        }
    }

    fn id(&self, member: &Member) -> String {
        self.key(member).public_key()
    }

    /// With `<ann>` for her token, `<ann.id>` for her key, `<sig ann>` for her signature of the
    /// nonce, and `<size ann>` for the length of her token.
    pub fn expand(&self, bytes: &[u8], nonce: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            let end = rest[at..].iter().position(|byte| *byte == b'>').map(|len| at + len);
            let inside = end.and_then(|end| std::str::from_utf8(&rest[at + 1..end]).ok());
            let (put, to) = match (inside.and_then(|inside| self.shown(inside, nonce)), end) {
                (Some(text), Some(end)) => (text.into_bytes(), end + 1),
                _ => (vec![b'<'], at + 1),
            };
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(&put);
            rest = &rest[to..];
        }
        out.extend_from_slice(rest);
        out
    }

    fn shown(&self, what: &str, nonce: &str) -> Option<String> {
        if let Some(name) = what.strip_suffix(".id") {
            return self.find(name).map(|member| self.id(member));
        }
        match what.split_once(' ') {
            Some(("sig", name)) => {
                let signature = self.key(self.find(name)?).sign(nonce.as_bytes());
                Some(BASE64URL_NOPAD.encode(&signature.expect("a seed")))
            }
            Some(("size", name)) => {
                self.token(self.find(name)?).map(|token| token.len().to_string())
            }
            _ => self.token(self.find(what)?),
        }
    }
}

/// `user ann of APP by KEY {…}`, and so on.
fn parse(line: &str) -> Result<Member, String> {
    let (head, says) = match line.find('{') {
        Some(at) => (&line[..at], &line[at..]),
        None => (line, "{}"),
    };
    let words: Vec<&str> = head.split_ascii_whitespace().collect();
    let user = |of: &str, by: &str, scoped| Role::User { of: of.into(), by: by.into(), scoped };
    let (name, role) = match words[..] {
        ["account", name] => (name, Role::Account),
        ["token", name, "of", of] => (name, Role::Token { of: of.to_string() }),
        ["key", name] => (name, Role::Key),
        ["nkey", name] => (name, Role::Nkey),
        ["user", name, "of", of] => (name, user(of, of, false)),
        ["user", name, "of", of, "by", by] => (name, user(of, by, false)),
        ["user", name, "of", of, "as", by] => (name, user(of, by, true)),
        _ => return Err("account|token|key|nkey|user NAME [of ACCOUNT] [by|as KEY] {…}".into()),
    };
    Ok(Member { name: name.to_string(), role, says: says.to_string() })
}

fn key(kind: KeyPairType, name: &str) -> KeyPair {
    let mut raw = [0; 32];
    let name = &name.as_bytes()[..name.len().min(32)];
    raw[..name.len()].copy_from_slice(name);
    KeyPair::new_from_raw(kind, raw).expect("32 bytes")
}

/// `"+2"` is in two seconds, `"-2"` was two seconds ago.
fn in_time(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(in_time),
        Value::Object(all) => all.values_mut().for_each(in_time),
        Value::String(text) if text.starts_with(['+', '-']) => {
            if let Ok(seconds) = text.parse::<i64>() {
                *value = json!(now_s() + seconds);
            }
        }
        _ => {}
    }
}

#[test]
fn names_become_keys_tokens_and_signatures() {
    let lines = [
        "account APP {\"nats\":{\"signing_keys\":[\"<SIGN.id>\"]}}",
        "key SIGN",
        "user ann of APP by SIGN {\"name\":\"ann\",\"exp\":\"+60\",\"nats\":{\"subs\":1}}",
    ];
    let cast = Cast::read(&lines.map(str::to_string)).expect("it is read");
    let expand = |text: &str| String::from_utf8(cast.expand(text.as_bytes(), "nonce")).unwrap();
    assert_eq!(expand("a < b <x> <eve>"), "a < b <x> <eve>", "nobody is called so");
    let token = expand("<ann>");
    assert_eq!(expand("<size ann>"), token.len().to_string());
    let says = BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
    let says: Value = serde_json::from_slice(&says).expect("JSON");
    assert_eq!(says["sub"], json!(expand("<ann.id>")));
    assert_eq!(says["iss"], json!(expand("<SIGN.id>")));
    assert_eq!(says["nats"]["issuer_account"], json!(expand("<APP.id>")));
    assert_eq!(says["nats"]["subs"], json!(1));
    assert!(says["exp"].as_i64().is_some_and(|at| at > now_s()), "{says}");
    let signature = BASE64URL_NOPAD.decode(expand("<sig ann>").as_bytes()).expect("base64");
    let ann = KeyPair::from_public_key(&expand("<ann.id>")).expect("a key");
    assert!(ann.verify(b"nonce", &signature).is_ok());
    for wrong in ["user ann of NOBODY", "user", "account APP {", "account APP of X"] {
        assert!(Cast::read(&[wrong.to_string()]).is_err(), "`{wrong}` must be refused");
    }
}
