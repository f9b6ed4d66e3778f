//! What everybody may ask of the server, nobody may ask about others; and every service of the
//! system account answers as nats-server's does, whatever it is asked.

use super::peer::{Message, Peer, both};
use super::shape;

const FORGED: [&str; 4] = [
    "Nats-Request-Info: {\"acc\":\"OTHER\",\"user\":\"other\",\"id\":3}",
    "nats-request-info: {\"acc\":\"OTHER\",\"user\":\"other\",\"id\":3}",
    "Nats-Request-Info : {\"acc\":\"OTHER\",\"user\":\"other\",\"id\":3}",
    "X: y\r\nNats-Request-Info:{\"acc\":\"OTHER\",\"user\":\"other\",\"id\":3}",
];

const LIES: [&str; 4] = [
    "",
    "{\"acc\":\"OTHER\",\"auth\":true,\"subscriptions\":true}",
    "{\"account\":\"OTHER\",\"user\":\"other\"}",
    "{\"accounts\":[\"OTHER\"],\"include_unused\":true}",
];

/// What no account but the system's is answered.
const FORBIDDEN: [&str; 4] =
    ["SERVER.PING", "SERVER.PING.VARZ", "ACCOUNT.OTHER.CONNZ", "ACCOUNT.NSUBS"];

/// An account sees itself, and nothing else of the server.
#[test]
fn accounts_see_themselves_only() {
    for server in both() {
        let mut other = Peer::log_in(&server, "other");
        other.say("SUB secret 5\r\n");
        other.ping();
        let mut app = Peer::log_in(&server, "app");
        app.say("SUB $SYS.> 9\r\n");
        app.ping();
        for subject in ["$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.PING.CONNZ", STATZ] {
            for (header, body) in FORGED.iter().zip(LIES).chain([(&"", LIES[1])]) {
                let text = app.ask(subject, header, body).text();
                let itself =
                    ["APP", "app's", "\"connections\":[]"].iter().any(|name| text.contains(name));
                assert!(itself, "{subject} {header} {body}: {text}");
                for sign in ["OTHER", "other", "secret", "SYS\""] {
                    assert!(!text.contains(sign), "{subject} {header} {body}: {text}");
                }
            }
        }
        for subject in FORBIDDEN {
            app.publish(&format!("$SYS.REQ.{subject}"), "", "");
        }
        other.close();
        Peer::log_in(&server, "other").ping();
        let heard = up_to_an_answer(&mut app);
        // Its own wildcard has taken what it has sent itself; nobody has answered.
        let of_its_own = |subject: &str| subject.starts_with("$SYS.REQ.");
        assert!(heard.iter().all(|message| of_its_own(&message.subject)), "{heard:?}");
        for subject in FORBIDDEN {
            let times = heard.iter().filter(|it| it.subject == format!("$SYS.REQ.{subject}"));
            assert_eq!(times.count(), 1, "{subject}: {heard:?}");
        }
    }
}

/// What comes before a service has answered: an answer to what was asked before takes the same way,
/// which that of a PING does not.
fn up_to_an_answer(app: &mut Peer) -> Vec<Message> {
    app.say("SUB _INBOX.last 8\r\nPUB $SYS.REQ.USER.INFO _INBOX.last 0\r\n\r\n");
    let mut heard = Vec::new();
    loop {
        match app.message() {
            message if message.subject == "_INBOX.last" => return heard,
            message => heard.push(message),
        }
    }
}

const STATZ: &str = "$SYS.REQ.ACCOUNT.PING.STATZ";

const SERVICES: [&str; 15] = [
    "IDZ", "STATSZ", "VARZ", "SUBSZ", "CONNZ", "ROUTEZ", "GATEWAYZ", "LEAFZ", "ACCOUNTZ", "JSZ",
    "HEALTHZ", "PROFILEZ", "RAFTZ", "KICK", "LDM",
];
const OF_ACCOUNTS: [&str; 7] = ["CONNZ", "LEAFZ", "JSZ", "INFO", "STATZ", "CONNS", "SUBSZ"];
const BODIES: [&str; 7] =
    ["", "{}", "{\"cid\":777}", "x", "[]", "{\"server_name\":\"zz\"}", "{\"host\":3}"];

fn requests() -> Vec<(String, &'static str)> {
    let mut requests = Vec::new();
    for body in BODIES {
        for service in SERVICES {
            requests.push((format!("$SYS.REQ.SERVER.PING.{service}"), body));
            requests.push((format!("$SYS.REQ.SERVER.<id>.{service}"), body));
        }
        for service in OF_ACCOUNTS {
            for account in ["APP", "PING", "NONE", "SYS"] {
                // Two subscriptions of nats-server's take this one; it complains twice.
                if (service, account) != ("STATZ", "PING") || ["", "{}"].contains(&body) {
                    requests.push((format!("$SYS.REQ.ACCOUNT.{account}.{service}"), body));
                }
            }
        }
    }
    for body in ["{\"acc\":\"APP\",\"subject\":\"a.b\"}", "{\"acc\":\"OTHER\",\"subject\":\"a\"}"] {
        requests.push(("$SYS.REQ.ACCOUNT.NSUBS".to_string(), body));
    }
    for body in ["{\"acc\":\"APP\",\"subject\":\"a.b\",\"queue\":\"cQ==\"}", "x", ""] {
        requests.push(("$SYS.REQ.ACCOUNT.NSUBS".to_string(), body));
    }
    requests
}

/// What each request is answered with: nothing, `503`, or the shape of it.
fn answers(sys: &mut Peer, requests: &[(String, &str)]) -> Vec<String> {
    sys.say("SUB _INBOX.x.* 3\r\nSUB _INBOX.end 4\r\n");
    for (at, (subject, body)) in requests.iter().enumerate() {
        let subject = subject.replace("<id>", &sys.server_id);
        sys.say(&format!("PUB {subject} _INBOX.x.{at} {}\r\n{body}\r\n", body.len()));
    }
    // nats-server has a queue for each of these, and takes what is in one in turn.
    for last in ["STATSZ", "IDZ"] {
        sys.say(&format!("PUB $SYS.REQ.SERVER.PING.{last} _INBOX.end 0\r\n\r\n"));
    }
    // Profiles are taken side by side: every request for one that is for this server is answered.
    let is_profile =
        |(subject, body): &(String, &str)| subject.ends_with(".PROFILEZ") && !body.contains("zz");
    let mut left = 2 + requests.iter().filter(|request| is_profile(request)).count();
    let mut answers = vec![String::new(); requests.len()];
    while left > 0 {
        let message = sys.message();
        match message.subject.strip_prefix("_INBOX.x.") {
            None => left -= 1,
            Some(at) => {
                let at: usize = at.parse().expect("a number");
                let shape = match message.header.is_empty() {
                    true => shape::of_keys(&message.text()),
                    false => "503".to_string(),
                };
                left -= usize::from(is_profile(&requests[at]));
                answers[at].push_str(&shape);
            }
        }
    }
    answers
}

#[test]
fn services_answer_whatever_they_are_asked_like_nats_server() {
    let requests = requests();
    let [theirs, ours] = both().map(|server| {
        let mut app = Peer::log_in(&server, "app");
        app.say("SUB a.b 2\r\nSUB a.* 3\r\nSUB a.b q 4\r\n");
        app.ping();
        answers(&mut Peer::log_in(&server, "sys"), &requests)
    });
    let answered = theirs.iter().filter(|answer| !answer.is_empty()).count();
    assert!(answered > 300, "{answered} of {} are answered", requests.len());
    let mut faults = Vec::new();
    for (((subject, body), theirs), ours) in requests.iter().zip(&theirs).zip(&ours) {
        if ours != theirs {
            faults.push(format!("{subject} `{body}`\nnats-server: {theirs}\nringbus: {ours}"));
        }
    }
    assert!(faults.is_empty(), "{} differ:\n{}", faults.len(), faults.join("\n\n"));
}
