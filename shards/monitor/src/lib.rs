//! The monitoring endpoints of nats-server, sans I/O: requests and reports in, responses out.
//!
//! The driver feeds bytes to [`Requests`], shows each [`Request`] to [`Monitor::ask`], and either
//! writes the [`Response`] it gets or collects one [`Report`] per shard and calls
//! [`Monitor::answer`].
#![forbid(unsafe_code)]
#![allow(clippy::result_large_err, reason = "a refusal is made once a request, off the shards")]

mod absent;
mod accountz;
mod agreements;
mod connz;
mod dashboard;
mod decoded;
mod duration;
mod figures;
mod healthz;
mod http;
mod index;
mod inner;
mod json;
mod metrics;
mod page;
mod query;
mod site;
mod subsz;
mod system;
mod varz;

use std::collections::BTreeMap;

use shard::report::{Report, Wanted};

pub use duration::{go_duration, http_date, rfc3339_nano, uptime};
pub use http::{
    BODY_BYTES_MAX, Framing, HEAD_BYTES_MAX, Method, Next, Request, Requests, Response,
};
pub use query::Query;
pub use site::{Site, default_feature_flags};
pub use system::{ClaimsAnswer, Deed, SystemQuestion};

use absent::Absent;
use accountz::AccstatzQuery;
use connz::ConnzQuery;
use dashboard::{Dashboard, Found, View};
use json::Layout;
use subsz::SubszQuery;

/// What the driver reads of its own process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Resident memory, bytes.
    pub mem_rss: u64,
    /// Share of one core used, percent: 100 is one core busy.
    pub cpu_percent: f64,
    /// Id, name and state of each thread; only needed if [`Question::wants_threads`].
    pub threads: Vec<(u32, String, char)>,
}

/// What comes after a request was looked at.
#[derive(Debug)]
pub enum Step {
    /// All is known: write this.
    Answer(Response),
    /// Ask every shard for [`Question::wanted`], then call [`Monitor::answer`].
    Need(Question),
}

/// A request that was understood and needs the shards.
#[derive(Clone, Debug)]
pub struct Question(Endpoint);

#[derive(Clone, Debug)]
enum Endpoint {
    Varz,
    Connz(ConnzQuery),
    Subsz(SubszQuery),
    /// Of this name; all names if it is empty.
    Accountz(String),
    Accstatz(AccstatzQuery),
    Absent(Absent),
    DebugVars,
    Stacksz,
    Metrics,
    Dashboard(View),
}

/// A kind of question whose reports may be as old as a second and shared among those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// Figures alone.
    Figures,
    /// With the open connections.
    Open,
    /// With the closed ones.
    Closed,
}

impl Question {
    /// What each shard must report for it.
    pub fn wanted(&self) -> Wanted {
        self.0.wanted()
    }

    /// Whether reports for an earlier question of the same kind will do, if they are fresh. None
    /// where figures have to be exact.
    pub fn shared(&self) -> Option<Shared> {
        match &self.0 {
            Endpoint::Dashboard(view) => Some(view.shared()),
            _ => None,
        }
    }

    /// Whether [`ProcessFigures::threads`] are shown.
    pub fn wants_threads(&self) -> bool {
        matches!(self.0, Endpoint::Stacksz)
    }
}

impl Endpoint {
    fn wanted(&self) -> Wanted {
        match self {
            Endpoint::Connz(query) => query.wanted(),
            Endpoint::Subsz(query) => query.wanted(),
            Endpoint::Accountz(_) => Wanted { accounts: true, access: true, ..Wanted::default() },
            Endpoint::Accstatz(_) => Wanted { accounts: true, ..Wanted::default() },
            Endpoint::Metrics => Wanted { accounts: true, metrics: true, ..Wanted::default() },
            Endpoint::Varz | Endpoint::Absent(_) | Endpoint::DebugVars | Endpoint::Stacksz => {
                Wanted::default()
            }
            Endpoint::Dashboard(view) => view.wanted(),
        }
    }

    /// What is wrong with what is asked.
    fn check(&self) -> Result<(), Vec<u8>> {
        match self {
            Endpoint::Connz(query) => query.check(),
            Endpoint::Subsz(query) => query.check(),
            _ => Ok(()),
        }
    }
}

/// Answers the monitoring requests of one server. Lives on the core that serves them.
pub struct Monitor {
    site: Site,
    /// The site's base path, normalized: `/` or `/a/b`.
    base: String,
    accepting: bool,
    /// Requests by endpoint, counted where nats-server counts them.
    requests: BTreeMap<&'static str, u64>,
    /// Messages sent that say who sends them.
    messages: u64,
    /// Events told.
    events: u64,
    dashboard: Dashboard,
}

impl Monitor {
    /// For a server that accepts clients.
    pub fn new(site: Site) -> Monitor {
        let base = http::clean_path(&site.http_base_path);
        let (requests, dashboard) = (BTreeMap::new(), Dashboard::default());
        let (messages, events) = (0, 0);
        Monitor { site, base, accepting: true, requests, messages, events, dashboard }
    }

    /// What is known of the server, for a reload to change. The base path stays as it was.
    pub fn site_mut(&mut self) -> &mut Site {
        &mut self.site
    }

    /// Whether the client listener is open; /healthz fails while it is not.
    pub fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
    }

    /// Takes a request as far as it goes without the shards.
    pub fn ask(&mut self, request: &Request) -> Step {
        if let Some(response) = http::redirect(request) {
            return Step::Answer(response);
        }
        if request.path == "*" {
            return Step::Answer(Response::empty());
        }
        match self.endpoint(&request.path) {
            Some("/") => {
                self.count("/");
                Step::Answer(index::page(&self.site, &self.base))
            }
            Some("/varz") => {
                self.count("/varz");
                Step::Need(Question(Endpoint::Varz))
            }
            Some("/connz") => need(self.connz(&request.query)),
            Some("/subsz" | "/subscriptionsz") => need(self.subsz(&request.query)),
            Some("/healthz") => {
                self.count("/healthz");
                Step::Answer(healthz::answer(&request.query, self.accepting))
            }
            Some(path) if path.starts_with("/dashboard") => {
                match dashboard::find(path, &request.query) {
                    Ok(Found::View(view)) => Step::Need(Question(Endpoint::Dashboard(view))),
                    Ok(Found::Asset(response)) | Err(response) => Step::Answer(response),
                    Ok(Found::Nothing) => Step::Answer(Response::not_found()),
                }
            }
            Some(path) => match self.more(path, request) {
                Ok(Some(endpoint)) => Step::Need(Question(endpoint)),
                Ok(None) => Step::Answer(Response::not_found()),
                Err(response) => Step::Answer(response),
            },
            None => Step::Answer(Response::not_found()),
        }
    }

    fn more(&mut self, path: &str, request: &Request) -> Result<Option<Endpoint>, Response> {
        let query = &request.query;
        Ok(Some(match path {
            "/accountz" => {
                self.count("/accountz");
                Endpoint::Accountz(query.text("acc"))
            }
            "/accstatz" => {
                self.count("/accstatz");
                Endpoint::Accstatz(AccstatzQuery::parse(query)?)
            }
            "/stacksz" => Endpoint::Stacksz,
            "/debug/vars" => Endpoint::DebugVars,
            "/metrics" => Endpoint::Metrics,
            _ => return self.absent(path, query),
        }))
    }

    /// nats-server counts some requests before it looks at their parameters.
    fn absent(&mut self, path: &str, query: &Query) -> Result<Option<Endpoint>, Response> {
        let early = ["/gatewayz", "/leafz", "/jsz"].into_iter().find(|known| *known == path);
        if let Some(path) = early {
            self.count(path);
        }
        let found = Absent::parse(path, query)?;
        if found == Some(Absent::Routez) {
            self.count("/routez");
        }
        Ok(found.map(Endpoint::Absent))
    }

    /// The response to a question, from one report of each shard.
    ///
    /// `now_unix_ns` is the wall clock, nanoseconds since 1970.
    pub fn answer(
        &self,
        question: &Question,
        reports: &[Report],
        process: &ProcessFigures,
        now_unix_ns: u64,
    ) -> Response {
        match &question.0 {
            Endpoint::DebugVars => return inner::debug_vars(&self.site, process),
            Endpoint::Stacksz => return inner::stacksz(process),
            Endpoint::Metrics => {
                let (site, requests) = (&self.site, &self.requests);
                return metrics::page(site, requests, reports, process, now_unix_ns);
            }
            Endpoint::Dashboard(view) => {
                let body = self.dashboard.body(view, &self.site, reports, process, now_unix_ns);
                return dashboard::response(body);
            }
            _ => {}
        }
        let data = self.data(&question.0, reports, process, now_unix_ns, Layout::Pretty);
        match data {
            Ok(body) => Response::json(200, body),
            Err(text) => Response::bad_request(text.into_bytes()),
        }
    }

    /// What an endpoint shows; fails with what is wrong with the question.
    fn data(
        &self,
        endpoint: &Endpoint,
        reports: &[Report],
        process: &ProcessFigures,
        now_unix_ns: u64,
        layout: Layout,
    ) -> Result<Vec<u8>, String> {
        let (site, now) = (&self.site, now_unix_ns);
        Ok(match endpoint {
            Endpoint::Varz => {
                json::write(&varz::body(site, &self.requests, reports, process, now), layout)
            }
            Endpoint::Connz(query) => json::write(&connz::body(site, query, reports, now), layout),
            Endpoint::Subsz(query) => json::write(&subsz::body(site, query, reports, now), layout),
            Endpoint::Accountz(name) => {
                json::write(&accountz::accountz(site, name, reports, now)?, layout)
            }
            Endpoint::Accstatz(query) => {
                json::write(&accountz::accstatz(site, query, reports, now), layout)
            }
            Endpoint::Dashboard(view) => self.dashboard.body(view, site, reports, process, now),
            Endpoint::Absent(absent) => absent.body(site, now, layout),
            Endpoint::DebugVars | Endpoint::Stacksz | Endpoint::Metrics => {
                json::write(&inner::Expvarz::new(site, process), layout)
            }
        })
    }

    /// The path under the base path; the base itself is `/`.
    fn endpoint<'a>(&self, path: &'a str) -> Option<&'a str> {
        if path == self.base {
            return Some("/");
        }
        let rest = match self.base.as_str() {
            "/" => path,
            base => path.strip_prefix(base)?,
        };
        // Only the base itself is the index: not `/base/`.
        (rest.len() > 1 && rest.starts_with('/')).then_some(rest)
    }

    fn connz(&mut self, query: &Query) -> Result<Endpoint, Response> {
        let parsed = ConnzQuery::parse(query)?;
        self.count("/connz");
        parsed.check().map_err(Response::bad_request)?;
        Ok(Endpoint::Connz(parsed))
    }

    fn subsz(&mut self, query: &Query) -> Result<Endpoint, Response> {
        self.count("/subsz");
        SubszQuery::parse(query).map(Endpoint::Subsz)
    }

    fn count(&mut self, endpoint: &'static str) {
        *self.requests.entry(endpoint).or_default() += 1;
    }
}

fn need(asked: Result<Endpoint, Response>) -> Step {
    match asked {
        Ok(endpoint) => Step::Need(Question(endpoint)),
        Err(response) => Step::Answer(response),
    }
}
