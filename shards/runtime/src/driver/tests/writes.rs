use super::*;

/// Sends back what it is sent, and what the test puts there.
#[derive(Default)]
struct Echo {
    waiting: Vec<u8>,
    driven: bool,
    taken: Vec<Vec<u8>>,
}

// SAFETY: the bytes of a `Vec` are on the heap, and nobody changes those of one given away.
unsafe impl Engine for Echo {
    type Chunk = Vec<u8>;

    fn step(&mut self, _: Nanos, input: Input<'_>, effects: &mut Effects) {
        let Input::Bytes { conn, bytes, .. } = input else { return };
        self.waiting.extend(bytes);
        if !std::mem::replace(&mut self.driven, true) {
            effects.dirty.push(conn);
        }
    }

    fn take_chunk(&mut self, _: ConnId) -> Option<Vec<u8>> {
        self.driven = !self.waiting.is_empty();
        let chunk = self.driven.then(|| std::mem::take(&mut self.waiting));
        self.taken.extend(chunk.clone());
        chunk
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

/// A turn that begins when the kernel has done all of this.
fn turn_after(driver: &mut Driver<Echo>, done: &[Op]) {
    let mut completions = Vec::new();
    while !done.iter().all(|op| completions.iter().any(|it: &Completion| it.tag.op == *op)) {
        driver.ring.wait(None).unwrap();
        driver.ring.completions(8, &mut completions);
    }
    let now = driver.commons.now();
    for completion in completions {
        match completion.tag.op {
            Op::Send => driver.on_sent(&completion, now),
            _ => driver.on_received(completion, now),
        }
    }
    driver.turn().unwrap();
}

#[test]
fn what_waited_for_a_write_leaves_with_what_the_turn_brings() {
    let mut driver = driver(Echo::default(), lanes::lanes(2).swap_remove(0));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    open(&mut driver, stream);
    driver.turn().unwrap();
    peer.write_all(b"a").unwrap();
    turn_after(&mut driver, &[Op::Receive]);
    assert_eq!(driver.engine.taken, [b"a"]);
    // It came while `a` was being written.
    driver.engine.waiting.push(b'b');
    peer.write_all(b"c").unwrap();
    turn_after(&mut driver, &[Op::Send, Op::Receive]);
    assert_eq!(driver.engine.taken, [&b"a"[..], b"bc"]);
    driver.end().unwrap();
}
