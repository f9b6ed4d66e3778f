//! The figures of all shards as one server's.

use shard::report::{Figures, Report};

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
