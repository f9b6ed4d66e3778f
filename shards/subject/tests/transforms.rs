//! Transforms beside what nats-server 2.15.1 makes of the same words: `transforms.tsv` is a
//! recording, one row each of mode, source, destination, subject, what becomes of it (or `!` and
//! why nothing does), and what is said of it as a mapping.

use subject::{Choice, Mapping, Mappings, Transform, check_mapping};

fn rows(text: &str) -> impl Iterator<Item = [&str; 6]> {
    text.lines().map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        fields.try_into().unwrap_or_else(|_| panic!("six fields: {line}"))
    })
}

fn check(text: &str) {
    let mut count = 0;
    for [mode, source, destination, subject, wanted, verdict] in rows(text) {
        let make = if mode == "strict" { Transform::strict } else { Transform::new };
        let got = match make(source.as_bytes(), destination.as_bytes()) {
            Ok(transform) => transform.applied(subject.as_bytes()),
            Err(error) => format!("! {error}").into_bytes(),
        };
        let got = String::from_utf8_lossy(&got);
        assert_eq!(got, wanted, "{mode} {source} to {destination} of {subject}");
        let got = check_mapping(source.as_bytes(), destination.as_bytes());
        let got = got.map_or_else(|error| error.to_string(), |()| "ok".to_string());
        assert_eq!(got, verdict, "mapping {source} to {destination}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn transforms_are_those_of_nats_server() {
    check(include_str!("transforms.tsv"));
}

#[test]
fn a_strict_transform_can_be_reversed() {
    for (source, destination, subject) in [
        ("foo.*.*", "bar.$2.{{Wildcard(1)}}", "foo.b.a"),
        ("a.*", "b.$1", "a.x"),
        ("a.>", "p.a.>", "a.x.y"),
        ("a.*.>", "p.$1.>", "a.x.y.z"),
        ("a.b", "c", "a.b"),
    ] {
        let there = Transform::strict(source.as_bytes(), destination.as_bytes()).expect(source);
        let back = there.reverse().expect(source);
        assert_eq!(back.applied(&there.applied(subject.as_bytes())), subject.as_bytes());
    }
    let partition = Transform::new(b"a.*", b"b.{{partition(3,1)}}").expect("valid");
    assert_eq!(partition.reverse(), None);
}

fn mappings(all: &[(&str, &[(&str, u8)])]) -> Mappings {
    let mut mappings = Mappings::default();
    for (source, destinations) in all {
        let destinations: Vec<(Vec<u8>, u8)> =
            destinations.iter().map(|(to, weight)| (to.as_bytes().to_vec(), *weight)).collect();
        mappings.add(Mapping::new(source.as_bytes(), &destinations).expect(source));
    }
    mappings
}

/// Where each of the draws 0 to 99 leads.
fn tally(mappings: &Mappings, subject: &str) -> Vec<(String, u32)> {
    let mut tally: Vec<(String, u32)> = Vec::new();
    for drawn in 0..100 {
        let to = match mappings.choose(subject.as_bytes(), &mut || drawn) {
            Choice::Unmapped => "unmapped".to_string(),
            Choice::Lost => "lost".to_string(),
            Choice::To(transform) => {
                String::from_utf8_lossy(&transform.applied(subject.as_bytes())).into_owned()
            }
        };
        match tally.iter_mut().find(|(known, _)| *known == to) {
            Some((_, count)) => *count += 1,
            None => tally.push((to, 1)),
        }
    }
    tally.sort();
    tally
}

#[test]
fn weights_are_shares_and_the_rest_stays_where_it_is() {
    let all = mappings(&[("foo.*", &[("a.$1", 20), ("b.$1", 30)]), ("foo.>", &[("late.>", 100)])]);
    let wanted = [("a.x".into(), 20), ("b.x".into(), 30), ("foo.x".into(), 50)];
    assert_eq!(tally(&all, "foo.x"), wanted);
    assert_eq!(tally(&all, "foo.x.y"), [("late.x.y".into(), 100)]);
    assert_eq!(tally(&all, "bar"), [("unmapped".into(), 100)]);
}

#[test]
fn a_published_wildcard_is_mapped_only_where_the_source_has_one() {
    let all = mappings(&[("a.*", &[("b.$1", 100)]), ("c.>", &[("d.>", 100)])]);
    assert_eq!(tally(&all, "a.*"), [("b.*".into(), 100)]);
    assert_eq!(tally(&all, "c.>"), [("d.>".into(), 100)]);
    assert_eq!(tally(&all, "c.x.*..y"), [("d.x.*..y".into(), 100)]);
    for subject in ["a.>", "a.", "a", "*.x", "c", ">"] {
        assert_eq!(tally(&all, subject), [("unmapped".into(), 100)], "{subject}");
    }
}

#[test]
fn what_is_missing_is_lost_if_the_source_is_a_destination() {
    let all = mappings(&[("foo", &[("foo", 50), ("bar", 10)])]);
    let wanted = [("bar".into(), 10), ("foo".into(), 50), ("lost".into(), 40)];
    assert_eq!(tally(&all, "foo"), wanted);
}

#[test]
fn only_the_first_mapping_counts_and_a_second_of_the_same_source_replaces_it() {
    let all = mappings(&[("a.*", &[("b.$1", 100)]), ("b.*", &[("c.$1", 100)])]);
    assert_eq!(tally(&all, "a.x"), [("b.x".into(), 100)]);
    let mut all = all;
    all.add(Mapping::new(b"a.*", &[(b"d".to_vec(), 100)]).expect("valid"));
    assert_eq!(tally(&all, "a.x"), [("d".into(), 100)]);
    assert!(all.find(b"a.x").is_some_and(Mapping::is_fixed));
}

#[test]
fn wrong_mappings_are_refused_in_nats_servers_words() {
    let said = |source: &str, destinations: &[(&str, u8)]| {
        let destinations: Vec<(Vec<u8>, u8)> =
            destinations.iter().map(|(to, weight)| (to.as_bytes().to_vec(), *weight)).collect();
        Mapping::new(source.as_bytes(), &destinations).expect_err(source).to_string()
    };
    assert_eq!(said("a..b", &[("x", 100)]), "invalid subject");
    assert_eq!(said("a", &[("x", 60), ("y", 41)]), "total weight needs to be <= 100");
    assert_eq!(said("a", &[("x", 101)]), "individual weights need to be <= 100");
    assert_eq!(said("a", &[("x", 10), ("x", 10)]), "duplicate entry for \"x\"");
    let wanted = "invalid mapping destination: wildcard index out of range in $2: [2]";
    assert_eq!(said("a.*", &[("x.$2", 100)]), wanted);
}
