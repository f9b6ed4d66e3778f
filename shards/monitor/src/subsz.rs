//! /subsz: the subscriptions of the server.

use serde::Serialize;
use shard::report::{Figures, Report, Subscription, Wanted, matches, valid_literal};

use crate::duration::rfc3339_nano;
use crate::figures::{of_account, sum};
use crate::http::Response;
use crate::json;
use crate::page::{at_least_0, at_least_1_or, page};
use crate::query::Query;
use crate::site::Site;

/// Subscriptions listed unless asked otherwise.
const LIMIT: usize = 1024;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct SubszQuery {
    list: bool,
    offset: usize,
    limit: usize,
    /// List only what a message to this subject reaches.
    test: Vec<u8>,
    account: String,
}

impl SubszQuery {
    pub(crate) fn parse(query: &Query) -> Result<SubszQuery, Response> {
        let list = query.boolean("subs")?;
        let offset = query.int("offset")?;
        let limit = query.int("limit")?;
        let test = query.value("test").to_vec();
        let parsed = SubszQuery::new(list, (offset, limit), test, query.text("acc"));
        parsed.check().map_err(Response::bad_request)?;
        Ok(parsed)
    }

    /// `page` is an offset and a limit.
    pub(crate) fn new(list: bool, page: (i64, i64), test: Vec<u8>, account: String) -> SubszQuery {
        let (offset, limit) = (at_least_0(page.0), at_least_1_or(page.1, LIMIT));
        SubszQuery { list, offset, limit, test, account }
    }

    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), Vec<u8>> {
        if self.test.is_empty() || valid_literal(&self.test) {
            return Ok(());
        }
        let mut text = b"invalid test subject, must be valid publish subject: ".to_vec();
        text.extend_from_slice(&self.test);
        Err(text)
    }

    pub(crate) fn wanted(&self) -> Wanted {
        let accounts = !self.account.is_empty();
        Wanted { open: self.list, subscriptions: self.list, accounts, ..Wanted::default() }
    }
}

/// The body of the answer.
#[derive(Serialize)]
pub(crate) struct Subsz<'a> {
    server_id: &'a str,
    now: String,
    #[serde(flatten)]
    stats: TableStats,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<SubDetail>,
}

/// What tables have been asked, as /accountz shows it too.
#[derive(Serialize)]
pub(crate) struct TableStats {
    num_subscriptions: u64,
    num_cache: u64,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    #[serde(serialize_with = "json::float")]
    cache_hit_rate: f64,
    max_fanout: u64,
    #[serde(serialize_with = "json::float")]
    avg_fanout: f64,
}

impl TableStats {
    pub(crate) fn of(figures: &Figures) -> TableStats {
        TableStats {
            num_subscriptions: figures.subscriptions,
            num_cache: figures.plans,
            num_inserts: figures.inserts,
            num_removes: figures.removes,
            num_matches: figures.matches,
            cache_hit_rate: ratio(figures.plan_hits, figures.matches),
            max_fanout: figures.fanout_max,
            avg_fanout: ratio(figures.fanout_sum, figures.plans_made),
        }
    }
}

/// One subscription, as /connz shows it too.
#[derive(Serialize)]
pub(crate) struct SubDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_tag: Option<String>,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    qgroup: Option<String>,
    sid: String,
    msgs: u64,
    #[serde(skip_serializing_if = "json::is_default")]
    max: u64,
    cid: u64,
}

impl SubDetail {
    pub(crate) fn new(subscription: &Subscription, account: bool) -> SubDetail {
        let account = account.then(|| subscription.account.clone());
        SubDetail {
            account_tag: account.as_deref().map(|it| or_name(&subscription.account_tag, it).into()),
            account,
            subject: json::text(&subscription.subject),
            qgroup: subscription.queue.as_deref().map(json::text),
            sid: json::text(&subscription.sid),
            msgs: subscription.msgs,
            max: subscription.max,
            cid: subscription.cid,
        }
    }
}

pub(crate) fn body<'a>(
    site: &'a Site,
    query: &SubszQuery,
    reports: &[Report],
    now_unix_ns: u64,
) -> Subsz<'a> {
    let figures = match query.account.as_str() {
        "" => sum(reports),
        account => of_account(reports, account),
    };
    let listed = if query.list { matching(query, reports) } else { Vec::new() };
    let page = page(&listed, query.offset, query.limit);
    Subsz {
        server_id: &site.server_id,
        now: rfc3339_nano(now_unix_ns),
        stats: TableStats::of(&figures),
        total: listed.len(),
        offset: query.offset,
        limit: query.limit,
        subscriptions_list: page.iter().map(|found| SubDetail::new(found, true)).collect(),
    }
}

/// In a fixed order, so that pages fit together.
fn matching<'a>(query: &SubszQuery, reports: &'a [Report]) -> Vec<&'a Subscription> {
    let connections = reports.iter().flat_map(|report| &report.connections);
    let open = connections.filter(|connection| connection.closed.is_none());
    let hit = |found: &&Subscription| {
        (query.account.is_empty() || found.account == query.account)
            && (query.test.is_empty() || matches(&found.subject, &query.test))
    };
    let mut found: Vec<_> =
        open.flat_map(|connection| &connection.subscriptions_list).filter(hit).collect();
    found.sort_by_key(|found| (found.cid, found.sid.len(), &found.sid));
    found
}

/// An account without a tag is tagged with its name.
pub(crate) fn or_name<'a>(tag: &'a str, name: &'a str) -> &'a str {
    if tag.is_empty() { name } else { tag }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
