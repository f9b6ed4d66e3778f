//! The end of a run: no new work, then rest; then somebody looks around, everybody leaves, and
//! somebody looks again.

use shard::Nanos;
use shard::limits::{MILLIS, SECONDS};

use crate::bus::Bus;
use crate::client::{Client, Hears};
use crate::oracle::{Flags, Oracle, Session};
use crate::world::World;

/// Rounds in which everything must come to rest.
const ROUNDS_MAX: u64 = 20_000;
/// Time in which it must, beyond the write deadline.
const REST_NS: Nanos = 30 * SECONDS;
/// What is read at a time, and kept for a client, at least, while winding down.
const REST_CUT_BYTES: usize = 16 * 1024;
/// Longest look ahead while winding down.
const PATIENCE_NS: Nanos = 50 * MILLIS;

impl<B: Bus> World<B> {
    /// Everybody asks for a last PONG, nobody does anything more.
    pub(crate) fn wind_down(&mut self) -> Result<(), String> {
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if client.acts() {
                let mut text = Vec::new();
                client.ping(&mut self.oracle, &mut text);
                self.say(at, &text);
            }
        }
        self.come_to_rest()
    }

    /// Everybody who still reads does so now.
    pub(crate) fn listen(&mut self) {
        for client in &mut self.clients {
            self.links[client.session].down.widen(REST_CUT_BYTES);
            if client.hears != Hears::Never {
                client.hears = Hears::Now;
            }
        }
    }

    /// Goes on until nothing moves and nobody is owed anything.
    pub(crate) fn come_to_rest(&mut self) -> Result<(), String> {
        self.listen();
        let until = self.driver.now + self.swarm.options.write_deadline_ns + REST_NS;
        for _ in 0..ROUNDS_MAX {
            if self.round()? {
                continue;
            }
            let Some(unrest) = self.unrest() else {
                self.oracle.rest();
                return self.driver.bus.check_rest();
            };
            if self.driver.now > until {
                return Err(format!("no rest: {unrest}"));
            }
            let soon = self.driver.now + PATIENCE_NS;
            let next = self
                .driver
                .deadline()
                .map_or(soon, |deadline| deadline.clamp(self.driver.now + 1, soon));
            self.advance(next);
        }
        Err(format!("no rest after {ROUNDS_MAX} rounds: {:?}", self.unrest()))
    }

    /// Everything that can move does, once. Gives whether anything did.
    fn round(&mut self) -> Result<bool, String> {
        self.step += 1;
        let (shards, mut moved) = (self.driver.shards(), false);
        let first = self.schedule.index(shards);
        for at in (0..shards).map(|at| (first + at) % shards) {
            self.driver.turn(at, &mut self.links)?;
            moved |= self.driver.chores(at, &mut self.links)?;
            for slot in 0..self.driver.slots(at) {
                moved |= self.driver.read(at, slot, REST_CUT_BYTES, &mut self.links)?;
                moved |= self.driver.write(at, slot, usize::MAX, &mut self.links)?;
            }
            for peer in 0..shards {
                moved |= self.pump(at, peer)? > 0;
                moved |= self.drain(peer, at, usize::MAX)? > 0;
            }
            self.after_event()?;
        }
        for at in (0..self.clients.len()).rev() {
            moved |= self.hear(at, usize::MAX)?;
        }
        self.after_event()?;
        Ok(moved)
    }

    fn unrest(&mut self) -> Option<String> {
        let unrest = self.driver.unrest();
        let waiting = |client: &&Client| {
            let over = client.left || client.refused;
            client.hears != Hears::Never && (over || self.oracle.is_owed(client.session))
        };
        let unread = |client: &&Client| !self.links[client.session].up.is_empty();
        unrest
            .or_else(|| {
                let client = self.clients.iter().find(waiting)?;
                let (session, paused) = (client.session, self.driver.is_paused(client.session));
                let owed = self.oracle.owed(session);
                Some(format!("session {session} (paused: {paused}) is owed {owed}"))
            })
            .or_else(|| {
                let client = self.clients.iter().find(unread)?;
                let (session, paused) = (client.session, self.driver.is_paused(client.session));
                Some(format!("session {session} (paused: {paused}) is not read"))
            })
    }

    pub(crate) fn judge(&mut self) -> Result<(), String> {
        self.oracle.verdict()
    }

    /// At rest, a newcomer on each shard asks on every subject: exactly those who are there may
    /// hear it.
    pub(crate) fn look_around(&mut self) -> Result<(), String> {
        let mut probes = Vec::new();
        let accounts = self.swarm.walls.accounts;
        let people: Vec<Option<usize>> = match accounts {
            0 => vec![None],
            _ => (0..accounts).map(Some).collect(),
        };
        let places = (0..self.driver.shards())
            .flat_map(|shard| people.iter().map(move |person| (shard, *person)));
        for (shard, person) in places {
            let flags = Flags {
                connect: true,
                verbose: false,
                pedantic: false,
                echo: false,
                headers: true,
                no_responders: true,
                protocol: 1,
            };
            let at = self.connect(shard, person, flags, false)?;
            self.clients[at].is_probe = true;
            probes.push(self.clients[at].session);
        }
        self.ask_all(&probes, |client, oracle, text| client.ping(oracle, text))?;
        let subjects = self.swarm.subjects.clone();
        self.ask_all(&probes, |client, oracle, text| {
            subjects.iter().for_each(|subject| client.request(oracle, subject, text));
            client.ping(oracle, text);
        })?;
        for at in 0..self.driver.shards() {
            self.ask(at)?;
        }
        self.come_to_rest()?;
        self.driver.bus.check_reports(self.tickets, self.reports)?;
        self.judge()
    }

    /// Whoever may do no more than answer answers all it was asked, some of it more often than it
    /// may.
    pub(crate) fn answer_all(&mut self) -> Result<(), String> {
        // Some of them too late.
        if let Some(longest) = self.oracle.longest_answer()
            && self.choices.chance(500)
        {
            let to = self.driver.now + 1 + self.choices.below(2 * longest);
            self.advance(to);
        }
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if client.acts() && self.oracle.answers_of(client.person).is_some() {
                let mut text = Vec::new();
                let (p, swarm) = (&mut self.choices, &self.swarm);
                client.answer_all(p, swarm, &mut self.oracle, &mut text);
                client.ping(&mut self.oracle, &mut text);
                self.say(at, &text);
            }
        }
        self.come_to_rest()?;
        self.judge()
    }

    fn ask_all(
        &mut self,
        sessions: &[Session],
        mut ask: impl FnMut(&mut Client, &mut Oracle, &mut Vec<u8>),
    ) -> Result<(), String> {
        for session in sessions {
            if let Some(at) = self.clients.iter().position(|client| client.session == *session) {
                let mut text = Vec::new();
                ask(&mut self.clients[at], &mut self.oracle, &mut text);
                self.say(at, &text);
            }
        }
        self.come_to_rest()
    }

    pub(crate) fn send_all_away(&mut self) -> Result<(), String> {
        for at in (0..self.clients.len()).rev() {
            let stuck = self.clients[at].hears == Hears::Never;
            let reset = stuck || self.choices.chance(self.swarm.reset_per_mille);
            self.go_away(at, reset);
        }
        self.come_to_rest()?;
        match (0..self.driver.shards()).find(|at| self.driver.open_connections(*at) > 0) {
            Some(at) => Err(format!("shard {at} keeps a connection whose client has left")),
            None => Ok(()),
        }
    }
}
