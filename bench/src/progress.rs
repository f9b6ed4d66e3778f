//! How far a bench has come: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Instant;

/// How far a bench has come.
pub struct Progress {
    total: usize,
    done: usize,
    started: Instant,
    terminal: bool,
}

impl Progress {
    /// For `total` steps. Everything goes to standard error.
    pub fn new(total: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { total, done: 0, started: Instant::now(), terminal }
    }

    /// A step begins.
    pub fn begin(&self, what: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{}", self.bar(what));
            let _ = std::io::stderr().flush();
        }
    }

    /// A step has ended like this.
    pub fn end(&mut self, result: &str) {
        self.done += 1;
        if self.terminal {
            eprint!("\r\x1b[K");
        }
        eprintln!("[{:>3}/{}] {result}", self.done, self.total);
    }

    /// Something worth a line of its own.
    pub fn note(&self, line: &str) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
        eprintln!("{line}");
    }

    fn bar(&self, what: &str) -> String {
        let width = 24;
        let filled = width * self.done / self.total.max(1);
        let left = match self.done {
            0 => String::new(),
            done => {
                let each = self.started.elapsed().as_secs_f64() / done as f64;
                let seconds = (each * (self.total - done.min(self.total)) as f64) as u64;
                format!(" {}:{:02} left", seconds / 60, seconds % 60)
            }
        };
        let bar: String = (0..width).map(|i| if i < filled { '█' } else { '░' }).collect();
        format!("{bar} {}/{}{left}  {what}", self.done, self.total)
    }
}
