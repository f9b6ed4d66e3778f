//! Buses with one known defect, each of which the oracle must catch. The defect is in a wrapper,
//! not in the bus.

use std::collections::{BTreeMap, VecDeque};

use shard::report::Ask;
use shard::{ConnId, Effects, Frame, Input, Interest, Nanos, ShardId};

use crate::bus::Bus;
use crate::prng::Prng;
use crate::walls::Gap;

/// Where a batch, which begins with when its bytes were read and with its weight, has the number of
/// its first message's account: behind the length of the record.
const ACCOUNT_AT: usize = 16;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// One batch of deliveries never reaches its ring.
    DropDeliver,
    /// One batch of deliveries goes twice.
    DuplicateDeliver,
    /// Two neighbouring batches of a lane change places.
    SwapFrames,
    /// Fences are answered at once, whatever is still on the lane.
    EarlyFence,
    /// One change of interest never reaches its ring.
    LoseInterest,
    /// One chunk is written to its socket twice.
    DuplicateChunk,
    /// One PONG is taken out of a chunk.
    DropPong,
    /// One message is taken out of a chunk.
    DropMessage,
    /// One batch's first message goes to another account.
    WrongAccount,
    /// Peers believe that everybody gets everything that matches, so nobody is asked first.
    SureOfAll,
    /// Nobody minds who may subscribe to what.
    OpenSubscriptions,
    /// Nobody minds who may publish what.
    OpenPublications,
    /// Who imports some messages of an account gets all.
    OpenStreams,
    /// Nobody may answer a request who may not publish to its reply anyway.
    NoAnswers,
    /// Nobody counts answers.
    EndlessAnswers,
    /// The right to answer never ends.
    LateAnswers,
    /// The right to answer ends too early.
    HastyAnswers,
    /// What users may do stays as it was at the beginning, however often access changes.
    StaleAccess,
    /// One shard never hears of one change of access.
    UntoldShard,
}

impl Defect {
    /// All of them.
    pub const ALL: [Defect; 19] = [
        Defect::DropDeliver,
        Defect::DuplicateDeliver,
        Defect::SwapFrames,
        Defect::EarlyFence,
        Defect::LoseInterest,
        Defect::DuplicateChunk,
        Defect::DropPong,
        Defect::DropMessage,
        Defect::WrongAccount,
        Defect::SureOfAll,
        Defect::OpenSubscriptions,
        Defect::OpenPublications,
        Defect::OpenStreams,
        Defect::NoAnswers,
        Defect::EndlessAnswers,
        Defect::LateAnswers,
        Defect::HastyAnswers,
        Defect::StaleAccess,
        Defect::UntoldShard,
    ];

    /// What it leaves open in the walls between accounts.
    pub fn gap(self) -> Option<Gap> {
        match self {
            Defect::OpenSubscriptions => Some(Gap::Subscriptions),
            Defect::OpenPublications => Some(Gap::Publications),
            Defect::OpenStreams => Some(Gap::Streams),
            Defect::NoAnswers => Some(Gap::Answers),
            Defect::EndlessAnswers => Some(Gap::EndlessAnswers),
            Defect::LateAnswers => Some(Gap::LateAnswers),
            Defect::HastyAnswers => Some(Gap::HastyAnswers),
            Defect::StaleAccess => Some(Gap::Stale),
            _ => None,
        }
    }

    /// Those that a bus without lanes can have.
    pub const OF_CHUNKS: [Defect; 3] =
        [Defect::DuplicateChunk, Defect::DropPong, Defect::DropMessage];

    /// By its name.
    pub fn named(name: &str) -> Option<Defect> {
        Defect::ALL.into_iter().find(|defect| format!("{defect:?}") == name)
    }
}

/// A bus with a defect.
pub struct Canary<B: Bus> {
    bus: B,
    defect: Defect,
    /// So many opportunities are let pass before the one that is taken; none is left after it.
    patience: Option<u64>,
    now: Nanos,
    /// Per lane: frames to go before others.
    pushed_back: BTreeMap<(usize, usize), VecDeque<Frame>>,
    /// Bytes written that the bus does not know of.
    excess: BTreeMap<(usize, ConnId), u64>,
}

/// A chunk, or what the defect made of it.
pub struct CanaryChunk<C> {
    inner: C,
    bytes: Option<Vec<u8>>,
}

impl<C: AsRef<[u8]>> AsRef<[u8]> for CanaryChunk<C> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.inner.as_ref())
    }
}

impl<B: Bus> Canary<B> {
    /// Puts a defect into a bus; the seed says when it shows.
    pub fn new(bus: B, defect: Defect, seed: u64) -> Canary<B> {
        let patience = Some(Prng::stream(seed, "canary").below(24));
        let (pushed_back, excess) = (BTreeMap::new(), BTreeMap::new());
        Canary { bus, defect, patience, now: 0, pushed_back, excess }
    }

    /// True at one opportunity.
    fn strikes(&mut self) -> bool {
        match &mut self.patience {
            None => false,
            Some(0) => {
                self.patience = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    fn spoil_frame(&mut self, from: usize, to: usize, frame: Frame) -> Option<Frame> {
        match (self.defect, &frame) {
            (Defect::DropDeliver, Frame::Deliver(_))
            | (Defect::LoseInterest, Frame::Interest(_)) => {
                if self.strikes() {
                    self.bus.pull(from, to)
                } else {
                    Some(frame)
                }
            }
            (Defect::DuplicateDeliver, Frame::Deliver(batch)) => {
                if self.strikes() {
                    let again = Frame::Deliver(batch.clone());
                    self.pushed_back.entry((from, to)).or_default().push_back(again);
                }
                Some(frame)
            }
            (Defect::WrongAccount, Frame::Deliver(batch)) => {
                if !self.strikes() {
                    return Some(frame);
                }
                let mut batch = batch.clone();
                batch[ACCOUNT_AT] ^= 1;
                Some(Frame::Deliver(batch))
            }
            (Defect::SureOfAll, Frame::Interest(interest)) => {
                let interest =
                    Interest { unsure: 0, unsure_of_services: 0, ..(**interest).clone() };
                Some(Frame::Interest(Box::new(interest)))
            }
            (Defect::SwapFrames, Frame::Deliver(_)) => self.swap(from, to, frame),
            (Defect::EarlyFence, Frame::Fence { upto }) => {
                let answer = Frame::Fenced { upto: *upto };
                let peer = ShardId(to as u16);
                self.bus.step(from, self.now, Input::Frame { from: peer, frame: answer });
                self.pull(from, to)
            }
            _ => Some(frame),
        }
    }

    /// Holds a batch back until the next one comes by, and lets that one pass first.
    fn swap(&mut self, from: usize, to: usize, frame: Frame) -> Option<Frame> {
        match self.bus.pull(from, to) {
            Some(next) if matches!(next, Frame::Deliver(_)) && self.strikes() => {
                self.pushed_back.entry((from, to)).or_default().push_back(frame);
                Some(next)
            }
            Some(next) => {
                self.pushed_back.entry((from, to)).or_default().push_back(next);
                Some(frame)
            }
            None => Some(frame),
        }
    }

    fn spoil_bytes(&mut self, at: usize, conn: ConnId, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.defect == Defect::DuplicateChunk {
            return self.strikes().then(|| {
                *self.excess.entry((at, conn)).or_default() += bytes.len() as u64;
                [bytes, bytes].concat()
            });
        }
        let cut = match self.defect {
            Defect::DropPong => find(bytes, b"PONG\r\n").map(|start| start..start + 6),
            Defect::DropMessage => message(bytes),
            _ => None,
        };
        let cut = cut.filter(|_| self.strikes())?;
        let sent = Input::Sent { conn, bytes: cut.len() as u64 };
        self.bus.step(at, self.now, sent);
        Some([&bytes[..cut.start], &bytes[cut.end..]].concat())
    }
}

/// Where a line begins that is one of the server's own, not a part of a payload that looks like
/// one.
fn find(bytes: &[u8], line: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(line) {
            return Some(at);
        }
        let (_, used) = crate::oracle::parse(&bytes[at..]).ok()??;
        at += used;
    }
    None
}

fn message(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let start = find(bytes, b"MSG ")?;
    let (_, used) = crate::oracle::parse(&bytes[start..]).ok()??;
    Some(start..start + used)
}

impl<B: Bus> Bus for Canary<B> {
    type Chunk = CanaryChunk<B::Chunk>;

    fn shards(&self) -> usize {
        self.bus.shards()
    }

    fn step(&mut self, at: usize, now: Nanos, input: Input<'_>) {
        self.now = now;
        let input = match input {
            Input::Ask(Ask::Access(_)) if self.defect == Defect::UntoldShard && self.strikes() => {
                return;
            }
            Input::Sent { conn, bytes } => {
                let excess = self.excess.entry((at, conn)).or_default();
                let hidden = bytes.min(*excess);
                *excess -= hidden;
                if bytes == hidden {
                    return;
                }
                Input::Sent { conn, bytes: bytes - hidden }
            }
            other => other,
        };
        self.bus.step(at, now, input);
    }

    fn effects(&mut self, at: usize) -> &mut Effects {
        self.bus.effects(at)
    }

    fn pull(&mut self, from: usize, to: usize) -> Option<Frame> {
        let held = self.pushed_back.get_mut(&(from, to)).and_then(VecDeque::pop_front);
        if held.is_some() {
            return held;
        }
        let frame = self.bus.pull(from, to)?;
        self.spoil_frame(from, to, frame)
    }

    fn take_chunk(&mut self, at: usize, conn: ConnId) -> Option<Self::Chunk> {
        let inner = self.bus.take_chunk(at, conn)?;
        let bytes = self.spoil_bytes(at, conn, inner.as_ref());
        Some(CanaryChunk { inner, bytes })
    }

    fn recycle(&mut self, at: usize, chunk: Self::Chunk) {
        self.bus.recycle(at, chunk.inner);
    }

    fn deadline(&self, at: usize) -> Option<Nanos> {
        self.bus.deadline(at)
    }

    fn has_work(&self, at: usize) -> bool {
        self.bus.has_work(at)
    }

    fn check_reports(&self, asked: u64, answered: u64) -> Result<(), String> {
        self.bus.check_reports(asked, answered)
    }

    /// The oracle must see it from outside.
    fn check_rest(&self) -> Result<(), String> {
        Ok(())
    }
}
