//! The grammar's structure, and the promise that no text at all upsets the parser.

use std::path::Path;

use super::conf::parse_text;
use super::value::{Data, Map};
use super::{digest, schema, toml};

fn environment(name: &str) -> Option<String> {
    let text = match name {
        "NUMBER" => "4333",
        "LIST" => "[a, $NUMBER ]",
        "CYCLE" => "$CYCLE",
        _ => return None,
    };
    Some(text.to_string())
}

fn parsed(text: &str) -> Map {
    parse_text(Path::new("t.conf"), text, &environment)
        .unwrap_or_else(|fault| panic!("{text:?}: {fault}"))
}

fn text(map: &Map, key: &str) -> String {
    match &map[key].data {
        Data::Text(text) => text.clone(),
        other => panic!("{key} is {other:?}"),
    }
}

#[test]
fn structure() {
    let map = parsed("a { b: [1, { c: 'x' }, [yes] ], 'd e' = 2 } // end\nf: $NUMBER; g: $LIST\n");
    let Data::Map(a) = &map["a"].data else { panic!("a is a map") };
    let Data::Array(b) = &a["b"].data else { panic!("b is an array") };
    assert_eq!(b.len(), 3);
    assert_eq!(b[0].data, Data::Integer(1));
    let Data::Map(inner) = &b[1].data else { panic!("b[1] is a map") };
    assert_eq!(text(inner, "c"), "x");
    assert_eq!(a["d e"].data, Data::Integer(2));
    assert_eq!(map["f"].data, Data::Integer(4333));
    let Data::Array(g) = &map["g"].data else { panic!("g is an array") };
    assert_eq!(g[1].data, Data::Integer(4333));
}

#[test]
fn places_count_from_one() {
    let map = parsed("a: 1\n  b: 2\nc { \"d\": [ x\n y ] }\n");
    assert_eq!(map["a"].at.to_string(), "t.conf:1:1");
    assert_eq!(map["b"].at.to_string(), "t.conf:2:3");
    let Data::Map(c) = &map["c"].data else { panic!("c is a map") };
    assert_eq!(c["d"].at.to_string(), "t.conf:3:6");
    let Data::Array(d) = &c["d"].data else { panic!("d is an array") };
    assert_eq!(d[1].at.to_string(), "t.conf:4:2");
}

#[test]
fn variables_look_outward_and_are_marked() {
    let map = parsed("x: 1\ny: 2\na { x: 3, b { c: $x, d: $y } }\n");
    let Data::Map(a) = &map["a"].data else { panic!("a is a map") };
    let Data::Map(b) = &a["b"].data else { panic!("b is a map") };
    assert_eq!((&b["c"].data, &b["d"].data), (&Data::Integer(3), &Data::Integer(2)));
    assert!(map["y"].referenced.get() && !map["x"].referenced.get());
    for text in ["a: $CYCLE", "a: $MISSING", "a: $b\nb: 1"] {
        assert!(parse_text(Path::new("t.conf"), text, &environment).is_err(), "{text}");
    }
}

#[test]
fn depth_is_bounded() {
    for (open, count) in [("[", 100_000), ("{a:", 100_000), ("{", 100_000)] {
        let text = format!("a: {}", open.repeat(count));
        assert!(parse_text(Path::new("t.conf"), &text, &environment).is_err());
    }
    let deep = format!("a: {}{}\n", "[".repeat(100), "]".repeat(100));
    parsed(&deep);
}

#[test]
fn faults_say_what_to_write() {
    let table = [
        (
            "port: 1\n max_paylod: 1",
            "t.conf:2:2: unknown field \"max_paylod\", did you mean \"max_payload\"?",
        ),
        ("zzz: 1", "t.conf:1:1: unknown field \"zzz\""),
        ("port: \"1\"", "t.conf:1:1: port expects a port number, without quotes, got a string"),
        ("debug: 1", "t.conf:1:1: debug expects true or false, got a whole number"),
        (
            "host: 1",
            "t.conf:1:1: host expects a string (put the value in quotes), got a whole number",
        ),
        ("http: {}", "t.conf:1:1: http expects a port or host:port, got a map"),
        (
            "\n tls {}",
            "t.conf:2:2: missing 'cert_file' and 'key_file': no client could connect without",
        ),
        (
            "shards: 0",
            "t.conf:1:1: shards 0 is out of range: \
             write 1 to 256, or leave it out for one per core",
        ),
        (
            "shards { cuont: 1 }",
            "t.conf:1:10: unknown field \"shards.cuont\", did you mean \"shards.count\"?",
        ),
        ("shards { spin: 1s }", "t.conf:1:10: spin value is too big: the limit is 10ms"),
        (
            "shards: many",
            "t.conf:1:1: shards expects 1 to 256, or { count, pin, spin, gather }, got a string",
        ),
        ("max_sub_tokens: 300", "t.conf:1:1: max_sub_tokens value is too big: the limit is 255"),
    ];
    for (text, expected) in table {
        let findings = schema::read(&parsed(text));
        let said: Vec<String> = findings.errors.iter().map(ToString::to_string).collect();
        assert_eq!(said, [expected], "{text}");
    }
}

#[test]
fn all_mistakes_are_told_in_order() {
    let findings = schema::read(&parsed("trace: 1\nping_interval: 5\nzzz: 2\ndebug: 3\n"));
    let lines: Vec<u32> =
        findings.errors.iter().filter_map(|fault| Some(fault.at.as_ref()?.line)).collect();
    assert_eq!(lines, [1, 3, 4]);
    assert_eq!(findings.warnings.len(), 1);
    assert_eq!(findings.raw.ping_interval_ns, Some(5_000_000_000));
}

#[test]
fn both_syntaxes_say_the_same() {
    let conf = parsed(
        "listen: '127.0.0.1:4222'\nmax_payload: 2MB\nping_interval: 5s\n\
         shards { count: 2, spin: 50us }\ndebug: on",
    );
    let toml = "listen = '127.0.0.1:4222'\nmax_payload = 2_097_152\nping_interval = '5s'\n\
                debug = true\n[shards]\ncount = 2\nspin = '50us'\n";
    let toml = toml::parse_text(Path::new("t.toml"), toml).unwrap();
    assert_eq!(schema::read(&conf).raw, schema::read(&toml).raw);
    assert_eq!(digest::digest(&conf), digest::digest(&toml));
}

/// What reading one of these small files may take, in either syntax.
const FUZZ_BYTES_MAX: u64 = 256 * 1024;

/// Every prefix of an eventful file, and mutations of it. `RINGBUS_FUZZ_CASES` sets how many.
#[test]
fn fuzz_conf_no_text_upsets_the_parser() {
    const SEEDS: [&str; 4] = [
        "# c\nlisten: 127.0.0.1:4222, debug: on\n\
         x { 'a b' = [1, -2.5, 8MB, 2016-05-04T18:53:41Z] }\n",
        "{ \"a\": \"q\\x41\\n\", b (\nblock\n)\n c $NUMBER d { e $a } }\n",
        "include /no/such\nport = $CYCLE\n",
        "a: [[{b: {c: [$LIST]}}]] // x\r\nmax_pending: 1e\n}",
    ];
    const PIECES: [&str; 24] = [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "\n)\n",
        "'",
        "\"",
        "\\",
        "\\x",
        "$",
        "$NUMBER",
        "$LIST",
        "$2a$",
        "/",
        "//",
        "#",
        ",",
        "=",
        " include ",
        "\0",
        "é",
        "1.",
    ];
    for seed in SEEDS {
        for end in (0..=seed.len()).filter(|end| seed.is_char_boundary(*end)) {
            outcome(&seed[..end]);
        }
    }
    let cases =
        std::env::var("RINGBUS_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let (mut most, mut state) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    let mut below = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    for _ in 0..cases {
        let mut text: Vec<char> = SEEDS[below(SEEDS.len())].chars().collect();
        for _ in 0..=below(6) {
            let at = below(text.len() + 1);
            match below(3) {
                0 => drop(text.splice(at..at, PIECES[below(PIECES.len())].chars())),
                1 => text.truncate(at),
                _ => drop(text.splice(at..text.len().min(at + below(5)), [])),
            }
        }
        let text: String = text.into_iter().collect();
        let taken = allocation_counter::measure(|| outcome(&text));
        assert!(taken.bytes_max <= FUZZ_BYTES_MAX, "{} bytes for {text:?}", taken.bytes_max);
        assert_eq!(taken.bytes_current, 0, "something is kept of {text:?}");
        most = most.max(taken.bytes_max);
    }
    println!("{cases} files, {most} bytes of memory at most");
}

/// Parses in both syntaxes. What is valid parses to the same digest again.
fn outcome(text: &str) {
    if let Ok(map) = parse_text(Path::new("t.conf"), text, &environment) {
        let again =
            parse_text(Path::new("t.conf"), text, &environment).map(|map| digest::digest(&map));
        assert_eq!(again, Ok(digest::digest(&map)));
        schema::read(&map);
    }
    if let Ok(map) = toml::parse_text(Path::new("t.toml"), text) {
        schema::read(&map);
    }
}
