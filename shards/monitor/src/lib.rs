//! The monitoring endpoints of nats-server, sans I/O: requests and reports in, responses out.
//!
//! The driver feeds bytes to [`Requests`], shows each [`Request`] to [`Monitor::ask`], and either
//! writes the [`Response`] it gets or collects one [`Report`] per shard and calls
//! [`Monitor::answer`].
#![forbid(unsafe_code)]

mod connz;
mod duration;
mod figures;
mod healthz;
mod http;
mod index;
mod json;
mod page;
mod query;
mod site;
mod subsz;
mod varz;

use std::collections::BTreeMap;

use shard::report::{Report, Wanted};

pub use duration::{go_duration, http_date, rfc3339_nano, uptime};
pub use http::{
    BODY_BYTES_MAX, Framing, HEAD_BYTES_MAX, Method, Next, Request, Requests, Response,
};
pub use query::Query;
pub use site::{Site, default_feature_flags};

use connz::ConnzQuery;
use subsz::SubszQuery;

/// What the driver reads of its own process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Resident memory, bytes.
    pub mem_rss: u64,
    /// Share of one core used, percent: 100 is one core busy.
    pub cpu_percent: f64,
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
}

impl Question {
    /// What each shard must report for it.
    pub fn wanted(&self) -> Wanted {
        match &self.0 {
            Endpoint::Varz => Wanted::default(),
            Endpoint::Connz(query) => query.wanted(),
            Endpoint::Subsz(query) => query.wanted(),
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
}

impl Monitor {
    /// For a server that accepts clients.
    pub fn new(site: Site) -> Monitor {
        let base = http::clean_path(&site.http_base_path);
        Monitor { site, base, accepting: true, requests: BTreeMap::new() }
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
            _ => Step::Answer(Response::not_found()),
        }
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
        let body = match &question.0 {
            Endpoint::Varz => {
                let requests = &self.requests;
                json::pretty(&varz::body(&self.site, requests, reports, process, now_unix_ns))
            }
            Endpoint::Connz(query) => {
                json::pretty(&connz::body(&self.site, query, reports, now_unix_ns))
            }
            Endpoint::Subsz(query) => {
                json::pretty(&subsz::body(&self.site, query, reports, now_unix_ns))
            }
        };
        Response::json(200, body)
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
        parsed.check()?;
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
