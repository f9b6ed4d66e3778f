//! One message to many subscribers that all call it by the same sid: the bytes are the same for
//! each, so they are written once, to a block that every receiver's queue shares.
//!
//! A casting gathers messages within one step and is settled at its end at the latest, and before
//! anything else is written to one of its receivers or is read of its counters. So each receiver
//! gets everything in the order in which it was published.

use std::rc::Rc;

use wire::emit;

use crate::effect::Effects;
use crate::ids::ConnId;
use crate::limits::{CAST_BYTES_MAX, SHARE_BYTES_MIN};
use crate::outbound::{Piece, Taken};
use crate::router::Publication;
use crate::shard::Shard;
use crate::stall::Publisher;
use crate::targets::{Cast, Targets};

/// Messages for a cast that its receivers do not have yet.
pub(crate) struct Casting {
    cast: Rc<Cast>,
    /// Whose messages they are.
    publishers: Vec<Publisher>,
    pub block: Vec<u8>,
    msgs: u64,
    payload_bytes: u64,
    /// Every receiver understands headers.
    headers: bool,
    /// Some receiver is there.
    reaches: bool,
}

impl Casting {
    /// Notes messages that were written to the block.
    pub fn count(&mut self, msgs: u64, payload_bytes: u64, publisher: Publisher) {
        self.msgs += msgs;
        self.payload_bytes += payload_bytes;
        if self.publishers.last() != Some(&publisher) && !self.publishers.contains(&publisher) {
            self.publishers.push(publisher);
        }
    }
}

impl Shard {
    /// Delivers to those subscriptions of one pattern that share what they get, and to shadows.
    #[inline(never)]
    pub(crate) fn deliver_to_many(
        &mut self,
        targets: &Targets,
        publication: &Publication<'_>,
        publisher: Publisher,
        echo: bool,
        out: &mut Effects,
    ) -> bool {
        let mut delivered = false;
        for cast in &targets.casts {
            delivered |= match echo {
                true => self.cast(cast, publication, publisher, out),
                false => self.deliver_each(cast, publication, publisher, echo, out),
            };
        }
        if !targets.imported.is_empty() {
            let imported = &targets.imported;
            delivered |= self.deliver_imported(imported, publication, publisher, echo, out);
        }
        delivered
    }

    /// Appends a message to what its receivers will share.
    fn cast(
        &mut self,
        cast: &Rc<Cast>,
        publication: &Publication<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) -> bool {
        let at = self.casting(cast, out);
        let casting = &mut self.castings[at];
        if (publication.header_len > 0 && !casting.headers) || self.options.trace {
            return self.deliver_each(cast, publication, publisher, true, out);
        }
        let Publication { subject, reply, header_len, payload, tail, .. } = *publication;
        let sid = cast.sid.as_bytes();
        emit::message(&mut casting.block, subject, sid, reply, header_len, payload, tail, true);
        casting.count(1, payload.len() as u64, publisher);
        let reaches = casting.reaches;
        if casting.block.len() >= self.cast_bytes_max {
            self.settle_castings(out);
        }
        reaches
    }

    /// Where the cast's casting is, opened if need be.
    pub(crate) fn casting(&mut self, cast: &Rc<Cast>, out: &mut Effects) -> usize {
        let known = self.castings.iter().position(|casting| Rc::ptr_eq(&casting.cast, cast));
        known.unwrap_or_else(|| self.open_casting(cast, out))
    }

    fn open_casting(&mut self, cast: &Rc<Cast>, out: &mut Effects) -> usize {
        if cast.targets.iter().any(|target| self.outbound.is_casting(target.conn)) {
            self.settle_castings(out);
        }
        let (mut headers, mut reaches) = (true, false);
        for target in &cast.targets {
            if let Some(receiver) = self.outbound.receiver(target.conn)
                && receiver.takes()
            {
                receiver.casting = true;
                headers &= receiver.headers;
                reaches = true;
            }
        }
        let block = self.outbound.buffer();
        self.castings.push(Casting {
            cast: cast.clone(),
            publishers: Vec::new(),
            block,
            msgs: 0,
            payload_bytes: 0,
            headers,
            reaches,
        });
        self.castings.len() - 1
    }

    fn deliver_each(
        &mut self,
        cast: &Cast,
        publication: &Publication<'_>,
        publisher: Publisher,
        echo: bool,
        out: &mut Effects,
    ) -> bool {
        let mut delivered = false;
        for target in &cast.targets {
            let own = publisher.shard == self.id && publisher.conn == target.conn;
            if echo || !own {
                delivered |= self.deliver(target, publication, publisher, out);
            }
        }
        delivered
    }

    /// Settles if a receiver is owed something, before it is written to or looked at.
    #[inline]
    pub(crate) fn settle_for(&mut self, conn: ConnId, out: &mut Effects) {
        if !self.castings.is_empty() && self.outbound.is_casting(conn) {
            self.settle_castings(out);
        }
    }

    /// Gives every receiver what it is owed.
    pub(crate) fn settle_castings(&mut self, out: &mut Effects) {
        for casting in std::mem::take(&mut self.castings) {
            for target in &casting.cast.targets {
                if let Some(receiver) = self.outbound.receiver(target.conn) {
                    receiver.casting = false;
                }
            }
            if casting.msgs > 0 {
                self.settle_casting(casting, out);
            }
        }
    }

    fn settle_casting(&mut self, casting: Casting, out: &mut Effects) {
        let Casting { cast, publishers, block, msgs, payload_bytes, .. } = casting;
        out.copied_bytes += block.len();
        let piece = match block.len() >= SHARE_BYTES_MIN {
            true => self.outbound.shared(block),
            false => Piece::Copied(block),
        };
        let (now, behind_bytes) = (self.now, self.stall_bytes);
        for target in &cast.targets {
            let conn = target.conn;
            let mut give = |shard: &mut Shard, behind_bytes| {
                let bytes = payload_bytes;
                shard.outbound.give(conn, now, &piece, msgs, bytes, behind_bytes, out)
            };
            let mut taken = give(self, behind_bytes);
            if taken == Taken::Behind {
                taken = match self.all_fall_behind(conn, &publishers, msgs, out) {
                    true => {
                        self.outbound.give(conn, now, &piece, msgs, payload_bytes, u64::MAX, out)
                    }
                    false => Taken::No,
                };
            }
            let Taken::Yes { pending_bytes, watched } = taken else { continue };
            self.subs.of(target.sub).delivered += msgs;
            self.figures.out_msgs += msgs;
            self.figures.out_bytes += payload_bytes;
            if !watched {
                self.watch(conn);
            }
            if pending_bytes > self.options.pending_bytes_max {
                self.too_slow(conn, out);
            } else if pending_bytes >= behind_bytes {
                self.falls_behind(conn, &publishers, out);
            }
        }
        self.outbound.recycle_piece(piece);
    }

    /// False if the messages are dropped instead.
    #[cold]
    fn all_fall_behind(
        &mut self,
        receiver: ConnId,
        publishers: &[Publisher],
        msgs: u64,
        out: &mut Effects,
    ) -> bool {
        if self.options.no_fast_producer_stall {
            self.figures.dropped_behind += msgs;
            return false;
        }
        for publisher in publishers {
            self.fall_behind(receiver, *publisher, out);
        }
        true
    }
}

/// How much a casting gathers before it is settled: little where little may wait.
pub(crate) fn bytes_max(pending_bytes_max: u64) -> usize {
    CAST_BYTES_MAX.min(usize::try_from(pending_bytes_max / 8).unwrap_or(usize::MAX))
}
