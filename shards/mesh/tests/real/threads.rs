//! Two real threads. Bounded by the number of items, and by a deadline for a machine that has lost
//! one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mesh::{Doorbell, ring};

const PATIENCE: Duration = Duration::from_secs(20);

/// Counts the living, so that a leak and a double drop both show.
struct Item {
    number: u64,
    text: Box<u64>,
    alive: Arc<AtomicUsize>,
}

impl Item {
    fn new(number: u64, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { number, text: Box::new(number * 3), alive: alive.clone() }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

fn send(capacity: usize, count: u64, batch: u64) {
    let alive = Arc::new(AtomicUsize::new(0));
    let (mut sender, mut receiver) = ring(capacity);
    let deadline = Instant::now() + PATIENCE;
    let producer = thread::spawn({
        let alive = alive.clone();
        move || {
            let mut waiting = VecDeque::new();
            let mut next = 0;
            while next < count || !waiting.is_empty() {
                let more = (count - next).min(batch - (waiting.len() as u64).min(batch));
                waiting.extend((next..next + more).map(|number| Item::new(number, &alive)));
                next += more;
                let single =
                    waiting.front().is_some_and(|item: &Item| item.number.is_multiple_of(5));
                let moved = if single {
                    let item = waiting.pop_front().expect("just seen");
                    sender.push(item).map_or_else(|item| waiting.push_front(item), drop);
                    1
                } else {
                    sender.push_all(&mut waiting)
                };
                if moved == 0 || sender.free() == 0 {
                    assert!(Instant::now() < deadline, "the receiver makes no progress");
                    thread::yield_now();
                }
            }
        }
    });
    let mut expected = 0;
    // The last few are left undrained.
    while expected < count.saturating_sub(capacity as u64) {
        let drained = receiver.drain(1 + expected as usize % 40, |item| {
            assert_eq!((item.number, *item.text), (expected, expected * 3));
            expected += 1;
        });
        if drained == 0 {
            assert!(Instant::now() < deadline, "the sender makes no progress");
            thread::yield_now();
        }
    }
    // What is left fits the ring, so the sender ends, and either the ring or a last drain drops it.
    producer.join().expect("the producer");
    if !count.is_multiple_of(2) {
        while receiver.drain(3, drop) > 0 {}
    }
    drop(receiver);
    assert_eq!(alive.load(Ordering::Relaxed), 0, "leaked or dropped twice");
}

#[test]
fn items_cross_in_order_and_are_dropped_once() {
    for (capacity, count, batch) in
        [(1, 20_000, 1), (2, 20_001, 3), (8, 100_000, 5), (64, 200_001, 100), (1024, 200_000, 64)]
    {
        send(capacity, count, batch);
    }
}

/// The consumer sleeps on a channel, which stands for an eventfd: it wakes by a ring or not at all.
#[test]
fn no_wake_up_is_lost() {
    const PRODUCERS: usize = 2;
    const EACH: u64 = 30_000;
    let bell = Arc::new(Doorbell::new());
    let (wake, woken) = mpsc::channel::<()>();
    let mut receivers = Vec::new();
    let mut producers = Vec::new();
    for _ in 0..PRODUCERS {
        let (mut sender, receiver) = ring(16);
        receivers.push(receiver);
        let (bell, wake) = (bell.clone(), wake.clone());
        producers.push(thread::spawn(move || {
            let mut rung = 0;
            for number in 0..EACH {
                let mut item = number;
                while let Err(back) = sender.push(item) {
                    item = back;
                    thread::yield_now();
                }
                if bell.ring() {
                    rung += 1;
                    wake.send(()).expect("the consumer waits for all");
                }
            }
            rung
        }));
    }
    let (mut taken, mut dozes) = (0, 0u64);
    while taken < PRODUCERS as u64 * EACH {
        let drained: usize = receivers.iter_mut().map(|ring| ring.drain(64, |_| {})).sum();
        taken += drained as u64;
        if drained == 0 {
            bell.doze();
            dozes += 1;
            if receivers.iter().all(|ring| ring.is_empty()) {
                woken.recv_timeout(PATIENCE).expect("a push that rang no bell");
            }
            bell.wake_up();
        }
    }
    let rung: u64 = producers.into_iter().map(|producer| producer.join().expect("joins")).sum();
    assert!(rung <= dozes, "{rung} rings for {dozes} dozes");
    println!("{dozes} dozes, {rung} rings for {taken} items");
}
