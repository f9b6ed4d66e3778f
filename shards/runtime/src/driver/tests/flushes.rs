use std::io::Read;
use std::thread;

use shard::{Close, CloseReason};

use super::*;

/// Has so many chunks for whoever comes, and is done with it.
struct Parting {
    waiting: usize,
    /// Chunks that the driver has.
    out: usize,
    /// How many chunks were waiting when each flush was over.
    over: Vec<(ConnId, usize)>,
}

// SAFETY: a `Vec`'s bytes stay where they are, and nobody else has it.
unsafe impl Engine for Parting {
    type Chunk = Vec<u8>;

    fn step(&mut self, _: Nanos, input: Input<'_>, effects: &mut Effects) {
        if let Input::Open { conn, .. } = input {
            let reason = CloseReason::ServerShutdown;
            effects.closes.push(Close { conn, reason, flush: true });
        }
    }

    fn take_chunk(&mut self, _: ConnId) -> Option<Vec<u8>> {
        self.waiting = self.waiting.checked_sub(1)?;
        self.out += 1;
        Some(vec![b'x'; 1 << 20])
    }

    fn recycle(&mut self, _: Vec<u8>) {
        self.out -= 1;
    }

    fn flush_over(&mut self, conn: ConnId) {
        self.over.push((conn, self.waiting));
    }

    fn deadline(&self) -> Option<Nanos> {
        None
    }

    fn has_work(&self) -> bool {
        false
    }

    fn handed_over(&mut self, _: impl FnMut(Nanos, u64)) {}
}

/// How many chunks of `waiting` are left when a flush is over. `peer` gives back its socket if it
/// stays.
fn left_by_a_flush(
    waiting: usize,
    peer: impl FnOnce(TcpStream) -> Option<TcpStream> + Send + 'static,
) -> usize {
    let engine = Parting { waiting, out: 0, over: Vec::new() };
    let mut driver = driver(engine, lanes::lanes(2).swap_remove(0));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    open(&mut driver, stream);
    let peer = thread::spawn(move || peer(client));
    while driver.sockets.live() > 0 {
        assert!(driver.commons.now() < 20 * SECONDS, "the connection does not end");
        if driver.turn().unwrap() == After::Rest && driver.sockets.live() > 0 {
            driver.rest().unwrap();
        }
    }
    drop(peer.join().unwrap());
    assert_eq!(driver.engine.out, 0, "every chunk is taken back");
    let over = std::mem::take(&mut driver.engine.over);
    driver.end().unwrap();
    assert_eq!(over.len(), 1, "the engine hears of it once");
    over[0].1
}

#[test]
fn the_engine_hears_when_a_flush_is_over() {
    let all = left_by_a_flush(3, |mut client| {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 3 << 20);
        None
    });
    assert_eq!(all, 0, "all is written");
    let reset = left_by_a_flush(64, |mut client| {
        client.read_exact(&mut [0; 1]).unwrap();
        None
    });
    assert!(reset > 0, "the peer has gone without reading it");
    let late = left_by_a_flush(64, Some);
    assert!(late > 0, "the peer has not read it in time");
}
