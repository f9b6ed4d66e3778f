//! Subscriptions of a shard's connections.

use std::rc::Rc;

use subject::PatternId;

use crate::account::StreamImport;
use crate::ids::ConnId;
use crate::sid::{Names, Sid, SubId};
use crate::table;

/// One subscription of a connection of this shard.
pub(crate) struct Subscription {
    pub conn: ConnId,
    pub sid: Sid,
    pub account: crate::AccountId,
    pub pattern: PatternId,
    /// Where it stands in its entry's or group's list.
    pub at: u32,
    pub delivered: u64,
    /// Ends after this many deliveries; 0 is never.
    pub max: u64,
    more: Option<Box<More>>,
    /// Peers may not know of `max` yet, and may have sent more than it allows.
    pub limit_open: bool,
    /// Unsubscribed, but takes what is on the rings for it.
    pub leaving: bool,
    /// What it gets is looked at one by one: its connection may not see all of it, or answers it.
    pub guarded: bool,
    /// Its connection may not see all of it.
    pub filtered: bool,
}

/// What most subscriptions have nothing of.
#[derive(Default)]
struct More {
    /// Its group in the pattern's entry.
    queue: Option<Rc<[u8]>>,
    /// Deliveries promised to publishers of other shards.
    reserved: u64,
    /// It left and peers have caught up: gone as soon as no promise is open.
    fenced: bool,
    /// The shadow of a subscription of another account, which has this import.
    import: Option<Rc<StreamImport>>,
}

const _: () = assert!(size_of::<Option<Subscription>>() == 64);

impl Subscription {
    /// A new subscription, not yet joined.
    pub fn new(
        conn: ConnId,
        sid: Sid,
        account: crate::AccountId,
        pattern: PatternId,
        queue: Option<Rc<[u8]>>,
    ) -> Subscription {
        Subscription {
            conn,
            sid,
            account,
            pattern,
            more: queue.map(|queue| Box::new(More { queue: Some(queue), ..More::default() })),
            at: 0,
            delivered: 0,
            max: 0,
            limit_open: false,
            leaving: false,
            guarded: false,
            filtered: false,
        }
    }

    /// May it be given one more message, beyond those promised?
    pub fn has_room(&self) -> bool {
        self.max == 0 || self.delivered + self.reserved() < self.max
    }

    /// Its group in the pattern's entry.
    pub fn queue(&self) -> Option<&Rc<[u8]>> {
        self.more.as_ref()?.queue.as_ref()
    }

    /// What it is the shadow of, if it is one.
    pub fn import(&self) -> Option<&Rc<StreamImport>> {
        self.more.as_ref()?.import.as_ref()
    }

    pub fn set_import(&mut self, import: Rc<StreamImport>) {
        self.more.get_or_insert_default().import = Some(import);
    }

    /// Deliveries promised to publishers of other shards.
    pub fn reserved(&self) -> u64 {
        self.more.as_ref().map_or(0, |more| more.reserved)
    }

    /// It left and peers have caught up: gone as soon as no promise is open.
    pub fn is_fenced(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.fenced)
    }

    pub fn set_fenced(&mut self) {
        self.more.get_or_insert_default().fenced = true;
    }

    /// Promises one delivery more.
    pub fn reserve(&mut self) {
        self.more.get_or_insert_default().reserved += 1;
    }

    /// A promise is kept, or not needed.
    pub fn unreserve(&mut self) {
        self.more.get_or_insert_default().reserved -= 1;
    }

    /// It can't be counted on for every message: it takes a limited number, or may not see some.
    pub fn is_unsure(&self) -> bool {
        self.max > 0 || self.filtered
    }

    /// It gets whatever matches, whoever publishes it.
    pub fn gets_all(&self) -> bool {
        !self.filtered && self.import().is_none()
    }
}

/// All subscriptions of a shard.
#[derive(Default)]
pub(crate) struct Subscriptions {
    slots: Vec<Option<Subscription>>,
    free: Vec<u32>,
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn insert(&mut self, subscription: Subscription) -> SubId {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(subscription);
                SubId(slot)
            }
            None => {
                table::push(&mut self.slots, Some(subscription));
                SubId(self.slots.len() as u32 - 1)
            }
        }
    }

    pub fn remove(&mut self, sub: SubId) -> Subscription {
        self.free.push(sub.0);
        self.slots[sub.0 as usize].take().expect("a subscription is removed once")
    }

    #[inline]
    pub fn of(&mut self, sub: SubId) -> &mut Subscription {
        self.slots[sub.0 as usize].as_mut().expect("a SubId in use names a subscription")
    }

    /// The subscription, unless it has gone with its connection.
    pub fn find(&mut self, sub: SubId, conn: ConnId) -> Option<&mut Subscription> {
        let subscription = self.slots.get_mut(sub.0 as usize)?.as_mut()?;
        (subscription.conn == conn).then_some(subscription)
    }

    pub fn peek(&self, sub: SubId) -> &Subscription {
        self.slots[sub.0 as usize].as_ref().expect("a SubId in use names a subscription")
    }
}

impl Names for Subscriptions {
    fn name(&self, sub: SubId) -> &[u8] {
        self.peek(sub).sid.as_bytes()
    }
}
