//! The operator's log: lines in the form of nats-server's, on standard error, in a file or in a
//! syslog daemon. Whoever logs leaves the line with the logger's thread and goes on at once.

mod file;
mod style;
mod syslog;
mod thread;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use jiff::Timestamp;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::options::{self, LogPlace};
use file::LogFile;
use style::Style;
use syslog::Syslog;
use thread::{Health, LINES_MAX, Line, Message, Writer};

/// Records of this target are printed as `[FTL]`; the process ends after one.
pub const FATAL: &str = "ringbus::fatal";
/// Records of this target are repeated at most once a second; `ringbus::limited::kind` lines count
/// as the same whatever they say.
pub const LIMITED: &str = "ringbus::limited";

/// How long the last lines may take to get out.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// How long a switch of the log's place may wait for room.
const SWITCH_MAX: Duration = Duration::from_secs(1);

/// Logs what ends the process.
macro_rules! fatal {
    ($($message:tt)+) => { log::error!(target: $crate::logging::FATAL, $($message)+) };
}
pub(crate) use fatal;

/// The log of this process. Its last lines get out when it is dropped, if anything takes them.
pub struct Logging {
    wanted: options::Log,
    front: &'static Front,
    messages: Sender<Message>,
}

impl Logging {
    /// Starts logging for the whole process. Once only.
    ///
    /// # Errors
    /// One line: the log file can't be opened, the syslog daemon not be reached.
    pub fn start(wanted: &options::Log) -> Result<Logging, String> {
        let health = Arc::new(Health::default());
        let writer = writer(wanted, &health)?;
        let (messages, lines) = bounded(LINES_MAX);
        let front: &'static Front = Box::leak(Box::new(Front {
            debug: AtomicBool::new(wanted.debug),
            trace: AtomicBool::new(wanted.trace),
            messages: messages.clone(),
            health: Arc::clone(&health),
        }));
        std::thread::Builder::new()
            .name("logger".to_string())
            .spawn(move || thread::run(&lines, &health, writer))
            .map_err(|error| format!("cannot start the logger: {error}"))?;
        log::set_max_level(max_level(wanted));
        log::set_logger(front).map_err(|error| error.to_string())?;
        Ok(Logging { wanted: wanted.clone(), front, messages })
    }

    /// Opens the log file by its name again.
    pub fn reopen(&self) {
        if !matches!(self.wanted.place, LogPlace::File { .. }) {
            log::info!("File log re-open ignored, not a file logger");
            return;
        }
        match self.switch(&self.wanted) {
            Ok(()) => log::info!("File log re-opened"),
            Err(why) => log::error!("{why}"),
        }
    }

    /// Logs as wanted from here on.
    ///
    /// # Errors
    /// As of [`Logging::start`]; then nothing has changed.
    pub fn configure(&mut self, wanted: &options::Log) -> Result<(), String> {
        let was = &self.wanted;
        if (&was.place, was.time, was.utc) != (&wanted.place, wanted.time, wanted.utc) {
            self.switch(wanted)?;
        }
        self.front.debug.store(wanted.debug, Relaxed);
        self.front.trace.store(wanted.trace, Relaxed);
        log::set_max_level(max_level(wanted));
        self.wanted = wanted.clone();
        Ok(())
    }

    fn switch(&self, wanted: &options::Log) -> Result<(), String> {
        let writer = writer(wanted, &self.front.health)?;
        let message = Message::Switch(Box::new(writer));
        self.messages
            .send_timeout(message, SWITCH_MAX)
            .map_err(|_| "the log is stuck where it is".to_string())
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let (done, told) = bounded(1);
        if self.messages.send_timeout(Message::Mark(done), FAREWELL_MAX).is_ok() {
            // An error is a log that is stuck: nothing more can be done for it.
            let _ = told.recv_timeout(FAREWELL_MAX);
        }
    }
}

fn max_level(wanted: &options::Log) -> LevelFilter {
    match (wanted.debug, wanted.trace) {
        (_, true) => LevelFilter::Trace,
        (true, false) => LevelFilter::Debug,
        (false, false) => LevelFilter::Info,
    }
}

fn writer(wanted: &options::Log, health: &Arc<Health>) -> Result<Writer, String> {
    let pipe = |write: Box<dyn io::Write + Send>| env_logger::Target::Pipe(write);
    Ok(match &wanted.place {
        LogPlace::Stderr => {
            let style = Style::plain(wanted, io::stderr().is_terminal());
            Writer::new(style, pipe(Box::new(io::stderr())))
        }
        LogPlace::File { path, size_limit, files_max } => {
            let style = Style::plain(wanted, false);
            let health = Arc::clone(health);
            let file = LogFile::open(path, *size_limit, *files_max, style.clone(), health)?;
            Writer::new(style, pipe(Box::new(file)))
        }
        LogPlace::Syslog(address) => {
            let style = Style::syslog(address);
            let syslog = Syslog::connect(address, Arc::clone(health))?;
            Writer::new(style, pipe(Box::new(syslog)))
        }
    })
}

/// What the whole process logs to. Debug and trace lines are switched apart from each other, and
/// libraries say only what has gone wrong.
struct Front {
    debug: AtomicBool,
    trace: AtomicBool,
    messages: Sender<Message>,
    health: Arc<Health>,
}

impl Front {
    fn wants(&self, level: Level, target: &str) -> bool {
        let ours = target.starts_with("ringbus")
            || OURS.contains(&target.split("::").next().unwrap_or(target));
        match level {
            Level::Error | Level::Warn => true,
            Level::Info => ours,
            Level::Debug => ours && self.debug.load(Relaxed),
            Level::Trace => ours && self.trace.load(Relaxed),
        }
    }
}

/// The engine's crates that log.
const OURS: [&str; 3] = ["runtime", "shard", "monitor"];

impl Log for Front {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.wants(metadata.level(), metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let bytes = text.len() as u64;
        if !self.health.queue(bytes) {
            return self.health.drop_line();
        }
        let line = Line {
            at: Timestamp::now(),
            level: record.level(),
            target: record.target().to_string(),
            text,
        };
        if self.messages.try_send(Message::Line(line)).is_err() {
            self.health.unqueue(bytes);
            self.health.drop_line();
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(
        debug: bool,
        trace: bool,
        lines: usize,
    ) -> (Front, crossbeam_channel::Receiver<Message>) {
        let (messages, receiver) = bounded(lines);
        let (debug, trace) = (AtomicBool::new(debug), AtomicBool::new(trace));
        (Front { debug, trace, messages, health: Arc::default() }, receiver)
    }

    #[test]
    fn debug_and_trace_are_apart() {
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
            let front = front(debug, trace, 1).0;
            assert_eq!(front.wants(level, target), wanted, "{debug} {trace} {level} {target}");
        }
    }

    fn say(front: &Front, text: &str) {
        front.log(&Record::builder().target("ringbus").args(format_args!("{text}")).build());
    }

    #[test]
    fn a_stuck_log_drops_lines_and_says_so_later() {
        let (front, messages) = front(false, false, 3);
        for number in 0..10 {
            say(&front, &format!("line {number}"));
        }
        let (sink, written) = bounded::<Vec<u8>>(100);
        struct Sink(Sender<Vec<u8>>);
        impl io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.send(bytes.to_vec()).unwrap();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let style = Style::plain(&options::Log { time: false, ..Default::default() }, false);
        let writer = Writer::new(style, env_logger::Target::Pipe(Box::new(Sink(sink))));
        let health = Arc::clone(&front.health);
        drop(front);
        thread::run(&messages, &health, writer);
        let pid = std::process::id();
        let lines: Vec<String> =
            written.try_iter().map(|line| String::from_utf8(line).unwrap()).collect();
        let expected: Vec<String> =
            ["[WRN] 7 log lines dropped", "[INF] line 0", "[INF] line 1", "[INF] line 2"]
                .iter()
                .map(|line| format!("[{pid}] {line}\n"))
                .collect();
        assert_eq!(lines, expected);
    }
}
