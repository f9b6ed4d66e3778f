//! Validity, matching, cover and collision of single patterns.

mod common;

use common::{all_of, naive_match, naive_well_formed};
use subject::{collide, covers, has_wildcard, matches, valid_literal, valid_pattern};

/// name, valid as a pattern, valid as a literal subject, has a wildcard
const VALIDITY: &[(&[u8], bool, bool, bool)] = &[
    (b"", false, false, false),
    (b".", false, false, false),
    (b"..", false, false, false),
    (b"foo", true, true, false),
    (b"foo.bar", true, true, false),
    (b".foo", false, false, false),
    (b"foo.", false, false, false),
    (b"foo..bar", false, false, false),
    (b"foo.bar..baz", false, false, false),
    (b"*", true, false, true),
    (b">", true, false, true),
    (b"foo.*", true, false, true),
    (b"foo.>", true, false, true),
    (b"foo.*.>", true, false, true),
    (b"*.*", true, false, true),
    (b"*.foo", true, false, true),
    (b">.bar", false, false, true),
    (b"foo.>.bar", false, false, true),
    (b">.>", false, false, true),
    (b"foo.>.", false, false, true),
    (b".>", false, false, true),
    (b"*.", false, false, true),
    (b"foo*", true, true, false),
    (b"foo**", true, true, false),
    (b"**", true, true, false),
    (b">>", true, true, false),
    (b"*>", true, true, false),
    (b"foo.**", true, true, false),
    (b"foo*bar", true, true, false),
    (b"foo.*bar", true, true, false),
    (b"foo*.bar", true, true, false),
    (b">x", true, true, false),
    (b"foo>", true, true, false),
    (b"foo.>>", true, true, false),
    (b"foo>.bar", true, true, false),
    (b">>.bar", true, true, false),
    (b" ", false, true, false),
    (b"a b", false, true, false),
    (b"foo. .bar", false, true, false),
    (b"foo.\tx", false, true, false),
    (b"foo.x\r", false, true, false),
    (b"foo.\n", false, true, false),
    (b"foo\x0cbar", false, true, false),
    (b"foo.\x0c", false, true, false),
    (b"foo\x0bbar", true, true, false),
    (b"foo.\0", true, true, false),
    (b"\xff\xfe.\x80", true, true, false),
    (b"$SYS.REQ.SERVER.PING", true, true, false),
    ("smörgås.*".as_bytes(), true, false, true),
];

#[test]
fn validity_of_each_shape() {
    for &(bytes, pattern, literal, wildcard) in VALIDITY {
        let shown = bytes.escape_ascii();
        assert_eq!(valid_pattern(bytes), pattern, "valid_pattern({shown})");
        assert_eq!(valid_literal(bytes), literal, "valid_literal({shown})");
        assert_eq!(has_wildcard(bytes), wildcard, "has_wildcard({shown})");
    }
}

#[test]
fn matching_of_each_shape() {
    let yes = [
        ("foo", "foo"),
        ("*", "foo"),
        (">", "foo"),
        (">", "foo.bar.baz"),
        (">", "$SYS.ACCOUNT.A"),
        (">", "_INBOX.x.1"),
        ("foo.>", "foo.bar"),
        ("foo.>", "foo.bar.baz"),
        ("foo.*.baz", "foo.bar.baz"),
        ("*.*.*", "foo.bar.baz"),
        ("*.>", "foo.bar.baz"),
        ("foo.*", "foo.*"),
        ("foo.*", "foo.>"),
        ("foo.>", "foo.>"),
        ("foo.*", "foo.b*"),
        ("foo*", "foo*"),
    ];
    let no = [
        ("foo", "bar"),
        ("foo", "fo"),
        ("foo", "foo.bar"),
        ("foo.bar", "foo"),
        ("foo.>", "foo"),
        ("foo.>", "foo."),
        ("foo.*", "foo."),
        ("*", ""),
        (">", ""),
        (">", "foo..bar"),
        (">", ".foo"),
        ("*.*", "foo"),
        ("*", "foo.bar"),
        ("foo.bar", "foo.*"),
        ("foo.bar", "foo.>"),
        ("foo*", "fooo"),
        (">x", "foo"),
        (">.a", "b.a"),
        ("a..b", "a..b"),
    ];
    for (pattern, subject) in yes {
        assert!(matches(pattern.as_bytes(), subject.as_bytes()), "{pattern} {subject}");
    }
    for (pattern, subject) in no {
        assert!(!matches(pattern.as_bytes(), subject.as_bytes()), "{pattern} {subject}");
    }
}

#[test]
fn every_small_pattern_against_every_small_subject() {
    let all = all_of(&["a", "b", "*", ">", ""], 4);
    assert_eq!(all.len(), 780);
    let mut hits = 0;
    for pattern in &all {
        assert_eq!(valid_pattern(pattern.as_bytes()), naive_well_formed(pattern), "{pattern}");
        for subject in &all {
            let expected = naive_well_formed(pattern) && naive_match(pattern, subject);
            hits += usize::from(expected);
            assert_eq!(
                matches(pattern.as_bytes(), subject.as_bytes()),
                expected,
                "pattern {pattern:?} subject {subject:?}"
            );
        }
    }
    assert!(hits > 2000, "only {hits} pairs match: the enumeration proves little");
}

/// What a pattern means: which of the subjects it matches, one bit each.
fn meaning(pattern: &str, subjects: &[String]) -> Vec<bool> {
    subjects.iter().map(|subject| naive_match(pattern, subject)).collect()
}

#[test]
fn cover_and_collision_are_inclusion_and_intersection() {
    // One token more than the patterns have, and one name they don't know, so that no pattern
    // includes another by lack of subjects.
    let subjects = all_of(&["a", "b", "c"], 5);
    let patterns: Vec<(String, Vec<bool>)> = all_of(&["a", "b", "*", ">"], 4)
        .into_iter()
        .filter(|pattern| naive_well_formed(pattern))
        .map(|pattern| (meaning(&pattern, &subjects), pattern))
        .map(|(meaning, pattern)| (pattern, meaning))
        .collect();
    assert_eq!(patterns.len(), 160);
    for (a, a_means) in &patterns {
        for (b, b_means) in &patterns {
            let pairs = || a_means.iter().zip(b_means);
            let included = pairs().all(|(a, b)| *a || !*b);
            let overlap = pairs().any(|(a, b)| *a && *b);
            assert_eq!(covers(a.as_bytes(), b.as_bytes()), included, "covers({a}, {b})");
            assert_eq!(collide(a.as_bytes(), b.as_bytes()), overlap, "collide({a}, {b})");
        }
    }
}

#[test]
fn malformed_patterns_neither_cover_nor_collide() {
    let all = all_of(&["a", "*", ">", ""], 3);
    let (good, bad): (Vec<&String>, Vec<&String>) =
        all.iter().partition(|pattern| naive_well_formed(pattern));
    for bad in bad {
        for good in &good {
            let (bad, good) = (bad.as_bytes(), good.as_bytes());
            assert!(!covers(bad, good) && !covers(good, bad));
            assert!(!collide(bad, good) && !collide(good, bad));
        }
        assert!(!covers(bad.as_bytes(), bad.as_bytes()));
        assert!(!collide(bad.as_bytes(), bad.as_bytes()));
    }
}

#[test]
fn tokens_that_merely_start_with_a_wildcard_are_names() {
    assert!(!covers(b"*foo", b"bar") && !collide(b"*foo", b"bar"));
    assert!(!covers(b"a.*b", b"a.c") && !collide(b"a.*b", b"a.c"));
    assert!(!covers(b">>", b"a") && !collide(b">>.*", b"a.>"));
    assert!(covers(b"a.*", b"a.*b") && collide(b"a.*", b"a.*b"));
}
