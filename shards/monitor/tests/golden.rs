//! The answers to a small load, compared with what nats-server 2.15.1 answered to the same.

mod shape;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use monitor::{Monitor, Next, ProcessFigures, Request, Requests, Site, Step};
use shard::ShardId;
use shard::access::{Access, SYSTEM_NAME};
use shard::report::{
    AccountFigures, CloseReason, Connection, DriverFigures, Figures, Report, Subscription, Wanted,
};

/// Seconds, in nanoseconds.
const S: u64 = 1_000_000_000;
const START_UNIX_NS: u64 = 1_789_000_000 * S;
const NOW_UNIX_NS: u64 = START_UNIX_NS + 60 * S;

#[test]
fn answers_are_those_of_nats_server() {
    let mut monitor = Monitor::new(site());
    // The recording asked for it to see the load arrive.
    ask(&mut monitor, "/connz", &load());
    let answers: Vec<_> = shape::REQUESTS
        .iter()
        .map(|target| shape::section(target, &ask(&mut monitor, target, &load())))
        .collect();
    let wanted = include_str!("golden/load.txt");
    let mut request = "";
    for (found, wanted) in answers.concat().lines().zip(wanted.lines()) {
        if wanted.starts_with("> ") {
            request = wanted;
        }
        assert_eq!(found, wanted, "in `{request}`");
    }
    assert_eq!(answers.concat().lines().count(), wanted.lines().count());
}

#[test]
fn sums_over_shards_are_exact() {
    let mut reports = load();
    for (report, scale) in reports.iter_mut().zip([1, 1_000_000_000_000]) {
        report.figures = distinct_figures(scale);
    }
    let mut monitor = Monitor::new(site());
    let varz = json(&ask(&mut monitor, "/varz", &reports));
    for (key, wanted) in [
        ("connections", 1_000_000_000_001_u64),
        ("total_connections", 2_000_000_000_002),
        ("subscriptions", 3_000_000_000_003),
        ("in_msgs", 4_000_000_000_004),
        ("in_client_msgs", 4_000_000_000_004),
        ("in_bytes", 5_000_000_000_005),
        ("in_client_bytes", 5_000_000_000_005),
        ("out_msgs", 6_000_000_000_006),
        ("out_client_msgs", 6_000_000_000_006),
        ("out_bytes", 7_000_000_000_007),
        ("out_client_bytes", 7_000_000_000_007),
        ("slow_consumers", 17_000_000_000_017),
        ("stale_connections", 10_000_000_000_010),
        ("stalled_clients", 11_000_000_000_011),
    ] {
        assert_eq!(varz[key].as_u64(), Some(wanted), "{key}");
    }
    assert_eq!(varz["slow_consumer_stats"]["clients"], 17_000_000_000_017_u64);
    assert_eq!(varz["stale_connection_stats"]["clients"], 10_000_000_000_010_u64);
    assert_eq!(varz["cores"], 4);
    assert_eq!(varz["gomaxprocs"], 2);
    assert_eq!(varz["mem"], 12_345_678);
    assert_eq!(varz["cpu"], 12.5);
    assert_eq!(varz["uptime"], "1m0s");

    let subsz = json(&ask(&mut monitor, "/subsz", &reports));
    for (key, wanted) in [
        ("num_subscriptions", 3_000_000_000_003_u64),
        ("num_inserts", 12_000_000_000_012),
        ("num_removes", 13_000_000_000_013),
        ("num_matches", 20_000_000_000_020),
        ("num_cache", 16_000_000_000_016),
        ("max_fanout", 17_000_000_000_000),
    ] {
        assert_eq!(subsz[key].as_u64(), Some(wanted), "{key}");
    }
    assert_eq!(subsz["cache_hit_rate"], 0.75);
    assert_eq!(subsz["avg_fanout"], 2.5);
}

#[test]
fn only_what_is_asked_for_is_wanted_of_the_shards() {
    let wanted = |open, closed, subscriptions, cid| Wanted {
        open,
        closed,
        subscriptions,
        cid,
        ..Wanted::default()
    };
    let of_accounts = |wanted: Wanted| Wanted { accounts: true, ..wanted };
    for (target, expected) in [
        ("/varz", Wanted::default()),
        ("/connz", wanted(true, false, false, None)),
        ("/connz?state=closed&subs=detail", wanted(false, true, true, None)),
        ("/connz?state=any&subs=1&cid=7", wanted(true, true, true, Some(7))),
        ("/connz?acc=$G", of_accounts(wanted(true, false, false, None))),
        ("/connz?acc=other&subs=1", of_accounts(wanted(true, false, true, None))),
        ("/accountz?acc=other", of_accounts(Wanted { access: true, ..Wanted::default() })),
        ("/accstatz", of_accounts(Wanted::default())),
        ("/jsz", Wanted::default()),
        ("/subsz", Wanted::default()),
        ("/subsz?subs=1", wanted(true, false, true, None)),
        ("/subsz?acc=$SYS", of_accounts(Wanted::default())),
    ] {
        match Monitor::new(site()).ask(&request(target)) {
            Step::Need(question) => {
                assert_eq!(format!("{:?}", question.wanted()), format!("{expected:?}"), "{target}");
            }
            Step::Answer(response) => panic!("{target}: {response:?}"),
        }
    }
}

/// Whatever a page and an id are, the answer is one.
#[test]
fn advisory_2026_28_no_number_of_a_query_is_too_large() {
    let mut monitor = Monitor::new(site());
    let numbers = [u64::MAX.to_string(), i64::MAX.to_string(), i64::MIN.to_string(), "-1".into()];
    for path in ["/connz", "/connz?state=all", "/subsz?subs=1", "/accountz", "/routez"] {
        for (first, second) in numbers.iter().flat_map(|a| numbers.iter().map(move |b| (a, b))) {
            for key in ["limit", "cid"] {
                let joint = if path.contains('?') { '&' } else { '?' };
                let target = format!("{path}{joint}offset={first}&{key}={second}");
                let answer = ask(&mut monitor, &target, &load());
                let status = answer.split(' ').nth(1).unwrap_or_default();
                assert!(["200", "400"].contains(&status), "{target}: {answer}");
            }
        }
    }
}

#[test]
fn pages_of_connections_and_subscriptions_fit_together() {
    let mut monitor = Monitor::new(site());
    let whole = json(&ask(&mut monitor, "/connz?state=all", &load()));
    let cids = |page: &serde_json::Value| -> Vec<u64> {
        let list = page["connections"].as_array().unwrap();
        list.iter().map(|it| it["cid"].as_u64().unwrap()).collect()
    };
    let mut pages = Vec::new();
    for offset in 0..5 {
        let target = format!("/connz?state=all&limit=1&offset={offset}");
        let page = json(&ask(&mut monitor, &target, &load()));
        assert_eq!(page["total"], 5);
        assert_eq!(page["num_connections"], 1);
        pages.extend(cids(&page));
    }
    assert_eq!(pages, cids(&whole));
    let far = format!("/connz?offset={}&limit={}", i64::MAX, i64::MAX);
    assert_eq!(json(&ask(&mut monitor, &far, &load()))["num_connections"], 0);

    let whole = json(&ask(&mut monitor, "/subsz?subs=1", &load()));
    assert_eq!(whole["total"], 5);
    let mut pages = Vec::new();
    for offset in 0..5 {
        let page =
            json(&ask(&mut monitor, &format!("/subsz?subs=1&limit=1&offset={offset}"), &load()));
        pages.push(page["subscriptions_list"][0].clone());
    }
    assert_eq!(&pages, whole["subscriptions_list"].as_array().unwrap());
}

#[test]
fn shards_that_report_at_different_times_are_one_list() {
    let mut reports = load();
    for connection in &mut reports[0].connections {
        connection.now += 50 * S;
    }
    let mut monitor = Monitor::new(site());
    let connz = json(&ask(&mut monitor, "/connz?sort=uptime&state=all", &reports));
    let list = connz["connections"].as_array().unwrap();
    let found: Vec<_> = list
        .iter()
        .map(|it| (it["cid"].as_u64().unwrap(), it["uptime"].as_str().unwrap()))
        .collect();
    assert_eq!(found, [(8, "4s"), (9, "4s"), (7, "1m43s"), (6, "1m44s"), (5, "1m45s")]);
}

#[test]
fn one_connection_by_its_id() {
    let mut monitor = Monitor::new(site());
    // As a shard answers it: that connection only, while the figures count all.
    let mut reports = load();
    for report in &mut reports {
        report.connections.retain(|it| it.cid == 8);
    }
    let connz = json(&ask(&mut monitor, "/connz?cid=8&state=all", &reports));
    assert_eq!(connz["num_connections"], 1);
    assert_eq!(connz["total"], 5);
    assert_eq!(connz["limit"], 1);
    assert_eq!(connz["connections"][0]["reason"], "Client Closed");
    assert_eq!(connz["connections"][0]["uptime"], "4s");
    assert_eq!(connz["connections"][0]["idle"], "1s");
    assert_eq!(connz["connections"][0]["start"], "2026-09-10T00:26:48Z");
    assert_eq!(connz["connections"][0]["stop"], "2026-09-10T00:26:52Z");
}

#[test]
fn a_base_path_moves_everything() {
    let site = Site { http_base_path: "a//b/".to_owned(), ..site() };
    let mut monitor = Monitor::new(site);
    let mut status = |target: &str| {
        let answer = ask(&mut monitor, target, &load());
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for target in ["/a/b", "/a/b/varz", "/a/b/connz", "/a/b/subsz", "/a/b/healthz"] {
        assert_eq!(status(target), "200", "{target}");
    }
    for target in ["/", "/varz", "/a", "/a/b/", "/a/bvarz", "/a/b/nothing", "/a/b/a/b/varz"] {
        assert_eq!(status(target), "404", "{target}");
    }
    let page = ask(&mut monitor, "/a/b", &load());
    assert!(page.contains("<a href=./a/b/varz>"), "{page}");
}

#[test]
fn the_index_lists_what_is_there() {
    let site = Site { server_name: "<b>&\"x".to_owned(), ..site() };
    let mut monitor = Monitor::new(site);
    let page = ask(&mut monitor, "/", &load());
    let links: Vec<&str> =
        page.split("<a href=.").skip(1).filter_map(|rest| rest.split('>').next()).collect();
    assert!(links.contains(&"/varz") && links.contains(&"/debug/vars"), "{links:?}");
    assert!(page.contains("Content-Type: text/html; charset=utf-8\r\n"), "{page}");
    assert!(page.contains("&lt;b&gt;&amp;&#34;x"), "{page}");
    assert!(!page.contains("<b>"), "{page}");
    for link in links {
        let status = if link == "/raftz" { "404 Not Found" } else { "200 OK" };
        let answer = ask(&mut monitor, link, &load());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{link}");
    }
}

#[test]
fn the_dashboard_loads_nothing_from_elsewhere() {
    let mut monitor = Monitor::new(Site { http_base_path: "/a".to_owned(), ..site() });
    let page = ask(&mut monitor, "/a/dashboard", &load());
    assert!(page.contains("Content-Security-Policy: default-src 'none'; script-src 'self'"));
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    let quoted = page.split('"').filter(|text| text.starts_with("dashboard/"));
    let assets: Vec<&str> = quoted.collect();
    assert!(assets.len() >= 4, "{assets:?}");
    for asset in assets {
        let answer = ask(&mut monitor, &format!("/a/{asset}"), &load());
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{asset}");
        assert!(answer.contains("X-Content-Type-Options: nosniff\r\n"), "{asset}");
    }
    assert!(ask(&mut monitor, "/a/dashboard/nothing", &load()).starts_with("HTTP/1.1 404"));
}

#[test]
fn the_dashboard_has_figures_by_shard() {
    let mut monitor = Monitor::new(site());
    let data = json(&ask(&mut monitor, "/dashboard/data", &load()));
    assert_eq!(data["totals"]["in_msgs"], 4);
    assert_eq!(data["shards"].as_array().map(Vec::len), Some(2));
    assert_eq!(data["shards"][1]["in_msgs"], 3);
}

#[test]
fn the_dashboard_sorts_searches_and_pages_connections() {
    let mut monitor = Monitor::new(site());
    let mut names = |query: &str| -> (i64, Vec<String>) {
        let target = format!("/dashboard/connections?{query}");
        let table = json(&ask(&mut monitor, &target, &load()));
        let rows = table["connections"].as_array().expect("rows").clone();
        let names = rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned());
        (table["found"].as_i64().expect("a number"), names.collect())
    };
    let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names("sort=name&order=desc"), (3, list(&["orders", "clock", ""])));
    assert_eq!(names("sort=in_msgs&order=desc&limit=1"), (3, list(&["clock"])));
    assert_eq!(names("sort=in_msgs&order=desc&limit=1&offset=1"), (3, list(&["orders"])));
    assert_eq!(names("q=ORDers"), (1, list(&["orders"])));
    assert_eq!(names("q=nobody"), (0, list(&[])));
    assert_eq!(names("state=closed&sort=name"), (2, list(&["guest", "wrong"])));
    assert_eq!(names("state=closed&q=protocol%20viol"), (1, list(&["wrong"])));
    let refused = ask(&mut monitor, "/dashboard/connections?sort=colour", &load());
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
}

/// A whole response, as text.
fn ask(monitor: &mut Monitor, target: &str, reports: &[Report]) -> String {
    let request = request(target);
    let process = ProcessFigures {
        mem_rss: 12_345_678,
        cpu_percent: 12.5,
        threads: vec![(7, "control".to_owned(), 'S')],
    };
    let response = match monitor.ask(&request) {
        Step::Answer(response) => response,
        Step::Need(question) => {
            let reports = answered(&question.wanted(), reports);
            monitor.answer(&question, &reports, &process, NOW_UNIX_NS)
        }
    };
    let mut out = Vec::new();
    response.write(request.framing, NOW_UNIX_NS, &mut out);
    String::from_utf8(out).expect("text")
}

/// What shards report when they are asked for this.
fn answered(wanted: &Wanted, reports: &[Report]) -> Vec<Report> {
    let mut reports = reports.to_vec();
    for report in &mut reports {
        if !wanted.accounts {
            report.accounts.clear();
        }
        report.connections.retain(|it| {
            let state = if it.closed.is_some() { wanted.closed } else { wanted.open };
            state && wanted.cid.is_none_or(|cid| cid == it.cid)
        });
        for connection in &mut report.connections {
            if !wanted.subscriptions {
                connection.subscriptions_list.clear();
            }
        }
    }
    reports
}

fn json(response: &str) -> serde_json::Value {
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

fn request(target: &str) -> Request {
    let mut requests = Requests::new();
    requests.push(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    match requests.pull() {
        Next::Request(request) => *request,
        other => panic!("{target}: {other:?}"),
    }
}

fn site() -> Site {
    Site {
        server_id: "NABC".to_owned(),
        server_name: "NABC".to_owned(),
        version: "2.15.1".to_owned(),
        git_commit: "abcdef0".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: 4222,
        http_host: "127.0.0.1".to_owned(),
        http_port: 8222,
        start_unix_ns: START_UNIX_NS,
        config_load_unix_ns: START_UNIX_NS,
        cores: 4,
        shards: 2,
        ..Site::default()
    }
}

/// The load of the recording, on two shards.
fn load() -> Vec<Report> {
    let connections = |connections, closed_remembered, subscriptions| Figures {
        connections,
        connections_total: connections + closed_remembered,
        closed_remembered,
        subscriptions,
        ..Figures::default()
    };
    let one =
        Figures { in_msgs: 1, in_bytes: 100, out_msgs: 3, out_bytes: 15, ..connections(2, 1, 4) };
    let two =
        Figures { in_msgs: 3, in_bytes: 15, out_msgs: 1, out_bytes: 100, ..connections(1, 1, 1) };
    vec![
        Report {
            has_followers: false,
            access: Some(access()),
            ticket: 1,
            shard: ShardId(0),
            figures: one,
            driver: DriverFigures::default(),
            connections: vec![idle(), orders(), gone()],
            accounts: accounts(one),
            top_subjects: Vec::new(),
        },
        Report {
            has_followers: false,
            access: Some(access()),
            ticket: 1,
            shard: ShardId(1),
            figures: two,
            driver: DriverFigures::default(),
            connections: vec![wrong(), clock()],
            accounts: accounts(two),
            top_subjects: Vec::new(),
        },
    ]
}

/// Every account may ask the system account about itself.
fn access() -> Arc<Access> {
    let mut access = Access::default();
    access.system = Some(access.account(SYSTEM_NAME));
    access.account("other");
    access.open_system();
    Arc::new(access)
}

/// All is of the global account.
fn accounts(figures: Figures) -> Vec<AccountFigures> {
    vec![AccountFigures { name: "$G".to_owned(), figures }]
}

fn orders() -> Connection {
    Connection {
        last_activity: 30 * S,
        in_msgs: 1,
        out_msgs: 3,
        in_bytes: 100,
        out_bytes: 15,
        subscriptions: 4,
        name: "orders".to_owned(),
        lang: "go".to_owned(),
        version: "1.2.3".to_owned(),
        tls: None,
        authorized_user: "derek".to_owned(),
        subscriptions_list: vec![
            Subscription { msgs: 3, ..subscription(5, "orders.*", None, "1") },
            Subscription { max: 10, ..subscription(5, "jobs.>", Some("workers"), "22") },
            subscription(5, "a<b", None, "3"),
            subscription(5, "late", None, "4"),
        ],
        ..connection(5)
    }
}

fn clock() -> Connection {
    Connection {
        last_activity: 20 * S,
        in_msgs: 3,
        out_msgs: 1,
        in_bytes: 15,
        out_bytes: 100,
        subscriptions: 1,
        name: "clock".to_owned(),
        lang: "rust".to_owned(),
        subscriptions_list: vec![Subscription { msgs: 1, ..subscription(6, "big", None, "9") }],
        ..connection(6)
    }
}

fn idle() -> Connection {
    connection(7)
}

fn gone() -> Connection {
    Connection {
        closed: Some((CloseReason::ClientClosed, 12 * S)),
        last_activity: 11 * S,
        subscriptions: 1,
        name: "guest".to_owned(),
        tls: None,
        authorized_user: "guest".to_owned(),
        subscriptions_list: vec![subscription(8, "gone.>", Some("g"), "5")],
        ..connection(8)
    }
}

fn wrong() -> Connection {
    Connection {
        closed: Some((CloseReason::ProtocolViolation, 13 * S)),
        name: "wrong".to_owned(),
        ..connection(9)
    }
}

fn connection(cid: u64) -> Connection {
    Connection {
        cid,
        shard: ShardId(0),
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)),
        start_unix_ns: START_UNIX_NS + cid * S,
        start: cid * S,
        last_activity: cid * S,
        now: 60 * S,
        closed: None,
        rtt: 45_678,
        pending_bytes: 0,
        in_msgs: 0,
        out_msgs: 0,
        in_bytes: 0,
        out_bytes: 0,
        stalls: 0,
        subscriptions: 0,
        account: "$G".to_owned(),
        account_tag: String::new(),
        issuer_key: String::new(),
        papers: None,
        name: String::new(),
        lang: String::new(),
        version: String::new(),
        tls: None,
        authorized_user: String::new(),
        permissions: None,
        subscriptions_list: Vec::new(),
    }
}

fn subscription(cid: u64, subject: &str, queue: Option<&str>, sid: &str) -> Subscription {
    Subscription {
        account: "$G".to_owned(),
        account_tag: String::new(),
        subject: subject.into(),
        queue: queue.map(Into::into),
        sid: sid.into(),
        msgs: 0,
        max: 0,
        cid,
    }
}

/// No two figures alike, so that none can stand for another.
fn distinct_figures(scale: u64) -> Figures {
    Figures {
        connections: scale,
        connections_total: 2 * scale,
        closed_remembered: 14 * scale,
        subscriptions: 3 * scale,
        in_msgs: 4 * scale,
        in_bytes: 5 * scale,
        out_msgs: 6 * scale,
        out_bytes: 7 * scale,
        slow_pending_bytes: 8 * scale,
        slow_write_deadline: 9 * scale,
        stale_connections: 10 * scale,
        stalled_clients: 11 * scale,
        inserts: 12 * scale,
        removes: 13 * scale,
        matches: 20 * scale,
        plan_hits: 15 * scale,
        plans: 16 * scale,
        fanout_max: 17 * scale,
        fanout_sum: 50 * scale,
        plans_made: 20 * scale,
        ..Figures::default()
    }
}
