use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use shard::{Options, Peer, ServerInfo, Shard};

use super::*;
use crate::control::Accepted;
use crate::lanes;
use crate::listener::tests::commons;

mod flushes;
mod writes;

#[test]
fn toil_gives_way_to_those_who_speak_once_at_a_time() {
    let mut toil = Toil::default();
    let next = [false, true, true, true, false, true, false, false].map(|it| toil.is_next(it));
    assert_eq!(next, [true, false, true, false, true, false, true, true]);
}

/// Shard 0 of two, without the other one's thread.
fn driver<E: Engine>(engine: E, ends: lanes::Ends) -> Driver<E> {
    let parts = Parts {
        id: ShardId(0),
        inbound: ends.inbound,
        outbound: ends.outbound,
        messages: crossbeam_channel::never(),
        commons: Arc::new(commons(&[0, 0])),
        bounds: FlowBounds::default(),
    };
    let ring = Ring::new().unwrap();
    let peer = || lanes::Peer { bell: Bell::new().unwrap(), address: ring.address().unwrap() };
    let peers = Arc::new(vec![peer(), peer()]);
    Driver::new(parts, peers, engine, ring)
}

/// For each frame it takes in, its peer has sent another.
struct Flooded {
    peer: Outbound,
    /// What is written to receivers for each.
    copied_bytes: usize,
    taken: usize,
}

// SAFETY: it has no chunks.
unsafe impl Engine for Flooded {
    type Chunk = Vec<u8>;

    fn step(&mut self, _: Nanos, input: Input<'_>, effects: &mut Effects) {
        let Input::Frame { frame, .. } = input else { return };
        self.taken += 1;
        assert!(self.taken < 100_000, "the turn does not end");
        effects.copied_bytes += self.copied_bytes;
        self.peer.throw(ShardId(0), frame);
    }

    fn take_chunk(&mut self, _: ConnId) -> Option<Vec<u8>> {
        None
    }

    fn recycle(&mut self, _: Vec<u8>) {}

    fn flush_over(&mut self, _: ConnId) {}

    fn deadline(&self) -> Option<Nanos> {
        None
    }

    fn has_work(&self) -> bool {
        false
    }

    fn handed_over(&mut self, _: impl FnMut(Nanos, u64)) {}
}

/// Frames that are taken in one turn while there are always more, after so much was copied already.
fn taken_of_a_flood(before_bytes: usize, copied_bytes: usize) -> usize {
    let mut ends = lanes::lanes(2).into_iter();
    let (own, mut peer) = (ends.next().unwrap(), ends.next().unwrap().outbound);
    for upto in 0..40 {
        peer.throw(ShardId(0), Frame::Fenced { upto });
    }
    let mut driver = driver(Flooded { peer, copied_bytes, taken: 0 }, own);
    driver.effects.copied_bytes = before_bytes;
    assert_eq!(driver.turn().unwrap(), After::Again, "there is more");
    let taken = driver.engine.taken;
    driver.end().unwrap();
    taken
}

#[test]
fn a_flood_from_peers_leaves_room_for_others() {
    assert_eq!(taken_of_a_flood(0, 0), FRAMES_PER_TURN, "what makes nothing to be sent ends too");
    assert_eq!(taken_of_a_flood(0, 1 << 20), 4, "half of what a turn may send");
    assert_eq!(taken_of_a_flood(8 << 20, 1 << 20), 4, "whatever others have taken of it");
}

/// Notes what each connection says, by slot, and who has gone.
#[derive(Default)]
struct Listening {
    taken_bytes: Vec<usize>,
    gone: Vec<ConnId>,
    /// What is written to receivers for each byte.
    copied: usize,
    /// Most of that in one turn.
    copied_most: usize,
}

// SAFETY: it has no chunks.
unsafe impl Engine for Listening {
    type Chunk = Vec<u8>;

    fn step(&mut self, _: Nanos, input: Input<'_>, effects: &mut Effects) {
        match input {
            Input::Open { .. } => self.taken_bytes.push(0),
            Input::Bytes { conn, bytes, .. } => {
                assert!(!self.gone.contains(&conn), "{conn:?} speaks after its end");
                self.taken_bytes[conn.index()] += bytes.len();
                effects.copied_bytes += bytes.len() * self.copied;
                self.copied_most = self.copied_most.max(effects.copied_bytes);
            }
            Input::Hangup { conn, .. } => self.gone.push(conn),
            _ => {}
        }
    }

    fn take_chunk(&mut self, _: ConnId) -> Option<Vec<u8>> {
        None
    }

    fn recycle(&mut self, _: Vec<u8>) {}

    fn flush_over(&mut self, _: ConnId) {}

    fn deadline(&self) -> Option<Nanos> {
        None
    }

    fn has_work(&self) -> bool {
        false
    }

    fn handed_over(&mut self, _: impl FnMut(Nanos, u64)) {}
}

/// A driver that listens, and its clients, which are not open yet: both ends of each.
fn listening(clients: usize, copied: usize) -> (Driver<Listening>, Vec<(TcpStream, TcpStream)>) {
    let engine = Listening { copied, ..Listening::default() };
    let driver = driver(engine, lanes::lanes(2).swap_remove(0));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let pair = |_| (TcpStream::connect(addr).unwrap(), listener.accept().unwrap().0);
    (driver, (0..clients).map(pair).collect())
}

fn open<E: Engine>(driver: &mut Driver<E>, stream: TcpStream) {
    let accepted = Accepted { stream, cid: 1, start_unix_ns: 0, refused: false };
    driver.open(accepted, 0);
}

/// Sends as much as the kernel takes.
fn fill_up(mut client: &TcpStream) {
    let bytes = [b'x'; 64 * 1024];
    while client.write(&bytes).is_ok() {}
}

/// Bytes that each of some clients has been heard to say when it was `bytes` altogether. All have
/// always more to say than all buffers hold.
fn heard_of_each(clients: usize, bytes: usize) -> Vec<usize> {
    let (mut driver, pairs) = listening(clients, 0);
    let mut clients = Vec::new();
    for (client, stream) in pairs {
        client.set_nonblocking(true).unwrap();
        open(&mut driver, stream);
        clients.push(client);
    }
    while driver.engine.taken_bytes.iter().sum::<usize>() < bytes {
        clients.iter().for_each(fill_up);
        if driver.turn().unwrap() == After::Rest {
            driver.rest().unwrap();
        }
    }
    let heard = std::mem::take(&mut driver.engine.taken_bytes);
    driver.end().unwrap();
    heard
}

#[test]
fn those_who_send_more_than_all_buffers_hold_take_turns() {
    // Among the last ones are more than there are large buffers.
    for clients in [2, 3, 20] {
        let heard = heard_of_each(clients, clients * (16 << 20));
        assert!(heard.iter().all(|bytes| *bytes >= 4 << 20), "{heard:?}");
    }
}

/// Waits until the kernel has all that the peer of this socket has said, and its end.
fn await_end(stream: &TcpStream) {
    let mut ended = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one descriptor is looked at.
    assert_eq!(unsafe { libc::poll(&raw mut ended, 1, 60_000) }, 1);
}

#[test]
fn what_was_said_before_an_end_is_taken_in_by_and_by() {
    const SAID_BYTES: usize = 32 * 1024;
    const COPIED: usize = 1_000;
    let (mut driver, pairs) = listening(ENDS_PER_TURN + 3, COPIED);
    let speakers = pairs.len() - 1;
    for (number, (mut client, stream)) in pairs.into_iter().enumerate() {
        if number < speakers {
            client.write_all(&[b'x'; SAID_BYTES]).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        await_end(&stream);
        open(&mut driver, stream);
    }
    driver.ring.submit().unwrap();
    let mut turns = 0;
    while driver.engine.gone.len() <= speakers {
        let after = driver.turn().unwrap();
        turns += 1;
        assert!(turns < 1_000, "{:?}", driver.engine.gone);
        if after == After::Rest && driver.engine.gone.len() <= speakers {
            assert!(driver.received.is_empty() && driver.ends.is_empty());
            driver.rest().unwrap();
        }
    }
    let engine = &driver.engine;
    assert!(engine.copied_most < FlowBounds::default().turn + SLICE_BYTES_MIN * COPIED);
    assert_eq!(engine.taken_bytes[..speakers], vec![SAID_BYTES; speakers]);
    assert!(turns >= SAID_BYTES * speakers * COPIED / engine.copied_most, "{turns} turns");
    driver.end().unwrap();
}

/// A shard whose peer takes all frames there are whenever a lane has room again.
struct Relieved {
    shard: Shard,
    peer: lanes::Inbound,
    times: usize,
}

// SAFETY: its chunks are the shard's.
unsafe impl Engine for Relieved {
    type Chunk = shard::Chunk;

    fn step(&mut self, now: Nanos, input: Input<'_>, effects: &mut Effects) {
        if matches!(input, Input::Room { .. }) {
            self.times += 1;
            self.peer.drain(usize::MAX, |_, _| ());
        }
        self.shard.step(now, input, effects);
    }

    fn take_chunk(&mut self, conn: ConnId) -> Option<shard::Chunk> {
        self.shard.take_chunk(conn)
    }

    fn recycle(&mut self, chunk: shard::Chunk) {
        self.shard.recycle(chunk);
    }

    fn flush_over(&mut self, conn: ConnId) {
        self.shard.flush_over(conn);
    }

    fn deadline(&self) -> Option<Nanos> {
        None
    }

    fn has_work(&self) -> bool {
        self.shard.has_work()
    }

    fn handed_over(&mut self, _: impl FnMut(Nanos, u64)) {}
}

fn shard_of_two(id: u16) -> Shard {
    Shard::new(ShardId(id), 2, Options::default(), ServerInfo::default(), 42, 0)
}

/// A client comes and says this.
fn says(engine: &mut impl Engine, now: Nanos, effects: &mut Effects, slot: u32, text: &str) {
    let (tls, proxied, refused) = (None, false, false);
    let addr = (Ipv4Addr::LOCALHOST, 1).into();
    let conn = ConnId { slot, generation: 1 };
    let peer = Peer { cid: 1, addr, start_unix_ns: 0, refused, tls, proxied };
    engine.step(now, Input::Open { conn, peer }, effects);
    engine.step(now, Input::Bytes { conn, at: now, bytes: b"CONNECT {}\r\n" }, effects);
    engine.step(now, Input::Bytes { conn, at: now, bytes: text.as_bytes() }, effects);
}

#[test]
fn those_who_waited_for_a_peer_that_keeps_up_do_not_make_a_turn_endless() {
    const CLIENTS: u32 = 100;
    const MSGS: usize = 60;
    let mut ends = lanes::lanes(2).into_iter();
    let (own, mut peer) = (ends.next().unwrap(), ends.next().unwrap());
    let mut effects = Effects::new(2);
    says(&mut shard_of_two(1), 0, &mut effects, 0, "SUB a 1\r\n");
    while let Some(frame) = effects.pull(ShardId(0)) {
        peer.outbound.throw(ShardId(0), frame);
    }
    let engine = Relieved { shard: shard_of_two(0), peer: peer.inbound, times: 0 };
    let mut driver = driver(engine, own);
    driver.turn().unwrap();
    let text = format!("PUB a 1000\r\n{}\r\n", "x".repeat(1000)).repeat(MSGS);
    let now = driver.commons.now();
    for slot in 0..CLIENTS {
        says(&mut driver.engine, now, &mut driver.effects, slot, &text);
    }
    let mut most = 0;
    loop {
        driver.engine.times = 0;
        let after = driver.turn().unwrap();
        most = most.max(driver.engine.times);
        if after == After::Rest {
            break;
        }
    }
    assert_eq!(driver.effects.carried_msgs(ShardId(1)), u64::from(CLIENTS) * MSGS as u64);
    assert_eq!(most, 1, "what comes of it is bounded by what may be staged");
    driver.end().unwrap();
}
