//! Messages and bytes per second of each connection, from one look at all of them to the next.

use shard::Nanos;
use shard::limits::SECONDS;
use shard::report::{Connection, Report};

/// A shorter time between two looks tells nothing, and the rates of the last look stay.
const LOOK_NS_MIN: Nanos = SECONDS / 2;
/// What was seen longer ago than this is forgotten: the page was not open.
const LOOK_NS_MAX: Nanos = 60 * SECONDS;

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    pub in_msgs: f64,
    pub out_msgs: f64,
    pub in_bytes: f64,
    pub out_bytes: f64,
}

struct Seen {
    cid: u64,
    counts: [u64; 4],
    /// None until it was seen twice.
    rate: Option<Rate>,
}

/// As of the last look. Some 80 bytes per connection, while somebody looks.
#[derive(Default)]
pub(crate) struct Rates {
    at: Nanos,
    /// By id.
    seen: Vec<Seen>,
}

impl Rates {
    /// Looks at reports that hold every open connection.
    pub(crate) fn take(&mut self, reports: &[Report]) {
        let now = reports.iter().map(|report| report.driver.now).max().unwrap_or(0);
        let elapsed = now.saturating_sub(self.at);
        if elapsed < LOOK_NS_MIN && !self.seen.is_empty() {
            return;
        }
        if elapsed > LOOK_NS_MAX {
            self.seen.clear();
        }
        let connections = reports.iter().flat_map(|report| &report.connections);
        let mut seen: Vec<Seen> = connections
            .map(|connection| {
                let counts = counts(connection);
                let before = self.find(connection.cid);
                let rate = before.map(|before| rate(before.counts, counts, elapsed));
                Seen { cid: connection.cid, counts, rate }
            })
            .collect();
        seen.sort_unstable_by_key(|seen| seen.cid);
        *self = Rates { at: now, seen };
    }

    /// None if it is not known yet.
    pub(crate) fn of(&self, cid: u64) -> Option<Rate> {
        self.find(cid)?.rate
    }

    fn find(&self, cid: u64) -> Option<&Seen> {
        self.seen.binary_search_by_key(&cid, |seen| seen.cid).ok().map(|at| &self.seen[at])
    }
}

fn counts(it: &Connection) -> [u64; 4] {
    [it.in_msgs, it.out_msgs, it.in_bytes, it.out_bytes]
}

fn rate(before: [u64; 4], after: [u64; 4], elapsed: Nanos) -> Rate {
    let per_second =
        |at: usize| after[at].saturating_sub(before[at]) as f64 / (elapsed as f64 / SECONDS as f64);
    Rate {
        in_msgs: per_second(0),
        out_msgs: per_second(1),
        in_bytes: per_second(2),
        out_bytes: per_second(3),
    }
}
