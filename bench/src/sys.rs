//! The few kernel calls `std` has no safe form of. All `unsafe` of this crate is in this file.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Turns a libc return value into a result.
fn check(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Starts a non-blocking connection to `127.0.0.1:port`, with the host's TCP congestion control or
/// another. It is up once the socket is writable and `take_error` says nothing.
///
/// # Errors
/// Whatever the kernel refuses at once: no descriptors, no local ports, nobody listening, no such
/// congestion control.
pub fn connect(port: u16, congestion: Option<&str>) -> io::Result<TcpStream> {
    let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers are passed; the returned descriptor is checked and owned below.
    let fd = check(unsafe { libc::socket(libc::AF_INET, flags, 0) })?;
    // SAFETY: `fd` was just returned by socket() and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    if let Some(name) = congestion {
        choose_congestion(&socket, name)?;
    }
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: `address` is a live sockaddr_in of exactly `length` bytes.
    let done = unsafe {
        libc::connect(socket.as_raw_fd(), (&raw const address).cast::<libc::sockaddr>(), length)
    };
    match check(done) {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
        _ => Ok(TcpStream::from(socket)),
    }
}

/// Sets a socket's TCP congestion control; what a listener accepts from here on has it too.
///
/// # Errors
/// `NotFound` where the kernel has none of that name, `PermissionDenied` where it is not allowed.
pub fn choose_congestion(socket: &impl AsRawFd, name: &str) -> io::Result<()> {
    let length = name.len() as libc::socklen_t;
    // SAFETY: `name` is live and its exact length is given; the kernel copies it.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_ptr().cast(),
            length,
        )
    })
    .map(|_| ())
}

/// A socket's TCP congestion control.
///
/// # Errors
/// When it is no TCP socket.
pub fn congestion(socket: &impl AsRawFd) -> io::Result<String> {
    // The kernel's names have up to 15 bytes, and a zero.
    let mut name = [0u8; 16];
    let mut length = name.len() as libc::socklen_t;
    // SAFETY: `name` is live, writable, and of `length` bytes; `length` is live and writable.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}

/// Lets more connections wait to be accepted than `std` does, and has them without Nagle's delay.
///
/// # Errors
/// When the kernel refuses either.
pub fn expect_a_crowd(listener: &TcpListener) -> io::Result<()> {
    let (fd, on): (RawFd, libc::c_int) = (listener.as_raw_fd(), 1);
    // SAFETY: no pointers; listening anew changes how many may wait.
    check(unsafe { libc::listen(fd, 4096) })?;
    // SAFETY: `on` is live and its exact size is given; accepted sockets inherit the option.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(|_| ())
}

/// Accepts a connection that does not block, in one call.
///
/// # Errors
/// `WouldBlock` when nobody waits, else what the kernel says.
pub fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let (fd, nobody) = (listener.as_raw_fd(), std::ptr::null_mut());
    // SAFETY: the address is not asked for, so no pointers are passed.
    let fd = check(unsafe { libc::accept4(fd, nobody, std::ptr::null_mut(), flags) })?;
    // SAFETY: `fd` was just returned by accept4() and nobody else owns it.
    Ok(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Lets the calling thread run before all others as soon as it can, so that what it measures is
/// not how busy its neighbours are. Where that is not allowed, it is as it was.
pub fn go_first() {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: `param` is a live sched_param, which the call reads and keeps no pointer to; 0 is the
    // calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) };
}

/// Makes closing the socket send a reset, so that a bench of many connections leaves no ports
/// in TIME_WAIT behind.
///
/// # Errors
/// When the kernel refuses the option.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: `linger` is live and its exact size is given.
    check(unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    })
    .map(|_| ())
}

/// Receives up to `max` bytes and throws them away inside the kernel, without copying them.
/// 0 means the peer has closed.
///
/// # Errors
/// `WouldBlock` when nothing is there, else the socket's error.
pub fn discard(stream: &TcpStream, max: usize) -> io::Result<usize> {
    // SAFETY: for TCP, MSG_TRUNC discards: the kernel never writes through the null pointer.
    let n = unsafe {
        libc::recv(
            stream.as_raw_fd(),
            std::ptr::null_mut(),
            max,
            libc::MSG_TRUNC | libc::MSG_DONTWAIT,
        )
    };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Waits until the socket takes more bytes; false when `patience` ran out.
///
/// # Errors
/// When poll(2) fails for another reason than a signal.
pub fn wait_writable(stream: &TcpStream, patience: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    let patience_ms = patience.as_millis().min(60_000) as libc::c_int;
    // SAFETY: `poll` is one live pollfd and the count says one.
    let ready = check(unsafe { libc::poll(&raw mut poll, 1, patience_ms) })?;
    Ok(ready > 0)
}

/// What a socket is watched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// Bytes to read.
    Read,
    /// Bytes to read, or room to write.
    ReadWrite,
    /// Nothing: the socket stays registered and silent (errors are still told).
    Nothing,
}

/// One thing epoll had to say.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The token the socket was added with.
    pub token: usize,
    /// Something to read, or an end or an error that reading will show.
    pub readable: bool,
    /// Room to write.
    pub writable: bool,
}

/// A level-triggered epoll instance.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is checked and then owned here alone.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024] })
    }

    fn control(&self, op: libc::c_int, fd: RawFd, token: usize, watch: Watch) -> io::Result<()> {
        let events = match watch {
            Watch::Read => libc::EPOLLIN,
            Watch::ReadWrite => libc::EPOLLIN | libc::EPOLLOUT,
            Watch::Nothing => 0,
        };
        let mut event = libc::epoll_event { events: events as u32, u64: token as u64 };
        // SAFETY: `event` is live for the call and the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd, &raw mut event) }).map(|_| ())
    }

    /// Starts watching a socket.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add(&self, socket: &impl AsRawFd, token: usize, watch: Watch) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket.as_raw_fd(), token, watch)
    }

    /// Changes what a socket is watched for.
    ///
    /// # Errors
    /// When the socket was never added.
    pub fn change(&self, socket: &impl AsRawFd, token: usize, watch: Watch) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket.as_raw_fd(), token, watch)
    }

    /// Stops watching a socket; one that is not watched is no error.
    pub fn remove(&self, socket: &impl AsRawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, socket.as_raw_fd(), 0, Watch::Nothing);
    }

    /// Waits at most `patience` (to the nanosecond; zero only looks) and fills `ready`.
    ///
    /// # Errors
    /// When the kernel refuses; a signal is an empty answer.
    pub fn wait(&mut self, patience: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let timeout = libc::timespec {
            tv_sec: patience.as_secs() as libc::time_t,
            tv_nsec: patience.subsec_nanos() as libc::c_long,
        };
        // SAFETY: the buffer holds `events.len()` entries, `timeout` is live, and a null signal
        // mask (size ignored) leaves the mask as it is.
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                8usize,
            )
        };
        if n < 0 {
            let e = io::Error::last_os_error();
            return if e.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(e) };
        }
        let bad = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        ready.extend(self.events[..n as usize].iter().map(|event| {
            let (bits, token) = (event.events, event.u64);
            Ready {
                token: token as usize,
                readable: bits & (libc::EPOLLIN as u32 | bad) != 0,
                writable: bits & (libc::EPOLLOUT as u32 | bad) != 0,
            }
        }));
        Ok(())
    }
}

/// Confines the calling thread, and the children it starts from here on, to these cores.
///
/// # Errors
/// When one of them does not exist or is not allowed.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores {
        if core >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: `core` is below CPU_SETSIZE, so the bit is inside the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: `set` is live and its exact size is given; 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })
        .map(|_| ())
}

/// The cores the calling thread may run on.
///
/// # Errors
/// When the kernel has more cores than a cpu_set_t.
pub fn cores() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is live, writable, and its exact size is given.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    // SAFETY: every index is below CPU_SETSIZE.
    let allowed = |core: &usize| unsafe { libc::CPU_ISSET(*core, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(allowed).collect())
}

/// CPU time in ns all threads of process `pid` have used so far, threads that have ended
/// included: what adding up every thread's schedstat gives, in one call.
///
/// # Errors
/// When there is no such process.
pub fn process_cpu_ns(pid: u32) -> io::Result<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is live and writable.
    let code = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is live and writable.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Raises the soft limit of open files to the hard one, for us and our children; gives the limit.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is live and writable.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is live.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

/// Asks a process to end (SIGTERM). A process already gone is no error.
pub fn terminate(pid: u32) {
    // SAFETY: no pointers; the pid is that of a process this program started.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn discarded_bytes_are_counted_exactly() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect(listener.local_addr().unwrap().port(), None).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(&[7u8; 10_000]).unwrap();
        drop(peer);
        let mut total = 0;
        loop {
            match discard(&stream, 4096) {
                Ok(0) => break,
                Ok(n) => total += n,
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(total, 10_000);
    }

    #[test]
    fn what_is_accepted_neither_blocks_nor_delays() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        expect_a_crowd(&listener).unwrap();
        let _peer = connect(listener.local_addr().unwrap().port(), None).unwrap();
        let stream = accept(&listener).unwrap();
        assert!(stream.nodelay().unwrap());
        let blocked = discard_nothing(&stream);
        assert_eq!(blocked.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn both_ends_have_the_congestion_control_that_was_chosen() {
        let host = crate::machine::Machine::read().congestion.unwrap();
        // Every kernel has reno; where it is the host's too, this shows less.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ends = |congestion| {
            let near = connect(port, congestion).unwrap();
            let (far, _) = listener.accept().unwrap();
            [congestion_of(&near), congestion_of(&far)]
        };
        assert_eq!(ends(Some("reno")), ["reno", &host]);
        assert_eq!(ends(None), [&*host, &*host]);
        choose_congestion(&listener, "reno").unwrap();
        assert_eq!(ends(None), [&*host, "reno"]);
    }

    fn congestion_of(socket: &TcpStream) -> String {
        congestion(socket).unwrap()
    }

    fn discard_nothing(mut stream: &TcpStream) -> io::Result<usize> {
        std::io::Read::read(&mut stream, &mut [0])
    }

    #[test]
    fn own_cpu_time_grows() {
        let before = process_cpu_ns(std::process::id()).unwrap();
        let mut x = 1u64;
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(30) {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(process_cpu_ns(std::process::id()).unwrap() > before);
    }

    #[test]
    fn pinning_to_what_is_allowed_works_and_to_nothing_does_not() {
        let allowed = cores().unwrap();
        assert!(!allowed.is_empty());
        pin(&allowed).unwrap();
        assert!(pin(&[]).is_err());
    }
}
