//! Memory the kernel receives into: rings of buffers all connections of a shard share.
//!
//! Few enough to stay in a core's own cache, because each is parsed at once and given back. One
//! receive takes one buffer, however little comes: so there are many small ones for connections
//! that say little at a time, and a few large ones for those that fill them.

use std::alloc::{self, Layout};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::{Submitter, types::BufRingEntry};

/// A group of buffers of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Size {
    Small = 0,
    Large = 1,
}

impl Size {
    /// Buffers of a shard; a power of two.
    pub const fn count(self) -> u16 {
        match self {
            Size::Small => 128,
            Size::Large => 16,
        }
    }

    /// Bytes of one buffer.
    pub const fn bytes(self) -> usize {
        match self {
            Size::Small => 4 * 1024,
            Size::Large => BUFFER_BYTES_MAX,
        }
    }
}

/// Bytes of the largest buffer.
pub(crate) const BUFFER_BYTES_MAX: usize = 64 * 1024;

const PAGE_BYTES: usize = 4096;

/// The buffers of one size, and the ring through which the kernel is given them.
pub(crate) struct Buffers {
    size: Size,
    entries: Pages,
    area: Pages,
    tail: u16,
}

/// A buffer the kernel has filled. Must be given back, or the kernel has one less.
#[derive(Debug)]
#[must_use]
pub(crate) struct Filled {
    size: Size,
    number: u16,
    bytes: usize,
}

impl Filled {
    /// What a completion said: buffer `number` of this size holds `bytes` bytes.
    ///
    /// # Safety
    /// It came from a completion of the ring these buffers are registered with, of a request that
    /// named this size, and only one `Filled` is made of each completion.
    pub unsafe fn new(size: Size, number: u16, bytes: usize) -> Filled {
        Filled { size, number, bytes: bytes.min(size.bytes()) }
    }

    /// Which buffers it is one of.
    pub fn size(&self) -> Size {
        self.size
    }

    /// How much there is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Buffers {
    /// Allocates the buffers and registers them, all free, as the group of their size.
    pub fn register(submitter: &Submitter<'_>, size: Size) -> io::Result<Buffers> {
        let entries = Pages::new(usize::from(size.count()) * size_of::<BufRingEntry>());
        let area = Pages::new(usize::from(size.count()) * size.bytes());
        let address = entries.start.as_ptr() as u64;
        let group = size as u16;
        // SAFETY: `entries` has room for `count` entries, and lives until `unregister`.
        unsafe { submitter.register_buf_ring_with_flags(address, size.count(), group, 0)? };
        let mut buffers = Buffers { size, entries, area, tail: 0 };
        for number in 0..size.count() {
            buffers.offer(number);
        }
        Ok(buffers)
    }

    /// Takes the buffers away from the kernel. None is used by it afterwards.
    pub fn unregister(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        submitter.unregister_buf_ring(self.size as u16)
    }

    /// What the kernel put into a buffer.
    pub fn contents(&self, filled: &Filled) -> &[u8] {
        debug_assert_eq!(filled.size, self.size);
        // SAFETY: the kernel has handed over this buffer (`Filled::new`), of which at least
        // `filled.bytes` are initialised, and does not touch it until `give_back`, which takes the
        // `Filled`; offsets below the number of buffers times their size are inside the area.
        unsafe {
            let offset = usize::from(filled.number) * self.size.bytes();
            let start = self.area.start.as_ptr().add(offset);
            std::slice::from_raw_parts(start, filled.bytes)
        }
    }

    /// Lets the kernel have a buffer again.
    pub fn give_back(&mut self, filled: Filled) {
        self.offer(filled.number);
    }

    fn offer(&mut self, number: u16) {
        debug_assert!(number < self.size.count());
        let base = self.entries.start.as_ptr().cast::<BufRingEntry>();
        let index = usize::from(self.tail & (self.size.count() - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `index` is within the entries, the kernel reads an entry only once the
        // tail has passed it, and the tail lies in the first entry's reserved half-word, where the
        // kernel reads it as a u16 at any time.
        unsafe {
            let entry = &mut *base.add(index);
            let start = self.area.start.as_ptr().add(usize::from(number) * self.size.bytes());
            entry.set_addr(start as u64);
            entry.set_len(self.size.bytes() as u32);
            entry.set_bid(number);
            let tail = BufRingEntry::tail(base).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

/// Zeroed memory on page bounds.
struct Pages {
    start: NonNull<u8>,
    layout: Layout,
}

impl Pages {
    fn new(bytes: usize) -> Pages {
        let layout = Layout::from_size_align(bytes.next_multiple_of(PAGE_BYTES), PAGE_BYTES)
            .expect("a small number of whole pages");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => Pages { start, layout },
            None => alloc::handle_alloc_error(layout),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}
