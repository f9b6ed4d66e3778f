//! What happens to a server, and to the healthy clients it has, while somebody attacks it.
//!
//! Each attack gets a fresh server that asks for a user and a password. Two established clients
//! exchange messages at a fixed rate, first in peace and then while the attack runs; every attack
//! is bounded in connections, bytes and time.

mod attacks;
pub mod healthy;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::servers::Spec;
use crate::{probe, sys};

pub use attacks::ATTACKS;
pub use table::{markdown, text};

/// How long the healthy clients are watched in peace.
const CALM: Duration = Duration::from_secs(2);

/// How long they are watched at least meanwhile, however soon an attack is over.
const MEANWHILE_MIN: Duration = Duration::from_secs(1);

/// One attack on one server.
pub struct Row {
    /// The attack's name.
    pub attack: &'static str,
    /// What it does.
    pub does: &'static str,
    /// The server's name.
    pub server: String,
    /// What attackers were told, and how many of them.
    pub told: Vec<(String, u64)>,
    /// The most memory the server had in RAM beyond what it had before, bytes.
    pub grown_bytes: u64,
    /// CPU of all threads of the server meanwhile, seconds.
    pub cpu_s: f64,
    /// 99 of 100 messages of healthy clients took at most this, microseconds: in peace, meanwhile.
    pub p99_us: (u64, u64),
    /// The longest any took meanwhile, microseconds.
    pub longest_us: u64,
    /// The server still answers.
    pub survived: bool,
}

/// Runs the named attacks (all, if none is named) on each server.
///
/// # Errors
/// A server that can't be started, or healthy clients that were not served in peace.
pub fn run(
    servers: &[Spec],
    names: &[String],
    server_cores: &[usize],
    own_cores: &[usize],
) -> Result<Vec<Row>, String> {
    if let Some(name) = names.iter().find(|n| !ATTACKS.iter().any(|a| a.name == n.as_str())) {
        return Err(format!("no attack '{name}'"));
    }
    let _ = sys::raise_open_files();
    let conf = Conf::write()?;
    let mut rows = Vec::new();
    for attack in ATTACKS.iter().filter(|a| names.is_empty() || names.iter().any(|n| n == a.name)) {
        for spec in servers {
            eprintln!("{} on {}", attack.name, spec.name);
            rows.push(one(attack, spec, &conf.path, server_cores, own_cores)?);
        }
    }
    Ok(rows)
}

fn one(
    attack: &attacks::Attack,
    spec: &Spec,
    conf: &Path,
    server_cores: &[usize],
    own_cores: &[usize],
) -> Result<Row, String> {
    let mut spec = spec.clone();
    spec.command.extend(["-c".to_string(), conf.to_string_lossy().into_owned()]);
    let mut server = spec.start(None, server_cores, own_cores)?;
    let healthy = healthy::Pair::start(&server.door)?;
    std::thread::sleep(CALM);
    let calm = healthy.measured();
    let before = probe::resident_bytes(server.pid);
    let mark = probe::Mark::take(server.pid);
    let began = Instant::now();
    let told = (attack.run)(server.door.port);
    std::thread::sleep(MEANWHILE_MIN.saturating_sub(began.elapsed()));
    let cpu_ns = probe::Mark::take(server.pid).server_cpu_ns.saturating_sub(mark.server_cpu_ns);
    let meanwhile = healthy.measured();
    let grown_bytes = probe::resident_peak_bytes(server.pid).saturating_sub(before);
    let survived = server.alive() && healthy.end();
    Ok(Row {
        attack: attack.name,
        does: attack.does,
        server: spec.name,
        told,
        grown_bytes,
        cpu_s: cpu_ns as f64 / 1e9,
        p99_us: (calm.p99_us, meanwhile.p99_us),
        longest_us: meanwhile.longest_us,
        survived,
    })
}

/// A configuration file for the time of a run.
struct Conf {
    path: PathBuf,
}

impl Conf {
    fn write() -> Result<Conf, String> {
        let path = std::env::temp_dir().join(format!("siege-{}.conf", std::process::id()));
        let text = format!(
            "authorization {{ user: {}, password: {} }}\n",
            attacks::USER,
            attacks::PASSWORD
        );
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Conf { path })
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
