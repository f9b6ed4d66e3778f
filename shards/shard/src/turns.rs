//! Those who wait, by where they come from, so that nobody waits behind a crowd that comes from one
//! place. Whoever has few places has the next one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Where somebody comes from, as far as shares go: an IPv4 address, or the first 64 bits of an IPv6
/// one, since whoever has one of those has all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(u64, bool);

impl Origin {
    /// Of an address.
    pub fn of(address: IpAddr) -> Origin {
        match address.to_canonical() {
            IpAddr::V4(address) => Origin(u32::from(address).into(), false),
            IpAddr::V6(address) => Origin((u128::from(address) >> 64) as u64, true),
        }
    }
}

/// A queue for each of those who want something. They take turns; every other turn is that of who
/// came last and has had none. When more come than can be served in the time they have, those who
/// are served would all be too late otherwise.
#[derive(Debug)]
pub struct Turns<K, T> {
    waiting: BTreeMap<K, VecDeque<T>>,
    /// Who has something waiting, each once, and since when if it has had no turn yet; of those who
    /// came last is behind. The next turn is the first one's, or the last one's that has had none.
    order: VecDeque<(K, Option<u64>)>,
    is_newest_next: bool,
    len: usize,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Turns<K, T> {
        let (waiting, order) = (BTreeMap::new(), VecDeque::new());
        Turns { waiting, order, is_newest_next: false, len: 0 }
    }
}

impl<K: Copy + Ord, T> Turns<K, T> {
    /// All that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many wait of these.
    pub fn len_of(&self, key: K) -> usize {
        self.waiting.get(&key).map_or(0, VecDeque::len)
    }

    /// One more waits, which has come just now.
    pub fn push(&mut self, key: K, item: T) {
        self.push_since(key, item, u64::MAX);
    }

    /// One more waits, which has come at this time, maybe to wait elsewhere first: it comes before
    /// those who came later.
    pub fn push_since(&mut self, key: K, item: T, since: u64) {
        match self.waiting.entry(key) {
            Entry::Occupied(mut queue) => queue.get_mut().push_back(item),
            Entry::Vacant(place) => {
                place.insert(VecDeque::from([item]));
                let at = self.place_of(since);
                self.order.insert(at, (key, Some(since)));
            }
        }
        self.len += 1;
    }

    /// Before those at the end who came later.
    fn place_of(&self, since: u64) -> usize {
        let mut at = self.order.len();
        if since == u64::MAX {
            // However many wait, whoever comes now costs no look at them.
            return at;
        }
        for (place, (_, other)) in self.order.iter().enumerate().rev() {
            match other {
                Some(other) if *other <= since => break,
                Some(_) => at = place,
                None => {}
            }
        }
        at
    }

    /// The first that fits, of those whose turn it is among those who may. It stays where it is,
    /// but others have the next turn.
    pub fn next(&mut self, may: impl Fn(K) -> bool, fits: impl Fn(&T) -> bool) -> Option<(K, &T)> {
        let (key, at) = self.turn(may, fits)?;
        Some((key, self.waiting.get(&key)?.get(at)?))
    }

    /// The first of those whose turn it is among those who may. It waits no longer.
    pub fn pop(&mut self, may: impl Fn(K) -> bool) -> Option<(K, T)> {
        let (key, at) = self.turn(may, |_| true)?;
        Some((key, self.remove(key, at)?))
    }

    fn turn(&mut self, may: impl Fn(K) -> bool, fits: impl Fn(&T) -> bool) -> Option<(K, usize)> {
        let order = self.order.iter().enumerate();
        let fits = |(turn, (key, _)): (usize, &(K, Option<u64>))| {
            let queue = may(*key).then(|| self.waiting.get(key)).flatten()?;
            Some((turn, queue.iter().position(&fits)?))
        };
        let newest = match self.is_newest_next {
            true => order.clone().rev().filter(|(_, (_, since))| since.is_some()).find_map(fits),
            false => None,
        };
        let (turn, at) = newest.or_else(|| order.clone().find_map(fits))?;
        self.is_newest_next = !self.is_newest_next;
        let (key, _) = self.order.remove(turn)?;
        self.order.push_back((key, None));
        Some((key, at))
    }

    /// Who has most waiting, and how many.
    pub fn longest(&self) -> Option<(K, usize)> {
        self.waiting.iter().map(|(key, queue)| (*key, queue.len())).max_by_key(|(_, len)| *len)
    }

    /// The one that came last of these.
    pub fn pop_newest(&mut self, key: K) -> Option<T> {
        self.remove(key, self.len_of(key).checked_sub(1)?)
    }

    fn remove(&mut self, key: K, at: usize) -> Option<T> {
        let queue = self.waiting.get_mut(&key)?;
        let item = queue.remove(at)?;
        let is_last = queue.is_empty();
        self.len -= 1;
        if is_last {
            self.waiting.remove(&key);
            self.order.retain(|(it, _)| *it != key);
        }
        Some(item)
    }

    /// Takes out all of which this is true.
    pub fn extract(&mut self, mut is_wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut out = Vec::new();
        for queue in self.waiting.values_mut() {
            if queue.iter().any(&mut is_wanted) {
                let (wanted, rest) = queue.drain(..).partition(&mut is_wanted);
                *queue = rest;
                out.extend::<VecDeque<T>>(wanted);
            }
        }
        self.len -= out.len();
        self.waiting.retain(|_, queue| !queue.is_empty());
        self.order.retain(|(key, _)| self.waiting.contains_key(key));
        out
    }
}

/// Places that may be taken at once. Nobody has more of them than are free: a crowd has half of
/// them, and whoever comes then finds one.
#[derive(Debug)]
pub struct Places<K> {
    taken: BTreeMap<K, usize>,
    free: usize,
}

impl<K: Copy + Ord> Places<K> {
    /// So many.
    pub fn new(count: usize) -> Places<K> {
        Places { taken: BTreeMap::new(), free: count }
    }

    /// May they have one more?
    pub fn may(&self, key: K) -> bool {
        self.taken.get(&key).copied().unwrap_or(0) < self.free
    }

    /// Nobody may have any.
    pub fn are_taken(&self) -> bool {
        self.free == 0
    }

    /// They have one more.
    pub fn take(&mut self, key: K) {
        *self.taken.entry(key).or_default() += 1;
        self.free -= 1;
    }

    /// They have one less.
    pub fn leave(&mut self, key: K) {
        let Entry::Occupied(mut taken) = self.taken.entry(key) else { return };
        *taken.get_mut() -= 1;
        if *taken.get() == 0 {
            taken.remove();
        }
        self.free += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(turns: &mut Turns<char, u32>) -> Vec<(char, u32)> {
        std::iter::from_fn(|| turns.pop(|_| true)).collect()
    }

    #[test]
    fn each_has_its_turn_and_keeps_its_order() {
        let mut turns = Turns::default();
        (0..4).for_each(|at| turns.push('a', at));
        turns.push('b', 10);
        turns.push('c', 20);
        turns.push('b', 11);
        assert_eq!((turns.len(), turns.len_of('a'), turns.longest()), (7, 4, Some(('a', 4))));
        let order = [('a', 0), ('c', 20), ('b', 10), ('a', 1), ('b', 11), ('a', 2), ('a', 3)];
        assert_eq!(popped(&mut turns), order);
        assert!(turns.is_empty() && turns.order.is_empty() && turns.waiting.is_empty());
    }

    /// Nobody waits for all who came before, and none of those waits for all who come after.
    #[test]
    fn every_other_turn_is_that_of_who_came_last() {
        let mut turns = Turns::default();
        (0..100).for_each(|key| turns.push(key, 0));
        let mut had = Vec::new();
        for key in 100..120 {
            turns.push(key, 0);
            had.extend(turns.pop(|_| true));
        }
        let had: Vec<i32> = had.into_iter().map(|(key, _)| key).collect();
        let expected: Vec<i32> = (0..10).flat_map(|n| [n, 101 + 2 * n]).collect();
        assert_eq!(had, expected);
    }

    /// Those who have waited elsewhere meanwhile are not newer than who came after them.
    #[test]
    fn who_came_last_stays_last_whoever_is_passed_on() {
        let mut turns = Turns::default();
        turns.push_since('a', 0, 1);
        turns.push_since('a', 0, 1);
        turns.push_since('z', 0, 100);
        assert_eq!(turns.pop(|_| true), Some(('a', 0)));
        for (key, since) in [('b', 2), ('c', 4), ('d', 3)] {
            turns.push_since(key, 0, since);
        }
        let order: String = popped(&mut turns).into_iter().map(|(key, _)| key).collect();
        assert_eq!(order, "zbcda");
    }

    #[test]
    fn whoever_may_not_keeps_its_turn() {
        let mut turns = Turns::default();
        turns.push('a', 1);
        turns.push('b', 2);
        assert_eq!(turns.pop(|key| key != 'a'), Some(('b', 2)));
        turns.push('b', 3);
        turns.push('c', 4);
        assert_eq!(turns.pop(|_| false), None);
        assert_eq!(popped(&mut turns), [('c', 4), ('a', 1), ('b', 3)]);
    }

    #[test]
    fn what_is_looked_at_stays_and_others_are_next() {
        let mut turns = Turns::default();
        (0..3).for_each(|at| turns.push('a', at));
        turns.push('b', 10);
        assert_eq!(turns.next(|_| true, |it| *it != 0), Some(('a', &1)));
        assert_eq!(turns.next(|_| true, |_| true), Some(('b', &10)));
        assert_eq!(turns.next(|_| true, |it| *it > 10), None);
        assert_eq!(turns.len(), 4);
    }

    #[test]
    fn the_newest_goes_and_what_is_over() {
        let mut turns = Turns::default();
        (0..4).for_each(|at| turns.push('a', at));
        turns.push('b', 2);
        assert_eq!(turns.pop_newest('a'), Some(3));
        assert_eq!(turns.pop_newest('c'), None);
        assert_eq!(turns.extract(|it| *it == 2), [2, 2]);
        assert_eq!((turns.len(), turns.len_of('b')), (2, 0));
        assert_eq!(popped(&mut turns), [('a', 0), ('a', 1)]);
    }

    #[test]
    fn a_crowd_has_half_of_the_places_and_there_is_always_one_for_another() {
        let mut places = Places::new(8);
        let mut fill = |key| {
            let mut count = 0;
            while places.may(key) {
                places.take(key);
                count += 1;
            }
            count
        };
        assert_eq!(['a', 'b', 'c', 'd', 'e'].map(&mut fill), [4, 2, 1, 1, 0]);
        (0..4).for_each(|_| places.leave('a'));
        places.leave('z');
        assert!(places.may('e') && places.may('b') && !places.are_taken());
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let of = |text: &str| Origin::of(text.parse().expect("an address"));
        assert_eq!(of("::ffff:127.0.0.1"), of("127.0.0.1"));
        assert_ne!(of("127.0.0.2"), of("127.0.0.1"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8::1"));
        assert_ne!(of("::1"), of("0.0.0.0"));
    }
}
