//! Connections of the accounts that limit them, and who has to go when a limit gets lower.

use std::collections::BTreeMap;

use shard::{AccountId, ConnId, ShardId};

/// A connection.
pub type Holder = (ShardId, ConnId);

/// Lower is older: those who were there when their account began to count, by their numbers on the
/// server; then those who came in since.
type Age = (bool, u64);

/// As many entries as there are connections, at most.
#[derive(Debug, Default)]
pub struct Seats {
    taken: BTreeMap<AccountId, BTreeMap<Holder, Age>>,
    count: u64,
}

impl Seats {
    /// Is there room for one more? Then it counts.
    pub fn take(&mut self, account: AccountId, max: u32, holder: Holder) -> bool {
        let taken = self.taken.entry(account).or_default();
        let is_room = taken.len() < max as usize;
        if is_room {
            self.count += 1;
            taken.insert(holder, (true, self.count));
        }
        is_room
    }

    /// One that is there already, with this number on the server, whether there is room or not.
    pub fn add(&mut self, account: AccountId, holder: Holder, cid: u64) {
        self.taken.entry(account).or_default().insert(holder, (false, cid));
    }

    /// One less.
    pub fn free(&mut self, account: AccountId, holder: Holder) {
        if let Some(taken) = self.taken.get_mut(&account) {
            taken.remove(&holder);
            if taken.is_empty() {
                self.taken.remove(&account);
            }
        }
    }

    /// The newest, where there are more than an account may have. They count no longer.
    pub fn crowd_out(&mut self, max: impl Fn(AccountId) -> Option<u32>) -> Vec<Holder> {
        let mut gone = Vec::new();
        for (account, taken) in &mut self.taken {
            let Some(max) = max(*account) else { continue };
            let surplus = taken.len().saturating_sub(max as usize);
            if surplus == 0 {
                continue;
            }
            let mut by_age: Vec<(Age, Holder)> =
                taken.iter().map(|(it, age)| (*age, *it)).collect();
            by_age.sort_unstable();
            for (_, holder) in by_age.into_iter().rev().take(surplus) {
                taken.remove(&holder);
                gone.push(holder);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountId = AccountId(3);

    fn holder(shard: u16, slot: u32) -> Holder {
        (ShardId(shard), ConnId { slot, generation: 0 })
    }

    #[test]
    fn as_many_as_may_be() {
        let mut seats = Seats::default();
        assert!(!seats.take(ACCOUNT, 0, holder(0, 0)));
        assert!(seats.take(ACCOUNT, 1, holder(0, 1)));
        assert!(!seats.take(ACCOUNT, 1, holder(0, 2)));
        assert!(seats.take(AccountId(4), 1, holder(0, 3)), "another account");
        seats.free(ACCOUNT, holder(0, 2));
        assert!(!seats.take(ACCOUNT, 1, holder(0, 2)), "it had none to give back");
        seats.free(ACCOUNT, holder(0, 1));
        assert!(seats.take(ACCOUNT, 1, holder(0, 2)));
    }

    #[test]
    fn the_newest_go() {
        let mut seats = Seats::default();
        // What comes from shards is in no order.
        for (at, cid) in [(0, 9), (1, 2), (2, 5)] {
            seats.add(ACCOUNT, holder(at, 0), cid);
        }
        assert!(seats.take(ACCOUNT, 9, holder(0, 7)));
        assert!(seats.take(ACCOUNT, 9, holder(0, 6)));
        assert_eq!(seats.crowd_out(|_| None), []);
        assert_eq!(seats.crowd_out(|_| Some(5)), []);
        let gone = seats.crowd_out(|account| (account == ACCOUNT).then_some(2));
        assert_eq!(gone, [holder(0, 6), holder(0, 7), holder(0, 0)]);
        assert!(!seats.take(ACCOUNT, 2, holder(0, 8)));
        seats.free(ACCOUNT, holder(0, 7));
        assert!(!seats.take(ACCOUNT, 2, holder(0, 8)), "that one counted no longer");
        assert_eq!(seats.crowd_out(|_| Some(0)).len(), 2);
    }
}
