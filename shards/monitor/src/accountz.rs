//! /accountz and /accstatz: the accounts of the server, and what each has done.

use std::collections::BTreeMap;

use serde::Serialize;
use shard::AccountId;
use shard::access::Terms;
use shard::report::{Figures, Report};

use crate::agreements::{self, Destination, Export, Import};
use crate::decoded::{Decoded, Issue};
use crate::duration::rfc3339_nano;
use crate::figures::of_account;
use crate::http::Response;
use crate::json;
use crate::query::Query;
use crate::site::Site;
use crate::subsz::TableStats;

/// What is asked of /accstatz.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccstatzQuery {
    /// Only these; all if there are none.
    pub accounts: Vec<String>,
    /// Those without a connection too.
    pub unused: bool,
}

impl AccstatzQuery {
    pub(crate) fn parse(query: &Query) -> Result<AccstatzQuery, Response> {
        Ok(AccstatzQuery { accounts: Vec::new(), unused: query.boolean("unused")? })
    }
}

/// The names of all accounts.
pub(crate) fn names<'a>(site: &'a Site, reports: &'a [Report]) -> Vec<&'a str> {
    let known = reports.first().map_or(&[][..], |report| &report.accounts);
    let mut names: Vec<&str> = known.iter().map(|account| &*account.name).collect();
    for name in [AccountId::GLOBAL_NAME, &site.system_account] {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    names
}

/// The body of /accountz.
#[derive(Serialize)]
pub(crate) struct Accountz<'a> {
    server_id: &'a str,
    now: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    system_account: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_detail: Option<Account<'a>>,
}

/// One account, as `$SYS.REQ.ACCOUNT.<name>.INFO` shows it too.
#[derive(Serialize)]
pub(crate) struct Account<'a> {
    account_name: &'a str,
    update_time: String,
    #[serde(skip_serializing_if = "json::is_default")]
    is_system: bool,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: u64,
    client_connections: u64,
    subscriptions: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    mappings: BTreeMap<String, Vec<Destination>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exports: Vec<Export<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    imports: Vec<Import<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    jwt: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    issuer_key: String,
    name_tag: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded_jwt: Option<Decoded>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    validation_result_jwt: Vec<Issue>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    revoked_user: BTreeMap<&'a str, String>,
    sublist_stats: TableStats,
}

impl<'a> Account<'a> {
    /// None if there is no such account.
    pub(crate) fn named(
        site: &'a Site,
        reports: &'a [Report],
        name: &str,
        now_unix_ns: u64,
    ) -> Option<Account<'a>> {
        let name = names(site, reports).into_iter().find(|known| *known == name)?;
        let figures = of_account(reports, name);
        let is_system = name == site.system_account;
        let access = reports.iter().find_map(|report| report.access.as_deref());
        let id = access.and_then(|access| access.find_account(name));
        let known = access.zip(id).and_then(|(access, id)| Some((access, access.account_at(id)?)));
        let ties = known.map(|(access, account)| (access, &account.ties));
        let terms = known.and_then(|(_, account)| account.terms.as_deref());
        let decoded = terms.and_then(|terms| Decoded::new(&terms.papers.text));
        let updated = terms.map_or(site.config_load_unix_ns, |terms| terms.papers.since_unix_ns);
        let named = terms.map_or("", |terms| &terms.name);
        let now_unix_s = (now_unix_ns / 1_000_000_000) as i64;
        let standing = is_system.then(agreements::standing_exports).into_iter().flatten();
        let agreed = ties.into_iter().flat_map(|(access, ties)| agreements::exports(access, ties));
        Some(Account {
            account_name: name,
            update_time: rfc3339_nano(updated),
            is_system,
            expired: terms.is_some_and(|terms| terms.has_expired),
            complete: ties.is_none_or(|(_, ties)| !ties.lacks_imports),
            jetstream_enabled: false,
            leafnode_connections: 0,
            client_connections: figures.connections,
            subscriptions: figures.subscriptions,
            mappings: ties
                .map(|(_, ties)| agreements::mappings(&ties.mappings))
                .unwrap_or_default(),
            exports: standing.chain(agreed).collect(),
            imports: ties
                .map(|(access, ties)| agreements::imports(access, ties))
                .unwrap_or_default(),
            jwt: terms.map_or("", |terms| &terms.papers.text),
            issuer_key: decoded.as_ref().map(Decoded::issuer).unwrap_or_default(),
            name_tag: if named.is_empty() { name } else { named },
            tags: decoded.as_ref().map(Decoded::tags).unwrap_or_default(),
            validation_result_jwt: decoded
                .as_ref()
                .map(|it| it.issues(now_unix_s))
                .unwrap_or_default(),
            decoded_jwt: decoded,
            revoked_user: revoked_users(terms),
            sublist_stats: TableStats::of(&figures),
        })
    }
}

fn revoked_users(terms: Option<&Terms>) -> BTreeMap<&str, String> {
    let revoked = terms.into_iter().flat_map(|terms| &terms.revoked);
    revoked.map(|(key, until)| (&**key, agreements::moment(*until))).collect()
}

/// The account of that name, or all names if it is empty. Fails if there is no such account.
pub(crate) fn accountz<'a>(
    site: &'a Site,
    name: &str,
    reports: &'a [Report],
    now_unix_ns: u64,
) -> Result<Accountz<'a>, String> {
    let mut body = Accountz {
        server_id: &site.server_id,
        now: rfc3339_nano(now_unix_ns),
        system_account: &site.system_account,
        accounts: None,
        account_detail: None,
    };
    if name.is_empty() {
        body.accounts = Some(names(site, reports));
    } else {
        body.account_detail = Account::named(site, reports, name, now_unix_ns);
        if body.account_detail.is_none() {
            return Err(format!("Account {name} does not exist"));
        }
    }
    Ok(body)
}

/// The body of /accstatz.
#[derive(Serialize)]
pub(crate) struct Accstatz<'a> {
    server_id: &'a str,
    now: String,
    account_statz: Vec<AccountStat<'a>>,
}

impl Accstatz<'_> {
    /// No account is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.account_statz.is_empty()
    }
}

/// What one account has done, as events show it too.
#[derive(Serialize)]
pub(crate) struct AccountStat<'a> {
    acc: &'a str,
    name: &'a str,
    conns: u64,
    leafnodes: u64,
    total_conns: u64,
    num_subscriptions: u64,
    sent: ByPeer,
    received: ByPeer,
    slow_consumers: u64,
}

#[derive(Serialize)]
struct ByPeer {
    #[serde(flatten)]
    all: Traffic,
    gateways: Traffic,
    routes: Traffic,
    leafs: Traffic,
}

/// Messages and their bytes.
#[derive(Default, Serialize)]
pub(crate) struct Traffic {
    pub msgs: u64,
    pub bytes: u64,
}

impl ByPeer {
    fn clients(msgs: u64, bytes: u64) -> ByPeer {
        let none = Traffic::default;
        ByPeer { all: Traffic { msgs, bytes }, gateways: none(), routes: none(), leafs: none() }
    }
}

impl<'a> AccountStat<'a> {
    pub(crate) fn new(name: &'a str, figures: &Figures) -> AccountStat<'a> {
        AccountStat {
            acc: name,
            name,
            conns: figures.connections,
            leafnodes: 0,
            total_conns: figures.connections,
            num_subscriptions: figures.subscriptions,
            sent: ByPeer::clients(figures.out_msgs, figures.out_bytes),
            received: ByPeer::clients(figures.in_msgs, figures.in_bytes),
            slow_consumers: figures.slow_pending_bytes + figures.slow_write_deadline,
        }
    }
}

pub(crate) fn accstatz<'a>(
    site: &'a Site,
    query: &AccstatzQuery,
    reports: &'a [Report],
    now_unix_ns: u64,
) -> Accstatz<'a> {
    let asked = |name: &str| query.accounts.is_empty() || query.accounts.iter().any(|n| n == name);
    let names = names(site, reports).into_iter().filter(|name| asked(name));
    let stats = names.map(|name| (name, of_account(reports, name)));
    let used = stats.filter(|(_, figures)| query.unused || figures.connections > 0);
    Accstatz {
        server_id: &site.server_id,
        now: rfc3339_nano(now_unix_ns),
        account_statz: used.map(|(name, figures)| AccountStat::new(name, &figures)).collect(),
    }
}
