//! What happened, as a hash always and as text when somebody reads it.

use std::collections::VecDeque;

/// Lines kept for the report of a failure.
const TAIL_LINES: usize = 60;

/// The record of one run.
pub struct Trace {
    hash: u64,
    events: u64,
    tail: Option<VecDeque<String>>,
    print: bool,
}

impl Trace {
    /// With `text`, the last lines are kept as well; with `print`, all go to standard output.
    pub fn new(text: bool, print: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, tail: text.then(VecDeque::new), print }
    }

    /// Takes numbers into the hash, as one event.
    pub fn event(&mut self, words: &[u64]) {
        self.events += 1;
        for word in words {
            self.word(*word);
        }
    }

    /// Takes bytes into the hash.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
    }

    fn word(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    /// Adds a line if anybody reads it.
    pub fn line(&mut self, line: impl FnOnce() -> String) {
        self.text_line(|_| line());
    }

    /// Adds a line with bytes in it: all of them where everything is printed.
    pub fn text(&mut self, bytes: &[u8], line: impl FnOnce(&str) -> String) {
        self.text_line(|print| {
            line(&if print { bytes.escape_ascii().to_string() } else { shown(bytes) })
        });
    }

    fn text_line(&mut self, line: impl FnOnce(bool) -> String) {
        let Some(tail) = &mut self.tail else { return };
        let line = line(self.print);
        if self.print {
            println!("{line}");
        }
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().flatten().cloned().collect()
    }
}

/// Bytes as a line of a trace shows them: escaped and cut short.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 96;
    let cut = bytes.len().min(SHOWN_BYTES);
    let more = if cut < bytes.len() { "…" } else { "" };
    format!("{}{more}", bytes[..cut].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_content_change_the_hash() {
        let hash = |words: &[u64]| {
            let mut trace = Trace::new(false, false);
            trace.event(words);
            trace.hash()
        };
        assert_eq!(hash(&[1, 2]), hash(&[1, 2]));
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
    }

    #[test]
    fn the_tail_is_short_and_lazy() {
        let mut silent = Trace::new(false, false);
        silent.line(|| panic!("nobody reads this"));
        let mut kept = Trace::new(true, false);
        for line in 0..1000 {
            kept.line(|| line.to_string());
        }
        assert_eq!(kept.tail().len(), TAIL_LINES);
        assert_eq!(kept.tail().last().map(String::as_str), Some("999"));
    }
}
