//! A scenario worked out: which connection sends and takes what, and what is owed to whom.

use crate::load::tally::FRAME_MIN;
use crate::scenario::{Deal, Receive, Scenario, Subscribe};
use crate::template::{Interest, expand};

/// A publish/subscribe scenario worked out.
pub struct Plan {
    /// Payload bytes.
    pub payload: usize,
    /// All subjects that are published to, of one length each.
    pub subjects: Vec<String>,
    /// Publishing connections.
    pub publishers: Vec<Publisher>,
    /// Subscribing connections, the stuck ones included.
    pub subscribers: Vec<Subscriber>,
    /// ns between two messages (of all publishers together); none = saturate.
    pub interval_ns: Option<f64>,
    /// Messages sent together.
    pub burst: u64,
    /// Most messages of one publisher under way.
    pub window: Option<u64>,
    /// Subscribers parse what they get.
    pub verify: bool,
    accounts: usize,
    takers: Takers,
}

/// Which subjects a publisher goes round: `first`, `first + step`, … `count` of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publisher {
    /// Index into [`Plan::subjects`].
    pub first: usize,
    /// Distance of one to the next.
    pub step: usize,
    /// How many.
    pub count: usize,
}

impl Publisher {
    /// Index into [`Plan::subjects`] of its message number `n`.
    pub fn subject(&self, n: u64) -> usize {
        self.first + (n % self.count as u64) as usize * self.step
    }
}

/// One subscribing connection.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// What it subscribes to; pattern i has sid `first_sid + i`.
    pub patterns: Vec<String>,
    /// The first sid; all sids of a connection have one width.
    pub first_sid: u64,
    /// Queue group.
    pub queue: Option<String>,
    /// Never reads.
    pub stuck: bool,
    /// Which account of what is owed its deliveries go to (members of a queue group share one).
    pub account: Option<usize>,
    /// Bytes of each delivery.
    pub frame: usize,
    /// The one publisher whose every message comes here exactly once, in order.
    pub source: Option<usize>,
}

/// Who takes which subject, as one flat list.
struct Takers {
    starts: Vec<u32>,
    accounts: Vec<u32>,
}

impl Takers {
    fn of(&self, subject: usize) -> &[u32] {
        &self.accounts[self.starts[subject] as usize..self.starts[subject + 1] as usize]
    }
}

impl Plan {
    /// Works a `[publish]` scenario out; `verify` asks for parsing where counting would do.
    ///
    /// # Errors
    /// A line about what does not fit together.
    pub fn new(scenario: &Scenario, verify: bool) -> Result<Self, String> {
        let publish = scenario.publish.as_ref().ok_or("no [publish]")?;
        let subjects = expand(&publish.subject)?;
        let publishers = deal_publishers(subjects.len(), publish.connections, publish.deal);
        let mut interest = Interest::new();
        let mut subscribers = Vec::new();
        let mut accounts = 0;
        let subject_size = subjects[0].len();
        for block in &scenario.subscribe {
            let size = (subject_size, scenario.payload);
            deal_block(block, size, &mut accounts, &mut interest, &mut subscribers)?;
        }
        let takers = takers(&subjects, &interest);
        let mut plan = Self {
            payload: scenario.payload,
            subjects,
            publishers,
            subscribers,
            interval_ns: publish.rate.map(|rate| 1e9 / rate),
            burst: publish.burst as u64,
            window: publish.window,
            verify: false,
            accounts,
            takers,
        };
        plan.find_sources();
        plan.choose_receive(scenario, verify)?;
        plan.check_window()?;
        Ok(plan)
    }

    fn find_sources(&mut self) {
        // Per account: who publishes to it, and how many deliveries a round of theirs makes.
        let mut seen: Vec<(Option<usize>, usize, bool)> = vec![(None, 0, false); self.accounts];
        for (p, publisher) in self.publishers.iter().enumerate() {
            for n in 0..publisher.count {
                for &account in self.takers.of(publisher.subject(n as u64)) {
                    let entry = &mut seen[account as usize];
                    entry.2 |= entry.0.is_some_and(|other| other != p);
                    entry.0 = Some(p);
                    entry.1 += 1;
                }
            }
        }
        for subscriber in &mut self.subscribers {
            let alone = subscriber.queue.is_none() && subscriber.patterns.len() == 1;
            let Some(account) = subscriber.account.filter(|_| alone) else { continue };
            if let (Some(p), deliveries, false) = seen[account]
                && deliveries == self.publishers[p].count
            {
                subscriber.source = Some(p);
            }
        }
    }

    fn choose_receive(&mut self, scenario: &Scenario, verify: bool) -> Result<(), String> {
        let known = |s: &Subscriber| s.stuck || s.source.is_some();
        let stamps_needed = self.interval_ns.is_some() && !self.subscribers.iter().all(known);
        self.verify = match scenario.receive {
            Receive::Verify => true,
            Receive::Count => verify,
            Receive::Auto => verify || stamps_needed,
        };
        if self.verify && self.payload < crate::stamp::SIZE {
            return Err(format!("verifying needs a payload of {}", crate::stamp::SIZE));
        }
        if !self.verify && self.subscribers.iter().any(|s| s.frame < FRAME_MIN) {
            return Err("frames too small to count by their bytes".into());
        }
        Ok(())
    }

    /// A publisher's window opens as the first subscriber that takes all of its messages, and no
    /// others, goes on.
    fn check_window(&self) -> Result<(), String> {
        if self.window.is_none() {
            return Ok(());
        }
        let pacer = |p: usize| self.subscribers.iter().position(|s| s.source == Some(p));
        match (0..self.publishers.len()).find(|&p| pacer(p).is_none()) {
            Some(p) => Err(format!("no subscriber can pace the window of publisher {p}")),
            None => Ok(()),
        }
    }

    /// Whether publishers and the subscribers that pace them would be on one thread of so many.
    pub fn fits_threads(&self, threads: usize) -> bool {
        let pacer = |p: usize| self.subscribers.iter().position(|s| s.source == Some(p));
        self.window.is_none()
            || (0..self.publishers.len())
                .all(|p| pacer(p).is_some_and(|s| s % threads == p % threads))
    }

    /// Deliveries owed to each account once publisher p has sent `sent[p]` messages.
    pub fn owed(&self, sent: &[u64]) -> Vec<u64> {
        let mut owed = vec![0; self.accounts];
        for (publisher, &sent) in self.publishers.iter().zip(sent) {
            let (rounds, rest) = (sent / publisher.count as u64, sent % publisher.count as u64);
            for n in 0..publisher.count as u64 {
                let times = rounds + u64::from(n < rest);
                for &account in self.takers.of(publisher.subject(n)) {
                    owed[account as usize] += times;
                }
            }
        }
        owed
    }

    /// When message `n` of publisher `p` is meant to be sent, in ns after the first; publishers
    /// take turns by bursts. None when they saturate.
    pub fn intended_ns(&self, p: usize, n: u64) -> Option<u64> {
        let interval_ns = self.interval_ns?;
        let turn = (n / self.burst) * self.publishers.len() as u64 + p as u64;
        Some((turn as f64 * self.burst as f64 * interval_ns) as u64)
    }
}

fn deal_publishers(subjects: usize, connections: usize, deal: Deal) -> Vec<Publisher> {
    let one = |p: usize| match deal {
        Deal::Share => Publisher { first: 0, step: 1, count: subjects },
        Deal::Own => {
            let first = p % subjects;
            let count = (subjects - first).div_ceil(connections).max(1);
            Publisher { first, step: connections, count }
        }
    };
    (0..connections).map(one).collect()
}

fn deal_block(
    block: &Subscribe,
    (subject_size, payload): (usize, usize),
    accounts: &mut usize,
    interest: &mut Interest,
    subscribers: &mut Vec<Subscriber>,
) -> Result<(), String> {
    let patterns = expand(&block.subject)?;
    if let Some(_queue) = &block.queue {
        for pattern in &patterns {
            interest.add(pattern, *accounts as u32);
        }
        if block.deal == Deal::Own && patterns.len() != 1 {
            return Err("members of a queue group share all patterns".into());
        }
    }
    for connection in 0..block.connections {
        let mine: Vec<String> = match block.deal {
            Deal::Share => patterns.clone(),
            Deal::Own if patterns.len() <= connection => {
                vec![patterns[connection % patterns.len()].clone()]
            }
            Deal::Own => {
                patterns.iter().skip(connection).step_by(block.connections).cloned().collect()
            }
        };
        let first_sid = if mine.len() == 1 { 1 } else { 10u64.pow(digits(mine.len()) as u32) };
        let frame = format!("MSG  {first_sid} {payload}\r\n\r\n").len() + subject_size + payload;
        let account = (!block.stuck).then_some(*accounts);
        if let (Some(account), None) = (account, &block.queue) {
            for pattern in &mine {
                interest.add(pattern, account as u32);
            }
            *accounts += 1;
        }
        subscribers.push(Subscriber {
            patterns: mine,
            first_sid,
            queue: block.queue.clone(),
            stuck: block.stuck,
            account,
            frame,
            source: None,
        });
    }
    *accounts += usize::from(block.queue.is_some());
    Ok(())
}

fn takers(subjects: &[String], interest: &Interest) -> Takers {
    let mut starts = vec![0];
    let mut accounts = Vec::new();
    for subject in subjects {
        accounts.extend(interest.takers(subject));
        starts.push(accounts.len() as u32);
    }
    Takers { starts, accounts }
}

fn digits(n: usize) -> usize {
    n.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(tail: &str) -> Result<Plan, String> {
        let head = "name='x'\ntitle='x'\ngroup='g'\npayload=16\n";
        Plan::new(&Scenario::parse(&format!("{head}{tail}"))?, false)
    }

    #[test]
    fn fan_out_owes_everyone_everything() {
        let plan = plan(
            "[publish]\nsubject='a'\n[[subscribe]]\nsubject='a'\nconnections=3\n\
             [[subscribe]]\nsubject='a'\nstuck=true",
        )
        .unwrap();
        assert_eq!(plan.owed(&[7]), [7, 7, 7]);
        assert_eq!(plan.subscribers.len(), 4);
        assert_eq!(plan.subscribers[0].frame, "MSG a 1 16\r\n".len() + 18);
        assert_eq!(plan.subscribers[2].source, Some(0));
        assert_eq!(plan.subscribers[3].account, None);
        assert!(!plan.verify);
    }

    #[test]
    fn wildcards_owe_by_subject_and_by_the_rest_of_a_round() {
        let plan = plan(
            "[publish]\nsubject='t.{3}.{2}'\n[[subscribe]]\nsubject='t.>'\n\
             [[subscribe]]\nsubject='t.{3}.*'\nconnections=2\ndeal='own'",
        )
        .unwrap();
        // Subjects 0.0 0.1 1.0 1.1 2.0 2.1, of which the first three come twice; the second
        // connection has t.0.* and t.2.*, the third t.1.*.
        assert_eq!(plan.owed(&[9]), [9, 2 + 2 + 2, 2 + 1]);
        assert_eq!(plan.subscribers[0].source, Some(0));
        assert_eq!(plan.subscribers[1].source, None);
        assert_eq!(plan.subscribers[1].first_sid, 10);
    }

    #[test]
    fn a_queue_group_is_owed_once() {
        let tail = "[publish]\nsubject='q'\nconnections=2\n\
             [[subscribe]]\nsubject='q'\nconnections=5\nqueue='w'\n[[subscribe]]\nsubject='>'";
        let plan = plan(tail).unwrap();
        assert_eq!(plan.owed(&[4, 3]), [7, 7]);
        assert!(plan.subscribers[..5].iter().all(|s| s.account == Some(0)));
        assert!(plan.subscribers.iter().all(|s| s.source.is_none()));
    }

    #[test]
    fn pairs_have_sources_and_may_have_a_window() {
        let pairs = "[publish]\nsubject='p.{4}'\ndeal='own'\nconnections=4\nburst=2\nwindow=2\n\
             [[subscribe]]\nsubject='p.{4}'\ndeal='own'\nconnections=4";
        let paired = plan(pairs).unwrap();
        let sources: Vec<_> = paired.subscribers.iter().map(|s| s.source).collect();
        assert_eq!(sources, [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(paired.owed(&[1, 2, 3, 4]), [1, 2, 3, 4]);
        assert!(paired.fits_threads(2));
        let two = pairs.replace("connections=4\nburst", "connections=8\nburst");
        assert!(plan(&two).is_err(), "two publishers to each subject");
    }

    #[test]
    fn paced_publishers_take_turns_by_bursts() {
        let tail = "[publish]\nsubject='a'\nconnections=2\nrate=1000.0\nburst=4";
        let plan = plan(tail).unwrap();
        assert_eq!(plan.intended_ns(0, 3), Some(0));
        assert_eq!(plan.intended_ns(1, 0), Some(4_000_000));
        assert_eq!(plan.intended_ns(0, 4), Some(8_000_000));
    }

    #[test]
    fn paced_messages_of_many_publishers_to_one_are_verified() {
        let tail = "[publish]\nsubject='a.{4}'\ndeal='own'\nconnections=4\nrate=1000.0\n\
             [[subscribe]]\nsubject='a.>'";
        assert!(plan(tail).unwrap().verify);
    }

    #[test]
    fn fewer_subjects_than_publishers_go_round() {
        let dealt = deal_publishers(2, 5, Deal::Own);
        assert_eq!(dealt.iter().map(|p| p.first).collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
        assert!(dealt.iter().all(|p| p.count == 1));
        let dealt = deal_publishers(7, 3, Deal::Own);
        assert_eq!(dealt.iter().map(|p| p.count).collect::<Vec<_>>(), [3, 2, 2]);
    }
}
