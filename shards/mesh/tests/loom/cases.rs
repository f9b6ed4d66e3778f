//! Every interleaving of small cases, by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p ringbus-mesh --release`.

use std::collections::VecDeque;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use mesh::{Doorbell, ring};

/// An item in loom's own allocation: loom fails the run if one is leaked or used without order.
type Item = (usize, Arc<()>);

#[test]
fn items_cross_in_order_and_wrap_around() {
    loom::model(|| {
        let (mut sender, mut receiver) = ring::<Item>(2);
        let producer = thread::spawn(move || {
            for number in 0..3 {
                let mut item = (number, Arc::new(()));
                while let Err(back) = sender.push(item) {
                    item = back;
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < 3 {
            let drained = receiver.drain(2, |item| {
                assert_eq!(item.0, expected);
                expected += 1;
            });
            if drained == 0 {
                thread::yield_now();
            }
        }
        producer.join().unwrap();
        assert!(receiver.is_empty());
    });
}

#[test]
fn one_slot_is_handed_back_and_forth() {
    loom::model(|| {
        let (mut sender, mut receiver) = ring::<Item>(1);
        let producer = thread::spawn(move || {
            let mut pushed = 0;
            for number in 0..3 {
                pushed += usize::from(sender.push((pushed, Arc::new(()))).is_ok());
                if number == 1 {
                    thread::yield_now();
                }
            }
            pushed
        });
        let mut taken = 0;
        for _ in 0..2 {
            receiver.drain(1, |item| {
                assert_eq!(item.0, taken);
                taken += 1;
            });
        }
        let pushed = producer.join().unwrap();
        receiver.drain(9, |_| taken += 1);
        assert_eq!(taken, pushed);
    });
}

#[test]
fn batches_are_shown_whole_and_given_back_whole() {
    loom::model(|| {
        let (mut sender, mut receiver) = ring::<Item>(4);
        let producer = thread::spawn(move || {
            let mut items: VecDeque<Item> = (0..5).map(|at| (at, Arc::new(()))).collect();
            assert_eq!(sender.push_all(&mut items), 4);
            let moved = sender.push_all(&mut items);
            assert_eq!(moved + items.len(), 1);
            (sender, moved)
        });
        let waiting = receiver.len();
        assert!(waiting == 0 || waiting >= 4, "a batch shown in part");
        let mut taken = receiver.drain(9, |_| {});
        assert!(taken == 0 || taken >= 4);
        let (mut sender, moved) = producer.join().unwrap();
        taken += receiver.drain(9, |_| {});
        assert_eq!(taken, 4 + moved);
        assert_eq!(sender.free(), 4);
    });
}

/// Either end goes first, at any moment, with items inside. `alive` counts them.
#[test]
fn undrained_items_are_dropped_once() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    loom::model(|| {
        let alive = Arc::new(AtomicUsize::new(3));
        let (mut sender, mut receiver) = ring(4);
        let items = [(); 3].map(|()| Counted(alive.clone()));
        let producer = thread::spawn(move || {
            for item in items {
                assert!(sender.push(item).is_ok());
            }
        });
        receiver.drain(2, drop);
        drop(receiver);
        producer.join().unwrap();
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    });
}

/// Push then ring against doze then look: if the consumer finds nothing, someone rang for it.
fn no_wake_up_is_lost(producers: usize) {
    let bell = Arc::new(Doorbell::new());
    let rung = Arc::new(AtomicUsize::new(0));
    let mut receivers = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..producers {
        let (mut sender, receiver) = ring::<u8>(1);
        receivers.push(receiver);
        let (bell, rung) = (bell.clone(), rung.clone());
        threads.push(thread::spawn(move || {
            sender.push(1).unwrap();
            if bell.ring() {
                rung.fetch_add(1, Ordering::Relaxed);
            }
            sender
        }));
    }
    bell.doze();
    let nothing = receivers.iter().all(|receiver| receiver.is_empty());
    for thread in threads {
        drop(thread.join().unwrap());
    }
    let rung = rung.load(Ordering::Relaxed);
    assert!(rung <= 1, "two producers woke one sleeper");
    assert!(!nothing || rung == 1, "asleep, items waiting, nobody rang");
}

#[test]
fn no_wake_up_is_lost_with_one_producer() {
    loom::model(|| no_wake_up_is_lost(1));
}

#[test]
fn no_wake_up_is_lost_with_two_producers() {
    loom::model(|| no_wake_up_is_lost(2));
}

/// Stands for an eventfd: a write is kept until it is read.
struct Event(Mutex<bool>, Condvar);

impl Event {
    fn write(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }

    fn read(&self) {
        let mut written = self.0.lock().unwrap();
        while !*written {
            written = self.1.wait(written).unwrap();
        }
        *written = false;
    }
}

/// The whole protocol over several naps: if a push is neither seen nor rung for, the consumer waits
/// forever and loom reports the deadlock.
#[test]
fn a_consumer_that_sleeps_gets_everything() {
    loom::model(|| {
        let bell = Arc::new(Doorbell::new());
        let event = Arc::new(Event(Mutex::new(false), Condvar::new()));
        let (mut sender, mut receiver) = ring::<u8>(2);
        let producer = thread::spawn({
            let (bell, event) = (bell.clone(), event.clone());
            move || {
                for item in 0..2 {
                    sender.push(item).unwrap();
                    if bell.ring() {
                        event.write();
                    }
                }
            }
        });
        let mut taken = 0;
        while taken < 2 {
            bell.doze();
            if receiver.is_empty() {
                event.read();
            }
            bell.wake_up();
            taken += receiver.drain(2, |_| {});
        }
        producer.join().unwrap();
    });
}
