//! Where clients come in, and which shard gets each.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use shard::Nanos;
use shard::limits::{MILLIS, SECONDS};

use crate::control::Commons;

/// Connections the kernel may have waiting for us.
const BACKLOG: i32 = 4096;
/// Accepts under way at a time, which is how many clients one turn lets in at most: those that are
/// there already wait for a turn at most.
const ACCEPTS_AT_ONCE: usize = 4;
/// The first and the longest pause after accepting has failed.
const PAUSE_NS: Nanos = 10 * MILLIS;
const PAUSE_NS_MAX: Nanos = SECONDS;
/// As nats-server's peers are used to: probes of a silent connection, seconds.
const KEEP_ALIVE_S: i32 = 15;

/// How long a port that is taken is asked for, and how often.
const BIND_PATIENCE: Duration = Duration::from_millis(500);
const BIND_RETRY: Duration = Duration::from_millis(5);

/// Binds a client port. What is accepted there sends small packets at once and notices dead peers.
pub(crate) fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let listener = bind_patiently(host, port)?;
    let fd = listener.as_raw_fd();
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, KEEP_ALIVE_S)?;
    set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, KEEP_ALIVE_S)?;
    // SAFETY: no memory is involved. A second listen changes the backlog only.
    if unsafe { libc::listen(fd, BACKLOG) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(listener)
}

/// The sockets of an io_uring outlive a killed process by some milliseconds: its successor waits.
pub(crate) fn bind_patiently(host: &str, port: u16) -> io::Result<TcpListener> {
    let give_up = Instant::now() + BIND_PATIENCE;
    loop {
        match bind_any(host, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                std::thread::sleep(BIND_RETRY);
            }
            result => return result,
        }
    }
}

/// A wildcard of either family means both, where the system has both.
fn bind_any(host: &str, port: u16) -> io::Result<TcpListener> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if matches!(host, "" | "0.0.0.0" | "::") {
        return TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|error| {
            match error.raw_os_error() {
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => {
                    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
                }
                _ => Err(error),
            }
        });
    }
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    TcpListener::bind(&addresses[..])
}

/// As an operator would write it.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn set(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` is an i32 of `length` bytes, read during the call only.
    let done = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The listening socket on the shard that accepts.
pub(crate) struct Listener {
    socket: Option<TcpListener>,
    /// Accepts under way.
    accepts: usize,
    /// Accepting has failed: not before this.
    retry_at: Option<Nanos>,
    pause_ns: Nanos,
    complained_at: Option<Nanos>,
    cids: u64,
    next_shard: usize,
    connections_max: Option<u64>,
}

impl Listener {
    /// Nothing is accepted before [`Listener::wants_accepts`] has been asked and obeyed.
    pub fn new(socket: TcpListener, connections_max: Option<u64>) -> Listener {
        Listener {
            socket: Some(socket),
            accepts: 0,
            retry_at: None,
            pause_ns: PAUSE_NS,
            complained_at: None,
            cids: 0,
            next_shard: 0,
            connections_max,
        }
    }

    /// The descriptor to accept on now, and how often, if it is time for that.
    pub fn wants_accepts(&mut self, now: Nanos) -> Option<(RawFd, usize)> {
        let due = self.retry_at.is_none_or(|at| at <= now);
        let wanted = ACCEPTS_AT_ONCE - self.accepts;
        let socket = self.socket.as_ref().filter(|_| due && wanted > 0)?;
        self.accepts = ACCEPTS_AT_ONCE;
        self.retry_at = None;
        Some((socket.as_raw_fd(), wanted))
    }

    /// The end of a pause.
    pub fn next_due(&self) -> Option<Nanos> {
        self.retry_at
    }

    /// Some accepts are under way.
    pub fn is_accepting(&self) -> bool {
        self.accepts > 0
    }

    /// One accept is over.
    pub fn accept_over(&mut self) {
        self.accepts -= 1;
    }

    /// Accepting has failed with an error number.
    pub fn failed(&mut self, errno: i32, now: Nanos) {
        if matches!(errno, libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) {
            return;
        }
        // Those that were under way together fail together.
        if self.retry_at.is_some() {
            return;
        }
        if self.complained_at.is_none_or(|at| now >= at + SECONDS) {
            self.complained_at = Some(now);
            let error = io::Error::from_raw_os_error(errno);
            let pause_ms = self.pause_ns / MILLIS;
            log::error!("Temporary Client Accept Error({error}), sleeping {pause_ms}ms");
        }
        self.retry_at = Some(now + self.pause_ns);
        self.pause_ns = (self.pause_ns * 2).min(PAUSE_NS_MAX);
    }

    /// A connection has come in: its number, its shard, and whether it is one too many. Counts it.
    pub fn place(&mut self, commons: &Commons) -> (u64, usize, bool) {
        self.pause_ns = PAUSE_NS;
        self.cids += 1;
        let shards = commons.open.len();
        let open = |shard: usize| commons.open[shard].value();
        let all_open = (0..shards).map(open).sum::<u64>();
        let refused = self.connections_max.is_some_and(|max| all_open >= max);
        // Among equals the next in turn.
        let in_turn = |shard: usize| (shard + shards - self.next_shard) % shards;
        let rank = |shard: &usize| (open(*shard), in_turn(*shard));
        let shard = (0..shards).min_by_key(rank).unwrap_or(0);
        self.next_shard = (shard + 1) % shards;
        if !refused {
            commons.open[shard].add(1);
        }
        (self.cids, shard, refused)
    }

    /// How many may be open from here on.
    pub fn set_connections_max(&mut self, max: Option<u64>) {
        self.connections_max = max;
    }

    /// No further connections.
    pub fn close(&mut self) {
        self.socket = None;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use crossbeam_channel::bounded;
    use mesh::{Counter, Padded};

    use super::*;
    use crate::control::{Answers, Mailbox};
    use crate::identity::desk::Desk;
    use crate::lanes::{Bell, eventfd};
    use crate::logins::Logins;
    use crate::proofs::Proofs;

    pub(crate) fn commons(open: &[u64]) -> Commons {
        let mailbox = || Mailbox { messages: bounded(1).0, bell: Bell::new().unwrap() };
        let (answers, ..) = Answers::new(1, Arc::new(eventfd().unwrap()));
        Commons {
            origin: Instant::now(),
            mailboxes: open.iter().map(|_| mailbox()).collect(),
            open: open.iter().map(|open| Padded(Counter::new(*open))).collect(),
            dropped: Arc::default(),
            answers,
            proofs: Proofs::start(&[]).unwrap(),
            logins: Logins::start(
                Desk::open(Default::default(), Default::default()).unwrap(),
                None,
                &[],
            )
            .unwrap(),
            spin_ns: 0,
            gather_ns: 0,
        }
    }

    fn listener(connections_max: Option<u64>) -> Listener {
        Listener::new(bind("127.0.0.1", 0).unwrap(), connections_max)
    }

    #[test]
    fn the_least_loaded_shard_is_next_and_equals_take_turns() {
        let mut listener = listener(None);
        let commons = commons(&[3, 1, 2, 1]);
        let shards: Vec<usize> = (0..9).map(|_| listener.place(&commons).1).collect();
        assert_eq!(shards, [1, 3, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(listener.place(&commons), (10, 0, false), "numbers count all of them");
    }

    #[test]
    fn one_too_many_is_refused_and_does_not_count() {
        let mut listener = listener(Some(3));
        let commons = commons(&[1, 1]);
        assert!(!listener.place(&commons).2);
        assert!(listener.place(&commons).2);
        assert!(listener.place(&commons).2);
        commons.open[0].sub(1);
        assert!(!listener.place(&commons).2);
    }

    #[test]
    fn pauses_grow_while_accepting_fails_and_end_with_a_success() {
        let mut listener = listener(None);
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            fail_together(&mut listener, now);
            let at = listener.next_due().expect("a pause");
            assert!(listener.wants_accepts(at - 1).is_none(), "too early");
            pauses.push((at - now) / MILLIS);
            now = at;
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        listener.place(&commons(&[0]));
        fail_together(&mut listener, now);
        assert_eq!(listener.next_due(), Some(now + PAUSE_NS));
    }

    fn fail_together(listener: &mut Listener, now: Nanos) {
        let (_, accepts) = listener.wants_accepts(now).expect("it is time");
        assert!(listener.wants_accepts(now).is_none(), "they are under way");
        for _ in 0..accepts {
            listener.accept_over();
            listener.failed(libc::EMFILE, now);
        }
    }

    #[test]
    fn a_few_are_let_in_at_once_and_each_makes_room_for_another() {
        let mut listener = listener(None);
        assert_eq!(listener.wants_accepts(0).map(|(_, accepts)| accepts), Some(ACCEPTS_AT_ONCE));
        listener.accept_over();
        listener.accept_over();
        assert_eq!(listener.wants_accepts(0).map(|(_, accepts)| accepts), Some(2));
        assert!(listener.wants_accepts(0).is_none());
    }

    #[test]
    fn a_wildcard_reads_as_an_operator_writes_it() {
        let plain = |text: &str| plain(text.parse().unwrap()).to_string();
        assert_eq!(plain("[::]:4222"), "0.0.0.0:4222");
        assert_eq!(plain("[::ffff:10.0.0.7]:4222"), "10.0.0.7:4222");
        assert_eq!(plain("[::1]:4222"), "[::1]:4222");
    }
}
