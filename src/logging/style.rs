//! What a log line looks like: `[pid] 2026/08/21 12:00:00.123456 [INF] text`, or a syslog message.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::{Level, Record};

use super::FATAL;
use crate::config::options::{self, SyslogAddress};

/// Which form lines take.
#[derive(Clone)]
pub enum Style {
    /// For a terminal or a file.
    Plain(Plain),
    /// For a syslog daemon, which adds what it likes.
    Syslog(Syslog),
}

#[derive(Clone)]
pub struct Plain {
    pid: u32,
    /// `None`: no time on the lines.
    zone: Option<TimeZone>,
    colours: bool,
}

#[derive(Clone)]
pub struct Syslog {
    pid: u32,
    /// What the program was called as.
    tag: String,
    /// `None` for a daemon on this host, which knows where it is.
    host: Option<String>,
    facility: u8,
    zone: TimeZone,
}

/// LOG_DAEMON.
const FACILITY_LOCAL: u8 = 3;
/// LOG_KERN, which is what nats-server's choice of priority amounts to.
const FACILITY_REMOTE: u8 = 0;

impl Style {
    pub fn plain(wanted: &options::Log, colours: bool) -> Style {
        let zone = match (wanted.time, wanted.utc) {
            (false, _) => None,
            (true, true) => Some(TimeZone::UTC),
            (true, false) => Some(TimeZone::system()),
        };
        Style::Plain(Plain { pid: std::process::id(), zone, colours })
    }

    pub fn syslog(address: &SyslogAddress) -> Style {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
        Style::Syslog(Syslog {
            pid: std::process::id(),
            tag: crate::files::program_name(),
            host: address.is_remote().then(|| host.to_string()),
            facility: match address {
                SyslogAddress::Local => FACILITY_LOCAL,
                _ => FACILITY_REMOTE,
            },
            zone: TimeZone::system(),
        })
    }

    /// Writes one line, its end included.
    pub fn write(
        &self,
        out: &mut impl Write,
        at: Timestamp,
        record: &Record<'_>,
    ) -> io::Result<()> {
        match self {
            Style::Plain(plain) => plain.write(out, at, record),
            Style::Syslog(syslog) => syslog.write(out, at, record),
        }
    }
}

impl Plain {
    fn write(&self, out: &mut impl Write, at: Timestamp, record: &Record<'_>) -> io::Result<()> {
        write!(out, "[{}] ", self.pid)?;
        if let Some(zone) = &self.zone {
            let at = zone.to_datetime(at);
            write!(
                out,
                "{:04}/{:02}/{:02} {:02}:{:02}:{:02}.{:06} ",
                at.year(),
                at.month(),
                at.day(),
                at.hour(),
                at.minute(),
                at.second(),
                at.subsec_nanosecond() / 1000
            )?;
        }
        let (label, colour) = match record.level() {
            Level::Error if record.target() == FATAL => ("FTL", "31"),
            Level::Error => ("ERR", "31"),
            Level::Warn => ("WRN", "0;93"),
            Level::Info => ("INF", "32"),
            Level::Debug => ("DBG", "36"),
            Level::Trace => ("TRC", "33"),
        };
        let text = record.args();
        match self.colours {
            true => writeln!(out, "[\x1b[{colour}m{label}\x1b[0m] {text}"),
            false => writeln!(out, "[{label}] {text}"),
        }
    }
}

impl Syslog {
    /// As Go's log/syslog writes them: a short form on this host, a longer one over the network.
    fn write(&self, out: &mut impl Write, at: Timestamp, record: &Record<'_>) -> io::Result<()> {
        let severity = match record.level() {
            Level::Error if record.target() == FATAL => 2,
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info | Level::Trace => 5,
            Level::Debug => 7,
        };
        let (priority, at) = (self.facility << 3 | severity, at.to_zoned(self.zone.clone()));
        match &self.host {
            None => write!(out, "<{priority}>{} ", at.strftime("%b %e %H:%M:%S"))?,
            Some(host) => {
                let offset = at.offset().seconds() / 60;
                let time = at.strftime("%Y-%m-%dT%H:%M:%S");
                let sign = if offset < 0 { '-' } else { '+' };
                let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
                match offset {
                    0 => write!(out, "<{priority}>{time}Z {host} ")?,
                    _ => write!(out, "<{priority}>{time}{sign}{hours:02}:{minutes:02} {host} ")?,
                }
            }
        }
        writeln!(out, "{}[{}]: {}", self.tag, self.pid, record.args())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(style: &Style, level: Level, target: &str) -> String {
        let mut out = Vec::new();
        let now = "2026-08-02T12:00:00.123456789Z".parse().unwrap();
        let mut record = Record::builder();
        record.level(level).target(target);
        style.write(&mut out, now, &record.args(format_args!("hi")).build()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines() {
        let plain = |zone, colours| Style::Plain(Plain { pid: 7, zone, colours });
        assert_eq!(
            line(&plain(Some(TimeZone::UTC), false), Level::Info, "ringbus"),
            "[7] 2026/08/02 12:00:00.123456 [INF] hi\n"
        );
        let table = [
            (Level::Error, "ringbus", "[7] [ERR] hi\n"),
            (Level::Error, FATAL, "[7] [FTL] hi\n"),
            (Level::Warn, "ringbus", "[7] [WRN] hi\n"),
            (Level::Debug, "ringbus", "[7] [DBG] hi\n"),
            (Level::Trace, "ringbus", "[7] [TRC] hi\n"),
        ];
        for (level, target, expected) in table {
            assert_eq!(line(&plain(None, false), level, target), expected);
        }
        let coloured = plain(None, true);
        assert_eq!(line(&coloured, Level::Warn, "ringbus"), "[7] [\x1b[0;93mWRN\x1b[0m] hi\n");
    }

    #[test]
    fn local_time_is_the_zones() {
        let zone = Some(TimeZone::fixed(jiff::tz::offset(2)));
        let style = Style::Plain(Plain { pid: 7, zone, colours: false });
        assert_eq!(
            line(&style, Level::Info, "ringbus"),
            "[7] 2026/08/02 14:00:00.123456 [INF] hi\n"
        );
    }

    #[test]
    fn syslog_messages() {
        let syslog = |host: Option<&str>, facility, hours| {
            Style::Syslog(Syslog {
                pid: 7,
                tag: "nats-server".to_string(),
                host: host.map(str::to_string),
                facility,
                zone: TimeZone::fixed(jiff::tz::offset(hours)),
            })
        };
        let local = syslog(None, FACILITY_LOCAL, 0);
        let remote = |hours| syslog(Some("box"), FACILITY_REMOTE, hours);
        let table = [
            (local.clone(), Level::Info, "x", "<29>Aug  2 12:00:00 nats-server[7]: hi\n"),
            (local.clone(), Level::Trace, "x", "<29>Aug  2 12:00:00 nats-server[7]: hi\n"),
            (local.clone(), Level::Debug, "x", "<31>Aug  2 12:00:00 nats-server[7]: hi\n"),
            (local, Level::Error, FATAL, "<26>Aug  2 12:00:00 nats-server[7]: hi\n"),
            (remote(0), Level::Warn, "x", "<4>2026-08-02T12:00:00Z box nats-server[7]: hi\n"),
            (
                remote(-3),
                Level::Error,
                "x",
                "<3>2026-08-02T09:00:00-03:00 box nats-server[7]: hi\n",
            ),
        ];
        for (style, level, target, expected) in table {
            assert_eq!(line(&style, level, target), expected);
        }
    }
}
