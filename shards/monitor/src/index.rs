//! The page that lists what there is to see.

use std::fmt::Write;

use crate::http::{Response, escape_html};
use crate::site::Site;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:0 auto;padding:1.5rem 1rem}\
h1{font-size:1.25rem;margin:0}\
p{margin:0 0 1.25rem;opacity:.7;overflow-wrap:anywhere}\
ul{list-style:none;margin:0;padding:0;border-top:1px solid #8884}\
li{border-bottom:1px solid #8884}\
a{display:flex;justify-content:space-between;gap:1rem;padding:.7rem .25rem;\
color:inherit;text-decoration:none}\
a:hover,a:focus-visible{background:#8882}\
code{font-family:ui-monospace,monospace;opacity:.7}";

/// Titles as nats-server's page has them.
const ENDPOINTS: &[(&str, &str)] = &[
    ("Dashboard", "/dashboard"),
    ("General", "/varz"),
    ("JetStream", "/jsz"),
    ("Connections", "/connz"),
    ("Accounts", "/accountz"),
    ("Account Stats", "/accstatz"),
    ("Subscriptions", "/subsz"),
    ("Routes", "/routez"),
    ("LeafNodes", "/leafz"),
    ("Gateways", "/gatewayz"),
    ("Raft Groups", "/raftz"),
    ("Health Probe", "/healthz"),
    ("Expvar", "/debug/vars"),
    ("Prometheus", "/metrics"),
];

/// `base` is the normalized base path. Links are relative to it as nats-server's are, unquoted,
/// since scripts look for `<a href=./varz`.
pub(crate) fn page(site: &Site, base: &str) -> Response {
    let name = escape_html(&site.server_name);
    let version = escape_html(&site.version);
    let base = escape_unquoted(base.trim_end_matches('/'));
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>Monitoring</h1>\n<p>{name}, version {version}</p>\n<ul>\n"
    );
    for (title, path) in ENDPOINTS {
        let link = format!("<a href=.{base}{path}>{title}<code>{path}</code></a>");
        let _ = writeln!(html, "<li>{link}</li>");
    }
    html.push_str("</ul>\n</body>\n</html>\n");
    Response::html(html)
}

/// For an attribute without quotes.
fn escape_unquoted(text: &str) -> String {
    escape_html(text).replace(char::is_whitespace, "%20").replace('=', "%3D").replace('`', "%60")
}
