//! What is told of accounts' tokens that were asked for or changed.

use serde::Serialize;
use shard::report::Saying;

use crate::{Monitor, json};

/// What became of a request about accounts' tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimsAnswer {
    /// As it is.
    Raw(Vec<u8>),
    /// Accounts there are.
    List(Vec<String>),
    /// It was done.
    Done {
        /// Whose token; may be empty.
        account: String,
        /// What.
        message: String,
    },
    /// It was not.
    Failed {
        /// Whose token; may be empty.
        account: String,
        /// Why.
        description: String,
    },
}

#[derive(Serialize)]
struct Status<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    account: &'a str,
    code: u16,
    message: &'a str,
}

#[derive(Serialize)]
struct Wrong<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    account: &'a str,
    code: u16,
    description: &'a str,
}

impl Monitor {
    /// The message to whoever asked.
    pub fn say_of_claims(
        &mut self,
        reply: Vec<u8>,
        answer: ClaimsAnswer,
        now_unix_ns: u64,
    ) -> Saying {
        let server = json::compact(&self.server(now_unix_ns));
        let (key, data) = match answer {
            ClaimsAnswer::Raw(payload) => return Saying::new(reply, payload),
            ClaimsAnswer::List(accounts) => {
                // Here the names are in order.
                let list = json::compact(&accounts);
                let parts = [b"{\"data\":", &list[..], b",\"server\":", &server, b"}"];
                return Saying::new(reply, parts.concat());
            }
            ClaimsAnswer::Done { account, message } => {
                let status = Status { account: &account, code: 200, message: &message };
                ("data", json::compact(&status))
            }
            ClaimsAnswer::Failed { account, description } => {
                let wrong = Wrong { account: &account, code: 500, description: &description };
                ("error", json::compact(&wrong))
            }
        };
        let key = format!(",\"{key}\":");
        let parts = [b"{\"server\":", &server[..], key.as_bytes(), &data, b"}"];
        Saying::new(reply, parts.concat())
    }
}
