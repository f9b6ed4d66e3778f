//! nats-server's log lines, `[pid] 2026/08/21 12:00:00.123456 [INF] text`, on standard error or in
//! a file.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use env_logger::fmt::Formatter;
use jiff::tz::TimeZone;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::options;

/// Records of this target are printed as `[FTL]`; the process ends after one.
pub const FATAL: &str = "ringbus::fatal";

/// Logs what ends the process.
macro_rules! fatal {
    ($($message:tt)+) => { log::error!(target: $crate::logging::FATAL, $($message)+) };
}
pub(crate) use fatal;

/// The log file, if there is one, to reopen it after it was moved away.
pub struct Logging {
    file: Option<LogFile>,
}

impl Logging {
    /// Starts logging for the whole process. Once only.
    ///
    /// # Errors
    /// One line: the log file can't be opened.
    pub fn start(wanted: &options::Log) -> Result<Logging, String> {
        let file = wanted.file.as_deref().map(LogFile::open).transpose()?;
        let style = Style::new(wanted, file.is_none() && io::stderr().is_terminal());
        let mut builder = env_logger::Builder::new();
        builder
            .filter_level(LevelFilter::Trace)
            .format(move |out, record| style.write(out, record));
        if let Some(file) = &file {
            builder.target(env_logger::Target::Pipe(Box::new(file.clone())));
        }
        let switch = Switch { inner: builder.build(), debug: wanted.debug, trace: wanted.trace };
        log::set_max_level(match (wanted.debug, wanted.trace) {
            (_, true) => LevelFilter::Trace,
            (true, false) => LevelFilter::Debug,
            (false, false) => LevelFilter::Info,
        });
        log::set_boxed_logger(Box::new(switch)).map_err(|error| error.to_string())?;
        Ok(Logging { file })
    }

    /// Opens the log file by its name again.
    pub fn reopen(&self) {
        match &self.file {
            None => log::info!("File log re-open ignored, not a file logger"),
            Some(file) => match file.reopen() {
                Ok(()) => log::info!("File log re-opened"),
                Err(why) => log::error!("{why}"),
            },
        }
    }
}

/// Debug and trace lines are switched apart from each other, and libraries say only what has gone
/// wrong.
struct Switch {
    inner: env_logger::Logger,
    debug: bool,
    trace: bool,
}

impl Switch {
    fn wants(&self, level: Level, target: &str) -> bool {
        let ours = target.starts_with("ringbus")
            || OURS.contains(&target.split("::").next().unwrap_or(target));
        match level {
            Level::Error | Level::Warn => true,
            Level::Info => ours,
            Level::Debug => ours && self.debug,
            Level::Trace => ours && self.trace,
        }
    }
}

/// The engine's crates that log.
const OURS: [&str; 3] = ["runtime", "shard", "monitor"];

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.wants(metadata.level(), metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.inner.log(record);
        }
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

/// What a line looks like.
struct Style {
    pid: u32,
    /// `None`: no time on the lines.
    zone: Option<TimeZone>,
    colours: bool,
}

impl Style {
    fn new(wanted: &options::Log, colours: bool) -> Style {
        let zone = match (wanted.time, wanted.utc) {
            (false, _) => None,
            (true, true) => Some(TimeZone::UTC),
            (true, false) => Some(TimeZone::system()),
        };
        Style { pid: std::process::id(), zone, colours }
    }

    fn write(&self, out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
        self.write_line(out, jiff::Timestamp::now(), record)
    }

    fn write_line(
        &self,
        out: &mut impl Write,
        now: jiff::Timestamp,
        record: &Record<'_>,
    ) -> io::Result<()> {
        write!(out, "[{}] ", self.pid)?;
        if let Some(zone) = &self.zone {
            let now = zone.to_datetime(now);
            write!(
                out,
                "{:04}/{:02}/{:02} {:02}:{:02}:{:02}.{:06} ",
                now.year(),
                now.month(),
                now.day(),
                now.hour(),
                now.minute(),
                now.second(),
                now.subsec_nanosecond() / 1000
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
        match self.colours {
            true => writeln!(out, "[\x1b[{colour}m{label}\x1b[0m] {}", record.args()),
            false => writeln!(out, "[{label}] {}", record.args()),
        }
    }
}

/// A file that can be swapped under its writer. The lock is taken once per line, off the data path.
#[derive(Clone)]
struct LogFile {
    path: PathBuf,
    open: Arc<Mutex<File>>,
}

impl LogFile {
    fn open(path: &Path) -> Result<LogFile, String> {
        Ok(LogFile { path: path.to_path_buf(), open: Arc::new(Mutex::new(append(path)?)) })
    }

    fn reopen(&self) -> Result<(), String> {
        let file = append(&self.path)?;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    file.map_err(|error| format!("error opening file: open {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(style: &Style, level: Level, target: &str) -> String {
        let mut out = Vec::new();
        let now = "2026-08-21T12:00:00.123456789Z".parse().unwrap();
        let record = Record::builder().level(level).target(target).args(format_args!("hi")).build();
        style.write_line(&mut out, now, &record).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines() {
        let plain = Style { pid: 7, zone: Some(TimeZone::UTC), colours: false };
        assert_eq!(
            line(&plain, Level::Info, "ringbus"),
            "[7] 2026/08/21 12:00:00.123456 [INF] hi\n"
        );
        let bare = Style { pid: 7, zone: None, colours: false };
        let table = [
            (Level::Error, "ringbus", "[7] [ERR] hi\n"),
            (Level::Error, FATAL, "[7] [FTL] hi\n"),
            (Level::Warn, "ringbus", "[7] [WRN] hi\n"),
            (Level::Debug, "ringbus", "[7] [DBG] hi\n"),
            (Level::Trace, "ringbus", "[7] [TRC] hi\n"),
        ];
        for (level, target, expected) in table {
            assert_eq!(line(&bare, level, target), expected);
        }
        let coloured = Style { pid: 7, zone: None, colours: true };
        assert_eq!(line(&coloured, Level::Warn, "ringbus"), "[7] [\x1b[0;93mWRN\x1b[0m] hi\n");
    }

    #[test]
    fn local_time_is_the_zones() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let style = Style { pid: 7, zone: Some(zone), colours: false };
        assert_eq!(
            line(&style, Level::Info, "ringbus"),
            "[7] 2026/08/21 14:00:00.123456 [INF] hi\n"
        );
    }

    #[test]
    fn debug_and_trace_are_apart() {
        let inner = || env_logger::Builder::new().build();
        let table = [
            (false, false, Level::Info, "runtime::conn", true),
            (false, false, Level::Debug, "ringbus", false),
            (true, false, Level::Debug, "ringbus", true),
            (true, false, Level::Trace, "shard", false),
            (false, true, Level::Trace, "shard", true),
            (false, true, Level::Debug, "shard", false),
            (true, true, Level::Info, "glommio", false),
            (true, true, Level::Warn, "glommio", true),
        ];
        for (debug, trace, level, target, wanted) in table {
            let switch = Switch { inner: inner(), debug, trace };
            assert_eq!(switch.wants(level, target), wanted, "{debug} {trace} {level} {target}");
        }
    }
}
