//! Many at once: 200 publishers, 2,000 subscribers, 64 queue groups, subscribers that come and go
//! and connections that are cut, over 4 shards. Every message must be accounted for, and the
//! server's memory must come back.
//!
//! The same runs against nats-server, which shows that the accounting itself is right.

mod flood;
mod leak;
mod plan;
mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use self::plan::{CHURNERS, PUBLISHERS, Role, TOPICS, roles, topic};
use self::wire::{Line, Mark};
use crate::harness::rng::Rng;
use crate::harness::server::{Program, Server, Setup};

/// Messages of each publisher in one round.
const MESSAGES: u32 = 120;
const ROUND_TIME_MAX: Duration = Duration::from_secs(90);
/// Rounds with all new connections on one server; memory is compared after each.
const ROUNDS: u64 = 3;

#[derive(Clone)]
struct World {
    address: std::net::SocketAddr,
    done: Arc<AtomicBool>,
    faults: Arc<Mutex<Vec<String>>>,
    /// For each queue group, who got what: (publisher, sequence) → how often.
    groups: Arc<Vec<Mutex<HashMap<Mark, u32>>>>,
}

impl World {
    fn new(server: &Server) -> World {
        let groups = (0..plan::GROUPS).map(|_| Mutex::default()).collect();
        World {
            address: server.address,
            done: Arc::default(),
            faults: Arc::default(),
            groups: Arc::new(groups),
        }
    }

    fn fault(&self, text: String) {
        self.faults.lock().expect("no panic while held").push(text);
    }

    fn record(&self, group: usize, mark: Mark) {
        let mut seen = self.groups[group].lock().expect("no panic while held");
        *seen.entry(mark).or_default() += 1;
    }
}

/// Next sequence expected of each publisher.
struct Order {
    next: Vec<Option<u32>>,
}

impl Order {
    fn new() -> Order {
        Order { next: vec![None; PUBLISHERS] }
    }

    /// A plain subscription sees each publisher's messages without a gap.
    fn follows(&mut self, mark: Mark) -> Result<(), String> {
        let next = &mut self.next[mark.publisher];
        let wanted = next.unwrap_or(mark.sequence);
        *next = Some(mark.sequence + 1);
        if wanted == mark.sequence {
            return Ok(());
        }
        Err(format!("publisher {}: {} after {wanted} was due", mark.publisher, mark.sequence))
    }

    /// A group's member sees each publisher's messages in order, with gaps where others took them.
    fn rises(&mut self, mark: Mark) -> Result<(), String> {
        let next = &mut self.next[mark.publisher];
        let least = next.unwrap_or(0);
        *next = Some(mark.sequence + 1);
        if mark.sequence >= least {
            return Ok(());
        }
        Err(format!("publisher {}: {} after {}", mark.publisher, mark.sequence, least - 1))
    }

    fn complete(&self, role: &Role) -> Result<(), String> {
        for (publisher, next) in self.next.iter().enumerate() {
            let wanted = role.hears(publisher).then_some(MESSAGES);
            if *next != wanted {
                return Err(format!("publisher {publisher}: ended at {next:?}, not {wanted:?}"));
            }
        }
        Ok(())
    }
}

/// A subscriber that stays: from its PONG on it must get all that it asked for.
async fn stable(world: World, role: Role, ready: tokio::sync::mpsc::Sender<()>) {
    let result = stable_run(&world, &role, ready).await;
    if let Err(text) = result {
        world.fault(format!("{role:?}: {text}"));
    }
}

async fn stable_run(
    world: &World,
    role: &Role,
    ready: tokio::sync::mpsc::Sender<()>,
) -> Result<(), String> {
    let mut line = Line::dial(world.address).await?;
    line.send(role.sub("1").as_bytes()).await?;
    line.ping().await?;
    line.until_pong(|_| Ok(())).await?;
    ready.send(()).await.map_err(|e| e.to_string())?;
    let mut order = Order::new();
    let mut first = None;
    let group = role.group();
    let mut take = |mark: Mark| {
        first.get_or_insert(mark.sequence);
        match group {
            Some(group) => {
                world.record(group, mark);
                order.rises(mark)
            }
            None => order.follows(mark),
        }
    };
    // All publishers have had their PONG once `done` is set; a PONG of our own then ends our
    // stream.
    loop {
        let done = world.done.load(Ordering::Acquire);
        if done {
            line.ping().await?;
            line.until_pong(&mut take).await?;
            break;
        }
        line.some(Duration::from_millis(100), &mut take).await?;
    }
    if group.is_none() {
        order.complete(role)?;
    }
    Ok(())
}

async fn publisher(world: World, number: usize, seed: u64) {
    let result = publisher_run(&world, number, seed).await;
    if let Err(text) = result {
        world.fault(format!("publisher {number}: {text}"));
    }
}

async fn publisher_run(world: &World, number: usize, seed: u64) -> Result<(), String> {
    let mut rng = Rng::new(seed ^ (number as u64) << 32);
    let mut line = Line::dial(world.address).await?;
    let mut sequence = 0;
    while sequence < MESSAGES {
        let burst = (1 + rng.below(12) as u32).min(MESSAGES - sequence);
        let mut bytes = Vec::new();
        for _ in 0..burst {
            let body = Mark { publisher: number, sequence }.text();
            let head = format!("PUB {} {}\r\n", topic(number % TOPICS), body.len());
            bytes.extend_from_slice(format!("{head}{body}\r\n").as_bytes());
            sequence += 1;
        }
        line.send(&bytes).await?;
        if rng.chance(20) {
            line.ping().await?;
            line.until_pong(|_| Err("a publisher hears nothing".into())).await?;
        }
        // A pace, so that churn and traffic overlap.
        tokio::time::sleep(Duration::from_millis(rng.below(60) as u64)).await;
    }
    line.ping().await?;
    line.until_pong(|_| Err("a publisher hears nothing".into())).await
}

/// Comes, subscribes, hears a while, leaves politely or is cut; again and again.
async fn churner(world: World, number: usize, seed: u64) {
    let mut rng = Rng::new(seed ^ 0xC0FFEE ^ (number as u64) << 32);
    while !world.done.load(Ordering::Acquire) {
        if let Err(text) = churn_once(&world, &mut rng).await {
            world.fault(format!("churner {number}: {text}"));
            return;
        }
    }
}

async fn churn_once(world: &World, rng: &mut Rng) -> Result<(), String> {
    // Without a pause 600 churners would dial thousands of times a second, and nothing else would
    // get a turn.
    tokio::time::sleep(Duration::from_millis(rng.below(600) as u64)).await;
    let mut line = Line::dial(world.address).await?;
    let role = plan::passing(rng);
    for _ in 0..1 + rng.below(3) {
        line.send(role.sub("7").as_bytes()).await?;
        line.ping().await?;
        line.until_pong(|_| Ok(())).await?;
        let mut order = Order::new();
        let mut take = |mark: Mark| match role.group() {
            Some(group) => {
                world.record(group, mark);
                order.rises(mark)
            }
            None => order.follows(mark),
        };
        line.some(Duration::from_millis(rng.below(60) as u64), &mut take).await?;
        if rng.chance(40) {
            // Cut in the middle of a publication that must then reach nobody.
            line.send(b"PUB s.0 100\r\nhalf a message").await?;
            return line.cut();
        }
        let unsub = if rng.chance(50) { "UNSUB 7\r\n" } else { "UNSUB 7 1\r\nUNSUB 7\r\n" };
        line.send(unsub.as_bytes()).await?;
        line.ping().await?;
        line.until_pong(&mut take).await?;
        line.ping().await?;
        line.until_pong(|_| Err("a message after the PONG that followed UNSUB".into())).await?;
    }
    Ok(())
}

async fn round(server: &Server, seed: u64) -> Result<(), String> {
    let world = World::new(server);
    let (ready, mut readied) = tokio::sync::mpsc::channel(64);
    let mut tasks = JoinSet::new();
    let roles = roles();
    let stable_count = roles.len();
    for role in roles {
        tasks.spawn(stable(world.clone(), role, ready.clone()));
    }
    drop(ready);
    for at in 0..stable_count {
        if readied.recv().await.is_none() {
            let faults = world.faults.lock().expect("no panic while held");
            return Err(format!("{at} of {stable_count} subscribed: {faults:?}"));
        }
    }
    for number in 0..CHURNERS {
        tasks.spawn(churner(world.clone(), number, seed));
    }
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        publishers.spawn(publisher(world.clone(), number, seed));
    }
    publishers.join_all().await;
    world.done.store(true, Ordering::Release);
    tasks.join_all().await;
    judge(&world)
}

fn judge(world: &World) -> Result<(), String> {
    let faults = world.faults.lock().expect("no panic while held");
    if !faults.is_empty() {
        return Err(format!(
            "{} faults, the first: {:#?}",
            faults.len(),
            &faults[..faults.len().min(5)]
        ));
    }
    for (group, seen) in world.groups.iter().enumerate() {
        let seen = seen.lock().expect("no panic while held");
        if let Some((mark, count)) = seen.iter().find(|(_, count)| **count != 1) {
            return Err(format!("group {group} got {mark:?} {count} times"));
        }
        if !plan::is_stable(group) {
            continue;
        }
        let wanted = plan::publishers_of(group % TOPICS) * MESSAGES as usize;
        if seen.len() != wanted {
            return Err(format!("group {group} got {} of {wanted} messages", seen.len()));
        }
    }
    Ok(())
}

/// Resident memory once it has not fallen for a while; the server may take its time to give back.
fn resident_at_rest(server: &Server) -> u64 {
    let (quiet, time_max) = (Duration::from_millis(500), Duration::from_secs(10));
    let (from, mut fell) = (Instant::now(), Instant::now());
    let mut least = u64::MAX;
    while fell.elapsed() < quiet && from.elapsed() < time_max {
        let now = server.resident_kib().expect("it runs");
        if now < least {
            (least, fell) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    least
}

/// A server remembers closed connections for its reports, 10,000 by default; that is no leak, but
/// would hide one.
fn forgetful() -> Vec<String> {
    vec!["max_closed_clients: 100".into()]
}

/// `memory_slack` multiplies the bounds on memory; it is for a server that gives memory back by the
/// clock.
fn stress(program: &Program, shards: usize, memory_slack: u64) {
    let setup = Setup { shards, conf: forgetful(), ..Setup::default() };
    let mut server = Server::start(program, &setup).unwrap_or_else(|fault| panic!("{fault}"));
    let idle = server.resident_kib().expect("it runs");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    let mut before = u64::MAX;
    for number in 0..ROUNDS {
        let from = Instant::now();
        let work = async { tokio::time::timeout(ROUND_TIME_MAX, round(&server, number)).await };
        let result = runtime.block_on(work).unwrap_or(Err("it took too long".into()));
        let busy = server.resident_kib().unwrap_or(0);
        if let Err(text) = result {
            panic!("round {number}: {text}\nlog:\n{}", last_lines(&server.log_text(), 20));
        }
        // A first round may warm pools for its 2,200 connections: 32 KiB each, and 64 MiB for
        // buffers on the way. A later round should add nothing; a tenth and 8 MiB
        // are for chance.
        let bound = memory_slack
            * if number == 0 {
                idle + 2_200 * 32 + 64 * 1024
            } else {
                before + before / 10 + 8 * 1024
            };
        let rest = resident_at_rest(&server);
        println!(
            "round {number}: {:?}, idle {idle} KiB, busy {busy}, at rest {rest}",
            from.elapsed()
        );
        assert!(rest <= bound, "memory stays at {rest} KiB; idle {idle}, bound {bound}");
        before = rest;
    }
    assert!(server.is_running(), "the server ended");
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[test]
fn ringbus_accounts_for_every_message() {
    let program = Program::under_test();
    stress(&program, 4, if program.takes_shards { 1 } else { 4 });
}

#[test]
fn the_reference_accounts_for_every_message() {
    stress(&Program::reference(), 0, 4);
}
