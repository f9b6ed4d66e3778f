//! What mappings and imports make of a subject that was published on before: where its plan is
//! kept, that is kept with it, so that a publication need not be looked at as if it were the first.
//!
//! What is kept names other plans and holds none of them: a plan that is void is in no table and
//! will be gone. With other mappings or imports all plans of an account are void.

use std::rc::{Rc, Weak};

use subject::Mapping;
use wire::Pub;

use super::legs::{By, Leg};
use crate::effect::Effects;
use crate::ids::{AccountId, ConnId};
use crate::interest::Plan;
use crate::router::is_reserved_subject;
use crate::session::client::Flow;
use crate::session::guard::Right;
use crate::shard::Shard;
use crate::targets::Listeners;

/// What becomes of publications on the subject of a plan.
pub(crate) enum Tied {
    /// They go by this plan of their account, and nothing else comes of them.
    To(Weak<Plan>),
    /// By one of these, which is drawn: up to how many in a hundred, from the one before it.
    Drawn(Vec<(u8, Weak<Plan>)>),
    /// Several ways, the first one in their own account.
    Ways(Vec<Step>),
    /// That is not the same each time.
    Open,
}

/// A leg, as far as it is always the same.
pub(crate) struct Step {
    account: AccountId,
    plan: Weak<Plan>,
    by: By,
    parent: usize,
}

impl Plan {
    /// Do publications on its subject go by this plan, and does nothing else come of them?
    pub fn goes_by(&self, plan: &Rc<Plan>) -> bool {
        match self.tied.get() {
            Some(Tied::To(to)) => std::ptr::eq(to.as_ptr(), Rc::as_ptr(plan)),
            _ => false,
        }
    }
}

impl Shard {
    /// Publishes on a subject of which it is known what ties make of it. None if it is not.
    pub(crate) fn publish_as_ever(
        &mut self,
        conn: ConnId,
        account: AccountId,
        op: &Pub<'_>,
        out: &mut Effects,
    ) -> Option<Flow> {
        let plan = self.tied_plan(conn, account, op.subject).filter(|_| !self.options.trace)?;
        match plan.tied.get()? {
            Tied::Open => None,
            Tied::To(to) => {
                let to = self.still(account, to, &plan)?;
                let right = self.right_by(conn, &to);
                self.recall(conn, &plan, Some(&to).filter(|_| right == Right::Always));
                if self.stalls.any()
                    && right != Right::Never
                    && self.waits_for_receiver(conn, &to, out)
                {
                    return Some(Flow::Again);
                }
                Some(self.publish_by(conn, op, (right, &to.subject), &to, out))
            }
            Tied::Drawn(all) => {
                // One that has to wait would be drawn again.
                for (_, to) in all {
                    if !self.still(account, to, &plan)?.is_plain {
                        return None;
                    }
                }
                let drawn = self.rng.below(100) as u8;
                let (_, to) = all.iter().find(|(upto, _)| drawn < *upto)?;
                let to = to.upgrade()?;
                let right = self.right_by(conn, &to);
                self.recall(conn, &plan, None);
                Some(self.publish_by(conn, op, (right, &to.subject), &to, out))
            }
            Tied::Ways(steps) => self.publish_all_ways(conn, op, steps, &plan, out),
        }
    }

    fn publish_all_ways(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        steps: &[Step],
        plan: &Rc<Plan>,
        out: &mut Effects,
    ) -> Option<Flow> {
        let mut legs = self.spare.legs();
        for Step { account, plan: to, by, parent } in steps {
            let Some(to) = self.still(*account, to, plan) else {
                self.spare.give_legs(legs);
                return None;
            };
            legs.push(Leg::new(*account, to, by.clone(), *parent));
        }
        let right = self.right_by(conn, &legs[0].plan);
        self.recall(conn, plan, None);
        let flow = match right {
            Right::Never => self.publish_by(conn, op, (right, legs[0].subject()), plan, out),
            _ => self.publish_legs(conn, op, right, &mut legs, &mut None, out),
        };
        self.spare.give_legs(legs);
        Some(flow)
    }

    /// The plan of a subject, if it is known what ties make of it.
    fn tied_plan(&self, conn: ConnId, account: AccountId, subject: &[u8]) -> Option<Rc<Plan>> {
        let table = &self.accounts[account.0 as usize];
        let client = self.clients.get(conn.index())?.as_deref()?;
        match client.last_tied() {
            Some(plan) if *plan.subject == *subject && table.is_current(plan) => Some(plan.clone()),
            _ => table.peek_plan(subject).filter(|plan| plan.is_tied).cloned(),
        }
    }

    /// A plan that another one names, if it is still right. If not, the other is void too.
    fn still(&self, account: AccountId, to: &Weak<Plan>, by: &Plan) -> Option<Rc<Plan>> {
        let table = &self.accounts[account.0 as usize];
        let to = to.upgrade().filter(|to| table.is_current(to));
        if to.is_none() {
            by.stale.set(true);
        }
        to
    }

    fn right_by(&mut self, conn: ConnId, plan: &Plan) -> Right {
        let now = self.now;
        let Some(client) = self.client(conn) else { return Right::Never };
        let guard = client.guard.as_mut();
        guard.map_or(Right::Always, |guard| guard.right_by_plan(plan.id, &plan.subject, now))
    }

    /// The subject need not be looked up the next time; nor what it is mapped to, if the connection
    /// may publish there until its permissions change, and that means what it says.
    fn recall(&mut self, conn: ConnId, plan: &Rc<Plan>, to: Option<&Rc<Plan>>) {
        let Some(client) = self.client(conn) else { return };
        let is_new = |last: &Option<Rc<Plan>>, plan| {
            last.as_ref().is_none_or(|last| !Rc::ptr_eq(last, plan))
        };
        let tied = client.tied.get_or_insert_default();
        if is_new(&tied.last, plan) {
            tied.last = Some(plan.clone());
        }
        if let Some(to) = to.filter(|to| !to.is_tied && is_new(&client.last_plan, to)) {
            client.last_plan = Some(to.clone());
        }
    }

    /// Keeps what was found out of a subject, if it is worth it: its legs, if nothing was drawn
    /// for the first one and the rest follows from that.
    pub(crate) fn remember_ways(
        &mut self,
        account: AccountId,
        subject: &[u8],
        legs: &[Leg],
        drawn: bool,
        follows: bool,
    ) {
        // As long as its legs are worth nothing, neither is it.
        if legs.iter().any(|leg| !leg.plan.kept) {
            return;
        }
        let Some(plan) = self.kept_plan(account, subject) else { return };
        if plan.tied.get().is_some() {
            return;
        }
        let is_reserved = legs.iter().any(|leg| is_reserved_subject(leg.subject()));
        let tied = match legs {
            _ if drawn => self.drawn(account, subject),
            _ if is_reserved || !follows => None,
            [only] => Some(Tied::To(Rc::downgrade(&only.plan))),
            _ => Some(Tied::Ways(legs.iter().map(Step::of).collect())),
        };
        let _ = plan.tied.set(tied.unwrap_or(Tied::Open));
    }

    /// Where a subject goes that has several destinations; none if there is more to it.
    fn drawn(&mut self, account: AccountId, subject: &[u8]) -> Option<Tied> {
        let bonds = self.bonds(account)?.clone();
        let mut all = Vec::new();
        for (transform, upto) in bonds.mappings.find(subject).map(Mapping::choices)? {
            if transform.is_some_and(|transform| transform.is_random()) {
                return None;
            }
            let to = transform.map(|transform| transform.applied(subject)).unwrap_or_default();
            if bonds.asks(&to) || bonds.may_answer(&to) || is_reserved_subject(&to) {
                return None;
            }
            all.push((upto, Rc::downgrade(&self.kept_plan(account, &to)?)));
        }
        if all.last().is_none_or(|(upto, _)| *upto < 100) {
            all.push((100, Rc::downgrade(&self.kept_plan(account, b"")?)));
        }
        Some(Tied::Drawn(all))
    }

    /// The plan of a subject, if it has one or is worth it.
    fn kept_plan(&mut self, account: AccountId, subject: &[u8]) -> Option<Rc<Plan>> {
        let listeners = Listeners { subs: &self.subs, clients: &self.clients };
        self.accounts[account.0 as usize].kept_plan(subject, listeners)
    }
}

impl Step {
    fn of(leg: &Leg) -> Step {
        let Leg { account, plan, by, parent, .. } = leg;
        Step { account: *account, plan: Rc::downgrade(plan), by: by.clone(), parent: *parent }
    }
}
