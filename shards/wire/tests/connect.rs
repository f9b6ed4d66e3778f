//! CONNECT, read as Go's `encoding/json` reads it over what was there.

use wire::{Connect, Fault, Secrets, connect};

fn parse(json: impl AsRef<[u8]>) -> Connect {
    parse_over(&Connect::default(), json).0
}

fn secrets(json: impl AsRef<[u8]>) -> Secrets {
    parse_over(&Connect::default(), json).1
}

fn parse_over(previous: &Connect, json: impl AsRef<[u8]>) -> (Connect, Secrets) {
    let json = json.as_ref();
    connect::parse(previous, json)
        .unwrap_or_else(|fault| panic!("{}: {fault}", String::from_utf8_lossy(json)))
}

fn refusal(json: impl AsRef<[u8]>) -> String {
    let fault = connect::parse(&Connect::default(), json.as_ref()).map(|(connect, _)| connect);
    let fault = fault.expect_err("must be refused");
    assert!(matches!(fault, Fault::BadConnect { .. }));
    assert_eq!(fault.error_text(), None);
    assert_eq!(fault.reason().as_str(), "Protocol Violation");
    fault.to_string()
}

#[test]
fn nothing_said_means_verbose_pedantic_and_echo() {
    let default = Connect::default();
    assert!(default.verbose && default.pedantic && default.echo);
    assert!(!default.headers && !default.no_responders && default.protocol == 0);
    for json in ["{}", " {\t}\r\n ", "null", r#"{"unknown":[{"a":null}],"x":1e9}"#] {
        assert_eq!(parse(json), default);
    }
}

#[test]
fn what_a_client_library_sends() {
    let (connect, secrets) = parse_over(
        &Connect::default(),
        r#"{"verbose":false,"pedantic":false,"tls_required":false,"name":"n","lang":"go",
        "version":"1.55.0","protocol":1,"echo":true,"headers":true,"no_responders":true,
        "user":"u","pass":"p","auth_token":"t","jwt":"j","nkey":"k","sig":"s"}"#,
    );
    let text = |s: &str| Some(s.to_owned());
    let mut want = parse(r#"{"nkey":"k","user":"u","version":"1.55.0","lang":"go","name":"n"}"#);
    (want.verbose, want.pedantic) = (false, false);
    (want.headers, want.no_responders, want.protocol) = (true, true, 1);
    assert_eq!(connect, want);
    assert_eq!((connect.name(), connect.lang(), connect.version()), ("n", "go", "1.55.0"));
    assert_eq!((connect.user(), connect.nkey()), (Some("u"), Some("k")));
    let wanted = Secrets { pass: text("p"), auth_token: text("t"), jwt: text("j"), sig: text("s") };
    assert!(secrets == wanted);
}

#[test]
fn a_second_connect_is_read_over_the_first() {
    let first = parse(r#"{"verbose":false,"name":"a","user":"u","pass":"p"}"#);
    let (second, secrets) = parse_over(&first, r#"{"name":"b","user":null}"#);
    assert!(!second.verbose);
    assert_eq!(second.name(), "b");
    assert_eq!(second.user(), Some("u"));
    assert_eq!(secrets.pass, None, "a secret is not kept");
    assert_eq!(parse_over(&second, r#"{"user":""}"#).0.user(), None);
}

#[test]
fn keys_have_no_case_and_the_last_counts() {
    let connect =
        parse(r#"{"VERBOSE":false,"Name":"a","nAME":"b","proto\u0063ol":1,"\u017fig":"s"}"#);
    assert!(!connect.verbose);
    assert_eq!((connect.name(), connect.protocol), ("b", 1));
    assert_eq!(secrets("{\"\\u017fig\":\"s\"}").sig.as_deref(), Some("s"));
    assert_eq!(parse("{\"n\u{212a}ey\":\"k\"}").nkey(), Some("k"));
    assert!(parse(r#"{"verbose":false,"verbose":true}"#).verbose);
    assert!(!parse(r#"{"verbose":false,"verbose":null}"#).verbose);
}

#[test]
fn texts() {
    let cases: [(&[u8], &str); 11] = [
        (br#""a\"b\\\/\b\f\n\r\t""#, "a\"b\\/\x08\x0c\n\r\t"),
        (br#""\u00e9\u4e16\ud83d\ude00""#, "\u{e9}\u{4e16}\u{1f600}"),
        (br#""\ud83d""#, "\u{fffd}"),
        (br#""\ude00\ude00""#, "\u{fffd}\u{fffd}"),
        (br#""\ude00\ud83dx""#, "\u{fffd}\u{fffd}x"),
        (br#""\ud83d\u0041""#, "\u{fffd}A"),
        (br#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
        (b"\"\xff\xe4\xb8a\"", "\u{fffd}\u{fffd}\u{fffd}a"),
        (b"\"\xff\\n\xff\"", "\u{fffd}\n\u{fffd}"),
        ("\"\u{4e16}\u{7f}\"".as_bytes(), "\u{4e16}\u{7f}"),
        (b"\"\\u0000\"", "\0"),
    ];
    for (text, want) in cases {
        let json = [b"{\"name\":", text, b"}"].concat();
        assert_eq!(parse(&json).name(), want, "{}", String::from_utf8_lossy(&json));
    }
}

#[test]
fn protocols() {
    for (number, want) in [("0", 0), ("-0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
        assert_eq!(parse(format!(r#"{{"protocol":{number}}}"#)).protocol, want);
    }
    for number in ["1.0", "1e0", "9223372036854775808", "\"1\"", "true", "[]"] {
        refusal(format!(r#"{{"protocol":{number}}}"#));
    }
}

#[test]
fn wrong_types_are_refused() {
    for (field, found) in [
        (r#""verbose":"true""#, "string"),
        (r#""verbose":1"#, "number"),
        (r#""echo":{}"#, "object"),
        (r#""name":true"#, "bool"),
        (r#""user":5"#, "number"),
        (r#""pass":["x"]"#, "array"),
        (r#""new_account":"x""#, "string"),
        (r#""import":[]"#, "array"),
        (r#""export":"x""#, "string"),
    ] {
        let key = field.split('"').nth(1).unwrap_or_default();
        let want = format!("json: cannot unmarshal {found} into field {key}");
        assert_eq!(refusal(format!("{{{field}}}")), want);
    }
    refusal(r#"{"import":{"allow":"x"}}"#);
    refusal(r#"{"import":{"allow":["x",1]}}"#);
    for (json, found) in [("[]", "array"), ("1", "number"), ("\"a\"", "string"), ("true", "bool")] {
        assert_eq!(refusal(json), format!("json: cannot unmarshal {found}"));
    }
}

#[test]
fn malformed_json_is_refused_wherever_it_is() {
    let cases = [
        ("", "unexpected end of JSON input"),
        ("\r", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        (r#"{"a"#, "unexpected end of JSON input"),
        (r#"{"a":1"#, "unexpected end of JSON input"),
        ("nul", "invalid character ' ' in literal null (expecting 'l')"),
        ("-", "invalid character ' ' in numeric literal"),
        ("1.", "invalid character ' ' after decimal point in numeric literal"),
        ("1e+", "invalid character ' ' in exponent of numeric literal"),
        ("\"\\", "invalid character ' ' in string escape code"),
        ("{\"\u{1}", "invalid character '\\x01' in string literal"),
        ("\u{e9}", "invalid character '\u{c3}' looking for beginning of value"),
        ("{x", "invalid character 'x' looking for beginning of object key string"),
        ("{,}", "invalid character ',' looking for beginning of object key string"),
        (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
        (r#"{"a" 1}"#, "invalid character '1' after object key"),
        (r#"{"a":}"#, "invalid character '}' looking for beginning of value"),
        (r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair"),
        (r#"{"a":[1 2]}"#, "invalid character '2' after array element"),
        (r#"{"a":[1,]}"#, "invalid character ']' looking for beginning of value"),
        (r#"{"a":[}"#, "invalid character '}' looking for beginning of value"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("{}{}", "invalid character '{' after top-level value"),
        ("nulx", "invalid character 'x' in literal null (expecting 'l')"),
        ("tRue", "invalid character 'R' in literal true (expecting 'r')"),
        (r#"{"a":01}"#, "invalid character '1' after object key:value pair"),
        (r#"{"a":+1}"#, "invalid character '+' looking for beginning of value"),
        (r#"{"a":-x}"#, "invalid character 'x' in numeric literal"),
        (r#"{"a":1.x}"#, "invalid character 'x' after decimal point in numeric literal"),
        (r#"{"a":1ex}"#, "invalid character 'x' in exponent of numeric literal"),
        (r#"{"a":"\x"}"#, "invalid character 'x' in string escape code"),
        (r#"{"a":"\u00g0"}"#, "invalid character 'g' in \\u hexadecimal character escape"),
        ("{\"a\":\"\n\"}", "invalid character '\\n' in string literal"),
        ("{'a':1}", "invalid character '\\'' looking for beginning of object key string"),
    ];
    for (json, want) in cases {
        assert_eq!(refusal(json), want, "{json:?}");
    }
}

#[test]
fn nesting_is_bounded_but_not_by_the_stack() {
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(parse(nested(9_999)), Connect::default());
    assert_eq!(refusal(nested(10_000)), "exceeded max depth");
    assert_eq!(refusal("[".repeat(1_000_000)), "exceeded max depth");
    let objects = format!("{}1{}", "{\"x\":".repeat(9_000), "}".repeat(9_000));
    assert_eq!(parse(objects), Connect::default());
}

#[test]
fn checks_come_in_nats_servers_order() {
    let check = |json: &str, server_headers| parse(json).check(server_headers);
    assert_eq!(check(r#"{"protocol":1,"headers":true,"no_responders":true}"#, true), Ok(()));
    assert_eq!(check(r#"{"account":"","new_account":false}"#, true), Ok(()));
    let all = r#""protocol":2,"no_responders":true"#;
    let account = format!(r#"{{"account":"x",{all}}}"#);
    assert_eq!(check(&account, true), Err(Fault::Authorization));
    let new_account = format!(r#"{{"new_account":true,{all}}}"#);
    assert_eq!(check(&new_account, true), Err(Fault::Authorization));
    assert_eq!(check(&format!("{{{all}}}"), true), Err(Fault::InvalidProtocol));
    assert_eq!(check(r#"{"protocol":-1}"#, true), Err(Fault::InvalidProtocol));
    let mismatch = Err(Fault::NoRespondersNeedHeaders);
    assert_eq!(check(r#"{"no_responders":true}"#, true), mismatch);
    assert_eq!(check(r#"{"no_responders":true,"headers":true}"#, false), mismatch);
}
