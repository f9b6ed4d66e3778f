//! /connz: the connections of the server, open and closed.

use std::cmp::Reverse;

use serde::Serialize;
use shard::report::{Connection, Report, Wanted};
use shard::{AccountId, Nanos};

use crate::accountz::names;
use crate::duration::{go_duration, rfc3339_nano, uptime};
use crate::figures::sum;
use crate::http::Response;
use crate::json;
use crate::page::{at_least_0, at_least_1_or, page};
use crate::query::{Query, Subscriptions};
use crate::site::Site;
use crate::subsz::{SubDetail, or_name};

/// Connections listed unless asked otherwise.
const LIMIT: usize = 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Open,
    Closed,
    Any,
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnzQuery {
    pub sort: Vec<u8>,
    pub auth: bool,
    pub subscriptions: Subscriptions,
    pub offset: usize,
    pub limit: usize,
    /// 0 is any.
    pub cid: u64,
    pub state: State,
    pub user: String,
    pub account: String,
    pub mqtt_client: String,
    /// Only those that have a subscription in common with this one; empty is any. Can't be asked
    /// for over HTTP.
    pub filter: String,
}

impl ConnzQuery {
    /// Whatever is wrong first is what is said; [`ConnzQuery::check`] is separate because a request
    /// that gets here counts.
    pub(crate) fn parse(query: &Query) -> Result<ConnzQuery, Response> {
        let auth = query.boolean("auth")?;
        let subscriptions = query.subscriptions()?;
        let page = (query.int("offset")?, query.int("limit")?);
        let parsed = ConnzQuery {
            sort: query.value("sort").to_vec(),
            auth,
            subscriptions,
            cid: query.uint64("cid")?,
            state: state(query)?,
            user: query.text("user"),
            account: query.text("acc"),
            mqtt_client: query.text("mqtt_client"),
            ..ConnzQuery::default()
        };
        Ok(parsed.paged(page))
    }

    /// With an offset and a limit; a connection id is a limit of 1.
    pub(crate) fn paged(mut self, page: (i64, i64)) -> ConnzQuery {
        self.offset = at_least_0(page.0);
        self.limit = if self.cid > 0 { 1 } else { at_least_1_or(page.1, LIMIT) };
        self
    }

    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), Vec<u8>> {
        let Some(order) = Order::named(&self.sort) else {
            let mut text = b"invalid sorting option: ".to_vec();
            text.extend_from_slice(&self.sort);
            return Err(text);
        };
        match order {
            Order::Stop | Order::Reason if self.state != State::Closed => {
                let name = if order == Order::Stop { "stop" } else { "reason" };
                let text = format!("sort by {name} only valid on closed connections");
                Err(text.into_bytes())
            }
            _ if self.filters() && self.account.is_empty() => {
                Err(b"filter by subject only valid with account filtering".to_vec())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn wanted(&self) -> Wanted {
        let (open, closed) = (self.has_open(), self.has_closed());
        let shown = self.subscriptions != Subscriptions::Hidden || self.filters();
        let accounts = !self.account.is_empty();
        // How many closed ones an account has is only known from all of them.
        let cid = (self.cid > 0 && (open || closed) && !accounts).then_some(self.cid);
        Wanted {
            open,
            closed,
            subscriptions: shown && (open || closed),
            cid,
            accounts,
            ..Wanted::default()
        }
    }

    fn collides(&self, subject: &[u8]) -> bool {
        collide(self.filter.as_bytes(), subject)
    }

    fn filters(&self) -> bool {
        !self.filter.is_empty() && self.filter != ">"
    }

    fn has_open(&self) -> bool {
        self.state != State::Closed
    }

    /// A closed connection has no account when it was of the global one, so an account filter, even
    /// for the global one, leaves none.
    fn has_closed(&self) -> bool {
        self.state != State::Open && self.account != AccountId::GLOBAL_NAME
    }

    /// Whether the state and account filters leave it.
    fn keeps(&self, connection: &Connection) -> bool {
        let state = if connection.closed.is_some() { self.has_closed() } else { self.has_open() };
        state && (self.account.is_empty() || self.account == connection.account)
    }

    fn takes(&self, connection: &Connection) -> bool {
        let filter = self.filters() && connection.closed.is_none();
        self.keeps(connection)
            && (self.cid == 0 || connection.cid == self.cid)
            && (!filter
                || connection.subscriptions_list.iter().any(|it| self.collides(&it.subject)))
            && (self.user.is_empty() || connection.authorized_user == self.user)
            && self.mqtt_client.is_empty()
    }
}

/// Is there a subject that both patterns match?
pub(crate) fn collide(a: &[u8], b: &[u8]) -> bool {
    let (mut a, mut b) = (a.split(|byte| *byte == b'.'), b.split(|byte| *byte == b'.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(b">"), Some(_)) | (Some(_), Some(b">")) => return true,
            (Some(one), Some(other)) if one == other || one == b"*" || other == b"*" => {}
            _ => return false,
        }
    }
}

fn state(query: &Query) -> Result<State, Response> {
    let name = query.value("state");
    match name.to_ascii_lowercase().as_slice() {
        b"" | b"open" => Ok(State::Open),
        b"closed" => Ok(State::Closed),
        b"any" | b"all" => Ok(State::Any),
        _ => {
            let mut text = b"Error decoding state for ".to_vec();
            text.extend_from_slice(name);
            Err(Response::bad_request(text))
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Cid,
    Subscriptions,
    Pending,
    MsgsTo,
    MsgsFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    Stop,
    Reason,
    Rtt,
}

impl Order {
    fn named(name: &[u8]) -> Option<Order> {
        Some(match name {
            b"" | b"cid" | b"start" => Order::Cid,
            b"subs" => Order::Subscriptions,
            b"pending" => Order::Pending,
            b"msgs_to" => Order::MsgsTo,
            b"msgs_from" => Order::MsgsFrom,
            b"bytes_to" => Order::BytesTo,
            b"bytes_from" => Order::BytesFrom,
            b"last" => Order::Last,
            b"idle" => Order::Idle,
            b"uptime" => Order::Uptime,
            b"stop" => Order::Stop,
            b"reason" => Order::Reason,
            b"rtt" => Order::Rtt,
            _ => return None,
        })
    }

    /// Most first, but for uptime and reason. Ties are in the order of ids.
    fn apply(self, list: &mut [&Connection], now: Nanos) {
        list.sort_by_key(|it| it.cid);
        match self {
            Order::Cid => {}
            Order::Subscriptions => list.sort_by_key(|it| Reverse(it.subscriptions)),
            Order::Pending => list.sort_by_key(|it| Reverse(it.pending_bytes)),
            Order::MsgsTo => list.sort_by_key(|it| Reverse(it.out_msgs)),
            Order::MsgsFrom => list.sort_by_key(|it| Reverse(it.in_msgs)),
            Order::BytesTo => list.sort_by_key(|it| Reverse(it.out_bytes)),
            Order::BytesFrom => list.sort_by_key(|it| Reverse(it.in_bytes)),
            Order::Last => list.sort_by_key(|it| Reverse(it.last_activity)),
            Order::Idle => list.sort_by_key(|it| it.last_activity),
            Order::Uptime => list.sort_by_key(|it| uptime_ns(it, now)),
            Order::Stop => list.sort_by_key(|it| Reverse(end(it, now))),
            Order::Reason => list.sort_by_key(|it| reason(it)),
            Order::Rtt => list.sort_by_key(|it| Reverse(it.rtt)),
        }
    }
}

/// The clock of the shards, which is one for all of them, when the last of them reported.
fn latest(list: &[&Connection]) -> Nanos {
    list.iter().map(|it| it.now).max().unwrap_or(0)
}

/// When it closed, or now.
fn end(connection: &Connection, now: Nanos) -> Nanos {
    connection.closed.map_or(now, |(_, at)| at)
}

/// Until it closed, or until now.
fn uptime_ns(connection: &Connection, now: Nanos) -> u64 {
    end(connection, now).saturating_sub(connection.start)
}

/// The wall clock when the shards' clock showed `at`, which is not before the connection's start.
fn unix_ns(connection: &Connection, at: Nanos) -> u64 {
    connection.start_unix_ns + at.saturating_sub(connection.start)
}

fn reason(connection: &Connection) -> Option<&'static str> {
    connection.closed.map(|(reason, _)| reason.as_str())
}

/// The body of the answer.
#[derive(Serialize)]
pub(crate) struct Connz<'a> {
    server_id: &'a str,
    now: String,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    /// None for an account that does not exist.
    connections: Option<Vec<ConnInfo<'a>>>,
}

#[derive(Serialize)]
struct ConnInfo<'a> {
    cid: u64,
    kind: &'static str,
    r#type: &'static str,
    ip: String,
    port: u16,
    start: String,
    last_activity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    rtt: String,
    uptime: String,
    idle: String,
    pending_bytes: u64,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "json::is_default")]
    stalls: u64,
    subscriptions: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tls_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tls_cipher_suite: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_peer_certs: Vec<TlsPeerCert<'a>>,
    #[serde(skip_serializing_if = "json::is_default")]
    tls_first: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    authorized_user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list_detail: Vec<SubDetail>,
    #[serde(skip_serializing_if = "str::is_empty")]
    jwt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    issuer_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_tag: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [Box<str>],
}

impl<'a> ConnInfo<'a> {
    fn new(it: &'a Connection, query: &ConnzQuery, now: Nanos) -> ConnInfo<'a> {
        let subscriptions = &it.subscriptions_list;
        let (mut subjects, mut detail) = (Vec::new(), Vec::new());
        match query.subscriptions {
            Subscriptions::Hidden => {}
            Subscriptions::Subjects => {
                subjects = subscriptions.iter().map(|found| json::text(&found.subject)).collect();
            }
            Subscriptions::Detail => {
                // Only those of closed connections name their account.
                let account = it.closed.is_some();
                let listed = subscriptions.iter().map(|found| SubDetail::new(found, account));
                detail = listed.collect();
            }
        }
        let global = it.account == AccountId::GLOBAL_NAME;
        let shown = query.auth || it.closed.is_some();
        let papers = it.papers.as_deref().filter(|_| shown);
        ConnInfo {
            cid: it.cid,
            kind: "Client",
            r#type: "nats",
            ip: it.addr.ip().to_canonical().to_string(),
            port: it.addr.port(),
            start: rfc3339_nano(it.start_unix_ns),
            last_activity: rfc3339_nano(unix_ns(it, it.last_activity)),
            stop: it.closed.map(|(_, at)| rfc3339_nano(unix_ns(it, at))),
            reason: reason(it),
            rtt: go_duration(shown_rtt(it.rtt)),
            uptime: uptime(uptime_ns(it, now)),
            idle: uptime(end(it, now).saturating_sub(it.last_activity)),
            pending_bytes: it.pending_bytes,
            in_msgs: it.in_msgs,
            out_msgs: it.out_msgs,
            in_bytes: it.in_bytes,
            out_bytes: it.out_bytes,
            stalls: it.stalls,
            subscriptions: it.subscriptions,
            name: &it.name,
            lang: &it.lang,
            version: &it.version,
            tls_version: it.tls.as_ref().map_or("", |tls| tls.version),
            tls_cipher_suite: it.tls.as_ref().map_or("", |tls| tls.cipher),
            tls_peer_certs: peer_certs(it, query),
            tls_first: it.tls.as_ref().is_some_and(|tls| tls.first),
            authorized_user: if query.auth { &it.authorized_user } else { "" },
            account: (query.auth && !global).then_some(&it.account),
            subscriptions_list: subjects,
            subscriptions_list_detail: detail,
            jwt: papers.map_or("", |papers| &papers.text),
            issuer_key: if shown { &it.issuer_key } else { "" },
            name_tag: name_tag(it, query.auth),
            tags: papers.map_or(&[], |papers| &papers.tags),
        }
    }
}

/// Of its account where it is asked who clients are. What is known of a closed client itself is
/// shown in any case.
fn name_tag(it: &Connection, auth: bool) -> Option<&str> {
    let global = it.account == AccountId::GLOBAL_NAME;
    match it.closed {
        Some(_) if !auth || global => {
            it.papers.as_ref().map(|papers| &*papers.name).filter(|name| !name.is_empty())
        }
        _ => auth.then(|| or_name(&it.account_tag, &it.account)),
    }
}

/// A certificate a client has shown.
#[derive(Serialize)]
struct TlsPeerCert<'a> {
    subject: &'a str,
    spki_sha256: &'a str,
    cert_sha256: &'a str,
}

/// Shown to whoever asks who the clients are, while they are there.
fn peer_certs<'a>(it: &'a Connection, query: &ConnzQuery) -> Vec<TlsPeerCert<'a>> {
    let tls = it.tls.as_ref().filter(|_| query.auth && it.closed.is_none());
    let shown = |certificate: &'a shard::PeerCertificate| TlsPeerCert {
        subject: &certificate.subject,
        spki_sha256: &certificate.spki_sha256,
        cert_sha256: &certificate.cert_sha256,
    };
    tls.map_or_else(Vec::new, |tls| tls.certificates.iter().map(shown).collect())
}

/// Whole microseconds below a millisecond.
fn shown_rtt(ns: u64) -> u64 {
    if (1_001..1_000_000).contains(&ns) { ns / 1_000 * 1_000 } else { ns }
}

pub(crate) fn body<'a>(
    site: &'a Site,
    query: &ConnzQuery,
    reports: &'a [Report],
    now_unix_ns: u64,
) -> Connz<'a> {
    let account = query.account.as_str();
    let known = account.is_empty() || names(site, reports).contains(&account);
    let mut list = chosen(query, reports);
    let now = latest(&list);
    Order::named(&query.sort).unwrap_or(Order::Cid).apply(&mut list, now);
    let shown = page(&list, query.offset, query.limit);
    Connz {
        server_id: if known { &site.server_id } else { "" },
        now: rfc3339_nano(now_unix_ns),
        num_connections: shown.len(),
        total: if known { total(query, reports) } else { 0 },
        offset: query.offset,
        limit: query.limit,
        connections: known.then(|| shown.iter().map(|it| ConnInfo::new(it, query, now)).collect()),
    }
}

fn chosen<'a>(query: &ConnzQuery, reports: &'a [Report]) -> Vec<&'a Connection> {
    let connections = reports.iter().flat_map(|report| &report.connections);
    let mut list: Vec<_> = connections.filter(|it| query.takes(it)).collect();
    // One id is one connection: an open one hides a closed one.
    if query.cid > 0 && list.iter().any(|it| it.closed.is_none()) {
        list.retain(|it| it.closed.is_none());
    }
    list
}

/// All that the state and account filters leave, whatever the others do.
fn total(query: &ConnzQuery, reports: &[Report]) -> usize {
    if query.cid > 0 && query.account.is_empty() {
        let figures = sum(reports);
        let open = figures.connections * u64::from(query.has_open());
        return (open + figures.closed_remembered * u64::from(query.has_closed())) as usize;
    }
    let connections = reports.iter().flat_map(|report| &report.connections);
    connections.filter(|it| query.keeps(it)).count()
}
