//! An engine that is nearly nothing: it echoes, and obeys a few bytes.
//!
//! `!p` pauses reading for 50 ms, `!q` says "bye" and closes with a flush, `!x` closes without, `!b`
//! answers with 8 MiB. Everything else comes back.

use std::collections::HashMap;

use runtime::Engine;
use shard::limits::MILLIS;
use shard::report::{Ask, DriverFigures, Figures, Report};
use shard::{Close, CloseReason, ConnId, Effects, Hangup, Input, Nanos, Reads, ShardId};

pub const BIG_BYTES: usize = 8 * 1024 * 1024;

pub struct Toy {
    id: ShardId,
    conns: HashMap<ConnId, Conn>,
    resume: Vec<(Nanos, ConnId)>,
    reports: Vec<u64>,
}

#[derive(Default)]
struct Conn {
    out: Vec<u8>,
    driven: bool,
    unsent: u64,
    closed: bool,
    hung_up: bool,
}

pub struct Bytes(Box<[u8]>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Toy {
    pub fn new(id: ShardId, _port: u16, _now: Nanos) -> Toy {
        Toy { id, conns: HashMap::new(), resume: Vec::new(), reports: Vec::new() }
    }

    fn say(&mut self, conn: ConnId, bytes: &[u8], effects: &mut Effects) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        state.out.extend_from_slice(bytes);
        state.unsent += bytes.len() as u64;
        if !std::mem::replace(&mut state.driven, true) {
            effects.dirty.push(conn);
        }
    }

    fn close(&mut self, conn: ConnId, flush: bool, effects: &mut Effects) {
        let state = self.conns.get_mut(&conn).expect("open");
        state.closed = true;
        if !flush {
            state.out = Vec::new();
        }
        effects.closes.push(Close { conn, reason: CloseReason::ClientClosed, flush });
    }

    fn bytes(&mut self, now: Nanos, conn: ConnId, bytes: &[u8], effects: &mut Effects) {
        match bytes {
            _ if self.conns.get(&conn).is_none_or(|state| state.closed) => {}
            [b'!', b'p', ..] => {
                effects.reads.push((conn, Reads::Pause));
                self.resume.push((now + 50 * MILLIS, conn));
                self.say(conn, b"paused", effects);
            }
            [b'!', b'q', ..] => {
                self.say(conn, b"bye", effects);
                self.close(conn, true, effects);
            }
            [b'!', b'x', ..] => self.close(conn, false, effects),
            [b'!', b'b', ..] => self.say(conn, &vec![b'b'; BIG_BYTES], effects),
            _ => self.say(conn, bytes, effects),
        }
    }

    fn turn(&mut self, now: Nanos, effects: &mut Effects) {
        for (_, conn) in self.resume.extract_if(.., |(at, _)| *at <= now) {
            effects.reads.push((conn, Reads::Resume));
        }
        for ticket in self.reports.drain(..) {
            let figures = Figures {
                connections: self.conns.values().filter(|state| !state.closed).count() as u64,
                ..Figures::default()
            };
            let (shard, driver) = (self.id, DriverFigures::default());
            effects.reports.push(Report {
                has_followers: false,
                access: None,
                ticket,
                shard,
                figures,
                driver,
                connections: vec![],
                accounts: vec![],
                top_subjects: vec![],
            });
        }
    }
}

// SAFETY: a boxed slice stays where it is, and nobody else has it.
unsafe impl Engine for Toy {
    type Chunk = Bytes;

    fn step(&mut self, now: Nanos, input: Input<'_>, effects: &mut Effects) {
        match input {
            Input::Open { conn, peer } => {
                let earlier = self.conns.insert(conn, Conn::default());
                assert!(earlier.is_none(), "{conn:?} is used twice");
                if peer.refused {
                    self.say(conn, b"full", effects);
                    self.close(conn, true, effects);
                }
            }
            Input::Bytes { conn, bytes, .. } => self.bytes(now, conn, bytes, effects),
            Input::Sent { conn, bytes } => {
                let state = self.conns.get_mut(&conn).expect("open");
                // A close of this turn has not been carried out yet.
                assert!((1..=state.unsent).contains(&bytes), "{bytes} of {}", state.unsent);
                state.unsent -= bytes;
            }
            Input::Hangup { conn, cause } => {
                let state = self.conns.get_mut(&conn).expect("open");
                assert!(!std::mem::replace(&mut state.hung_up, true), "{conn:?} hung up twice");
                if !state.closed {
                    self.close(conn, cause == Hangup::Closed, effects);
                }
            }
            Input::Secured { .. }
            | Input::Introduced { .. }
            | Input::Checked { .. }
            | Input::Ask(Ask::Access(_) | Ask::Reload(_)) => {
                panic!("nobody has to say who they are here")
            }
            // It sends nobody away.
            Input::Ask(Ask::LameDuck(_)) => {}
            Input::Turn => self.turn(now, effects),
            Input::Ask(Ask::Report { ticket, .. }) => self.reports.push(ticket),
            Input::Ask(Ask::Shutdown) => {
                let open = self.conns.iter().filter(|(_, state)| !state.closed);
                let open: Vec<ConnId> = open.map(|(conn, _)| *conn).collect();
                for conn in open {
                    self.close(conn, true, effects);
                }
            }
            Input::Unacknowledged { .. }
            | Input::Frame { .. }
            | Input::Room { .. }
            | Input::Ask(_) => {
                unreachable!("nothing of a toy asks for this")
            }
        }
    }

    fn take_chunk(&mut self, conn: ConnId) -> Option<Bytes> {
        let state = self.conns.get_mut(&conn)?;
        if state.out.is_empty() {
            state.driven = false;
            return None;
        }
        Some(Bytes(std::mem::take(&mut state.out).into_boxed_slice()))
    }

    fn recycle(&mut self, _chunk: Bytes) {}

    fn flush_over(&mut self, _conn: ConnId) {}

    fn deadline(&self) -> Option<Nanos> {
        self.resume.iter().map(|(at, _)| *at).min()
    }

    fn has_work(&self) -> bool {
        !self.reports.is_empty()
    }

    fn handed_over(&mut self, _tell: impl FnMut(Nanos, u64)) {}
}
