//! One run: a bus, its clients and everything between them, in an order the seed decides.

use shard::Nanos;
use shard::limits::{MILLIS, SECONDS};

use crate::bus::Bus;
use crate::client::{Client, Hears};
use crate::driver::{Driver, Link};
use crate::oracle::{Flags, Oracle, Session};
use crate::pipe::Pipe;
use crate::prng::Prng;
use crate::swarm::Swarm;
use crate::trace::Trace;

/// Bytes a client may have written ahead of the server.
const UP_BYTES: usize = 128 * 1024;
/// Rounds in which everything must come to rest.
const ROUNDS_MAX: u64 = 20_000;
/// Time in which it must, beyond the write deadline.
const REST_NS: Nanos = 30 * SECONDS;
/// What is read at a time, and kept for a client, at least, while winding down.
const REST_CUT_BYTES: usize = 16 * 1024;
/// Longest look ahead while winding down.
const PATIENCE_NS: Nanos = 50 * MILLIS;

/// A simulated server with its clients.
pub struct World<B: Bus> {
    driver: Driver<B>,
    oracle: Oracle,
    swarm: Swarm,
    links: Vec<Link>,
    clients: Vec<Client>,
    /// What happened.
    pub trace: Trace,
    /// Which event comes next is drawn from one stream, what clients do from another, and so on.
    schedule: Prng,
    choices: Prng,
    cuts: Prng,
    time: Prng,
    step: u64,
    tickets: u64,
}

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Of everything that happened.
    pub hash: u64,
    /// How much that was.
    pub events: u64,
    /// Messages published.
    pub publications: u64,
    /// Messages read.
    pub deliveries: u64,
    /// Things that had to be so and were.
    pub obligations: u64,
}

impl<B: Bus> World<B> {
    /// A world at its beginning.
    pub fn new(seed: u64, swarm: Swarm, bus: B, trace: Trace) -> World<B> {
        let driver = Driver::new(bus, swarm.ring_frames, &swarm.options, swarm.settle_per_mille, seed);
        World {
            driver,
            oracle: Oracle::new(swarm.rules()),
            swarm,
            links: Vec::new(),
            clients: Vec::new(),
            trace,
            schedule: Prng::stream(seed, "schedule"),
            choices: Prng::stream(seed, "clients"),
            cuts: Prng::stream(seed, "cuts"),
            time: Prng::stream(seed, "time"),
            step: 0,
            tickets: 0,
        }
    }

    /// How far it has come.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Lives through it all: work, rest, a look around, everybody leaves, another look.
    pub fn run(&mut self) -> Result<Summary, String> {
        for _ in 0..self.swarm.steps {
            self.happen()?;
        }
        self.trace.line(|| "-- no more work".into());
        self.wind_down()?;
        self.judge()?;
        self.look_around()?;
        self.trace.line(|| "-- everybody leaves".into());
        self.send_all_away()?;
        self.come_to_rest()?;
        self.judge()?;
        self.look_around()?;
        self.trace.line(|| "-- the end".into());
        self.send_all_away()?;
        self.come_to_rest()?;
        self.judge()?;
        Ok(Summary {
            hash: self.trace.hash(),
            events: self.trace.events(),
            publications: self.oracle.publications() as u64,
            deliveries: self.oracle.deliveries,
            obligations: self.oracle.obligations,
        })
    }

    fn happen(&mut self) -> Result<(), String> {
        self.step += 1;
        let event = self.schedule.weighted(&self.swarm.events);
        self.trace.event(&[self.step, event as u64, self.driver.now]);
        let shards = self.driver.shards();
        let at = self.schedule.index(shards);
        match event {
            0 => self.driver.turn(at, &mut self.links)?,
            1 => {
                let to = self.schedule.index(shards);
                self.pump(at, to)?;
            }
            2 => {
                let (from, max) = (self.schedule.index(shards), 1 + self.schedule.index(self.swarm.ring_frames));
                self.drain(from, at, max)?;
            }
            3 => self.read_one(at)?,
            4 => self.write_one(at)?,
            5 => self.hear_one()?,
            6 => self.act_one()?,
            7 => self.wait()?,
            8 => {
                self.driver.chores(at, &mut self.links)?;
                if self.schedule.chance(100) {
                    self.ask(at)?;
                }
            }
            9 => self.arrive()?,
            _ => self.disturb(),
        }
        self.after_event()
    }

    /// Tells the oracle what the driver has seen.
    fn after_event(&mut self) -> Result<(), String> {
        for closed in std::mem::take(&mut self.driver.closed) {
            self.trace.event(&[closed.session as u64, closed.sent_bytes]);
            self.trace.line(|| format!("  session {} is closed: {}", closed.session, closed.reason.as_str()));
            self.oracle.closed(closed.session, closed.reason, closed.sent_bytes)?;
        }
        for at in std::mem::take(&mut self.driver.withdrawn) {
            self.oracle.withdrawn(at);
        }
        for report in std::mem::take(&mut self.driver.reports) {
            let limit = self.swarm.options.pending_bytes_max;
            if let Some(over) = report.connections.iter().find(|conn| conn.pending_bytes > limit) {
                return Err(format!("{} bytes wait for connection {}", over.pending_bytes, over.cid));
            }
        }
        Ok(())
    }

    fn ask(&mut self, at: usize) -> Result<(), String> {
        self.tickets += 1;
        self.driver.ask(at, self.tickets, &mut self.links)
    }

    fn pump(&mut self, from: usize, to: usize) -> Result<usize, String> {
        let moved = self.driver.pump(from, to, &mut self.links)?;
        self.trace.event(&[from as u64, to as u64, moved as u64]);
        if moved > 0 {
            self.trace.line(|| format!("{:6} {moved} frames leave {from} for {to}", self.step));
        }
        Ok(moved)
    }

    fn drain(&mut self, from: usize, to: usize, max: usize) -> Result<usize, String> {
        let moved = self.driver.drain(from, to, max, &mut self.links)?;
        self.trace.event(&[from as u64, to as u64, moved as u64]);
        if moved > 0 {
            self.trace.line(|| format!("{:6} {moved} frames of {from} arrive at {to}", self.step));
        }
        Ok(moved)
    }

    fn read_one(&mut self, at: usize) -> Result<(), String> {
        let slots = self.driver.slots(at);
        if slots > 0 {
            let (slot, max) = (self.schedule.index(slots), 1 + self.cuts.below(self.swarm.cut_max) as usize);
            let read = self.driver.read(at, slot, max, &mut self.links)?;
            self.trace.event(&[slot as u64, max as u64, u64::from(read)]);
            if read {
                self.trace.line(|| format!("{:6} shard {at} reads slot {slot}, {max} bytes at most", self.step));
            }
        }
        Ok(())
    }

    fn write_one(&mut self, at: usize) -> Result<(), String> {
        let slots = self.driver.slots(at);
        if slots > 0 {
            let (slot, max) = (self.schedule.index(slots), 1 + self.cuts.below(self.swarm.cut_max) as usize);
            let wrote = self.driver.write(at, slot, max, &mut self.links)?;
            self.trace.event(&[slot as u64, max as u64, u64::from(wrote)]);
        }
        Ok(())
    }

    fn hear_one(&mut self) -> Result<(), String> {
        if !self.clients.is_empty() {
            let at = self.schedule.index(self.clients.len());
            let max = 1 + self.cuts.below(self.swarm.cut_max) as usize;
            self.hear(at, max)?;
        }
        Ok(())
    }

    /// A client reads. Gives whether there was anything to read.
    fn hear(&mut self, at: usize, max: usize) -> Result<bool, String> {
        let client = &mut self.clients[at];
        match client.hears {
            Hears::From(step) if step > self.step => return Ok(false),
            Hears::Never => {}
            _ => client.hears = Hears::Now,
        }
        let (session, link) = (client.session, &mut self.links[client.session]);
        // One that never reads again notices the end of its connection all the same.
        if client.hears == Hears::Never && !link.down.is_over() && !link.up.is_over() {
            return Ok(false);
        }
        if link.down.is_over() {
            self.trace.line(|| format!("{:6} session {session} is over", self.step));
            self.oracle.read_out(session)?;
            self.clients.swap_remove(at);
            return Ok(true);
        }
        let mut bytes = Vec::new();
        if link.down.read(max, &mut bytes) == 0 {
            return Ok(false);
        }
        self.trace.event(&[session as u64]);
        self.trace.bytes(&bytes);
        self.trace.text(&bytes, |text| format!("{:6} session {session} hears {text}", self.step));
        let heard = self.oracle.heard(session, &bytes)?;
        for (publication, sub) in &heard.messages {
            self.trace.line(|| format!("       #{publication} for subscription {sub} of session {session}"));
        }
        if client.acts() && !client.mute {
            (0..heard.pings).for_each(|_| link.up.force(b"PONG\r\n"));
        }
        heard.requests.into_iter().for_each(|reply| client.asked(reply));
        Ok(true)
    }

    fn act_one(&mut self) -> Result<(), String> {
        if self.clients.is_empty() {
            return Ok(());
        }
        let at = self.choices.index(self.clients.len());
        let client = &mut self.clients[at];
        let link = &mut self.links[client.session];
        if !client.acts() || link.up.is_over() || link.up.free() == 0 {
            return Ok(());
        }
        let mut text = Vec::new();
        client.act(&mut self.choices, &self.swarm, &mut self.oracle, &mut text);
        self.say(at, &text);
        Ok(())
    }

    /// A client writes.
    fn say(&mut self, at: usize, text: &[u8]) {
        let session = self.clients[at].session;
        self.trace.event(&[session as u64]);
        self.trace.bytes(text);
        self.trace.text(text, |text| format!("{:6} session {session} says {text}", self.step));
        self.links[session].up.force(text);
    }

    /// Time passes, up to the next deadline; then that is met, mostly at once.
    fn wait(&mut self) -> Result<(), String> {
        let due: Vec<usize> = (0..self.driver.shards()).filter(|at| self.driver.is_due(*at)).collect();
        if due.is_empty() {
            let far = self.time.chance(30);
            let tick = if far { 200 * MILLIS } else { self.swarm.tick_max };
            let to = self.driver.now + 1 + self.time.below(tick);
            self.driver.advance(self.driver.deadline().map_or(to, |deadline| deadline.clamp(self.driver.now, to)));
        }
        for at in 0..self.driver.shards() {
            if self.driver.is_due(at) && (due.contains(&at) || self.time.chance(800)) {
                self.driver.turn(at, &mut self.links)?;
            }
        }
        Ok(())
    }

    fn arrive(&mut self) -> Result<(), String> {
        if self.clients.len() < self.swarm.clients {
            let flags = Client::draw_flags(&mut self.choices, &self.swarm);
            let shard = self.choices.index(self.driver.shards());
            let refused = self.choices.chance(20);
            let mute = self.choices.chance(self.swarm.mute_per_mille);
            let at = self.connect(shard, flags, refused)?;
            self.clients[at].mute = mute;
        }
        Ok(())
    }

    fn connect(&mut self, shard: usize, flags: Flags, refused: bool) -> Result<usize, String> {
        let session: Session = self.oracle.opened(shard, flags.clone(), refused);
        self.trace.line(|| format!("{:6} session {session} begins on shard {shard}: {flags:?}", self.step));
        let (up, down) = (Pipe::new(UP_BYTES), Pipe::new(self.swarm.down_capacity));
        self.links.push(Link { up, down, reset: false });
        let mut client = Client::new(session, shard, flags);
        client.refused = refused;
        self.driver.open(shard, session, refused, &mut self.links)?;
        let mut text = Vec::new();
        if !refused {
            client.greet(&mut self.oracle, &mut text);
        }
        self.clients.push(client);
        let at = self.clients.len() - 1;
        self.say(at, &text);
        Ok(at)
    }

    /// Something goes wrong for a client, or it goes away.
    fn disturb(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.choices.index(self.clients.len());
        if self.choices.chance(600) {
            let client = &mut self.clients[at];
            let stuck = self.choices.chance(self.swarm.stuck_per_mille);
            let until = self.step + 1 + self.choices.below(600);
            if stuck {
                self.oracle.deafened(client.session);
            }
            client.hears = if stuck { Hears::Never } else { Hears::From(until) };
            self.trace.line(|| format!("{:6} session {} stops reading: {:?}", self.step, client.session, client.hears));
        } else {
            let reset = self.choices.chance(self.swarm.reset_per_mille);
            self.go_away(at, reset);
        }
    }

    fn go_away(&mut self, at: usize, reset: bool) {
        let client = &mut self.clients[at];
        let (session, link) = (client.session, &mut self.links[client.session]);
        if !client.acts() && !reset {
            return;
        }
        client.left = true;
        self.trace.line(|| format!("{:6} session {session} goes away, reset: {reset}", self.step));
        if reset {
            self.oracle.lost(session);
            link.reset = true;
            link.up.lose();
            link.down.lose();
            self.clients.swap_remove(at);
        } else {
            self.oracle.left(session);
            link.up.end();
        }
    }

    /// Everybody asks for a last PONG, nobody does anything more.
    fn wind_down(&mut self) -> Result<(), String> {
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            self.links[client.session].down.widen(REST_CUT_BYTES);
            if client.hears != Hears::Never {
                client.hears = Hears::Now;
            }
            if client.acts() {
                let mut text = Vec::new();
                client.ping(&mut self.oracle, &mut text);
                self.say(at, &text);
            }
        }
        self.come_to_rest()
    }

    /// Goes on until nothing moves and nobody is owed anything.
    fn come_to_rest(&mut self) -> Result<(), String> {
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
            let next = self.driver.deadline().map_or(soon, |deadline| deadline.clamp(self.driver.now + 1, soon));
            self.driver.advance(next);
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

    fn judge(&mut self) -> Result<(), String> {
        self.oracle.verdict()
    }

    /// At rest, a newcomer on each shard asks on every subject: exactly those who are there may hear it.
    fn look_around(&mut self) -> Result<(), String> {
        let mut probes = Vec::new();
        for shard in 0..self.driver.shards() {
            let flags = Flags {
                connect: true,
                verbose: false,
                pedantic: false,
                echo: false,
                headers: true,
                no_responders: true,
                protocol: 1,
            };
            let at = self.connect(shard, flags, false)?;
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

    fn send_all_away(&mut self) -> Result<(), String> {
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
