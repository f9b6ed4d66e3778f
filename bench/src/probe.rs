//! What /proc says of a server's process and of the whole machine.

use crate::sys;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// A moment at which the server's CPU time and the machine's were read.
#[derive(Clone, Copy)]
pub struct Mark {
    /// When.
    pub at: Instant,
    /// CPU ns of all the server's threads so far.
    pub server_cpu_ns: u64,
    own_cpu_ns: u64,
    machine_busy_s: f64,
}

impl Mark {
    /// Reads everything now.
    pub fn take(pid: u32) -> Self {
        Self {
            at: Instant::now(),
            server_cpu_ns: sys::process_cpu_ns(pid).unwrap_or(0),
            own_cpu_ns: sys::process_cpu_ns(std::process::id()).unwrap_or(0),
            machine_busy_s: machine_busy_s(&fs::read_to_string("/proc/stat").unwrap_or_default()),
        }
    }

    /// Cores' worth of work since `earlier` that was neither the server's nor ours.
    pub fn others_since(&self, earlier: &Self) -> f64 {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64().max(1e-9);
        let server = self.server_cpu_ns.saturating_sub(earlier.server_cpu_ns);
        let own = self.own_cpu_ns.saturating_sub(earlier.own_cpu_ns);
        let known_s = (server + own) as f64 / 1e9;
        ((self.machine_busy_s - earlier.machine_busy_s - known_s) / seconds).max(0.0)
    }
}

/// Seconds of work of all cores, from the text of /proc/stat (ticks of 10 ms; what a hypervisor
/// stole counts as others' work).
fn machine_busy_s(stat: &str) -> f64 {
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    [0, 1, 2, 5, 6, 7].iter().filter_map(|i| ticks.get(*i)).sum::<f64>() / 100.0
}

fn status_bytes(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status_field(&text, key)
}

fn status_field(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Memory a process has in RAM now, in bytes; 0 when there is no such process.
pub fn resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS")
}

/// The most it ever had.
pub fn resident_peak_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM")
}

/// The process that listens on a port, among `root` and its descendants: a command may be a
/// script that starts the server.
pub fn listener(root: u32, port: u16) -> Option<u32> {
    let table =
        fs::read_to_string("/proc/net/tcp").ok()? + &fs::read_to_string("/proc/net/tcp6").ok()?;
    let wanted = listening_socket(&table, port)?;
    family(root).into_iter().find(|pid| {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        entries
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == Path::new(&wanted)))
    })
}

fn listening_socket(table: &str, port: u16) -> Option<String> {
    let suffix = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(3) == Some(&"0A") && fields.get(1)?.ends_with(&suffix);
        listens.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or("0")))
    })
}

fn family(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children: Vec<u32> = tasks
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|text| {
                text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
            })
            .collect();
        all.extend(children);
        at += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_no_work() {
        let stat = "cpu  100 200 300 9999 5000 10 20 30 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(machine_busy_s(stat), 6.6);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(status_field(status, "VmRSS"), 1 << 20);
        assert_eq!(status_field(status, "VmHWM"), 2 << 20);
        assert_eq!(status_field(status, "VmSwap"), 0);
    }

    #[test]
    fn our_own_listener_is_found() {
        let listener_socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener_socket.local_addr().unwrap().port();
        let own = std::process::id();
        assert_eq!(listener(own, port), Some(own));
        drop(listener_socket);
        assert_eq!(listener(own, port), None);
    }
}
