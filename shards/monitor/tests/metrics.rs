//! /metrics: that nothing is missing in it, and what its summaries say.

use monitor::{Monitor, Next, ProcessFigures, Requests, Site, Step};
use shard::ShardId;
use shard::report::{DriverFigures, Figures, LaneFigures, Latency, Report, SubjectRates};

/// What each number of /varz is called in /metrics. Empty: it is a part of the configuration or the
/// protocol that is no figure, or there is nothing here to count.
const VARZ: &[(&str, &str)] = &[
    ("auth_timeout", "ringbus_auth_timeout_seconds"),
    ("connections", "ringbus_connections"),
    ("cores", "ringbus_cores"),
    ("cpu", "ringbus_cpu_ratio"),
    ("gomaxprocs", "ringbus_shards"),
    ("http_port", ""),
    ("https_port", ""),
    ("in_bytes", "ringbus_in_bytes_total"),
    ("in_client_bytes", "ringbus_in_bytes_total"),
    ("in_client_msgs", "ringbus_in_messages_total"),
    ("in_msgs", "ringbus_in_messages_total"),
    ("leafnodes", "ringbus_leafnodes"),
    ("max_connections", "ringbus_max_connections"),
    ("max_control_line", "ringbus_max_control_line_bytes"),
    ("max_payload", "ringbus_max_payload_bytes"),
    ("max_pending", "ringbus_max_pending_bytes"),
    ("max_subscriptions", "ringbus_max_subscriptions"),
    ("mem", "ringbus_resident_memory_bytes"),
    ("out_bytes", "ringbus_out_bytes_total"),
    ("out_client_bytes", "ringbus_out_bytes_total"),
    ("out_client_msgs", "ringbus_out_messages_total"),
    ("out_msgs", "ringbus_out_messages_total"),
    ("ping_interval", "ringbus_ping_interval_seconds"),
    ("ping_max", "ringbus_ping_max"),
    ("port", ""),
    ("proto", ""),
    ("remotes", "ringbus_remotes"),
    ("routes", "ringbus_routes"),
    ("slow_consumers", "ringbus_slow_consumers_total"),
    ("stale_connections", "ringbus_stale_connections_total"),
    ("stalled_clients", "ringbus_stalled_clients_total"),
    ("subscriptions", "ringbus_subscriptions"),
    ("tls_timeout", "ringbus_tls_timeout_seconds"),
    ("total_connections", "ringbus_connections_total"),
    ("write_deadline", "ringbus_write_deadline_seconds"),
];

fn site() -> Site {
    let mut site = Site { shards: 2, cores: 2, ..Site::default() };
    site.options.subscriptions_max = 7;
    site.tls_cert_not_after_unix_s = Some(2_000_000_000);
    site
}

fn report(shard: u16) -> Report {
    let subject = |account: &str, subject: &str, msgs| SubjectRates {
        account: account.to_owned(),
        subject: subject.into(),
        msgs,
        bytes: 10.0 * msgs,
    };
    let lane = LaneFigures {
        to: ShardId(1 - shard),
        msgs: 640,
        frames: 10,
        ring_frames: 3,
        ring_frames_peak: 9,
        ring_frames_max: 64,
        staged_bytes: 5,
    };
    let latency = Latency {
        recent: vec![(1000, 98), (50_000 * (1 + u64::from(shard)), 2)],
        sum_ns: 1_000_000,
        count: 500,
    };
    let figures = Figures {
        dropped_responses: 3,
        dropped_internal: 4,
        slow_pending_bytes: 1,
        slow_write_deadline: 2,
        ..Figures::default()
    };
    Report {
        ticket: 1,
        shard: ShardId(shard),
        figures,
        driver: DriverFigures {
            now: 4_000_000_000,
            idle_ns: 1_000_000_000,
            latency: Some(latency),
            lanes: vec![lane],
            ..DriverFigures::default()
        },
        connections: Vec::new(),
        accounts: Vec::new(),
        has_followers: false,
        access: None,
        top_subjects: vec![subject("$G", "a.b", 100.0), subject("$SYS", "a.b", f64::from(shard))],
    }
}

fn ask(monitor: &mut Monitor, target: &str) -> String {
    let mut requests = Requests::new();
    requests.push(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes());
    let Next::Request(request) = requests.pull() else { panic!("no request") };
    let Step::Need(question) = monitor.ask(&request) else { panic!("no question") };
    let reports = [report(0), report(1)];
    let response = monitor.answer(&question, &reports, &ProcessFigures::default(), 0);
    String::from_utf8(response.body).expect("text")
}

#[test]
fn every_figure_of_varz_is_there() {
    let mut monitor = Monitor::new(site());
    let varz: serde_json::Value = serde_json::from_str(&ask(&mut monitor, "/varz")).expect("JSON");
    let metrics = ask(&mut monitor, "/metrics");
    let numbers = varz.as_object().expect("an object").iter().filter(|(_, it)| it.is_number());
    for (key, _) in numbers {
        let (_, name) = VARZ.iter().find(|(known, _)| known == key).unwrap_or_else(|| {
            panic!("{key} is a number of /varz: what is it in /metrics?");
        });
        assert!(metrics.contains(&format!("# TYPE {name}")), "{key} is not told as {name}");
    }
    for line in [
        "ringbus_http_requests_total{path=\"/varz\"} 1",
        "ringbus_certificate_expiry_time_seconds 2000000000",
        "ringbus_max_subscriptions 7",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no `{line}` in\n{metrics}");
    }
}

#[test]
fn figures_are_those_of_the_shards() {
    let metrics = ask(&mut Monitor::new(site()), "/metrics");
    for line in [
        "ringbus_shard_busy_seconds_total{shard=\"1\"} 3",
        "ringbus_lane_messages_total{from=\"0\",to=\"1\"} 640",
        "ringbus_lane_frames_total{from=\"1\",to=\"0\"} 10",
        "ringbus_lane_frames_peak{from=\"1\",to=\"0\"} 9",
        "ringbus_slow_consumers_total{reason=\"pending_bytes\"} 2",
        "ringbus_slow_consumers_total{reason=\"write_deadline\"} 4",
        "ringbus_dropped_messages_total{reason=\"responses\"} 6",
        "ringbus_dropped_messages_total{reason=\"internal\"} 8",
        "ringbus_delivery_latency_seconds{quantile=\"0.5\"} 0.000001",
        "ringbus_delivery_latency_seconds{quantile=\"0.99\"} 0.00005",
        "ringbus_delivery_latency_seconds{quantile=\"1\"} 0.0001",
        "ringbus_delivery_latency_seconds_sum 0.002",
        "ringbus_delivery_latency_seconds_count 1000",
        "ringbus_top_subject_messages_per_second{account=\"$G\",subject=\"a.b\"} 200",
        "ringbus_top_subject_bytes_per_second{account=\"$G\",subject=\"a.b\"} 2000",
        "ringbus_top_subject_messages_per_second{account=\"$SYS\",subject=\"a.b\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no `{line}` in\n{metrics}");
    }
}

#[test]
fn no_more_subjects_are_told_than_configured() {
    let mut few = site();
    few.options.top_subjects = 1;
    let metrics = ask(&mut Monitor::new(few), "/metrics");
    assert_eq!(metrics.matches("ringbus_top_subject_messages_per_second{").count(), 1);
    let mut none = site();
    none.options.top_subjects = 0;
    assert!(!ask(&mut Monitor::new(none), "/metrics").contains("top_subject"));
}
