//! A subscribing connection: counts what comes, or checks every message.

use super::inbox::{Inbox, Message, ServerOp, number};
use super::lane::{Got, Lane};
use super::protocol::Protocol;
use super::tally::Tally;
use super::timing::Timing;
use crate::plan::Plan;
use crate::stamp::{self, FILLING, Stamp};
use crate::sys::Epoll;
use crate::template::matches;

/// A subscribing connection.
pub struct Subscriber {
    /// The connection.
    pub lane: Lane,
    /// Index in the plan.
    pub index: usize,
    /// Messages that have come.
    pub count: u64,
    /// The final PING has been sent, so bytes are looked at from here on.
    pub asked: bool,
    source: Option<usize>,
    protocol: Protocol,
    ears: Ears,
}

enum Ears {
    Count(Tally),
    Verify { inbox: Inbox, proof: Proof, answered: bool },
}

/// What a verified connection has seen.
struct Proof {
    patterns: Vec<String>,
    first_sid: u64,
    /// By publisher: the sequence number the next message has at least.
    next: Vec<u32>,
}

impl Subscriber {
    /// Prepares subscriber `index` of the plan.
    pub fn new(lane: Lane, index: usize, plan: &Plan, protocol: Protocol) -> Self {
        let subscriber = &plan.subscribers[index];
        let ears = if plan.verify {
            let proof = Proof {
                patterns: subscriber.patterns.clone(),
                first_sid: subscriber.first_sid,
                next: vec![0; plan.publishers.len()],
            };
            Ears::Verify { inbox: Inbox::default(), proof, answered: false }
        } else {
            let subject = &plan.subjects[0];
            let frame = protocol.delivery_bytes(subject, subscriber.first_sid, plan.payload);
            Ears::Count(Tally::new(frame, protocol))
        };
        let source = subscriber.source;
        Self { lane, index, count: 0, asked: false, source, protocol, ears }
    }

    /// The publisher that hears of its progress.
    pub fn source(&self) -> Option<usize> {
        self.source
    }

    /// Takes what is there; gives how many messages that completed.
    pub fn receive(
        &mut self,
        plan: &Plan,
        buffer: &mut [u8],
        epoll: &Epoll,
        timing: &mut Timing,
    ) -> u64 {
        let before = self.count;
        match &mut self.ears {
            Ears::Count(tally) => {
                if self.asked {
                    if let Got::Bytes(n) = self.lane.read(buffer, epoll) {
                        self.count = tally.add_seen(&buffer[..n]);
                    }
                } else if let Got::Bytes(n) = self.lane.discard(epoll) {
                    self.count = tally.add(n);
                }
                if let Some(p) = self.source {
                    timing.record_run(plan, p, before..self.count);
                }
            }
            Ears::Verify { inbox, proof, answered } => {
                let Got::Bytes(n) = self.lane.read(buffer, epoll) else { return 0 };
                let mut pings = 0;
                let now_ns = timing.now_ns();
                let fed = inbox.feed(&buffer[..n], |op| match op {
                    ServerOp::Message(message) => {
                        timing.record(proof.check(plan, &message)?.intended_ns, now_ns);
                        self.count += 1;
                        Ok(())
                    }
                    ServerOp::Ping => {
                        pings += 1;
                        Ok(())
                    }
                    ServerOp::Pong => {
                        *answered = true;
                        Ok(())
                    }
                    ServerOp::Err(text) => Err(format!("-ERR {}", String::from_utf8_lossy(text))),
                    ServerOp::Info(_) | ServerOp::Ok => Ok(()),
                });
                if let Err(reason) = fed {
                    self.lane.fail(epoll, reason);
                }
                for _ in 0..pings {
                    self.lane.out().extend_from_slice(b"PONG\r\n");
                }
                self.lane.flush(epoll);
            }
        }
        self.count - before
    }

    /// Asks for the PONG that closes the account.
    pub fn ask(&mut self, epoll: &Epoll) {
        self.asked = true;
        self.lane.out().extend_from_slice(self.protocol.ping());
        self.lane.flush(epoll);
    }

    /// Nothing more will come: answered, or lost.
    pub fn finished(&self) -> bool {
        let answered = match &self.ears {
            Ears::Count(tally) => tally.answered(),
            Ears::Verify { answered, .. } => *answered,
        };
        answered || self.lane.fault.is_some()
    }

    /// The exact count, once finished.
    ///
    /// # Errors
    /// Bytes that were no messages.
    pub fn exact(&self) -> Result<u64, String> {
        match &self.ears {
            Ears::Count(tally) => tally.exact(),
            Ears::Verify { .. } => Ok(self.count),
        }
    }
}

impl Proof {
    /// Whether this message is one that is owed here, and the next one of its publisher. With
    /// the exact count, growing sequence numbers prove that each came once.
    fn check(&mut self, plan: &Plan, message: &Message<'_>) -> Result<Stamp, String> {
        let wrong = |what: &str| {
            let subject = String::from_utf8_lossy(message.subject);
            Err(format!("{what} in a message on {subject}"))
        };
        let Some(stamp) = Stamp::read(message.payload) else { return wrong("no stamp") };
        let Some(publisher) = plan.publishers.get(stamp.publisher as usize) else {
            return wrong("an unknown publisher");
        };
        let subject = &plan.subjects[publisher.subject(u64::from(stamp.sequence))];
        if subject.as_bytes() != message.subject {
            return wrong("another message's payload");
        }
        if message.payload.len() != plan.payload
            || message.payload[stamp::SIZE..].iter().any(|b| *b != FILLING)
        {
            return wrong("a damaged payload");
        }
        let pattern = number(message.sid)
            .and_then(|sid| sid.checked_sub(self.first_sid))
            .and_then(|i| self.patterns.get(i as usize));
        if !pattern.is_some_and(|pattern| matches(pattern, subject)) {
            return wrong("a wrong sid");
        }
        // Two patterns of one connection may both take a message.
        let repeat = u32::from(self.patterns.len() > 1);
        let next = &mut self.next[stamp.publisher as usize];
        if stamp.sequence + repeat < *next {
            return wrong("wrong order, or a duplicate,");
        }
        *next = stamp.sequence + 1;
        Ok(stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn world() -> (Plan, Proof) {
        let text = "name='x'\ntitle='x'\ngroup='g'\npayload=20\nreceive='verify'\n\
            [publish]\nsubject='a.{2}'\n[[subscribe]]\nsubject='a.*'";
        let plan = Plan::new(&Scenario::parse(text).unwrap(), false).unwrap();
        (plan, Proof { patterns: vec!["a.*".into()], first_sid: 1, next: vec![0] })
    }

    fn payload(sequence: u32) -> Vec<u8> {
        let mut payload = vec![FILLING; 20];
        Stamp { intended_ns: 5, publisher: 0, sequence }.write(&mut payload);
        payload
    }

    fn message<'a>(subject: &'a str, sid: &'a str, payload: &'a [u8]) -> Message<'a> {
        Message { subject: subject.as_bytes(), sid: sid.as_bytes(), reply: b"", payload }
    }

    #[test]
    fn messages_in_order_pass() {
        let (plan, mut proof) = world();
        for n in [0u32, 1, 2, 7] {
            let subject = format!("a.{}", n % 2);
            let payload = payload(n);
            let stamp = proof.check(&plan, &message(&subject, "1", &payload)).unwrap();
            assert_eq!(stamp.intended_ns, 5);
        }
    }

    #[test]
    fn every_kind_of_wrong_message_is_caught() {
        let (plan, mut proof) = world();
        let good = payload(2);
        proof.check(&plan, &message("a.0", "1", &good)).unwrap();
        let reason = |proof: &mut Proof, m: &Message<'_>| proof.check(&plan, m).unwrap_err();
        assert!(reason(&mut proof, &message("a.0", "1", &good)).contains("duplicate"));
        let old = payload(0);
        assert!(reason(&mut proof, &message("a.0", "1", &old)).contains("order"));
        let next = payload(3);
        assert!(reason(&mut proof, &message("a.0", "1", &next)).contains("another"));
        assert!(reason(&mut proof, &message("a.1", "2", &next)).contains("sid"));
        assert!(reason(&mut proof, &message("a.1", "1", &next[..19])).contains("damaged"));
        assert!(reason(&mut proof, &message("a.1", "1", &next[..10])).contains("stamp"));
        let mut bad = next.clone();
        bad[19] = 0;
        assert!(reason(&mut proof, &message("a.1", "1", &bad)).contains("damaged"));
    }
}
