//! Judging each thing a client reads, as it reads it.

use super::reply::{Message, Reply, parse};
use super::walls::{Asked, Kind, Way};
use super::{Expect, Fate, Mark, Oracle, PubId, Session, SubId, Tick};

/// What a client has to react to.
#[derive(Debug, Default)]
pub struct Heard {
    /// PINGs of the server.
    pub pings: u32,
    /// Reply subjects of requests that came.
    pub requests: Vec<Vec<u8>>,
    /// Publications that came, and to which subscriptions.
    pub messages: Vec<(PubId, SubId)>,
}

impl Oracle {
    /// A client has read these bytes.
    pub fn heard(&mut self, session: Session, bytes: &[u8]) -> Result<Heard, String> {
        let mut inbox = std::mem::take(&mut self.sessions[session].inbox);
        inbox.extend_from_slice(bytes);
        let (mut at, mut heard) = (0, Heard::default());
        while let Some((reply, used)) = parse(&inbox[at..])? {
            self.reply(session, &reply, &mut heard).map_err(|wrong| {
                format!("session {session}: {wrong}; read {}", crate::trace::shown(&inbox[at..]))
            })?;
            at += used;
        }
        inbox.drain(..at);
        self.sessions[session].inbox = inbox;
        Ok(heard)
    }

    fn reply(
        &mut self,
        session: Session,
        reply: &Reply<'_>,
        heard: &mut Heard,
    ) -> Result<(), String> {
        match reply {
            Reply::Ping => heard.pings += 1,
            Reply::Pong => self.pong(session)?,
            Reply::Ok => self.ok(session)?,
            Reply::Info(_) => {
                self.expected(session, &|expect| *expect == Expect::Info, "INFO").map(|_| ())?
            }
            Reply::Err(text) => self.error(session, text)?,
            Reply::Message(message) => {
                if let Some(came) = self.message(session, message)? {
                    heard.messages.push(came);
                }
                if !message.reply.is_empty() {
                    heard.requests.push(message.reply.to_vec());
                }
            }
        }
        Ok(())
    }

    /// Takes what must come next off the list.
    fn expected(
        &mut self,
        session: Session,
        fits: &dyn Fn(&Expect) -> bool,
        came: &str,
    ) -> Result<Option<Expect>, String> {
        let record = &mut self.sessions[session];
        if record.is_unsettled {
            return Ok(None);
        }
        while let Some(expect) = record.expected.front()
            && matches!(expect, Expect::PerhapsErr(..))
            && !fits(expect)
        {
            record.expected.pop_front();
        }
        match record.expected.front() {
            Some(expect) if fits(expect) => Ok(record.expected.pop_front()),
            None if record.forgotten => Ok(None),
            front => Err(format!("{came} came where {front:?} was due")),
        }
    }

    fn error(&mut self, session: Session, text: &[u8]) -> Result<(), String> {
        if text == b"Stale Connection" && self.rules.stale_possible {
            self.sessions[session].forget();
            return Ok(());
        }
        let removals = &mut self.sessions[session].removals;
        if let Some(at) = removals.iter().position(|(_, due)| due.as_bytes() == text) {
            removals.remove(at);
            return Ok(());
        }
        if self.takes_what_is_sure(session, text) {
            return Ok(());
        }
        let clock = self.clock;
        let fits = |expect: &Expect| match expect {
            Expect::Err(due) => due.as_bytes() == text,
            Expect::OkOrErr(due, until) | Expect::PerhapsErr(due, until) => {
                due.as_bytes() == text && until.is_none_or(|until| clock > until)
            }
            _ => false,
        };
        self.expected(session, &fits, "-ERR").map(|_| ())
    }

    /// Behind refusals that may never come, one with the same words that must: this is that one,
    /// and the others may yet come.
    fn takes_what_is_sure(&mut self, session: Session, text: &[u8]) -> bool {
        let expected = &mut self.sessions[session].expected;
        let sure = expected.iter().position(|expect| !matches!(expect, Expect::PerhapsErr(..)));
        let says = |expect: &Expect| match expect {
            Expect::Err(due) | Expect::PerhapsErr(due, _) => due.as_bytes() == text,
            _ => false,
        };
        let Some(at) = sure.filter(|at| says(&expected[*at])) else { return false };
        let mut passed: Vec<Expect> = expected.drain(..=at).collect();
        passed.pop();
        for doubtful in passed.into_iter().rev().filter(says) {
            expected.push_front(doubtful);
        }
        true
    }

    fn pong(&mut self, session: Session) -> Result<(), String> {
        let expect =
            self.expected(session, &|expect| matches!(expect, Expect::Pong { .. }), "PONG")?;
        let Some(Expect::Pong { upto, issued }) = expect else { return Ok(()) };
        let now = self.now();
        self.check_due(session, issued)?;
        self.sessions[session].asked_upto = issued;
        self.fence(session, upto, now)?;
        let shard = self.sessions[session].shard;
        for record in self.sessions.iter_mut().filter(|record| record.shard == shard) {
            if record.withdrawn_at.is_some_and(|withdrawn| withdrawn < issued) {
                record.gone_at.get_or_insert(now);
            }
        }
        Ok(())
    }

    fn ok(&mut self, session: Session) -> Result<(), String> {
        let expect = self.expected(
            session,
            &|e| matches!(e, Expect::Ok { .. } | Expect::OkOrErr(..)),
            "+OK",
        )?;
        let Some(Expect::Ok { upto: Some(upto), issued }) = expect else { return Ok(()) };
        let now = self.now();
        self.check_due(session, issued)?;
        self.fence(session, upto, now)
    }

    /// What was published and confirmed before this question was asked must be here before its
    /// answer.
    fn check_due(&mut self, session: Session, issued: Tick) -> Result<(), String> {
        let (pubs, lossy) = (&self.pubs, self.rules.lossy);
        for sub in self.sessions[session].by_sid.values() {
            let record = &mut self.subs[*sub];
            let (got, full) = (&record.got, record.is_full());
            let mut missing = None;
            record.due.retain(|id| {
                let due = pubs[*id].stamp.fenced.is_some_and(|fenced| fenced < issued);
                if due && !full && !got.contains(id) {
                    missing = Some(*id);
                }
                !due
            });
            if let Some(id) = missing.filter(|_| !lossy) {
                let (publication, sub) = (self.show_pub(id), self.show_sub(*sub));
                return Err(format!(
                    "a confirmed publication is not visible at a PONG: {publication}, {sub}"
                ));
            }
        }
        Ok(())
    }

    fn fence(&mut self, session: Session, upto: usize, now: Tick) -> Result<(), String> {
        for at in self.sessions[session].fenced_marks..upto {
            match self.sessions[session].marks[at] {
                Mark::Sub(sub) => self.subs[sub].stamp.fenced = Some(now),
                Mark::Unsub(sub) => {
                    if let Some(stamp) = &mut self.subs[sub].unsub {
                        stamp.fenced.get_or_insert(now);
                    }
                }
                Mark::Max(sub) => {
                    if let Some((_, stamp)) = &mut self.subs[sub].max {
                        stamp.fenced = Some(now);
                    }
                }
                Mark::Pub(id) => self.fence_pub(id, now)?,
            }
        }
        let fenced = &mut self.sessions[session].fenced_marks;
        *fenced = upto.max(*fenced);
        Ok(())
    }

    fn fence_pub(&mut self, id: PubId, now: Tick) -> Result<(), String> {
        self.pubs[id].stamp.fenced = Some(now);
        self.check_refusal(id)?;
        let publication = &self.pubs[id];
        let due: Vec<SubId> = (0..self.subs.len())
            .filter(|at| {
                let sub = &self.subs[*at];
                let stays = sub.unsub.is_none() && self.sessions[sub.session].fate == Fate::Open;
                let known =
                    sub.stamp.fenced.is_some_and(|fenced| fenced < publication.stamp.issued);
                stays
                    && known
                    && sub.queue.is_none()
                    && !sub.got.contains(&id)
                    && self.must_take(sub, publication)
            })
            .collect();
        for sub in due {
            self.subs[sub].due.push(id);
        }
        Ok(())
    }

    fn message(
        &mut self,
        session: Session,
        message: &Message<'_>,
    ) -> Result<Option<(PubId, SubId)>, String> {
        self.deliveries += 1;
        let sub = self.sessions[session].by_sid.get(message.sid).copied();
        let sub = sub.ok_or_else(|| format!("no subscription {}", message.sid.escape_ascii()))?;
        if self.subs[sub].unsub.is_some_and(|stamp| stamp.fenced.is_some()) {
            return Err(format!("delivered to subscription {sub} after its UNSUB was confirmed"));
        }
        if message.header_len == Some(message.payload.len())
            && message.payload.starts_with(b"NATS/1.0 503")
        {
            return self.refusal(session, sub, message).map(|()| None);
        }
        let id = self.identify(message)?;
        let way = self.check_receiver(sub, id)?;
        self.check_content(session, id, message, &way)?;
        self.check_order(session, sub, id)?;
        self.check_group(sub, id, &way)?;
        self.check_answer(id, &way)?;
        if way.kind == Kind::Request && !message.reply.is_empty() {
            self.note_asked(id, &way, message.reply);
        }
        if !message.reply.is_empty() {
            self.note_question(session, id, &way, message.reply);
        }
        self.pubs[id].deliveries += 1;
        self.subs[sub].got.insert(id);
        self.now();
        Ok(Some((id, sub)))
    }

    /// Every publication carries its number: in its body, or in its reply, or in its subject.
    fn identify(&self, message: &Message<'_>) -> Result<PubId, String> {
        let body = &message.payload[message.header_len.unwrap_or(0)..];
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<PubId>().ok();
        let last = |subject: &[u8]| subject.rsplit(|byte| *byte == b'.').next().map(<[u8]>::to_vec);
        let id = if let Some(rest) = body.strip_prefix(b"#") {
            rest.split(|byte| *byte == b';').next().and_then(number)
        } else if message.reply.is_empty() {
            last(message.subject).and_then(|token| number(token.strip_prefix(b"i")?))
        } else {
            last(message.reply).and_then(|token| number(&token))
        };
        let id = id.ok_or("a message nobody published")?;
        if id < self.pubs.len() { Ok(id) } else { Err(format!("publication {id} does not exist")) }
    }

    /// Is it what was published, under the subject that is right here?
    fn check_content(
        &self,
        session: Session,
        id: PubId,
        message: &Message<'_>,
        way: &Way,
    ) -> Result<(), String> {
        let (what, flags) = (&self.pubs[id].what, &self.sessions[session].flags);
        let header_len = message.header_len.unwrap_or(0);
        let (came_header, came_body) = message.payload.split_at(header_len);
        let is_request = way.kind == Kind::Request;
        let reply_is_right = match is_request && !what.reply.is_empty() {
            true => message.reply.starts_with(b"_R_."),
            false => message.reply == what.reply,
        };
        let header_is_right = if is_request && flags.headers {
            let account = crate::walls::account_name(self.pubs[id].account);
            let asker = format!("\r\nNats-Request-Info: {{\"acc\":\"{account}\"");
            came_header.windows(asker.len()).any(|part| part == asker.as_bytes())
        } else {
            let with_header = flags.headers && !what.header.is_empty();
            let header: &[u8] = if with_header { &what.header } else { b"" };
            message.header_len.is_some() == with_header && came_header == header
        };
        let part = if message.subject != way.subject {
            "subject"
        } else if !reply_is_right {
            "reply"
        } else if !header_is_right {
            "header"
        } else if came_body != what.body {
            "body"
        } else {
            return Ok(());
        };
        Err(format!("publication {id} came with another {part}"))
    }

    /// May it have come here at all? Gives the way by which it did, with its subject here.
    fn check_receiver(&self, sub: SubId, id: PubId) -> Result<Way, String> {
        let (record, publication) = (&self.subs[sub], &self.pubs[id]);
        let Some((way, subject)) = self.way_to(record, publication) else {
            return Err(format!("publication {id} does not match subscription {sub}"));
        };
        let way = Way { subject, ..way.clone() };
        if self.is_muffled(record, publication) {
            return Err(format!("publication {id} was echoed"));
        }
        if !self.may_take(record, publication) {
            return Err(format!("publication {id} is forbidden to subscription {sub}"));
        }
        if publication.stamp.fenced.is_some_and(|fenced| fenced < record.stamp.issued) {
            return Err(format!("publication {id} was confirmed before subscription {sub} began"));
        }
        if let Some((max, stamp)) = record.max
            && stamp.fenced.is_some()
            && record.got.len() >= max
        {
            return Err(format!("subscription {sub} wanted {max} messages and got another, {id}"));
        }
        if publication.refused_at.is_some() {
            return Err(format!("publication {id} had no responders and is delivered"));
        }
        Ok(way)
    }

    /// The server has made a reply subject of its own for a request.
    fn note_asked(&mut self, request: PubId, way: &Way, reply: &[u8]) {
        let importer = self.pubs[request].account;
        let mut services = self.walls().services.iter();
        let is_many = services
            .find(|service| service.importer == importer && service.exporter == way.account)
            .is_some_and(|service| service.is_many);
        let asked =
            || Asked { request, account: way.account, is_many, answers: Vec::new(), arrived: None };
        self.asked.entry(reply.to_vec()).or_insert_with(asked);
    }

    /// Where one answer is wanted, one comes.
    fn check_answer(&mut self, id: PubId, way: &Way) -> Result<(), String> {
        if way.kind != (Kind::Answer { is_many: false }) {
            return Ok(());
        }
        let Some(asked) = self.asked.get_mut(&self.pubs[id].what.subject) else { return Ok(()) };
        match asked.arrived.replace(id) {
            Some(other) if other != id => {
                Err(format!("publications {other} and {id} both answer {}", asked.request))
            }
            _ => Ok(()),
        }
    }

    fn check_order(&mut self, session: Session, sub: SubId, id: PubId) -> Result<(), String> {
        let from = self.pubs[id].session;
        let before = self.subs[sub].last_from.insert(from, id);
        if before == Some(id) || self.subs[sub].got.contains(&id) {
            return Err(format!("publication {id} came twice to subscription {sub}"));
        }
        if before.is_some_and(|before| before > id) {
            return Err(format!("publication {id} came after {before:?} to subscription {sub}"));
        }
        let before = self.sessions[session].last_from.insert(from, id);
        if before.is_some_and(|before| before > id) {
            return Err(format!("publication {id} came after {before:?} of the same publisher"));
        }
        Ok(())
    }

    fn check_group(&mut self, sub: SubId, id: PubId, way: &Way) -> Result<(), String> {
        let Some(queue) = self.subs[sub].queue else { return Ok(()) };
        match self.groups.insert((id, way.account, queue), sub) {
            None => Ok(()),
            Some(other) => {
                Err(format!("publication {id} came to group q{queue} twice, {other} and {sub}"))
            }
        }
    }

    /// A 503: nobody was there to take a request of this client.
    fn refusal(
        &mut self,
        session: Session,
        sub: SubId,
        message: &Message<'_>,
    ) -> Result<(), String> {
        let last = message.subject.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        let id = std::str::from_utf8(last).ok().and_then(|digits| digits.parse::<PubId>().ok());
        let id = id.filter(|id| *id < self.pubs.len()).ok_or("a 503 to no request")?;
        let now = self.now();
        let (publication, record) = (&self.pubs[id], &self.subs[sub]);
        let Some(own) = publication.ways.first() else {
            return Err(format!("a 503 for publication {id}, which was not allowed"));
        };
        let subject = String::from_utf8_lossy(&own.subject);
        let wanted = format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n");
        if message.payload != wanted.as_bytes() || !message.reply.is_empty() {
            return Err(format!("publication {id} has a 503 of another form"));
        }
        let asked = self.sessions[session].flags.no_responders && publication.session == session;
        if !asked || message.subject != publication.what.reply {
            return Err(format!("a 503 for publication {id} nobody asked for"));
        }
        if record.queue.is_some() || !super::matches(&record.pattern, message.subject) {
            return Err(format!("a 503 for publication {id} to the wrong subscription {sub}"));
        }
        if publication.stamp.fenced.is_some() || publication.refused_at.is_some() {
            return Err(format!("a 503 for publication {id} comes late or twice"));
        }
        if publication.deliveries > 0 {
            return Err(format!("a 503 for publication {id}, which was delivered"));
        }
        self.pubs[id].refused_at = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Flags, Rules};
    use crate::walls::Walls;

    #[test]
    fn a_refusal_that_is_sure_comes_before_one_of_the_same_words_that_is_not() {
        let refused = |errors: &[u8]| {
            let mut oracle = Oracle::new(Rules::default(), Walls::default());
            let session = oracle.opened(0, None, Flags::default(), false);
            let list = &mut oracle.sessions[session].expected;
            list.clear();
            list.push_back(Expect::PerhapsErr("no b".into(), None));
            list.push_back(Expect::PerhapsErr("no a".into(), None));
            list.push_back(Expect::Err("no a".into()));
            oracle.heard(session, errors).map(|_| oracle.is_owed(session))
        };
        assert_eq!(refused(b"-ERR 'no a'\r\n"), Ok(false));
        assert_eq!(refused(b"-ERR 'no a'\r\n-ERR 'no a'\r\n"), Ok(false));
        assert_eq!(refused(b"-ERR 'no b'\r\n"), Ok(true));
        assert!(refused(b"-ERR 'no a'\r\n-ERR 'no b'\r\n").is_err());
        assert!(refused(b"-ERR 'no a'\r\n-ERR 'no a'\r\n-ERR 'no a'\r\n").is_err());
    }
}
