//! One generator thread: its connections, one epoll, one loop.

mod join;

use super::churner::{Churner, control};
use super::lane::{Got, Lane};
use super::publisher::Publisher;
use super::request::{Requester, Responder};
use super::subscriber::Subscriber;
use super::tally::Gauge;
use super::timing::{Timing, Window};
use super::{Job, Shared};
use crate::plan::Plan;
use crate::sys::{Epoll, Ready};
use hdrhistogram::Histogram;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

/// Most messages, and subscription changes, that fall due in one turn: a generator that is late
/// must still receive.
const DUE_MAX: usize = 128;

/// How long a blocking thread sleeps at most, so that it hears of other threads.
const NAP: Duration = Duration::from_millis(1);

#[derive(Clone, Copy)]
enum Role {
    Publisher(usize),
    Subscriber(usize),
    Requester(usize),
    Responder(usize),
    Churner(usize),
    /// Never read from.
    Stuck,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Messages flow.
    Flow,
    /// Publishers finish and wait for their PONG.
    Stop,
    /// Other threads' publishers do.
    Settle,
    /// Subscribers wait for the PONG behind their last message.
    Sweep,
    /// Nothing is left to wait for.
    Done,
}

/// What one thread found.
pub struct Found {
    /// Latencies of the measured messages.
    pub latencies: Histogram<u64>,
    /// The longest turn that touched the measure, ns.
    pub longest_turn_ns: u64,
    /// By account: deliveries that came.
    pub came: Vec<(usize, u64)>,
    /// Replies owed and come.
    pub replies: (u64, u64),
    /// What went wrong, connection by connection.
    pub faults: Vec<String>,
}

/// A generator thread at work.
pub struct Worker<'a> {
    id: usize,
    job: &'a Job<'a>,
    shared: &'a Shared,
    epoll: Epoll,
    timing: Timing,
    roles: Vec<Role>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    requesters: Vec<Requester>,
    responders: Vec<Responder>,
    churners: Vec<Churner>,
    stuck: Vec<Lane>,
    /// Where in `publishers` the plan's publisher p is, when it is this thread's.
    places: Vec<Option<usize>>,
    /// By the plan's publisher: the subscriber of this thread whose progress opens its window.
    pacers: Vec<Option<usize>>,
    /// Publishers that can send at once.
    eager: Vec<usize>,
    /// Bursts each publisher has been given, and whose turn it is.
    turn: (u64, usize),
    churn_done: u64,
    stage: Stage,
    delivered: u64,
    published: u64,
    busy_ns: u64,
    buffer: Vec<u8>,
}

impl<'a> Worker<'a> {
    /// Makes this thread's connections.
    ///
    /// # Errors
    /// A connection that could not be made.
    pub fn new(id: usize, job: &'a Job<'a>, shared: &'a Shared) -> Result<Self, String> {
        let window = Window { origin: shared.origin, start_ns: 0, begin_ns: 0, end_ns: 0 };
        let wanted = job.plan.is_none_or(|plan| plan.interval_ns.is_some());
        let mut worker = Self {
            id,
            job,
            shared,
            epoll: Epoll::new().map_err(|e| e.to_string())?,
            timing: Timing::new(window, wanted),
            roles: Vec::new(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            requesters: Vec::new(),
            responders: Vec::new(),
            churners: Vec::new(),
            stuck: Vec::new(),
            places: vec![None; job.plan.map_or(0, |plan| plan.publishers.len())],
            pacers: vec![None; job.plan.map_or(0, |plan| plan.publishers.len())],
            eager: Vec::new(),
            turn: (0, 0),
            churn_done: 0,
            stage: Stage::Flow,
            delivered: 0,
            published: 0,
            busy_ns: 0,
            buffer: vec![0; 256 << 10],
        };
        if let Some(plan) = job.plan {
            worker.join_plan(plan)?;
        }
        worker.join_requests()?;
        Ok(worker)
    }

    /// Runs the load to its end. `mark` is called by the first thread when the measure begins
    /// and when it ends.
    ///
    /// # Errors
    /// Only when epoll itself fails: what happens to connections is in [`Found`].
    pub fn run(mut self, window: Window, mut mark: impl FnMut()) -> Result<Found, String> {
        self.timing.open(window);
        self.begin();
        let mut marks = [Some(window.begin_ns), Some(window.end_ns)];
        let mut ready: Vec<Ready> = Vec::new();
        let deadline_ns = window.end_ns + (self.job.scenario.drain_s * 1e9) as u64;
        while self.stage != Stage::Done {
            let now_ns = self.timing.now_ns();
            self.timing.turn(now_ns);
            for at in &mut marks {
                if self.id == 0 && at.is_some_and(|at| at <= now_ns) {
                    *at = None;
                    mark();
                }
            }
            let worked = self.send(now_ns);
            self.advance(now_ns > deadline_ns);
            let patience = if self.job.spin || worked { Duration::ZERO } else { self.nap(now_ns) };
            let before_ns = self.timing.now_ns();
            self.epoll.wait(patience, &mut ready).map_err(|e| format!("epoll: {e}"))?;
            let after_ns = self.timing.now_ns();
            for event in &ready {
                self.hear(event, after_ns < window.end_ns);
            }
            self.account(worked, &ready, now_ns, before_ns, after_ns);
        }
        Ok(self.found())
    }

    fn begin(&mut self) {
        for place in 0..self.publishers.len() {
            self.top_up(place);
        }
        let in_flight = self.job.scenario.request.as_ref().map_or(0, |r| r.in_flight);
        let now_ns = self.timing.now_ns();
        for requester in &mut self.requesters {
            (0..in_flight).for_each(|_| requester.ask(&self.epoll, now_ns));
        }
    }

    /// Lets a saturating publisher go on as far as its window goes.
    fn top_up(&mut self, place: usize) {
        let Some(plan) = self.job.plan.filter(|plan| plan.interval_ns.is_none()) else { return };
        if self.stage != Stage::Flow {
            return;
        }
        let publisher = &mut self.publishers[place];
        publisher.allowed = match plan.window {
            None => u64::MAX,
            Some(window) => {
                let pacer = self.pacers[publisher.index];
                let arrived = pacer.map_or(0, |pacer| self.subscribers[pacer].count);
                (arrived + window) / plan.burst * plan.burst
            }
        };
        self.make_eager(place);
    }

    /// Sends what is due; whether that was anything.
    fn send(&mut self, now_ns: u64) -> bool {
        let Some(plan) = self.job.plan else { return false };
        let mut worked = false;
        if plan.interval_ns.is_some() {
            worked |= self.send_due(plan, now_ns);
            worked |= self.churn_due(now_ns);
        }
        let mut eager = std::mem::take(&mut self.eager);
        eager.retain(|&place| {
            worked = true;
            self.pump(plan, place);
            self.publishers[place].listed = self.publishers[place].eager();
            self.publishers[place].listed
        });
        self.eager.append(&mut eager);
        worked
    }

    fn pump(&mut self, plan: &Plan, place: usize) {
        let timing = &self.timing;
        let publisher = &mut self.publishers[place];
        let (before, index) = (publisher.begun(), publisher.index);
        publisher.pump(&self.epoll, |n| match plan.intended_ns(index, n) {
            Some(after_ns) => timing.window.start_ns + after_ns,
            None => timing.now_ns(),
        });
        self.published += publisher.begun() - before;
    }

    fn send_due(&mut self, plan: &Plan, now_ns: u64) -> bool {
        let mut worked = false;
        for _ in 0..DUE_MAX {
            if !self.is_due(plan, now_ns) {
                break;
            }
            let place = self.turn.1;
            self.publishers[place].allowed += plan.burst;
            self.turn.1 += 1;
            if self.turn.1 == self.publishers.len() {
                self.turn = (self.turn.0 + 1, 0);
            }
            self.make_eager(place);
            worked = true;
        }
        worked
    }

    fn is_due(&self, plan: &Plan, now_ns: u64) -> bool {
        let end_ns = self.timing.window.end_ns;
        self.next_due_ns(plan).is_some_and(|due_ns| due_ns <= now_ns && due_ns < end_ns)
    }

    /// Notes a publisher that can send, once.
    fn make_eager(&mut self, place: usize) {
        let publisher = &mut self.publishers[place];
        if publisher.eager() && !publisher.listed {
            publisher.listed = true;
            self.eager.push(place);
        }
    }

    fn next_due_ns(&self, plan: &Plan) -> Option<u64> {
        let publisher = self.publishers.get(self.turn.1)?;
        let after_ns = plan.intended_ns(publisher.index, self.turn.0 * plan.burst)?;
        Some(self.timing.window.start_ns + after_ns)
    }

    fn churn_due(&mut self, now_ns: u64) -> bool {
        let Some(churn) = &self.job.scenario.churn else { return false };
        if self.churners.is_empty() || self.stage != Stage::Flow {
            return false;
        }
        let rate = churn.operations_per_second / self.job.threads as f64;
        let since_s = now_ns.saturating_sub(self.timing.window.start_ns) as f64 / 1e9;
        let due = (since_s * rate) as u64;
        let due = due.min(self.churn_done + DUE_MAX as u64);
        let worked = self.churn_done < due;
        while self.churn_done < due {
            let place = (self.churn_done % self.churners.len() as u64) as usize;
            self.churners[place].turn(&self.epoll);
            self.churn_done += 1;
        }
        worked
    }

    fn nap(&self, now_ns: u64) -> Duration {
        let due_ns = self.job.plan.and_then(|plan| self.next_due_ns(plan)).unwrap_or(u64::MAX);
        NAP.min(Duration::from_nanos(due_ns.saturating_sub(now_ns)))
    }

    fn hear(&mut self, event: &Ready, flowing: bool) {
        match self.roles[event.token] {
            Role::Publisher(place) => self.hear_publisher(place, event),
            Role::Subscriber(place) => self.hear_subscriber(place, event),
            Role::Requester(place) => {
                let requester = &mut self.requesters[place];
                if event.writable {
                    requester.lane.flush(&self.epoll);
                }
                let (buffer, epoll) = (&mut self.buffer, &self.epoll);
                self.delivered += requester.receive(buffer, epoll, &mut self.timing, flowing);
            }
            Role::Responder(place) => {
                let responder = &mut self.responders[place];
                if event.writable {
                    responder.lane.flush(&self.epoll);
                }
                self.delivered += responder.receive(&mut self.buffer, &self.epoll);
            }
            Role::Churner(place) => {
                let churner = &mut self.churners[place];
                if event.writable {
                    churner.lane.flush(&self.epoll);
                }
                churner.receive(&mut self.buffer, &self.epoll);
            }
            Role::Stuck => {}
        }
    }

    fn hear_publisher(&mut self, place: usize, event: &Ready) {
        let publisher = &mut self.publishers[place];
        if event.readable
            && let Got::Bytes(n) = publisher.lane.read(&mut self.buffer, &self.epoll)
        {
            let mut answer = Vec::new();
            let heard = control(&mut answer, &mut publisher.answered);
            if let Err(reason) = publisher.inbox.feed(&self.buffer[..n], heard) {
                publisher.lane.fail(&self.epoll, reason);
            }
            publisher.lane.out().extend_from_slice(&answer);
        }
        if (event.writable || publisher.lane.pending())
            && let Some(plan) = self.job.plan
        {
            self.pump(plan, place);
            self.make_eager(place);
        }
    }

    fn hear_subscriber(&mut self, place: usize, event: &Ready) {
        let Some(plan) = self.job.plan else { return };
        let subscriber = &mut self.subscribers[place];
        if event.writable {
            subscriber.lane.flush(&self.epoll);
        }
        let (buffer, epoll) = (&mut self.buffer, &self.epoll);
        let came = subscriber.receive(plan, buffer, epoll, &mut self.timing);
        self.delivered += came;
        if came == 0 || plan.window.is_none() {
            return;
        }
        let Some(publisher) = subscriber.source() else { return };
        if self.pacers[publisher] == Some(place)
            && let Some(publisher) = self.places[publisher]
        {
            self.top_up(publisher);
        }
    }

    /// Moves from stage to stage; `late` ends all waiting.
    fn advance(&mut self, late: bool) {
        if late && self.stage != Stage::Done {
            self.stage = Stage::Done;
            self.publish_sent();
            return;
        }
        match self.stage {
            Stage::Flow => {
                let now_ns = self.timing.now_ns();
                // A generator that is late still owes the messages that were due before the end.
                let owing = self.job.plan.is_some_and(|plan| self.is_due(plan, now_ns));
                if now_ns >= self.timing.window.end_ns && !owing {
                    self.stop();
                }
            }
            Stage::Stop => {
                let mut quiet = true;
                for publisher in &mut self.publishers {
                    if publisher.done() {
                        publisher.ask(&self.epoll);
                    }
                    quiet &= publisher.answered || publisher.lane.fault.is_some();
                }
                quiet &= self.requesters.iter().all(Requester::finished);
                let calm = |c: &Churner| c.answered || c.lane.fault.is_some();
                if quiet && self.churners.iter().all(calm) {
                    self.publish_sent();
                    self.stage = Stage::Settle;
                }
            }
            Stage::Settle => {
                if self.shared.settled.load(Acquire) >= self.job.threads {
                    for subscriber in &mut self.subscribers {
                        subscriber.ask(&self.epoll);
                    }
                    self.stage = Stage::Sweep;
                }
            }
            Stage::Sweep => {
                if self.subscribers.iter().all(Subscriber::finished) {
                    self.stage = Stage::Done;
                }
            }
            Stage::Done => {}
        }
    }

    fn stop(&mut self) {
        self.stage = Stage::Stop;
        if self.job.plan.is_some_and(|plan| plan.interval_ns.is_none()) {
            for place in 0..self.publishers.len() {
                self.publishers[place].stop();
                self.make_eager(place);
            }
        }
        for churner in &mut self.churners {
            churner.ask(&self.epoll);
        }
    }

    fn publish_sent(&self) {
        let mut sent = self.shared.sent.lock().unwrap_or_else(|e| e.into_inner());
        for publisher in &self.publishers {
            sent[publisher.index] = publisher.begun();
        }
        drop(sent);
        self.shared.settled.fetch_add(1, Release);
    }

    /// Notes how long this turn waited, and shows the counts.
    fn account(&mut self, worked: bool, ready: &[Ready], now: u64, before: u64, after: u64) {
        let waited = if ready.is_empty() && !worked {
            after - now
        } else if ready.is_empty() || !self.job.spin {
            after - before
        } else {
            0
        };
        self.busy_ns += (self.timing.now_ns() - now).saturating_sub(waited);
        let gauge: &Gauge = &self.shared.gauges[self.id];
        gauge.delivered.store(self.delivered, Relaxed);
        gauge.published.store(self.published, Relaxed);
        gauge.busy_ns.store(self.busy_ns, Relaxed);
    }

    fn found(self) -> Found {
        let mut faults = Vec::new();
        let mut came = Vec::new();
        for subscriber in &self.subscribers {
            let name = format!("subscriber {}", subscriber.index);
            match subscriber.exact() {
                Ok(count) => {
                    let plan = self.job.plan.map(|plan| &plan.subscribers[subscriber.index]);
                    came.extend(plan.and_then(|s| s.account).map(|account| (account, count)));
                }
                Err(reason) => faults.push(format!("{name}: {reason}")),
            }
            faults.extend(subscriber.lane.fault.iter().map(|why| format!("{name}: {why}")));
            if !subscriber.finished() {
                faults.push(format!("{name}: no PONG within the time to drain"));
            }
        }
        let lanes = self
            .publishers
            .iter()
            .map(|p| ("publisher", &p.lane))
            .chain(self.requesters.iter().map(|r| ("requester", &r.lane)))
            .chain(self.responders.iter().map(|r| ("responder", &r.lane)))
            .chain(self.churners.iter().map(|c| ("churner", &c.lane)));
        for (what, lane) in lanes {
            faults.extend(lane.fault.iter().map(|why| format!("{what}: {why}")));
        }
        for publisher in self.publishers.iter().filter(|p| !p.answered) {
            faults.push(format!("publisher {}: no PONG after its messages", publisher.index));
        }
        let replies =
            self.requesters.iter().fold((0, 0), |(sent, got), r| (sent + r.sent, got + r.received));
        let longest_turn_ns = self.timing.longest_turn_ns;
        Found { latencies: self.timing.latencies, longest_turn_ns, came, replies, faults }
    }
}
