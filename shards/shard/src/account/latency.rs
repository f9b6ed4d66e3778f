//! How long services take to answer: measured where the request came in, published where the
//! answer comes from.

use std::collections::BTreeMap;

use wire::{ClientInfo, Pub, ServiceLatency, rfc3339_nano};

use super::response::Entry;
use super::{Latency, ServiceImport};
use crate::effect::Effects;
use crate::ids::{AccountId, ConnId, Nanos};
use crate::interest::Plan;
use crate::router::Publication;
use crate::shard::Shard;
use crate::targets::Listeners;

/// A request that is measured.
pub(crate) struct Asking {
    subject: Box<[u8]>,
    requestor: ClientInfo,
    header: BTreeMap<String, Vec<String>>,
    /// Wall clock at the request, ns since 1970.
    asked_unix_ns: u64,
}

/// A measurement to publish.
pub(crate) struct Measured {
    /// The account that answers.
    account: AccountId,
    asking: Asking,
    asked_at: Nanos,
    status: u16,
}

impl Shard {
    /// Is this request measured? If so, what there is to remember of it.
    pub(crate) fn measured(
        &mut self,
        conn: ConnId,
        import: &ServiceImport,
        op: &Pub<'_>,
    ) -> Option<Box<Asking>> {
        let Latency { sampling, subject } = import.service.latency.as_ref()?;
        let header = &op.payload[..op.header_len];
        let header = match *sampling {
            100.. => BTreeMap::new(),
            1.. if self.rng.below(100) <= usize::from(*sampling) => BTreeMap::new(),
            _ => super::trace_headers::asked_for(header)?,
        };
        Some(Box::new(Asking {
            subject: subject.clone(),
            requestor: self.client_info(conn, import.share),
            header,
            asked_unix_ns: self.unix_ns(conn),
        }))
    }

    pub(crate) fn measured_of(&self, entry: Entry, status: u16) -> Option<Box<Measured>> {
        let asking = *entry.measured?;
        let (account, asked_at) = (entry.account, entry.asked_at);
        Some(Box::new(Measured { account, asking, asked_at, status }))
    }

    /// A measured request has no reply subject: it can't be answered.
    pub(crate) fn asked_without_reply(
        &mut self,
        conn: ConnId,
        asking: Box<Asking>,
        account: AccountId,
        out: &mut Effects,
    ) {
        let measured = Measured { account, asking: *asking, asked_at: self.now, status: 400 };
        self.tell(conn, measured, None, out);
    }

    /// A request will get no answer.
    pub(crate) fn not_answered(
        &mut self,
        conn: ConnId,
        entry: Entry,
        status: u16,
        out: &mut Effects,
    ) {
        if let Some(measured) = self.measured_of(entry, status) {
            self.tell(conn, *measured, None, out);
        }
    }

    /// The answer has just been sent on.
    pub(crate) fn answered_in_time(&mut self, conn: ConnId, measured: Measured, out: &mut Effects) {
        let responder = self.client_info(conn, true);
        self.tell(conn, measured, Some(responder), out);
    }

    fn tell(
        &mut self,
        conn: ConnId,
        measured: Measured,
        responder: Option<ClientInfo>,
        out: &mut Effects,
    ) {
        let Measured { account, asking, asked_at, status } = measured;
        let took = self.now.saturating_sub(asked_at);
        let (asked_rtt, answered_rtt) =
            (asking.requestor.rtt, responder.as_ref().map_or(0, |responder| responder.rtt));
        let answered = status == 200;
        let latency = ServiceLatency {
            kind: ServiceLatency::TYPE.to_string(),
            id: self.event_id(),
            timestamp: rfc3339_nano(asking.asked_unix_ns + took),
            status,
            description: match status {
                200 => "",
                400 => "Bad Request",
                503 => "Service Unavailable",
                _ => "Service Timeout",
            }
            .to_string(),
            requestor: Some(asking.requestor),
            responder,
            header: asking.header,
            start: rfc3339_nano(asking.asked_unix_ns.saturating_sub(asked_rtt)),
            service: if answered { took.saturating_sub(answered_rtt) } else { 0 },
            system: 0,
            total: if answered { asked_rtt + took } else { 0 },
        };
        let mut payload = Vec::new();
        latency.write_json(&mut payload);
        self.publish_internal(conn, account, &asking.subject, &payload, out);
    }

    /// 22 letters and digits that no other event has.
    fn event_id(&mut self) -> String {
        const LETTERS: &[u8; 62] =
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..22).map(|_| char::from(LETTERS[self.rng.below(LETTERS.len())])).collect()
    }

    /// A message of the server itself, on behalf of `conn`; dropped if a ring it needs is full.
    pub(crate) fn publish_internal(
        &mut self,
        conn: ConnId,
        account: AccountId,
        subject: &[u8],
        payload: &[u8],
        out: &mut Effects,
    ) {
        let table = &mut self.accounts[account.0 as usize];
        let plan = table.plan(subject, Listeners { subs: &self.subs, clients: &self.clients });
        if crosses_full_lane(&plan, out) {
            self.figures.dropped_internal += 1;
            return;
        }
        let picks = self.pick_at_once(conn, account, subject, &plan);
        let mut tail = Vec::new();
        wire::emit::canonical_tail(&mut tail, &[], 0, payload);
        // As nats-server writes its own messages: with the blank before a reply that is not there.
        tail.insert(0, b' ');
        let publication = Publication {
            account,
            subject,
            reply: &[],
            header_len: 0,
            payload,
            tail: &tail,
            from_service: false,
        };
        self.fan_out(conn, &publication, &plan, &picks, u32::MAX, out);
    }
}

fn crosses_full_lane(plan: &Plan, out: &mut Effects) -> bool {
    let groups = plan.groups.iter().flat_map(|group| &group.peers).map(|peer| peer.shard);
    let mut full = false;
    for to in plan.peers.iter().copied().chain(groups) {
        full |= out.congests(to);
    }
    full
}
