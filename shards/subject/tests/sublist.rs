//! The sublist against a list of patterns that is looked through one by one.

mod common;
#[path = "../../wire/tests/support/rng.rs"]
mod rng;

use common::{all_of, naive_match, naive_well_formed, order_key};
use rng::Rng;
use subject::{PatternId, Sublist};

fn matched<T>(sublist: &Sublist<T>, subject: &str) -> Vec<String> {
    let mut ids = Vec::new();
    sublist.matches(subject.as_bytes(), &mut ids);
    assert_eq!(sublist.has_match(subject.as_bytes()), !ids.is_empty(), "has_match {subject:?}");
    ids.iter().map(|id| text(sublist.pattern(*id))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the tests' patterns are UTF-8")
}

fn expected<'a>(patterns: impl Iterator<Item = &'a str>, subject: &str) -> Vec<String> {
    let mut found: Vec<String> =
        patterns.filter(|pattern| naive_match(pattern, subject)).map(str::to_string).collect();
    found.sort_by_key(|pattern| order_key(pattern));
    found
}

#[test]
fn each_small_pattern_alone_against_every_small_subject() {
    let all = all_of(&["a", "b", "*", ">", ""], 4);
    for pattern in all.iter().filter(|pattern| naive_well_formed(pattern)) {
        let mut sublist = Sublist::new(1);
        sublist.insert(pattern.as_bytes(), ());
        for subject in &all {
            let found = matched(&sublist, subject);
            assert_eq!(found, expected([pattern.as_str()].into_iter(), subject), "{subject:?}");
            let same = (subject == pattern).then_some(pattern.as_bytes());
            assert_eq!(sublist.find(subject.as_bytes()).map(|id| sublist.pattern(id)), same);
        }
    }
}

#[test]
fn where_the_last_token_was_not_asked_for_any_other_would_do() {
    let all = all_of(&["a", "b", "*", ">", ""], 4);
    let good: Vec<&str> =
        all.iter().filter(|pattern| naive_well_formed(pattern)).map(String::as_str).collect();
    let mut rng = Rng::new(5);
    let (mut any, mut one) = (0, 0);
    for _ in 0..2000 {
        let mut sublist = Sublist::new(1);
        for _ in 0..rng.below(6) {
            let pattern = good[rng.below(good.len())];
            if sublist.find(pattern.as_bytes()).is_none() {
                sublist.insert(pattern.as_bytes(), ());
            }
        }
        let wild = |subject: &str| {
            let mut found = Vec::new();
            let same = sublist.visit(subject.as_bytes(), |id| found.push(id));
            let is_literal = !subject::has_wildcard(subject.as_bytes());
            let is_it = |id: &PatternId| is_literal && sublist.pattern(*id) == subject.as_bytes();
            assert_eq!(sublist.has_literal(subject.as_bytes()), found.first().is_some_and(is_it));
            found.retain(|id| subject::has_wildcard(sublist.pattern(*id)));
            (same, found)
        };
        for subject in &all {
            let Some(before) = subject::before_last_token(subject.as_bytes()) else { continue };
            let (same, found) = wild(subject);
            for last in ["a", "b", "*", ">", "other"] {
                let other = format!("{}.{last}", text(before));
                if same {
                    assert_eq!(wild(&other), (true, found.clone()), "{subject} and {other}");
                }
            }
            any += usize::from(same && !found.is_empty());
            one += usize::from(!same);
        }
    }
    assert!(any > 1000 && one > 1000, "{any} {one}");
}

#[test]
fn all_small_patterns_together_in_order_and_in_every_third() {
    let all = all_of(&["a", "b", "*", ">", ""], 4);
    let good: Vec<&str> =
        all.iter().filter(|pattern| naive_well_formed(pattern)).map(String::as_str).collect();
    for (step, first) in [(1, 0), (3, 0), (3, 1), (3, 2)] {
        let chosen = || good.iter().skip(first).step_by(step).copied();
        let mut forward = Sublist::new(1);
        let mut backward = Sublist::new(2);
        for pattern in chosen() {
            forward.insert(pattern.as_bytes(), ());
        }
        for pattern in chosen().collect::<Vec<_>>().into_iter().rev() {
            backward.insert(pattern.as_bytes(), ());
        }
        for subject in &all {
            let found = matched(&forward, subject);
            assert_eq!(found, expected(chosen(), subject), "{subject:?}");
            assert_eq!(found, matched(&backward, subject), "order of insertion shows: {subject:?}");
        }
    }
}

#[test]
fn deeper_than_the_list_of_branches() {
    // Every token but the last has both branches, so each of them waits while the other is walked.
    for depth in [7, 8, 9, 10, 17, 18, 33, 100] {
        let with_star_at = |star: usize| {
            let token = |at| if at == star { "*" } else { "a" };
            (0..depth).map(token).collect::<Vec<_>>().join(".")
        };
        let patterns: Vec<String> = (0..=depth).map(with_star_at).collect();
        let mut sublist = Sublist::new(3);
        for pattern in &patterns {
            sublist.insert(pattern.as_bytes(), ());
        }
        let subject = with_star_at(depth);
        let found = matched(&sublist, &subject);
        assert_eq!(found.len(), depth + 1);
        assert_eq!(found, expected(patterns.iter().map(String::as_str), &subject));
    }
}

#[test]
fn every_mix_of_names_and_stars() {
    let patterns = all_of(&["a", "*"], 11);
    let mut sublist = Sublist::new(4);
    for pattern in &patterns {
        sublist.insert(pattern.as_bytes(), ());
    }
    let subject = ["a"; 11].join(".");
    let found = matched(&sublist, &subject);
    assert_eq!(found.len(), 1 << 11);
    assert_eq!(found, expected(patterns.iter().map(String::as_str), &subject));
}

#[test]
fn long_patterns_and_tokens() {
    // Around the lengths at which patterns and tokens stop being stored in place.
    let mut sublist = Sublist::new(5);
    for length in 1..70 {
        let name = "x".repeat(length);
        for pattern in [name.clone(), format!("{name}.*"), format!("*.{name}"), format!("{name}.>")]
        {
            let id = sublist.insert(pattern.as_bytes(), pattern.clone());
            assert_eq!(sublist.find(pattern.as_bytes()), Some(id));
        }
    }
    for length in 1..70 {
        let name = "x".repeat(length);
        assert_eq!(matched(&sublist, &name), [name.as_str()]);
        let found = matched(&sublist, &format!("{name}.y"));
        assert_eq!(found, [format!("{name}.>"), format!("{name}.*")]);
        let found = matched(&sublist, &format!("{name}.{name}"));
        assert_eq!(found, [format!("{name}.>"), format!("{name}.*"), format!("*.{name}")]);
    }
    for (id, pattern, value) in sublist.iter() {
        assert_eq!((text(pattern), sublist.pattern(id)), (value.clone(), pattern));
    }
}

/// The sublist and its model, changed together.
struct Pair {
    sublist: Sublist<u64>,
    model: Vec<(String, PatternId, u64)>,
    len_max: usize,
}

impl Pair {
    fn insert(&mut self, pattern: &str, value: u64) {
        if self.model.iter().any(|entry| entry.0 == pattern) {
            return;
        }
        let id = self.sublist.insert(pattern.as_bytes(), value);
        assert!(self.model.iter().all(|entry| entry.1 != id), "id {id:?} given out twice");
        self.model.push((pattern.to_string(), id, value));
        self.len_max = self.len_max.max(self.model.len());
        assert!(id.index() < self.len_max, "ids are not dense");
    }

    fn remove(&mut self, at: usize) {
        let (pattern, id, value) = self.model.swap_remove(at);
        assert_eq!(self.sublist.remove(id), value);
        assert_eq!(self.sublist.find(pattern.as_bytes()), None);
    }

    fn check(&mut self, subject: &str) {
        let patterns = || self.model.iter().map(|entry| entry.0.as_str());
        assert_eq!(matched(&self.sublist, subject), expected(patterns(), subject));
        assert_eq!(self.sublist.len(), self.model.len());
        assert_eq!(self.sublist.is_empty(), self.model.is_empty());
        let wildcards = patterns().filter(|pattern| subject::has_wildcard(pattern.as_bytes()));
        assert_eq!(self.sublist.wildcard_len(), wildcards.count());
        for (pattern, id, value) in &mut self.model {
            assert_eq!(self.sublist.find(pattern.as_bytes()), Some(*id));
            assert_eq!(self.sublist[*id], *value);
            self.sublist[*id] += 1;
            *value += 1;
        }
        let mut listed: Vec<_> =
            self.model.iter().map(|(text, id, value)| (*id, text.as_bytes(), *value)).collect();
        listed.sort_unstable();
        let iterated: Vec<_> =
            self.sublist.iter().map(|(id, text, &value)| (id, text, value)).collect();
        assert_eq!(iterated, listed);
    }
}

fn random_name(random: &mut Rng, tokens: &[&str]) -> String {
    let depth = 1 + random.below(5);
    let names: Vec<&str> = (0..depth).map(|_| tokens[random.below(tokens.len())]).collect();
    names.join(".")
}

fn random_run(seed: u64) {
    let mut random = Rng::new(seed);
    let long = "a-token-longer-than-what-is-stored-in-place";
    let in_patterns = ["a", "b", "c", "*", "*", ">", long];
    let in_subjects = ["a", "b", "c", long, "*", ">"];
    let mut pair = Pair { sublist: Sublist::new(seed), model: Vec::new(), len_max: 0 };
    let mut inserts = 50;
    for step in 0..400 {
        if step % 60 == 0 {
            // Phases that grow and phases that shrink, down to empty and up again.
            inserts = [20, 50, 80][random.below(3)];
        }
        if random.chance(inserts) {
            let pattern = random_name(&mut random, &in_patterns);
            if naive_well_formed(&pattern) {
                pair.insert(&pattern, random.below(1000) as u64);
            }
        } else if !pair.model.is_empty() {
            let at = random.below(pair.model.len());
            pair.remove(at);
        }
        let mut subject = random_name(&mut random, &in_subjects);
        if random.chance(5) {
            subject.insert(random.below(subject.len() + 1), '.');
        }
        pair.check(&subject);
    }
    while !pair.model.is_empty() {
        let at = random.below(pair.model.len());
        pair.remove(at);
        pair.check("a.b");
    }
}

#[test]
fn random_changes_against_the_model() {
    let chosen = std::env::var("SUBLIST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = chosen.map_or(0..300, |seed: u64| seed..seed + 1);
    for seed in seeds {
        println!("SUBLIST_SEED={seed}");
        random_run(seed);
    }
}

#[test]
#[should_panic(expected = "has been removed")]
fn a_removed_id_is_refused() {
    let mut sublist = Sublist::new(0);
    sublist.insert(b"a", 1);
    let id = sublist.insert(b"b", 2);
    sublist.remove(id);
    let _ = sublist[id];
}

#[test]
fn values_are_dropped_once() {
    let value = std::rc::Rc::new(());
    let mut sublist = Sublist::new(0);
    let ids: Vec<_> =
        ["a", "b.*", "c.>"].map(|p| sublist.insert(p.as_bytes(), value.clone())).to_vec();
    assert_eq!(std::rc::Rc::strong_count(&value), 4);
    drop(sublist.remove(ids[1]));
    assert_eq!(std::rc::Rc::strong_count(&value), 3);
    drop(sublist);
    assert_eq!(std::rc::Rc::strong_count(&value), 1);
}
