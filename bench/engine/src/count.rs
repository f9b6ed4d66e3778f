//! Instructions of a script, as valgrind's callgrind counts them: the same for the same program,
//! however busy the machine is.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::rig::Traffic;
use crate::script::{Played, Script};

/// Everything outside of this function is left out.
const COUNTED: &str = "--toggle-collect=*Scene*counted*";

/// valgrind counts a `rep movsb` byte by byte, so copies are to be made in vectors, of whatever
/// size and on whatever processor.
const TUNABLES: &str = "glibc.cpu.x86_rep_movsb_threshold=0x10000000:\
    glibc.cpu.x86_rep_stosb_threshold=0x10000000:\
    glibc.cpu.x86_non_temporal_threshold=0x10000000";

/// A script's cost.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Instructions of the counted part.
    pub instructions: u64,
    /// What came of it.
    pub played: Played,
}

impl Counted {
    /// Instructions for each delivery, publication or act.
    pub fn each(&self) -> f64 {
        self.instructions as f64 / self.played.units as f64
    }
}

/// Counts several scripts, each on so many shards, as many at a time as there are cores. The
/// answers come in the order of `wanted`.
///
/// # Errors
/// When valgrind is missing, or a script fails.
pub fn count_all(wanted: &[(&Script, usize)]) -> Result<Vec<Counted>, String> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(vec![None; wanted.len()]);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((script, shards)) = wanted.get(at) else { return };
            let counted = count(script, *shards);
            found.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(counted);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.into_iter().map(|one| one.unwrap_or_else(|| Err("not counted".into()))).collect()
}

/// Plays one script in a process of its own, under callgrind.
fn count(script: &Script, shards: usize) -> Result<Counted, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", COUNTED])
        .arg(&own)
        .args(["play", script.name, &shards.to_string()])
        // What a shell exports moves the stack, and with it how copies are aligned.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("GLIBC_TUNABLES", TUNABLES)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("valgrind: {e} (Debian: apt-get install valgrind)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{} under valgrind: {}\n{said}", script.name, output.status));
    }
    let instructions = collected(&said).ok_or_else(|| format!("valgrind said\n{said}"))?;
    let played = parse_played(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| format!("{}: no figures", script.name))?;
    if instructions == 0 {
        return Err(format!("{}: nothing was counted; was the program stripped?", script.name));
    }
    Ok(Counted { instructions, played })
}

/// The number in `==123== Collected : 456`.
fn collected(said: &str) -> Option<u64> {
    let number = said.lines().find_map(|line| line.split_once("Collected :"))?.1;
    number.trim().parse().ok()
}

/// What a played script tells on standard output; [`parse_played`] reads it back.
pub fn show_played(played: &Played) -> String {
    let Traffic { frames, batches, bytes } = played.traffic;
    let Played { published, delivered, units, writes, .. } = played;
    format!("{published} {delivered} {units} {frames} {batches} {bytes} {writes}")
}

fn parse_played(text: &str) -> Option<Played> {
    let numbers: Vec<u64> = text.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let [published, delivered, units, frames, batches, bytes, writes] = numbers[..] else {
        return None;
    };
    let traffic = Traffic { frames, batches, bytes };
    Some(Played { published, delivered, units, traffic, writes })
}

/// What else the counts depend on: compiler, C library, valgrind, and the instructions it offers.
pub fn toolchain() -> String {
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        text.and_then(|t| t.lines().next().map(String::from)).unwrap_or_else(|| "?".into())
    };
    let rustc = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let rustc = first_line(&rustc.to_string_lossy(), "--version");
    let glibc = first_line("getconf", "GNU_LIBC_VERSION");
    let valgrind = first_line("valgrind", "--version");
    let features = if has_avx2() { "avx2" } else { "no avx2" };
    format!("{rustc}, {glibc}, {valgrind}, {} {features}", std::env::consts::ARCH)
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_valgrind_and_a_player_say_is_understood() {
        let said = "==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(collected(said), Some(123_456));
        assert_eq!(collected("==7== Command: x"), None);
        let traffic = Traffic { frames: 4, batches: 5, bytes: 6 };
        let played = Played { published: 1, delivered: 2, units: 3, traffic, writes: 7 };
        assert_eq!(parse_played(&show_played(&played)), Some(played));
        assert_eq!(parse_played("1 2 3"), None);
    }
}
