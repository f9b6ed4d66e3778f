//! Who subscribed to what, and who takes a subject.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

type Map<V> = HashMap<Box<[u8]>, V, BuildHasherDefault<Quick>>;

/// One subscription.
pub struct Subscription {
    /// Whose it is: a place in the floor's list of clients.
    pub client: usize,
    /// The client's name for it.
    pub sid: Box<[u8]>,
    pattern: Box<[u8]>,
}

/// All subscriptions. Who takes a subject is not kept by subject: to look it up costs one look-up
/// for each token in a small table, which is cheaper than one in a large table that is in no cache.
#[derive(Default)]
pub struct Routes {
    subscriptions: Vec<Subscription>,
    free: Vec<u32>,
    /// Subscriptions by the tokens before their first wildcard, the dot included: empty for
    /// `*.a`, `a.` for `a.>`. By the whole of it where there is none.
    index: Map<Vec<u32>>,
}

impl Routes {
    /// Adds a subscription; gives its place.
    pub fn add(&mut self, client: usize, pattern: &[u8], sid: &[u8]) -> u32 {
        let made = Subscription { client, sid: sid.into(), pattern: pattern.into() };
        let place = match self.free.pop() {
            Some(place) => {
                self.subscriptions[place as usize] = made;
                place
            }
            None => {
                self.subscriptions.push(made);
                self.subscriptions.len() as u32 - 1
            }
        };
        self.index.entry(literal(pattern).into()).or_default().push(place);
        place
    }

    /// Takes one away, which has been added and not been taken away since.
    pub fn remove(&mut self, place: u32) {
        let pattern = std::mem::take(&mut self.subscriptions[place as usize].pattern);
        let key = literal(&pattern);
        if let Some(places) = self.index.get_mut(key) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.index.remove(key);
            }
        }
        self.free.push(place);
    }

    /// What is at a place.
    pub fn at(&self, place: u32) -> &Subscription {
        &self.subscriptions[place as usize]
    }

    /// Fills `takers` with the places of those that take a subject.
    pub fn find(&self, subject: &[u8], takers: &mut Vec<u32>) {
        takers.clear();
        let dots = (0..subject.len()).filter(|at| subject[*at] == b'.');
        for end in std::iter::once(0).chain(dots.map(|dot| dot + 1)) {
            let places = self.index.get(&subject[..end]).map_or(&[][..], Vec::as_slice);
            takers.extend(places.iter().filter(|place| {
                matches(&self.subscriptions[**place as usize].pattern[end..], &subject[end..])
            }));
        }
        takers.extend(self.index.get(subject).into_iter().flatten());
    }
}

/// What a pattern begins with, up to its first wildcard.
fn literal(pattern: &[u8]) -> &[u8] {
    let mut end = 0;
    for token in pattern.split(|b| *b == b'.') {
        if token == b"*" || token == b">" {
            return &pattern[..end];
        }
        end += token.len() + 1;
    }
    pattern
}

/// Whether a pattern takes a subject, token by token.
fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut have = subject.split(|b| *b == b'.');
    for want in pattern.split(|b| *b == b'.') {
        match (want, have.next()) {
            (b">", Some(_)) => return true,
            (b"*", Some(_)) => {}
            (want, Some(have)) if want == have => {}
            _ => return false,
        }
    }
    have.next().is_none()
}

/// A hash of short words from clients that mean no harm.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All words of up to three tokens of these, without `>` before an end.
    fn words(tokens: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = tokens.iter().map(|t| t.to_string()).collect();
        let mut last = all.clone();
        for _ in 0..2 {
            let longer = last.iter().filter(|word| !word.ends_with('>'));
            last = longer.flat_map(|w| tokens.iter().map(move |t| format!("{w}.{t}"))).collect();
            all.extend_from_slice(&last);
        }
        all
    }

    /// Which patterns take a subject, by the definition, for those that are subscribed to.
    fn owed(patterns: &[String], places: &[Option<u32>], subject: &str) -> Vec<u32> {
        let there = patterns.iter().zip(places).filter_map(|(p, place)| Some((p, (*place)?)));
        let takes = there.filter(|(pattern, _)| crate::template::matches(pattern, subject));
        let mut places: Vec<u32> = takes.map(|(_, place)| place).collect();
        places.sort_unstable();
        places
    }

    fn found(routes: &Routes, subject: &str) -> Vec<u32> {
        let mut takers = vec![77];
        routes.find(subject.as_bytes(), &mut takers);
        takers.sort_unstable();
        takers
    }

    #[test]
    fn takers_are_those_of_the_definition_whatever_comes_and_goes() {
        let patterns = words(&["a", "b", "aa", "*", ">"]);
        let mut subjects = words(&["a", "b", "aa", "c"]);
        subjects.push("a.b.a.b".into());
        let mut routes = Routes::default();
        let mut places = vec![None; patterns.len()];
        for round in 0..5 {
            for (n, pattern) in patterns.iter().enumerate() {
                // Each goes or comes in some rounds; places are used anew.
                if (n * 7 + round * 3) % 5 < 2 {
                    match places[n].take() {
                        Some(place) => routes.remove(place),
                        None => places[n] = Some(routes.add(n, pattern.as_bytes(), b"1")),
                    }
                }
                let subject = &subjects[(n * 13 + round) % subjects.len()];
                assert_eq!(found(&routes, subject), owed(&patterns, &places, subject));
            }
            for subject in subjects.iter().chain(&subjects) {
                let found = found(&routes, subject);
                assert_eq!(found, owed(&patterns, &places, subject), "{round}: {subject}");
                let is_own = |place: &u32| places[routes.at(*place).client] == Some(*place);
                assert!(found.iter().all(is_own), "{round}: {subject}");
            }
        }
        places.into_iter().flatten().for_each(|place| routes.remove(place));
        assert!(subjects.iter().all(|subject| found(&routes, subject).is_empty()));
        assert!(routes.index.is_empty());
    }

    #[test]
    fn subjects_that_differ_in_a_digit_are_spread_over_a_table() {
        let hash = |n: usize| {
            let mut hasher = Quick::default();
            hasher.write(format!("t.{:03}.{:03}", n / 1000, n % 1000).as_bytes());
            hasher.finish()
        };
        let mut low = vec![0u32; 1024];
        let mut high = [0u32; 128];
        for hash in (0..102_400).map(hash) {
            low[hash as usize % 1024] += 1;
            high[(hash >> 57) as usize] += 1;
        }
        assert!(low.iter().all(|n| (50..200).contains(n)), "{:?}", low.iter().max());
        assert!(high.iter().all(|n| (400..1600).contains(n)), "{:?}", high.iter().max());
    }
}
