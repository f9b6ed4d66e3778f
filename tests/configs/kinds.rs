//! Every key of nats-server's configuration with every kind of value: which ones are refused, and in
//! which lines, is the same on both servers, but for those that ringbus refuses by name.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Said, Scratch, check, nats_server, places};
use crate::harness::server::Program;

const KINDS: [&str; 13] = [
    "1",
    "-1",
    "0",
    "1.5",
    "true",
    "x",
    "\"\"",
    "\"1s\"",
    "2016-05-04T18:53:41Z",
    "[ 1 ]",
    "[ x, y ]",
    "{ x: 1 }",
    "{ x: y }",
];

const TOP_KEYS: &str = "listen client_advertise port server_name host net debug trace trace_verbose \
    trace_headers logtime logtime_utc mappings maps disable_sublist_cache no_sublist_cache accounts \
    default_sentinel authorization http https http_port monitor_port https_port http_base_path \
    cluster gateway leaf leafnodes store_dir storedir jetstream logfile log_file \
    logfile_size_limit log_size_limit logfile_max_num log_max_num syslog remote_syslog pidfile \
    pid_file ports_file_dir prof_port prof_block_rate max_control_line max_payload max_pending \
    proxy_protocol max_connections max_conn max_traced_msg_len max_subscriptions max_subs \
    max_sub_tokens max_subscription_tokens ping_interval ping_max tls ocsp allow_non_tls \
    write_deadline write_timeout lame_duck_duration lame_duck_grace_period operator operators roots \
    root root_operators root_operator resolver account_resolver accounts_resolver resolver_tls \
    resolver_preload resolver_pinned_accounts no_auth_user system_account system \
    no_system_account no_system no_sys_acc no_header_support trusted trusted_keys \
    connect_error_reports reconnect_error_reports websocket ws mqtt server_tags server_metadata \
    feature_flags default_js_domain ocsp_cache no_fast_producer_stall max_closed_clients proxies \
    nonsense";

/// Where ringbus refuses what nats-server takes and then can't run with, or the other way round.
/// `*` is any kind.
const TOP_DIFFERENCES: &[(&str, &str)] = &[
    // What is no account is ignored by nats-server, and `system` too where `system_account` is.
    ("accounts", "1"),
    ("accounts", "-1"),
    ("accounts", "0"),
    ("accounts", "1.5"),
    ("accounts", "true"),
    ("accounts", "x"),
    ("accounts", "\"\""),
    ("accounts", "\"1s\""),
    ("accounts", "2016-05-04T18:53:41Z"),
    ("system", "*"),
    // It would find out when it starts.
    ("max_control_line", "-1"),
    ("max_payload", "-1"),
    ("ping_max", "-1"),
    ("max_closed_clients", "-1"),
    ("remote_syslog", "x"),
    ("remote_syslog", "\"1s\""),
];

/// Keys that ringbus may call not supported yet, and does for some kind of value.
const UNSUPPORTED: &str = "default_js_domain jetstream store_dir storedir gateway leaf leafnodes \
    connect_error_reports reconnect_error_reports mqtt websocket ws ocsp_cache prof_block_rate \
    prof_port proxies resolver_tls";

/// A key goes where the `@` is.
const BLOCKS: &[(&str, &str)] = &[
    (
        "tls { cert_file: server.pem, key_file: server.key\n @ }",
        "ca_file verify verify_and_map insecure timeout cipher_suites curve_preferences \
         min_version pinned_certs connection_rate_limit handshake_first first immediate \
         allow_insecure_cipher_suites verify_cert_and_check_known_urls certs ocsp_peer nonsense",
    ),
    ("tls { @ }", "cert_file key_file"),
    (
        "authorization {\n @ }",
        "user username pass password token timeout users default_permission \
         default_permissions permissions proxy_required nonsense",
    ),
    (
        "authorization { users: [ { user: u\n @ } ] }",
        "user username pass password nkey permission permissions authorization \
         allowed_connection_types connection_types clients proxy_required nonsense",
    ),
    (
        "authorization { users: [ { user: u, permissions {\n @ } } ] }",
        "pub publish import sub subscribe export publish_allow_responses allow_responses nonsense",
    ),
    (
        "authorization { users: [ { user: u, permissions { publish {\n @ } } } ] }",
        "allow deny nonsense",
    ),
    (
        "authorization { users: [ { user: u, permissions { allow_responses {\n @ } } } ] }",
        "max max_msgs max_responses expires expiration ttl nonsense",
    ),
    (
        "accounts { A {\n @ } }",
        "nkey imports exports users default_permissions mappings maps limits jetstream \
         cluster_traffic trace_dest msg_trace nonsense",
    ),
    (
        "accounts { A { limits {\n @ } } }",
        "max_connections max_conn max_subscriptions max_subs max_payload max_pay \
         max_leafnodes max_leafs nonsense",
    ),
    (
        "accounts { A { exports [ { service: a\n @ } ] } }",
        "accounts response response_type threshold response_threshold latency \
         account_token_position allow_trace nonsense",
    ),
    ("accounts { A { exports [ { @ } ] } }", "stream service"),
    (
        "accounts { A { exports [ { stream: a } ] }, B { imports [ { \
         stream: { account: A, subject: a }\n @ } ] } }",
        "prefix to share allow_trace nonsense",
    ),
    ("accounts { A { imports [ { @ } ] } }", "stream service"),
    ("mappings { a: [ { destination: b, weight: 10\n @ } ] }", "weight cluster nonsense"),
    ("mappings { a: [ { weight: 10\n @ } ] }", "dest destination"),
    (
        "cluster { @ }",
        "name listen port host net authorization routes tls cluster_advertise advertise \
         no_advertise connect_retries connect_backoff permissions pool_size accounts \
         compression ping_interval ping_max write_deadline write_timeout nonsense",
    ),
    (
        "cluster { authorization {\n @ } }",
        "user password token timeout users default_permissions nonsense",
    ),
    ("cluster { compression {\n @ } }", "mode rtt_thresholds thresholds nonsense"),
    ("ocsp {\n @ }", "mode nonsense"),
];

/// Keys that ringbus may call not supported yet, by how their block begins.
const UNSUPPORTED_IN_BLOCKS: &[(&str, &str)] = &[
    ("tls { cert_file", "ocsp_peer"),
    ("authorization {\n", "proxy_required"),
    ("authorization { users: [ { user: u\n", "proxy_required"),
    ("accounts { A {\n", "jetstream msg_trace trace_dest"),
    ("accounts { A { limits", "max_leafnodes max_leafs"),
    ("accounts { A { exports [ { service", "allow_trace"),
    ("accounts { A { exports [ { stream", "allow_trace"),
    ("mappings { a: [ { destination", "cluster"),
];

/// Kinds that are tried inside of blocks.
const FEW_KINDS: [&str; 6] = ["1", "\"x y\"", "true", "[ 1 ]", "{ x: 1 }", "x"];

#[test]
fn every_key_takes_the_kinds_of_values_it_takes_in_nats_server() {
    let nats = nats_server();
    let scratch = Scratch::new("kinds");
    let keys: Vec<&str> = TOP_KEYS.split_whitespace().collect();
    let mut faults = Vec::new();
    let mut unsupported = BTreeSet::new();
    for kind in KINDS {
        let mut skipped = BTreeSet::new();
        let name = "kinds.conf";
        let lines: Vec<String> = keys.iter().map(|key| format!("{key}: {kind}\n")).collect();
        fs::write(scratch.0.join(name), lines.concat()).unwrap();
        let theirs = check(&nats, &scratch.0, name);
        let ours = check(&Program::under_test().path, &scratch.0, name);
        for line in ours.text.lines().filter(|line| line.contains("not supported yet")) {
            skipped.extend(lines_of(line));
        }
        let (theirs, ours) = (lines_of(&theirs.text), lines_of(&ours.text));
        for (at, key) in keys.iter().enumerate() {
            let line = at as u32 + 1;
            let (refused, expected) = (ours.contains(&line), theirs.contains(&line));
            let differs = TOP_DIFFERENCES.contains(&(key, kind));
            let any = TOP_DIFFERENCES.contains(&(key, "*"));
            if skipped.contains(&line) {
                unsupported.insert(*key);
            }
            if !skipped.contains(&line) && !any && (refused == expected) == differs {
                faults.push(format!(
                    "{key}: {kind} refused by nats-server {expected}, ringbus {refused}"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(unsupported, UNSUPPORTED.split_whitespace().collect());
}

fn lines_of(text: &str) -> BTreeSet<u32> {
    places(text).into_iter().map(|place| place.line).collect()
}

#[test]
fn every_key_of_a_block_takes_the_kinds_of_values_it_takes_in_nats_server() {
    let nats = nats_server();
    let scratch = Scratch::new("block-kinds");
    let mut cases = Vec::new();
    for (block, keys) in BLOCKS {
        for key in keys.split_whitespace() {
            cases.extend(FEW_KINDS.iter().map(|kind| (*block, key, *kind)));
        }
    }
    let next = AtomicUsize::new(0);
    let (faults, unsupported) = (Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
    let judge = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((block, key, kind)) = cases.get(at) else { return };
            let text = block.replace('@', &format!("{key}: {kind}"));
            let name = format!("kind-{at}.conf");
            fs::write(scratch.0.join(&name), &text).unwrap();
            let theirs = check(&nats, &scratch.0, &name);
            let ours = check(&Program::under_test().path, &scratch.0, &name);
            if is_unsupported(&ours) {
                unsupported.lock().unwrap().insert((*block, *key));
            }
            if let Err(why) = agree(&theirs, &ours) {
                let why =
                    format!("{text:?}: {why}\n  nats-server: {theirs:?}\n  ringbus: {ours:?}");
                faults.lock().unwrap().push(why);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(judge);
        }
    });
    assert!(cases.len() > 500, "{} cases", cases.len());
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
    let named = |(block, keys): &(&'static str, &'static str)| {
        let whole = BLOCKS.iter().find(|(whole, _)| whole.starts_with(block));
        let (whole, _) = whole.unwrap_or_else(|| panic!("no block begins with {block}"));
        keys.split_whitespace().map(|key| (*whole, key)).collect::<Vec<_>>()
    };
    let named: BTreeSet<_> = UNSUPPORTED_IN_BLOCKS.iter().flat_map(named).collect();
    assert_eq!(unsupported.into_inner().unwrap(), named);
}

/// A cluster that is written well is the one thing that is refused here for being there.
fn is_cluster(ours: &Said) -> bool {
    ours.text.contains("remove the block to start one server")
}

fn is_unsupported(ours: &Said) -> bool {
    ours.text.contains("not supported yet") && !is_cluster(ours)
}

fn agree(theirs: &Said, ours: &Said) -> Result<(), String> {
    if !ours.valid && places(&ours.text).is_empty() {
        return Err("ringbus does not say where".to_string());
    }
    let valid = ours.valid || (is_cluster(ours) && ours.text.lines().count() == 1);
    match theirs.valid == valid || is_unsupported(ours) {
        true => Ok(()),
        false => Err("the verdicts differ".to_string()),
    }
}

/// The configuration in the documentation of the first servers, quotes straightened.
const DOCUMENTED: &str = include_str!("documented.conf");

#[test]
fn the_documented_configuration_loads_but_for_its_cluster() {
    let scratch = Scratch::new("documented");
    let judge = |name: &str, text: &str| {
        fs::write(scratch.0.join(name), text).unwrap();
        check(&Program::under_test().path, &scratch.0, name)
    };
    let whole = judge("whole.conf", DOCUMENTED);
    let line = 1 + DOCUMENTED.lines().position(|line| line == "cluster {").unwrap();
    let expected = format!("whole.conf:{line}:1: cluster is not supported yet");
    assert!(!whole.valid && whole.text.contains(&expected), "{}", whole.text);
    assert_eq!(places(&whole.text).len(), 1, "{}", whole.text);

    let (before, after) = DOCUMENTED.split_once("cluster {").unwrap();
    let (_, after) = after.split_once("\n}\n").unwrap();
    let alone = format!("{before}{after}");
    let said = judge("alone.conf", &alone);
    assert!(said.valid, "{}", said.text);
    // nats-server has forgotten one of its keys.
    let known = alone.replace("max_pending_size", "max_pending");
    fs::write(scratch.0.join("known.conf"), known).unwrap();
    let theirs = check(&nats_server(), &scratch.0, "known.conf");
    let ours = check(&Program::under_test().path, &scratch.0, "known.conf");
    assert!(theirs.valid, "{}", theirs.text);
    assert_eq!(ours.text, theirs.text);

    // Mistakes inside of the block are told where they are, and the block is not refused besides.
    for (right, wrong, words) in [
        ("timeout: 0.5", "timeout: yes", "wrong type"),
        ("127.0.0.1:4245", "127.0.0.1:x", "route url"),
        ("  listen: localhost:4244", "  listen: localhost", "could not parse"),
        ("  routes = [", "  rutes = [", "unknown field \"rutes\", did you mean \"routes\""),
    ] {
        let text = DOCUMENTED.replace(right, wrong);
        let line = 1 + text.lines().position(|line| line.contains(wrong.trim())).unwrap();
        let said = judge("wrong.conf", &text);
        let found = places(&said.text);
        assert!(found.len() == 1 && found[0].line as usize == line, "{wrong}: {}", said.text);
        assert!(said.text.contains(words), "{wrong}: {}", said.text);
        assert!(!said.text.contains("pass1"), "{}", said.text);
    }
}
