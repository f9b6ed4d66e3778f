//! Random dialogues, played on nats-server and on ringbus; what comes back must be the same bytes.
//! Those of users have accounts, permissions, imports and mappings that are random too.
//!
//! `RINGBUS_FUZZ_CASES=n` plays more, `RINGBUS_SEED=n` others. A failing case is played again on
//! fresh servers, made small and printed as a script.

mod access;
mod generate;
mod peer;

use std::time::{Duration, Instant};

use crate::harness::compare;
use crate::harness::differences::{self, Difference};
use crate::harness::player::{self, Delivery, Options, Transcript};
use crate::harness::rng::Rng;
use crate::harness::script::{Act, Script, Step};
use crate::harness::server::{Program, Server, Setup};

/// Cases that one pair of servers sees before fresh ones take over.
const CASES_PER_SERVER: usize = 100;
const MINIMISE_TIME_MAX: Duration = Duration::from_secs(60);

/// Makes the dialogue of a seed and a case.
type Generate = fn(u64, u64) -> Script;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn start(program: &Program, conf: &[String], shards: usize) -> Result<Server, String> {
    let setup = Setup { conf: conf.to_vec(), shards, ..Setup::default() };
    Server::start(program, &setup)
}

struct Arena {
    reference: Program,
    tested: Program,
    list: Vec<Difference>,
    shards: usize,
}

impl Arena {
    fn new(tested: Program) -> Arena {
        let list = differences::load().unwrap_or_else(|fault| panic!("{fault}"));
        Arena { reference: Program::reference(), tested, list, shards: 1 }
    }

    fn pair(&self, conf: &[String]) -> Result<(Server, Server), String> {
        Ok((start(&self.reference, conf, 0)?, start(&self.tested, conf, self.shards)?))
    }

    fn sure_pair(&self, conf: &[String]) -> (Server, Server) {
        self.pair(conf).unwrap_or_else(|fault| panic!("{fault}\n{}", conf.join("\n")))
    }

    /// What differs when both play the script; empty when nothing does.
    fn differs(
        &self,
        pair: &(Server, Server),
        script: &Script,
        settle: Duration,
        seed: u64,
    ) -> String {
        let wanted = play(script, &pair.0, Delivery::Lines, settle);
        let delivery = match seed % 3 {
            0 => Delivery::Merged,
            _ => Delivery::Split(seed),
        };
        let got = play(script, &pair.1, delivery, settle);
        match (wanted, got) {
            (Ok(wanted), Ok(got)) => {
                let mut used = vec![0; self.list.len()];
                let wanted = differences::apply(&self.list, "*", &wanted, &mut used);
                compare::differences(script, &wanted, &got)
            }
            (wanted, got) => {
                format!("reference: {:?}, under test: {:?}", wanted.err(), got.err())
            }
        }
    }

    /// The same on fresh servers, given time after each close: what one closed connection has
    /// published may reach the others a little later than its end reaches its client.
    fn differs_surely(&self, script: &Script, seed: u64) -> String {
        let settle = Duration::from_millis(50);
        let mut last = String::new();
        for _ in 0..2 {
            last = self.differs(&self.sure_pair(&script.conf), script, settle, seed);
            if last.is_empty() {
                return last;
            }
        }
        if self.reference_agrees_with_itself(script) { last } else { String::new() }
    }

    fn reference_agrees_with_itself(&self, script: &Script) -> bool {
        let fresh = || start(&self.reference, &script.conf, 0).expect("it did start");
        let settle = Duration::from_millis(50);
        let runs: Vec<_> =
            [Delivery::Lines, Delivery::Merged, Delivery::Split(1), Delivery::Split(2)]
                .iter()
                .map(|delivery| play(script, &fresh(), *delivery, settle))
                .collect();
        runs.iter().all(|run| run.is_ok() && *run == runs[0])
    }

    /// Leaves acts out, and then lines of the configuration, for as long as the rest still differs.
    fn minimise(&self, script: &Script, seed: u64) -> Script {
        let small = self.leave_out(script, seed, |script| &mut script.acts);
        self.leave_out(&small, seed, |script| &mut script.conf)
    }

    fn leave_out<T>(
        &self,
        script: &Script,
        seed: u64,
        list: fn(&mut Script) -> &mut Vec<T>,
    ) -> Script {
        let end = Instant::now() + MINIMISE_TIME_MAX;
        let mut small = script.clone();
        let mut chunk = list(&mut small).len() / 2;
        while chunk > 0 {
            let mut at = 0;
            while at < list(&mut small).len() && Instant::now() < end {
                let mut fewer = small.clone();
                let kept = list(&mut fewer);
                kept.drain(at..(at + chunk).min(kept.len()));
                wait_in_turn(&mut fewer);
                let smaller = list(&mut fewer).len() < list(&mut small).len();
                if smaller && !fewer.acts.is_empty() && self.still_differs(&fewer, seed) {
                    small = fewer;
                } else {
                    at += if chunk > 4 { chunk } else { 1 };
                }
            }
            chunk /= 2;
        }
        small
    }

    /// A configuration that lacks too much for a server to start shows nothing.
    fn still_differs(&self, script: &Script, seed: u64) -> bool {
        let settle = Duration::from_millis(20);
        self.pair(&script.conf)
            .is_ok_and(|pair| !self.differs(&pair, script, settle, seed).is_empty())
    }
}

/// Has each connection wait for its PONG before another one speaks: without it a dialogue is a
/// matter of luck.
fn wait_in_turn(script: &mut Script) {
    let acts = std::mem::take(&mut script.acts);
    for act in acts {
        let before = script.acts.last();
        let unheard = before.filter(|last| last.conn != act.conn && !last.step.reads());
        let conn = unheard.filter(|last| last.step != Step::Close).map(|last| last.conn.clone());
        script.acts.extend(conn.map(|conn| Act { conn, step: Step::Ping, ..act.clone() }));
        script.acts.push(act);
    }
}

fn play(
    script: &Script,
    server: &Server,
    delivery: Delivery,
    settle: Duration,
) -> Result<Transcript, String> {
    let mut options = Options::new(delivery);
    options.settle = settle;
    let mut transcript = player::play(script, server, &options)?;
    if generate::is_of_users(script) {
        let rest = transcript.rest.iter_mut().map(|(_, line)| line);
        transcript.acts.iter_mut().flatten().chain(rest).for_each(hide_whom_no_responders_tell);
    }
    Ok(transcript)
}

/// Where several subscriptions of a requestor cover its inbox, which of them hears that nobody
/// listens is the order of a hash table, or of what was asked before.
fn hide_whom_no_responders_tell(line: &mut String) {
    if line.starts_with("HMSG ") && line.contains(r"\r\nNATS/1.0 503\r\n") {
        let mut words: Vec<&str> = line.split(' ').collect();
        words[2] = "*";
        *line = words.join(" ");
    }
}

/// Plays `cases` dialogues; panics with the first that surely differs.
fn fuzz(arena: &mut Arena, generate: Generate, seed: u64, cases: u64) {
    println!("RINGBUS_SEED={seed} RINGBUS_FUZZ_CASES={cases}");
    let all: Vec<u64> = (0..cases).collect();
    let mut undecided = 0;
    for (number, batch) in all.chunks(CASES_PER_SERVER).enumerate() {
        arena.shards = [1, 2, 4][number % 3];
        let scripts: Vec<Script> = batch.iter().map(|case| generate(seed, *case)).collect();
        undecided += fuzz_batch(arena, &scripts, seed.wrapping_add(batch[0]));
    }
    println!("{cases} dialogues, {undecided} differed once but not again");
    // Some wait for what a closed connection leaves behind; more would hide something.
    assert!(
        undecided * 20 <= cases.max(20),
        "{undecided} of {cases} dialogues are a matter of luck"
    );
}

/// The number of those that differed once but not again.
fn fuzz_batch(arena: &Arena, scripts: &[Script], first_cuts: u64) -> u64 {
    let conf = generate::shared_conf(scripts);
    let mut undecided = 0;
    let mut pair = arena.sure_pair(&conf);
    for (script, cuts) in scripts.iter().zip(first_cuts..) {
        if arena.differs(&pair, script, Duration::ZERO, cuts).is_empty() {
            continue;
        }
        let wrong = arena.differs_surely(script, cuts);
        if wrong.is_empty() {
            undecided += 1;
            pair = arena.sure_pair(&conf);
            continue;
        }
        let small = arena.minimise(script, cuts);
        let pair = arena.sure_pair(&small.conf);
        let shown = arena.differs(&pair, &small, Duration::from_millis(20), cuts);
        panic!(
            "{}, cuts {cuts}, {} shards: ringbus differs\n{wrong}\nmade small:\n{}\n{shown}",
            script.name,
            arena.shards,
            small.source(),
        );
    }
    undecided
}

#[test]
fn random_dialogues_agree() {
    let mut arena = Arena::new(Program::under_test());
    let seed = number("RINGBUS_SEED", 1);
    fuzz(&mut arena, generate::dialogue, seed, number("RINGBUS_FUZZ_CASES", 400));
}

#[test]
fn random_dialogues_of_users_agree() {
    let mut arena = Arena::new(Program::under_test());
    let seed = number("RINGBUS_SEED", 1);
    fuzz(&mut arena, generate::dialogue_of_users, seed, number("RINGBUS_FUZZ_CASES", 300));
}

/// The fuzzer finds nothing where there is nothing to find.
#[test]
fn the_reference_agrees_with_itself() {
    let mut arena = Arena::new(Program::reference());
    arena.list.clear();
    let seed = number("RINGBUS_SEED", 2);
    fuzz(&mut arena, generate::dialogue, seed, number("RINGBUS_FUZZ_CASES", 150));
    fuzz(&mut arena, generate::dialogue_of_users, seed, number("RINGBUS_FUZZ_CASES", 100));
}

/// One act less on one side is seen in most dialogues; in the others that act had no effect to see.
#[test]
fn a_lost_act_is_seen() {
    lose_acts(generate::dialogue, 3);
}

/// Users see less of each other.
#[test]
fn a_lost_act_of_a_user_is_seen() {
    lose_acts(generate::dialogue_of_users, 5);
}

/// One in `one_in` must be seen.
fn lose_acts(generate: Generate, one_in: usize) {
    let mut rng = Rng::new(3);
    let (mut seen, mut played) = (0, 0);
    let scripts: Vec<Script> = (0..60).map(|case| generate(3, case)).collect();
    let conf = generate::shared_conf(&scripts);
    let server = start(&Program::reference(), &conf, 0).unwrap_or_else(|fault| panic!("{fault}"));
    for script in &scripts {
        let is_publish = |step: &Step| match step {
            Step::Send(bytes) => bytes.starts_with(b"PUB") || bytes.starts_with(b"SUB"),
            _ => false,
        };
        let sends: Vec<usize> =
            (0..script.acts.len()).filter(|at| is_publish(&script.acts[*at].step)).collect();
        if sends.is_empty() {
            continue;
        }
        played += 1;
        let lost = *rng.pick(&sends);
        let mut other = script.clone();
        other.acts[lost].step = Step::Send(b"+OK\r\n".to_vec());
        let wanted = play(script, &server, Delivery::Lines, Duration::ZERO).expect("a run");
        let got = play(&other, &server, Delivery::Lines, Duration::ZERO).expect("a run");
        seen += usize::from(!compare::differences(script, &wanted, &got).is_empty());
    }
    assert!(seen * one_in > played, "only {seen} of {played} altered dialogues were seen");
}
