//! Every verb, in every way nats-server 2.15.1 accepts it.

mod support;

use support::Event::{self, *};
use support::{DEFAULT, driver};
use wire::{ClientOp, ClientParser, Limits, Next};

/// Checks what comes of `input`, whole and byte by byte.
fn check(input: &[u8], want: &[Event]) {
    assert_eq!(driver::whole(input, DEFAULT), want, "{:?}", support::latin1(input));
    let bytewise = driver::bytewise(input, DEFAULT);
    assert_eq!(bytewise.into_iter().map(|(_, event)| event).collect::<Vec<_>>(), want);
}

fn publication(subject: &str, reply: &str, header_len: usize, payload: &str) -> Event {
    Pub { subject: subject.into(), reply: reply.into(), header_len, payload: payload.into() }
}

fn sub(subject: &str, queue: Option<&str>, sid: &str) -> Event {
    Sub { subject: subject.into(), queue: queue.map(Into::into), sid: sid.into() }
}

fn unsub(sid: &str, max: u64) -> Event {
    Unsub { sid: sid.into(), max }
}

#[test]
fn ping_pong_and_ok_ignore_the_rest_of_their_line() {
    for (verb, event) in [("PING", Ping), ("PONG", Pong), ("+OK", Ok)] {
        let lines = ["\r\n", "\n", " \r\n", "PONG\r\n", " a\tb\rc\r\n", "\0\u{ff}\n", "\r\r\n"];
        for line in lines {
            let input = format!("{verb}{line}{verb}\n");
            check(input.as_bytes(), &[event.clone(), event.clone()]);
        }
    }
}

#[test]
fn verbs_have_no_case() {
    check(b"pInG\r\nPoNg\r\n+oK\r\n", &[Ping, Pong, Ok]);
    check(b"pUb a 1\r\nx\r\n", &[publication("a", "", 0, "x")]);
    check(b"Hpub a 0 1\r\nx\r\n", &[publication("a", "", 0, "x")]);
    check(b"hPUB a 1 1\r\nx\r\n", &[publication("a", "", 1, "x")]);
    check(b"suB a 1\r\nuNsUb 1\r\n", &[sub("a", None, "1"), unsub("1", 0)]);
    check(b"ConnecT {}\r\ninfo {}\r\n", &[Connect("{}".into()), Info("{}".into())]);
    check(b"-err x\r\n", &[Err("x".into())]);
}

#[test]
fn publications() {
    let hello = publication("foo", "", 0, "hello");
    let replied = publication("foo", "bar", 0, "hello");
    let cases: [(&[u8], &Event); 16] = [
        (b"PUB foo 5\r\nhello\r\n", &hello),
        (b"PUB foo 5\nhello\r\n", &hello),
        (b"PUB\tfoo\t5\t\r\nhello\r\n", &hello),
        (b"PUB    foo    5    \r\nhello\r\n", &hello),
        (b"PUB foo 005\r\nhello\r\n", &hello),
        (b"PUB foo 000000005\r\nhello\r\n", &hello),
        (b"PUB foo bar 5\r\nhello\r\n", &replied),
        (b"PUB \t foo \t bar \t 5 \t \nhello\r\n", &replied),
        (b"PUB 7 5\r\nhello\r\n", &publication("7", "", 0, "hello")),
        (b"PUB 7 8 5\r\nhello\r\n", &publication("7", "8", 0, "hello")),
        (b"PUB a 0\r\n\r\n", &publication("a", "", 0, "")),
        (b"PUB a 0\n\r\n", &publication("a", "", 0, "")),
        (b"PUB a 2\r\n\r\n\r\n", &publication("a", "", 0, "\r\n")),
        (b"PUB foo.* 9\r\nPUB a 1\r\n\r\n", &publication("foo.*", "", 0, "PUB a 1\r\n")),
        (b"PUB a..b.> 1\r\n\0\r\n", &publication("a..b.>", "", 0, "\0")),
        (b"PUB \xff\xc3(\x01 1\r\n\x80\r\n", &publication("\u{ff}\u{c3}(\x01", "", 0, "\u{80}")),
    ];
    for (input, event) in cases {
        check(input, std::slice::from_ref(event));
        check(&[input, input, b"PING\r\n"].concat(), &[event.clone(), event.clone(), Ping]);
    }
}

#[test]
fn publications_with_header() {
    let cases: [(&[u8], Event); 9] = [
        (b"HPUB foo 3 8\r\nh\r\nhello\r\n", publication("foo", "", 3, "h\r\nhello")),
        (b"HPUB foo bar 3 8\r\nh\r\nhello\r\n", publication("foo", "bar", 3, "h\r\nhello")),
        (b"HPUB\tfoo  bar\t3 8 \nh\r\nhello\r\n", publication("foo", "bar", 3, "h\r\nhello")),
        (b"HPUB foo 5 5\r\nhello\r\n", publication("foo", "", 5, "hello")),
        (b"HPUB foo 0 5\r\nhello\r\n", publication("foo", "", 0, "hello")),
        (b"HPUB foo bar 0 5\r\nhello\r\n", publication("foo", "bar", 0, "hello")),
        (b"HPUB foo 0 0\r\n\r\n", publication("foo", "", 0, "")),
        (b"HPUB foo 003 008\r\nh\r\nhello\r\n", publication("foo", "", 3, "h\r\nhello")),
        (b"HPUB 1 2 3 4\r\nabcd\r\n", publication("1", "2", 3, "abcd")),
    ];
    for (input, event) in cases {
        check(input, std::slice::from_ref(&event));
        check(&[input, b"PING\r\n"].concat(), &[event, Ping]);
    }
}

/// The first byte after the blanks belongs to the argument whatever it is, and one '\r' anywhere
/// behind it takes the last byte of the line with it.
#[test]
fn arguments_begin_and_end_as_in_nats_server() {
    check(b"PUB \nfoo 2\r\nhi\r\n", &[publication("\nfoo", "", 0, "hi")]);
    check(b"PUB \rfoo 2\r\nhi\r\n", &[publication("\rfoo", "", 0, "hi")]);
    check(b"PUB fo\ro 2\r\nhi\r\n", &[publication("fo\ro", "", 0, "hi")]);
    check(b"PUB fo\ro 25\nhi\r\n", &[publication("fo\ro", "", 0, "hi")]);
    check(b"PUB foo 2\r\r\nhi\r\n", &[silent("processPub Bad or Missing Size: \"foo 2\\r\"")]);
    check(b"SUB \nfoo 1\r\n", &[sub("foo", None, "1")]);
    check(b"SUB \rfoo 1\r\r\n", &[sub("foo", None, "1")]);
    check(b"SUB fo\ro 1\r\n", &[sub("fo", Some("o"), "1")]);
    check(b"SUB foo\r 12\n", &[sub("foo", None, "1")]);
    check(b"CONNECT\n{}\r\n", &[Connect("\n{}".into())]);
    check(b"CONNECT\r\n", &[Connect("\r".into())]);
    check(b"CONNECT \n\n", &[Connect("\n".into())]);
}

fn silent(what: &str) -> Event {
    let reason = wire::CloseReason::ProtocolViolation;
    Fault { text: None, reason, what: what.to_owned() }
}

#[test]
fn subscriptions() {
    check(b"SUB foo 1\r\n", &[sub("foo", None, "1")]);
    check(b"SUB foo 1\n", &[sub("foo", None, "1")]);
    check(b"SUB foo bar 1\r\n", &[sub("foo", Some("bar"), "1")]);
    check(b"SUB\t foo \tbar  22  \r\n", &[sub("foo", Some("bar"), "22")]);
    check(b"SUB a..b \xffsid\r\n", &[sub("a..b", None, "\u{ff}sid")]);
    check(b"SUB > _sys_ x\r\n", &[sub(">", Some("_sys_"), "x")]);
}

#[test]
fn unsubscriptions() {
    check(b"UNSUB 1\r\n", &[unsub("1", 0)]);
    check(b"UNSUB 1 5\r\n", &[unsub("1", 5)]);
    check(b"UNSUB\t1\t 999999999 \n", &[unsub("1", 999_999_999)]);
    for not_a_size in ["0", "-1", "x", "1234567890", "0x5", "5a", "+5"] {
        check(format!("UNSUB 1 {not_a_size}\r\n").as_bytes(), &[unsub("1", 0)]);
    }
}

#[test]
fn connect_and_err_need_little_of_their_argument() {
    check(b"CONNECT {\"a\": 1}\r\n", &[Connect("{\"a\": 1}".into())]);
    check(b"CONNECT   {}  \r\n", &[Connect("{}  ".into())]);
    check(b"CONNECT{}\n", &[Connect("{}".into())]);
    check(b"CONNECTED\n", &[Connect("ED".into())]);
    check(b"-ERR 'Some Error'\r\n", &[Err("'Some Error'".into())]);
    check(b"-ERR \t x y \n", &[Err("x y ".into())]);
    check(b"-ERR \r\nPING\n", &[Err("\r".into()), Ping]);
}

#[test]
fn info_of_the_right_types_is_let_through() {
    for json in [
        "{}",
        "null",
        " {} ",
        r#"{"server_id":"x","PORT":4222,"max_payload":-1,"connect_urls":["a",null],"x":[{}]}"#,
        r#"{"gateway_cmd_payload":"YQ==","client_id":18446744073709551615,"headers":null}"#,
        r#"{"gateway_cmd_payload":[1,255,null],"gossip_mode":255,"import":{"allow":["a"]}}"#,
    ] {
        let input = format!("INFO {json}\r\n");
        check(input.as_bytes(), &[Info(json.trim_start().into())]);
    }
    check(b"INFO{}\n", &[Info("{}".into())]);
}

#[test]
fn slices_are_of_the_input_and_used_is_its_length() {
    let input = b"PUB foo bar 5\r\nhello\r\nPING\r\n";
    let Next::Op { op: ClientOp::Pub(p), used } = ClientParser::new().next(input, &DEFAULT) else {
        panic!("a PUB is an op");
    };
    assert_eq!(used, 22);
    for (slice, at) in [(p.subject, 4), (p.reply, 8), (p.payload, 15), (p.tail, 8)] {
        assert!(std::ptr::eq(slice.as_ptr(), &raw const input[at]));
    }
}

#[test]
fn the_tail_is_there_when_the_bytes_can_be_sent_on() {
    let cases: [(&[u8], &[u8]); 16] = [
        (b"PUB foo 5\r\nhello\r\n", b"5\r\nhello\r\n"),
        (b"PUB  \t foo\t  5\r\nhello\r\n", b"5\r\nhello\r\n"),
        (b"PUB foo bar 5\r\nhello\r\n", b"bar 5\r\nhello\r\n"),
        (b"PUB \tfoo  bar 5\r\nhello\r\n", b"bar 5\r\nhello\r\n"),
        (b"PUB foo 005\r\nhello\r\n", b"005\r\nhello\r\n"),
        (b"PUB foo 5\nhello\r\n", b""),
        (b"PUB foo 5 \r\nhello\r\n", b""),
        (b"PUB foo bar\t5\r\nhello\r\n", b""),
        (b"PUB foo bar  5\r\nhello\r\n", b""),
        (b"PUB fo\ro 55\nhello\r\n", b""),
        (b"HPUB foo 3 5\r\nhello\r\n", b"3 5\r\nhello\r\n"),
        (b"HPUB foo bar 3 5\r\nhello\r\n", b"bar 3 5\r\nhello\r\n"),
        (b"HPUB foo 0 5\r\nhello\r\n", b"5\r\nhello\r\n"),
        (b"HPUB foo bar 0 5\r\nhello\r\n", b""),
        (b"HPUB foo bar 3  5\r\nhello\r\n", b""),
        (b"HPUB foo  3\t5\r\nhello\r\n", b""),
    ];
    for (input, want) in cases {
        let Next::Op { op: ClientOp::Pub(p), .. } = ClientParser::new().next(input, &DEFAULT)
        else {
            panic!("{:?} is no op", support::latin1(input));
        };
        assert_eq!(p.tail, want, "{:?}", support::latin1(input));
    }
}

#[test]
fn limits_are_reached_but_not_passed() {
    let limits = Limits { control_line_max: 9, payload_max: 5, headers: true };
    let input = b"PUB       foo bar 5\r\nhello\r\nHPUB a b 005 5\nhello\r\nSUB foo.a 123\r\n";
    let want = [
        publication("foo", "bar", 0, "hello"),
        publication("a", "b", 5, "hello"),
        sub("foo.a", None, "123"),
    ];
    assert_eq!(driver::whole(input, limits), want);
    let limits = Limits { payload_max: usize::MAX, control_line_max: usize::MAX, ..limits };
    assert_eq!(driver::whole(b"PUB a 0\r\n\r\n", limits), [publication("a", "", 0, "")]);
}

#[test]
fn nothing_wants_one_byte() {
    let next = ClientParser::new().next(b"", &DEFAULT);
    assert!(matches!(next, Next::More { need: 1 }), "{next:?}");
}

#[test]
fn before_authentication_only_connect_may_begin() {
    let mut parser = ClientParser::new();
    for bytes in [&b"C"[..], b"c", b"CONNECT {}\r\n", b""] {
        assert!(!parser.begins_without_connect(bytes));
    }
    for bytes in [&b"P"[..], b"X", b"\r\n", b"INFO {}"] {
        assert!(parser.begins_without_connect(bytes));
    }
    // Inside an operation the first byte is not the beginning of one.
    let next = parser.next(b"CONNECT ", &DEFAULT);
    assert!(matches!(next, Next::Skip { used: 8 }), "{next:?}");
    assert!(!parser.begins_without_connect(b"{}"));
}
