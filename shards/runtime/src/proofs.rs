//! Threads that look at what clients show of themselves, so that no shard ever does.
//!
//! A password's hash takes 50 milliseconds and more. Shards leave checks in one bounded queue and
//! have at most [`CHECKS_MAX`] each out, so there is always room; more wait in their connections,
//! whose time to authenticate runs. Addresses take turns, so a crowd that comes from one of them
//! keeps clients from others for one check, not for all of its own. What nobody waits for any more
//! is not looked at.

use std::io;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use shard::access::{Check, Outcome};
use shard::limits::CHECKS_MAX;
use shard::turns::{Origin, Turns};
use shard::{ConnId, ShardId};

use crate::control::{Mailbox, Message};

/// More would take the cores from the shards.
const THREADS: usize = 2;
/// Behind the shards where cores are shared.
const NICENESS: i32 = 10;

/// What comes of a check that nobody waits for.
const GONE: &str = "the connection is gone";

struct Proof {
    shard: ShardId,
    conn: ConnId,
    check: Box<Check>,
}

/// What shards leave.
enum Left {
    Proof(Proof),
    /// The connection that waited for a proof is gone.
    Gone(ShardId, ConnId),
}

/// Where checks go. The threads end when the last of it is gone.
#[derive(Clone)]
pub(crate) struct Proofs {
    queue: Sender<Left>,
}

impl Proofs {
    /// Starts the threads; they answer to the shards' mailboxes.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn start(mailboxes: &[Mailbox]) -> io::Result<Proofs> {
        // Each of them may be gone, and so may the one that had its place before.
        let (queue, left) = bounded(3 * CHECKS_MAX * mailboxes.len());
        // Whoever is free takes one: what has been dealt waits for nobody.
        let (free, proofs) = bounded(0);
        for thread in 0..THREADS {
            let (proofs, mailboxes) = (proofs.clone(), mailboxes.to_vec());
            std::thread::Builder::new()
                .name(format!("proofs-{thread}"))
                .spawn(move || run(&proofs, &mailboxes))?;
        }
        let mailboxes = mailboxes.to_vec();
        let deal = move || deal(&left, &free, &mailboxes);
        std::thread::Builder::new().name("proofs".to_owned()).spawn(deal)?;
        Ok(Proofs { queue })
    }

    /// Leaves a check of one of a shard's connections.
    pub fn leave(&self, shard: ShardId, conn: ConnId, check: Box<Check>) {
        let left = self.queue.try_send(Left::Proof(Proof { shard, conn, check }));
        debug_assert!(left.is_ok(), "a shard has more checks out than it may");
    }

    /// One of a shard's connections is gone: nobody waits for its check. An answer comes all the
    /// same.
    pub fn forget(&self, shard: ShardId, conn: ConnId) {
        // Without room it is looked at in vain.
        let _ = self.queue.try_send(Left::Gone(shard, conn));
    }
}

/// Deals what is left for the threads to those that are free.
fn deal(left: &Receiver<Left>, free: &Sender<Proof>, mailboxes: &[Mailbox]) {
    let mut turns: Turns<Origin, Proof> = Turns::default();
    loop {
        if turns.is_empty() {
            let Ok(left) = left.recv() else { return };
            take_in(left, &mut turns, mailboxes);
            continue;
        }
        select! {
            recv(left) -> left => match left {
                Ok(left) => take_in(left, &mut turns, mailboxes),
                Err(_) => return,
            },
            send(free, turns.pop(|_| true).expect("somebody waits").1) -> sent => {
                if sent.is_err() {
                    return;
                }
            }
        }
    }
}

fn take_in(left: Left, turns: &mut Turns<Origin, Proof>, mailboxes: &[Mailbox]) {
    match left {
        // It has waited in its shard: those who came after it may be here already.
        Left::Proof(proof) => {
            let (origin, since) = (proof.check.origin(), proof.check.since());
            turns.push_since(origin, proof, since);
        }
        Left::Gone(shard, conn) => {
            for gone in turns.extract(|proof| (proof.shard, proof.conn) == (shard, conn)) {
                let outcome = Outcome::Failed(GONE.into());
                mailboxes[gone.shard.index()].post(Message::Checked { conn, outcome });
            }
        }
    }
}

fn run(proofs: &Receiver<Proof>, mailboxes: &[Mailbox]) {
    // SAFETY: no memory is involved; 0 is the calling thread.
    let lowered = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    if lowered != 0 {
        log::debug!("Checks of passwords run at the shards' priority");
    }
    for Proof { shard, conn, check } in proofs {
        let outcome = check.outcome();
        mailboxes[shard.index()].post(Message::Checked { conn, outcome });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam_channel::unbounded;
    use shard::access::{Access, ConnectionTypes, Proof as Wanted, Secret, User};
    use shard::{AccountId, Options};

    use super::*;
    use crate::bus::Bus;
    use crate::lanes::Bell;

    /// Of somebody who has shown a password.
    fn proof(slot: u32) -> Proof {
        let hash = "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
        let mut access = Access::default();
        access.add_user(User {
            name: "a".into(),
            proof: Wanted::Password(Secret::new(hash)),
            account: AccountId::GLOBAL,
            permissions: None,
            connection_types: ConnectionTypes::ANY,
            limits: Default::default(),
        });
        let options = Options { access: Arc::new(access), ..Options::default() };
        let mut bus = Bus::with(1, options);
        bus.holds_checks = true;
        let id = bus.connect(0);
        bus.send(id, "CONNECT {\"user\":\"a\",\"pass\":\"p\"}\r\n");
        let (.., check) = bus.checks.pop_front().expect("a check");
        Proof { shard: ShardId(0), conn: ConnId { slot, generation: 1 }, check }
    }

    #[test]
    fn what_nobody_waits_for_is_answered_without_a_look() {
        let (messages, heard) = unbounded();
        let mailboxes = [Mailbox { messages, bell: Bell::new().expect("a bell") }];
        let (free, proofs) = bounded(0);
        let (queue, left) = bounded(8);
        let proofs_left = Proofs { queue };
        for Proof { shard, conn, check } in [1, 2, 3].map(proof) {
            proofs_left.leave(shard, conn, check);
        }
        let gone = ConnId { slot: 2, generation: 1 };
        proofs_left.forget(ShardId(0), gone);
        proofs_left.forget(ShardId(0), ConnId { generation: 2, ..gone });
        let dealer = std::thread::spawn(move || deal(&left, &free, &mailboxes));
        let Ok(Message::Checked { conn, outcome }) = heard.recv() else { panic!("an answer") };
        assert!(conn == gone && matches!(outcome, Outcome::Failed(why) if *why == *GONE));
        let mut slots = [(); 2].map(|()| proofs.recv().expect("a proof").conn.slot);
        slots.sort_unstable();
        assert_eq!(slots, [1, 3]);
        drop(proofs_left);
        dealer.join().expect("it ends");
        assert!(heard.try_recv().is_err() && proofs.recv().is_err());
    }
}
