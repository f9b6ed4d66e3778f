//! The ways of a publication whose account has mappings or imports something: one in its own
//! account, one for each service that it is a request for, one for each hop of a response. All are
//! found, and all groups decided, before any takes effect.

use std::rc::Rc;

use wire::{Pub, emit};

use super::response::{Answer, Entry, ReplyId};
use super::{Bonds, ResponseType, ServiceId, ServiceImport};
use crate::effect::Effects;
use crate::ids::{AccountId, ConnId, Nanos};
use crate::interest::Plan;
use crate::limits::LEGS_MAX;
use crate::rng::Rng;
use crate::router::{Pick, Publication, Way};
use crate::session::client::{Flow, Wait};
use crate::session::guard::Right;
use crate::shard::Shard;
use crate::targets::Listeners;
use subject::Choice;

/// One way of a publication.
pub(crate) struct Leg {
    account: AccountId,
    subject: Vec<u8>,
    plan: Rc<Plan>,
    picks: Vec<Pick>,
    by: By,
    /// The leg it follows from; the first one is its own.
    parent: usize,
    /// Subject to reply to, empty for none.
    reply: Vec<u8>,
    /// What `reply` will be mapped back by.
    entry: Option<ReplyId>,
    delivered: bool,
}

/// Why a leg is there.
enum By {
    /// The publication's own account.
    Publisher,
    Request(Rc<ServiceImport>),
    Response(Terms),
}

/// What holds for responses, and for responses to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub service: ServiceId,
    pub response: ResponseType,
    pub threshold_ns: Nanos,
}

/// A publication that was begun and may have to wait: what must not be decided twice.
#[derive(Default)]
pub(crate) struct Begun {
    seed: u64,
    /// What it was found to be a response to.
    answer: Option<Answer>,
}

impl Shard {
    /// As [`Shard::publish`], where mappings or imports have a say.
    #[inline(never)]
    pub(crate) fn publish_tied(&mut self, conn: ConnId, op: &Pub<'_>, out: &mut Effects) -> Flow {
        let own = self.begin_tied(conn, op.subject);
        let right = self.right(conn, &own);
        if right == Right::Never || self.is_reserved_for(conn, &own) {
            self.trace_mapping(conn, op.subject, &own, out);
            self.admit(conn, op, &own, right, out);
            self.give_up_claims(conn, out);
            self.end_tied(conn, out);
            return Flow::Done;
        }
        let Some(mut legs) = self.legs(conn, own, op.payload.is_empty(), out) else {
            return Flow::Again;
        };
        for leg in &legs {
            if self.lacks_room(conn, &leg.plan, out) {
                return Flow::Again;
            }
        }
        let is_request = self.is_request(conn, op);
        for (at, Leg { account, subject, plan, picks, .. }) in legs.iter_mut().enumerate() {
            let (account, leg, from_service) = (*account, at as u32, at > 0);
            let way = Way { conn, account, leg, subject, is_request, from_service };
            if plan.is_choosy && !self.choose(way, plan, picks, out) {
                return Flow::Again;
            }
        }
        let begun = self.client(conn).and_then(|client| client.begun.take());
        self.trace_mapping(conn, op.subject, &legs[0].subject, out);
        if self.admit(conn, op, &legs[0].subject, right, out) {
            self.send_legs(conn, op, &mut legs, out);
            // As in nats-server, the server itself listens on reply subjects.
            let answers =
                self.bonds(legs[0].account).is_some_and(|bonds| bonds.may_answer(&legs[0].subject));
            let heard = answers && ReplyId::shard(&legs[0].subject).is_some();
            if !legs[0].delivered && !heard && !op.reply.is_empty() {
                let publication = Publication {
                    account: legs[0].account,
                    subject: &legs[0].subject,
                    reply: op.reply,
                    header_len: 0,
                    payload: &[],
                    tail: &[],
                    from_service: false,
                };
                self.no_responders(conn, &publication, out);
            }
            if let Some(measured) = begun.and_then(|begun| begun.answer?.measured) {
                self.answered_in_time(conn, *measured, out);
            }
        }
        self.end_tied(conn, out);
        Flow::Done
    }

    /// Where a publication goes in its own account; the same if it is looked at again.
    fn begin_tied(&mut self, conn: ConnId, published: &[u8]) -> Vec<u8> {
        let account = self.account_of(conn);
        let draw = self.rng.below(usize::MAX) as u64;
        let Some(client) = self.client(conn) else { return Vec::new() };
        let begun =
            client.begun.get_or_insert_with(|| Box::new(Begun { seed: draw, answer: None }));
        let mut rng = Rng::new(begun.seed);
        self.mapped(account, published, &mut rng)
    }

    fn end_tied(&mut self, conn: ConnId, out: &mut Effects) {
        if let Some(client) = self.client(conn) {
            client.begun = None;
        }
        self.release_claims(conn, out);
    }

    /// Have mappings or imports something to say of what this connection publishes here?
    #[inline]
    pub(crate) fn is_tied(&self, conn: ConnId, subject: &[u8]) -> bool {
        self.bonds(self.account_of(conn)).is_some_and(|bonds| bonds.concern(subject))
    }

    /// All ways of a publication. None if its connection must wait to know them.
    fn legs(
        &mut self,
        conn: ConnId,
        own: Vec<u8>,
        is_last: bool,
        out: &mut Effects,
    ) -> Option<Vec<Leg>> {
        let account = self.account_of(conn);
        // Other numbers than the own subject was drawn with, but the same if looked at again.
        let mut rng = Rng::new(!self.client(conn)?.begun.as_ref()?.seed);
        let mut legs = vec![self.leg(account, own, By::Publisher, 0)];
        if self.bonds(account).is_some_and(|bonds| bonds.may_answer(&legs[0].subject)) {
            let hops = self.hops(conn, account, &legs[0].subject, is_last, out)?;
            for (parent, (account, subject, terms)) in hops.into_iter().enumerate() {
                let subject = self.mapped(account, &subject, &mut rng);
                legs.push(self.leg(account, subject, By::Response(terms), parent));
            }
        }
        let mut at = 0;
        while at < legs.len() && legs.len() < LEGS_MAX {
            self.follow(&mut legs, at, &mut rng);
            at += 1;
        }
        Some(legs)
    }

    fn bonds(&self, account: AccountId) -> Option<&Rc<Bonds>> {
        self.accounts[account.0 as usize].ties.as_ref()
    }

    fn leg(&mut self, account: AccountId, subject: Vec<u8>, by: By, parent: usize) -> Leg {
        let listeners = Listeners { subs: &self.subs, clients: &self.clients };
        let plan = self.accounts[account.0 as usize].plan(&subject, listeners);
        Leg {
            account,
            subject,
            plan,
            picks: Vec::new(),
            by,
            parent,
            reply: Vec::new(),
            entry: None,
            delivered: false,
        }
    }

    /// Where the account's mappings send a subject; nowhere if it is lost on purpose.
    pub(crate) fn mapped(&self, account: AccountId, subject: &[u8], rng: &mut Rng) -> Vec<u8> {
        let Some(bonds) = self.bonds(account).filter(|bonds| !bonds.mappings.is_empty()) else {
            return subject.to_vec();
        };
        match bonds.mappings.choose(subject, &mut || rng.below(100) as u8) {
            Choice::Unmapped => subject.to_vec(),
            Choice::Lost => Vec::new(),
            Choice::To(transform) => {
                let mut to = Vec::new();
                transform.apply(subject, &mut || rng.below(1 << 31) as u32, &mut to);
                to
            }
        }
    }

    /// What a leg's message is a request for.
    fn follow(&mut self, legs: &mut Vec<Leg>, at: usize, rng: &mut Rng) {
        let Some(bonds) = self.bonds(legs[at].account).cloned() else { return };
        for import in &bonds.services {
            let subject = &legs[at].subject;
            if legs.len() >= LEGS_MAX || !import.takes(subject) {
                continue;
            }
            if passed_by(legs, at, import.service.id) {
                continue;
            }
            let to = import.subject_there(subject);
            let to = self.mapped(import.account, &to, rng);
            legs.push(self.leg(import.account, to, By::Request(import.clone()), at));
        }
    }

    fn send_legs(&mut self, conn: ConnId, op: &Pub<'_>, legs: &mut [Leg], out: &mut Effects) {
        let mut message = std::mem::take(&mut self.leg_message);
        let mut scratch = std::mem::take(&mut self.scratch);
        // Who asks may be closed by what it is sent itself.
        let asks = |leg: &Leg| self.options.headers && matches!(leg.by, By::Request(_));
        let infos: Vec<Option<Vec<u8>>> = (0..legs.len())
            .map(|at| asks(&legs[at]).then(|| self.request_info(conn, legs, at).to_json()))
            .collect();
        for (at, info) in infos.iter().enumerate() {
            self.set_reply(conn, op, legs, at, out);
            let leg = &legs[at];
            let (header_len, payload) = match info {
                Some(info) => {
                    let head = wire::headers::set_into(
                        &mut message,
                        wire::ClientInfo::HEADER,
                        info,
                        op.header_len,
                        op.payload,
                    );
                    (head, &message[..])
                }
                None => (op.header_len, op.payload),
            };
            let tail = match &leg.by {
                By::Publisher if !op.tail.is_empty() => op.tail,
                _ => {
                    emit::canonical_tail(&mut scratch, &leg.reply, header_len, payload);
                    &scratch[..]
                }
            };
            let publication = Publication {
                account: leg.account,
                subject: &leg.subject,
                reply: &leg.reply,
                header_len,
                payload,
                tail,
                from_service: !matches!(leg.by, By::Publisher),
            };
            let delivered = self.fan_out(conn, &publication, &leg.plan, &leg.picks, at as u32, out);
            legs[at].delivered = delivered;
        }
        self.leg_message = message;
        self.scratch = scratch;
        for at in (1..legs.len()).rev() {
            let Leg { delivered, parent, entry, .. } = legs[at];
            legs[parent].delivered |= delivered;
            if let Some(entry) = entry.filter(|_| !delivered) {
                self.give_up(conn, entry, out);
            }
        }
    }

    /// A request gets a reply subject of the account that answers.
    fn set_reply(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        legs: &mut [Leg],
        at: usize,
        out: &mut Effects,
    ) {
        let parent = &legs[legs[at].parent];
        let terms = match &legs[at].by {
            By::Publisher => {
                legs[at].reply = op.reply.to_vec();
                return;
            }
            By::Request(import) => import.terms(),
            By::Response(terms) => terms.clone(),
        };
        let measured = match &legs[at].by {
            By::Request(import) => self.measured(conn, import, op),
            _ => None,
        };
        if parent.reply.is_empty() {
            if let Some(measured) = measured {
                self.asked_without_reply(conn, measured, legs[at].account, out);
            }
            return;
        }
        let entry = Entry {
            account: legs[at].account,
            to: parent.account,
            reply: parent.reply.clone().into(),
            terms,
            conn,
            asked_at: self.now,
            measured,
        };
        let id = self.responses.insert(entry, self.now, &mut self.rng, &mut self.figures);
        legs[at].reply = self.responses.subject(self.id, legs[at].account, id);
        legs[at].entry = Some(id);
    }

    /// Who asks, as the one who answers may know it.
    fn request_info(&self, conn: ConnId, legs: &[Leg], at: usize) -> wire::ClientInfo {
        let mut first = at;
        while !matches!(legs[legs[first].parent].by, By::Publisher) {
            first = legs[first].parent;
        }
        let share = matches!(&legs[first].by, By::Request(import) if import.share);
        let mut info = self.client_info(conn, share);
        if matches!(&legs[at].by, By::Request(import) if self.is_system(import.account)) {
            info.server = self.info.server_name.clone();
        }
        if first != at {
            info.svc = self.account_name(legs[legs[at].parent].account).to_string();
            if let (false, By::Request(import)) = (share, &legs[at].by)
                && import.share
            {
                info.server = self.info.server_name.clone();
            }
        }
        info
    }

    fn is_system(&self, account: AccountId) -> bool {
        self.options.access.system == Some(account)
    }

    /// The hops of a response, last one last. None if its connection must wait to know.
    fn hops(
        &mut self,
        conn: ConnId,
        account: AccountId,
        subject: &[u8],
        is_last: bool,
        out: &mut Effects,
    ) -> Option<Vec<super::response::Hop>> {
        let known = self.client(conn)?.begun.as_ref().and_then(|begun| begun.answer.as_ref());
        if let Some(answer) = known {
            return Some(answer.hops.clone());
        }
        let Some(shard) = ReplyId::shard(subject).filter(|shard| shard.index() < self.shards)
        else {
            return Some(Vec::new());
        };
        if shard == self.id {
            let answer = self.resolve(account, subject, is_last);
            let hops = answer.hops.clone();
            self.client(conn)?.begun.as_mut()?.answer = Some(answer);
            return Some(hops);
        }
        self.ask(conn, shard, account, subject, is_last, out);
        None
    }

    /// The shard that knows has answered.
    pub(crate) fn told(&mut self, from: crate::ShardId, conn: ConnId, answer: Answer) {
        let Some(client) = self.client(conn) else { return };
        if client.wait != Wait::Answer(from) {
            return;
        }
        client.wait = Wait::Nothing;
        if let Some(begun) = &mut client.begun {
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
    fn subject_there(&self, subject: &[u8]) -> Vec<u8> {
        match &self.transform {
            Some(transform) => transform.applied(subject),
            None if self.keeps_subject => subject.to_vec(),
            None => self.to.to_vec(),
        }
    }

    fn terms(&self) -> Terms {
        Terms {
            service: self.service.id,
            response: self.service.response,
            threshold_ns: self.service.threshold_ns,
        }
    }
}
