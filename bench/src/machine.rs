//! The machine a result was measured on, without its name or anything else private.

use crate::sys;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is worth knowing of the machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// CPU model.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// Kernel release.
    pub kernel: String,
    /// TCP congestion control of sockets that choose none; nothing where it is not known.
    #[serde(default)]
    pub congestion: Option<String>,
}

impl Machine {
    /// Asks /proc.
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let congestion = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").ok();
        let memory_kib: f64 = field(&meminfo, "MemTotal")
            .split_whitespace()
            .next()
            .and_then(|kib| kib.parse().ok())
            .unwrap_or(0.0);
        Self {
            cpu: cpu(&cpuinfo),
            cores: sys::cores().map_or(0, |cores| cores.len()),
            memory_gib: (memory_kib / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            kernel: kernel.trim().to_string(),
            congestion: congestion.map(|name| name.trim().to_string()),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cpu, cores, memory_gib, kernel, congestion } = self;
        write!(f, "{cpu}, {cores} cores, {memory_gib:.0} GiB, Linux {kernel}")?;
        congestion.iter().try_for_each(|name| write!(f, ", TCP congestion control {name}"))
    }
}

/// Whether sockets may choose this TCP congestion control.
///
/// # Errors
/// A line that says why not, and what there is.
pub fn check_congestion(name: &str) -> Result<(), String> {
    let chosen = TcpListener::bind("127.0.0.1:0").and_then(|socket| {
        sys::choose_congestion(&socket, name)?;
        sys::congestion(&socket)
    });
    let why = match chosen {
        // The kernel cuts names that are too long.
        Ok(chosen) if chosen == name => return Ok(()),
        Err(e) if e.kind() != ErrorKind::NotFound => e.to_string(),
        _ => "no such congestion control".to_string(),
    };
    let available = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let available = available.unwrap_or_default();
    Err(format!("--congestion {name}: {why}; this kernel has {}", available.trim()))
}

/// The model name, or the vendor and the numbers where a hypervisor hides it.
fn cpu(cpuinfo: &str) -> String {
    let name = field(cpuinfo, "model name");
    if !name.is_empty() && name != "unknown" {
        return name.to_string();
    }
    let parts = ["vendor_id", "cpu family", "model"].map(|key| field(cpuinfo, key));
    format!("{} family {} model {}", parts[0], parts[1], parts[2])
}

fn field<'a>(text: &'a str, key: &str) -> &'a str {
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    });
    value.unwrap_or_default()
}

/// Today in UTC, `YYYY-MM-DD`.
pub fn today() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date(now.as_secs() / 86_400)
}

/// The date of a day since 1970-01-01, in the proleptic Gregorian calendar.
fn date(days: u64) -> String {
    // Years counted from 1 March, so that a leap day is a year's last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        for (days, text) in
            [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_453, "2025-12-31")]
        {
            assert_eq!(date(days), text);
        }
    }

    #[test]
    fn a_machine_of_before_is_read_and_says_no_congestion_control() {
        let old = r#"{"cpu": "c", "cores": 2, "memory_gib": 3.9, "kernel": "6.1"}"#;
        let mut machine: Machine = serde_json::from_str(old).unwrap();
        assert_eq!(machine.to_string(), "c, 2 cores, 4 GiB, Linux 6.1");
        machine.congestion = Some("bbr".into());
        assert!(machine.to_string().ends_with("Linux 6.1, TCP congestion control bbr"));
    }

    #[test]
    fn the_hosts_congestion_control_is_known_and_may_be_chosen() {
        let host = Machine::read().congestion.unwrap();
        assert_eq!(check_congestion(&host), Ok(()));
    }

    #[test]
    fn a_congestion_control_the_kernel_does_not_have_is_refused_beside_those_it_has() {
        for name in ["no-such", "a-name-longer-than-the-kernel-takes"] {
            let why = check_congestion(name).unwrap_err();
            let start =
                format!("--congestion {name}: no such congestion control; this kernel has ");
            assert!(why.starts_with(&start) && why.contains("reno"), "{why}");
        }
    }

    #[test]
    fn a_hidden_model_is_described_by_numbers() {
        let text =
            "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 2\nmodel name\t: unknown\n";
        assert_eq!(cpu(text), "AuthenticAMD family 25 model 2");
        assert_eq!(cpu("model name\t: Fast 9000\n"), "Fast 9000");
    }
}
