//! The loop of one shard: completions, frames and messages in; requests and frames out.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use shard::limits::{FlowBounds, SECONDS, SLICE_BYTES_MIN};
use shard::report::{Ask, DriverFigures, LameDuck};
use shard::{ConnId, Effects, Frame, Input, Nanos, Reads, ShardId};

use crate::buffers::Filled;
use crate::conn::{self, Phase, Sockets};
use crate::control::{Commons, Message, Peers};
use crate::engine::Engine;
use crate::gather::{GATHERED_MAX, Gather};
use crate::lanes::{Bell, Inbound, Outbound};
use crate::latency::Latency;
use crate::listener::Listener;
use crate::logins::Work;
use crate::notes;
use crate::process;
use crate::ring::{Completion, Op, Ring};

/// Completions looked at in one turn.
const COMPLETIONS_PER_TURN: usize = 512;
/// Connections whose end is seen to in one turn. Each takes some microseconds, and when a thousand
/// go at once, those who stay are heard in between.
const ENDS_PER_TURN: usize = 4;
/// Ends looked at for those, past ends of connections that have said what is not taken in yet.
const ENDS_LOOKED_AT: usize = 16;
/// Messages of the control plane taken in one turn.
const MESSAGES_PER_TURN: usize = 64;
/// Frames taken off the rings at once.
const FRAMES_AT_ONCE: usize = 16;
/// Frames given to the engine in one turn, however little comes of them.
const FRAMES_PER_TURN: usize = 512;
/// Input of so many bytes in a turn is worth its sends: whoever sends that is not kept waiting.
const BULK_BYTES: u64 = 64 * 1024;
/// For so long after such a turn, or after somebody has come, what there is to do is done at once.
const BRISK_NS: Nanos = 5_000_000;
/// How soon to look again whether a full ring has room.
const FULL_RING_RETRY_NS: Nanos = 50_000;
/// How often a lame duck looks whether anybody is left.
const LAME_DUCK_LOOK_NS: Nanos = 50_000_000;
/// How long after its time a lame duck ends whoever is left: shards that have much to do close
/// their clients a little late.
const LAME_DUCK_SLACK_NS: Nanos = SECONDS;
/// How long connections may take to close when the server shuts down.
const STOP_NS_MAX: Nanos = 3 * SECONDS;

/// What a driver is made of, apart from its engine and its ring.
pub(crate) struct Parts {
    pub id: ShardId,
    pub inbound: Inbound,
    pub outbound: Outbound,
    pub messages: Receiver<Message>,
    pub commons: Arc<Commons>,
    pub bounds: FlowBounds,
}

/// One shard with everything around it.
pub(crate) struct Driver<E: Engine> {
    pub(crate) id: ShardId,
    pub(crate) engine: E,
    pub(crate) effects: Effects,
    pub(crate) ring: Ring,
    pub(crate) sockets: Sockets<E::Chunk>,
    inbound: Inbound,
    outbound: Outbound,
    messages: Receiver<Message>,
    pub(crate) commons: Arc<Commons>,
    peers: Peers,
    bell: Bell,
    /// On the one shard that accepts, once it does.
    pub(crate) listener: Option<Listener>,
    completions: Vec<Completion>,
    /// Received, and not yet given to the engine.
    pub(crate) received: VecDeque<Received>,
    /// Connections that will say no more, and whose end is not seen to yet: one each at most.
    ends: VecDeque<Completion>,
    /// Connections that found no buffer to be received into.
    pub(crate) starved: VecDeque<ConnId>,
    /// How many of them, in front, have had their turn meanwhile and found none either.
    pub(crate) starved_again: usize,
    /// Off the rings, and not yet given to the engine.
    frames: VecDeque<(ShardId, Frame)>,
    /// Frames the engine was given in this turn.
    frames_taken: usize,
    /// Bytes copied in this turn at which it is given no more of them.
    frames_until_bytes: usize,
    /// Connections whose passwords or signatures are looked at elsewhere.
    proving: Vec<ConnId>,
    /// Bytes of input given to the engine since the last flush.
    taken_bytes: usize,
    /// Input given to the engine at once.
    slice_bytes: usize,
    pub(crate) stop_at: Option<Nanos>,
    /// On the accepting shard of a lame duck.
    lame_duck: Option<Watch>,
    /// Times round the loop, sleeps, and time with nothing to do.
    turns: u64,
    wakes: u64,
    idle_ns: u64,
    /// What came in and went out, for reports.
    pub(crate) reads: (u64, u64),
    pub(crate) writes: (u64, u64),
    latency: Latency,
    /// None if input is looked at as soon as it is there.
    gather: Option<Gather>,
    /// Reads that `gather` knows of.
    reads_seen: u64,
    /// Bytes of input up to this turn.
    bytes_seen: u64,
    /// More input may gather before the next turn, though there is something to do.
    is_gathering: bool,
    /// Until when it may do so only if there is nothing to do.
    brisk_until: Nanos,
    toil: Toil,
}

/// Whose turn it is: whoever has said something meanwhile, or work that holds everybody up.
#[derive(Default)]
struct Toil {
    gave_way: bool,
}

impl Toil {
    /// It gives way to those who have said something, every other time: so nobody who comes waits
    /// for more than one piece of it, and it never waits for long.
    fn is_next(&mut self, somebody_speaks: bool) -> bool {
        self.gave_way = somebody_speaks && !self.gave_way;
        !self.gave_way
    }
}

/// What a lame duck waits for.
#[derive(Clone, Copy)]
struct Watch {
    /// When to look whether anybody is left.
    look_at: Nanos,
    /// It is over by then, whoever is left.
    over_at: Nanos,
}

/// A buffer of one connection's bytes.
pub(crate) struct Received {
    pub conn: ConnId,
    /// When it came in.
    pub at: Nanos,
    pub filled: Filled,
    /// Bytes of it that the engine has.
    pub done: usize,
}

/// What to do after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Another.
    Again,
    /// [`Driver::rest`] until there is something to do.
    Rest,
    /// Nothing, ever: [`Driver::end`].
    End,
}

impl<E: Engine> Driver<E> {
    /// A driver for the calling thread.
    pub fn new(parts: Parts, peers: Peers, engine: E, mut ring: Ring) -> Driver<E> {
        let bell = parts.commons.mailboxes[parts.id.index()].bell.clone();
        ring.watch(bell.as_raw_fd());
        let wait_ns = parts.commons.gather_ns;
        let gathers = wait_ns > 0 && ring.can_gather();
        let mut effects = Effects::new(parts.commons.mailboxes.len());
        effects.bound(parts.bounds);
        Driver {
            id: parts.id,
            engine,
            effects,
            ring,
            sockets: Sockets::new(),
            inbound: parts.inbound,
            outbound: parts.outbound,
            messages: parts.messages,
            commons: parts.commons,
            peers,
            bell,
            listener: None,
            completions: Vec::new(),
            received: VecDeque::new(),
            ends: VecDeque::new(),
            starved: VecDeque::new(),
            starved_again: 0,
            frames: VecDeque::new(),
            frames_taken: 0,
            frames_until_bytes: 0,
            proving: Vec::new(),
            taken_bytes: 0,
            slice_bytes: parts.bounds.slice,
            stop_at: None,
            lame_duck: None,
            turns: 0,
            wakes: 0,
            idle_ns: 0,
            reads: (0, 0),
            writes: (0, 0),
            latency: Latency::new(),
            gather: gathers.then(|| Gather::new(wait_ns)),
            reads_seen: 0,
            bytes_seen: 0,
            is_gathering: false,
            brisk_until: 0,
            toil: Toil::default(),
        }
    }

    /// Takes in what there is, up to some bounds, and hands on what comes of it.
    pub fn turn(&mut self) -> io::Result<After> {
        self.turns += 1;
        self.frames_taken = 0;
        let now = self.commons.now();
        self.measure(now);
        self.take_completions(now);
        self.take_messages(now);
        self.take_time(now);
        self.frames_until_bytes = self.effects.copied_bytes + self.effects.bounds().turn / 2;
        self.take_frames(now);
        self.take_received(now);
        self.take_ends(now);
        self.feed_starved();
        self.carry_out(now);
        if self.is_over() {
            return Ok(After::End);
        }
        self.judge(now);
        let is_pressed = self.is_pressed();
        let is_moving = self.ring.has_sends() || self.ring.is_ready();
        if is_pressed || is_moving {
            self.ring.submit()?;
            self.toil(now);
        }
        // Receivers that are gathered for have theirs by now; what has come meanwhile has time.
        let again = is_pressed || is_moving && !self.is_gathering;
        Ok(if again { After::Again } else { After::Rest })
    }

    /// Has the next turn something to do whatever the kernel says?
    fn is_pressed(&self) -> bool {
        !self.received.is_empty()
            || !self.ends.is_empty()
            || !self.starved.is_empty()
            || !self.frames.is_empty()
            || !self.effects.probes.is_empty()
            || (self.engine.has_work() && !self.is_congested())
            || self.engine.has_toil()
            || !self.inbound.is_empty()
            || self.outbound.peers().any(|to| self.effects.is_relieved(to))
    }

    /// Whether more input is to gather before the next turn, though there is something to do.
    fn judge(&mut self, now: Nanos) {
        let bytes = self.reads.1 - std::mem::replace(&mut self.bytes_seen, self.reads.1);
        if bytes >= BULK_BYTES {
            self.brisk_until = now + BRISK_NS;
        }
        self.is_gathering = now >= self.brisk_until && self.gathers(now);
    }

    /// Takes note of what has been read since it was last asked. Is waiting for more worth while?
    fn gathers(&mut self, now: Nanos) -> bool {
        let is_congested = self.is_congested();
        let Some(gather) = &mut self.gather else { return false };
        let reads = self.reads.0 - std::mem::replace(&mut self.reads_seen, self.reads.0);
        if reads > 0 {
            gather.took(reads, now, process::thread_run_ns);
        }
        !is_congested && gather.waits(now)
    }

    /// Somebody has come, and waits to be let in.
    pub(crate) fn hurry(&mut self, now: Nanos) {
        self.brisk_until = now + BRISK_NS;
    }

    /// A piece of work that holds everybody up, once what the turn had to send is with the kernel.
    fn toil(&mut self, now: Nanos) {
        if self.engine.has_toil() && self.toil.is_next(self.ring.is_ready()) {
            self.engine.toil(now, &mut self.effects);
        }
    }

    /// Waits for something to do.
    pub fn rest(&mut self) -> io::Result<()> {
        let since = self.commons.now();
        self.measure(since);
        let rested = self.idle();
        self.idle_ns += self.commons.now().saturating_sub(since);
        rested
    }

    /// The turn is over: what it had for receivers is with the kernel, or about to be.
    fn measure(&mut self, now: Nanos) {
        let latency = &mut self.latency;
        self.engine.handed_over(|since, msgs| {
            latency.record(now.saturating_sub(since), msgs, now);
        });
    }

    fn idle(&mut self) -> io::Result<()> {
        if self.commons.spin_ns > 0 {
            self.ring.submit()?;
            if self.spin() {
                return Ok(());
            }
        }
        self.bell.doze();
        // Whatever was left for this shard before it dozed is seen here; whoever leaves something
        // later sees it doze, and rings.
        let waited = if self.inbound.is_empty() && self.messages.is_empty() {
            let time = self.patience();
            self.wakes += 1;
            self.sleep(time)
        } else {
            Ok(())
        };
        self.bell.wake_up();
        waited
    }

    /// Until something is there to do, or, under load from many connections, until much is. What is
    /// due meanwhile is done that much later, unless peers wait for it.
    fn sleep(&mut self, time: Option<Duration>) -> io::Result<()> {
        let now = self.commons.now();
        if !self.gathers(now) {
            return self.ring.wait(time);
        }
        let least = Duration::from_nanos(self.commons.gather_ns);
        self.ring.gather(GATHERED_MAX, least.as_micros() as u32, time)
    }

    /// Looks for something to do for a while without a system call. True if there is.
    fn spin(&mut self) -> bool {
        let until = self.commons.now() + self.commons.spin_ns;
        let until = self.next_due().map_or(until, |due| until.min(due));
        while self.commons.now() < until {
            if self.ring.is_ready() || !self.inbound.is_empty() || !self.messages.is_empty() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// How long there is certainly nothing to do, unless somebody rings.
    fn patience(&mut self) -> Option<Duration> {
        let now = self.commons.now();
        let retry = self.is_congested().then_some(now + FULL_RING_RETRY_NS);
        let due = [self.next_due(), retry].into_iter().flatten().min()?;
        Some(Duration::from_nanos(due.saturating_sub(now)))
    }

    /// A full ring keeps frames waiting here.
    fn is_congested(&self) -> bool {
        self.outbound.peers().any(|to| !self.effects.is_clear(to))
    }

    fn next_due(&mut self) -> Option<Nanos> {
        let retry = self.listener.as_ref().and_then(Listener::next_due);
        let look = self.lame_duck.map(|watch| watch.look_at);
        let dues = [self.engine.deadline(), self.sockets.next_due(), retry, self.stop_at, look];
        dues.into_iter().flatten().min()
    }

    /// Shutting down, and done with it.
    fn is_over(&self) -> bool {
        let accepting = self.listener.as_ref().is_some_and(Listener::is_accepting);
        self.stop_at.is_some() && self.sockets.live() == 0 && !accepting
    }

    /// Takes leave of the kernel, so that none of its requests outlives the memory it uses.
    pub fn end(mut self) -> io::Result<()> {
        log::debug!("Shard {} entered its ring {} times", self.id.0, self.ring.enters());
        let until = self.commons.now() + SECONDS;
        self.ring.cancel_all();
        while self.ring.outstanding() > 0 && self.commons.now() < until {
            self.ring.wait(Some(Duration::from_millis(10)))?;
            self.ring.completions(COMPLETIONS_PER_TURN, &mut self.completions);
            self.completions.clear();
        }
        Ok(())
    }

    fn take_completions(&mut self, now: Nanos) {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.completions(COMPLETIONS_PER_TURN, &mut completions);
        for completion in completions.drain(..) {
            match completion.tag.op {
                Op::Receive | Op::ReceiveLarge if completion.is_end() => {
                    self.sockets.end_comes(completion.tag);
                    self.ends.push_back(completion);
                }
                Op::Receive | Op::ReceiveLarge => self.on_received(completion, now),
                Op::Send => self.on_sent(&completion, now),
                Op::Accept => self.on_accepted(&completion, now),
                Op::Bell if !completion.more => self.ring.watch(self.bell.as_raw_fd()),
                Op::RingPeer => self.peers[completion.tag.slot as usize].bell.strike(),
                Op::Bell | Op::Rung | Op::Nothing => {}
            }
        }
        self.completions = completions;
    }

    fn take_messages(&mut self, now: Nanos) {
        for _ in 0..MESSAGES_PER_TURN {
            match self.messages.try_recv() {
                Ok(Message::Accepted(accepted)) => self.open(accepted, now),
                Ok(Message::Ask(ask)) => {
                    match ask {
                        Ask::Shutdown => self.stop(now),
                        Ask::LameDuck(how) => self.begin_lame_duck(how, now),
                        _ => {}
                    }
                    self.engine.step(now, Input::Ask(ask), &mut self.effects);
                }
                Ok(Message::Listen(listener)) => self.listen(*listener),
                Ok(Message::Serve { subjects, elsewhere }) => {
                    let conn = self.sockets.reserve();
                    let ask = Ask::Serve { conn, subjects, elsewhere };
                    self.engine.step(now, Input::Ask(ask), &mut self.effects);
                }
                Ok(Message::Checked { conn, outcome }) => {
                    self.proving.retain(|it| *it != conn);
                    let input = Input::Checked { conn, outcome };
                    self.engine.step(now, input, &mut self.effects);
                }
                Ok(Message::Reload(order)) => {
                    if let Some(listener) = &mut self.listener {
                        listener.set_connections_max(order.reload.options.connections_max);
                    }
                    self.engine.secure_with(order.tls);
                    let ask = Ask::Reload(order.reload);
                    self.engine.step(now, Input::Ask(ask), &mut self.effects);
                    // Fails if whoever gave the order has lost patience.
                    let _ = order.done.try_send(());
                }
                Err(_) => return,
            }
        }
    }

    /// Accepts from now on, unless the server is about to go.
    fn listen(&mut self, listener: Listener) {
        if self.stop_at.is_none() {
            self.listener = Some(listener);
        }
    }

    fn stop(&mut self, now: Nanos) {
        self.stop_at.get_or_insert(now + STOP_NS_MAX);
        self.stop_accepting();
    }

    /// No new clients; the accepting shard looks out for the last one to go.
    fn begin_lame_duck(&mut self, how: LameDuck, now: Nanos) {
        if self.listener.is_some() {
            let time = how.grace_ns.saturating_add(how.duration_ns);
            let over_at = now.saturating_add(time).saturating_add(LAME_DUCK_SLACK_NS);
            self.lame_duck.get_or_insert(Watch { look_at: now, over_at });
        }
        self.stop_accepting();
    }

    /// A lame duck has nothing left to do without clients, nor when its time is over.
    fn look_for_last(&mut self, now: Nanos) {
        let Some(watch) = self.lame_duck.filter(|watch| watch.look_at <= now) else { return };
        let again = Some(Watch { look_at: now + LAME_DUCK_LOOK_NS, ..watch });
        if now < watch.over_at && self.commons.open.iter().any(|open| open.value() > 0) {
            self.lame_duck = again;
            return;
        }
        self.lame_duck = None;
        for mailbox in &self.commons.mailboxes {
            if mailbox.try_post(Message::Ask(Ask::Shutdown)).is_err() {
                // Its mailbox is full: again later. To shut down twice is no harm.
                self.lame_duck = again;
            }
        }
    }

    fn stop_accepting(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.close();
            self.ring.cancel_accepts();
        }
    }

    fn take_time(&mut self, now: Nanos) {
        self.look_for_last(now);
        let wanted = self.listener.as_mut().and_then(|listener| listener.wants_accepts(now));
        if let Some((fd, accepts)) = wanted {
            (0..accepts).for_each(|_| self.ring.accept(fd));
        }
        while let Some(conn) = self.sockets.pop_due(now) {
            self.abandon(conn);
        }
        if self.stop_at.is_some_and(|at| at <= now) {
            self.stop_at = Some(now + STOP_NS_MAX);
            for conn in self.sockets.all_live() {
                self.abandon(conn);
            }
        }
        if self.engine.has_work() || self.engine.deadline().is_some_and(|at| at <= now) {
            self.engine.step(now, Input::Turn, &mut self.effects);
        }
    }

    /// So much is to be sent that it is, before more is taken in.
    fn is_turn_full(&self) -> bool {
        self.effects.copied_bytes >= self.effects.bounds().turn
    }

    /// Half of a turn is for what peers send, however much that is: the shard's own clients have
    /// the rest.
    fn take_frames(&mut self, now: Nanos) {
        while self.effects.copied_bytes < self.frames_until_bytes
            && self.frames_taken < FRAMES_PER_TURN
        {
            if self.frames.is_empty() {
                let frames = &mut self.frames;
                self.inbound.drain(FRAMES_AT_ONCE, |from, frame| frames.push_back((from, frame)));
            }
            let Some((from, frame)) = self.frames.pop_front() else { return };
            self.frames_taken += 1;
            let bytes = frame.weight();
            self.engine.step(now, Input::Frame { from, frame }, &mut self.effects);
            self.outbound.give_back(from, &mut self.effects);
            self.took_in(bytes, now);
        }
    }

    fn take_received(&mut self, now: Nanos) {
        while let Some(Received { conn, at, filled, done }) = self.received.pop_front() {
            let open = self.sockets.phase(conn) == Phase::Open;
            let end =
                if open { filled.bytes().min(done + self.slice_bytes) } else { filled.bytes() };
            if open {
                let bytes = &self.ring.contents(&filled)[done..end];
                self.engine.step(now, Input::Bytes { conn, at, bytes }, &mut self.effects);
            }
            if end < filled.bytes() {
                self.received.push_front(Received { conn, at, filled, done: end });
            } else {
                self.ring.give_back(filled);
            }
            self.took_in(end - done, now);
            // A peer may have told that somebody here is to be slowed.
            if !self.inbound.is_empty() {
                self.take_frames(now);
            }
            if self.is_turn_full() {
                return;
            }
        }
    }

    /// Sees to some of those who have gone. Whoever has said something that is not taken in yet is
    /// passed over: the turns to come take it in as they take what others say, and its end then.
    fn take_ends(&mut self, now: Nanos) {
        let mut seen_to = 0;
        for _ in 0..self.ends.len().min(ENDS_LOOKED_AT) {
            let Some(completion) = self.ends.pop_front() else { return };
            let conn = self.sockets.conn(completion.tag);
            if self.received.iter().any(|it| Some(it.conn) == conn) {
                self.ends.push_back(completion);
                continue;
            }
            self.on_received(completion, now);
            seen_to += 1;
            if seen_to == ENDS_PER_TURN {
                return;
            }
        }
    }

    /// After an input of that many bytes: keeps what comes of it within bounds.
    fn took_in(&mut self, bytes: usize, now: Nanos) {
        self.taken_bytes += bytes;
        for to in self.outbound.peers() {
            if self.effects.is_due(to) {
                self.push_frames(to, now);
            }
        }
    }

    fn push_frames(&mut self, to: ShardId, now: Nanos) {
        self.outbound.push(to, &mut self.effects, now);
        // Whoever waited may fill the lane again at once, and the ring may take that too; who waits
        // then goes on the next time, or a turn would last while the peer keeps up.
        if self.effects.relieved(to) {
            self.engine.step(now, Input::Room { to }, &mut self.effects);
            self.outbound.push(to, &mut self.effects, now);
        }
    }

    /// Carries out what the engine wants.
    fn carry_out(&mut self, now: Nanos) {
        self.probe(now);
        for to in self.outbound.peers() {
            self.push_frames(to, now);
        }
        self.outbound.ring_bells(&mut self.ring, &self.peers);
        self.write_dirty(now);
        self.steer_reads();
        self.leave_checks();
        self.close_closed(now);
        for note in self.effects.notes.drain(..) {
            notes::write(&note);
        }
        for news in self.effects.news.drain(..) {
            if !self.commons.answers.tell(news) {
                self.commons.dropped.add(1);
            }
        }
        self.post_reports(now);
    }

    fn leave_checks(&mut self) {
        let commons = &self.commons;
        // Whoever asks for another seat has left the one it had.
        for seat in self.effects.seats.drain(..) {
            commons.logins.leave(Work::Seat { shard: self.id, seat });
        }
        for (conn, check) in self.effects.checks.drain(..) {
            match check.is_for_others() {
                true => commons.logins.leave(Work::Check { shard: self.id, conn, check }),
                false => {
                    self.proving.push(conn);
                    commons.proofs.leave(self.id, conn, check);
                }
            }
        }
    }

    fn post_reports(&mut self, now: Nanos) {
        for mut report in std::mem::take(&mut self.effects.reports) {
            report.driver = DriverFigures {
                now,
                idle_ns: self.idle_ns,
                turns: self.turns,
                wakes: self.wakes,
                enters: self.ring.enters(),
                reads: self.reads.0,
                read_bytes: self.reads.1,
                writes: self.writes.0,
                written_bytes: self.writes.1,
                latency: report.driver.latency.map(|_| self.latency.report(now)),
                lanes: self.outbound.figures(&self.effects, now),
            };
            // Of the whole server: one shard tells them.
            if self.id.0 == 0 {
                report.figures.dropped_internal += self.commons.dropped.value();
            }
            self.commons.answers.post(report);
        }
    }

    fn probe(&mut self, now: Nanos) {
        for conn in std::mem::take(&mut self.effects.probes) {
            if let Some(fd) = self.sockets.fd(conn) {
                let bytes = conn::unacknowledged_bytes(fd);
                self.engine.step(now, Input::Unacknowledged { conn, bytes }, &mut self.effects);
            }
        }
    }

    fn write_dirty(&mut self, now: Nanos) {
        let mut dirty = std::mem::take(&mut self.effects.dirty);
        for conn in dirty.drain(..) {
            self.write_next(conn, now);
        }
        self.effects.dirty = dirty;
        let copied = std::mem::take(&mut self.effects.copied_bytes).max(1);
        let taken = std::mem::take(&mut self.taken_bytes);
        if taken > 0 {
            let bounds = self.effects.bounds();
            let slice = bounds.turn.saturating_mul(taken) / copied;
            self.slice_bytes = slice.clamp(SLICE_BYTES_MIN, bounds.slice);
        }
    }

    fn steer_reads(&mut self) {
        for (conn, reads) in self.effects.reads.drain(..) {
            self.sockets.set_wanted(&mut self.ring, conn, reads == Reads::Resume);
        }
    }

    fn close_closed(&mut self, now: Nanos) {
        for close in std::mem::take(&mut self.effects.closes) {
            if self.proving.contains(&close.conn) {
                self.commons.proofs.forget(self.id, close.conn);
            }
            if self.sockets.close(&mut self.ring, close.conn, close.flush, now) {
                self.commons.open[self.id.index()].sub(1);
            }
            if close.flush {
                self.write_next(close.conn, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
