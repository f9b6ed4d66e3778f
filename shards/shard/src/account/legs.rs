//! Which ways a publication has, where mappings or imports have a say: where its own account sends
//! it, what it is a request for there, what it is a response to.

use std::rc::Rc;

use subject::Choice;
use wire::Pub;

use super::response::{Answer, Hop, ReplyId};
use super::service::Begun;
use super::{Bonds, ResponseType, ServiceId, ServiceImport};
use crate::effect::Effects;
use crate::ids::{AccountId, ConnId, Nanos};
use crate::interest::Plan;
use crate::limits::LEGS_MAX;
use crate::rng::Rng;
use crate::router::Pick;
use crate::session::client::Wait;
use crate::shard::Shard;
use crate::targets::Listeners;

/// One way of a publication.
pub(crate) struct Leg {
    pub account: AccountId,
    /// Empty if the plan has it.
    subject: Vec<u8>,
    pub plan: Rc<Plan>,
    pub picks: Vec<Pick>,
    pub by: By,
    /// The leg it follows from; the first one is its own.
    pub parent: usize,
    /// Subject to reply to, empty for none.
    pub reply: Vec<u8>,
    /// What `reply` will be mapped back by.
    pub entry: Option<ReplyId>,
    pub delivered: bool,
}

/// Why a leg is there.
#[derive(Clone)]
pub(crate) enum By {
    /// The publication's own account.
    Publisher,
    Request(Rc<ServiceImport>),
    Response(Terms),
}

/// What holds for responses, and for responses to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub service: ServiceId,
    pub response: ResponseType,
    pub threshold_ns: Nanos,
}

/// Memory that the next publication uses again.
#[derive(Default)]
pub(crate) struct Spare {
    legs: Vec<Leg>,
    hops: Vec<Hop>,
    buffers: Vec<Vec<u8>>,
}

/// So many buffers are kept, and none with more room than that.
const SPARE_BUFFERS_MAX: usize = 512;
const SPARE_BYTES_MAX: usize = 512;

impl Spare {
    /// An empty one.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    pub fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity > 0 && capacity <= SPARE_BYTES_MAX && self.buffers.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// None yet.
    pub fn legs(&mut self) -> Vec<Leg> {
        std::mem::take(&mut self.legs)
    }

    pub fn give_legs(&mut self, mut legs: Vec<Leg>) {
        for leg in &mut legs {
            self.give(std::mem::take(&mut leg.subject));
            self.give(std::mem::take(&mut leg.reply));
        }
        legs.clear();
        self.legs = legs;
    }

    pub fn give_hops(&mut self, mut hops: Vec<Hop>) {
        for (_, subject, _) in hops.drain(..) {
            self.give(subject);
        }
        self.hops = hops;
    }
}

impl Leg {
    pub fn new(account: AccountId, plan: Rc<Plan>, by: By, parent: usize) -> Leg {
        Leg {
            account,
            subject: Vec::new(),
            plan,
            picks: Vec::new(),
            by,
            parent,
            reply: Vec::new(),
            entry: None,
            delivered: false,
        }
    }

    pub fn subject(&self) -> &[u8] {
        if self.subject.is_empty() { &self.plan.subject } else { &self.subject }
    }
}

impl Shard {
    /// Finds what follows from the first leg. Tells whether it would be the same each time; none
    /// if the connection must wait to know.
    pub(super) fn follow_all(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        begun: &mut Begun,
        legs: &mut Vec<Leg>,
        out: &mut Effects,
    ) -> Option<bool> {
        // Other numbers than the own subject was drawn with, but the same if looked at again.
        let mut rng = Rng::new(!begun.seed);
        let (mut drawn, account) = (false, legs[0].account);
        if self.bonds(account).is_some_and(|bonds| bonds.may_answer(legs[0].subject()))
            && let Some(hops) = self.hops(conn, account, legs[0].subject(), op, begun, out)?
        {
            for (parent, (account, subject, terms)) in hops.iter().enumerate() {
                let by = By::Response(*terms);
                drawn |= self.add_mapped_leg(legs, (*account, subject), by, parent, &mut rng);
            }
        }
        let mut at = 0;
        while at < legs.len() && legs.len() < LEGS_MAX {
            drawn |= self.follow(legs, at, &mut rng);
            at += 1;
        }
        Some(!drawn)
    }

    pub(crate) fn bonds(&self, account: AccountId) -> Option<&Rc<Bonds>> {
        self.accounts[account.0 as usize].ties.as_ref()
    }

    /// Adds a leg.
    pub(super) fn add_leg(
        &mut self,
        legs: &mut Vec<Leg>,
        account: AccountId,
        subject: &[u8],
        by: By,
        parent: usize,
    ) {
        let listeners = Listeners { subs: &self.subs, clients: &self.clients };
        let plan = self.accounts[account.0 as usize].plan(subject, listeners);
        let mut own = Vec::new();
        if plan.subject.len() != subject.len() {
            own = self.spare.buffer();
            own.extend_from_slice(subject);
        }
        legs.push(Leg { subject: own, ..Leg::new(account, plan, by, parent) });
    }

    /// As [`Shard::add_leg`], of a subject that the account may map. Tells whether it was drawn.
    fn add_mapped_leg(
        &mut self,
        legs: &mut Vec<Leg>,
        (account, subject): (AccountId, &[u8]),
        by: By,
        parent: usize,
        rng: &mut Rng,
    ) -> bool {
        if self.bonds(account).is_none_or(|bonds| bonds.mappings.is_empty()) {
            self.add_leg(legs, account, subject, by, parent);
            return false;
        }
        let mut to = self.spare.buffer();
        let drawn = self.map_into(account, subject, rng, &mut to);
        self.add_leg(legs, account, &to, by, parent);
        self.spare.give(to);
        drawn
    }

    /// Appends where the account's mappings send a subject; nothing if it is lost on purpose.
    /// Tells whether that was drawn.
    pub(crate) fn map_into(
        &self,
        account: AccountId,
        subject: &[u8],
        rng: &mut Rng,
        to: &mut Vec<u8>,
    ) -> bool {
        let Some(bonds) = self.bonds(account).filter(|bonds| !bonds.mappings.is_empty()) else {
            to.extend_from_slice(subject);
            return false;
        };
        let mut drawn = false;
        let mut draw = |below| {
            drawn = true;
            rng.below(below)
        };
        match bonds.mappings.choose(subject, &mut || draw(100) as u8) {
            Choice::Unmapped => to.extend_from_slice(subject),
            Choice::Lost => {}
            Choice::To(transform) => transform.apply(subject, &mut || draw(1 << 31) as u32, to),
        }
        drawn
    }

    /// What a leg's message is a request for. Tells whether anything was drawn for it.
    fn follow(&mut self, legs: &mut Vec<Leg>, at: usize, rng: &mut Rng) -> bool {
        let Some(bonds) = self.bonds(legs[at].account) else { return false };
        if !bonds.may_ask(legs[at].subject()) {
            return false;
        }
        let (bonds, mut drawn) = (bonds.clone(), false);
        let mut to = self.spare.buffer();
        for import in &bonds.services {
            let subject = legs[at].subject();
            if legs.len() >= LEGS_MAX
                || !import.takes(subject)
                || passed_by(legs, at, import.service.id)
            {
                continue;
            }
            to.clear();
            import.subject_there(subject, &mut to);
            let by = By::Request(import.clone());
            drawn |= self.add_mapped_leg(legs, (import.account, &to), by, at, rng);
        }
        self.spare.give(to);
        drawn
    }

    /// The hops of a response, last one last; none if it is no response. Nothing at all if its
    /// connection must wait to know.
    fn hops<'b>(
        &mut self,
        conn: ConnId,
        account: AccountId,
        subject: &[u8],
        op: &Pub<'_>,
        begun: &'b mut Begun,
        out: &mut Effects,
    ) -> Option<Option<&'b [Hop]>> {
        if begun.answer.is_none() {
            let found = ReplyId::of(subject).filter(|(shard, _)| shard.index() < self.shards);
            let Some((shard, _)) = found else { return Some(None) };
            let is_last = op.payload.is_empty();
            if shard != self.id {
                self.ask(conn, shard, account, subject, is_last, out);
                return None;
            }
            let hops = std::mem::take(&mut self.spare.hops);
            begun.answer = Some(self.resolve(account, found, is_last, hops));
        }
        Some(begun.answer.as_ref().map(|answer| &answer.hops[..]))
    }

    /// The shard that knows has answered.
    pub(crate) fn told(&mut self, from: crate::ShardId, conn: ConnId, answer: Answer) {
        let Some(client) = self.client(conn) else { return };
        if client.wait != Wait::Answer(from) {
            return;
        }
        client.wait = Wait::Nothing;
        if let Some(begun) = client.tied.as_mut().and_then(|tied| tied.begun.as_mut()) {
            begun.answer = Some(answer);
        }
        self.runnable.push_back(conn);
    }
}

/// Has the publication come through this service already?
fn passed_by(legs: &[Leg], mut at: usize, service: ServiceId) -> bool {
    loop {
        let found = match &legs[at].by {
            By::Publisher => return false,
            By::Request(import) => import.service.id == service,
            By::Response(terms) => terms.service == service,
        };
        if found {
            return true;
        }
        at = legs[at].parent;
    }
}

impl ServiceImport {
    /// Appends the subject of a request there.
    fn subject_there(&self, subject: &[u8], out: &mut Vec<u8>) {
        match &self.transform {
            Some(transform) => transform.apply(subject, &mut || 0, out),
            None if self.keeps_subject => out.extend_from_slice(subject),
            None => out.extend_from_slice(&self.to),
        }
    }
}
