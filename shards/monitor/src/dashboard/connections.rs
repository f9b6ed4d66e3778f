//! The page's table of connections: searched, sorted and cut here, so that it works with as many
//! as there are.

use std::cmp::Ordering;

use serde::Serialize;
use shard::Nanos;
use shard::report::{Connection, Report, Wanted};

use super::rates::{Rate, Rates};
use crate::http::Response;
use crate::page::{at_least_0, at_least_1_or, page};
use crate::query::Query;

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 500;
/// Longest text searched for.
const SEARCH_CHARS_MAX: usize = 256;

/// What to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Cid,
    Name,
    Address,
    Shard,
    Subscriptions,
    InMsgs,
    OutMsgs,
    InRate,
    OutRate,
    Pending,
    Rtt,
    Idle,
    Uptime,
    Reason,
    Stop,
}

impl Column {
    fn named(name: &[u8]) -> Option<Column> {
        Some(match name {
            b"" | b"cid" => Column::Cid,
            b"name" => Column::Name,
            b"addr" => Column::Address,
            b"shard" => Column::Shard,
            b"subs" => Column::Subscriptions,
            b"in_msgs" => Column::InMsgs,
            b"out_msgs" => Column::OutMsgs,
            b"in_rate" => Column::InRate,
            b"out_rate" => Column::OutRate,
            b"pending" => Column::Pending,
            b"rtt" => Column::Rtt,
            b"idle" => Column::Idle,
            b"uptime" => Column::Uptime,
            b"reason" => Column::Reason,
            b"stop" => Column::Stop,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ConnectionsQuery {
    closed: bool,
    column: Column,
    descending: bool,
    offset: usize,
    limit: usize,
    /// In lower case.
    search: String,
}

impl ConnectionsQuery {
    pub(crate) fn parse(query: &Query) -> Result<ConnectionsQuery, Response> {
        let refuse = |name: &str, known: &str| {
            let text = format!("{name}: one of {known} is possible");
            Err(Response::bad_request(text.into_bytes()))
        };
        let closed = match query.value("state") {
            b"" | b"open" => false,
            b"closed" => true,
            _ => return refuse("state", "open, closed"),
        };
        let descending = match query.value("order") {
            b"" | b"asc" => false,
            b"desc" => true,
            _ => return refuse("order", "asc, desc"),
        };
        let Some(column) = Column::named(query.value("sort")) else {
            let known = "cid, name, addr, shard, subs, in_msgs, out_msgs, in_rate, out_rate, \
                         pending, rtt, idle, uptime, reason, stop";
            return refuse("sort", known);
        };
        let search = query.text("q").trim().to_lowercase();
        let search = search.chars().take(SEARCH_CHARS_MAX).collect();
        Ok(ConnectionsQuery {
            closed,
            column,
            descending,
            offset: at_least_0(query.int("offset")?),
            limit: at_least_1_or(query.int("limit")?, LIMIT).min(LIMIT_MAX),
            search,
        })
    }

    pub(crate) fn wanted(&self) -> Wanted {
        Wanted { open: !self.closed, closed: self.closed, ..Wanted::default() }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Every word is in something that is shown.
    fn takes(&self, it: &Connection) -> bool {
        if self.search.is_empty() {
            return true;
        }
        let text = format!(
            "{} {} {} {} {} {} {}",
            it.cid,
            address(it),
            it.name,
            it.lang,
            it.version,
            it.authorized_user,
            reason(it),
        );
        let text = text.to_lowercase();
        self.search.split_whitespace().all(|word| text.contains(word))
    }

    fn compare(&self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        let (x, y) = (a.it, b.it);
        let ordering = match self.column {
            Column::Cid => Ordering::Equal,
            Column::Name => x.name.cmp(&y.name),
            Column::Address => x.addr.cmp(&y.addr),
            Column::Shard => x.shard.cmp(&y.shard),
            Column::Subscriptions => x.subscriptions.cmp(&y.subscriptions),
            Column::InMsgs => x.in_msgs.cmp(&y.in_msgs),
            Column::OutMsgs => x.out_msgs.cmp(&y.out_msgs),
            Column::InRate => a.rate().in_msgs.total_cmp(&b.rate().in_msgs),
            Column::OutRate => a.rate().out_msgs.total_cmp(&b.rate().out_msgs),
            Column::Pending => x.pending_bytes.cmp(&y.pending_bytes),
            Column::Rtt => x.rtt.cmp(&y.rtt),
            Column::Idle => idle_ns(x).cmp(&idle_ns(y)),
            Column::Uptime => uptime_ns(x).cmp(&uptime_ns(y)),
            Column::Reason => reason(x).cmp(reason(y)),
            Column::Stop => stop(x).cmp(&stop(y)),
        };
        let ordering = if self.descending { ordering.reverse() } else { ordering };
        let ids = x.cid.cmp(&y.cid);
        let by_cid = self.column == Column::Cid && self.descending;
        ordering.then(if by_cid { ids.reverse() } else { ids })
    }
}

struct Row<'a> {
    it: &'a Connection,
    rate: Option<Rate>,
}

impl Row<'_> {
    fn rate(&self) -> Rate {
        self.rate.unwrap_or_default()
    }
}

fn address(it: &Connection) -> String {
    format!("{}:{}", it.addr.ip().to_canonical(), it.addr.port())
}

fn reason(it: &Connection) -> &'static str {
    it.closed.map_or("", |(reason, _)| reason.as_str())
}

fn stop(it: &Connection) -> Nanos {
    it.closed.map_or(it.now, |(_, at)| at)
}

fn uptime_ns(it: &Connection) -> Nanos {
    stop(it).saturating_sub(it.start)
}

fn idle_ns(it: &Connection) -> Nanos {
    stop(it).saturating_sub(it.last_activity)
}

#[derive(Serialize)]
pub(crate) struct Connections<'a> {
    /// Connections in this state.
    total: usize,
    /// Of those, the ones the search finds.
    found: usize,
    offset: usize,
    limit: usize,
    connections: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    cid: u64,
    name: &'a str,
    addr: String,
    shard: u16,
    lang: &'a str,
    version: &'a str,
    user: &'a str,
    subs: u32,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    /// Per second; null until it was seen twice.
    in_rate: Option<f64>,
    out_rate: Option<f64>,
    in_bytes_rate: Option<f64>,
    out_bytes_rate: Option<f64>,
    pending_bytes: u64,
    stalls: u64,
    rtt_ns: u64,
    idle_ns: u64,
    uptime_ns: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    /// How long ago it closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_ns: Option<u64>,
}

impl<'a> Shown<'a> {
    fn new(row: &Row<'a>) -> Shown<'a> {
        let (it, rate) = (row.it, row.rate);
        Shown {
            cid: it.cid,
            name: &it.name,
            addr: address(it),
            shard: it.shard.0,
            lang: &it.lang,
            version: &it.version,
            user: &it.authorized_user,
            subs: it.subscriptions,
            in_msgs: it.in_msgs,
            out_msgs: it.out_msgs,
            in_bytes: it.in_bytes,
            out_bytes: it.out_bytes,
            in_rate: rate.map(|rate| rate.in_msgs),
            out_rate: rate.map(|rate| rate.out_msgs),
            in_bytes_rate: rate.map(|rate| rate.in_bytes),
            out_bytes_rate: rate.map(|rate| rate.out_bytes),
            pending_bytes: it.pending_bytes,
            stalls: it.stalls,
            rtt_ns: it.rtt,
            idle_ns: idle_ns(it),
            uptime_ns: uptime_ns(it),
            reason: reason(it),
            closed_ns: it.closed.map(|(_, at)| it.now.saturating_sub(at)),
        }
    }
}

pub(crate) fn body<'a>(
    query: &ConnectionsQuery,
    reports: &'a [Report],
    rates: &Rates,
) -> Connections<'a> {
    let all = || reports.iter().flat_map(|report| &report.connections);
    let found = all().filter(|it| query.takes(it));
    let mut rows: Vec<Row<'_>> = found.map(|it| Row { it, rate: rates.of(it.cid) }).collect();
    rows.sort_unstable_by(|a, b| query.compare(a, b));
    let shown = page(&rows, query.offset, query.limit);
    Connections {
        total: all().count(),
        found: rows.len(),
        offset: query.offset,
        limit: query.limit,
        connections: shown.iter().map(Shown::new).collect(),
    }
}
