//! The server's services on `$SYS.…`, and what it tells by itself there. Requests in, messages out.

mod events;
mod options;
mod shapes;

use std::io::Write;

use serde::Serialize;
use shard::report::{Report, Request, Saying, Wanted};

use crate::accountz::{Account, accstatz};
use crate::connz::collide;
use crate::healthz;
use crate::json::{self, Layout};
use crate::query::Query;
use crate::{Endpoint, Monitor, ProcessFigures};

use options::Options;
use shapes::{AccountConns, Fault, Idz, Profilez, Server, Statsz, UserInfo};

/// What every server is asked by name, and all of them at once.
const SERVER_SERVICES: [&str; 15] = [
    "IDZ",
    "STATSZ",
    "VARZ",
    "SUBSZ",
    "CONNZ",
    "ROUTEZ",
    "GATEWAYZ",
    "LEAFZ",
    "ACCOUNTZ",
    "JSZ",
    "HEALTHZ",
    "PROFILEZ",
    "EXPVARZ",
    "IPQUEUESZ",
    "RAFTZ",
];
/// What is done to a server or to one of its clients.
const DEEDS: [&str; 3] = ["RELOAD", "KICK", "LDM"];
const ACCOUNT_SERVICES: [&str; 7] = ["SUBSZ", "CONNZ", "LEAFZ", "JSZ", "INFO", "STATZ", "CONNS"];

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
    Profilez(String),
    UserInfo { user: String, account: String },
    Subscribers { account: String, subject: String, queue: String },
    Deed(Deed),
    Wrong(String),
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
            What::Statsz | What::AccountInfo(_) | What::AccountConns(_) => accounts,
            What::Subscribers { .. } => Wanted { open: true, subscriptions: true, ..accounts },
            What::Deed(Deed::Kick(cid) | Deed::LameDuck(cid)) => {
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
    /// The subjects whose messages are shown to [`Monitor::hear`], all in the system account.
    pub fn services(&self) -> Vec<String> {
        let id = &self.site.server_id;
        let mut subjects = vec!["$SYS.REQ.SERVER.PING".to_owned()];
        for name in SERVER_SERVICES {
            subjects.push(format!("$SYS.REQ.SERVER.PING.{name}"));
            subjects.push(format!("$SYS.REQ.SERVER.{id}.{name}"));
        }
        subjects.extend(DEEDS.map(|name| format!("$SYS.REQ.SERVER.{id}.{name}")));
        subjects.extend(ACCOUNT_SERVICES.map(|name| format!("$SYS.REQ.ACCOUNT.*.{name}")));
        subjects.extend(
            [
                "$SYS.REQ.ACCOUNT.PING.STATZ",
                "$SYS.REQ.ACCOUNT.NSUBS",
                "$SYS.REQ.USER.*.INFO",
                "$SYS.DEBUG.SUBSCRIBERS",
            ]
            .map(str::to_owned),
        );
        subjects
    }

    /// Looks at a request. None if it gets no answer.
    pub fn hear(&self, request: &Request) -> Option<SystemQuestion> {
        let subject = str::from_utf8(&request.subject).ok()?;
        let mut reply = request.reply.clone();
        let tokens: Vec<&str> = subject.split('.').skip(1).collect();
        let statsz = matches!(tokens[..], ["REQ", "SERVER", "PING"] | [.., "STATSZ"]);
        if reply.is_empty() {
            if !statsz {
                return None;
            }
            reply = format!("$SYS.SERVER.{}.STATSZ", self.site.server_id).into_bytes();
        }
        let what = match self.understand(&tokens, statsz, request) {
            Ok(what) => what?,
            Err(text) => What::Wrong(text),
        };
        Some(SystemQuestion { what, reply, encoding: encoding(&request.header) })
    }

    fn understand(
        &self,
        tokens: &[&str],
        statsz: bool,
        request: &Request,
    ) -> Result<Option<What>, String> {
        if let ["DEBUG", "SUBSCRIBERS"] = tokens {
            return Ok(Some(self.subscribers(&request.payload)));
        }
        if let ["REQ", "USER", account, "INFO"] = tokens {
            return user_info(account, &request.header).map(Some);
        }
        let options = Options::parse(&request.payload)?;
        if let ["REQ", "ACCOUNT", "NSUBS"] = tokens {
            let (account, subject) = (options.text("acc")?, options.text("subject")?);
            let queue = options.text("queue")?;
            return Ok(Some(What::Subscribers { account, subject, queue }));
        }
        if !options.concern(&self.site)? {
            return Ok(None);
        }
        if statsz {
            return Ok(Some(What::Statsz));
        }
        match tokens {
            ["REQ", "SERVER", _, "IDZ"] => Ok(Some(What::Idz)),
            ["REQ", "SERVER", _, "RELOAD"] => Ok(Some(What::Deed(Deed::Reload))),
            ["REQ", "SERVER", _, "KICK"] => {
                Ok(Some(What::Deed(Deed::Kick(options.uint64("cid")?))))
            }
            ["REQ", "SERVER", _, "LDM"] => {
                Ok(Some(What::Deed(Deed::LameDuck(options.uint64("cid")?))))
            }
            ["REQ", "SERVER", _, "PROFILEZ"] => Ok(Some(What::Profilez(options.text("name")?))),
            ["REQ", "SERVER", _, "HEALTHZ"] => Ok(Some(What::Health(health_options(&options)?))),
            ["REQ", "SERVER", _, name] => Ok(options.endpoint(name, None)?.map(What::Data)),
            ["REQ", "ACCOUNT", "PING", "STATZ"] => {
                Ok(options.endpoint("STATZ", None)?.map(What::Data))
            }
            ["REQ", "ACCOUNT", "PING", _] => Ok(None),
            ["REQ", "ACCOUNT", name, "INFO"] => Ok(Some(What::AccountInfo((*name).to_owned()))),
            ["REQ", "ACCOUNT", name, "CONNS"] => Ok(Some(What::AccountConns((*name).to_owned()))),
            ["REQ", "ACCOUNT", _, "JSZ"] => Ok(Some(What::Wrong(String::new()))),
            ["REQ", "ACCOUNT", account, name] => {
                Ok(options.endpoint(name, Some(account))?.map(What::Data))
            }
            _ => Ok(None),
        }
    }

    /// `subject [queue]`, of the system account.
    fn subscribers(&self, body: &[u8]) -> What {
        let text = json::text(body);
        let mut words = text.trim().split(' ').map(str::to_owned);
        What::Subscribers {
            account: self.site.system_account.clone(),
            subject: words.next().unwrap_or_default(),
            queue: words.next().unwrap_or_default(),
        }
    }

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
        if let What::Subscribers { account, subject: pattern, queue } = &question.what {
            let count = count_subscribers(reports, account, pattern, queue);
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
        let data = match self.content(&question.what, done, reports, process, now_unix_ns) {
            Ok(Content::Silence) => return None,
            Ok(Content::Nothing) => Ok(None),
            Ok(Content::Json(bytes)) => Ok(Some((key, bytes))),
            Err(fault) => Err(fault),
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
            What::Wrong(text) if text.is_empty() => {
                return Err((500, "jetstream not enabled".to_owned()));
            }
            What::Wrong(text) => return Err((400, text.clone())),
            What::Statsz => Content::json(&Statsz::new(site, reports, process)),
            What::Health(options) => Content::Json(healthz::data(options, self.accepting)),
            What::AccountInfo(name) => match Account::named(site, reports, name) {
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
            What::UserInfo { user, account } => {
                Content::json(&UserInfo { user, account, account_name: account })
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
            What::Idz | What::AccountConns(_) | What::Subscribers { .. } => Content::Silence,
        })
    }

    fn account_conns(
        &mut self,
        name: &str,
        subject: Vec<u8>,
        reports: &[Report],
        now_unix_ns: u64,
    ) -> Option<Saying> {
        let figures = crate::figures::of_account(reports, name);
        if figures.connections == 0 {
            return None;
        }
        let typed = self.typed("io.nats.server.advisory.v1.account_connections", now_unix_ns);
        let stat = crate::accountz::AccountStat::new(name, &figures);
        let body = AccountConns { typed, server: self.server(now_unix_ns), stat };
        Some(Saying::new(subject, json::compact(&body)))
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

type Data = Result<Option<(&'static str, Vec<u8>)>, (u16, String)>;

/// The message, and whether it tells of a failure.
fn envelope(server: &[u8], data: Data) -> (Vec<u8>, bool) {
    let mut body = b"{\"server\":".to_vec();
    body.extend_from_slice(server);
    let (member, failed) = match data {
        Ok(member) => (member, false),
        Err((code, description)) => {
            let fault = json::compact(&Fault { code, description: &description });
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
fn count_subscribers(reports: &[Report], account: &str, subject: &str, queue: &str) -> usize {
    let connections = reports.iter().flat_map(|report| &report.connections);
    let all = connections.flat_map(|connection| &connection.subscriptions_list);
    let hit = |found: &&shard::report::Subscription| {
        found.account == account
            && (queue.is_empty() || found.queue.as_deref() == Some(queue.as_bytes()))
            && collide(&found.subject, subject.as_bytes())
    };
    all.filter(hit).count()
}

/// What a service import says of who asks.
fn user_info(account: &str, header: &[u8]) -> Result<What, String> {
    let info = field(header, "Nats-Request-Info").ok_or("no request info")?;
    let options = Options::parse(info)?;
    let (user, from) = (options.text("user")?, options.text("acc")?);
    let account = if from.is_empty() { account.to_owned() } else { from };
    Ok(What::UserInfo { user, account })
}

fn health_options(options: &Options) -> Result<Query, String> {
    let mut given = Vec::new();
    for name in ["account", "stream", "consumer"] {
        given.push((name.into(), options.text(name)?.into_bytes()));
    }
    given.push((b"details".to_vec(), options.flag("details")?.to_string().into_bytes()));
    Ok(Query::of(given))
}

/// The value of a header field.
fn field<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let found = line[..at].eq_ignore_ascii_case(name.as_bytes());
        found.then(|| line[at + 1..].trim_ascii())
    })
}

fn encoding(header: &[u8]) -> Encoding {
    let Some(value) = field(header, "Accept-Encoding") else { return Encoding::Plain };
    let value = json::text(value).to_ascii_lowercase();
    match value.as_str() {
        "" => Encoding::Plain,
        it if it.contains("snappy") || it.contains("s2") => Encoding::Snappy,
        it if it.contains("gzip") => Encoding::Gzip,
        _ => Encoding::Identity,
    }
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
