//! What the server says of itself to the system account.

use std::collections::BTreeMap;

use serde::Serialize;
use shard::access::{Permissions, RuleSet, Rules};
use shard::report::{Connection, Report};

use crate::ProcessFigures;
use crate::accountz::{AccountStat, Traffic, names};
use crate::duration::rfc3339_nano;
use crate::figures::{of_account, sum};
use crate::json;
use crate::site::Site;
use crate::subsz::or_name;
use crate::varz::ByKind;

/// Who says it, in every message but the answer to IDZ.
#[derive(Serialize)]
pub(crate) struct Server<'a> {
    name: &'a str,
    host: &'a str,
    id: &'a str,
    ver: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    feature_flags: &'a BTreeMap<String, bool>,
    jetstream: bool,
    flags: u64,
    seq: u64,
    time: String,
}

impl<'a> Server<'a> {
    pub(crate) fn new(site: &'a Site, seq: u64, now_unix_ns: u64) -> Server<'a> {
        Server {
            name: &site.server_name,
            host: &site.host,
            id: &site.server_id,
            ver: &site.version,
            tags: &site.tags,
            metadata: &site.metadata,
            feature_flags: &site.feature_flags,
            jetstream: false,
            flags: 0,
            seq,
            time: rfc3339_nano(now_unix_ns),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Idz<'a> {
    pub name: &'a str,
    pub host: &'a str,
    pub id: &'a str,
}

#[derive(Serialize)]
pub(crate) struct Fault<'a> {
    pub code: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: &'a str,
}

#[derive(Serialize)]
pub(crate) struct Profilez {
    pub profile: Option<()>,
    pub error: String,
}

/// Who asks `$SYS.REQ.USER.INFO`.
#[derive(Serialize)]
pub(crate) struct UserInfo<'a> {
    pub user: &'a str,
    pub account: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub account_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Allowed>,
}

/// What a user may do.
#[derive(Serialize)]
pub(crate) struct Allowed {
    publish: Lists,
    subscribe: Lists,
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<AllowedResponses>,
}

#[derive(Serialize)]
struct Lists {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
}

#[derive(Serialize)]
struct AllowedResponses {
    max: i64,
    ttl: i64,
}

impl Allowed {
    pub(crate) fn new(permissions: &Permissions) -> Allowed {
        let lines = |set: &Option<RuleSet>| set.as_ref().map(RuleSet::lines).unwrap_or_default();
        let lists = |rules: &Rules| Lists { allow: lines(&rules.allow), deny: lines(&rules.deny) };
        let responses = permissions.responses.map(|responses| AllowedResponses {
            max: responses.max.map_or(-1, i64::from),
            ttl: responses.expires_ns.map_or(-1, |ns| i64::try_from(ns).unwrap_or(i64::MAX)),
        });
        let (publish, subscribe) = (lists(&permissions.publish), lists(&permissions.subscribe));
        Allowed { publish, subscribe, responses }
    }
}

/// The figures of STATSZ.
#[derive(Serialize)]
pub(crate) struct Statsz {
    start: String,
    mem: u64,
    cores: usize,
    #[serde(serialize_with = "json::float")]
    cpu: f64,
    connections: u64,
    total_connections: u64,
    active_accounts: usize,
    subscriptions: u64,
    sent: Traffic,
    sent_to_clients: Traffic,
    received: Traffic,
    received_from_clients: Traffic,
    slow_consumers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_consumer_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "json::is_default")]
    stale_connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_connection_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "json::is_default")]
    stalled_clients: u64,
    active_servers: u64,
    gomaxprocs: usize,
}

impl Statsz {
    pub(crate) fn new(site: &Site, reports: &[Report], process: &ProcessFigures) -> Statsz {
        let it = sum(reports);
        let names = names(site, reports).into_iter();
        let active = names.filter(|name| of_account(reports, name).connections > 0).count();
        let slow = it.slow_pending_bytes + it.slow_write_deadline;
        let stale = it.stale_connections;
        let sent = || Traffic { msgs: it.out_msgs, bytes: it.out_bytes };
        let received = || Traffic { msgs: it.in_msgs, bytes: it.in_bytes };
        Statsz {
            start: rfc3339_nano(site.start_unix_ns),
            mem: process.mem_rss,
            cores: site.cores,
            cpu: process.cpu_percent,
            connections: it.connections,
            total_connections: it.connections_total,
            active_accounts: active,
            subscriptions: it.subscriptions,
            sent: sent(),
            sent_to_clients: sent(),
            received: received(),
            received_from_clients: received(),
            slow_consumers: slow,
            slow_consumer_stats: (slow > 0).then(|| ByKind::clients(slow)),
            stale_connections: stale,
            stale_connection_stats: (stale > 0).then(|| ByKind::clients(stale)),
            stalled_clients: it.stalled_clients,
            active_servers: 1,
            gomaxprocs: site.shards,
        }
    }
}

/// What an event is.
#[derive(Clone, Serialize)]
pub(crate) struct Typed {
    pub r#type: &'static str,
    pub id: String,
    pub timestamp: String,
}

/// The connections of an account, on `…SERVER.CONNS`.
#[derive(Serialize)]
pub(crate) struct AccountConns<'a> {
    #[serde(flatten)]
    pub typed: Typed,
    pub server: Server<'a>,
    #[serde(flatten)]
    pub stat: AccountStat<'a>,
}

/// A connection that came.
#[derive(Serialize)]
pub(crate) struct Connected<'a> {
    #[serde(flatten)]
    pub typed: Typed,
    pub server: Server<'a>,
    pub client: Client<'a>,
}

/// A connection that went.
#[derive(Serialize)]
pub(crate) struct Disconnected<'a> {
    #[serde(flatten)]
    pub typed: Typed,
    pub server: Server<'a>,
    pub client: Client<'a>,
    pub sent: Traffic,
    pub received: Traffic,
    pub reason: &'a str,
}

/// A client as events show it.
#[derive(Serialize)]
pub(crate) struct Client<'a> {
    start: String,
    host: String,
    id: u64,
    pub acc: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ver: &'a str,
    #[serde(skip_serializing_if = "json::is_default")]
    rtt: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    jwt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    issuer_key: &'a str,
    name_tag: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [Box<str>],
    kind: &'static str,
    client_type: &'static str,
}

impl<'a> Client<'a> {
    pub(crate) fn new(it: &'a Connection) -> Client<'a> {
        let papers = it.papers.as_deref();
        let stop = it.closed.map(|(_, at)| it.start_unix_ns + at.saturating_sub(it.start));
        Client {
            start: rfc3339_nano(it.start_unix_ns),
            host: it.addr.ip().to_canonical().to_string(),
            id: it.cid,
            acc: &it.account,
            user: &it.authorized_user,
            name: &it.name,
            lang: &it.lang,
            ver: &it.version,
            rtt: if stop.is_some() { it.rtt } else { 0 },
            stop: stop.map(rfc3339_nano),
            jwt: papers.map_or("", |papers| &papers.text),
            issuer_key: &it.issuer_key,
            name_tag: or_name(&it.account_tag, &it.account),
            tags: papers.map_or(&[], |papers| &papers.tags),
            kind: "Client",
            client_type: "nats",
        }
    }
}
