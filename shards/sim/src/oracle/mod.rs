//! What a bus owes its clients, judged by what clients can see: the operations they wrote and the
//! bytes they read.
//!
//! Time is a count of the things clients did and saw. An operation is *fenced* once a PONG to a
//! later PING of the same
//! connection has been read (or, where the client is verbose, the +OK of a later change of
//! subscriptions): from then on
//! its effect holds on the whole server.

mod answers;
mod hearing;
mod matching;
mod reply;
mod verdict;
mod walls;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use shard::Nanos;
use wire::CloseReason;

use crate::walls::Walls;
use answers::Question;
use walls::{Asked, Kind, Right, Way};

pub use hearing::Heard;
pub use matching::{is_literal, is_valid, matches};
pub use reply::{Message, Reply, parse};

/// A point in the clients' time.
pub type Tick = u64;
/// A connection as the client sees it; never reused.
pub type Session = usize;
/// A subscription; never reused.
pub type SubId = usize;
/// A publication; later ones have larger numbers.
pub type PubId = usize;

/// What the bus was set up to do.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Messages for receivers that are far behind may be dropped.
    pub lossy: bool,
    /// PINGs of the server are frequent enough for connections to become stale.
    pub stale_possible: bool,
    /// Bytes that may wait for one connection.
    pub pending_bytes_max: u64,
}

/// What a client said in its CONNECT, or what holds without one.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the words of the protocol")]
pub struct Flags {
    pub connect: bool,
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
    pub protocol: u8,
}

impl Default for Flags {
    /// A client that sends no CONNECT.
    fn default() -> Flags {
        let (connect, headers, no_responders) = (false, false, false);
        Flags {
            connect,
            verbose: true,
            pedantic: true,
            echo: true,
            headers,
            no_responders,
            protocol: 0,
        }
    }
}

/// What a client did that ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A verb nobody knows.
    UnknownOperation,
    /// A message over the limit.
    TooLarge,
}

impl Fault {
    fn reason(self) -> CloseReason {
        match self {
            Fault::UnknownOperation => CloseReason::ProtocolViolation,
            Fault::TooLarge => CloseReason::MaximumPayloadExceeded,
        }
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Publication {
    /// As written.
    pub subject: Vec<u8>,
    /// Empty if there is none.
    pub reply: Vec<u8>,
    /// Empty for PUB.
    pub header: Vec<u8>,
    /// What comes after the header.
    pub body: Vec<u8>,
}

/// When an operation was written and when its effect began to hold everywhere.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    issued: Tick,
    fenced: Option<Tick>,
}

struct SubRecord {
    session: Session,
    account: usize,
    /// Its user may no longer have it.
    is_revoked: bool,
    pattern: Vec<u8>,
    queue: Option<u8>,
    stamp: Stamp,
    unsub: Option<Stamp>,
    max: Option<(usize, Stamp)>,
    got: BTreeSet<PubId>,
    /// Nothing is under way and it has had its fill: it is gone.
    over_at: Option<Tick>,
    last_from: BTreeMap<Session, PubId>,
    /// Must have come before the PONG to any PING from now on.
    due: Vec<PubId>,
}

impl SubRecord {
    /// Has it got all it wants?
    fn is_full(&self) -> bool {
        self.max.is_some_and(|(max, _)| self.got.len() >= max)
    }
}

struct PubRecord {
    /// When it was written.
    at: Nanos,
    session: Session,
    account: usize,
    /// The first and the last that it may have met on its way.
    eras: (usize, usize),
    /// None if it was not allowed.
    ways: Vec<Way>,
    /// It was allowed in all its eras, for sure.
    is_allowed: bool,
    what: Publication,
    stamp: Stamp,
    deliveries: u32,
    refused_at: Option<Tick>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    /// The client has ended its side in good order and still reads.
    Leaving,
    /// It is over, and everything it wrote was read.
    Heard,
    /// It is over, and what it wrote last may be lost.
    Lost,
}

#[derive(Clone, Copy)]
enum Mark {
    Sub(SubId),
    Unsub(SubId),
    Max(SubId),
    Pub(PubId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expect {
    Info,
    Ok {
        upto: Option<usize>,
        issued: Tick,
    },
    Pong {
        upto: usize,
        issued: Tick,
    },
    Err(String),
    /// It was allowed, or was not; up to then it was.
    OkOrErr(String, Option<Nanos>),
    /// As that, where success is silent.
    PerhapsErr(String, Option<Nanos>),
}

struct SessionRecord {
    shard: usize,
    /// Who it is; none is nobody in particular.
    person: Option<usize>,
    /// Requests it has been sent, by their reply subjects.
    asked: BTreeMap<Vec<u8>, Question>,
    /// When it asked the last PING that it has read the PONG of.
    asked_upto: Tick,
    /// What it is still to be told of subscriptions that it may not have any more.
    removals: Vec<(SubId, String)>,
    flags: Flags,
    fate: Fate,
    /// The server has closed it.
    closed_at: Option<Tick>,
    /// The server has taken its subscriptions back.
    withdrawn_at: Option<Tick>,
    /// All peers know.
    gone_at: Option<Tick>,
    expected: VecDeque<Expect>,
    by_sid: BTreeMap<Vec<u8>, SubId>,
    marks: Vec<Mark>,
    fenced_marks: usize,
    last_from: BTreeMap<Session, PubId>,
    inbox: Vec<u8>,
    pinged: bool,
    fault: Option<Fault>,
    refused: bool,
    /// What it was owed is forgotten: it was torn down.
    forgotten: bool,
    /// It will not read any more, so nobody can tell what came.
    deaf: bool,
    /// Access changed while it did not read: which of its operations were allowed is not known.
    is_unsettled: bool,
}

impl SessionRecord {
    fn forget(&mut self) {
        self.removals.clear();
        self.fate = Fate::Lost;
        self.forgotten = true;
        self.expected.clear();
    }

    /// May it perhaps be told so already, because it answers late?
    fn may_read(&self, text: &str) -> bool {
        let same = |expect: &Expect| match expect {
            Expect::PerhapsErr(due, until) => until.is_some() && due == text,
            _ => false,
        };
        self.expected.iter().any(same)
    }

    /// It is there, and reads.
    fn stays(&self) -> bool {
        self.fate == Fate::Open && !self.deaf
    }
}

/// The judge of one run.
pub struct Oracle {
    tick: Tick,
    /// The time of the shards.
    clock: Nanos,
    rules: Rules,
    sessions: Vec<SessionRecord>,
    subs: Vec<SubRecord>,
    pubs: Vec<PubRecord>,
    /// By publication, account and group.
    groups: BTreeMap<(PubId, usize, u8), SubId>,
    /// What has held, one after the other.
    eras: Vec<Walls>,
    /// Some shards may know of the last era, some not.
    is_changing: bool,
    /// By the reply subjects that the server made.
    asked: BTreeMap<Vec<u8>, Asked>,
    /// Checks made at the end; for statistics.
    pub obligations: u64,
    /// Messages heard.
    pub deliveries: u64,
}

/// The name of a queue group.
pub fn queue_name(queue: u8) -> String {
    format!("q{queue}")
}

impl Oracle {
    /// Knows nothing yet.
    pub fn new(rules: Rules, walls: Walls) -> Oracle {
        let (sessions, subs, pubs) = (Vec::new(), Vec::new(), Vec::new());
        let groups = BTreeMap::new();
        Oracle {
            tick: 0,
            clock: 0,
            rules,
            sessions,
            subs,
            pubs,
            groups,
            eras: vec![walls],
            is_changing: false,
            asked: BTreeMap::new(),
            obligations: 0,
            deliveries: 0,
        }
    }

    /// Time has passed.
    pub fn is_at(&mut self, clock: Nanos) {
        self.clock = clock;
    }

    fn now(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    fn stamp(&mut self) -> Stamp {
        Stamp { issued: self.now(), fenced: None }
    }

    /// A client connects; the server greets it, and sends it away if it is refused.
    pub fn opened(
        &mut self,
        shard: usize,
        person: Option<usize>,
        flags: Flags,
        refused: bool,
    ) -> Session {
        self.now();
        let mut expected = VecDeque::from([Expect::Info]);
        if refused {
            expected.push_back(Expect::Err("maximum connections exceeded".into()));
        }
        self.sessions.push(SessionRecord {
            shard,
            person,
            asked: BTreeMap::new(),
            asked_upto: 0,
            removals: Vec::new(),
            flags,
            fate: if refused { Fate::Lost } else { Fate::Open },
            closed_at: None,
            withdrawn_at: None,
            gone_at: None,
            expected,
            by_sid: BTreeMap::new(),
            marks: Vec::new(),
            fenced_marks: 0,
            last_from: BTreeMap::new(),
            inbox: Vec::new(),
            pinged: false,
            fault: None,
            refused,
            forgotten: false,
            deaf: false,
            is_unsettled: false,
        });
        self.sessions.len() - 1
    }

    /// It wrote its CONNECT.
    pub fn sent_connect(&mut self, session: Session) {
        let issued = self.now();
        self.expect_ok(session, None, issued);
    }

    fn expect_ok(&mut self, session: Session, upto: Option<usize>, issued: Tick) {
        let record = &mut self.sessions[session];
        if record.flags.verbose {
            record.expected.push_back(Expect::Ok { upto, issued });
        }
    }

    fn mark(&mut self, session: Session, mark: Mark) -> usize {
        let marks = &mut self.sessions[session].marks;
        marks.push(mark);
        marks.len()
    }

    /// It wrote SUB. The sid is not in use.
    pub fn sent_sub(
        &mut self,
        session: Session,
        sid: &[u8],
        pattern: &[u8],
        queue: Option<u8>,
    ) -> Option<SubId> {
        let stamp = self.stamp();
        if !self.may_subscribe(session, pattern, queue, self.eras_now().1) {
            let text = format!(
                "Permissions Violation for Subscription to \"{}\"{}",
                String::from_utf8_lossy(pattern),
                queue.map_or_else(String::new, |q| format!(" using queue \"{}\"", queue_name(q))),
            );
            self.sessions[session].expected.push_back(Expect::Err(text));
            return None;
        }
        if !is_valid(pattern) {
            self.sessions[session].expected.push_back(Expect::Err("Invalid Subject".into()));
            return None;
        }
        let account = self.account_of(self.sessions[session].person);
        let id = self.subs.len();
        self.subs.push(SubRecord {
            session,
            account,
            is_revoked: false,
            pattern: pattern.to_vec(),
            queue,
            stamp,
            unsub: None,
            max: None,
            got: BTreeSet::new(),
            over_at: None,
            last_from: BTreeMap::new(),
            due: Vec::new(),
        });
        self.sessions[session].by_sid.insert(sid.to_vec(), id);
        let upto = self.mark(session, Mark::Sub(id));
        self.expect_ok(session, Some(upto), stamp.issued);
        Some(id)
    }

    /// It wrote UNSUB, for good or with the number of messages it wants in all.
    pub fn sent_unsub(&mut self, session: Session, sub: SubId, max: usize) {
        let stamp = self.stamp();
        let record = &mut self.subs[sub];
        let mark = if max == 0 {
            record.unsub.get_or_insert(stamp);
            Mark::Unsub(sub)
        } else {
            record.max = Some((max, stamp));
            Mark::Max(sub)
        };
        let upto = self.mark(session, mark);
        self.expect_ok(session, Some(upto), stamp.issued);
    }

    /// The number of the next publication, to be put into it.
    pub fn next_pub(&self) -> PubId {
        self.pubs.len()
    }

    /// It wrote PUB or HPUB.
    pub fn sent_pub(&mut self, session: Session, what: Publication) {
        let stamp = self.stamp();
        let id = self.pubs.len();
        let pedantic = self.sessions[session].flags.pedantic;
        if pedantic && !is_literal(&what.subject) {
            let text = "Invalid Publish Subject".to_string();
            self.sessions[session].expected.push_back(Expect::Err(text));
        }
        let account = self.account_of(self.sessions[session].person);
        let ways = self.ways(account, &what.subject);
        let eras = self.eras_now();
        let right = |era: usize| self.may_publish(session, &ways[0].subject, era);
        let is_allowed = (eras.0..=eras.1).all(|era| right(era) == Right::Yes);
        let may_be_allowed = (eras.0..=eras.1).any(|era| right(era) != Right::No);
        let until = match right(eras.0) {
            Right::Until(until) if eras.0 == eras.1 => Some(until),
            _ => None,
        };
        self.note_answer(session, &ways[0].subject);
        let subject = String::from_utf8_lossy(&ways[0].subject);
        let text = format!("Permissions Violation for Publish to \"{subject}\"");
        let ways = if may_be_allowed { ways } else { Vec::new() };
        if ways.iter().any(|way| matches!(way.kind, Kind::Answer { .. })) {
            self.asked
                .get_mut(&what.subject)
                .expect("an answer to what was asked")
                .answers
                .push(id);
        }
        self.pubs.push(PubRecord {
            at: self.clock,
            session,
            account,
            eras,
            ways,
            is_allowed,
            what,
            stamp,
            deliveries: 0,
            refused_at: None,
        });
        self.mark(session, Mark::Pub(id));
        let record = &mut self.sessions[session];
        match (is_allowed, may_be_allowed, record.flags.verbose) {
            (true, ..) => self.expect_ok(session, None, stamp.issued),
            // Which of two that read the same it is for can't be told, but there is one at most.
            (false, false, false) if record.may_read(&text) => {
                record.expected.push_back(Expect::PerhapsErr(text, None));
            }
            (false, false, _) => record.expected.push_back(Expect::Err(text)),
            (false, _, true) => record.expected.push_back(Expect::OkOrErr(text, until)),
            (false, _, false) => record.expected.push_back(Expect::PerhapsErr(text, until)),
        }
    }

    /// It wrote PING.
    pub fn sent_ping(&mut self, session: Session) {
        let issued = self.now();
        let record = &mut self.sessions[session];
        record.expected.push_back(Expect::Pong { upto: record.marks.len(), issued });
        if !record.pinged && record.flags.connect && record.flags.protocol == 1 {
            record.expected.push_back(Expect::Info);
        }
        record.pinged = true;
    }

    /// It wrote something no server puts up with.
    pub fn sent_fault(&mut self, session: Session, fault: Fault) {
        self.now();
        let record = &mut self.sessions[session];
        record.fault = Some(fault);
        let text = match fault {
            Fault::UnknownOperation => "Unknown Protocol Operation",
            Fault::TooLarge => "Maximum Payload Violation",
        };
        record.expected.push_back(Expect::Err(text.into()));
    }

    /// It will never read again.
    pub fn deafened(&mut self, session: Session) {
        self.now();
        self.sessions[session].deaf = true;
    }

    /// It has ended its side, and goes on reading.
    pub fn left(&mut self, session: Session) {
        self.now();
        let record = &mut self.sessions[session];
        // Too late to matter if the server has closed it already.
        if record.closed_at.is_none() {
            record.fate = Fate::Leaving;
        }
    }

    /// The connection is torn down; nobody knows what got through.
    pub fn lost(&mut self, session: Session) {
        self.now();
        self.sessions[session].forget();
    }

    /// The server has closed it. `sent_bytes` is what it had been able to write.
    pub fn closed(
        &mut self,
        session: Session,
        reason: CloseReason,
        sent_bytes: u64,
    ) -> Result<(), String> {
        let now = self.now();
        if self.sessions[session].closed_at.replace(now).is_some() {
            return Err(format!("session {session} was closed twice"));
        }
        self.judge_close(session, reason, sent_bytes)?;
        let record = &mut self.sessions[session];
        let orderly = match reason {
            CloseReason::ClientClosed => record.fate == Fate::Leaving,
            _ => record.fault.is_some_and(|fault| fault.reason() == reason),
        };
        record.fate = if orderly { Fate::Heard } else { Fate::Lost };
        Ok(())
    }

    /// The client has read all there was to read of a closed connection.
    pub fn read_out(&mut self, session: Session) -> Result<(), String> {
        self.now();
        let record = &mut self.sessions[session];
        if record.fate == Fate::Heard && !record.inbox.is_empty() {
            return Err(format!("session {session} ends within a message"));
        }
        let silent = |expect: &&Expect| matches!(expect, Expect::Info | Expect::PerhapsErr(..));
        let cut = record.expected.iter().find(|expect| !silent(expect));
        if record.fate == Fate::Heard && cut.is_some() && !record.is_unsettled {
            return Err(format!("session {session} ended, but was owed {cut:?}"));
        }
        record.inbox = Vec::new();
        record.expected.clear();
        Ok(())
    }

    /// This shard has no closed connection left whose subscriptions it has not taken back.
    pub fn withdrawn(&mut self, shard: usize) {
        let now = self.now();
        for record in self.sessions.iter_mut().filter(|record| record.shard == shard) {
            if record.closed_at.is_some() && record.withdrawn_at.is_none() {
                record.withdrawn_at = Some(now);
            }
        }
    }

    /// Nothing is under way anywhere.
    pub fn rest(&mut self) {
        let now = self.now();
        for record in self.sessions.iter_mut().filter(|record| record.closed_at.is_some()) {
            record.gone_at.get_or_insert(now);
        }
        for sub in self.subs.iter_mut().filter(|sub| sub.is_full()) {
            sub.over_at.get_or_insert(now);
        }
    }

    /// Is it waiting for an answer?
    pub fn is_owed(&self, session: Session) -> bool {
        let SessionRecord { expected, is_unsettled, .. } = &self.sessions[session];
        !is_unsettled && expected.iter().any(|expect| !matches!(expect, Expect::PerhapsErr(..)))
    }

    /// What it is waiting for, for a report.
    pub fn owed(&self, session: Session) -> String {
        format!("{:?}", self.sessions[session].expected.front())
    }

    /// How many publications there were.
    pub fn publications(&self) -> usize {
        self.pubs.len()
    }

    /// How many messages this subscription has got.
    pub fn got(&self, sub: SubId) -> usize {
        self.subs[sub].got.len()
    }

    /// Has a PONG confirmed that it is gone?
    pub fn is_unsub_fenced(&self, sub: SubId) -> bool {
        self.subs[sub].unsub.is_some_and(|stamp| stamp.fenced.is_some())
    }

    /// Does the echo option keep this publication from this subscription?
    fn is_muffled(&self, sub: &SubRecord, publication: &PubRecord) -> bool {
        sub.session == publication.session && !self.sessions[sub.session].flags.echo
    }
}
