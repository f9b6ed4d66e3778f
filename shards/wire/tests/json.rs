//! What is well-formed JSON in a CONNECT, against another reader.

mod support;

use serde::de::IgnoredAny;
use support::rng::Rng;
use wire::{Connect, Fault, connect};

const DOCUMENTS: [&str; 5] = [
    r#"{"verbose":false,"name":"a\u00e9\n","x":[1,-2.5e+3,{"y":null}],"z":"\"\\/"}"#,
    r#" { "a" : [ ] , "b" : { } , "c" : [ [ true ] , false ] } "#,
    r#"{"protocol":1,"a":-0,"b":0.1,"c":1E9,"d":[0,10,"",null,{"e":{"f":[{}]}}]}"#,
    r#"{"import":{"allow":["a",null],"deny":[]},"export":null}"#,
    "null",
];

#[test]
fn mutated_documents() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..60_000 {
        let mut random = Rng::new(seed);
        let mut document = DOCUMENTS[random.below(DOCUMENTS.len())].as_bytes().to_vec();
        for _ in 0..random.below(4) {
            mutate(&mut random, &mut document);
        }
        // The other reader refuses what is not UTF-8; here a byte of it is as good as a letter.
        let letters: Vec<u8> = document.iter().map(|b| if *b < 0x80 { *b } else { b'x' }).collect();
        let well_formed = serde_json::from_slice::<IgnoredAny>(&letters).is_ok();
        let accepted = match connect::parse(&Connect::default(), &document) {
            Ok(_) => true,
            Err(Fault::BadConnect { what }) => what.starts_with("json: cannot unmarshal"),
            Err(other) => panic!("seed {seed}: {other:?}"),
        };
        let text = String::from_utf8_lossy(&document);
        assert_eq!(accepted, well_formed, "seed {seed}: {text}");
        *(if accepted { &mut good } else { &mut bad }) += 1;
    }
    assert!(good > 10_000 && bad > 10_000, "{good} good, {bad} bad");
}

fn mutate(random: &mut Rng, document: &mut Vec<u8>) {
    if document.is_empty() {
        return;
    }
    let at = random.below(document.len());
    let special = b"{}[]\",:\\ \t\r\ntfn0-1.eE+u\x01\x7f\xff";
    let byte = special[random.below(special.len())];
    match random.below(3) {
        0 => document[at] = byte,
        1 => document.insert(at, byte),
        _ => drop(document.remove(at)),
    }
}
