//! The logger's own thread. Lines come over a bounded channel; whoever logs never waits for a disk,
//! a pipe or a daemon. What finds no room is counted, and said when there is room again.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use jiff::Timestamp;
use log::{Level, LevelFilter, Log, Record};
use runtime::Cause;

use super::LIMITED;
use super::style::Style;

/// Lines that may wait for the thread.
pub const LINES_MAX: usize = 16 * 1024;
/// Bytes of text that may wait for it.
pub const BYTES_MAX: u64 = 32 << 20;
/// The same line is repeated at most this often, if it says that it may be repeated.
const REPEAT: Duration = Duration::from_secs(1);
/// Repeatable lines remembered.
const REPEATS_MAX: usize = 1024;
/// How soon it is said that lines were dropped, if no line comes.
const SAY_AFTER: Duration = Duration::from_secs(1);
/// How often standard error hears of a file or a daemon that takes no lines.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// For the logger's thread.
pub enum Message {
    Line(Line),
    /// Write elsewhere or otherwise from here on.
    Switch(Box<Writer>),
    /// Tell when everything before this is written.
    Mark(Sender<()>),
}

pub struct Line {
    pub at: Timestamp,
    pub level: Level,
    pub target: String,
    pub text: String,
}

/// How well lines get out.
#[derive(Default)]
pub struct Health {
    /// Lines that were dropped and not yet said to be.
    lost: AtomicU64,
    /// Bytes of text on their way to the thread.
    queued_bytes: AtomicU64,
    /// Writes that failed.
    failures: AtomicU64,
    /// When standard error was last told of one. Only after a failure, only by the thread.
    complained: Mutex<Option<Instant>>,
}

impl Health {
    /// There was no room for a line.
    pub fn drop_line(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// Is there room for so many bytes? If so they are queued.
    pub fn queue(&self, bytes: u64) -> bool {
        if self.queued_bytes.fetch_add(bytes, Relaxed) > BYTES_MAX {
            self.queued_bytes.fetch_sub(bytes, Relaxed);
            return false;
        }
        true
    }

    pub fn unqueue(&self, bytes: u64) {
        self.queued_bytes.fetch_sub(bytes, Relaxed);
    }

    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// A line could not be written.
    pub fn failed(&self, place: &dyn Display, error: &std::io::Error) {
        self.failures.fetch_add(1, Relaxed);
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            *complained = Some(Instant::now());
            eprintln!("{}: cannot log to {place}: {}", crate::cli::PROGRAM, Cause(error));
        }
    }
}

thread_local! {
    /// When the line being written was said: the formatter gets the record only.
    static SAID: Cell<Timestamp> = const { Cell::new(Timestamp::UNIX_EPOCH) };
}

/// Where lines go and what they look like.
pub struct Writer {
    inner: env_logger::Logger,
}

impl Writer {
    /// Lines of this style go to `target`, one write each.
    pub fn new(style: Style, target: env_logger::Target) -> Writer {
        let mut builder = env_logger::Builder::new();
        builder
            .filter_level(LevelFilter::Trace)
            .target(target)
            .format(move |out, record| style.write(out, SAID.get(), record));
        Writer { inner: builder.build() }
    }

    fn write(&self, line: &Line) {
        SAID.set(line.at);
        let mut record = Record::builder();
        record.level(line.level).target(&line.target);
        self.inner.log(&record.args(format_args!("{}", line.text)).build());
    }
}

/// Writes what comes until the senders are gone.
pub fn run(messages: &Receiver<Message>, health: &Health, mut writer: Writer) {
    let mut repeats = Repeats::default();
    loop {
        match messages.recv_timeout(SAY_AFTER) {
            Ok(Message::Line(line)) => {
                health.unqueue(line.text.len() as u64);
                if repeats.allow(&line, Instant::now())
                    && !(own_up(health, &writer) && written(health, &writer, &line))
                {
                    health.drop_line();
                }
            }
            Ok(Message::Switch(next)) => writer = *next,
            // Nobody may be waiting any more.
            Ok(Message::Mark(done)) => drop(done.send(())),
            Err(RecvTimeoutError::Timeout) => {
                own_up(health, &writer);
            }
            Err(RecvTimeoutError::Disconnected) => {
                own_up(health, &writer);
                return;
            }
        }
    }
}

fn written(health: &Health, writer: &Writer, line: &Line) -> bool {
    let failures = health.failures();
    writer.write(line);
    health.failures() == failures
}

/// Says how many lines were dropped, if any were. False if that can't be written either.
fn own_up(health: &Health, writer: &Writer) -> bool {
    let lost = health.lost.swap(0, Relaxed);
    if lost == 0 {
        return true;
    }
    let text = format!("{lost} log lines dropped");
    let line =
        Line { at: Timestamp::now(), level: Level::Warn, target: "ringbus".to_string(), text };
    let said = written(health, writer, &line);
    if !said {
        health.lost.fetch_add(lost, Relaxed);
    }
    said
}

/// Which repeatable lines were said of late.
#[derive(Default)]
struct Repeats {
    said: HashMap<String, Instant>,
}

impl Repeats {
    fn allow(&mut self, line: &Line, now: Instant) -> bool {
        let Some(kind) = line.target.strip_prefix(LIMITED) else { return true };
        let key = if kind.is_empty() { &line.text } else { kind };
        if self.said.len() >= REPEATS_MAX {
            self.said.retain(|_, at| now.duration_since(*at) < REPEAT);
        }
        match self.said.get(key) {
            Some(at) if now.duration_since(*at) < REPEAT => return false,
            _ if self.said.len() >= REPEATS_MAX => {}
            _ => drop(self.said.insert(key.to_string(), now)),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_told_once_a_second() {
        let line = |target: &str, text: &str| Line {
            at: Timestamp::UNIX_EPOCH,
            level: Level::Warn,
            target: target.to_string(),
            text: text.to_string(),
        };
        let mut repeats = Repeats::default();
        let now = Instant::now();
        assert!(repeats.allow(&line("ringbus", "a"), now));
        assert!(repeats.allow(&line("ringbus", "a"), now));
        assert!(repeats.allow(&line(LIMITED, "a"), now));
        assert!(!repeats.allow(&line(LIMITED, "a"), now));
        assert!(repeats.allow(&line(LIMITED, "b"), now));
        let stalled = format!("{LIMITED}::stalled");
        assert!(repeats.allow(&line(&stalled, "for 5 ms"), now));
        assert!(!repeats.allow(&line(&stalled, "for 6 ms"), now));
        assert!(repeats.allow(&line(&stalled, "for 7 ms"), now + REPEAT));
    }
}
