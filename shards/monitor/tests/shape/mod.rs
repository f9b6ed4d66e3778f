//! What of a monitoring response must be equal on two servers under the same load: everything but
//! ids, addresses, times, and figures of the process. Bodies are compared line by line, which takes
//! in keys, order, layout, and all other values.

/// The requests compared, in this order: `http_req_stats` counts them.
pub const REQUESTS: &[&str] = &[
    "/varz",
    "/connz",
    "/connz?sort=cid",
    "/connz?sort=start",
    "/connz?sort=subs",
    "/connz?sort=pending",
    "/connz?sort=msgs_to",
    "/connz?sort=msgs_from",
    "/connz?sort=bytes_to",
    "/connz?sort=bytes_from",
    "/connz?sort=last",
    "/connz?sort=idle",
    "/connz?sort=uptime",
    "/connz?sort=rtt",
    "/connz?sort=stop",
    "/connz?sort=reason",
    "/connz?sort=nonsense",
    "/connz?subs=1",
    "/connz?subs=detail",
    "/connz?subs=DETAIL&limit=1",
    "/connz?subs=0",
    "/connz?subs=zz",
    "/connz?auth=1",
    "/connz?auth=true&user=derek",
    "/connz?user=derek",
    "/connz?user=nobody",
    "/connz?auth=zz",
    "/connz?acc=$G",
    "/connz?acc=$SYS",
    "/connz?acc=nowhere",
    "/connz?limit=1",
    "/connz?limit=1&offset=1",
    "/connz?offset=100",
    "/connz?limit=-1&offset=-1",
    "/connz?limit=zz",
    "/connz?offset=1.5",
    "/connz?cid=999999999",
    "/connz?cid=999999999&state=all",
    "/connz?cid=-1",
    "/connz?mqtt_client=x",
    "/connz?state=closed",
    "/connz?state=CLOSED&sort=stop",
    "/connz?state=closed&sort=reason",
    "/connz?state=closed&subs=1",
    "/connz?state=closed&subs=detail&auth=1",
    "/connz?state=closed&user=guest&auth=1",
    "/connz?state=closed&acc=$G",
    "/connz?state=closed&acc=nowhere",
    "/connz?state=closed&cid=999999999",
    "/connz?state=any",
    "/connz?state=all&sort=subs&limit=2",
    "/connz?state=any&acc=$G",
    "/connz?state=zz",
    "/subsz?acc=$G",
    "/subsz?subs=1&acc=$G&test=jobs.a.b",
    "/subsz?subs=1&acc=$G&test=a%3Cb",
    "/subsz?subs=1&acc=$G&test=orders.new",
    "/subsz?subs=1&acc=$G&test=orders.new&offset=1&limit=5",
    "/subsz?subs=1&acc=$G&test=nobody.here",
    "/subsz?acc=nowhere",
    "/subsz?subs=1&acc=nowhere",
    "/subsz?subs=detail",
    "/subsz?limit=zz",
    "/subsz?offset=zz",
    "/subsz?test=orders.*",
    "/subscriptionsz?acc=$G",
    "/healthz",
    "/healthz?details=true",
    "/healthz?js-enabled-only=1&js-server-only=1",
    "/healthz?account=$G",
    "/healthz?stream=x",
    "/healthz?account=a&consumer=x&details=1",
    "/healthz?js-meta-only=zz",
    "/connz?filter_subject=foo",
    "/",
    "/routez",
    "/routez?subs=detail",
    "/routez?subs=zz",
    "/gatewayz",
    "/gatewayz?accs=1&subs=detail&gw_name=x&acc_name=y",
    "/gatewayz?accs=zz",
    "/gatewayz?subs=zz&accs=zz",
    "/leafz",
    "/leafz?subs=1&acc=$G",
    "/leafz?subs=detail",
    "/accountz",
    "/accountz?acc=$G",
    "/accountz?acc=$SYS",
    "/accountz?acc=nowhere",
    "/accstatz",
    "/accstatz?unused=1",
    "/accstatz?unused=zz",
    "/jsz",
    "/jsz?accounts=1&streams=1&consumers=1&config=1&raft=1&leader-only=1&acc=$G",
    "/jsz?limit=zz",
    "/jsz?offset=zz",
    "/jsz?direct-consumers=zz",
    "/jsz?stream-leader-only=zz&limit=1",
    "/ipqueuesz",
    "/ipqueuesz?queues=x",
    "/ipqueuesz?all=zz",
    "/raftz",
    "/raftz?acc=$SYS&group=x",
    "/debug/vars",
    "/debug/pprof",
    "/expvarz",
    "/nothing",
    "/varz/",
    "//varz?a=%20",
    "/connz/../v%61rz",
    "/varz",
];

/// Keys whose values differ from server to server.
const MASKED: &[&str] = &[
    "server_id",
    "server_name",
    "version",
    "go",
    "port",
    "http_port",
    "start",
    "now",
    "last_activity",
    "stop",
    "config_load_time",
    "update_time",
    "rtt",
    "uptime",
    "idle",
    "pending_bytes",
    "mem",
    "cores",
    "gomaxprocs",
    "cpu",
    "cid",
    "total_connections",
    "num_subscriptions",
    "num_cache",
    "num_inserts",
    "num_removes",
    "num_matches",
    "cache_hit_rate",
    "max_fanout",
    "avg_fanout",
    "/connz",
];

/// Left out: depends on the build.
const IGNORED: &[&str] = &["git_commit"];

/// Lists whose order is up to the server.
const UNORDERED: &[&str] = &[
    "subscriptions_list",
    "subscriptions_list_detail",
    "accounts",
    "account_statz",
    "exports",
    "imports",
];

/// One request with the comparable part of its response.
pub fn section(target: &str, response: &str) -> String {
    let (head, body) = response.split_once("\r\n\r\n").expect("a response has a head");
    let status = head.split_ascii_whitespace().nth(1).expect("a status line has a status");
    let mut fields: Vec<&str> = head
        .lines()
        .filter(|line| {
            let name = line.split(':').next().unwrap_or("");
            ["Content-Type", "Access-Control-Allow-Origin", "X-Content-Type-Options", "Location"]
                .contains(&name)
        })
        .collect();
    fields.sort_unstable();
    let mut body = match target {
        "/" => links(body),
        "/debug/vars" => keys(body),
        _ => comparable(target, body),
    };
    // All alike, or of no known order.
    if target.contains("sort=pending") || target.contains("sort=rtt") {
        body = sorted_list(&body, "connections");
    }
    format!("> {target}\n< {status}\n{}\n{body}\n\n", fields.join("\n"))
}

/// Where the index leads. What nats-server does not have is left out.
fn links(body: &str) -> String {
    let links = body.split("<a href=.").skip(1).filter_map(|rest| rest.split([' ', '>']).next());
    links.filter(|link| !["/dashboard", "/metrics"].contains(link)).collect::<Vec<_>>().join("\n")
}

/// The keys of an object that is not laid out in lines, without those of objects in its lists.
fn keys(body: &str) -> String {
    let outer: String = body.split('[').map(|part| part.rsplit(']').next().unwrap_or("")).collect();
    let quoted = outer.split('"').skip(1).step_by(2).zip(outer.split('"').skip(2).step_by(2));
    let keys = quoted.filter(|(_, after)| after.starts_with(':')).map(|(key, _)| key);
    keys.collect::<Vec<_>>().join("\n")
}

fn comparable(target: &str, body: &str) -> String {
    let lines = body.lines().filter(|line| !IGNORED.contains(&key(line).unwrap_or("")));
    let masked: Vec<String> = lines
        .map(|line| match key(line) {
            // Of a connection it is the client's own.
            Some("version") if !target.starts_with("/varz") => line.to_owned(),
            // The reference counts those of its system account in.
            Some("subscriptions") if !target.starts_with("/connz") => mask(line),
            Some(key) if MASKED.contains(&key) => mask(line),
            _ => line.to_owned(),
        })
        .collect();
    UNORDERED.iter().fold(masked.join("\n"), |text, list| sorted_list(&text, list))
}

/// The key of a line `"key": value`.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.trim_start().strip_prefix('"')?.split_once("\": ")?;
    Some(key)
}

fn mask(line: &str) -> String {
    let (before, value) = line.split_once("\": ").expect("only lines with a key are masked");
    let (value, comma) = value.strip_suffix(',').map_or((value, ""), |value| (value, ","));
    let class = match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(text) if is_time(text) => "<time>",
        Some(text) if is_duration(text) => "<duration>",
        Some(_) => "<text>",
        None if value.parse::<f64>().is_ok() => "<number>",
        None => value,
    };
    format!("{before}\": {class}{comma}")
}

/// As in `2026-08-21T12:00:00.123Z`; any zone.
fn is_time(text: &str) -> bool {
    let pattern = b"0000-00-00T00:00:00";
    let fits = |(byte, wanted): (u8, &u8)| match wanted {
        b'0' => byte.is_ascii_digit(),
        _ => byte == *wanted,
    };
    let rest = text.get(pattern.len()..).unwrap_or("");
    let zone = rest.trim_start_matches(|char: char| char == '.' || char.is_ascii_digit());
    text.len() > pattern.len()
        && text.bytes().zip(pattern).all(fits)
        && (zone == "Z" || zone.starts_with(['+', '-']))
}

/// As in `1h2m3.5s` or `1y2d3h4m5s`.
fn is_duration(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_digit())
        && text.ends_with('s')
        && text.chars().all(|char| char.is_ascii_digit() || ".ydhmsnµ".contains(char))
}

/// Sorts the items of each list of this name.
fn sorted_list(text: &str, name: &str) -> String {
    let mut out = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        out.push(line.to_owned());
        if key(line) != Some(name) || !line.ends_with('[') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let mut items: Vec<String> = Vec::new();
        let mut end = String::new();
        for line in lines.by_ref() {
            let depth = line.len() - line.trim_start().len();
            if depth == indent {
                end = line.to_owned();
                break;
            }
            match items.last_mut() {
                Some(item) if depth > indent + 2 || line.trim_start().starts_with(['}', ']']) => {
                    item.push('\n');
                    item.push_str(line);
                }
                _ => items.push(line.to_owned()),
            }
        }
        let mut items: Vec<_> = items.iter().map(|item| item.trim_end_matches(',')).collect();
        items.sort_unstable();
        out.push(items.join(",\n"));
        out.push(end);
    }
    out.join("\n")
}
