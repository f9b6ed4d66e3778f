//! Random tokens: mangled text, and mangled claims under a good signature, which reach further.
//! None panics, or takes more memory than its length accounts for.
//!
//! `RINGBUS_FUZZ_CASES=1000000 \
//!  cargo test --profile tests -p ringbus-claims --test fuzz -- --nocapture`

#[path = "../../wire/tests/support/rng.rs"]
mod rng;

use std::collections::BTreeMap;

use claims::{LocalTime, Presented, Trust, decode, decode_account, decode_user};
use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use rng::Rng;

#[derive(serde::Deserialize)]
struct Vectors {
    tokens: BTreeMap<String, String>,
}

const WORDS: [&str; 16] = [
    "null",
    "-1",
    "0",
    "1e300",
    "99999999999999999999",
    "true",
    "\"\"",
    "[]",
    "{}",
    "\"{{tag(a)}}\"",
    "\"*\"",
    "\">\"",
    "\"a..b\"",
    "\"$9\"",
    "\"23:59:59\"",
    "[[[[[[[[]]]]]]]]",
];

/// What reading a token and judging by it may take, for each of its bytes, and besides.
const BYTES_MAX_EACH: u64 = 32;
const BYTES_MAX: u64 = 64 * 1024;

#[test]
fn fuzz_claims_no_token_upsets_anybody() {
    let executions: u64 =
        std::env::var("RINGBUS_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let vectors: Vectors = serde_json::from_str(include_str!("vectors.json")).expect("tokens");
    let tokens: Vec<&String> = vectors.tokens.values().collect();
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let mut rng = Rng::new(0);
    let (mut understood, mut most, mut longest) = (0u64, 0, 0);
    for _ in 0..executions {
        let token = tokens[rng.below(tokens.len())];
        let text = match rng.below(4) {
            0 => mangled(token.as_bytes(), &mut rng),
            _ => {
                let signer = if rng.below(2) == 0 { &operator } else { &account };
                resigned(token, signer, &mut rng)
            }
        };
        let key = operator.public_key();
        let taken = allocation_counter::measure(|| understood += u64::from(judge(&text, &key)));
        let bound = BYTES_MAX + BYTES_MAX_EACH * text.len() as u64;
        assert!(taken.bytes_max <= bound, "{} bytes for {text}", taken.bytes_max);
        assert_eq!(taken.bytes_current, 0, "something is kept of {text}");
        (most, longest) = (most.max(taken.bytes_max), longest.max(text.len()));
    }
    assert!(understood > executions / 10, "they reach far enough");
    println!(
        "{executions} tokens of {longest} bytes at most, {understood} of them understood, \
         {most} bytes of memory at most"
    );
}

/// Some bytes changed, cut or doubled.
fn mangled(bytes: &[u8], rng: &mut Rng) -> String {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len());
        match rng.below(4) {
            0 => bytes[at] = rng.next() as u8,
            1 => bytes.truncate(at + 1),
            2 => bytes.insert(at, b'.'),
            _ => {
                let word = WORDS[rng.below(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The token's claims with some values replaced, signed anew by `signer`.
fn resigned(token: &str, signer: &KeyPair, rng: &mut Rng) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let json = BASE64URL_NOPAD.decode(parts[1].as_bytes()).expect("claims");
    let mut text = String::from_utf8(json).expect("JSON");
    for _ in 0..rng.below(4) {
        let colons: Vec<usize> = text.match_indices(':').map(|(at, _)| at).collect();
        let Some(&at) = colons.get(rng.below(colons.len().max(1))) else { break };
        let end = text[at + 1..].find([',', '}']).map_or(text.len(), |end| at + 1 + end);
        text.replace_range(at + 1..end, WORDS[rng.below(WORDS.len())]);
    }
    if let Some(at) = text.find("\"iss\":\"") {
        let end = text[at + 7..].find('"').map_or(text.len(), |end| at + 7 + end);
        text.replace_range(at + 7..end, &signer.public_key());
    }
    let signed = format!("{}.{}", parts[0], BASE64URL_NOPAD.encode(text.as_bytes()));
    let signature = signer.sign(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn judge(text: &str, operator: &str) -> bool {
    let trust = Trust::new([operator.to_string()]);
    let known = decode(text).is_ok();
    if let Ok(account) = decode_account(text) {
        let _ = account.check(1);
        let _ = trust.account(&account.claims.subject, text, 1);
    }
    if let Ok(user) = decode_user(text) {
        let account = serde_json::from_value(serde_json::json!({
            "sub": user.account(),
            "iss": operator,
            "nats": { "tags": ["a:b"], "signing_keys": [{
                "kind": "user_scope", "key": user.claims.issuer,
                "template": { "pub": { "allow": ["{{tag(a)}}.{{name()}}"] } }
            }] },
        }));
        let presented = Presented {
            nonce: b"n",
            signature: "AAAA",
            address: None,
            now_s: 1,
            local_time: &|_| Some(LocalTime::of_day(1)),
        };
        let _ = trust.admit(&user, &account.expect("an account"), &presented);
    }
    known
}
