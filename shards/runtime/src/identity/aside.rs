//! Logins that wait for the token of an account which nobody knows yet, and whose is fetched next.
//!
//! Anybody can invent accounts. So addresses take turns, none has all of the fetches that are under
//! way, and where no more may wait, the address with most of those that do gives one up. Accounts
//! that others import from come first: those were vouched for.

use std::collections::BTreeMap;
use std::time::Instant;

use shard::turns::{Origin, Places, Turns};

/// Fetches under way at once, half of them for logins from one address, or for imports.
pub const FETCHERS: usize = 8;
/// Logins that may wait.
pub const ASIDE_MAX: usize = 1024;

/// For whom an account is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// Accounts that import from it.
    Imports,
    /// A client from there.
    Login(Origin),
}

struct Login<T> {
    account: String,
    who: T,
    until: Instant,
}

/// Those who wait, whoever they are.
pub struct Aside<T> {
    logins: Turns<Origin, Login<T>>,
    /// Accounts whose tokens are being fetched.
    under_way: BTreeMap<String, Asker>,
    places: Places<Asker>,
}

impl<T> Default for Aside<T> {
    fn default() -> Aside<T> {
        Aside {
            logins: Turns::default(),
            under_way: BTreeMap::new(),
            places: Places::new(FETCHERS),
        }
    }
}

impl<T> Aside<T> {
    /// No login waits.
    pub fn is_empty(&self) -> bool {
        self.logins.is_empty()
    }

    /// Accounts whose tokens are being fetched, [`FETCHERS`] at most.
    pub fn under_way(&self) -> impl Iterator<Item = &String> {
        self.under_way.keys()
    }

    /// Waits for the token of an account until its time to log in is over. Gives who can't wait, or
    /// can no longer, if there are too many: one from the address that has most of them.
    pub fn add(&mut self, from: Origin, account: String, who: T, until: Instant) -> Option<T> {
        let login = Login { account, who, until };
        let mut crowded = None;
        if self.logins.len() >= ASIDE_MAX {
            match self.logins.longest() {
                Some((most, count)) if count > self.logins.len_of(from) + 1 => {
                    crowded = self.logins.pop_newest(most).map(|login| login.who);
                }
                _ => return Some(login.who),
            }
        }
        self.logins.push(from, login);
        crowded
    }

    /// The account to fetch now, if one may be, of those that logins need and those that others
    /// import from, which `wanted` gives one after the other. It is under way from now on.
    pub fn next(&mut self, wanted: impl FnMut() -> Option<String>, now: Instant) -> Option<String> {
        if self.places.are_taken() {
            return None;
        }
        let (asker, account) = match self.import(wanted) {
            Some(account) => (Asker::Imports, account),
            None => {
                let may = |origin| self.places.may(Asker::Login(origin));
                let fits = |login: &Login<T>| {
                    login.until > now && !self.under_way.contains_key(&login.account)
                };
                let (origin, login) = self.logins.next(may, fits)?;
                (Asker::Login(origin), login.account.clone())
            }
        };
        self.places.take(asker);
        self.under_way.insert(account.clone(), asker);
        Some(account)
    }

    fn import(&self, mut wanted: impl FnMut() -> Option<String>) -> Option<String> {
        while self.places.may(Asker::Imports) {
            let account = wanted()?;
            if !self.under_way.contains_key(&account) {
                return Some(account);
            }
        }
        None
    }

    /// It is not being fetched any more. For whom it was, and who has waited for it.
    pub fn end(&mut self, account: &str) -> (Option<Asker>, Vec<T>) {
        let asker = self.under_way.remove(account);
        if let Some(asker) = asker {
            self.places.leave(asker);
        }
        (asker, self.take(|login| login.account == account))
    }

    /// Those whose time to log in is over. They wait no longer.
    pub fn take_late(&mut self, now: Instant) -> Vec<T> {
        self.take(|login| login.until <= now)
    }

    fn take(&mut self, is_wanted: impl FnMut(&Login<T>) -> bool) -> Vec<T> {
        self.logins.extract(is_wanted).into_iter().map(|login| login.who).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn origin(at: u8) -> Origin {
        Origin::of([10, 0, 0, at].into())
    }

    struct Crowd {
        aside: Aside<usize>,
        now: Instant,
        count: usize,
    }

    impl Crowd {
        fn new() -> Crowd {
            Crowd { aside: Aside::default(), now: Instant::now(), count: 0 }
        }

        /// Each needs an account of its own; those that were turned away for it.
        fn come(&mut self, from: u8, count: usize) -> Vec<usize> {
            let logins = self.count..self.count + count;
            self.count += count;
            let until = self.now + Duration::from_secs(2);
            logins
                .filter_map(|at| self.aside.add(origin(from), format!("A{at}"), at, until))
                .collect()
        }

        fn next(&mut self) -> Option<String> {
            self.aside.next(|| None, self.now)
        }

        fn begin_all(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.next()).collect()
        }
    }

    #[test]
    fn a_newcomer_is_next_however_many_wait() {
        let mut crowd = Crowd::new();
        assert_eq!(crowd.come(1, 1000), [0; 0]);
        assert_eq!(crowd.begin_all(), ["A0", "A1", "A2", "A3"], "half of the fetches");
        assert_eq!(crowd.come(2, 2), [0; 0]);
        assert_eq!(crowd.begin_all(), ["A1000", "A1001"], "nothing has to end for it");
        crowd.come(3, 1);
        crowd.come(4, 2);
        assert_eq!(crowd.begin_all(), ["A1002", "A1003"], "now all are under way");
        crowd.aside.end("A0");
        assert_eq!(crowd.begin_all(), [""; 0], "this one has three yet, and one is free");
        crowd.aside.end("A1003");
        assert_eq!(crowd.begin_all(), ["A1004"], "who has none before who has some");
        crowd.aside.end("A1");
        crowd.aside.end("A2");
        assert_eq!(crowd.begin_all(), ["A4"]);
    }

    #[test]
    fn who_has_most_gives_way() {
        let mut crowd = Crowd::new();
        assert_eq!(crowd.come(1, ASIDE_MAX + 2), [ASIDE_MAX, ASIDE_MAX + 1], "one address alone");
        let newest = ASIDE_MAX - 1;
        assert_eq!(crowd.come(2, 2), [newest, newest - 1], "of the others");
        let half = ASIDE_MAX / 2;
        let gone = crowd.come(2, ASIDE_MAX);
        let first = ASIDE_MAX + 4;
        assert_eq!(gone[..half - 2], (half..newest - 1).rev().collect::<Vec<_>>());
        assert!(gone[half - 2..].iter().all(|gone| *gone >= first), "both have the same by now");
        assert_eq!(crowd.aside.logins.len(), ASIDE_MAX);
        assert_eq!(crowd.come(3, 1).len(), 1);
        assert_eq!(crowd.aside.logins.len_of(origin(3)), 1);
    }

    #[test]
    fn one_account_is_fetched_once_for_all_who_need_it() {
        let mut crowd = Crowd::new();
        let until = crowd.now + Duration::from_secs(2);
        for at in 0..6 {
            crowd.aside.add(origin(at % 3), "A".into(), usize::from(at), until);
        }
        crowd.aside.add(origin(0), "B".into(), 6, until);
        assert_eq!(crowd.begin_all(), ["A", "B"]);
        crowd.aside.add(origin(4), "A".into(), 7, until);
        assert_eq!(crowd.next(), None);
        let (asker, who) = crowd.aside.end("A");
        assert_eq!(asker, Some(Asker::Login(origin(0))));
        assert_eq!(who, [0, 3, 1, 4, 2, 5, 7]);
        assert_eq!(crowd.aside.end("A"), (None, vec![]));
    }

    #[test]
    fn imports_come_first_but_not_alone() {
        let mut crowd = Crowd::new();
        crowd.come(1, 100);
        let mut wanted = (0..20).map(|at| format!("I{at:02}"));
        let now = crowd.now;
        let mut begin = |aside: &mut Aside<usize>, count: usize| -> Vec<String> {
            (0..count).map_while(|_| aside.next(|| wanted.next(), now)).collect()
        };
        let first = begin(&mut crowd.aside, FETCHERS);
        assert_eq!(first, ["I00", "I01", "I02", "I03", "A0", "A1"]);
        crowd.aside.end("A0");
        crowd.aside.end("I00");
        assert_eq!(begin(&mut crowd.aside, 1), ["I04"], "before those who came sooner");
        assert_eq!(begin(&mut crowd.aside, FETCHERS), ["A2"]);
        crowd.come(2, 1);
        assert_eq!(begin(&mut crowd.aside, FETCHERS), ["A100"]);
    }

    #[test]
    fn whose_time_is_over_waits_no_longer() {
        let mut crowd = Crowd::new();
        crowd.come(1, 10);
        assert_eq!(crowd.next().as_deref(), Some("A0"));
        crowd.now += Duration::from_secs(2);
        crowd.come(1, 1);
        assert_eq!(crowd.next().as_deref(), Some("A10"), "nobody waits for the others any more");
        assert_eq!(crowd.aside.take_late(crowd.now), (0..10).collect::<Vec<_>>());
        assert_eq!(crowd.aside.end("A0").1, [0; 0]);
        assert!(!crowd.aside.is_empty());
        assert_eq!(crowd.aside.end("A10").1, [10]);
        assert!(crowd.aside.is_empty());
    }
}
