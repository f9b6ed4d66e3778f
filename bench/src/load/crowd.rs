//! Many connections: how dear they are to make, and to hold.

use super::churner::control;
use super::dial::{Door, Greeting, dial, greeting};
use super::inbox::Inbox;
use super::stream::Stream;
use super::timing;
use crate::probe::{self, Mark};
use crate::sys::{Epoll, Ready, Watch};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Time between two looks at which PINGs are due.
const NAP: Duration = Duration::from_millis(2);

/// What a crowd of connections cost.
pub struct Crowd {
    /// Connections made.
    pub connections: u64,
    /// Seconds they took, or were held.
    pub seconds: f64,
    /// CPU ns of the server meanwhile.
    pub server_cpu_ns: u64,
    /// Bytes of the server's memory that came with them.
    pub memory_bytes: u64,
    /// Cores' worth of other programs' work meanwhile.
    pub others_busy: f64,
    /// Share of the time this process was at work.
    pub generator_busy: f64,
    /// ns from connect to PONG of each.
    pub latencies: Histogram<u64>,
    /// What went wrong while they were held.
    pub faults: Vec<String>,
}

impl Crowd {
    /// As if they had been one. What each connection takes of memory stays as it was: the first
    /// crowd has left its memory to the others.
    pub fn add(&mut self, later: &Self) {
        let share = |own: f64, other: f64| {
            (own * self.seconds + other * later.seconds) / (self.seconds + later.seconds)
        };
        self.others_busy = share(self.others_busy, later.others_busy);
        self.generator_busy = share(self.generator_busy, later.generator_busy);
        self.memory_bytes += self.memory_bytes * later.connections / self.connections;
        self.connections += later.connections;
        self.seconds += later.seconds;
        self.server_cpu_ns += later.server_cpu_ns;
        // Both are made by one function, so adding can't fail.
        let _ = self.latencies.add(&later.latencies);
        self.faults.extend_from_slice(&later.faults);
    }
}

/// What a crowd is to do.
#[derive(Clone, Copy)]
pub struct Order {
    /// Connections.
    pub connections: usize,
    /// Subscriptions of each.
    pub subscriptions: usize,
    /// How many are between connect and PONG at a time.
    pub in_flight: usize,
    /// How long they are held afterwards; none where making them is what is measured.
    pub hold: Option<Duration>,
    /// PINGs per second of each while they are held.
    pub pings_per_second: f64,
}

/// Makes connections, and then holds them if that is wanted. The costs are those of making when
/// they are not held, else those of holding; memory is that of both.
///
/// # Errors
/// When a connection could not be made.
pub fn run(door: &Door, pid: u32, order: &Order) -> Result<Crowd, String> {
    let says = |connection: usize| {
        let sids = 1..=order.subscriptions;
        sids.map(|sid| format!("SUB crowd.{connection:06}.{sid:06} {sid}\r\n")).collect::<String>()
    };
    let greetings: Vec<Greeting> =
        (0..order.connections).map(|connection| greeting(&says(connection))).collect();
    let mut latencies = timing::histogram();
    let memory_before = probe::resident_bytes(pid);
    let mut from = Mark::take(pid);
    let mut own_from_ns = own_cpu_ns();
    let each = |ns| latencies.saturating_record(ns);
    let mut streams = dial(door, &greetings, order.in_flight, each)?;
    let mut faults = Vec::new();
    if let Some(hold) = order.hold {
        from = Mark::take(pid);
        own_from_ns = own_cpu_ns();
        faults = keep(&mut streams, hold, order.pings_per_second)?;
    }
    let to = Mark::take(pid);
    let seconds = to.at.duration_since(from.at).as_secs_f64();
    Ok(Crowd {
        connections: order.connections as u64,
        seconds,
        server_cpu_ns: to.server_cpu_ns.saturating_sub(from.server_cpu_ns),
        memory_bytes: probe::resident_bytes(pid).saturating_sub(memory_before),
        others_busy: to.others_since(&from),
        generator_busy: ((own_cpu_ns() - own_from_ns) as f64 / 1e9 / seconds).min(1.0),
        latencies,
        faults,
    })
}

fn own_cpu_ns() -> u64 {
    crate::sys::process_cpu_ns(std::process::id()).unwrap_or(0)
}

/// Holds connections, sending PINGs in turn and answering those of the server; says what else
/// happened to them.
fn keep(
    streams: &mut [Stream],
    hold: Duration,
    pings_per_second: f64,
) -> Result<Vec<String>, String> {
    let mut epoll = Epoll::new().map_err(|e| e.to_string())?;
    let mut lanes = Vec::with_capacity(streams.len());
    for (token, stream) in streams.iter_mut().enumerate() {
        epoll.add(stream, token, Watch::Read).map_err(|e| e.to_string())?;
        lanes.push((stream, Inbox::default()));
    }
    let mut faults = Vec::new();
    let mut ready: Vec<Ready> = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let start = Instant::now();
    let end = start + hold;
    let per_second = pings_per_second * lanes.len() as f64;
    let mut pinged = 0;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        let due = (start.elapsed().as_secs_f64() * per_second) as usize;
        while pinged < due {
            let place = pinged % lanes.len();
            if let Err(e) = lanes[place].0.write_all(b"PING\r\n") {
                faults.push(format!("connection {place}: {e}"));
            }
            pinged += 1;
        }
        let left = if per_second > 0.0 { left.min(NAP) } else { left };
        epoll.wait(left, &mut ready).map_err(|e| e.to_string())?;
        for event in &ready {
            let (stream, inbox) = &mut lanes[event.token];
            if let Err(reason) = answer(stream, inbox, &mut buffer) {
                epoll.remove(*stream);
                faults.push(format!("connection {}: {reason}", event.token));
            }
        }
    }
    Ok(faults)
}

fn answer(stream: &mut Stream, inbox: &mut Inbox, buffer: &mut [u8]) -> Result<(), String> {
    let n = stream.read(buffer).map_err(|e| e.to_string())?;
    if n == 0 {
        return Err("closed by the server".into());
    }
    let mut out = Vec::new();
    let mut answered = false;
    inbox.feed(&buffer[..n], control(&mut out, &mut answered))?;
    stream.write_all(&out).map_err(|e| e.to_string())
}
