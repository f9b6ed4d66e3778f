//! Connecting and greeting many clients at once: INFO, CONNECT, SUBs, PING, PONG.

use super::inbox::{Inbox, ServerOp};
use super::protocol::Protocol;
use super::stream::Stream;
use crate::sys::{self, Epoll, Ready, Watch};
use rustls::ClientConfig;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest silence of a server that is being dialled.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client says first.
#[derive(Clone)]
pub struct Greeting {
    /// The bytes.
    pub words: Vec<u8>,
    /// Answers to its PINGs that it waits for.
    pub answers: usize,
}

/// CONNECT, subscriptions, and a PING whose PONG means that all of it has been taken in.
pub fn greeting(subscriptions: &str) -> Greeting {
    let connect = r#"{"verbose":false,"pedantic":false,"echo":true,"headers":true,"#.to_string()
        + r#""no_responders":false,"protocol":1,"lang":"rust","version":"1","name":"bench"}"#;
    let words = format!("CONNECT {connect}\r\n{subscriptions}PING\r\n").into_bytes();
    Greeting { words, answers: 1 }
}

/// Where clients come in.
#[derive(Clone)]
pub struct Door {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// What the server speaks.
    pub protocol: Protocol,
    /// They go on with TLS once they have been greeted.
    pub tls: Option<Arc<ClientConfig>>,
    /// TCP congestion control of their sockets; the host's where nothing is said.
    pub congestion: Option<String>,
}

struct Call {
    index: usize,
    stream: Stream,
    started: Instant,
    inbox: Inbox,
    said: Option<usize>,
    answers: usize,
}

/// Opens one connection for each greeting, `in_flight` of them at a time; `each` learns how many
/// ns a connection took from connect to its last PONG. The streams come back in the greetings'
/// order.
///
/// # Errors
/// The first connection that was refused, closed, told off, or left waiting.
pub fn dial(
    door: &Door,
    greetings: &[Greeting],
    in_flight: usize,
    mut each: impl FnMut(u64),
) -> Result<Vec<Stream>, String> {
    let mut epoll = Epoll::new().map_err(|e| e.to_string())?;
    let mut done: Vec<Option<Stream>> = greetings.iter().map(|_| None).collect();
    let mut calls: Vec<Option<Call>> = (0..in_flight).map(|_| None).collect();
    let mut free: Vec<usize> = (0..in_flight).collect();
    let (mut next, mut finished) = (0, 0);
    let mut ready: Vec<Ready> = Vec::new();
    let mut last = Instant::now();
    let mut buffer = vec![0u8; 64 << 10];
    while finished < greetings.len() {
        while let Some(slot) = free.pop_if(|_| next < greetings.len()) {
            let call = start(door, next, slot, &epoll);
            let call = call.map_err(|e| format!("connect: {e}"))?;
            calls[slot] = Some(call);
            next += 1;
        }
        epoll.wait(Duration::from_millis(100), &mut ready).map_err(|e| e.to_string())?;
        for event in &ready {
            let Some(call) = calls[event.token].as_mut() else { continue };
            let greeting = &greetings[call.index];
            step(call, door, &greeting.words, event.token, &epoll, &mut buffer)?;
            if call.answers >= greeting.answers {
                each(call.started.elapsed().as_nanos() as u64);
                epoll.remove(&call.stream);
                if let Some(call) = calls[event.token].take() {
                    done[call.index] = Some(call.stream);
                }
                free.push(event.token);
                finished += 1;
                last = Instant::now();
            }
        }
        if last.elapsed() > PATIENCE {
            return Err(format!("only {finished} of {} connections made", greetings.len()));
        }
    }
    Ok(done.into_iter().flatten().collect())
}

fn start(door: &Door, index: usize, slot: usize, epoll: &Epoll) -> std::io::Result<Call> {
    let started = Instant::now();
    let stream = sys::connect(door.port, door.congestion.as_deref())?;
    stream.set_nodelay(true)?;
    sys::reset_on_close(&stream)?;
    // Who is not greeted speaks as soon as there is a connection.
    let greets = door.protocol.greets();
    epoll.add(&stream, slot, if greets { Watch::Read } else { Watch::ReadWrite })?;
    let (inbox, said) = (Inbox::of(door.protocol), (!greets).then_some(0));
    Ok(Call { index, stream: Stream::new(stream), started, inbox, said, answers: 0 })
}

fn step(
    call: &mut Call,
    door: &Door,
    greeting: &[u8],
    slot: usize,
    epoll: &Epoll,
    buffer: &mut [u8],
) -> Result<(), String> {
    match call.stream.read(buffer) {
        Ok(0) => return Err("a new connection was closed by the server".into()),
        Ok(n) => {
            let (said, answers) = (&mut call.said, &mut call.answers);
            let mut welcome = false;
            call.inbox.feed(&buffer[..n], |op| match op {
                ServerOp::Info(_) => {
                    welcome = said.replace(said.unwrap_or(0)).is_none();
                    Ok(())
                }
                ServerOp::Pong => {
                    *answers += 1;
                    Ok(())
                }
                ServerOp::Err(text) => Err(format!("-ERR {}", String::from_utf8_lossy(text))),
                _ => Ok(()),
            })?;
            if let Some(tls) = door.tls.as_ref().filter(|_| welcome) {
                call.stream.begin_tls(tls).map_err(|e| format!("a new connection: {e}"))?;
            }
        }
        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
        Err(e) => return Err(format!("a new connection: {e}")),
    }
    let Some(said) = call.said.as_mut() else { return Ok(()) };
    match call.stream.flush() {
        Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(format!("greeting: {e}")),
        _ => {}
    }
    while *said < greeting.len() && !call.stream.is_shaking() {
        match call.stream.write(&greeting[*said..]) {
            Ok(n) => *said += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                epoll.change(&call.stream, slot, Watch::ReadWrite).map_err(|e| e.to_string())?;
                return Ok(());
            }
            Err(e) => return Err(format!("greeting: {e}")),
        }
    }
    let watch = if call.stream.pending() { Watch::ReadWrite } else { Watch::Read };
    epoll.change(&call.stream, slot, watch).map_err(|e| e.to_string())
}
