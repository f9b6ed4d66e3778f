//! A large message for one receiver goes on in the buffer in which it was gathered: its head is
//! written in front of it, where the line of its publisher was.
//!
//! The room in front is there because the buffer is begun when it is known how large the message
//! will be. Everything else a message may need (checks, groups, rings, several receivers) goes the
//! usual way, with a copy.

use bytes::Bytes;
use wire::{ClientOp, Next, Pub, emit};

use crate::effect::Effects;
use crate::ids::ConnId;
use crate::limits::{WHOLE_BYTES_MAX, WHOLE_BYTES_MIN};
use crate::outbound::Taken;
use crate::shard::Shard;
use crate::targets::Target;

/// Kept free in front of a message: a sid is longer than what it takes the place of.
pub(super) const FRONT_BYTES: usize = 32;

/// What a message becomes in its buffer.
struct Placed {
    target: Target,
    /// All that comes before the tail, which begins at `tail_at`.
    head: Vec<u8>,
    tail_at: usize,
    payload_bytes: u64,
}

impl Shard {
    /// Keeps the beginning of an operation whose end has not come.
    pub(super) fn keep_rest(&mut self, conn: ConnId, rest: &[u8]) {
        let Some(client) = self.client(conn) else { return };
        let need = client.need as usize;
        let is_large = (WHOLE_BYTES_MIN..=WHOLE_BYTES_MAX).contains(&need);
        if rest.is_empty() || !is_large || !client.carry.is_empty() || !client.is_in() {
            return client.keep(rest);
        }
        let mut carry = self.outbound.buffer_for(FRONT_BYTES + need);
        carry.resize(FRONT_BYTES, 0);
        carry.extend_from_slice(rest);
        if let Some(client) = self.client(conn) {
            client.carry = carry;
            client.carry_at = FRONT_BYTES as u32;
        }
    }

    /// Passes `carry` on to the one receiver of the publication that fills it from `at` on. Gives
    /// it back if it is not such a one.
    pub(super) fn pass_on(
        &mut self,
        conn: ConnId,
        mut carry: Vec<u8>,
        at: usize,
        out: &mut Effects,
    ) -> Option<Vec<u8>> {
        let Some(Placed { target, head, tail_at, payload_bytes }) =
            self.place(conn, &carry, at, out)
        else {
            return Some(carry);
        };
        let from = tail_at - head.len();
        carry[from..tail_at].copy_from_slice(&head);
        let (now, message) = (self.now, Bytes::from(carry).slice(from..));
        let taken = self.outbound.pass(target.conn, now, message, payload_bytes, &mut out.dirty);
        if let Taken::Yes { pending_bytes, watched } = taken {
            self.subs.of(target.sub).delivered += 1;
            self.figures.out_msgs += 1;
            self.figures.out_bytes += payload_bytes;
            if !watched {
                self.watch(target.conn);
            }
            if pending_bytes > self.options.pending_bytes_max {
                self.too_slow(target.conn, out);
            }
        }
        None
    }

    /// Does what the publication asks for, but for handing it over. None if it goes another way.
    fn place(
        &mut self,
        conn: ConnId,
        carry: &Vec<u8>,
        at: usize,
        out: &mut Effects,
    ) -> Option<Placed> {
        let bytes = &carry[at..];
        // A buffer that has been used for more would keep more alive than is pending.
        let is_tight = carry.capacity() <= 2 * (bytes.len() + FRONT_BYTES);
        if bytes.len() < WHOLE_BYTES_MIN || at == 0 || !is_tight || self.options.trace {
            return None;
        }
        self.admitted(conn)?;
        let limits = self.limits(conn);
        let mut parser = self.client(conn)?.parser.clone();
        let Next::Op { op: ClientOp::Pub(op), used } = parser.next(bytes, &limits) else {
            return None;
        };
        let target = self.only_target(conn, &op, out)?;
        let mut head = Vec::new();
        emit::head(&mut head, op.subject, target.sid.as_bytes(), op.header_len > 0);
        if used < bytes.len() || carry.len() - op.tail.len() < head.len() {
            return None;
        }
        self.simple_plan(conn, &op, |_| 1)?;
        self.sample(conn, &op, 1);
        let client = self.client(conn)?;
        (client.parser, client.need, client.carry_at) = (parser, 1, 0);
        let tail_at = carry.len() - op.tail.len();
        Some(Placed { target, head, tail_at, payload_bytes: op.payload.len() as u64 })
    }

    /// Who gets the publication, if it is one, and can take it at once.
    fn only_target(&mut self, conn: ConnId, op: &Pub<'_>, out: &mut Effects) -> Option<Target> {
        let client = self.client(conn)?;
        let (plan, account) = (client.last_plan.clone()?, client.account);
        if !self.accounts[account.0 as usize].is_current(&plan) {
            return None;
        }
        let [targets] = &plan.locals[..] else { return None };
        let [target] = &targets.singles[..] else { return None };
        self.settle_for(target.conn, out);
        let receiver = self.outbound.peek(target.conn)?;
        let is_one = plan.is_plain && targets.casts.is_empty() && targets.imported.is_empty();
        let is_usual = !target.guarded && !target.filtered && self.subs.peek(target.sub).max == 0;
        let takes = receiver.open
            && receiver.pending_bytes < self.stall_bytes
            && (op.header_len == 0 || receiver.headers);
        (is_one && is_usual && takes).then(|| target.clone())
    }
}
