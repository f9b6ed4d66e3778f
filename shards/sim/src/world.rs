//! One run: a bus, its clients and everything between them, in an order the seed decides.

use std::sync::Arc;

use shard::Nanos;
use shard::access::Access;
use shard::limits::MILLIS;
use shard::report::Figures;

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

/// A simulated server with its clients.
pub struct World<B: Bus> {
    pub(crate) driver: Driver<B>,
    pub(crate) oracle: Oracle,
    pub(crate) swarm: Swarm,
    pub(crate) links: Vec<Link>,
    pub(crate) clients: Vec<Client>,
    /// What happened.
    pub trace: Trace,
    /// Which event comes next is drawn from one stream, what clients do from another, and so on.
    pub(crate) schedule: Prng,
    pub(crate) choices: Prng,
    cuts: Prng,
    time: Prng,
    pub(crate) step: u64,
    pub(crate) tickets: u64,
    pub(crate) reports: u64,
    figures: Vec<Figures>,
    /// As the shards have it.
    access: Arc<Access>,
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
    /// What the shards counted that is out of the ordinary.
    pub rare: Rare,
}

impl Summary {
    /// Adds another run; the hash is of no use then.
    pub fn add(&mut self, other: &Summary) {
        self.hash = 0;
        self.events += other.events;
        self.publications += other.publications;
        self.deliveries += other.deliveries;
        self.obligations += other.obligations;
        self.rare.add(&other.rare);
    }
}

/// Events that a good choice of seeds must see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the shards' figures")]
pub struct Rare {
    pub forwarded_msgs: u64,
    pub congested: u64,
    pub stalled_clients: u64,
    pub slow_pending_bytes: u64,
    pub slow_write_deadline: u64,
    pub stale_connections: u64,
    pub dropped_behind: u64,
    pub dropped_no_member: u64,
}

impl Rare {
    /// Adds what another shard or run has counted.
    pub fn add(&mut self, other: &Rare) {
        self.forwarded_msgs += other.forwarded_msgs;
        self.congested += other.congested;
        self.stalled_clients += other.stalled_clients;
        self.slow_pending_bytes += other.slow_pending_bytes;
        self.slow_write_deadline += other.slow_write_deadline;
        self.stale_connections += other.stale_connections;
        self.dropped_behind += other.dropped_behind;
        self.dropped_no_member += other.dropped_no_member;
    }

    fn of(figures: &Figures) -> Rare {
        Rare {
            forwarded_msgs: figures.forwarded_msgs,
            congested: figures.congested,
            stalled_clients: figures.stalled_clients,
            slow_pending_bytes: figures.slow_pending_bytes,
            slow_write_deadline: figures.slow_write_deadline,
            stale_connections: figures.stale_connections,
            dropped_behind: figures.dropped_behind,
            dropped_no_member: figures.dropped_no_member,
        }
    }
}

impl<B: Bus> World<B> {
    /// A world at its beginning.
    pub fn new(seed: u64, swarm: Swarm, bus: B, trace: Trace) -> World<B> {
        let shards = bus.shards();
        let access = swarm.access_of(&swarm.walls, None);
        let copies = swarm.walls.copies_max();
        let driver = Driver::new(
            bus,
            swarm.ring_frames,
            &swarm.options,
            swarm.settle_per_mille,
            copies,
            seed,
        );
        let mut oracle = Oracle::new(swarm.rules(), swarm.walls.clone());
        oracle.is_at(driver.now);
        World {
            driver,
            oracle,
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
            reports: 0,
            figures: vec![Figures::default(); shards],
            access,
        }
    }

    /// How far it has come.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Lives through it all: work, rest, a look around, answers, everybody leaves, another look.
    pub fn run(&mut self) -> Result<Summary, String> {
        for _ in 0..self.swarm.steps {
            self.happen()?;
        }
        self.trace.line(|| "-- no more work".into());
        self.wind_down()?;
        self.judge()?;
        self.look_around()?;
        self.trace.line(|| "-- who was asked answers".into());
        self.answer_all()?;
        self.trace.line(|| "-- everybody leaves".into());
        self.send_all_away()?;
        self.come_to_rest()?;
        self.judge()?;
        self.look_around()?;
        self.trace.line(|| "-- the end".into());
        self.send_all_away()?;
        self.come_to_rest()?;
        self.judge()?;
        let mut rare = Rare::default();
        self.figures.iter().for_each(|figures| rare.add(&Rare::of(figures)));
        Ok(Summary {
            rare,
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
                let lanes = self.driver.lanes_to_pump();
                let (from, to) = self.one_of(&lanes).unwrap_or((at, self.schedule.index(shards)));
                self.pump(from, to)?;
            }
            2 => {
                let lanes = self.driver.lanes_to_drain();
                if let Some((from, to)) = self.one_of(&lanes) {
                    let max = 1 + self.schedule.index(self.swarm.ring_frames);
                    self.drain(from, to, max)?;
                }
            }
            3 => self.read_one()?,
            4 => self.write_one()?,
            5 => self.hear_one()?,
            6 => self.act_one()?,
            7 => self.wait()?,
            8 => {
                self.driver.chores(at, &mut self.links)?;
                if self.schedule.chance(100) {
                    self.ask(at)?;
                }
            }
            9..=11 if self.oracle.is_changing() => {}
            9 => self.arrive()?,
            10 => self.disturb(),
            _ => self.reload()?,
        }
        self.after_event()
    }

    /// Tells the oracle what the driver has seen.
    pub(crate) fn after_event(&mut self) -> Result<(), String> {
        for closed in std::mem::take(&mut self.driver.closed) {
            self.trace.event(&[closed.session as u64, closed.sent_bytes]);
            self.trace.line(|| {
                format!("  session {} is closed: {}", closed.session, closed.reason.as_str())
            });
            self.oracle.closed(closed.session, closed.reason, closed.sent_bytes)?;
        }
        for session in std::mem::take(&mut self.driver.cut_short) {
            self.oracle.lost(session);
        }
        for at in std::mem::take(&mut self.driver.withdrawn) {
            self.oracle.withdrawn(at);
        }
        for report in std::mem::take(&mut self.driver.reports) {
            let limit = self.swarm.options.pending_bytes_max;
            self.reports += 1;
            self.figures[report.shard.index()] = report.figures;
            if let Some(over) = report.connections.iter().find(|conn| conn.pending_bytes > limit) {
                return Err(format!(
                    "{} bytes wait for connection {}",
                    over.pending_bytes, over.cid
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn ask(&mut self, at: usize) -> Result<(), String> {
        self.tickets += 1;
        self.driver.ask(at, self.tickets, &mut self.links)
    }

    pub(crate) fn pump(&mut self, from: usize, to: usize) -> Result<usize, String> {
        let moved = self.driver.pump(from, to, &mut self.links)?;
        self.trace.event(&[from as u64, to as u64, moved as u64]);
        if moved > 0 {
            self.trace.line(|| format!("{:6} {moved} frames leave {from} for {to}", self.step));
        }
        Ok(moved)
    }

    pub(crate) fn drain(&mut self, from: usize, to: usize, max: usize) -> Result<usize, String> {
        let moved = self.driver.drain(from, to, max, &mut self.links)?;
        self.trace.event(&[from as u64, to as u64, moved as u64]);
        if moved > 0 {
            self.trace.line(|| format!("{:6} {moved} frames of {from} arrive at {to}", self.step));
        }
        Ok(moved)
    }

    fn one_of(&mut self, places: &[(usize, usize)]) -> Option<(usize, usize)> {
        (!places.is_empty()).then(|| *self.schedule.pick(places))
    }

    fn cut(&mut self) -> usize {
        1 + self.cuts.below(self.swarm.cut_max) as usize
    }

    fn read_one(&mut self) -> Result<(), String> {
        let slots = self.driver.slots_to_read(&self.links);
        let Some((at, slot)) = self.one_of(&slots) else { return Ok(()) };
        let max = self.cut();
        let read = self.driver.read(at, slot, max, &mut self.links)?;
        self.trace.event(&[at as u64, slot as u64, max as u64, u64::from(read)]);
        if read {
            self.trace.line(|| {
                format!("{:6} shard {at} reads slot {slot}, {max} bytes at most", self.step)
            });
        }
        Ok(())
    }

    fn write_one(&mut self) -> Result<(), String> {
        let slots = self.driver.slots_to_write(&self.links);
        let Some((at, slot)) = self.one_of(&slots) else { return Ok(()) };
        let max = self.cut();
        let wrote = self.driver.write(at, slot, max, &mut self.links)?;
        self.trace.event(&[at as u64, slot as u64, max as u64, u64::from(wrote)]);
        Ok(())
    }

    fn hear_one(&mut self) -> Result<(), String> {
        let audible = |at: &usize| {
            let down = &self.links[self.clients[*at].session].down;
            !down.is_empty() || down.is_over()
        };
        let waiting: Vec<usize> = (0..self.clients.len()).filter(audible).collect();
        if !waiting.is_empty() {
            let at = *self.schedule.pick(&waiting);
            let max = self.cut();
            self.hear(at, max)?;
        }
        Ok(())
    }

    /// A client reads. Gives whether there was anything to read.
    pub(crate) fn hear(&mut self, at: usize, max: usize) -> Result<bool, String> {
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
            self.trace.line(|| {
                format!("       #{publication} for subscription {sub} of session {session}")
            });
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
    pub(crate) fn say(&mut self, at: usize, text: &[u8]) {
        let session = self.clients[at].session;
        self.trace.event(&[session as u64]);
        self.trace.bytes(text);
        self.trace.text(text, |text| format!("{:6} session {session} says {text}", self.step));
        self.links[session].up.force(text);
    }

    /// It is later now, for everybody.
    pub(crate) fn advance(&mut self, to: Nanos) {
        self.driver.advance(to);
        self.oracle.is_at(to);
    }

    /// Time passes, up to the next deadline; then that is met, mostly at once.
    fn wait(&mut self) -> Result<(), String> {
        let due: Vec<usize> =
            (0..self.driver.shards()).filter(|at| self.driver.is_due(*at)).collect();
        if due.is_empty() {
            let far = self.time.chance(30);
            let tick = if far { 200 * MILLIS } else { self.swarm.tick_max };
            let to = self.driver.now + 1 + self.time.below(tick);
            self.advance(
                self.driver.deadline().map_or(to, |deadline| deadline.clamp(self.driver.now, to)),
            );
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
            let guests = self.oracle.walls().guests();
            let person = (!guests.is_empty()).then(|| *self.choices.pick(&guests));
            let at = self.connect(shard, person, flags, refused)?;
            self.clients[at].mute = mute;
        }
        Ok(())
    }

    pub(crate) fn connect(
        &mut self,
        shard: usize,
        person: Option<usize>,
        flags: Flags,
        refused: bool,
    ) -> Result<usize, String> {
        let session: Session = self.oracle.opened(shard, person, flags.clone(), refused);
        self.trace.line(|| {
            let step = self.step;
            format!("{step:6} session {session} ({person:?}) begins on shard {shard}: {flags:?}")
        });
        let (up, down) = (Pipe::new(UP_BYTES), Pipe::new(self.swarm.down_capacity));
        self.links.push(Link { up, down, reset: false });
        let mut client = Client::new(session, shard, person, flags);
        let account = self.oracle.account_of(person);
        client.imports = self.swarm.walls.streams.iter().any(|s| s.importer == account);
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

    /// Other users, and other permissions: shard after shard is told, while messages are under way.
    fn reload(&mut self) -> Result<(), String> {
        self.come_to_rest()?;
        let next = self.oracle.walls().changed(&mut self.choices);
        self.trace.line(|| format!("{:6} access changes: {:?}", self.step, next.people));
        let access = self.swarm.access_of(&next, Some(&self.access));
        let gone = self.oracle.access_changes(next);
        for client in self.clients.iter_mut().filter(|client| gone.contains(&client.session)) {
            client.left = true;
        }
        let first = self.schedule.index(self.driver.shards());
        for at in 0..=self.driver.shards() {
            for _ in 0..self.schedule.below(40) {
                self.happen()?;
            }
            if at < self.driver.shards() {
                let at = (first + at) % self.driver.shards();
                self.trace.line(|| format!("{:6} shard {at} is told", self.step));
                self.driver.change_access(at, &access, &mut self.links)?;
            }
        }
        self.listen();
        self.come_to_rest()?;
        self.access = access;
        self.clients.iter_mut().for_each(Client::forget_requests);
        self.oracle.access_has_changed()
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
            self.trace.line(|| {
                format!(
                    "{:6} session {} stops reading: {:?}",
                    self.step, client.session, client.hears
                )
            });
        } else {
            let reset = self.choices.chance(self.swarm.reset_per_mille);
            self.go_away(at, reset);
        }
    }

    pub(crate) fn go_away(&mut self, at: usize, reset: bool) {
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
}
