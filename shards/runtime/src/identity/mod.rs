//! Operators, accounts and users that prove who they are with tokens: where the tokens are, and
//! whom to believe.

pub(crate) mod aside;
pub(crate) mod callout;
pub(crate) mod claims_update;
mod delegated;
pub(crate) mod desk;
mod directory;
mod resolver;
mod rights;
mod roll;
mod seats;
#[cfg(test)]
mod strangers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use claims::{Operator, Trust, Version, decode_user, undecorated};

use crate::words::Cause;

pub use claims::{Kind, decode_account, decode_operator, is_public};
pub use directory::{Deletion, Directory};
pub use resolver::{FETCH_TIMEOUT, Resolver, Url};

/// What an operator's configuration says of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Operators' tokens.
    pub operators: Vec<String>,
    /// Operators' public keys, without tokens.
    pub trusted_keys: Vec<String>,
    /// Where accounts' tokens are.
    pub place: Option<Place>,
    /// Accounts' tokens by their keys.
    pub preload: BTreeMap<String, String>,
    /// If not empty: no other accounts than these.
    pub pinned: BTreeSet<String>,
    /// The token of clients that show none.
    pub sentinel: Option<String>,
    /// The system account's key, if the configuration names one.
    pub system_account: Option<String>,
    /// What the rest of the configuration has.
    pub beside: Beside,
}

/// What does not go together with operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Accounts.
    pub accounts: bool,
    /// Users.
    pub users: bool,
    /// Somebody that clients are who say nothing of themselves.
    pub nobody: bool,
    /// A service that lets clients in.
    pub callout: bool,
}

/// Where accounts' tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the configuration alone.
    Memory,
    /// Behind a URL.
    Url(String),
    /// In a directory.
    Directory {
        /// Where.
        path: PathBuf,
        /// Most tokens kept; 0 is no limit.
        tokens_max: usize,
        /// What becomes of deleted ones.
        deletion: Deletion,
    },
}

/// What was understood and can be believed.
#[derive(Debug)]
pub struct Believed {
    /// Whose signatures count.
    pub trust: Trust,
    /// The system account's key; may be empty.
    pub system_account: String,
    /// Where accounts' tokens are.
    pub place: Place,
    /// Who may delete tokens: keys of the first operator.
    pub first_operator: BTreeSet<String>,
    /// Its own key, if it must not sign accounts with it.
    pub idle_key: Option<String>,
}

impl Words {
    /// Is there anything about tokens at all?
    pub fn is_empty(&self) -> bool {
        self.operators.is_empty() && self.trusted_keys.is_empty()
    }

    /// Reads the operators' tokens and looks whether all of it goes together.
    ///
    /// # Errors
    /// One line.
    pub fn understood(&self, server: Version) -> Result<Believed, String> {
        let operators = self.read_operators()?;
        self.check_together(&operators)?;
        for operator in &operators {
            operator.check(server).map_err(|fault| fault.to_string())?;
        }
        self.believed()
    }

    fn read_operators(&self) -> Result<Vec<Operator>, String> {
        self.operators.iter().map(|word| read_operator(word)).collect()
    }

    /// Who is to be believed, whatever else is said.
    ///
    /// # Errors
    /// One line.
    pub fn believed(&self) -> Result<Believed, String> {
        let operators = self.read_operators()?;
        let keys: Vec<String> = match operators.is_empty() {
            true => self.trusted_keys.clone(),
            false => operators.iter().flat_map(Operator::keys).collect(),
        };
        if let Some(key) = keys.iter().find(|key| !is_public(Kind::Operator, key)) {
            return Err(format!(
                "trusted Keys {key:?} are required to be a valid public operator nkey"
            ));
        }
        if let Some(key) = self.pinned.iter().find(|key| !is_public(Kind::Account, key)) {
            return Err(format!("pinned account key {key:?} is not a valid public account nkey"));
        }
        let strict = operators.iter().flat_map(Operator::strict_keys).map(str::to_string);
        Ok(Believed {
            trust: Trust::new(keys).strict(strict),
            system_account: self.system_account(&operators)?,
            place: self.place(&operators).unwrap_or(Place::Memory),
            first_operator: operators.first().map(Operator::keys).into_iter().flatten().collect(),
            idle_key: operators
                .first()
                .map(|first| first.claims.subject.clone())
                .filter(|own| !operators[0].keys().contains(own)),
        })
    }

    fn check_together(&self, operators: &[Operator]) -> Result<(), String> {
        if operators.is_empty() {
            return match self.sentinel {
                Some(_) => Err("default sentinel requires operators and accounts".to_string()),
                None => Ok(()),
            };
        }
        if let Some(sentinel) = &self.sentinel {
            check_sentinel(sentinel)?;
        }
        if self.place(operators).is_none() {
            return Err("operators require an account resolver to be configured".to_string());
        }
        if self.beside.accounts {
            return Err("operators do not allow Accounts to be configured directly".to_string());
        }
        if self.beside.users {
            return Err("operators do not allow users to be configured directly".to_string());
        }
        if !self.trusted_keys.is_empty() {
            return Err("conflicting options for 'TrustedKeys' and 'TrustedOperators'".to_string());
        }
        if self.beside.callout {
            return Err("operators do not allow authorization callouts to be configured directly"
                .to_string());
        }
        if self.beside.nobody {
            return Err("no_auth_user not compatible with Trusted Operator".to_string());
        }
        Ok(())
    }

    /// What the configuration says, or else the only operator.
    fn place(&self, operators: &[Operator]) -> Option<Place> {
        let of_operator = || match operators {
            [one] if !one.account_server().is_empty() => {
                Some(Place::Url(format!("{}/accounts", one.account_server())))
            }
            _ => None,
        };
        self.place.clone().or_else(of_operator)
    }

    fn system_account(&self, operators: &[Operator]) -> Result<String, String> {
        let said = operators.iter().map(Operator::system_account).filter(|key| !key.is_empty());
        let said: Vec<&str> = said.collect();
        match &self.system_account {
            Some(key) if said.is_empty() || said.contains(&key.as_str()) => Ok(key.clone()),
            Some(_) => {
                Err("system_account in config and operator JWT must be identical".to_string())
            }
            None => {
                let first = operators.first().map(Operator::system_account).unwrap_or_default();
                match (first, self.place(operators)) {
                    ("", Some(Place::Directory { .. })) => {
                        Err("using nats based account resolver - the system account needs to be \
                         specified in configuration or the operator jwt"
                            .to_string())
                    }
                    _ => Ok(first.to_string()),
                }
            }
        }
    }

    /// Opens the place tokens are in, with what is preloaded put there.
    ///
    /// # Errors
    /// One line: it can't be opened or reached.
    pub fn resolver(&self, place: &Place) -> Result<Resolver, String> {
        match place {
            Place::Memory => Ok(Resolver::Memory(self.preload.clone())),
            Place::Url(_) if !self.preload.is_empty() => {
                Err("resolver preloads only available for writeable resolver types \
                     MEM/DIR/CACHE_DIR"
                    .to_string())
            }
            Place::Url(base) => {
                let url = Url::new(base, FETCH_TIMEOUT);
                url.probe()?;
                Ok(Resolver::Url(url))
            }
            Place::Directory { path, tokens_max, deletion } => {
                let bound = if *tokens_max == 0 { usize::MAX } else { *tokens_max };
                self.fill(Directory::open(path, bound, *deletion))
                    .map(Resolver::Directory)
                    .map_err(|error| format!("{}: {error}", path.display()))
            }
        }
    }

    /// As [`Words::resolver`], of a server that runs.
    ///
    /// # Errors
    /// One line: it can't be opened.
    pub fn resolver_again(&self, place: &Place) -> Result<Resolver, String> {
        match place {
            Place::Url(base) if self.preload.is_empty() => {
                Ok(Resolver::Url(Url::new(base, FETCH_TIMEOUT)))
            }
            _ => self.resolver(place),
        }
    }

    /// The newer token counts, of the directory's and the file's.
    fn fill(&self, opened: std::io::Result<Directory>) -> std::io::Result<Directory> {
        let directory = opened?;
        let made_at = |token: &str| decode_account(token).map(|it| it.claims.issued_at_s).ok();
        for (account, token) in &self.preload {
            let there = directory.get(account)?;
            if there.is_none_or(|there| made_at(&there) < made_at(token)) {
                directory.put(account, token)?;
            }
        }
        Ok(directory)
    }
}

/// The operator's token that an operator wrote down inline, or the file it is in.
///
/// # Errors
/// One line: the file can't be read, or has no operator's token.
pub fn operator_token(word: &str) -> Result<String, String> {
    let text = match std::fs::read_to_string(Path::new(word)) {
        Ok(text) => text,
        Err(_) if word.starts_with("eyJ") => word.to_string(),
        Err(error) => {
            let cause = Cause(&error);
            return Err(format!("error parsing operator JWT: open {word}: {cause}"));
        }
    };
    let token = undecorated(&text);
    read_operator(token).map(|_| token.to_string())
}

fn read_operator(token: &str) -> Result<Operator, String> {
    decode_operator(token).map_err(|why| format!("error parsing operator JWT: {why}"))
}

/// It is checked again when somebody connects with it; the account is not known yet.
fn check_sentinel(token: &str) -> Result<(), String> {
    let user = decode_user(token).map_err(|_| "default sentinel JWT not valid".to_string())?;
    let scoped = !user.issuer_account().is_empty() && *user.limits() == Default::default();
    match user.limits().bearer_token || scoped {
        true => Ok(()),
        false => Err("default sentinel must be a bearer token".to_string()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const VERSION: Version = (2, 15, 1);

    pub(crate) fn token(name: &str) -> String {
        let vectors = include_str!("../../../claims/tests/vectors.json");
        let text = vectors.split(&format!("\"{name}\": \"")).nth(1).expect(name);
        text.split('"').next().expect("a token").to_string()
    }

    pub(crate) fn words() -> Words {
        Words { operators: vec![token("operator")], place: Some(Place::Memory), ..Words::default() }
    }

    #[test]
    fn what_goes_together() {
        let believed = words().understood(VERSION).expect("all is well");
        assert!(believed.system_account.starts_with('A'));
        assert_eq!(believed.first_operator.len(), 2);
        let same = Words { system_account: Some(believed.system_account), ..words() };
        assert!(same.understood(VERSION).is_ok());
        let alone = Words { operators: Vec::new(), ..words() };
        assert_eq!(alone.understood(VERSION).expect("nobody to believe").trust, Trust::default());
    }

    #[test]
    fn what_does_not() {
        let key = nkeys::KeyPair::new_operator().public_key();
        let other = nkeys::KeyPair::new_account().public_key();
        let cases = [
            (Words { place: None, ..words() }, "operators require an account resolver"),
            (Words { trusted_keys: vec![key], ..words() }, "conflicting options for 'TrustedKeys'"),
            (Words { system_account: Some(other), ..words() }, "must be identical"),
            (Words { operators: vec![token("operator_strict")], ..words() }, "minor version 99"),
            (Words { operators: vec![token("account")], ..words() }, "not operator claim"),
            (Words { sentinel: Some(token("user")), ..words() }, "must be a bearer token"),
            (Words { sentinel: Some("x".into()), ..words() }, "default sentinel JWT not valid"),
            (Words { pinned: BTreeSet::from(["x".into()]), ..words() }, "pinned account key \"x\""),
            (
                Words { operators: vec![], trusted_keys: vec!["x".into()], ..words() },
                "trusted Keys \"x\"",
            ),
        ];
        for (words, expected) in cases {
            let why = words.understood(VERSION).expect_err(expected);
            assert!(why.contains(expected), "{why}");
        }
        let why = operator_token("/no/such").expect_err("no such file");
        assert!(why.contains("open /no/such"), "{why}");
        let fine = Words { sentinel: Some(token("user_bearer")), ..words() };
        assert!(fine.understood(VERSION).is_ok());
    }
}
