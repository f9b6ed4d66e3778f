//! The figures of all shards as one server's.

use shard::report::{Figures, Latency, Report, SubjectRates};

/// Figures of the whole server.
pub(crate) fn sum(reports: &[Report]) -> Figures {
    let mut sum = Figures::default();
    for report in reports {
        add(&mut sum, &report.figures);
    }
    sum
}

/// Figures of one account; all 0 if no report knows it.
pub(crate) fn of_account(reports: &[Report], name: &str) -> Figures {
    let mut sum = Figures::default();
    for account in reports.iter().flat_map(|report| &report.accounts) {
        if account.name == name {
            add(&mut sum, &account.figures);
        }
    }
    sum
}

fn add(sum: &mut Figures, more: &Figures) {
    // Taken apart so that a new figure can't be forgotten here.
    let Figures {
        connections,
        connections_total,
        closed_remembered,
        subscriptions,
        in_msgs,
        in_bytes,
        out_msgs,
        out_bytes,
        slow_pending_bytes,
        slow_write_deadline,
        stale_connections,
        logins_crowded,
        stalled_clients,
        dropped_behind,
        dropped_no_member,
        dropped_responses,
        dropped_internal,
        forwarded_msgs,
        congested,
        inserts,
        removes,
        matches,
        plan_hits,
        plans,
        fanout_max,
        fanout_sum,
        plans_made,
    } = *more;
    sum.connections += connections;
    sum.connections_total += connections_total;
    sum.closed_remembered += closed_remembered;
    sum.subscriptions += subscriptions;
    sum.in_msgs += in_msgs;
    sum.in_bytes += in_bytes;
    sum.out_msgs += out_msgs;
    sum.out_bytes += out_bytes;
    sum.slow_pending_bytes += slow_pending_bytes;
    sum.slow_write_deadline += slow_write_deadline;
    sum.stale_connections += stale_connections;
    sum.logins_crowded += logins_crowded;
    sum.stalled_clients += stalled_clients;
    sum.dropped_behind += dropped_behind;
    sum.dropped_no_member += dropped_no_member;
    sum.dropped_responses += dropped_responses;
    sum.dropped_internal += dropped_internal;
    sum.forwarded_msgs += forwarded_msgs;
    sum.congested += congested;
    sum.inserts += inserts;
    sum.removes += removes;
    sum.matches += matches;
    sum.plan_hits += plan_hits;
    sum.plans += plans;
    sum.fanout_max = sum.fanout_max.max(fanout_max);
    sum.fanout_sum += fanout_sum;
    sum.plans_made += plans_made;
}

/// Delivery latency of some shards together.
pub(crate) struct Tail {
    /// Nanoseconds of the last minute or two in order, and how many messages took that long.
    recent: Vec<(u64, u64)>,
    /// Of all messages ever.
    pub sum_ns: f64,
    pub count: u64,
}

impl Tail {
    pub(crate) fn of<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Tail {
        let mut tail = Tail { recent: Vec::new(), sum_ns: 0.0, count: 0 };
        for it in reports.into_iter().filter_map(|report| report.driver.latency.as_ref()) {
            let Latency { recent, sum_ns, count } = it;
            tail.recent.extend(recent);
            tail.sum_ns += *sum_ns as f64;
            tail.count += count;
        }
        tail.recent.sort_unstable();
        tail
    }

    /// Nanoseconds; none if nothing was delivered in the last minute or two.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<u64> {
        let total: u64 = self.recent.iter().map(|(_, count)| count).sum();
        let wanted = (quantile * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.recent.iter().find_map(|(value, count)| {
            seen += count;
            (seen >= wanted).then_some(*value)
        })
    }
}

/// The busiest subjects of all shards together, busiest first.
pub(crate) fn top_subjects(reports: &[Report], max: usize) -> Vec<SubjectRates> {
    together(reports.iter().flat_map(|report| &report.top_subjects), max)
}

fn together<'a>(all: impl Iterator<Item = &'a SubjectRates>, max: usize) -> Vec<SubjectRates> {
    // As they are shown: subjects that differ in invalid bytes only are one.
    let shown = |it: &SubjectRates| SubjectRates {
        subject: crate::json::text(&it.subject).into_bytes(),
        ..it.clone()
    };
    let mut all: Vec<SubjectRates> = all.map(shown).collect();
    all.sort_by(|a, b| (&a.account, &a.subject).cmp(&(&b.account, &b.subject)));
    all.dedup_by(|more, sum| {
        let same = (&more.account, &more.subject) == (&sum.account, &sum.subject);
        if same {
            sum.msgs += more.msgs;
            sum.bytes += more.bytes;
        }
        same
    });
    all.sort_by(|a, b| b.msgs.total_cmp(&a.msgs));
    all.truncate(max);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_values_seen() {
        let recent = vec![(10, 50), (20, 40), (30, 9), (40, 1)];
        let tail = Tail { recent, sum_ns: 0.0, count: 0 };
        for (quantile, value) in [(0.5, 10), (0.51, 20), (0.9, 20), (0.99, 30), (1.0, 40)] {
            assert_eq!(tail.quantile(quantile), Some(value), "{quantile}");
        }
        assert_eq!(Tail::of([]).quantile(0.5), None);
    }

    #[test]
    fn subjects_that_look_the_same_are_told_once() {
        let rate = |subject: &[u8], msgs| SubjectRates {
            account: "$G".into(),
            subject: subject.to_vec(),
            msgs,
            bytes: 1.0,
        };
        let all = [rate(b"a.\xff", 2.0), rate(b"b", 9.0), rate(b"a.\xfe", 3.0)];
        let told = together(all.iter(), 20);
        assert_eq!(told.iter().map(|it| it.msgs).collect::<Vec<f64>>(), [9.0, 5.0]);
    }
}
