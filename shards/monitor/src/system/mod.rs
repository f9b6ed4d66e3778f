//! The server's services on `$SYS.…`, and what it tells by itself there. Requests in, messages out.

mod claims;
mod events;
mod options;
mod requests;
mod shapes;

use std::io::Write;

use serde::Serialize;
use shard::report::{Report, Saying, Wanted};

use crate::accountz::{Account, accstatz};
use crate::connz::collide;
use crate::figures::of_account;
use crate::healthz;
use crate::json::{self, Layout};
use crate::query::Query;
use crate::{Endpoint, Monitor, ProcessFigures};

pub use claims::ClaimsAnswer;
use shapes::{Allowed, Fault, Idz, Profilez, Server, Statsz, UserInfo};

/// How an answer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// Nothing was asked for.
    Plain,
    Gzip,
    Snappy,
    /// Something unknown was asked for.
    Identity,
}

/// Something to do before the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Read the configuration anew.
    Reload,
    /// Close this connection.
    Kick(u64),
    /// Tell this connection to go elsewhere.
    LameDuck(u64),
}

#[derive(Clone, Debug)]
enum What {
    Statsz,
    Idz,
    Health(Query),
    Data(Endpoint),
    AccountInfo(String),
    AccountConns(String),
    AccountJsz,
    Profilez(String),
    /// Of the connection with this number.
    UserInfo {
        user: String,
        account: String,
        cid: u64,
    },
    Subscribers(Sought),
    Deed(Deed),
    Wrong(u16, String),
}

/// Subscriptions that are counted.
#[derive(Clone, Debug)]
struct Sought {
    account: String,
    subject: String,
    /// All groups, and none, if empty.
    queue: String,
    /// An account without connections is not answered for.
    connected_only: bool,
}

/// A request that was understood and gets an answer.
#[derive(Clone, Debug)]
pub struct SystemQuestion {
    what: What,
    reply: Vec<u8>,
    encoding: Encoding,
}

impl SystemQuestion {
    /// What each shard must report for it.
    pub fn wanted(&self) -> Wanted {
        let accounts = Wanted { accounts: true, ..Wanted::default() };
        match &self.what {
            What::Data(endpoint) => endpoint.wanted(),
            What::AccountInfo(_) => Wanted { access: true, ..accounts },
            What::Statsz | What::AccountConns(_) => accounts,
            What::Subscribers(_) => Wanted { open: true, subscriptions: true, ..accounts },
            What::UserInfo { cid, .. } | What::Deed(Deed::Kick(cid) | Deed::LameDuck(cid)) => {
                Wanted { open: true, cid: Some(*cid), ..Wanted::default() }
            }
            _ => Wanted::default(),
        }
    }

    /// What has to be done before it is answered.
    pub fn deed(&self) -> Option<Deed> {
        match self.what {
            What::Deed(deed) => Some(deed),
            _ => None,
        }
    }
}

impl Monitor {
    /// The answer, from one report of each shard. `done` is what became of the deed. None if it is
    /// better not to answer.
    pub fn say(
        &mut self,
        question: &SystemQuestion,
        done: Result<(), String>,
        reports: &[Report],
        process: &ProcessFigures,
        now_unix_ns: u64,
    ) -> Option<Saying> {
        let subject = question.reply.clone();
        if let What::Subscribers(sought) = &question.what {
            if sought.connected_only && of_account(reports, &sought.account).connections == 0 {
                return None;
            }
            let count = count_subscribers(reports, sought);
            return Some(Saying::new(subject, count.to_string().into_bytes()));
        }
        if let What::Idz = question.what {
            let site = &self.site;
            let idz = Idz { name: &site.server_name, host: &site.host, id: &site.server_id };
            return Some(Saying::new(subject, json::compact(&idz)));
        }
        if let What::AccountConns(name) = &question.what {
            return self.account_conns(name, subject, reports, now_unix_ns);
        }
        let statsz = matches!(question.what, What::Statsz);
        let key = if statsz { "statsz" } else { "data" };
        // A failure comes with the pointer that nats-server did not fill.
        let null = matches!(question.what, What::AccountInfo(_) | What::AccountJsz | What::Data(_));
        let data = match self.content(&question.what, done, reports, process, now_unix_ns) {
            Ok(Content::Silence) => return None,
            Ok(Content::Nothing) => Ok(None),
            Ok(Content::Json(bytes)) => Ok(Some((key, bytes))),
            Err((code, text)) => Err(Failure { code, text, null }),
        };
        let server = json::compact(&self.server(now_unix_ns));
        let (body, failed) = envelope(&server, data);
        let encoding = if statsz || failed { Encoding::Plain } else { question.encoding };
        Some(pack(subject, body, encoding))
    }

    /// Who speaks. Every message has a number.
    fn server(&mut self, now_unix_ns: u64) -> Server<'_> {
        self.messages += 1;
        Server::new(&self.site, self.messages, now_unix_ns)
    }

    fn content(
        &self,
        what: &What,
        done: Result<(), String>,
        reports: &[Report],
        process: &ProcessFigures,
        now: u64,
    ) -> Result<Content, (u16, String)> {
        let site = &self.site;
        Ok(match what {
            What::AccountJsz => return Err((500, "jetstream not enabled".to_owned())),
            What::Wrong(code, text) => return Err((*code, text.clone())),
            What::Statsz => Content::json(&Statsz::new(site, reports, process)),
            What::Health(options) => Content::Json(healthz::data(options, self.accepting)),
            What::AccountInfo(name) => match Account::named(site, reports, name, now) {
                Some(account) => Content::json(&account),
                None => return Err((500, format!("Account {name} does not exist"))),
            },
            What::Profilez(name) => {
                let error = match name.as_str() {
                    "" => "Profile name not specified".to_owned(),
                    name => format!("Profile {name:?} not found"),
                };
                Content::json(&Profilez { profile: None, error })
            }
            What::UserInfo { user, account, cid } => {
                let mut connections = reports.iter().flat_map(|report| &report.connections);
                let asks = connections.find(|it| it.cid == *cid && it.account == *account);
                let permissions = asks.and_then(|it| it.permissions.as_deref()).map(Allowed::new);
                let account_name = account;
                Content::json(&UserInfo { user, account, account_name, permissions })
            }
            What::Deed(deed) => {
                let (open, missing) = match deed {
                    Deed::Reload => (true, ""),
                    Deed::Kick(cid) => (has(reports, *cid), "no such client or leafnode id"),
                    Deed::LameDuck(cid) => (has(reports, *cid), "no such client id"),
                };
                if !open {
                    return Err((500, missing.to_owned()));
                }
                done.map_err(|text| (500, text))?;
                Content::Nothing
            }
            What::Data(endpoint) => {
                if let Endpoint::Accstatz(query) = endpoint
                    && !query.unused
                    && accstatz(site, query, reports, now).is_empty()
                {
                    return Ok(Content::Silence);
                }
                endpoint.check().map_err(|text| (500, json::text(&text)))?;
                let data = self.data(endpoint, reports, process, now, Layout::Compact);
                Content::Json(data.map_err(|text| (500, text))?)
            }
            What::Idz | What::AccountConns(_) | What::Subscribers(_) => Content::Silence,
        })
    }

    fn account_conns(
        &mut self,
        name: &str,
        subject: Vec<u8>,
        reports: &[Report],
        now_unix_ns: u64,
    ) -> Option<Saying> {
        let figures = of_account(reports, name);
        if figures.connections == 0 {
            return None;
        }
        let typed = self.connections_type(now_unix_ns);
        Some(self.conns(name, subject, typed, &figures, now_unix_ns))
    }
}

enum Content {
    /// No answer.
    Silence,
    /// An answer without data.
    Nothing,
    Json(Vec<u8>),
}

impl Content {
    fn json<T: Serialize>(value: &T) -> Content {
        Content::Json(json::compact(value))
    }
}

type Data = Result<Option<(&'static str, Vec<u8>)>, Failure>;

struct Failure {
    code: u16,
    text: String,
    /// Before it stands `"data":null`.
    null: bool,
}

/// The message, and whether it tells of a failure.
fn envelope(server: &[u8], data: Data) -> (Vec<u8>, bool) {
    let mut body = b"{\"server\":".to_vec();
    body.extend_from_slice(server);
    let (member, failed) = match data {
        Ok(member) => (member, false),
        Err(Failure { code, text, null }) => {
            if null {
                body.extend_from_slice(b",\"data\":null");
            }
            let fault = json::compact(&Fault { code, description: &text });
            (Some(("error", fault)), true)
        }
    };
    if let Some((key, bytes)) = member {
        body.extend_from_slice(format!(",\"{key}\":").as_bytes());
        body.extend_from_slice(&bytes);
    }
    body.push(b'}');
    (body, failed)
}

fn has(reports: &[Report], cid: u64) -> bool {
    let mut connections = reports.iter().flat_map(|report| &report.connections);
    connections.any(|connection| connection.cid == cid && connection.closed.is_none())
}

/// Those of clients that a message on the subject reaches, or that are within a pattern.
fn count_subscribers(reports: &[Report], sought: &Sought) -> usize {
    let Sought { account, subject, queue, .. } = sought;
    let connections = reports.iter().flat_map(|report| &report.connections);
    let all = connections.flat_map(|connection| &connection.subscriptions_list);
    let hit = |found: &&shard::report::Subscription| {
        found.account == *account
            && (queue.is_empty() || found.queue.as_deref() == Some(queue.as_bytes()))
            && collide(&found.subject, subject.as_bytes())
    };
    all.filter(hit).count()
}

fn pack(subject: Vec<u8>, body: Vec<u8>, encoding: Encoding) -> Saying {
    let packed = match encoding {
        Encoding::Plain => return Saying::new(subject, body),
        Encoding::Identity => Some(("identity", body.clone())),
        Encoding::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(&body).and_then(|()| out.finish()).ok().map(|bytes| ("gzip", bytes))
        }
        Encoding::Snappy => {
            let mut out = snap::write::FrameEncoder::new(Vec::new());
            let written = out.write_all(&body);
            written.ok().and_then(|()| out.into_inner().ok()).map(|bytes| ("snappy", bytes))
        }
    };
    // Writing to memory does not fail.
    let Some((name, body)) = packed else { return Saying::new(subject, body) };
    let header = format!("NATS/1.0\r\nContent-Encoding: {name}\r\n\r\n");
    Saying { header: header.into_bytes(), ..Saying::new(subject, body) }
}
