//! What accounts have agreed with each other: configured exports, imports and mappings as
//! `/accountz` and `$SYS.REQ.ACCOUNT.<name>.INFO` tell them, of both servers.

use super::peer::Peer;
use super::shape;
use crate::harness::server::{Program, Server, Setup};
use crate::monitoring::{ask, monitor_address};

const CONF: &str = r#"
server_name: hub
accounts {
  A {
    users: [ {user: a, password: a} ]
    exports: [
      {stream: "s.>"}, {stream: "few.*", accounts: [B]}, {stream: "t.*", account_token_position: 2}
      {service: "q.*", response: stream}, {service: "c.*", response: chunked}
      {service: "r", accounts: [B, C], latency: {sampling: 50%, subject: "lat.r"}, threshold: "3s"}
      {service: "h", latency: {sampling: headers, subject: "lat.h"}}
      {service: "own.*", account_token_position: 2}
    ]
    mappings: {
      foo: bar
      "x.*": [ {destination: "y.$1", weight: 30%}, {destination: "z.$1", weight: 20%} ]
      "w.*.*": "v.{{wildcard(2)}}.{{wildcard(1)}}"
    }
  }
  B {
    imports: [
      {stream: {account: A, subject: "s.>"}}
      {stream: {account: A, subject: "few.*"}, prefix: "from.a"}
      {stream: {account: A, subject: "t.B"}, to: "mine.t"}
      {service: {account: A, subject: "q.*"}, to: "ask.*"}
      {service: {account: A, subject: "r"}, share: true}
      {service: {account: A, subject: "h"}, to: "hh"}
      {service: {account: A, subject: "own.B"}, to: "own"}
    ]
  }
  C {
    imports: [
      {stream: {account: A, subject: "s.a.*.*"}, to: "swap.$2.$1"}
      {service: {account: A, subject: "q.*"}}
    ]
  }
  D {}
  SYS {
    users: [ {user: sys, password: sys} ]
    exports: [ {stream: "news.>"}, {service: "more"} ]
  }
}
system_account: SYS
"#;

const NAMES: [&str; 6] = ["A", "B", "C", "D", "SYS", "$G"];

/// Questions that are refused.
const REFUSED: [(&str, &str); 6] = [
    ("PING.CONNZ", "{\"sort\":\"x\"}"),
    ("PING.CONNZ", "{\"filter_subject\":\"a\"}"),
    ("PING.CONNZ", "{\"state\":\"open\"}"),
    ("PING.CONNZ", "{\"limit\":\"x\"}"),
    ("PING.SUBSZ", "{\"test\":\"a..b\"}"),
    ("PING.ACCOUNTZ", "{\"account\":\"X\"}"),
];

/// What is asked, and the shape of the answer.
type Told = Vec<(String, String)>;

fn told(program: &Program) -> Told {
    let conf = CONF.lines().map(str::to_owned).collect();
    let args = vec!["-m".to_owned(), "-1".to_owned()];
    let setup = Setup { conf, args, shards: 2, ..Setup::default() };
    let mut server = Server::start(program, &setup).expect("the server starts");
    let monitor = monitor_address(&mut server);
    let mut all = Vec::new();
    for path in ["/accountz".to_owned(), "/accountz?unused=1".to_owned()]
        .into_iter()
        .chain(NAMES.map(|name| format!("/accountz?acc={name}")))
    {
        let answer = ask(monitor, &path);
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        all.push((path, shape::of(body)));
    }
    let mut sys = Peer::log_in(&server, "sys");
    for name in NAMES {
        let subject = format!("$SYS.REQ.ACCOUNT.{name}.INFO");
        let answer = sys.ask(&subject, "", "").text();
        all.push((subject, shape::of(&answer)));
    }
    for (what, body) in REFUSED {
        let answer = sys.ask(&format!("$SYS.REQ.SERVER.{what}"), "", body).text();
        let (_, fault) = answer.rsplit_once("\"time\":").expect("a time");
        let (_, fault) = fault.split_once('}').expect("the server's end");
        all.push((format!("{what} {body}"), fault.to_owned()));
    }
    all
}

#[test]
fn what_accounts_have_agreed_is_told_alike() {
    let (theirs, ours) = (told(&Program::reference()), told(&Program::under_test()));
    for ((asked, theirs), (_, ours)) in theirs.iter().zip(&ours) {
        assert_eq!(ours, theirs, "{asked}");
    }
    let all: String = theirs.iter().map(|(_, told)| told.as_str()).collect();
    for word in ["approved_accounts", "service_latency", "Chunked", "mappings", "ask.*", "few.*"] {
        assert!(all.contains(word), "{word} is told of");
    }
}
