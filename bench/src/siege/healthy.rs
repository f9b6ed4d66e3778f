//! Two clients that do nothing wrong: one publishes at a fixed rate, the other measures.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::attacks::{PASSWORD, USER};
use crate::load::dial::Door;
use crate::load::inbox::{Inbox, ServerOp};
use crate::load::stream::Stream;
use crate::sys;

/// Time between two messages: a storm of half a second meets a thousand, and their slowest
/// hundredth is ten.
const EVERY: Duration = Duration::from_micros(500);
/// A message that takes longer is lost, and so is the server.
const LOST: Duration = Duration::from_secs(20);

/// The two, at work.
pub struct Pair {
    seen: Arc<Mutex<Histogram<u64>>>,
    over: Arc<AtomicBool>,
    publisher: JoinHandle<()>,
    subscriber: JoinHandle<bool>,
}

/// What messages took since the last look.
pub struct Measured {
    /// 99 of 100 took at most this.
    pub p99_us: u64,
    /// None took longer.
    pub longest_us: u64,
}

impl Pair {
    /// Connects both and begins.
    ///
    /// # Errors
    /// The server did not let them in.
    pub fn start(door: &Door) -> Result<Pair, String> {
        let origin = Instant::now();
        let mut subscriber = client(door, "SUB healthy 1\r\n")?;
        let mut publisher = client(door, "")?;
        let seen = Arc::new(Mutex::new(Histogram::new(3).map_err(|e| e.to_string())?));
        let over = Arc::new(AtomicBool::new(false));
        let (stop, noted) = (over.clone(), seen.clone());
        let publisher = std::thread::spawn(move || {
            sys::go_first();
            let mut due = origin.elapsed();
            while !stop.load(Ordering::Relaxed) {
                let line = format!("PUB healthy 20\r\n{:020}\r\n", due.as_nanos());
                if publisher.write_all(line.as_bytes()).is_err() {
                    return;
                }
                due += EVERY;
                std::thread::sleep(due.saturating_sub(origin.elapsed()));
            }
            let _ = publisher.write_all(b"PUB healthy 3\r\nend\r\n");
        });
        let subscriber = std::thread::spawn(move || measure(&mut subscriber, origin, &noted));
        Ok(Pair { seen, over, publisher, subscriber })
    }

    /// Since the last call.
    pub fn measured(&self) -> Measured {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let measured = Measured { p99_us: seen.value_at_quantile(0.99), longest_us: seen.max() };
        seen.reset();
        measured
    }

    /// Says farewell. True if every message came, up to the last.
    pub fn end(self) -> bool {
        self.over.store(true, Ordering::Relaxed);
        self.publisher.join().is_ok() && self.subscriber.join().unwrap_or(false)
    }
}

fn connect(door: &Door) -> io::Result<TcpStream> {
    let socket = sys::connect(door.port, door.congestion.as_deref())?;
    if !sys::wait_writable(&socket, LOST)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.take_error()?.map_or(Ok(()), Err)?;
    socket.set_nonblocking(false)?;
    Ok(socket)
}

fn client(door: &Door, subscription: &str) -> Result<Stream, String> {
    let fault = |e: io::Error| format!("a healthy client: {e}");
    let socket = connect(door).map_err(fault)?;
    socket.set_nodelay(true).map_err(fault)?;
    socket.set_read_timeout(Some(LOST)).map_err(fault)?;
    let mut stream = Stream::new(socket);
    let mut buffer = vec![0; 64 << 10];
    let mut heard = Vec::new();
    if let Some(tls) = &door.tls {
        hear(&mut stream, &mut heard, &mut buffer, b"\r\n")?;
        stream.begin_tls(tls).map_err(fault)?;
        stream.shake().map_err(fault)?;
    }
    let hello = format!(
        "CONNECT {{\"verbose\":false,\"user\":\"{USER}\",\"pass\":\"{PASSWORD}\"}}\r\n\
         {subscription}PING\r\n"
    );
    stream.write_all(hello.as_bytes()).map_err(fault)?;
    hear(&mut stream, &mut heard, &mut buffer, b"PONG\r\n")?;
    Ok(stream)
}

/// Reads until what came ends so.
fn hear(
    stream: &mut Stream,
    heard: &mut Vec<u8>,
    buffer: &mut [u8],
    end: &[u8],
) -> Result<(), String> {
    while !heard.ends_with(end) {
        match stream.wait(buffer).map_err(|e| format!("a healthy client: {e}"))? {
            0 => return Err("a healthy client was not let in".to_string()),
            n => heard.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(())
}

/// True if the farewell came.
fn measure(stream: &mut Stream, origin: Instant, seen: &Mutex<Histogram<u64>>) -> bool {
    sys::go_first();
    let mut inbox = Inbox::default();
    let mut buffer = [0; 64 << 10];
    loop {
        let Ok(n @ 1..) = stream.wait(&mut buffer) else { return false };
        let now = origin.elapsed().as_nanos() as u64;
        let (mut ended, mut pinged) = (false, false);
        let fed = inbox.feed(&buffer[..n], |op| {
            match op {
                ServerOp::Message(message) if message.payload == b"end" => ended = true,
                ServerOp::Message(message) => {
                    let due =
                        std::str::from_utf8(message.payload).ok().and_then(|t| t.parse().ok());
                    let took = now.saturating_sub(due.unwrap_or(now));
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    // The histogram grows as need be.
                    let _ = seen.record(took / 1000);
                }
                ServerOp::Ping => pinged = true,
                _ => {}
            }
            Ok(())
        });
        if ended || fed.is_err() {
            return ended;
        }
        if pinged && stream.write_all(b"PONG\r\n").is_err() {
            return false;
        }
    }
}
