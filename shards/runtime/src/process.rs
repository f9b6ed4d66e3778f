//! What the monitoring endpoints tell of this process.

use std::fs;
use std::time::{Duration, Instant};

use monitor::ProcessFigures;

/// How long a measured share of the CPU stays good enough.
const SAMPLE_TIME_MIN: Duration = Duration::from_secs(1);

/// Measures the process from one look to the next.
pub(crate) struct Process {
    looked_at: Instant,
    cpu: Duration,
    cpu_percent: f64,
}

impl Process {
    /// Begins to measure.
    pub fn new() -> Process {
        Process { looked_at: Instant::now(), cpu: cpu_time(), cpu_percent: 0.0 }
    }

    /// The figures now.
    pub fn figures(&mut self) -> ProcessFigures {
        let elapsed = self.looked_at.elapsed();
        if elapsed >= SAMPLE_TIME_MIN {
            let cpu = cpu_time();
            let used = cpu.saturating_sub(self.cpu);
            self.cpu_percent = (used.as_secs_f64() / elapsed.as_secs_f64() * 1000.0).round() / 10.0;
            self.looked_at = Instant::now();
            self.cpu = cpu;
        }
        let (mem_rss, cpu_percent) = (resident_bytes(), self.cpu_percent);
        ProcessFigures { mem_rss, cpu_percent, threads: Vec::new() }
    }
}

/// Id, name and state of each thread of this process.
pub(crate) fn threads() -> Vec<(u32, String, char)> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut threads: Vec<_> = tasks.filter_map(|task| thread(&task.path())).collect();
    threads.sort_unstable();
    threads
}

fn thread(task: &std::path::Path) -> Option<(u32, String, char)> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    let (before, after) = stat.rsplit_once(") ")?;
    let (id, name) = before.split_once(" (")?;
    Some((id.parse().ok()?, name.to_owned(), after.chars().next()?))
}

/// How long the calling thread has run, nanoseconds. A system call.
pub(crate) fn thread_run_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is what clock_gettime writes to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn cpu_time() -> Duration {
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is what getrusage writes to.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
        return Duration::ZERO;
    }
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn resident_bytes() -> u64 {
    // SAFETY: no memory is involved.
    let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0);
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * page_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_uses_time() {
        assert!(Process::new().figures().mem_rss > 100_000);
        assert!(threads().iter().any(|(.., state)| *state == 'R'));
        let before = cpu_time();
        let until = Instant::now() + Duration::from_millis(50);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        assert!(cpu_time() > before);
    }
}
