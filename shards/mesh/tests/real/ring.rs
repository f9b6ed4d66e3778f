//! The ring on one thread: order, bounds, wrapping, and who drops what.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mesh::{Counter, Doorbell, Padded, Receiver, Sender, ring};

fn drained<T>(receiver: &mut Receiver<T>, max: usize) -> Vec<T> {
    let mut items = Vec::new();
    let count = receiver.drain(max, |item| items.push(item));
    assert_eq!(count, items.len());
    items
}

#[test]
fn items_come_out_in_order_through_every_slot() {
    for capacity in [1, 2, 4, 8, 64] {
        let (mut sender, mut receiver) = ring::<u64>(capacity);
        assert_eq!((sender.capacity(), receiver.capacity()), (capacity, capacity));
        let (mut pushed, mut taken) = (0, 0);
        for step in 0..500 {
            let free = capacity - (pushed - taken) as usize;
            let count = (step * 7 % (capacity + 2)) as u64;
            for number in 0..count {
                let expected = if number < free as u64 { Ok(()) } else { Err(pushed) };
                assert_eq!(sender.push(pushed), expected);
                pushed += u64::from(expected.is_ok());
            }
            assert_eq!(receiver.len(), (pushed - taken) as usize);
            assert_eq!(receiver.is_empty(), pushed == taken);
            let max = step * 5 % (capacity + 2);
            let items = drained(&mut receiver, max);
            assert_eq!(items.len(), max.min((pushed - taken) as usize));
            for item in items {
                assert_eq!(item, taken);
                taken += 1;
            }
            assert_eq!(sender.free(), capacity - (pushed - taken) as usize);
        }
        assert!(pushed > 200);
    }
}

#[test]
fn push_all_moves_what_fits_and_leaves_the_rest() {
    let (mut sender, mut receiver) = ring(8);
    // A deque whose content wraps around inside it.
    let mut items: VecDeque<u32> = (0..16).collect();
    items.drain(..10);
    items.extend(16..26);
    assert_eq!(sender.push_all(&mut items), 8);
    assert_eq!(items, (18..26).collect::<Vec<_>>());
    assert_eq!(sender.push_all(&mut items), 0);
    assert_eq!(drained(&mut receiver, 3), [10, 11, 12]);
    assert_eq!(sender.push_all(&mut items), 3);
    assert_eq!(drained(&mut receiver, usize::MAX), [13, 14, 15, 16, 17, 18, 19, 20]);
    assert_eq!(sender.push_all(&mut items), 5);
    assert!(items.is_empty());
    assert_eq!(sender.push_all(&mut items), 0);
    assert_eq!(drained(&mut receiver, usize::MAX), [21, 22, 23, 24, 25]);
    assert_eq!(drained(&mut receiver, usize::MAX), [0; 0]);
}

#[test]
fn nothing_is_shown_or_given_back_halfway() {
    let (mut sender, mut receiver) = ring(4);
    assert_eq!(sender.push_all(&mut (0..4).collect()), 4);
    let mut full_while_draining = 0;
    receiver.drain(4, |_| full_while_draining += usize::from(sender.free() == 0));
    assert_eq!(full_while_draining, 4);
    assert_eq!(sender.free(), 4);
}

/// Push and take some, drop the ends in either order, and count what is dropped.
fn drops(pushed: usize, taken: usize, sender_first: bool) {
    let item = Arc::new(());
    let (mut sender, mut receiver) = ring(4);
    // Start in the middle of the slots, so that the rest wraps around.
    for _ in 0..3 {
        assert!(sender.push(item.clone()).is_ok());
    }
    receiver.drain(3, drop);
    for _ in 0..pushed {
        assert!(sender.push(item.clone()).is_ok());
    }
    assert_eq!(receiver.drain(taken, drop), taken);
    assert_eq!(Arc::strong_count(&item), 1 + pushed - taken);
    if sender_first {
        drop(sender);
        assert_eq!(
            Arc::strong_count(&item),
            1 + pushed - taken,
            "waiting items outlive the sender"
        );
        drop(receiver);
    } else {
        drop(receiver);
        drop(sender);
    }
    assert_eq!(Arc::strong_count(&item), 1, "{pushed} pushed, {taken} taken");
}

#[test]
fn undrained_items_are_dropped_once() {
    for pushed in 0..=4 {
        for taken in 0..=pushed {
            drops(pushed, taken, true);
            drops(pushed, taken, false);
        }
    }
}

#[test]
fn a_receiver_drains_what_a_dropped_sender_left() {
    let (mut sender, mut receiver) = ring(4);
    assert_eq!(sender.push_all(&mut VecDeque::from(["a", "b"])), 2);
    drop(sender);
    assert_eq!(drained(&mut receiver, 9), ["a", "b"]);
}

#[test]
fn a_panic_while_draining_takes_only_what_was_handed_over() {
    let item = Arc::new(());
    let (mut sender, mut receiver) = ring(4);
    for number in 0..4 {
        assert!(sender.push((number, item.clone())).is_ok());
    }
    let mut seen = Vec::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        receiver.drain(4, |(number, _item)| {
            seen.push(number);
            assert!(number < 1, "as the test wants");
        })
    }));
    assert!(outcome.is_err());
    assert_eq!(seen, [0, 1]);
    assert_eq!(Arc::strong_count(&item), 3);
    assert_eq!((receiver.len(), sender.free()), (2, 2));
    receiver.drain(4, |(number, _item)| seen.push(number));
    assert_eq!(seen, [0, 1, 2, 3]);
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn items_without_size_are_counted() {
    let (mut sender, mut receiver) = ring(2);
    assert_eq!((sender.push(()), sender.push(()), sender.push(())), (Ok(()), Ok(()), Err(())));
    assert_eq!(drained(&mut receiver, 5).len(), 2);
}

#[test]
#[should_panic(expected = "not a power of two")]
fn an_odd_capacity_is_refused() {
    let _ = ring::<u8>(3);
}

#[test]
#[should_panic(expected = "not a power of two")]
fn no_capacity_is_refused() {
    let _ = ring::<u8>(0);
}

#[test]
fn the_ends_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Sender<std::cell::Cell<u8>>>();
    is_send::<Receiver<std::cell::Cell<u8>>>();
}

#[test]
fn the_doorbell_answers_once_per_doze() {
    let bell = Doorbell::new();
    assert!(!bell.ring(), "awake at first");
    bell.doze();
    assert!(bell.ring());
    assert!(!bell.ring());
    bell.wake_up();
    assert!(!bell.ring());
    bell.doze();
    bell.wake_up();
    assert!(!bell.ring(), "woke up by itself");
    bell.doze();
    assert!(bell.ring());
}

#[test]
fn counters_count_and_have_lines_of_their_own() {
    #[derive(Default)]
    struct Report {
        messages: Counter,
        connections: Counter,
    }
    let report = Padded::<Report>::default();
    report.messages.add(5);
    report.messages.add(2);
    report.connections.set(10);
    report.connections.sub(4);
    assert_eq!((report.messages.value(), report.connections.value()), (7, 6));
    assert_eq!(Counter::new(3).value(), 3);
    assert_eq!((size_of::<Padded<Report>>(), align_of::<Padded<Report>>()), (128, 128));
}
