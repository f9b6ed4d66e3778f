//! Accounts' tokens looked up, changed, listed and deleted by messages to the system account.

use claims::{Kind, Known, decode, decode_account, is_public};
use monitor::ClaimsAnswer as Answer;
use shard::report::Request;

use super::desk::{Desk, gather, now_s};
use super::{Deletion, Directory, Place, Resolver};

/// Bytes of one message of a pack, apart from its last token.
const PACK_BYTES: usize = 64 * 1024;

/// What is listened to where tokens are in `place`.
pub fn services(place: &Place) -> Vec<String> {
    let every = ["$SYS.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"];
    let of_directory = [
        "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP",
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.CLAIMS.LIST",
        "$SYS.REQ.CLAIMS.DELETE",
        "$SYS.REQ.CLAIMS.PACK",
    ];
    let more = match place {
        Place::Directory { .. } => &of_directory[..],
        Place::Memory | Place::Url(_) => &[],
    };
    every.iter().chain(more).map(|subject| subject.to_string()).collect()
}

/// Is this one of [`services`]?
pub fn concerns(subject: &[u8]) -> bool {
    let mut tokens = subject.split(|byte| *byte == b'.').skip(1);
    let of_account = match tokens.next() {
        Some(b"ACCOUNT") => true,
        Some(b"REQ") => match tokens.next() {
            Some(b"CLAIMS") => return true,
            next => next == Some(b"ACCOUNT"),
        },
        _ => false,
    };
    // An account may have any name.
    of_account && tokens.nth(1) == Some(b"CLAIMS")
}

impl Desk {
    /// Does what a message asks for; what is to be told of it, in order. Then [`Desk::update`].
    pub fn hear(&mut self, request: &Request) -> Vec<Answer> {
        let subject = String::from_utf8_lossy(&request.subject).into_owned();
        let tokens: Vec<&str> = subject.split('.').collect();
        let payload = String::from_utf8_lossy(&request.payload).into_owned();
        let resolver = self.resolver();
        let directory = match &*resolver {
            Resolver::Directory(directory) => Some(directory),
            Resolver::Memory(_) | Resolver::Url(_) => None,
        };
        match (&tokens[1..], directory) {
            (["ACCOUNT", key, _, "UPDATE"] | ["REQ", "ACCOUNT", key, _, "UPDATE"], None) => {
                vec![self.update_known(key, &payload)]
            }
            (["ACCOUNT", key, ..] | ["REQ", "ACCOUNT", key, _, "UPDATE"], Some(directory)) => {
                vec![self.store(Some(key), &payload, directory)]
            }
            (["REQ", "CLAIMS", "UPDATE"], Some(directory)) => {
                vec![self.store(None, &payload, directory)]
            }
            (["REQ", "ACCOUNT", key, _, "LOOKUP"], Some(directory)) => {
                // Nothing stands for none.
                let token = directory.get(key).ok().flatten().unwrap_or_default();
                vec![Answer::Raw(token.into_bytes())]
            }
            (["REQ", "CLAIMS", "LIST"], Some(directory)) => match directory.list() {
                Ok(accounts) => vec![Answer::List(accounts)],
                Err(error) => {
                    log::error!("list request error: {error}");
                    Vec::new()
                }
            },
            (["REQ", "CLAIMS", "DELETE"], Some(directory)) => {
                vec![self.delete(&payload, directory)]
            }
            (["REQ", "CLAIMS", "PACK"], Some(directory)) => pack(directory, &request.payload),
            _ => Vec::new(),
        }
    }

    /// Where tokens are elsewhere: only what is known already is changed.
    fn update_known(&mut self, key: &str, token: &str) -> Answer {
        const WRONG: &str = "jwt update resulted in error";
        if token.is_empty() {
            return failed(key, "jwt update error", "request body is empty");
        }
        let account = match decode_account(token) {
            Ok(account) => account,
            Err(why) => return failed(key, WRONG, &why.to_string()),
        };
        if account.claims.subject != key {
            return failed(key, WRONG, "subject does not match jwt content");
        }
        if self.roll.find(key).is_none() {
            return done(key, "jwt update skipped");
        }
        match self.take_over(key, token) {
            Ok(()) => done(key, "jwt updated"),
            Err(why) => failed(key, WRONG, &why),
        }
    }

    /// A token for the directory, which may be of an account nobody has asked for yet.
    fn store(&mut self, key: Option<&str>, token: &str, directory: &Directory) -> Answer {
        const WRONG: &str = "jwt update resulted in error";
        let account = match decode_account(token) {
            Ok(account) => account,
            Err(why) => return failed("n/a", WRONG, &why.to_string()),
        };
        let subject = account.claims.subject.clone();
        if let Err(why) = account.check(account.claims.not_before_s) {
            return failed(&subject, "jwt validation failed", &why.to_string());
        }
        if let Some(key) = key.filter(|key| **key != subject) {
            return failed(key, WRONG, "subject does not match jwt content");
        }
        if !self.trust().has(&account.claims.issuer) {
            let why = match self.idle_key() == Some(account.claims.issuer.as_str()) {
                true => "operator requires issuer to be a signing key",
                false => "account validation failed",
            };
            return failed(&subject, WRONG, why);
        }
        if let Err(error) = directory.put(&subject, token) {
            return failed(&subject, WRONG, &error.to_string());
        }
        if self.roll.find(&subject).is_some()
            && let Err(why) = self.take_over(&subject, token)
        {
            log::error!("Update for account {subject:?} resulted in error {why}");
        }
        done(&subject, "jwt updated")
    }

    /// Another token of an account that is known, and the accounts it imports from now.
    fn take_over(&mut self, key: &str, token: &str) -> Result<(), String> {
        let believed = self.trust().account(key, token, now_s());
        let account = believed.map_err(|_| "account validation failed".to_string())?;
        let exporters: Vec<String> =
            account.imports().iter().map(|import| import.account.clone()).collect();
        self.take_in(vec![(account, token.to_string())]);
        for exporter in exporters {
            let known = self.roll.keys();
            if known.contains(&exporter) {
                continue;
            }
            match &*self.resolver() {
                // Nobody is to be kept waiting by a network.
                Resolver::Url(_) => self.want(exporter),
                at_hand => {
                    if let Ok(found) = gather(at_hand, self.trust(), &exporter, &known) {
                        self.take_in(found);
                    }
                }
            }
        }
        Ok(())
    }

    fn delete(&mut self, token: &str, directory: &Directory) -> Answer {
        let (asker, accounts) = match self.may_be_deleted(token, directory) {
            Ok(found) => found,
            Err((asker, why)) => {
                let what = format!("delete accounts request by {asker} failed");
                return failed("", &what, &why);
            }
        };
        let mut faults = Vec::new();
        for account in &accounts {
            match directory.delete(account) {
                Ok(()) => self.roll.take(account),
                Err(error) => faults.push(error.to_string()),
            }
        }
        log::debug!("{} accounts deleted by {asker}", accounts.len() - faults.len());
        let count = accounts.len() - faults.len();
        match faults.is_empty() {
            true => done("", &format!("deleted {count} accounts")),
            false => {
                let what = format!("deleted {count} accounts, failed for {}", faults.len());
                failed("", &what, &faults.join("\n"))
            }
        }
    }

    /// Who asks, and the accounts; or who asks, and what is against it.
    fn may_be_deleted(
        &self,
        token: &str,
        directory: &Directory,
    ) -> Result<(String, Vec<String>), (String, String)> {
        let (claims, nats) = match decode(token) {
            Ok(Known::Generic(claims, nats)) => (claims, nats),
            Ok(_) => return Err((String::new(), "not a generic claim".to_string())),
            Err(why) => return Err((String::new(), why.to_string())),
        };
        let refuse = |why: &str| Err((claims.subject.clone(), why.to_string()));
        if directory.deletion() == Deletion::Refused {
            return refuse("delete must be enabled in server config");
        }
        if claims.subject != claims.issuer {
            return refuse("not self signed");
        }
        if !self.may_delete(&claims.issuer) {
            return refuse("not trusted");
        }
        let Some(list) = nats.get("accounts").and_then(|list| list.as_array()) else {
            return refuse("malformed request");
        };
        let mut accounts = Vec::new();
        for entry in list {
            match entry.as_str() {
                Some(key) if !is_public(Kind::Account, key) => return refuse("malformed request"),
                Some(key) if self.is_system(key) => {
                    return refuse("not allowed to delete system account");
                }
                Some(key) => accounts.push(key.to_string()),
                None => return refuse("malformed request"),
            }
        }
        Ok((claims.subject, accounts))
    }
}

/// Everything there is, if `theirs` is not the same already; then an empty message.
fn pack(directory: &Directory, theirs: &[u8]) -> Vec<Answer> {
    let walk = || -> std::io::Result<Vec<Answer>> {
        if directory.hash()? == theirs {
            return Ok(Vec::new());
        }
        let (mut messages, mut lines) = (Vec::new(), String::new());
        for key in directory.list()? {
            let Some(token) = directory.get(&key)?.filter(|token| !token.is_empty()) else {
                continue;
            };
            let line = format!("{key}|{token}");
            lines = if lines.is_empty() { line } else { lines + "\n" + &line };
            if lines.len() >= PACK_BYTES {
                messages.push(Answer::Raw(std::mem::take(&mut lines).into_bytes()));
            }
        }
        if !lines.is_empty() {
            messages.push(Answer::Raw(lines.into_bytes()));
        }
        Ok(messages)
    };
    match walk() {
        Ok(mut messages) => {
            messages.push(Answer::Raw(Vec::new()));
            messages
        }
        Err(error) => {
            log::error!("Pack request error: {error}");
            Vec::new()
        }
    }
}

fn done(account: &str, message: &str) -> Answer {
    log::debug!("{message} - {account}");
    Answer::Done { account: account.to_string(), message: message.to_string() }
}

fn failed(account: &str, message: &str, why: &str) -> Answer {
    match account.is_empty() {
        true => log::error!("{message} - {why}"),
        false => log::error!("{message} - {account} - {why}"),
    }
    Answer::Failed { account: account.to_string(), description: format!("{message} - {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_tokens_whatever_an_account_is_called() {
        let path = std::path::PathBuf::new();
        let directory = Place::Directory { path, tokens_max: 0, deletion: Deletion::Refused };
        for subject in [services(&directory), services(&Place::Memory)].concat() {
            assert!(concerns(subject.as_bytes()), "{subject}");
        }
        for subject in [
            "$SYS.REQ.ACCOUNT.CLAIMS.CONNZ",
            "$SYS.REQ.ACCOUNT.CLAIMS.INFO",
            "$SYS.REQ.ACCOUNT.NSUBS",
            "$SYS.ACCOUNT.CLAIMS.CONNECT",
            "$SYS.REQ.SERVER.CLAIMS.VARZ",
            "$SYS.REQ",
            "CLAIMS",
        ] {
            assert!(!concerns(subject.as_bytes()), "{subject}");
        }
    }
}
