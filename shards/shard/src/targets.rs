//! The subscriptions that a message is delivered to.
//!
//! What a connection may see is decided where a plan is made, so that a delivery need not ask.
//! Plans are void when permissions change.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::account::StreamImport;
use crate::ids::ConnId;
use crate::limits::{CAST_MIN, OWN_TARGETS_MAX, PARTS_MAX};
use crate::session::client::Client;
use crate::session::guard::Guard;
use crate::sid::{Sid, SubId};
use crate::subscription::{Subscription, Subscriptions};

/// The plain subscriptions of one pattern.
#[derive(Default)]
pub(crate) struct Targets {
    /// Those to deliver to one by one.
    pub singles: Vec<Target>,
    /// Those that can share what they are sent.
    pub casts: Vec<Rc<Cast>>,
    /// No connection is among them twice.
    pub is_apart: bool,
    /// Shadows of other accounts' subscriptions.
    pub imported: Vec<Imported>,
    /// Of some of them it is to be asked whether they may see a message.
    pub filtered: bool,
    /// Who may not see the subject that they are for.
    pub kept: Vec<Target>,
    /// The same for a subject that all of them may see.
    open: OnceCell<Rc<Targets>>,
    /// The same for subjects that these or those may not see: which of them they are is often the
    /// same for many subjects. At most [`PARTS_MAX`].
    parts: RefCell<Vec<Rc<Targets>>>,
}

/// Shadows that get messages by the same import, under the same subject.
pub(crate) struct Imported {
    pub import: Rc<StreamImport>,
    pub targets: Rc<Targets>,
}

/// Many subscriptions without a limit that go by the same sid.
pub(crate) struct Cast {
    pub sid: Sid,
    pub targets: Vec<Target>,
}

/// A subscription to deliver to.
#[derive(Clone)]
pub(crate) struct Target {
    pub conn: ConnId,
    pub sub: SubId,
    pub sid: Sid,
    /// Its messages are looked at one by one: it is filtered, or its replies are noted.
    pub guarded: bool,
    /// Some of it may be kept from it.
    pub filtered: bool,
}

const _: () = assert!(size_of::<Target>() == 32);

/// Who listens on a shard, and what each may see.
#[derive(Clone, Copy)]
pub(crate) struct Listeners<'a> {
    pub subs: &'a Subscriptions,
    pub clients: &'a [Option<Box<Client>>],
}

impl<'a> Listeners<'a> {
    fn client(self, conn: ConnId) -> Option<&'a Client> {
        let client = self.clients.get(conn.index())?.as_deref()?;
        (client.conn == conn).then_some(client)
    }

    fn guard(self, conn: ConnId) -> Option<&'a Guard> {
        self.client(conn)?.guard.as_deref()
    }

    /// Is a message on this subject kept from a subscription? A shadow's is not that of its
    /// exporter, so it can't be said.
    pub fn keeps(self, sub: SubId, subject: &[u8]) -> bool {
        let subscription = self.subs.peek(sub);
        let Some(client) = self.client(subscription.conn) else { return true };
        let queue = subscription.queue().map(|queue| &**queue);
        subscription.import().is_some()
            || client.guard.as_ref().is_some_and(|guard| guard.keeps(subject, queue))
    }

    /// A target that may see the message; perhaps its replies are noted.
    pub fn unfiltered(self, target: Target) -> Target {
        let guarded = self.guard(target.conn).is_some_and(|guard| guard.notes_replies());
        Target { guarded, filtered: false, ..target }
    }
}

impl Targets {
    /// All of them; if they are `open`, they may see the messages.
    pub fn of(plain: &[SubId], listeners: Listeners<'_>, open: bool) -> Targets {
        let subs = listeners.subs;
        let all = plain.iter().map(|sub| {
            let target = target(*sub, subs);
            match open && target.filtered && subs.peek(*sub).import().is_none() {
                true => listeners.unfiltered(target),
                false => target,
            }
        });
        if plain.len() < CAST_MIN && !plain.iter().any(|sub| subs.peek(*sub).import().is_some()) {
            let singles: Vec<Target> = all.collect();
            let filtered = singles.iter().any(|target| target.filtered);
            return Targets { singles, filtered, is_apart: true, ..Targets::default() };
        }
        let mut own = Gathered::default();
        let mut imports: Vec<(Rc<StreamImport>, Gathered)> = Vec::new();
        let mut by_import: HashMap<*const StreamImport, usize, FixedState> = HashMap::default();
        for target in all {
            let subscription = subs.peek(target.sub);
            let gathered = match subscription.import() {
                None => &mut own,
                Some(import) => {
                    let at = *by_import.entry(Rc::as_ptr(import)).or_insert_with(|| {
                        imports.push((import.clone(), Gathered::default()));
                        imports.len() - 1
                    });
                    &mut imports[at].1
                }
            };
            gathered.add(target, subscription.max);
        }
        let mut targets = own.into_targets();
        let imported = |(import, gathered): (_, Gathered)| Imported {
            import,
            targets: Rc::new(gathered.into_targets()),
        };
        targets.imported = imports.into_iter().map(imported).collect();
        targets.is_apart = targets.are_apart();
        targets
    }

    fn are_apart(&self) -> bool {
        let mut conns: Vec<ConnId> = self.iter().chain(self.shadows()).map(|it| it.conn).collect();
        conns.sort_unstable();
        conns.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// Those that may see one subject. Where that is some of many, and others than for the subjects
    /// before, they are asked each time.
    #[cold]
    pub fn of_subject(
        self: &Rc<Targets>,
        plain: &[SubId],
        subject: &[u8],
        listeners: Listeners<'_>,
    ) -> Rc<Targets> {
        // Connections of one user are often neighbours.
        let mut last = None;
        let mut keeps = |sub: &SubId| {
            let subscription = listeners.subs.peek(*sub);
            if !subscription.filtered || subscription.import().is_some() {
                return false;
            }
            let guard = listeners.guard(subscription.conn);
            let by = guard.map(|guard| Arc::as_ptr(&guard.permissions));
            match last {
                Some((whose, keeps)) if by == Some(whose) => keeps,
                _ => {
                    let keeps = listeners.keeps(*sub, subject);
                    last = by.map(|by| (by, keeps));
                    keeps
                }
            }
        };
        let (kept, seen): (Vec<SubId>, Vec<SubId>) = plain.iter().partition(|sub| keeps(sub));
        if kept.is_empty() {
            let all = || Rc::new(Targets::of(plain, listeners, true));
            return self.open.get_or_init(all).clone();
        }
        let mut parts = self.parts.borrow_mut();
        let is_kept_from =
            |part: &&Rc<Targets>| part.kept.iter().map(|it| it.sub).eq(kept.iter().copied());
        if let Some(part) = parts.iter().find(is_kept_from) {
            return part.clone();
        }
        let is_room = parts.len() < PARTS_MAX;
        if !is_room && plain.len() > OWN_TARGETS_MAX {
            return self.clone();
        }
        let kept = kept.into_iter().map(|sub| target(sub, listeners.subs)).collect();
        let part = Rc::new(Targets { kept, ..Targets::of(&seen, listeners, true) });
        if is_room {
            parts.push(part.clone());
        }
        part
    }

    pub fn len(&self) -> usize {
        let casts = self.casts.iter().map(|cast| cast.targets.len()).sum::<usize>();
        let imported = self.imported.iter().map(|it| it.targets.len()).sum::<usize>();
        self.singles.len() + casts + imported
    }

    /// All of them, but for the shadows.
    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.singles.iter().chain(self.casts.iter().flat_map(|cast| &cast.targets))
    }

    pub fn shadows(&self) -> impl Iterator<Item = &Target> {
        self.imported.iter().flat_map(|imported| imported.targets.iter())
    }
}

/// Targets while they are sorted.
#[derive(Default)]
struct Gathered {
    by_sid: HashMap<Sid, usize, FixedState>,
    /// Those that can share what they are sent, if there are more of them in a set.
    sets: Vec<Vec<Target>>,
    singles: Vec<Target>,
    filtered: bool,
}

impl Gathered {
    fn add(&mut self, target: Target, max: u64) {
        self.filtered |= target.filtered;
        if target.guarded || max > 0 {
            return self.singles.push(target);
        }
        let sets = &mut self.sets;
        let at = *self.by_sid.entry(target.sid.clone()).or_insert_with(|| {
            sets.push(Vec::new());
            sets.len() - 1
        });
        sets[at].push(target);
    }

    fn into_targets(self) -> Targets {
        let Gathered { sets, mut singles, filtered, .. } = self;
        let mut casts = Vec::new();
        for set in sets {
            match set.first() {
                Some(first) if set.len() >= CAST_MIN => {
                    casts.push(Rc::new(Cast { sid: first.sid.clone(), targets: set }));
                }
                _ => singles.extend(set),
            }
        }
        Targets { singles, casts, filtered, ..Targets::default() }
    }
}

pub(crate) fn target(sub: SubId, subs: &Subscriptions) -> Target {
    let Subscription { conn, sid, guarded, filtered, .. } = subs.peek(sub);
    Target { conn: *conn, sub, sid: sid.clone(), guarded: *guarded, filtered: *filtered }
}
