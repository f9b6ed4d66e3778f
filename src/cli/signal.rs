//! `--signal command[=pid|pidfile|glob]`: what an operator asks of servers that run already.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// Processes of these names are servers.
const NAMES: [&str; 2] = [super::PROGRAM, "ringbus"];

/// Sends it.
///
/// # Errors
/// What to print: no such command, or nobody to send it to, or too many.
pub fn send(request: &str) -> Result<(), String> {
    let parts: Vec<&str> = request.split('=').collect();
    let (command, whom) = match parts[..] {
        [command] => (command, String::new()),
        [command, whom] => (command, fs::read_to_string(whom).unwrap_or_else(|_| whom.to_string())),
        _ => return Err(format!("invalid signal parameters: [{}]", parts[2..].join(" "))),
    };
    let number = whom.strip_suffix('*').unwrap_or(&whom);
    let is_glob = whom.ends_with('*');
    if !number.is_empty() && number.parse::<i32>().is_err() {
        return Err(format!("invalid pid: {number}"));
    }
    let pids = match number.parse() {
        Ok(pid) if !is_glob => vec![pid],
        _ => running(),
    };
    if pids.len() > 1 && !is_glob {
        let list: String = pids.iter().map(|pid| format!("\n{pid}")).collect();
        return Err(format!("multiple {} processes running:{list}", super::PROGRAM));
    }
    if pids.is_empty() {
        return Err(format!("no {} processes running", super::PROGRAM));
    }
    let signal = signal(command)?;
    let mut faults = String::new();
    for pid in pids.into_iter().filter(|pid| pid.to_string().starts_with(number)) {
        let sent = Pid::from_raw(pid).filter(|_| pid > 0).map(|pid| kill_process(pid, signal));
        match sent {
            Some(Ok(())) => {}
            Some(Err(error)) => faults += &format!("\nsignal {command:?} {pid}: {}", said(error)),
            None => faults += &format!("\nsignal {command:?} {pid}: invalid argument"),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// In the words of Go's `syscall`.
fn said(error: rustix::io::Errno) -> String {
    match error {
        rustix::io::Errno::SRCH => "no such process".to_string(),
        rustix::io::Errno::PERM => "operation not permitted".to_string(),
        error => error.to_string(),
    }
}

fn signal(command: &str) -> Result<Signal, String> {
    match command {
        "stop" => Ok(Signal::KILL),
        "quit" => Ok(Signal::INT),
        "term" => Ok(Signal::TERM),
        "reopen" => Ok(Signal::USR1),
        "reload" => Ok(Signal::HUP),
        "ldm" => Ok(Signal::USR2),
        _ => Err(format!("unknown signal {command:?}")),
    }
}

/// The servers of this host but this process, as `pgrep` finds them: by a part of their names.
fn running() -> Vec<i32> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<i32> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| *name != own)
        .filter_map(|name| {
            let pid = name.parse().ok()?;
            let name = fs::read_to_string(format!("/proc/{name}/comm")).ok()?;
            NAMES.iter().any(|server| name.contains(server)).then_some(pid)
        })
        .collect();
    pids.sort_unstable();
    pids
}
