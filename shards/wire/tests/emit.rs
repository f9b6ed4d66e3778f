//! What goes to a client, byte for byte.

use wire::{ClientOp, ClientParser, Limits, Next, ServerInfo, emit};

fn emitted(f: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before|".to_vec();
    f(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The delivery of `input` to sid 9, in all the ways it can be made.
fn deliveries(input: &[u8], headers_ok: bool) -> [String; 3] {
    let limits = Limits { control_line_max: 4096, payload_max: 1 << 20, headers: true };
    let next = ClientParser::new().next(input, &limits);
    let Next::Op { op: ClientOp::Pub(p), .. } = next else { panic!("{next:?}") };
    let message = |tail: &[u8]| {
        emitted(|out| {
            emit::message(out, p.subject, b"9", p.reply, p.header_len, p.payload, tail, headers_ok);
        })
    };
    let mut made = b"old".to_vec();
    emit::canonical_tail(&mut made, p.reply, p.header_len, p.payload);
    [message(p.tail), message(b""), message(&made)]
}

#[test]
fn messages() {
    let cases: [(&[u8], bool, &str); 12] = [
        (b"PUB a.b 5\r\nhello\r\n", true, "MSG a.b 9 5\r\nhello\r\n"),
        (b"PUB a.b 5\r\nhello\r\n", false, "MSG a.b 9 5\r\nhello\r\n"),
        (b"PUB a.b r 5\r\nhello\r\n", true, "MSG a.b 9 r 5\r\nhello\r\n"),
        (b"pub\ta.b\tr  5\nhello\r\n", true, "MSG a.b 9 r 5\r\nhello\r\n"),
        (b"PUB a.b 0\r\n\r\n", true, "MSG a.b 9 0\r\n\r\n"),
        (b"HPUB a 3 8\r\nh\r\nhello\r\n", true, "HMSG a 9 3 8\r\nh\r\nhello\r\n"),
        (b"HPUB a r 3 8\r\nh\r\nhello\r\n", true, "HMSG a 9 r 3 8\r\nh\r\nhello\r\n"),
        (b"HPUB a 3 8\r\nh\r\nhello\r\n", false, "MSG a 9 5\r\nhello\r\n"),
        (b"HPUB a r 3 8\r\nh\r\nhello\r\n", false, "MSG a 9 r 5\r\nhello\r\n"),
        (b"HPUB a r 3 3\r\nh\r\n\r\n", false, "MSG a 9 r 0\r\n\r\n"),
        (b"HPUB a 0 5\r\nhello\r\n", true, "MSG a 9 5\r\nhello\r\n"),
        (b"HPUB a r 0 5\r\nhello\r\n", true, "MSG a 9 r 5\r\nhello\r\n"),
    ];
    for (input, headers_ok, want) in cases {
        for made in deliveries(input, headers_ok) {
            assert_eq!(made, format!("before|{want}"));
        }
    }
}

#[test]
fn publications_that_are_alike_are_delivered_as_if_one_by_one() {
    for payload_len in [0, 1, 2, 10, 11, 12, 27, 28, 29, 59, 60, 61, 128, 1000] {
        for msgs in [1, 2, 3, 64, 65, 150_u8] {
            let (mut publications, mut want, mut tails) = (Vec::new(), vec![b'x'], vec![b'x']);
            for msg in 0..msgs {
                let mut tail = format!("{payload_len}\r\n").into_bytes();
                tail.resize(tail.len() + payload_len, msg);
                tail.extend(b"\r\n");
                publications.extend([b"PUB a.b ", &tail[..]].concat());
                want.extend([b"MSG a.b 12 ", &tail[..]].concat());
                tails.extend(&tail);
            }
            let stride = publications.len() / usize::from(msgs);
            let (mut made, mut made_tails) = (vec![b'x'], vec![b'x']);
            emit::messages(&mut made, b"a.b", b"12", &publications, stride, stride - 8);
            emit::tails(&mut made_tails, &publications, stride, stride - 8);
            assert!(made == want && made_tails == tails, "{msgs} of {payload_len}");
            let alike = wire::alike(&publications, stride, payload_len, 1000);
            assert_eq!(alike, usize::from(msgs) - 1);
        }
    }
    emit::messages(&mut Vec::new(), b"a", b"1", b"", 10, 4);
}

/// As nats-server does, which sends the size on as it came.
#[test]
fn zeros_before_a_size_are_passed_on() {
    let [passed_on, ..] = deliveries(b"HPUB a r 02 014\r\nNATS/1.0\r\n\r\nhi\r\n", true);
    assert_eq!(passed_on, "before|HMSG a 9 r 02 014\r\nNATS/1.0\r\n\r\nhi\r\n");
}

#[test]
fn short_answers() {
    assert_eq!(emitted(emit::ping), "before|PING\r\n");
    assert_eq!(emitted(emit::pong), "before|PONG\r\n");
    assert_eq!(emitted(emit::ok), "before|+OK\r\n");
    assert_eq!(
        emitted(|out| emit::err(out, "Stale Connection")),
        "before|-ERR 'Stale Connection'\r\n"
    );
}

#[test]
fn no_responders() {
    let made = emitted(|out| emit::no_responders(out, b"foo.bar", b"7", b"_INBOX.x"));
    let want = "HMSG _INBOX.x 7 39 39\r\nNATS/1.0 503\r\nNats-Subject: foo.bar\r\n\r\n\r\n";
    assert_eq!(made, format!("before|{want}"));
}

#[test]
fn info_of_a_standalone_server() {
    let info = ServerInfo {
        server_id: "NID".into(),
        server_name: "n".into(),
        version: "2.15.1".into(),
        proto: 1,
        go: "rust".into(),
        host: "0.0.0.0".into(),
        port: 4222,
        headers: true,
        max_payload: 1_048_576,
        client_id: 5,
        client_ip: "127.0.0.1".into(),
        ..ServerInfo::default()
    };
    let want = concat!(
        r#"before|INFO {"server_id":"NID","server_name":"n","version":"2.15.1","proto":1,"#,
        r#""go":"rust","host":"0.0.0.0","port":4222,"headers":true,"max_payload":1048576,"#,
        r#""client_id":5,"client_ip":"127.0.0.1"} "#,
        "\r\n"
    );
    assert_eq!(emitted(|out| emit::info(out, &info)), want);
}

#[test]
fn info_with_everything_in_order() {
    let text = |s: &str| s.to_owned();
    let info = ServerInfo {
        server_id: text("id"),
        server_name: text("a<b>&\u{2028}\"\n"),
        version: text("v"),
        proto: 1,
        git_commit: text("c"),
        go: text("go"),
        host: text("h"),
        port: 1,
        headers: false,
        auth_required: true,
        tls_required: true,
        tls_verify: true,
        tls_available: true,
        max_payload: -1,
        jetstream: true,
        ip: text("ip"),
        client_id: 2,
        client_ip: text("ci"),
        nonce: text("n"),
        cluster: text("cl"),
        cluster_dynamic: true,
        domain: text("d"),
        connect_urls: vec![text("u"), text("v")],
        ws_connect_urls: vec![text("w")],
        ldm: true,
        compression: text("off"),
        connect_info: true,
        remote_account: text("ra"),
        acc_is_sys: true,
        api_lvl: 5,
        xkey: text("x"),
    };
    let want = concat!(
        r#"{"server_id":"id","server_name":"a\u003cb\u003e\u0026\u2028\"\n","version":"v","#,
        r#""proto":1,"git_commit":"c","go":"go","host":"h","port":1,"headers":false,"#,
        r#""auth_required":true,"tls_required":true,"tls_verify":true,"tls_available":true,"#,
        r#""max_payload":-1,"jetstream":true,"ip":"ip","client_id":2,"client_ip":"ci","#,
        r#""nonce":"n","cluster":"cl","cluster_dynamic":true,"domain":"d","#,
        r#""connect_urls":["u","v"],"ws_connect_urls":["w"],"ldm":true,"compression":"off","#,
        r#""connect_info":true,"remote_account":"ra","acc_is_sys":true,"api_lvl":5,"xkey":"x"}"#
    );
    let mut out = Vec::new();
    info.write_json(&mut out);
    assert_eq!(String::from_utf8_lossy(&out), want);
}

#[test]
fn sids_of_every_length_stand_between_two_blanks() {
    for sid in ["1", "42", "007", "a-sid-of-one's-own"] {
        for (header, verb) in [(false, "MSG"), (true, "HMSG")] {
            let mut out = Vec::new();
            emit::head(&mut out, b"foo", sid.as_bytes(), header);
            assert_eq!(String::from_utf8(out), Ok(format!("{verb} foo {sid} ")));
        }
    }
}
