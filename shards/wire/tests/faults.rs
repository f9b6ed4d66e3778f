//! Every way a client can go wrong: the byte that decides it, the -ERR, the reason, the log line.

mod support;

use support::{DEFAULT, driver, latin1};
use wire::{ClientParser, CloseReason, Fault, Limits, Next, PubFault, error_text};

fn fault(input: &[u8], limits: Limits) -> Fault {
    let mut parser = ClientParser::new();
    let mut at = 0;
    loop {
        match parser.next(&input[at..], &limits) {
            Next::Op { used, .. } | Next::Skip { used } => at += used,
            Next::Fault(fault) => return fault,
            Next::More { .. } => panic!("{:?} has no fault", latin1(input)),
        }
    }
}

/// How many bytes must have come for the fault to be known.
fn decided_after(input: &[u8], limits: Limits) -> usize {
    match driver::bytewise(input, limits).last() {
        Some((at, support::Event::Fault { .. })) => *at,
        other => panic!("{:?} ends with {other:?}", latin1(input)),
    }
}

/// What can't be, with nats-server's number of its state at the last byte.
const UNKNOWN: &[(&str, u8)] = &[
    ("X", 0),
    (" ", 0),
    ("\r", 0),
    ("\n", 0),
    ("\0", 0),
    ("M", 0),
    ("R", 0),
    ("A", 0),
    ("L", 0),
    ("PING\r\n\n", 0),
    ("+X", 1),
    ("+OX", 2),
    ("-X", 4),
    ("-EX", 5),
    ("-ERX", 6),
    ("-ERR\r", 7),
    ("-ERR'", 7),
    ("CX", 10),
    ("COX", 11),
    ("CONX", 12),
    ("CONNX", 13),
    ("CONNEX", 14),
    ("CONNECX", 15),
    ("HX", 18),
    ("HM", 18),
    ("HPX", 19),
    ("HPUX", 20),
    ("HPUB\r", 21),
    ("PX", 29),
    ("P\r", 29),
    ("PUX", 30),
    ("PUBX", 31),
    ("PUB\n", 31),
    ("PUB\r", 31),
    ("PIX", 34),
    ("PINX", 35),
    ("POX", 37),
    ("PONX", 38),
    ("SX", 43),
    ("SUX", 44),
    ("SUBX", 45),
    ("SUB\r", 45),
    ("UX", 59),
    ("UNX", 60),
    ("UNSX", 61),
    ("UNSUX", 62),
    ("UNSUBX", 63),
    ("IX", 71),
    ("INX", 72),
    ("INFX", 73),
    ("PUB a 1\r\nab", 41),
    ("PUB a 1\r\na\n", 41),
    ("PUB a 1\r\na\rb", 42),
    ("PUB a 1\r\na\r\r", 42),
    ("PUB a 0\r\nX", 41),
    ("PUB a 0\r\n\n", 41),
    ("HPUB a 1 2\r\nabX", 41),
];

/// At the last byte of each of these and not before; with nats-server's number of its state.
#[test]
fn unknown_operations() {
    for (input, want) in UNKNOWN {
        let bytes = input.as_bytes();
        let fault = fault(bytes, DEFAULT);
        assert!(
            matches!(&fault, Fault::UnknownOperation { state, .. } if state == want),
            "{input:?}: {fault:?}"
        );
        assert_eq!(fault.error_text(), Some("Unknown Protocol Operation"));
        assert_eq!(fault.reason().as_str(), "Protocol Violation");
        assert_eq!(decided_after(bytes, DEFAULT), bytes.len(), "{input:?}");
    }
}

#[test]
fn unknown_operation_in_the_log() {
    let cases: [(&[u8], &str); 4] = [
        (b"X", r#"Client parser ERROR, state=0, i=0: proto='""...'"#),
        (
            b"GET / HTTP/1.1\r\n",
            r#"Client parser ERROR, state=0, i=0: proto='"GET / HTTP/1.1\r"...'"#,
        ),
        (b"PUBX foo", r#"Client parser ERROR, state=31, i=3: proto='"X fo"...'"#),
        (
            b"PUB a 1\r\nab0123456789012345678901234567890123456789",
            r#"Client parser ERROR, state=41, i=10: proto='"b0123456789012345678901234567890"...'"#,
        ),
    ];
    for (input, want) in cases {
        assert_eq!(fault(input, DEFAULT).to_string(), want);
    }
}

/// Malformed arguments close without a word, at the end of the control line.
#[test]
fn malformed_arguments() {
    let cases: &[(&str, &str)] = &[
        ("PUB \r\n", r#"processPub Parse Error: "\r""#),
        ("PUB foo\r\n", r#"processPub Parse Error: "foo""#),
        ("PUB foo \n", r#"processPub Parse Error: "foo ""#),
        ("PUB a b c 1\r\n", r#"processPub Parse Error: "a b c 1""#),
        ("PUB a b 1 1 1 1 1\r\n", r#"processPub Parse Error: "a b 1 1 1 1 1""#),
        ("PUB foo bar\r\n", r#"processPub Bad or Missing Size: "foo bar""#),
        ("PUB foo -5\r\n", r#"processPub Bad or Missing Size: "foo -5""#),
        ("PUB foo +5\r\n", r#"processPub Bad or Missing Size: "foo +5""#),
        ("PUB foo 0x5\r\n", r#"processPub Bad or Missing Size: "foo 0x5""#),
        ("PUB foo 5a\r\n", r#"processPub Bad or Missing Size: "foo 5a""#),
        ("PUB foo 1.5\r\n", r#"processPub Bad or Missing Size: "foo 1.5""#),
        ("PUB foo 1234567890\r\n", r#"processPub Bad or Missing Size: "foo 1234567890""#),
        ("PUB foo 0000000005\r\n", r#"processPub Bad or Missing Size: "foo 0000000005""#),
        (
            "PUB foo bar 3333333333333333333333333333\r\n",
            r#"processPub Bad or Missing Size: "foo bar 3333333333333333333333333333""#,
        ),
        ("HPUB \r\n", r#"processHeaderPub Parse Error: "\r""#),
        ("HPUB foo 5\r\n", r#"processHeaderPub Parse Error: "foo 5""#),
        ("HPUB a b c 1 1\r\n", r#"processHeaderPub Parse Error: "a b c 1 1""#),
        ("HPUB foo x 5\r\n", r#"processHeaderPub Bad or Missing Header Size: "foo x 5""#),
        ("HPUB foo -1 5\r\n", r#"processHeaderPub Bad or Missing Header Size: "foo -1 5""#),
        ("HPUB foo x y\r\n", r#"processHeaderPub Bad or Missing Header Size: "foo x y""#),
        ("HPUB foo 5 x\r\n", r#"processHeaderPub Bad or Missing Total Size: "foo 5 x""#),
        (
            "HPUB foo 5 1234567890\r\n",
            r#"processHeaderPub Bad or Missing Total Size: "foo 5 1234567890""#,
        ),
        (
            "HPUB foo bar 6 5\r\n",
            r#"processHeaderPub Header Size larger then TotalSize: "foo bar 6 5""#,
        ),
        ("SUB \r\n", r#"processSub Parse Error: "\r""#),
        ("SUB foo\r\n", r#"processSub Parse Error: "foo""#),
        ("SUB a b c d\r\n", r#"processSub Parse Error: "a b c d""#),
        ("SUB \n\n", r#"processSub Parse Error: "\n""#),
        ("UNSUB \r\n", r#"processUnsub Parse Error: "\r""#),
        ("UNSUB 1 2 3\r\n", r#"processUnsub Parse Error: "1 2 3""#),
        ("INFO \r\n", "unexpected end of JSON input"),
        ("INFO {\r\n", "unexpected end of JSON input"),
        ("INFO x\r\n", "invalid character 'x' looking for beginning of value"),
        ("INFO []\r\n", "json: cannot unmarshal array"),
        ("INFO {\"port\":\"a\"}\r\n", "json: cannot unmarshal string into field port"),
        ("INFO {\"gossip_mode\":256}\r\n", "json: cannot unmarshal number into field gossip_mode"),
        ("INFO {\"gateway_cmd\":-0}\r\n", "json: cannot unmarshal number into field gateway_cmd"),
        ("INFO {\"client_id\":-1}\r\n", "json: cannot unmarshal number into field client_id"),
        (
            "INFO {\"max_payload\":2147483648}\r\n",
            "json: cannot unmarshal number into field max_payload",
        ),
        (
            "INFO {\"gateway_cmd_payload\":\"YQ=\"}\r\n",
            "json: cannot unmarshal string into field gateway_cmd_payload",
        ),
    ];
    for (input, want) in cases {
        let fault = fault(input.as_bytes(), DEFAULT);
        assert_eq!(fault.to_string(), *want);
        assert_eq!(fault.error_text(), None, "{input:?}");
        assert_eq!(fault.reason().as_str(), "Protocol Violation");
        assert_eq!(decided_after(input.as_bytes(), DEFAULT), input.len(), "{input:?}");
    }
    let bad = fault(b"PUB foo\r\n", DEFAULT);
    assert_eq!(bad, Fault::BadPub { what: PubFault::Arguments, args: b"foo"[..].into() });
}

/// Without headers on this connection the arguments of HPUB are not even looked at.
#[test]
fn headers_not_supported() {
    let limits = Limits { headers: false, payload_max: 1, ..DEFAULT };
    for input in ["HPUB foo 0 5\r\n", "hpub \r\n", "HPUB a b c d e\n", "HPUB foo 9 1\r\n"] {
        let fault = fault(input.as_bytes(), limits);
        assert_eq!(fault, Fault::HeadersUnsupported);
        assert_eq!(fault.error_text(), None);
        assert_eq!(fault.reason().as_str(), "Protocol Violation");
        assert_eq!(fault.to_string(), "message headers not supported");
        assert_eq!(decided_after(input.as_bytes(), limits), input.len());
    }
}

/// At the control line, before a byte of the payload.
#[test]
fn payload_too_large() {
    let limits = Limits { payload_max: 10, ..DEFAULT };
    for input in [
        "PUB foo 11\r\n",
        "PUB foo bar 999999999\n",
        "HPUB foo 2 11\r\n",
        "HPUB foo 0 11\r\n",
        "HPUB foo 11 11\r\n",
    ] {
        let fault = fault(input.as_bytes(), limits);
        assert!(matches!(fault, Fault::PayloadTooLarge { max: 10, .. }), "{input:?}: {fault:?}");
        assert_eq!(fault.error_text(), Some("Maximum Payload Violation"));
        assert_eq!(fault.reason().as_str(), "Maximum Message Payload Exceeded");
        assert_eq!(decided_after(input.as_bytes(), limits), input.len());
    }
    let complete = b"PUB foo 11\r\nhello world\r\n";
    assert_eq!(fault(complete, limits).to_string(), "maximum payload exceeded: 11 vs 10");
    // A header longer than all comes first.
    let fault = fault(b"HPUB foo 12 11\r\n", limits);
    assert!(matches!(fault, Fault::BadPub { what: PubFault::HeaderLargerThanTotal, .. }));
}

/// Neither verb nor blanks nor line end count; the first byte too many decides.
#[test]
fn control_line_too_long() {
    let limits = Limits { control_line_max: 10, ..DEFAULT };
    let verbs = ["PUB", "HPUB", "SUB", "UNSUB", "CONNECT", "INFO", "-ERR", "PUB         "];
    for verb in verbs {
        let begin = format!("{verb} \t aaaaaaaaaa");
        assert!(driver::whole(begin.as_bytes(), limits).is_empty());
        assert!(driver::whole(format!("{begin}\r").as_bytes(), limits).is_empty());
        for rest in ["a", "\ra", "\r\r"] {
            let input = format!("{begin}{rest}");
            let fault = fault(input.as_bytes(), limits);
            assert!(matches!(fault, Fault::ControlLineTooLong { max: 10, .. }), "{input:?}");
            assert_eq!(fault.error_text(), Some("maximum control line exceeded"));
            assert_eq!(fault.reason().as_str(), "Maximum Control Line Exceeded");
            assert_eq!(decided_after(input.as_bytes(), limits), input.len(), "{input:?}");
        }
    }
    // It comes before everything else that is wrong with the line.
    let fault = fault(b"HPUB 12345678901\r\n", Limits { headers: false, ..limits });
    assert_eq!(fault.to_string(), "maximum control line exceeded");
}

#[test]
fn control_line_has_no_limit_in_verbs_without_arguments() {
    let limits = Limits { control_line_max: 2, ..DEFAULT };
    assert_eq!(driver::whole(b"PINGabcdefgh\r\n", limits), [support::Event::Ping]);
}

#[test]
fn faults_told_by_the_caller() {
    let cases = [
        (Fault::client_err(b"'x'"), None, "Parse Error", "Client Error 'x'"),
        (
            Fault::InvalidProtocol,
            Some("invalid client protocol"),
            "Bad Client Protocol Version",
            "invalid client protocol",
        ),
        (
            Fault::NoRespondersNeedHeaders,
            Some("no responders requires headers support"),
            "No Responders Requires Headers",
            "no responders requires headers support",
        ),
        (
            Fault::Authorization,
            Some("Authorization Violation"),
            "Authentication Failure",
            "authentication error",
        ),
    ];
    for (fault, text, reason, log) in cases {
        assert_eq!(fault.error_text(), text);
        assert_eq!(fault.reason().as_str(), reason);
        assert_eq!(fault.to_string(), log);
    }
}

#[test]
fn permissions_violations() {
    let queue = Some(&b"q"[..]);
    let cases = [
        (
            error_text::permissions_violation_publish(b"foo"),
            r#"Permissions Violation for Publish to "foo""#,
        ),
        (
            error_text::permissions_violation_reply(b"_R_.a"),
            r#"Permissions Violation for Publish with Reply of "_R_.a""#,
        ),
        (
            error_text::permissions_violation_subscribe(b"foo", None),
            r#"Permissions Violation for Subscription to "foo""#,
        ),
        (
            error_text::permissions_violation_subscribe(b"fo\"o\xff", queue),
            r#"Permissions Violation for Subscription to "fo\"o\xff" using queue "q""#,
        ),
        (
            error_text::permissions_violation_removed(b"foo", None, b"7"),
            r#"Permissions Violation for Subscription to "foo" (sid "7")"#,
        ),
        (
            error_text::permissions_violation_removed(b"foo", queue, b"7"),
            r#"Permissions Violation for Subscription to "foo" using queue "q" (sid "7")"#,
        ),
        (
            error_text::permissions_violation_tokens(b"a.b"),
            r#"Permissions Violation for Subscription to "a.b", too many tokens"#,
        ),
    ];
    for (text, want) in cases {
        assert_eq!(text, want);
    }
}

#[test]
fn closing_flushes_unless_the_socket_is_lost() {
    assert!(CloseReason::ProtocolViolation.flushes());
    assert!(CloseReason::ClientClosed.flushes());
    assert!(!CloseReason::ReadError.flushes());
    assert!(!CloseReason::WriteError.flushes());
    assert!(!CloseReason::SlowConsumerPendingBytes.flushes());
    assert!(!CloseReason::SlowConsumerWriteDeadline.flushes());
    assert!(!CloseReason::TlsHandshakeFailure.flushes());
}
