//! Frames to and from the peer shards, and how a sleeping peer is woken.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use mesh::Doorbell;
use shard::limits::{EMPTIED_BATCHES_MAX, RING_FRAMES, SECONDS};
use shard::report::LaneFigures;
use shard::{Effects, Frame, Nanos, ShardId};

use crate::ring::Ring;

/// The way to wake a shard, from any thread.
#[derive(Clone)]
pub(crate) struct Bell {
    doorbell: Arc<Doorbell>,
    eventfd: Arc<File>,
}

impl Bell {
    /// Of a shard that is awake.
    pub fn new() -> io::Result<Bell> {
        Ok(Bell { doorbell: Arc::new(Doorbell::new()), eventfd: Arc::new(eventfd()?) })
    }

    /// The shard itself: about to sleep. It must look at everything once more.
    pub fn doze(&self) {
        self.doorbell.doze();
    }

    /// The shard itself: awake.
    pub fn wake_up(&self) {
        self.doorbell.wake_up();
    }

    /// After something was left for the shard: wakes it if it sleeps.
    pub fn ring(&self) {
        if self.doorbell.ring() {
            self.strike();
        }
    }

    /// Wakes the shard whether or not it seems to sleep.
    pub fn strike(&self) {
        strike(&self.eventfd);
    }

    /// What the shard's ring watches.
    pub fn as_raw_fd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }
}

/// An eventfd that is never waited for by reading it.
pub(crate) fn eventfd() -> io::Result<File> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Makes an eventfd readable.
pub(crate) fn strike(mut eventfd: &File) {
    // Fails only when 2^64 - 1 strikes are waiting, when it is readable anyway.
    let _ = eventfd.write(&1u64.to_ne_bytes());
}

/// A peer as the producers of its frames know it.
pub(crate) struct Peer {
    pub bell: Bell,
    /// Its io_uring.
    pub address: OwnedFd,
}

/// One end of every lane, for one shard.
pub(crate) struct Ends {
    pub inbound: Inbound,
    pub outbound: Outbound,
}

/// What the peers send to one shard. None for the shard itself.
pub(crate) struct Inbound(Vec<Option<mesh::Receiver<Frame>>>);

/// What one shard sends to its peers. None for the shard itself.
pub(crate) struct Outbound {
    lanes: Vec<Option<Lane>>,
    /// By peer.
    loads: Vec<Load>,
    /// Peers that got something and have not been told.
    fresh: Vec<bool>,
    any_fresh: bool,
}

/// One ring, and what is on it.
struct Lane {
    ring: mesh::Sender<Frame>,
    /// Buffers that come back from the peer, and those that go back to it: memory is freed by the
    /// core that has allocated it, and used again while it is in that core's cache.
    come_back: mesh::Receiver<Vec<u8>>,
    go_back: mesh::Sender<Vec<u8>>,
    /// What each frame counts for that is on the ring, and those that the peer has taken off since
    /// it was last looked at.
    sizes: VecDeque<usize>,
    bytes: usize,
}

impl Lane {
    fn new(
        ring: mesh::Sender<Frame>,
        come_back: mesh::Receiver<Vec<u8>>,
        go_back: mesh::Sender<Vec<u8>>,
    ) -> Lane {
        let sizes = VecDeque::with_capacity(ring.capacity());
        Lane { ring, come_back, go_back, sizes, bytes: 0 }
    }

    /// Frames on the ring now.
    fn look(&mut self) -> usize {
        let used = self.ring.capacity() - self.ring.free();
        for size in self.sizes.drain(..self.sizes.len() - used) {
            self.bytes -= size;
        }
        used
    }

    /// Is there room for another frame, where there may be so many bytes? One always fits.
    fn has_room(&self, bytes_max: usize) -> bool {
        self.sizes.len() < self.ring.capacity() && self.bytes < bytes_max
    }

    fn push(&mut self, frame: Frame) {
        let size = frame.weight();
        self.sizes.push_back(size);
        self.bytes += size;
        let pushed = self.ring.push(frame);
        debug_assert!(pushed.is_ok(), "a ring only ever gets emptier for its sender");
    }
}

/// How one lane has been used.
#[derive(Clone, Copy, Default)]
struct Load {
    frames: u64,
    /// Most frames on the ring at once in the second `second`, and in the one before it.
    peaks: [usize; 2],
    second: u64,
}

impl Load {
    /// After a push that left `used` frames on the ring.
    fn pushed(&mut self, used: usize, now: Nanos) {
        self.roll(now);
        self.peaks[0] = self.peaks[0].max(used);
    }

    fn roll(&mut self, now: Nanos) {
        let second = now / SECONDS;
        if second != self.second {
            let before = if second == self.second + 1 { self.peaks[0] } else { 0 };
            self.peaks = [0, before];
            self.second = second;
        }
    }
}

/// Emptied buffers on their way back on one lane of so many shards.
fn emptied_max(shards: usize) -> usize {
    1 << (EMPTIED_BATCHES_MAX / (shards - 1)).max(1).ilog2()
}

/// The lanes between `shards` shards, one per ordered pair; the ends of each shard.
pub(crate) fn lanes(shards: usize) -> Vec<Ends> {
    let mut ends: Vec<Ends> = (0..shards)
        .map(|_| Ends {
            inbound: Inbound((0..shards).map(|_| None).collect()),
            outbound: Outbound {
                lanes: (0..shards).map(|_| None).collect(),
                loads: vec![Load::default(); shards],
                fresh: vec![false; shards],
                any_fresh: false,
            },
        })
        .collect();
    for one in 0..shards {
        for other in one + 1..shards {
            let [there, back] = [(); 2].map(|()| mesh::ring(RING_FRAMES));
            let [emptied_there, emptied_here] = [(); 2].map(|()| mesh::ring(emptied_max(shards)));
            let lane = Lane::new(there.0, emptied_there.1, emptied_here.0);
            ends[one].outbound.lanes[other] = Some(lane);
            let lane = Lane::new(back.0, emptied_here.1, emptied_there.0);
            ends[other].outbound.lanes[one] = Some(lane);
            ends[other].inbound.0[one] = Some(there.1);
            ends[one].inbound.0[other] = Some(back.1);
        }
    }
    ends
}

impl Inbound {
    /// Takes in what is there now, at most `max` frames of each peer.
    pub fn drain(&mut self, max: usize, mut take: impl FnMut(ShardId, Frame)) {
        for (from, lane) in self.0.iter_mut().enumerate() {
            if let Some(lane) = lane {
                let from = ShardId(from as u16);
                lane.drain(max, |frame| take(from, frame));
            }
        }
    }

    /// Nothing is there.
    pub fn is_empty(&self) -> bool {
        self.0.iter().flatten().all(mesh::Receiver::is_empty)
    }
}

impl Outbound {
    /// The peers.
    pub fn peers(&self) -> impl Iterator<Item = ShardId> + use<> {
        let here = self.lanes.iter().position(Option::is_none);
        let shards = self.lanes.len();
        (0..shards).filter(move |to| Some(*to) != here).map(|to| ShardId(to as u16))
    }

    /// Moves what is staged for a peer to its ring, as far as there is room.
    pub fn push(&mut self, to: ShardId, effects: &mut Effects, now: Nanos) {
        let Some(lane) = &mut self.lanes[to.index()] else { return };
        if effects.is_clear(to) {
            return;
        }
        lane.come_back.drain(EMPTIED_BATCHES_MAX, |emptied| effects.restock(emptied));
        let before = lane.look();
        let bytes_max = effects.bounds().ring;
        while lane.has_room(bytes_max) {
            let Some(frame) = effects.pull(to) else { break };
            lane.push(frame);
            self.fresh[to.index()] = true;
            self.any_fresh = true;
        }
        let used = lane.sizes.len();
        let load = &mut self.loads[to.index()];
        load.frames += (used - before) as u64;
        load.pushed(used, now);
    }

    /// Gives a peer the buffer back that its last batch came in.
    pub fn give_back(&mut self, peer: ShardId, effects: &mut Effects) {
        if let Some(emptied) = effects.emptied.take()
            && let Some(lane) = &mut self.lanes[peer.index()]
        {
            // If it has enough of them on their way, this one is freed.
            let _ = lane.go_back.push(emptied);
        }
    }

    /// Puts one frame on a ring.
    #[cfg(test)]
    pub fn throw(&mut self, to: ShardId, frame: Frame) {
        let lane = self.lanes[to.index()].as_mut().unwrap();
        assert!(lane.look() < RING_FRAMES);
        lane.push(frame);
        self.fresh[to.index()] = true;
        self.any_fresh = true;
    }

    /// How the lanes have been used, and how they stand now.
    pub fn figures(&mut self, effects: &Effects, now: Nanos) -> Vec<LaneFigures> {
        let lanes = self.lanes.iter_mut().zip(&mut self.loads).enumerate();
        let figures = lanes.filter_map(|(to, (lane, load))| {
            let (to, lane) = (ShardId(to as u16), lane.as_mut()?);
            let used = lane.look();
            load.pushed(used, now);
            Some(LaneFigures {
                to,
                msgs: effects.carried_msgs(to),
                frames: load.frames,
                ring_frames: used as u64,
                ring_frames_peak: load.peaks[0].max(load.peaks[1]) as u64,
                ring_frames_max: lane.ring.capacity() as u64,
                staged_bytes: effects.staged_bytes(to) as u64,
            })
        });
        figures.collect()
    }

    /// Wakes those peers that got something and sleep.
    pub fn ring_bells(&mut self, ring: &mut Ring, peers: &[Peer]) {
        if !std::mem::take(&mut self.any_fresh) {
            return;
        }
        for (to, fresh) in self.fresh.iter_mut().enumerate() {
            if std::mem::take(fresh) && peers[to].bell.doorbell.ring() {
                ring.ring_peer(peers[to].address.as_raw_fd(), to as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    const FRAMES: u64 = 100_000;
    /// A wake-up that takes longer was lost.
    const LOST: Duration = Duration::from_secs(20);

    /// Sends one frame back and forth, asleep in between.
    struct Player {
        bell: Bell,
        ring: Ring,
        ends: Ends,
        peers: Arc<Vec<Peer>>,
        to: ShardId,
        seen: u64,
    }

    impl Player {
        fn play(&mut self) {
            self.ring.watch(self.bell.as_raw_fd());
            while self.seen < FRAMES {
                let mut back = None;
                self.ends.inbound.drain(1, |_, frame| back = Some(frame));
                match back {
                    Some(Frame::Fence { upto }) => self.hit(upto + 1),
                    Some(_) => unreachable!("only fences are sent"),
                    None => self.sleep(),
                }
            }
            self.ring.cancel_all();
            while self.ring.outstanding() > 0 {
                self.ring.wait(Some(LOST)).unwrap();
                self.ring.completions(16, &mut Vec::new());
            }
        }

        fn hit(&mut self, upto: u64) {
            self.seen = upto;
            self.ends.outbound.throw(self.to, Frame::Fence { upto });
            self.ends.outbound.ring_bells(&mut self.ring, &self.peers);
        }

        fn sleep(&mut self) {
            self.bell.doze();
            if self.ends.inbound.is_empty() {
                let asleep = Instant::now();
                self.ring.wait(Some(LOST)).unwrap();
                assert!(asleep.elapsed() < LOST, "not woken after frame {}", self.seen);
            } else {
                self.ring.submit().unwrap();
            }
            self.bell.wake_up();
            let mut completions = Vec::new();
            self.ring.completions(16, &mut completions);
            for completion in completions {
                assert_ne!(completion.tag.op, crate::ring::Op::RingPeer, "{completion:?}");
            }
        }
    }

    #[test]
    fn a_ring_takes_no_more_than_its_bytes_but_always_one_frame() {
        let (sender, mut receiver) = mesh::ring(RING_FRAMES);
        let (go_back, come_back) = mesh::ring(1);
        let mut lane = Lane::new(sender, come_back, go_back);
        let small = Frame::Unclaim { conn: shard::ConnId { slot: 1, generation: 1 } };
        let size = small.weight();
        assert!(lane.has_room(1), "however large it is");
        lane.push(small);
        for upto in 0..3 {
            assert!(lane.has_room(4 * size), "{upto}");
            lane.push(Frame::Fence { upto });
        }
        assert!(!lane.has_room(4 * size));
        receiver.drain(1, |_| ());
        assert!(!lane.has_room(4 * size), "not looked at yet");
        assert_eq!((lane.look(), lane.bytes), (3, 3 * size));
        assert!(lane.has_room(4 * size));
    }

    /// How many of many emptied buffers are on their way back to each of so many shards.
    fn coming_back(shards: usize) -> Vec<usize> {
        let ids = || (0..shards).map(|id| ShardId(id as u16));
        let mut ends = lanes(shards);
        let mut effects = Effects::new(shards);
        let mut coming_back = vec![0; shards];
        for (from, to) in ids().flat_map(|from| ids().map(move |to| (from, to))) {
            let buffers: Vec<Vec<u8>> = (0..20).map(|_| Vec::with_capacity(100)).collect();
            let filled: Vec<_> = buffers.iter().map(Vec::as_ptr).collect();
            for buffer in buffers {
                effects.emptied = Some(buffer);
                ends[to.index()].outbound.give_back(from, &mut effects);
            }
            let Some(lane) = &mut ends[from.index()].outbound.lanes[to.index()] else { continue };
            let mut back = Vec::new();
            lane.come_back.drain(usize::MAX, |emptied| back.push(emptied.as_ptr()));
            assert_eq!(back, filled[..back.len()], "and others are freed");
            coming_back[from.index()] += back.len();
        }
        coming_back
    }

    #[test]
    fn an_emptied_buffer_goes_back_to_the_shard_that_filled_it() {
        assert_eq!(coming_back(2), [EMPTIED_BATCHES_MAX; 2]);
        assert_eq!(coming_back(4), [3 * 4; 4], "no more from more peers");
        assert_eq!(coming_back(40), [39; 40], "but one of each");
    }

    #[test]
    fn the_peak_of_a_ring_is_kept_for_a_second_and_forgotten_after_two() {
        let mut load = Load::default();
        let mut peak = |used, at_s: f64| {
            load.pushed(used, (at_s * SECONDS as f64) as Nanos);
            load.peaks[0].max(load.peaks[1])
        };
        assert_eq!(peak(7, 0.5), 7);
        assert_eq!(peak(2, 0.9), 7);
        assert_eq!(peak(3, 1.1), 7, "the second before counts");
        assert_eq!(peak(1, 2.1), 3);
        assert_eq!(peak(0, 9.0), 0, "whatever was before a rest is over");
    }

    #[test]
    fn no_wake_up_is_lost_between_two_shards() {
        let bells = [Bell::new().unwrap(), Bell::new().unwrap()];
        let (tell, told) = crossbeam_channel::bounded(2);
        let players = lanes(2).into_iter().enumerate().map(|(here, ends)| {
            let (bell, tell) = (bells[here].clone(), tell.clone());
            let (go, ready) = crossbeam_channel::bounded(1);
            let thread = thread::spawn(move || {
                let ring = Ring::new().unwrap();
                tell.send((here, ring.address().unwrap())).unwrap();
                let (peers, to) = (ready.recv().unwrap(), ShardId(1 - here as u16));
                let mut player = Player { bell, ring, ends, peers, to, seen: 0 };
                if here == 0 {
                    player.hit(0);
                }
                player.play();
            });
            (go, thread)
        });
        let players: Vec<_> = players.collect();
        let mut addresses: Vec<(usize, OwnedFd)> = told.iter().take(2).collect();
        addresses.sort_by_key(|(here, _)| *here);
        let peers = bells.into_iter().zip(addresses);
        let peers = peers.map(|(bell, (_, address))| Peer { bell, address }).collect();
        let peers = Arc::new(peers);
        for (go, _) in &players {
            go.send(Arc::clone(&peers)).unwrap();
        }
        for (_, thread) in players {
            thread.join().expect("all frames, none of them late");
        }
    }
}
