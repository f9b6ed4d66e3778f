//! Threads that look at what clients show of themselves, so that no shard ever does.
//!
//! A password's hash takes 50 milliseconds and more. Shards leave checks in one bounded queue and
//! have at most [`CHECKS_MAX`] each out, so there is always room; more wait in their connections,
//! whose time to authenticate runs. Addresses take turns, so a crowd that comes from one of them
//! keeps clients from others for one check, not for all of its own.

use std::io;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use shard::access::Check;
use shard::limits::CHECKS_MAX;
use shard::turns::{Origin, Turns};
use shard::{ConnId, ShardId};

use crate::control::{Mailbox, Message};

/// More would take the cores from the shards.
const THREADS: usize = 2;
/// Behind the shards where cores are shared.
const NICENESS: i32 = 10;

struct Proof {
    shard: ShardId,
    conn: ConnId,
    check: Box<Check>,
}

/// Where checks go. The threads end when the last of it is gone.
#[derive(Clone)]
pub(crate) struct Proofs {
    queue: Sender<Proof>,
}

impl Proofs {
    /// Starts the threads; they answer to the shards' mailboxes.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn start(mailboxes: &[Mailbox]) -> io::Result<Proofs> {
        let (queue, left) = bounded(CHECKS_MAX * mailboxes.len());
        // Whoever is free takes one: what has been dealt waits for nobody.
        let (free, proofs) = bounded(0);
        for thread in 0..THREADS {
            let (proofs, mailboxes) = (proofs.clone(), mailboxes.to_vec());
            std::thread::Builder::new()
                .name(format!("proofs-{thread}"))
                .spawn(move || run(&proofs, &mailboxes))?;
        }
        std::thread::Builder::new().name("proofs".to_owned()).spawn(move || deal(&left, &free))?;
        Ok(Proofs { queue })
    }

    /// Leaves a check of one of a shard's connections.
    pub fn leave(&self, shard: ShardId, conn: ConnId, check: Box<Check>) {
        let left = self.queue.try_send(Proof { shard, conn, check });
        debug_assert!(left.is_ok(), "a shard has more checks out than it may");
    }
}

/// Deals what is left for the threads to those that are free.
fn deal(left: &Receiver<Proof>, free: &Sender<Proof>) {
    let mut turns: Turns<Origin, Proof> = Turns::default();
    loop {
        if turns.is_empty() {
            let Ok(proof) = left.recv() else { return };
            turns.push(proof.check.origin(), proof);
        }
        select! {
            recv(left) -> proof => match proof {
                Ok(proof) => turns.push(proof.check.origin(), proof),
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
