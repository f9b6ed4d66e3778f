//! A shard's own io_uring: what may be asked of the kernel, and what it answers.
//!
//! Only the thread that made a ring may use it (SINGLE_ISSUER), and completions come in only when
//! that thread enters the kernel (DEFER_TASKRUN).

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use crate::buffers::{Buffers, Filled, Size};

/// Requests that can be queued between two system calls; more cost one more call.
const QUEUE_ENTRIES: u32 = 512;
/// Completions that can wait to be looked at; the kernel keeps more elsewhere, at a cost.
const COMPLETION_ENTRIES: u32 = 4096;

/// What a request is for; comes back with its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub op: Op,
    /// A connection's slot, or a peer shard.
    pub slot: u32,
    /// The connection's generation, cut to 24 bits.
    pub generation: u32,
}

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// A completion nobody waits for.
    Nothing = 0,
    Accept = 1,
    /// Into small buffers.
    Receive = 2,
    Send = 3,
    /// Somebody has written to the eventfd.
    Bell = 4,
    /// A peer shard sent a message to this ring.
    Rung = 5,
    /// A message to a peer's ring went wrong.
    RingPeer = 6,
    /// Into large buffers.
    ReceiveLarge = 7,
}

impl Op {
    /// Receives into buffers of this size.
    pub fn receive(size: Size) -> Op {
        match size {
            Size::Small => Op::Receive,
            Size::Large => Op::ReceiveLarge,
        }
    }

    fn size(self) -> Size {
        if self == Op::ReceiveLarge { Size::Large } else { Size::Small }
    }
}

const GENERATION_MASK: u32 = 0x00ff_ffff;

impl Tag {
    /// For requests that are not a connection's.
    pub fn of(op: Op, slot: u32) -> Tag {
        Tag { op, slot, generation: 0 }
    }

    /// Does this tag carry that generation?
    pub fn is_generation(self, generation: u32) -> bool {
        self.generation == generation & GENERATION_MASK
    }

    fn to_bits(self) -> u64 {
        u64::from(self.op as u8) << 56
            | u64::from(self.generation & GENERATION_MASK) << 32
            | u64::from(self.slot)
    }

    fn from_bits(bits: u64) -> Tag {
        let op = match (bits >> 56) as u8 {
            1 => Op::Accept,
            2 => Op::Receive,
            3 => Op::Send,
            4 => Op::Bell,
            5 => Op::Rung,
            6 => Op::RingPeer,
            7 => Op::ReceiveLarge,
            _ => Op::Nothing,
        };
        Tag { op, slot: bits as u32, generation: (bits >> 32) as u32 & GENERATION_MASK }
    }
}

/// An answer of the kernel.
#[derive(Debug)]
pub(crate) struct Completion {
    pub tag: Tag,
    /// A count or descriptor, or an error number below zero.
    pub result: i32,
    /// The request goes on and will answer again.
    pub more: bool,
    pub filled: Option<Filled>,
}

impl Completion {
    /// Of a receive: nothing more will come from there.
    pub fn is_end(&self) -> bool {
        let passing = [libc::ENOBUFS, libc::ECANCELED, libc::EINTR, libc::EAGAIN];
        self.result <= 0 && !passing.contains(&-self.result)
    }
}

/// The ring and its receive buffers.
pub(crate) struct Ring {
    io: ManuallyDrop<IoUring>,
    buffers: ManuallyDrop<[Buffers; 2]>,
    /// Buffers of either size that the kernel has.
    free: [usize; 2],
    enters: u64,
    /// Requests of which the kernel may still use memory or descriptors of ours.
    outstanding: usize,
    /// Sends are queued.
    sends: bool,
}

impl Ring {
    /// Makes the ring of the calling thread.
    pub fn new() -> io::Result<Ring> {
        let io = builder().build(QUEUE_ENTRIES)?;
        let small = Buffers::register(&io.submitter(), Size::Small)?;
        let large = Buffers::register(&io.submitter(), Size::Large)?;
        let free = [Size::Small.count().into(), Size::Large.count().into()];
        Ok(Ring {
            io: ManuallyDrop::new(io),
            buffers: ManuallyDrop::new([small, large]),
            free,
            enters: 0,
            outstanding: 0,
            sends: false,
        })
    }

    /// System calls made so far.
    pub fn enters(&self) -> u64 {
        self.enters
    }

    /// A descriptor other rings can send messages to for as long as they like.
    pub fn address(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring's descriptor is open for as long as the ring is.
        unsafe { BorrowedFd::borrow_raw(self.io.as_raw_fd()) }.try_clone_to_owned()
    }

    /// What the kernel put into a buffer.
    pub fn contents(&self, filled: &Filled) -> &[u8] {
        self.buffers[filled.size() as usize].contents(filled)
    }

    /// Lets the kernel have a buffer again.
    pub fn give_back(&mut self, filled: Filled) {
        let size = filled.size() as usize;
        self.free[size] += 1;
        self.buffers[size].give_back(filled);
    }

    /// Receives that would find a buffer now, of the size that has fewer.
    pub fn free_buffers(&self) -> usize {
        self.free[0].min(self.free[1])
    }

    /// Accepts one connection.
    pub fn accept(&mut self, listener: RawFd) {
        let nobody = std::ptr::null_mut();
        let accept = opcode::Accept::new(Fd(listener), nobody, nobody.cast());
        let entry = accept.flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: no memory is involved: the address is not asked for.
        unsafe { self.request(entry, Tag::of(Op::Accept, 0)) };
    }

    /// Receives into the shared buffers until the end, an error, or a lack of buffers. The tag's
    /// operation says into which.
    pub fn receive(&mut self, socket: RawFd, tag: Tag) {
        let entry = opcode::RecvMulti::new(Fd(socket), tag.op.size() as u16).build();
        // SAFETY: the buffers outlive the ring's use of them, see `drop`.
        unsafe { self.request(entry, tag) };
    }

    /// Sends some of `bytes`, as soon as the socket takes any.
    ///
    /// # Safety
    /// The bytes stay where they are and as they are until the completion.
    pub unsafe fn send(&mut self, socket: RawFd, bytes: &[u8], tag: Tag) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry =
            opcode::Send::new(Fd(socket), bytes.as_ptr(), length).flags(libc::MSG_NOSIGNAL).build();
        self.sends = true;
        // SAFETY: the caller keeps the bytes.
        unsafe { self.request(entry, tag) };
    }

    /// Sends wait for the next system call.
    pub fn has_sends(&self) -> bool {
        self.sends
    }

    /// Completes [`Op::Bell`] each time somebody writes to this eventfd.
    pub fn watch(&mut self, eventfd: RawFd) {
        let entry = opcode::PollAdd::new(Fd(eventfd), libc::POLLIN as u32).multi(true).build();
        // SAFETY: no memory is involved.
        unsafe { self.request(entry, Tag::of(Op::Bell, 0)) };
    }

    /// Ends a request early; it completes, with ECANCELED if this was in time.
    pub fn cancel(&mut self, tag: Tag) {
        self.forget(opcode::AsyncCancel::new(tag.to_bits()).build(), Tag::of(Op::Nothing, 0));
    }

    /// Ends every accept early.
    pub fn cancel_accepts(&mut self) {
        let accepts = CancelBuilder::user_data(Tag::of(Op::Accept, 0).to_bits()).all();
        self.forget(opcode::AsyncCancel2::new(accepts).build(), Tag::of(Op::Nothing, 0));
    }

    /// Ends all requests early.
    pub fn cancel_all(&mut self) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.forget(entry, Tag::of(Op::Nothing, 0));
    }

    /// Completes [`Op::Rung`] at a peer; here only if that fails, as [`Op::RingPeer`].
    pub fn ring_peer(&mut self, address: RawFd, peer: u32) {
        let rung = Tag::of(Op::Rung, 0).to_bits();
        let entry = opcode::MsgRingData::new(Fd(address), 0, rung, None).build();
        self.forget(entry.flags(squeue::Flags::SKIP_SUCCESS), Tag::of(Op::RingPeer, peer));
    }

    /// Requests that have not completed.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Queues a request that completes once it is over.
    ///
    /// # Safety
    /// Memory the entry points to stays valid until then.
    unsafe fn request(&mut self, entry: squeue::Entry, tag: Tag) {
        self.outstanding += 1;
        // SAFETY: passed on.
        unsafe { self.push(entry.user_data(tag.to_bits())) };
    }

    /// Queues a request without memory of ours, of which a completion is welcome but not needed.
    fn forget(&mut self, entry: squeue::Entry, tag: Tag) {
        // SAFETY: no memory is involved.
        unsafe { self.push(entry.user_data(tag.to_bits())) };
    }

    /// # Safety
    /// As for [`Ring::request`].
    unsafe fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: passed on.
            if unsafe { self.io.submission().push(&entry) }.is_ok() {
                return;
            }
            // The kernel takes whatever is queued; errors show in the completions.
            if let Err(error) = self.submit() {
                log::error!("io_uring does not take requests: {error}");
            }
        }
    }

    /// Hands queued requests over and lets the kernel finish what it can, without waiting. No
    /// system call if there is nothing to do.
    pub fn submit(&mut self) -> io::Result<()> {
        let submission = self.io.submission();
        let idle = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
        drop(submission);
        if idle { Ok(()) } else { self.gather(0, 0, None) }
    }

    /// As [`Ring::submit`], then sleeps until something has completed or the time is over.
    pub fn wait(&mut self, time: Option<Duration>) -> io::Result<()> {
        self.gather(1, 0, time)
    }

    /// Is there anything to look at, or that the kernel would finish if it were entered?
    pub fn is_ready(&mut self) -> bool {
        !self.io.completion().is_empty() || self.io.submission().taskrun()
    }

    /// Can [`Ring::gather`] be asked of this kernel?
    pub fn can_gather(&self) -> bool {
        self.io.params().is_feature_min_timeout()
    }

    /// As [`Ring::wait`], but a first completion ends it only after `least_us`, or when there are
    /// `want` of them.
    pub fn gather(&mut self, want: u32, least_us: u32, time: Option<Duration>) -> io::Result<()> {
        let queued = self.io.submission().len() as u32;
        let timespec = time.map(Timespec::from);
        let args = SubmitArgs::new().min_wait_usec(least_us);
        let args = timespec.as_ref().map_or(args, |timespec| args.timespec(timespec));
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        self.enters += 1;
        self.sends = false;
        // SAFETY: `queued` entries are in the queue, and EXT_ARG goes with the argument it means.
        let entered = unsafe { self.io.submitter().enter(queued, want, flags.bits(), Some(&args)) };
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) => Ok(()),
            // Timed out, interrupted, short of memory, or completions must be looked at first.
            Err((Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Appends up to `max` completions.
    pub fn completions(&mut self, max: usize, out: &mut Vec<Completion>) {
        for entry in self.io.completion().take(max) {
            let completion = understood(&entry);
            let counted = !matches!(completion.tag.op, Op::Nothing | Op::Rung | Op::RingPeer);
            if let Some(filled) = &completion.filled {
                self.free[filled.size() as usize] -= 1;
            }
            if counted && !completion.more {
                self.outstanding -= 1;
            }
            out.push(completion);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.outstanding > 0 {
            // The kernel may still write to the buffers: leak them and the ring. Never in an
            // orderly end, see `Driver::finished`.
            log::error!("{} requests of a ring were never completed", self.outstanding);
            return;
        }
        let unregistered =
            self.buffers.iter().map(|buffers| buffers.unregister(&self.io.submitter()));
        let unregistered = unregistered.fold(Ok(()), io::Result::and);
        // SAFETY: both are dropped only here. The kernel uses no buffer any more: either it has
        // let go of them, or no request that could use one is left.
        unsafe {
            ManuallyDrop::drop(&mut self.io);
            ManuallyDrop::drop(&mut self.buffers);
        }
        debug_assert!(unregistered.is_ok());
    }
}

/// How every ring is made. The kernel must know all of this.
pub(crate) fn builder() -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder
        .setup_cqsize(COMPLETION_ENTRIES)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_defer_taskrun();
    builder
}

fn understood(entry: &cqueue::Entry) -> Completion {
    let result = entry.result();
    let tag = Tag::from_bits(entry.user_data());
    let bytes = usize::try_from(result).unwrap_or(0);
    // SAFETY: a completion of this ring, looked at once; the tag is the request's own.
    let filled = cqueue::buffer_select(entry.flags())
        .map(|number| unsafe { Filled::new(tag.op.size(), number, bytes) });
    Completion { tag, result, more: cqueue::more(entry.flags()), filled }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_kernel() {
        let tag = Tag { op: Op::Send, slot: 0xdead_beef, generation: 0x00ab_cdef };
        assert_eq!(Tag::from_bits(tag.to_bits()), tag);
        assert!(tag.is_generation(0x77ab_cdef));
        assert!(!tag.is_generation(0x00ab_cdee));
    }
}
