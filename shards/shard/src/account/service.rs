//! Publishing where an account has mappings or imports something. All ways of a publication are
//! found, and all groups decided, before any takes effect.

use wire::{Pub, emit};

use super::ServiceImport;
use super::legs::{By, Leg, Terms};
use super::response::{Answer, Entry, ReplyId};
use crate::effect::Effects;
use crate::ids::{AccountId, ConnId};
use crate::rng::Rng;
use crate::router::{Publication, Way};
use crate::session::client::{Client, Flow};
use crate::session::guard::Right;
use crate::shard::Shard;

/// A publication that was begun and may have to wait: what must not be decided twice.
pub(crate) struct Begun {
    pub(super) seed: u64,
    /// What it was found to be a response to.
    pub(super) answer: Option<Answer>,
}

impl Shard {
    /// As [`Shard::publish`], where mappings or imports have a say.
    #[inline(never)]
    pub(crate) fn publish_tied(&mut self, conn: ConnId, op: &Pub<'_>, out: &mut Effects) -> Flow {
        let Some(client) = self.client(conn) else { return Flow::Done };
        let begun = client.tied.as_mut().and_then(|tied| tied.begun.take());
        let account = client.account;
        if begun.is_none()
            && let Some(flow) = self.publish_as_ever(conn, account, op, out)
        {
            return flow;
        }
        let mut seed = || self.rng.below(usize::MAX) as u64;
        let mut begun = begun.unwrap_or_else(|| Begun { seed: seed(), answer: None });
        let mut legs = self.spare.legs();
        let flow = self.publish_anew(conn, op, &mut begun, &mut legs, out);
        self.spare.give_legs(legs);
        if flow == Flow::Again {
            if let Some(client) = self.client(conn) {
                client.tied.get_or_insert_default().begun = Some(begun);
            }
        } else if let Some(answer) = begun.answer {
            self.spare.give_hops(answer.hops);
        }
        flow
    }

    /// Finds all ways of a publication, and sends it.
    fn publish_anew(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        begun: &mut Begun,
        legs: &mut Vec<Leg>,
        out: &mut Effects,
    ) -> Flow {
        let account = self.account_of(conn);
        let mut own = self.spare.buffer();
        let drawn = self.map_into(account, op.subject, &mut Rng::new(begun.seed), &mut own);
        let right = self.right(conn, &own);
        if right == Right::Never || self.is_reserved_for(conn, &own) {
            self.trace_mapping(conn, op.subject, &own, out);
            self.admit(conn, op, &own, right, out);
            self.give_up_claims(conn, out);
            self.spare.give(own);
            return Flow::Done;
        }
        self.add_leg(legs, account, &own, By::Publisher, 0);
        self.spare.give(own);
        let Some(follows) = self.follow_all(conn, op, begun, legs, out) else {
            return Flow::Again;
        };
        let flow = self.publish_legs(conn, op, right, legs, &mut begun.answer, out);
        if flow == Flow::Done && right == Right::Always && begun.answer.is_none() {
            self.remember_ways(account, op.subject, legs, drawn, follows);
        }
        flow
    }

    /// Sends a publication all its ways, unless it must wait.
    pub(crate) fn publish_legs(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        right: Right,
        legs: &mut [Leg],
        answer: &mut Option<Answer>,
        out: &mut Effects,
    ) -> Flow {
        let holds_claims = self.holds_claims(conn);
        for leg in legs.iter() {
            if (leg.plan.crosses || holds_claims) && self.lacks_room(conn, &leg.plan, out)
                || self.stalls.any() && self.waits_for_receiver(conn, &leg.plan, out)
            {
                return Flow::Again;
            }
        }
        for (at, leg) in legs.iter_mut().enumerate() {
            if !leg.plan.is_choosy {
                continue;
            }
            let is_request = self.is_request(conn, op);
            let mut picks = std::mem::take(&mut leg.picks);
            let (account, subject, from_service) = (leg.account, leg.subject(), at > 0);
            let way = Way { conn, account, leg: at as u32, subject, is_request, from_service };
            if !self.choose(way, &leg.plan, &mut picks, out) {
                return Flow::Again;
            }
            leg.picks = picks;
        }
        self.trace_mapping(conn, op.subject, legs[0].subject(), out);
        if self.admit(conn, op, legs[0].subject(), right, out) {
            self.send_legs(conn, op, legs, out);
            if !legs[0].delivered && !op.reply.is_empty() {
                self.reached_nobody(conn, op, &legs[0], out);
            }
            if let Some(measured) = answer.as_mut().and_then(|answer| answer.measured.take()) {
                self.answered_in_time(conn, *measured, out);
            }
        }
        self.release_claims(conn, out);
        Flow::Done
    }

    #[cold]
    fn reached_nobody(&mut self, conn: ConnId, op: &Pub<'_>, leg: &Leg, out: &mut Effects) {
        let (account, subject) = (leg.account, leg.subject());
        // As in nats-server, the server itself listens on reply subjects.
        let answers = self.bonds(account).is_some_and(|bonds| bonds.may_answer(subject));
        if answers && ReplyId::shard(subject).is_some() {
            return;
        }
        let publication = Publication {
            account,
            subject,
            reply: op.reply,
            header_len: 0,
            payload: &[],
            tail: &[],
            from_service: false,
        };
        self.no_responders(conn, &publication, out);
    }

    /// Have mappings or imports something to say of what this connection publishes here?
    #[inline]
    pub(crate) fn is_tied(&self, conn: ConnId, subject: &[u8]) -> bool {
        let account = self.account_of(conn);
        self.bonds(account).is_some_and(|bonds| {
            bonds.may_answer(subject)
                || (bonds.may_concern(subject) && self.is_tied_here(conn, account, subject))
        })
    }

    #[inline(never)]
    fn is_tied_here(&self, conn: ConnId, account: AccountId, subject: &[u8]) -> bool {
        let client = self.clients.get(conn.index()).and_then(Option::as_deref);
        let account = &self.accounts[account.0 as usize];
        match client.and_then(Client::last_tied) {
            Some(plan) if *plan.subject == *subject && account.is_current(plan) => true,
            _ => account.is_tied(subject),
        }
    }

    fn send_legs(&mut self, conn: ConnId, op: &Pub<'_>, legs: &mut [Leg], out: &mut Effects) {
        let mut message = std::mem::take(&mut self.leg_message);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut infos = std::mem::take(&mut self.leg_infos);
        infos.clear();
        // Who asks may be closed by what it is sent itself.
        if self.options.headers {
            for at in 0..legs.len() {
                self.write_info(conn, legs, at, &mut infos);
            }
        }
        for at in 0..legs.len() {
            let is_own = matches!(legs[at].by, By::Publisher);
            if is_own && legs[at].plan.reaches_nobody() && !self.holds_claims(conn) {
                continue;
            }
            self.set_reply(conn, op, legs, at, out);
            let leg = &legs[at];
            let info = infos.of(at);
            let (header_len, payload) = match info.is_empty() {
                false => {
                    let head = wire::headers::set_into(
                        &mut message,
                        wire::ClientInfo::HEADER,
                        info,
                        op.header_len,
                        op.payload,
                    );
                    (head, &message[..])
                }
                true => (op.header_len, op.payload),
            };
            let (reply, tail) = match &leg.by {
                By::Publisher if !op.tail.is_empty() => (op.reply, op.tail),
                By::Publisher => {
                    emit::canonical_tail(&mut scratch, op.reply, header_len, payload);
                    (op.reply, &scratch[..])
                }
                _ => {
                    emit::canonical_tail(&mut scratch, &leg.reply, header_len, payload);
                    (&leg.reply[..], &scratch[..])
                }
            };
            let publication = Publication {
                account: leg.account,
                subject: leg.subject(),
                reply,
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
        self.leg_infos = infos;
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
        let (account, parent) = (legs[at].account, &legs[legs[at].parent]);
        let asked = match parent.by {
            By::Publisher => op.reply,
            _ => &parent.reply,
        };
        let (terms, measured) = match &legs[at].by {
            By::Publisher => return,
            By::Request(import) => (import.terms(), self.measured(conn, import, op)),
            By::Response(terms) => (*terms, None),
        };
        if asked.is_empty() {
            if let Some(measured) = measured {
                self.asked_without_reply(conn, measured, account, out);
            }
            return;
        }
        let mut reply = self.spare.buffer();
        reply.extend_from_slice(asked);
        let entry =
            Entry { account, to: parent.account, reply, terms, conn, asked_at: self.now, measured };
        let id = self.responses.insert(entry, self.now, &mut self.figures);
        let mut reply = self.spare.buffer();
        self.responses.write_subject(self.id, account, id, &mut reply);
        legs[at].reply = reply;
        legs[at].entry = Some(id);
    }

    /// Writes who asks, as the one who answers may know it, for a leg that is a request.
    fn write_info(&self, conn: ConnId, legs: &[Leg], at: usize, infos: &mut Infos) {
        let By::Request(import) = &legs[at].by else { return };
        let mut first = at;
        while !matches!(legs[legs[first].parent].by, By::Publisher) {
            first = legs[first].parent;
        }
        let share = matches!(&legs[first].by, By::Request(import) if import.share);
        if first == at && !share && !self.is_system(import.account) {
            return infos.write(at, |out| self.write_brief_info(conn, out));
        }
        let mut info = self.client_info(conn, share);
        if self.is_system(import.account) {
            info.server = self.info.server_name.clone();
        }
        if first != at {
            info.svc = self.account_name(legs[legs[at].parent].account).to_string();
            if !share && import.share {
                info.server = self.info.server_name.clone();
            }
        }
        infos.write(at, |out| info.write_json(out));
    }

    fn is_system(&self, account: AccountId) -> bool {
        self.options.access.system == Some(account)
    }
}

/// What a publication's legs tell of who asks, one behind the other.
#[derive(Default)]
pub(crate) struct Infos {
    bytes: Vec<u8>,
    /// Where each leg's ends; legs beyond these have none.
    ends: Vec<usize>,
}

impl Infos {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Legs come in order; those that are left out tell nothing.
    fn write(&mut self, at: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.ends.resize(at, self.bytes.len());
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Empty if nothing is told.
    fn of(&self, at: usize) -> &[u8] {
        let end = |at: usize| self.ends.get(at).copied();
        let from = at.checked_sub(1).and_then(end).unwrap_or(0);
        end(at).map_or(&[], |to| &self.bytes[from..to])
    }
}

impl ServiceImport {
    fn terms(&self) -> Terms {
        Terms {
            service: self.service.id,
            response: self.service.response,
            threshold_ns: self.service.threshold_ns,
        }
    }
}
