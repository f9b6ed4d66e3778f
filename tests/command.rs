//! The process as operators and their scripts meet it: what it prints, how it exits, which files it
//! writes, what it does at a signal. nats-server is asked the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::server::Program;

const TIME_MAX: Duration = Duration::from_secs(20);

#[test]
fn command_lines_are_answered_like_nats_server() {
    let lines = [
        "-zz",
        "--zz=1",
        "-p",
        "-p x",
        "-p 1x",
        "-p 99999999999999999999",
        "-m 8222.5",
        "--max_traced_msg_len x",
        "-D=maybe",
        "--logtime=2",
        "---p",
        "-=x",
        "frob",
        "-D frob",
        "-DV -- frob",
        "-t",
        "-t -c nowhere.conf",
        "-c nowhere.conf",
        "-h",
        "--help",
        "help",
        "-p 1 HELP",
    ];
    let mut faults = Vec::new();
    for line in lines {
        let theirs = answer(&Program::reference(), line);
        let ours = answer(&Program::under_test(), line);
        if theirs.status.code() != ours.status.code()
            || first_line(&theirs.stderr) != first_line(&ours.stderr)
            || first_word(&theirs.stdout) != first_word(&ours.stdout)
        {
            let (theirs, ours) = (first_line(&theirs.stderr), first_line(&ours.stderr));
            faults.push(format!(
                "{line}
  nats-server: {theirs:?}
  ringbus:     {ours:?}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// nats-server's own list of its flags, gone through: names, whether a value follows.
fn flags_of_nats_server() -> Vec<(String, bool)> {
    let help = answer(&Program::reference(), "--help");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let (mut flags, mut waiting) = (Vec::new(), Vec::new());
    for line in help.lines().map(str::trim).filter(|line| line.starts_with('-')) {
        let (names, told) = line.split_once("  ").unwrap_or((line, ""));
        waiting.extend(names.split([',', ' ']).filter(|word| word.starts_with('-')).map(bare));
        if !told.is_empty() || names.contains('<') {
            // Go takes nothing after this one, whatever its text says.
            let valued = names.contains('<') && !names.contains("--no_advertise");
            flags.extend(waiting.drain(..).map(|name| (name, valued)));
        }
    }
    flags
}

fn bare(flag: &str) -> String {
    flag.trim_start_matches('-').to_string()
}

#[test]
fn every_flag_of_nats_server_is_taken_or_refused_by_name_and_told_of() {
    let program = Program::under_test();
    if !program.takes_shards {
        return;
    }
    let flags = flags_of_nats_server();
    assert!(flags.len() > 55, "{flags:?}");
    let help = answer(&program, "-h").stdout;
    let help = String::from_utf8_lossy(&help).into_owned();
    let told: Vec<String> = help
        .split([' ', ',', '[', ']', '\n', ';', '='])
        .filter(|word| word.starts_with('-'))
        .map(bare)
        .collect();
    let mut faults = Vec::new();
    for (name, valued) in &flags {
        if !told.contains(name) {
            faults.push(format!("-h does not tell of {name}"));
        }
        for dashes in ["-", "--"] {
            for line in spellings(&format!("{dashes}{name}"), *valued) {
                faults.extend(judged(&program, &line, name).err());
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn spellings(flag: &str, valued: bool) -> [String; 2] {
    let value = if flag.contains("signal") || flag.contains("sl") { "stop=x" } else { "7" };
    match valued {
        true => [format!("{flag} {value}"), format!("{flag}={value}")],
        false => [flag.to_string(), format!("{flag}=true")],
    }
}

/// A check without a file to check is refused after all flags have been understood.
fn judged(program: &Program, line: &str, name: &str) -> Result<(), String> {
    let whole = format!("{line} -t");
    let (ours, theirs) = (answer(program, &whole), answer(&Program::reference(), &whole));
    let (said, expected) = (first_line(&ours.stderr), first_line(&theirs.stderr));
    let spelled = line.split([' ', '=']).next().unwrap_or_default();
    if said.contains(&format!("{spelled} is not supported yet; ")) {
        return match ours.status.code() {
            Some(1) => Ok(()),
            code => Err(format!("{line}: refused with {code:?}")),
        };
    }
    if ours.status.code() != theirs.status.code() || said != expected {
        return Err(format!("{line} ({name}): {said:?}, nats-server: {expected:?}"));
    }
    Ok(())
}

#[test]
fn flags_go_before_the_file() {
    for (name, program) in ["reference", "ringbus"].iter().zip(Program::both()) {
        let scratch = Scratch::new(&format!("precedence-{name}"));
        let conf = "server_name: file\ndebug: true\nlogtime: true\npid_file: of-the-file\n\
                    logfile: of-the-file.log\nmax_traced_msg_len: 7\n";
        fs::write(scratch.0.join("c.conf"), conf).unwrap();
        let flags = ["-n", "flag", "--debug=false", "-T=false", "-P", "pid", "-l", "log"];
        let mut running = Running::start_with(&program, &scratch.0, &flags);
        let text = await_text(&scratch.0.join("log"), "Server is ready");
        assert!(text.contains("] [INF]   Name:     flag\n"), "{name}: {text}");
        assert!(!text.contains("[DBG]"), "{name}: {text}");
        assert!(scratch.0.join("pid").exists(), "{name}");
        for left in ["of-the-file", "of-the-file.log"] {
            assert!(!scratch.0.join(left).exists(), "{name}: {left}");
        }
        running.signal("INT");
        assert_eq!(running.end(), Some(0), "{name}");
    }
}

#[test]
fn versions_are_told() {
    for line in ["-v", "--version", "version"] {
        let output = answer(&Program::under_test(), line);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text, "nats-server: v2.15.1 (ringbus 0.1.0)\n");
        assert!(output.status.success());
    }
}

#[test]
fn what_is_missing_is_refused_by_name() {
    let table = [
        ("--tls", "nats-server: TLS Server certificate must be present and valid"),
        ("--tlscert a", "nats-server: TLS Server private key must be present and valid"),
        ("-js", "nats-server: -js is not supported yet; "),
        ("--cluster nats://a:1", "nats-server: --cluster is not supported yet; "),
        ("--shards 0", "nats-server: --shards 0 is out of range: "),
    ];
    for (line, start) in table {
        let output = answer(&Program::under_test(), line);
        let text = first_line(&output.stderr);
        assert!(text.starts_with(start), "{line}: {text}");
        assert_eq!(output.status.code(), Some(1), "{line}");
    }
}

#[test]
fn settings_that_contradict_each_other_do_not_start() {
    let scratch = Scratch::new("contradict");
    let conf = scratch.0.join("c.conf");
    for text in ["max_payload: 100\nmax_pending: 10", "server_name: \"a b\""] {
        fs::write(&conf, text).unwrap();
        let line = format!("-p -1 -c {}", conf.display());
        let theirs = answer(&Program::reference(), &line);
        let ours = answer(&Program::under_test(), &line);
        assert_eq!(ours.status.code(), theirs.status.code(), "{text}");
        assert_eq!(
            last_words(&first_line(&ours.stderr)),
            last_words(&first_line(&theirs.stderr)),
            "{text}"
        );
    }
}

/// Its cause too, which scripts and people look for.
#[test]
fn what_keeps_a_server_from_starting_is_told_in_the_words_of_nats_server() {
    let scratch = Scratch::new("no-start");
    let directory = scratch.0.display();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (line, words) in [
        (format!("-p {port}"), "[FTL] Error listening on port: "),
        (format!("-p -1 -m {port}"), "[FTL] Can't start monitoring: "),
        (format!("-p 4222 -a 192.0.2.1 --pass x -P {directory}/pid"), "[WRN] Plaintext passwords"),
        (format!("-p -1 -P {directory}/none/pid"), "[FTL] Could not write pidfile: "),
        (format!("-p -1 -P {directory}"), "[FTL] Could not write pidfile: "),
        (format!("-p -1 -l {directory}/none/log"), "error opening file: "),
        (format!("-p -1 -l {directory}"), "error opening file: "),
        (format!("-p -1 -c {directory}"), "nats-server: read "),
    ] {
        let [theirs, ours] = Program::both().map(|program| {
            let output = answer(&program, &format!("-a 127.0.0.1 {line}"));
            let told = |line: &str| {
                let signs = ["[WRN] ", "[ERR] ", "[FTL] ", "error opening", "nats-server: "];
                signs.iter().find_map(|sign| line.find(sign)).map(|at| line[at..].to_string())
            };
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), text.lines().filter_map(told).collect::<Vec<_>>())
        });
        assert!(theirs.1.iter().any(|told| told.starts_with(words)), "{line}: {theirs:?}");
        assert_eq!(theirs.0, Some(1), "{line}");
        let (code, told) = ours;
        // Go's logger says the time where nats-server has none of its own yet.
        let told: Vec<String> = told
            .into_iter()
            .map(|told| told.replace("nats-server: error opening", "error opening"))
            .collect();
        assert_eq!((code, told), theirs, "{line}");
    }
}

#[test]
fn a_life_under_nats_server() {
    live(&Program::reference(), "reference");
}

#[test]
fn a_life_under_ringbus() {
    live(&Program::under_test(), "ringbus");
}

/// Starts, writes its files, reopens its log, survives a signal it has no use for, and ends in order.
fn live(program: &Program, name: &str) {
    let scratch = Scratch::new(name);
    let file = |name: &str| scratch.0.join(name);
    fs::write(file("c.conf"), "server_name: alive\nlogtime: false\n").unwrap();
    let mut running = Running::start(program, &scratch.0);
    let pid = running.0.id();
    let log = file("log");
    await_text(&log, "Server is ready");
    let text = fs::read_to_string(&log).unwrap();
    for line in [
        "[INF] Starting nats-server",
        "[INF]   Version:  2.15.1",
        "[INF]   Git:      [",
        "[INF]   Name:     alive",
        "[INF]   ID:       N",
        "[INF] Using configuration file: c.conf (sha256:",
        "[INF] Starting http monitor on 127.0.0.1:",
        "[INF] Listening for client connections on 127.0.0.1:",
        "[INF] Server is ready",
    ] {
        let line = format!("[{pid}] {line}");
        assert!(text.lines().any(|found| found.starts_with(&line)), "no `{line}` in:\n{text}");
    }
    assert_eq!(fs::read_to_string(file("pid")).unwrap(), pid.to_string());
    let program_name = program.path.file_name().unwrap().to_string_lossy().into_owned();
    let ports = file(&format!("{program_name}_{pid}.ports"));
    let json: serde_json::Value = serde_json::from_str(&await_text(&ports, "}")).unwrap();
    assert!(json["nats"][0].as_str().unwrap().starts_with("nats://127.0.0.1:"));
    assert!(json["monitoring"][0].as_str().unwrap().starts_with("http://127.0.0.1:"));

    fs::rename(&log, file("log.1")).unwrap();
    running.signal("USR1");
    await_text(&log, "[INF] File log re-opened");
    running.signal("HUP");
    await_text(&log, "Trapped \"hangup\" signal");
    running.signal("INT");
    let status = running.end();
    assert_eq!(status, Some(0));
    let text = fs::read_to_string(&log).unwrap();
    for line in ["Trapped \"interrupt\" signal", "Initiating Shutdown...", "Server Exiting.."] {
        assert!(text.contains(&format!("[{pid}] [INF] {line}\n")), "no `{line}` in:\n{text}");
    }
    assert!(!ports.exists(), "the ports file stays");
    assert!(file("pid").exists(), "the pid file goes");
}

#[test]
fn sigterm_ends_it_in_order() {
    for program in Program::both() {
        let scratch = Scratch::new("term");
        fs::write(scratch.0.join("c.conf"), "debug: false\n").unwrap();
        let mut running = Running::start(&program, &scratch.0);
        let log = scratch.0.join("log");
        await_text(&log, "Server is ready");
        running.signal("TERM");
        assert_eq!(running.end(), Some(0), "{}", program.path.display());
        await_text(&log, "Trapped \"terminated\" signal");
    }
}

pub struct Running(pub Child);

impl Running {
    pub fn start(program: &Program, directory: &Path) -> Running {
        Running::start_with(program, directory, &["-P", "pid", "-l", "log"])
    }

    /// With these flags too, of which none names the configuration, an address or a port.
    pub fn start_with(program: &Program, directory: &Path, flags: &[&str]) -> Running {
        let mut command = Command::new(&program.path);
        command
            .args(["-c", "c.conf", "-a", "127.0.0.1", "-p", "-1", "-m", "-1"])
            .args(["--ports_file_dir", "."])
            .args(flags)
            .env("NOTIFY_SOCKET", directory.join("notify"))
            .current_dir(directory)
            .stdin(Stdio::null());
        Running(command.spawn().unwrap())
    }

    /// The first URL of this kind in its ports file, without the scheme.
    pub fn address(&self, kind: &str, program: &Program, directory: &Path) -> String {
        let name = program.path.file_name().unwrap().to_string_lossy().into_owned();
        let path = directory.join(format!("{name}_{}.ports", self.0.id()));
        let json: serde_json::Value = serde_json::from_str(&await_text(&path, "}")).unwrap();
        json[kind][0].as_str().unwrap().split_once("://").unwrap().1.to_string()
    }

    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// The exit code, once it is there.
    pub fn end(&mut self) -> Option<i32> {
        let mut status = None;
        await_that("the process ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn answer(program: &Program, line: &str) -> Output {
    let mut command = Command::new(&program.path);
    command.args(line.split_whitespace()).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("{}: {error}", program.path.display()))
}

/// The text of a file, once it holds these words.
pub fn await_text(path: &Path, words: &str) -> String {
    let mut text = String::new();
    await_that(&format!("{words} in {}", path.display()), || {
        text = fs::read_to_string(path).unwrap_or_default();
        text.contains(words)
    });
    text
}

pub fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIME_MAX;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {TIME_MAX:?}: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

pub fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_string()
}

fn first_word(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).split_whitespace().next().unwrap_or_default().to_string()
}

/// Without what precedes the last `: `, a place in a file perhaps.
fn last_words(line: &str) -> String {
    line.rsplit(": ").next().unwrap_or_default().to_string()
}

/// A directory of one test, removed at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let name = format!("ringbus-command-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
