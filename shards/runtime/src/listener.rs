//! Where clients come in, and which shard gets each.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};

use shard::Nanos;
use shard::limits::{MILLIS, SECONDS};

use crate::control::Commons;

/// Connections the kernel may have waiting for us.
const BACKLOG: i32 = 4096;
/// The first and the longest pause after accepting has failed.
const PAUSE_NS: Nanos = 10 * MILLIS;
const PAUSE_NS_MAX: Nanos = SECONDS;
/// As nats-server's peers are used to: probes of a silent connection, seconds.
const KEEP_ALIVE_S: i32 = 15;

/// Binds a client port. What is accepted there sends small packets at once and notices dead peers.
pub(crate) fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let listener = bind_any(host, port)?;
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

/// A wildcard of either family means both, where the system has both.
pub(crate) fn bind_any(host: &str, port: u16) -> io::Result<TcpListener> {
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
    armed: bool,
    /// Accepting has failed: not before this.
    retry_at: Option<Nanos>,
    pause_ns: Nanos,
    complained_at: Option<Nanos>,
    cids: u64,
    next_shard: usize,
    connections_max: Option<u64>,
}

impl Listener {
    /// Nothing is accepted before [`Listener::wants_accept`] has been asked and obeyed.
    pub fn new(socket: TcpListener, connections_max: Option<u64>) -> Listener {
        Listener {
            socket: Some(socket),
            armed: false,
            retry_at: None,
            pause_ns: PAUSE_NS,
            complained_at: None,
            cids: 0,
            next_shard: 0,
            connections_max,
        }
    }

    /// The descriptor to start accepting on now, if it is time for that.
    pub fn wants_accept(&mut self, now: Nanos) -> Option<RawFd> {
        let due = self.retry_at.is_none_or(|at| at <= now);
        let socket = self.socket.as_ref().filter(|_| due && !self.armed)?;
        self.armed = true;
        self.retry_at = None;
        Some(socket.as_raw_fd())
    }

    /// The end of a pause.
    pub fn next_due(&self) -> Option<Nanos> {
        self.retry_at
    }

    /// Accepting goes on by itself.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// The accept request is over.
    pub fn disarmed(&mut self) {
        self.armed = false;
    }

    /// Accepting has failed with an error number.
    pub fn failed(&mut self, errno: i32, now: Nanos) {
        if matches!(errno, libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) {
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

    /// No further connections.
    pub fn close(&mut self) {
        self.socket = None;
    }
}
