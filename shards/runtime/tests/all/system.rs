//! The system account over TCP: what the `nats` tool asks of a server, and what it must get.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use runtime::{Identity, RECOUNT, Server, Settings, start};
use serde_json::Value;
use shard::access::{Access, ConnectionTypes, Proof, Secret, User};

use crate::client::{Client, end, settings};

const ID: &str = "NSYSTEM";

/// A server with one user in the system account `SYS` and one in `APP`.
fn serve(shards: usize) -> Server {
    serve_that(shards, RECOUNT)
}

/// Which tells as often how many connections accounts have.
fn serve_that(shards: usize, recount: Duration) -> Server {
    let mut access = Access::default();
    for (name, account) in [("sys", "SYS"), ("app", "APP")] {
        let account = access.account(account);
        if name == "sys" {
            access.system = Some(account);
        }
        access.add_user(User {
            name: name.into(),
            proof: Proof::Password(Secret::new(name)),
            account,
            permissions: None,
            connection_types: ConnectionTypes::ANY,
            limits: Default::default(),
        });
    }
    let mut settings: Settings = settings(shards);
    settings.shard.access = Arc::new(access);
    settings.recount = recount;
    settings.identity = Identity {
        server_id: ID.to_owned(),
        server_name: "hub".to_owned(),
        version: "2.15.1".to_owned(),
        ..Identity::default()
    };
    start(settings).expect("it starts")
}

fn log_in(server: &Server, user: &str) -> Client {
    let mut client = Client::new(server.client_addr());
    assert!(client.line().starts_with("INFO {"));
    client.send(&format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
         \"user\":\"{user}\",\"pass\":\"{user}\",\"name\":\"{user}\"}}\r\n"
    ));
    client.ping();
    client
}

/// The next message's subject, header and body.
fn message(client: &mut Client) -> (String, String, Vec<u8>) {
    let line = client.line();
    let words: Vec<&str> = line.split(' ').collect();
    let number = |back: usize| -> usize {
        words[words.len() - back].parse().unwrap_or_else(|_| panic!("no message: {line}"))
    };
    let header_bytes = if words[0] == "HMSG" { number(2) } else { 0 };
    let bytes = number(1);
    while client.unread.len() < bytes + 2 {
        let mut buffer = [0; 4096];
        let read = client.stream.read(&mut buffer).expect("the rest in time");
        client.unread.extend_from_slice(&buffer[..read]);
    }
    let rest = client.unread.split_off(bytes + 2);
    let body = std::mem::replace(&mut client.unread, rest);
    let (header, body) = body[..bytes].split_at(header_bytes);
    (words[1].to_owned(), String::from_utf8_lossy(header).into_owned(), body.to_vec())
}

fn request(client: &mut Client, subject: &str, body: &str) -> Value {
    client.send(&format!("PUB {subject} inbox {}\r\n{body}\r\n", body.len()));
    let (_, _, body) = message(client);
    serde_json::from_slice(&body).expect("an object")
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn system_client(server: &Server) -> Client {
    let mut client = log_in(server, "sys");
    client.send("SUB inbox 1\r\n");
    client.ping();
    client
}

#[test]
fn ping_gets_the_figures_key_by_key() {
    for shards in [1, 3] {
        let server = serve(shards);
        let _app = log_in(&server, "app");
        let mut sys = system_client(&server);
        let answer = request(&mut sys, "$SYS.REQ.SERVER.PING", "{}");
        assert_eq!(keys(&answer), ["server", "statsz"]);
        let wanted = ["name", "host", "id", "ver", "feature_flags", "jetstream", "flags"];
        assert_eq!(keys(&answer["server"]), [&wanted[..], &["seq", "time"]].concat());
        assert_eq!(answer["server"]["name"], "hub");
        let wanted = [
            "start",
            "mem",
            "cores",
            "cpu",
            "connections",
            "total_connections",
            "active_accounts",
            "subscriptions",
            "sent",
            "sent_to_clients",
            "received",
            "received_from_clients",
            "slow_consumers",
            "active_servers",
            "gomaxprocs",
        ];
        let statsz = &answer["statsz"];
        assert_eq!(keys(statsz), wanted);
        assert_eq!(statsz["connections"], 2);
        assert_eq!(statsz["active_accounts"], 2);
        // The request itself; the server's own messages are not received.
        assert_eq!(statsz["received"]["msgs"], 1);
        assert_eq!(statsz["received"]["bytes"], 2);
        assert_eq!(statsz["sent"]["msgs"], 0);
        let again = request(&mut sys, "$SYS.REQ.SERVER.PING", "");
        assert_eq!(again["statsz"]["sent"]["msgs"], 1);
        end(server);
    }
}

#[test]
fn every_service_answers_in_its_envelope() {
    let server = serve(2);
    let mut sys = system_client(&server);
    for (name, first) in [
        ("VARZ", "server_id"),
        ("CONNZ", "server_id"),
        ("SUBSZ", "server_id"),
        ("ROUTEZ", "server_id"),
        ("GATEWAYZ", "server_id"),
        ("LEAFZ", "server_id"),
        ("ACCOUNTZ", "server_id"),
        ("JSZ", "memory"),
        ("HEALTHZ", "status"),
        ("EXPVARZ", "memstats"),
        ("PROFILEZ", "profile"),
    ] {
        for subject in
            [format!("$SYS.REQ.SERVER.PING.{name}"), format!("$SYS.REQ.SERVER.{ID}.{name}")]
        {
            let filter = "{\"server_name\":\"hub\",\"exact_match\":true}";
            let answer = request(&mut sys, &subject, filter);
            assert_eq!(keys(&answer), ["server", "data"], "{subject}");
            assert_eq!(keys(&answer["data"])[0], first, "{subject}");
        }
    }
    let health = request(&mut sys, "$SYS.REQ.SERVER.PING.HEALTHZ", "{\"details\":true}");
    assert_eq!(health["data"].to_string(), r#"{"status":"ok","status_code":200}"#);
    let idz = request(&mut sys, "$SYS.REQ.SERVER.PING.IDZ", "");
    assert_eq!(keys(&idz), ["name", "host", "id"]);
    let accounts = request(&mut sys, "$SYS.REQ.SERVER.PING.ACCOUNTZ", "{\"account\":\"APP\"}");
    assert_eq!(accounts["data"]["account_detail"]["account_name"], "APP");
    let info = request(&mut sys, "$SYS.REQ.ACCOUNT.APP.INFO", "");
    assert_eq!(info["data"]["account_name"], "APP");
    end(server);
}

#[test]
fn wrong_options_and_other_servers() {
    let server = serve(2);
    let mut sys = system_client(&server);
    let subject = "$SYS.REQ.SERVER.PING.CONNZ";
    for (body, code) in [("{\"limit\":\"x\"}", 400), ("nonsense", 400), ("{\"sort\":\"x\"}", 500)] {
        let answer = request(&mut sys, subject, body);
        // What could be read has no data; what could not be read does not say so.
        let told: &[_] =
            if code == 500 { &["server", "data", "error"] } else { &["server", "error"] };
        assert_eq!(keys(&answer), told, "{body}");
        assert!(answer["data"].is_null(), "{body}");
        assert_eq!(answer["error"]["code"], code, "{body}");
    }
    let answer = request(&mut sys, subject, "{\"filter_subject\":\"a\"}");
    let text = "filter by subject only valid with account filtering";
    assert_eq!(answer["error"]["description"], text);
    // Not for this server: no answer, and the next one comes first.
    for filter in ["{\"server_name\":\"other\"}", "{\"tags\":[\"a\"]}", "{\"cluster\":\"c\"}"] {
        sys.send(&format!("PUB {subject} inbox {}\r\n{filter}\r\n", filter.len()));
        assert_eq!(keys(&request(&mut sys, "$SYS.REQ.SERVER.PING.IDZ", ""))[0], "name");
    }
    // A service that does not exist has no responder.
    sys.send("PUB $SYS.REQ.SERVER.PING.NOTHING inbox 0\r\n\r\n");
    assert!(message(&mut sys).1.starts_with("NATS/1.0 503"));
    end(server);
}

#[test]
fn answers_are_packed_as_asked() {
    let server = serve(1);
    let mut sys = system_client(&server);
    for (accept, encoding) in [("snappy", "snappy"), ("gzip", "gzip"), ("br", "identity")] {
        let header = format!("NATS/1.0\r\nAccept-Encoding: {accept}\r\n\r\n");
        let bytes = header.len();
        sys.send(&format!(
            "HPUB $SYS.REQ.SERVER.PING.VARZ inbox {bytes} {}\r\n{header}{{}}\r\n",
            bytes + 2
        ));
        let (_, header, body) = message(&mut sys);
        assert_eq!(header, format!("NATS/1.0\r\nContent-Encoding: {encoding}\r\n\r\n"));
        let mut text = String::new();
        match encoding {
            "snappy" => snap::read::FrameDecoder::new(&*body).read_to_string(&mut text).unwrap(),
            "gzip" => flate2::read::GzDecoder::new(&*body).read_to_string(&mut text).unwrap(),
            _ => (&*body).read_to_string(&mut text).unwrap(),
        };
        assert!(text.starts_with("{\"server\":{\"name\":\"hub\","), "{text}");
    }
    end(server);
}

#[test]
fn connections_are_told_to_those_who_listen_and_kicked_on_demand() {
    let server = serve(2);
    let mut sys = system_client(&server);
    sys.send("SUB $SYS.ACCOUNT.*.CONNECT 2\r\nSUB $SYS.ACCOUNT.*.DISCONNECT 3\r\n");
    sys.send(&format!("SUB $SYS.SERVER.{ID}.CLIENT.AUTH.ERR 4\r\n"));
    sys.ping();
    let mut app = log_in(&server, "app");
    let (subject, _, body) = message(&mut sys);
    assert_eq!(subject, "$SYS.ACCOUNT.APP.CONNECT");
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(keys(&event), ["type", "id", "timestamp", "server", "client"]);
    assert_eq!(event["client"]["user"], "app");
    assert_eq!(event["id"].as_str().map(str::len), Some(22));

    app.send("PUB a 3\r\nabc\r\n");
    app.ping();
    let cid = event["client"]["id"].as_u64().expect("a number");
    let body = format!("{{\"cid\":{cid}}}");
    let kick = format!("PUB $SYS.REQ.SERVER.{ID}.KICK inbox {}\r\n{body}\r\n", body.len());
    sys.send(&kick);
    let mut told = [message(&mut sys), message(&mut sys)];
    told.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(told[0].0, "$SYS.ACCOUNT.APP.DISCONNECT");
    let event: Value = serde_json::from_slice(&told[0].2).unwrap();
    assert_eq!(event["reason"], "Kicked");
    assert_eq!(event["sent"].to_string(), r#"{"msgs":1,"bytes":3}"#);
    let answer: Value = serde_json::from_slice(&told[1].2).unwrap();
    assert_eq!(keys(&answer), ["server"]);
    app.rest();
    sys.send(&kick);
    let answer: Value = serde_json::from_slice(&message(&mut sys).2).unwrap();
    assert_eq!(
        answer["error"].to_string(),
        r#"{"code":500,"description":"no such client or leafnode id"}"#
    );

    let mut nobody = Client::new(server.client_addr());
    nobody.line();
    nobody.send("CONNECT {\"user\":\"nobody\",\"pass\":\"x\"}\r\nPING\r\n");
    assert!(nobody.rest().contains("Authorization Violation"));
    let (subject, _, body) = message(&mut sys);
    assert_eq!(subject, format!("$SYS.SERVER.{ID}.CLIENT.AUTH.ERR"));
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["reason"], "Authentication Failure");
    end(server);
}

#[test]
fn connections_are_counted_again_and_again_while_there_are_some() {
    assert_eq!(RECOUNT, Duration::from_secs(30), "as nats-server");
    let server = serve_that(2, Duration::from_millis(20));
    let mut sys = system_client(&server);
    let of_app = "$SYS.ACCOUNT.APP.SERVER.CONNS";
    sys.send(&format!("SUB {of_app} 2\r\n"));
    sys.ping();
    let app = log_in(&server, "app");
    let counted = |sys: &mut Client| {
        let (subject, _, body) = message(sys);
        let event: Value = serde_json::from_slice(&body).unwrap();
        (subject, event["conns"].as_u64().expect("a number"))
    };
    // Of its coming, and then though nobody comes or goes.
    for _ in 0..4 {
        assert_eq!(counted(&mut sys), (of_app.to_owned(), 1));
    }
    drop(app);
    while counted(&mut sys).1 > 0 {}
    // From here on only those are counted who are there: the one who listens.
    sys.send("SUB $SYS.ACCOUNT.SYS.SERVER.CONNS 3\r\n");
    for _ in 0..4 {
        assert_eq!(counted(&mut sys), ("$SYS.ACCOUNT.SYS.SERVER.CONNS".to_owned(), 1));
    }
    end(server);
}

#[test]
fn figures_are_told_by_themselves_and_the_configuration_read_anew() {
    let server = serve(2);
    let mut sys = system_client(&server);
    let pleas = server.pleas();
    let operator = std::thread::spawn(move || {
        for outcome in [Err("a key is unknown".to_owned()), Ok(())] {
            pleas.recv().expect("somebody asks").answer(outcome);
        }
    });
    let answer = request(&mut sys, &format!("$SYS.REQ.SERVER.{ID}.RELOAD"), "");
    assert_eq!(answer["error"].to_string(), r#"{"code":500,"description":"a key is unknown"}"#);
    let answer = request(&mut sys, &format!("$SYS.REQ.SERVER.{ID}.RELOAD"), "{}");
    assert_eq!(keys(&answer), ["server"]);
    operator.join().expect("both were asked");
    sys.send(&format!("SUB $SYS.SERVER.{ID}.STATSZ 2\r\n"));
    let (subject, _, body) = message(&mut sys);
    assert_eq!(subject, format!("$SYS.SERVER.{ID}.STATSZ"));
    let statsz: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(statsz["statsz"]["connections"], 1);
    end(server);
}

#[test]
fn subscribers_are_counted() {
    let server = serve(2);
    let mut app = log_in(&server, "app");
    app.send("SUB a.* 1\r\nSUB a.b q 2\r\nSUB c 3\r\n");
    app.ping();
    let mut sys = system_client(&server);
    let subject = "$SYS.REQ.ACCOUNT.NSUBS";
    let body = "{\"acc\":\"APP\",\"subject\":\"a.b\"}";
    assert_eq!(request(&mut sys, subject, body), 2);
    let statz = request(&mut sys, "$SYS.REQ.ACCOUNT.APP.STATZ", "");
    let stat = &statz["data"]["account_statz"][0];
    assert_eq!((&stat["acc"], &stat["conns"]), (&Value::from("APP"), &Value::from(1)));
    let connz = request(&mut sys, "$SYS.REQ.ACCOUNT.APP.CONNZ", "{\"filter_subject\":\"a.x\"}");
    assert_eq!(connz["data"]["num_connections"], 1);
    let conns = request(&mut sys, "$SYS.REQ.ACCOUNT.APP.CONNS", "");
    assert_eq!(keys(&conns)[..5], ["type", "id", "timestamp", "server", "acc"]);
    end(server);
}
