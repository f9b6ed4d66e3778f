//! /connz: the connections of the server, open and closed.

use std::cmp::Reverse;

use serde::Serialize;
use shard::report::{Connection, Report, Wanted};
use shard::{AccountId, Nanos};

use crate::duration::{go_duration, rfc3339_nano, uptime};
use crate::figures::sum;
use crate::http::Response;
use crate::json;
use crate::page::{at_least_0, at_least_1_or, page};
use crate::query::Query;
use crate::site::Site;
use crate::subsz::SubDetail;

/// Connections listed unless asked otherwise.
const LIMIT: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscriptions {
    Hidden,
    Subjects,
    Detail,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct ConnzQuery {
    sort: Vec<u8>,
    auth: bool,
    subscriptions: Subscriptions,
    offset: usize,
    limit: usize,
    /// 0 is any.
    cid: u64,
    state: State,
    user: String,
    account: String,
    mqtt_client: String,
}

impl ConnzQuery {
    /// Whatever is wrong first is what is said; [`ConnzQuery::check`] is separate because a request
    /// that gets here counts.
    pub(crate) fn parse(query: &Query) -> Result<ConnzQuery, Response> {
        let auth = query.boolean("auth")?;
        let subscriptions = subscriptions(query)?;
        let offset = at_least_0(query.int("offset")?);
        let limit = at_least_1_or(query.int("limit")?, LIMIT);
        let cid = query.uint64("cid")?;
        Ok(ConnzQuery {
            sort: query.value("sort").to_vec(),
            auth,
            subscriptions,
            offset,
            limit: if cid > 0 { 1 } else { limit },
            cid,
            state: state(query)?,
            user: query.text("user"),
            account: query.text("acc"),
            mqtt_client: query.text("mqtt_client"),
        })
    }

    pub(crate) fn check(&self) -> Result<(), Response> {
        let Some(order) = Order::named(&self.sort) else {
            let mut text = b"invalid sorting option: ".to_vec();
            text.extend_from_slice(&self.sort);
            return Err(Response::bad_request(text));
        };
        match order {
            Order::Stop | Order::Reason if self.state != State::Closed => {
                let name = if order == Order::Stop { "stop" } else { "reason" };
                let text = format!("sort by {name} only valid on closed connections");
                Err(Response::bad_request(text.into_bytes()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn wanted(&self) -> Wanted {
        let (open, closed) = (self.has_open(), self.has_closed());
        let shown = self.subscriptions != Subscriptions::Hidden;
        Wanted {
            open,
            closed,
            subscriptions: shown && (open || closed),
            cid: (self.cid > 0 && (open || closed)).then_some(self.cid),
        }
    }

    /// Open connections are all of the global account.
    fn has_open(&self) -> bool {
        let global = self.account.is_empty() || self.account == AccountId::GLOBAL_NAME;
        self.state != State::Closed && global
    }

    /// A closed connection has no account when it was of the global one, so an account filter, even
    /// for the global one, leaves none.
    fn has_closed(&self) -> bool {
        self.state != State::Open && self.account.is_empty()
    }

    fn takes(&self, connection: &Connection) -> bool {
        let kept = if connection.closed.is_some() { self.has_closed() } else { self.has_open() };
        kept && (self.cid == 0 || connection.cid == self.cid)
            && (self.user.is_empty() || connection.authorized_user == self.user)
            && self.mqtt_client.is_empty()
    }
}

fn subscriptions(query: &Query) -> Result<Subscriptions, Response> {
    if query.value("subs").eq_ignore_ascii_case(b"detail") {
        return Ok(Subscriptions::Detail);
    }
    let shown = query.boolean("subs")?;
    Ok(if shown { Subscriptions::Subjects } else { Subscriptions::Hidden })
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
    authorized_user: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list_detail: Vec<SubDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_tag: Option<&'static str>,
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
            authorized_user: if query.auth { &it.authorized_user } else { "" },
            subscriptions_list: subjects,
            subscriptions_list_detail: detail,
            // An account without a tag is tagged with its name.
            name_tag: (query.auth && it.closed.is_none()).then_some(AccountId::GLOBAL_NAME),
        }
    }
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
    let known = ["", AccountId::GLOBAL_NAME, &site.system_account].contains(&account);
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
    let (open, closed) = if query.cid > 0 {
        let figures = sum(reports);
        (figures.connections as usize, figures.closed_remembered as usize)
    } else {
        let all = || reports.iter().flat_map(|report| &report.connections);
        let closed = all().filter(|it| it.closed.is_some()).count();
        (all().count() - closed, closed)
    };
    open * usize::from(query.has_open()) + closed * usize::from(query.has_closed())
}
