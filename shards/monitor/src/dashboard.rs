//! /dashboard: a page for people, what it is made of, and the figures it asks for.

mod connections;
mod data;
mod rates;

use std::cell::RefCell;

use shard::report::{Report, Wanted};

use crate::http::Response;
use crate::json;
use crate::query::Query;
use crate::site::Site;
use crate::{ProcessFigures, Shared};

use connections::ConnectionsQuery;
use rates::Rates;

/// The page may load what this server serves and nothing else, and nobody may frame it.
const HEADERS: &[(&str, &str)] = &[
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($path:literal, $type:expr, $file:literal) => {
        ($path, $type, include_str!(concat!("../assets/dashboard/", $file)))
    };
}

/// Path under the base path, type, content.
const ASSETS: &[(&str, &str, &str)] = &[
    asset!("/dashboard", HTML, "index.html"),
    asset!("/dashboard/style.css", CSS, "style.css"),
    asset!("/dashboard/icon.svg", SVG, "icon.svg"),
    asset!("/dashboard/theme.js", SCRIPT, "theme.js"),
    asset!("/dashboard/app.js", SCRIPT, "app.js"),
    asset!("/dashboard/feed.js", SCRIPT, "feed.js"),
    asset!("/dashboard/text.js", SCRIPT, "text.js"),
    asset!("/dashboard/charts.js", SCRIPT, "charts.js"),
    asset!("/dashboard/cores.js", SCRIPT, "cores.js"),
    asset!("/dashboard/panels.js", SCRIPT, "panels.js"),
    asset!("/dashboard/connections.js", SCRIPT, "connections.js"),
];

/// What the page asks for.
#[derive(Clone, Debug)]
pub(crate) enum View {
    Figures,
    Connections(ConnectionsQuery),
}

/// What is behind a path under `/dashboard`.
pub(crate) enum Found {
    Asset(Response),
    View(View),
    Nothing,
}

pub(crate) fn find(path: &str, query: &Query) -> Result<Found, Response> {
    match path {
        "/dashboard/data" => Ok(Found::View(View::Figures)),
        "/dashboard/connections" => {
            ConnectionsQuery::parse(query).map(View::Connections).map(Found::View)
        }
        _ => Ok(asset(path).map_or(Found::Nothing, Found::Asset)),
    }
}

fn asset(path: &str) -> Option<Response> {
    let (_, content_type, text) = ASSETS.iter().find(|(known, ..)| *known == path)?;
    let body = text.as_bytes().to_vec();
    Some(Response { headers: HEADERS, ..Response::new(200, content_type, body) })
}

impl View {
    pub(crate) fn wanted(&self) -> Wanted {
        match self {
            View::Figures => Wanted { metrics: true, ..Wanted::default() },
            View::Connections(query) => query.wanted(),
        }
    }

    pub(crate) fn shared(&self) -> Shared {
        match self {
            View::Figures => Shared::Figures,
            View::Connections(query) if query.is_closed() => Shared::Closed,
            View::Connections(_) => Shared::Open,
        }
    }
}

/// What the page's figures need to be remembered from one answer to the next.
#[derive(Default)]
pub(crate) struct Dashboard {
    rates: RefCell<Rates>,
}

impl Dashboard {
    /// JSON for the page's own code.
    pub(crate) fn body(
        &self,
        view: &View,
        site: &Site,
        reports: &[Report],
        process: &ProcessFigures,
        now_unix_ns: u64,
    ) -> Vec<u8> {
        match view {
            View::Figures => json::compact(&data::body(site, reports, process, now_unix_ns)),
            View::Connections(query) => {
                let mut rates = self.rates.borrow_mut();
                if !query.is_closed() {
                    rates.take(reports);
                }
                json::compact(&connections::body(query, reports, &rates))
            }
        }
    }
}

pub(crate) fn response(body: Vec<u8>) -> Response {
    Response { headers: HEADERS, ..Response::new(200, "application/json", body) }
}
