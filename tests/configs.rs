//! Configuration files: the ones this repository ships load, and small ones get the same verdict
//! from nats-server and from ringbus.

mod kinds;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::server::{Program, Server, Setup};
use crate::tls::files_for_configurations;
use table::{CASES, Verdict};

#[test]
fn shipped_files_are_valid() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    // Some name files they find where they are run.
    let scratch = Scratch::new("shipped");
    let mut checked = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|extension| extension == "conf" || extension == "toml") {
            continue;
        }
        let output = Command::new(Program::under_test().path)
            .arg("-t")
            .arg("-c")
            .arg(&path)
            .current_dir(&scratch.0)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {}", path.display(), stderr(&output));
        assert!(stderr(&output).contains("is valid (sha256:"), "{}", stderr(&output));
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} files in {}", directory.display());
}

#[test]
fn same_verdicts_as_nats_server() {
    let nats = nats_server();
    let directory = Scratch::new("cases");
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let judge = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((text, verdict)) = CASES.get(index) else { return };
            if let Err(why) = judge_one(&nats, &directory, index, text, *verdict) {
                failures.lock().unwrap().push(why);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(judge);
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), CASES.len(), failures.join("\n"));
}

/// Files that are sound for themselves, and with which neither starts: what nats-server says of
/// them, and where ringbus sees the mistake.
const NO_START: &[(&str, &str, &str)] = &[
    (
        "authorization { users: [ { user: u, password: p } ] }\n  no_auth_user: a",
        "no_auth_user: \"a\" not present as user or nkey in authorization block or account \
         configuration",
        "2:3",
    ),
    (
        "debug: true\nno_auth_user: a",
        "no_auth_user: \"a\" present, but users/nkeys are not defined",
        "2:1",
    ),
    (
        "accounts { A { } }\n system_account: S",
        "error resolving system account: account missing",
        "2:2",
    ),
    ("accounts: [A]\nsystem: S", "error resolving system account: account missing", "2:1"),
];

#[test]
fn what_keeps_both_from_starting_has_a_place() {
    for (text, words, place) in NO_START {
        let conf: Vec<String> = text.lines().map(str::to_string).collect();
        for program in Program::both() {
            let setup = Setup { conf: conf.clone(), ..Setup::default() };
            let started = Server::start(&program, &setup);
            let said = started.err().unwrap_or_else(|| panic!("{text:?} starts"));
            assert!(said.contains(words), "{text:?}: {said}");
            let placed = said.contains(&format!(".conf:{place}: {words}"));
            assert_eq!(placed, program.takes_shards, "{text:?}: {said}");
        }
    }
}

fn judge_one(
    nats: &Path,
    directory: &Scratch,
    index: usize,
    text: &str,
    verdict: Verdict,
) -> Result<(), String> {
    let name = format!("case-{index}.conf");
    fs::write(directory.0.join(&name), text).unwrap();
    let theirs = check(nats, &directory.0, &name);
    let ours = check(&Program::under_test().path, &directory.0, &name);
    compare(&name, &theirs, &ours, verdict).map_err(|why| {
        format!("{text:?} ({verdict:?}): {why}\n  nats-server: {theirs:?}\n  ringbus:     {ours:?}")
    })
}

#[derive(Debug)]
struct Said {
    valid: bool,
    text: String,
}

fn check(program: &Path, directory: &Path, name: &str) -> Said {
    let output = Command::new(program)
        .args(["-t", "-c", name])
        .current_dir(directory)
        .env("CASE_PORT", "4299")
        .env("CASE_NAME", "named")
        .env("CASE_NUMERIC_NAME", "0123")
        .env("CASE_EMPTY", "")
        .env("CASE_QUOTED", "\"a b\"")
        .env("CASE_CYCLE", "$CASE_CYCLE")
        .env("CASE_SIZE", "2MB")
        .env("CASE_BROKEN", "[a")
        .env_remove("CASE_MISSING")
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    Said { valid: output.status.success(), text: stderr(&output) }
}

fn compare(name: &str, theirs: &Said, ours: &Said, verdict: Verdict) -> Result<(), String> {
    if !ours.valid && !ours.text.starts_with("nats-server: ") {
        return Err("not an orderly refusal".to_string());
    }
    match verdict {
        Verdict::Same if theirs.valid != ours.valid => Err("the verdicts differ".to_string()),
        Verdict::Same if ours.valid && theirs.text != ours.text => {
            Err("the digests differ".to_string())
        }
        Verdict::Same if ours.valid => Ok(()),
        Verdict::Same => compare_places(&theirs.text, &ours.text),
        Verdict::Elsewhere if theirs.valid || ours.valid => {
            Err("both should refuse it".to_string())
        }
        Verdict::Elsewhere => Ok(()),
        Verdict::Ours if theirs.valid || !ours.valid => {
            Err("only ringbus should accept it".to_string())
        }
        Verdict::Ours => Ok(()),
        Verdict::Unsupported(_) | Verdict::Stricter(_) if !theirs.valid || ours.valid => {
            Err("only nats-server should accept it".to_string())
        }
        Verdict::Unsupported(key)
            if !ours.text.contains(&format!("{key} is not supported yet: ")) =>
        {
            Err("the refusal does not name the key".to_string())
        }
        Verdict::Unsupported(_) | Verdict::Stricter(_) => match places(&ours.text).first() {
            Some(place) if place.file == name => Ok(()),
            _ => Err("the refusal has no place".to_string()),
        },
    }
}

/// Where nats-server names line and column, ringbus names the same; where it names a line only,
/// ringbus names one not behind it. Columns of the first line count from 0 there and from 1 here.
fn compare_places(theirs: &str, ours: &str) -> Result<(), String> {
    let ours = places(ours);
    let mut theirs_places: Vec<Place> = places(theirs);
    for place in theirs_places.iter_mut().filter(|place| place.line == 1) {
        place.column += 1;
    }
    theirs_places.sort();
    let mut sorted = ours.clone();
    sorted.sort();
    if !theirs_places.is_empty() {
        return if sorted == theirs_places {
            Ok(())
        } else {
            Err(format!("places {sorted:?}, not {theirs_places:?}"))
        };
    }
    let Some(line) = line_after(theirs, "on line ") else { return Ok(()) };
    match ours.first() {
        Some(place) if place.line <= line => Ok(()),
        other => Err(format!("place {other:?}, not line {line}")),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: String,
    line: u32,
    column: u32,
}

/// Each `file.conf:line:column`, in brackets or before a colon.
fn places(text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for word in text.split([' ', '(', ')', '\n']) {
        let mut parts = word.trim_end_matches(':').rsplitn(3, ':');
        let (column, line, file) = (parts.next(), parts.next(), parts.next());
        let (Some(column), Some(line), Some(file)) = (column, line, file) else { continue };
        if let (Ok(column), Ok(line), true) =
            (column.parse(), line.parse(), file.ends_with(".conf"))
        {
            places.push(Place { file: file.to_string(), line, column });
        }
    }
    places
}

fn line_after(text: &str, words: &str) -> Option<u32> {
    let (_, rest) = text.split_once(words)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_string()
}

/// The nats-server to compare with, of the release whose behaviour ringbus has.
fn nats_server() -> PathBuf {
    let path = Program::reference().path;
    let version = Command::new(&path).arg("-v").output();
    match version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string()) {
        Ok(version) if version == "nats-server: v2.15.1" => path,
        found => panic!(
            "{} is not nats-server 2.15.1 ({found:?}): run `make test`, or set NATS_SERVER_BIN",
            path.display()
        ),
    }
}

/// A directory with the files the cases include, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let directory =
            std::env::temp_dir().join(format!("ringbus-configs-{name}-{}", std::process::id()));
        fs::create_dir_all(directory.join("sub")).unwrap();
        for (name, text) in [
            ("ok.conf", "port: 4222\nmax_subs: 7\n"),
            ("broken.conf", "port: 4222\nmax_subs: [\n"),
            ("unknown.conf", "port: 4222\nnonsense: 7\n"),
            ("variable.conf", "LIMIT = 12\n"),
            ("sub/nested.conf", "include ../ok.conf\ninclude inner.conf"),
            ("sub/inner.conf", "debug: true"),
        ] {
            fs::write(directory.join(name), text).unwrap();
        }
        files_for_configurations(&directory);
        Scratch(directory)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
