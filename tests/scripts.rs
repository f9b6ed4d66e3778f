//! Every dialogue of `tests/scripts` against nats-server, which must answer as recorded, and
//! against ringbus, which must answer the same however the bytes are cut and however many shards it
//! has.
//!
//! `RINGBUS_RECORD=1` writes the reference's answers into the files instead of comparing them.
//! `RINGBUS_SCRIPT=part-of-a-name` plays only the scripts of that name. `RINGBUS_SEED=n` cuts as an
//! earlier run.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::cast::Cast;
use crate::harness::compare;
use crate::harness::differences;
use crate::harness::player::{self, Delivery, Options, Transcript};
use crate::harness::rng::Rng;
use crate::harness::script::{Act, Script, Step};
use crate::harness::server::{Program, Server, Setup};

struct File {
    path: PathBuf,
    source: String,
    script: Script,
}

fn load_all() -> Vec<File> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let only = std::env::var("RINGBUS_SCRIPT").unwrap_or_default();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&dir)
        .expect("tests/scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "script"))
        .filter(|path| path.to_string_lossy().contains(&only))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let source = std::fs::read_to_string(&path).expect("a readable script");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let script = Script::parse(&name, &source).unwrap_or_else(|fault| panic!("{fault}"));
        File { path, source, script }
    };
    paths.into_iter().map(read).collect()
}

/// The seed of this run's cuts: `RINGBUS_SEED`, or the clock.
pub fn seed() -> u64 {
    if let Some(seed) = std::env::var("RINGBUS_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return seed;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a clock after 1970").as_nanos() as u64
}

fn play(
    program: &Program,
    script: &Script,
    delivery: Delivery,
    shards: usize,
) -> Result<Transcript, String> {
    let conf = Cast::read(&script.cast)?.conf(&script.conf);
    let setup = Setup { conf, shards, ..Setup::default() };
    let server = Server::start(program, &setup)?;
    player::play(script, &server, &Options::new(delivery))
}

/// Calls `work` for every file, on a few threads, and gives back what it found wrong, in order of
/// file.
fn each(files: &[File], work: impl Fn(&File) -> String + Sync) -> String {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(vec![String::new(); files.len()]);
    let threads = std::thread::available_parallelism().map_or(2, usize::from) * 2;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(at) else { return };
                    let wrong = work(file);
                    found.lock().expect("no panic while held")[at] = wrong;
                }
            });
        }
    });
    found.into_inner().expect("no panic while held").concat()
}

fn wrong_with(
    program: &Program,
    script: &Script,
    wanted: &Transcript,
    runs: &[(Delivery, usize)],
) -> String {
    for (delivery, shards) in runs {
        let wrong = match play(program, script, *delivery, *shards) {
            Ok(got) => compare::differences(script, wanted, &got),
            Err(fault) => format!("{}.script: {fault}\n", script.name),
        };
        if !wrong.is_empty() {
            return format!("with {delivery:?} and {shards} shards:\n{wrong}");
        }
    }
    String::new()
}

#[test]
fn the_reference_answers_as_recorded() {
    let (files, program, seed) = (load_all(), Program::reference(), seed());
    println!("RINGBUS_SEED={seed}");
    let record = std::env::var_os("RINGBUS_RECORD").is_some();
    let runs = [(Delivery::Lines, 0), (Delivery::Merged, 0), (Delivery::Split(seed), 0)];
    let wrong = each(&files, |file| {
        let mut wanted = compare::expected(&file.script);
        if record {
            wanted = play(&program, &file.script, Delivery::Lines, 0).expect("a reference");
            let text = recorded(file, &wanted);
            std::fs::write(&file.path, text).expect("a writable script");
        }
        wrong_with(&program, &file.script, &wanted, &runs)
    });
    assert!(wrong.is_empty(), "nats-server differs from the record (seed {seed}):\n{wrong}");
}

#[test]
fn ringbus_answers_as_the_reference() {
    let (files, program, seed) = (load_all(), Program::under_test(), seed());
    println!("RINGBUS_SEED={seed}");
    let list = differences::load().unwrap_or_else(|fault| panic!("{fault}"));
    let used = Mutex::new(vec![0; list.len()]);
    let runs = [
        (Delivery::Lines, 1),
        (Delivery::Merged, 2),
        (Delivery::Split(seed), 1),
        (Delivery::Split(seed.wrapping_add(1)), 4),
    ];
    let wrong = each(&files, |file| {
        let wanted = compare::expected(&file.script);
        let mut counts = used.lock().expect("no panic while held");
        let wanted = differences::apply(&list, &file.script.name, &wanted, &mut counts);
        drop(counts);
        wrong_with(&program, &file.script, &wanted, &runs)
    });
    assert!(wrong.is_empty(), "ringbus differs (seed {seed}):\n{wrong}");
    if std::env::var_os("RINGBUS_SCRIPT").is_none() {
        let used = used.into_inner().expect("no panic while held");
        let stale = list.iter().zip(used).filter(|(_, count)| *count == 0);
        let stale: Vec<_> = stale.map(|(one, _)| one).collect();
        assert!(stale.is_empty(), "these differences no longer apply: {stale:?}");
    }
}

/// The file with the received lines replaced by what `got` holds.
fn recorded(file: &File, got: &Transcript) -> String {
    let kept = file.source.lines().enumerate().take_while(|(_, line)| *line != "end");
    let mut out = String::new();
    for (at, line) in kept {
        let is_received = file.is_received(line);
        if !is_received {
            out.push_str(line);
            out.push('\n');
        }
        let act = file.script.acts.iter().position(|act| act.line == at + 1);
        if let Some(act) = act {
            let conn = &file.script.acts[act].conn;
            got.acts[act].iter().for_each(|frame| out.push_str(&format!("{conn}< {frame}\n")));
        }
    }
    let mut end = String::new();
    for (group, frames) in file.script.groups.iter().zip(&got.groups) {
        frames.iter().for_each(|frame| end.push_str(&format!("{}< {frame}\n", group.name)));
    }
    got.rest.iter().for_each(|(conn, frame)| end.push_str(&format!("{conn}< {frame}\n")));
    if !end.is_empty() {
        out.push_str("end\n");
        out.push_str(&end);
    }
    out
}

impl File {
    fn is_received(&self, line: &str) -> bool {
        let name = line.split('<').next().unwrap_or_default();
        line.contains('<') && self.script.acts.iter().any(|act| act.conn == name)
    }
}

#[test]
fn there_are_enough_dialogues_and_none_is_idle() {
    let files = load_all();
    if std::env::var_os("RINGBUS_SCRIPT").is_none() {
        assert!(files.len() >= 150, "{} scripts", files.len());
    }
    for File { script, source, .. } in &files {
        let lines = script.acts.iter().map(|act| act.expected.len()).sum::<usize>();
        assert!(lines > 0, "{}.script expects nothing", script.name);
        assert!(source.starts_with("# "), "{}.script says not what it shows", script.name);
        for limit in [player::TIMED_OUT, player::STILL_OPEN] {
            assert!(!source.contains(limit), "{}.script was recorded with `{limit}`", script.name);
        }
    }
}

/// Every transcript is altered in every place (a line lost, one too many, a byte changed, two lines
/// swapped); the comparison must see each.
#[test]
fn an_altered_transcript_is_seen() {
    let mut rng = Rng::new(1);
    let mut altered = 0;
    for File { script, .. } in &load_all() {
        let wanted = compare::expected(script);
        assert_eq!(compare::differences(script, &wanted, &wanted), "");
        for change in alterations(&wanted, &mut rng) {
            altered += 1;
            let seen = compare::differences(script, &wanted, &change);
            assert!(!seen.is_empty(), "{}.script: not seen: {change:?}", script.name);
        }
    }
    assert!(altered > 500, "only {altered} alterations");
}

fn alterations(wanted: &Transcript, rng: &mut Rng) -> Vec<Transcript> {
    let mut changes = Vec::new();
    for (at, lines) in wanted.acts.iter().enumerate() {
        let mut change = |edit: &mut dyn FnMut(&mut Vec<String>)| {
            let mut altered = wanted.clone();
            edit(&mut altered.acts[at]);
            if altered != *wanted {
                changes.push(altered);
            }
        };
        change(&mut |lines| lines.push("+OK".into()));
        if lines.is_empty() {
            continue;
        }
        let line = rng.below(lines.len());
        change(&mut |lines| drop(lines.remove(line)));
        change(&mut |lines| lines[line].push(' '));
        change(&mut |lines| lines.swap(0, line));
        change(&mut |lines| lines[line].replace_range(0..1, "?"));
    }
    for at in 0..wanted.groups.len() {
        let mut altered = wanted.clone();
        altered.groups[at].push("MSG".into());
        changes.push(altered);
    }
    let mut altered = wanted.clone();
    altered.rest.push(("a".into(), "MSG".into()));
    changes.push(altered);
    changes
}

/// The player itself, not only the comparison: the same script with one payload changed must be
/// told apart.
#[test]
fn a_real_run_that_differs_is_seen() {
    let source = "a> CONNECT {\"verbose\":false}\na> SUB foo 1\na> PUB foo 2\na> hi\na ping\n";
    let script = Script::parse("seen", source).expect("it parses");
    let other = Script::parse("seen", &source.replace("hi", "ho")).expect("it parses");
    let program = Program::reference();
    let one = play(&program, &script, Delivery::Lines, 0).expect("a reference");
    let two = play(&program, &other, Delivery::Lines, 0).expect("a reference");
    let seen = compare::differences(&script, &one, &two);
    assert!(seen.contains("wanted MSG foo 1 2\\r\\nhi"), "{seen}");
    assert!(seen.contains("got    MSG foo 1 2\\r\\nho"), "{seen}");
    let ping = Act { conn: "a".into(), step: Step::Ping, expected: vec![], line: 0 };
    assert_eq!(script.acts.last().map(|act| &act.step), Some(&ping.step));
}
