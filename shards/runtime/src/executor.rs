//! glommio's part: one executor per core, and what happens if one ends.

use std::os::fd::OwnedFd;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use crate::control::Peers;
use crate::driver::{After, Driver, Parts};
use crate::engine::Engine;
use crate::ring::Ring;

/// glommio's rings and storage memory carry nothing of a shard's: as small as it takes.
const RING_DEPTH: usize = 32;
const IO_MEMORY_BYTES: usize = 64 * 1024;
/// How long glommio's own affairs may be left alone. Its executor sets a timer for this time, then
/// looks at it, then runs its tasks: if the time is over by then, because the thread has lost its
/// core meanwhile, it believes that nothing is to be run, and sleeps (0.9.0). A shard's task, which
/// sleeps elsewhere, would never be woken; no core is lost for as long as this.
const PREEMPT: Duration = Duration::from_secs(3600);

/// A thread's result.
pub(crate) type Handle = ExecutorJoinHandle<Result<(), String>>;

/// An executor that is like all of ours.
pub(crate) fn builder(name: &str, core: Option<usize>) -> LocalExecutorBuilder {
    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(name)
        .ring_depth(RING_DEPTH)
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(PREEMPT)
}

/// Says that its thread has ended, however it did.
pub(crate) struct Farewell {
    pub ended: Sender<()>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // Nobody is left to hear it once the server is gone.
        let _ = self.ended.try_send(());
    }
}

/// What a shard's thread needs to begin.
pub(crate) struct Birth {
    pub core: Option<usize>,
    /// Where its ring's address goes.
    pub address: Sender<(usize, OwnedFd)>,
    /// Where its parts come from, when all rings exist. None will come if one does not.
    pub parts: Receiver<(Parts, Peers)>,
    pub farewell: Farewell,
    pub shard: usize,
}

/// Starts a shard's thread. Its engine is made there, because it never leaves it.
pub(crate) fn spawn<E, F>(birth: Birth, make: F) -> Result<Handle, String>
where
    E: Engine + 'static,
    F: FnOnce() -> E + Send + 'static,
{
    let name = format!("shard-{}", birth.shard);
    let core = birth.core;
    builder(&name, core)
        .spawn(move || async move {
            // Dropped last, also by a panic.
            let Birth { address, parts, farewell, shard, .. } = birth;
            let result = live(shard, address, parts, make).await;
            drop(farewell);
            result.map_err(|error| format!("shard {shard}: {error}"))
        })
        .map_err(|error| format!("{name}: {error}"))
}

async fn live<E: Engine>(
    shard: usize,
    address: Sender<(usize, OwnedFd)>,
    parts: Receiver<(Parts, Peers)>,
    make: impl FnOnce() -> E,
) -> std::io::Result<()> {
    let ring = Ring::new()?;
    let told = address.send((shard, ring.address()?)).is_ok();
    drop(address);
    match parts.recv() {
        Ok((parts, peers)) if told => run(Driver::new(parts, peers, make(), ring)).await,
        _ => Ok(()),
    }
}

/// The loop of one shard. It sleeps in its own ring, never in glommio's: there is no other task on
/// its executor that could want to run meanwhile.
async fn run<E: Engine>(mut driver: Driver<E>) -> std::io::Result<()> {
    loop {
        match driver.turn()? {
            After::Again => {}
            After::Rest => driver.rest()?,
            After::End => return driver.end(),
        }
        glommio::yield_if_needed().await;
    }
}
