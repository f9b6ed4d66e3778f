//! Judging what has not happened: losses, missing refusals, unwarranted closes.

use wire::CloseReason;

use super::{Fate, Oracle, PubId, PubRecord, Session, SubId, SubRecord};

/// A generous bound for what a MSG line and who asks add to a message, bytes.
const LINE_BYTES: u64 = 320;

impl Oracle {
    /// Everything is at rest: what was owed must have come.
    pub fn verdict(&mut self) -> Result<(), String> {
        for id in 0..self.pubs.len() {
            self.check_refusal(id)?;
        }
        if self.rules.lossy {
            return Ok(());
        }
        for id in 0..self.pubs.len() {
            self.check_false_refusal(id)?;
        }
        for sub in 0..self.subs.len() {
            self.check_losses(sub)?;
        }
        self.check_groups()
    }

    /// A publication as a failure shows it.
    pub(super) fn show_pub(&self, id: PubId) -> String {
        let PubRecord { session, what, stamp, .. } = &self.pubs[id];
        format!("#{id} on {} by session {session} {stamp:?}", what.subject.escape_ascii())
    }

    /// A subscription as a failure shows it.
    pub(super) fn show_sub(&self, at: SubId) -> String {
        let SubRecord { session, pattern, queue, stamp, unsub, max, got, .. } = &self.subs[at];
        let record = &self.sessions[*session];
        let sid = record
            .by_sid
            .iter()
            .find(|(_, id)| **id == at)
            .map(|(sid, _)| sid.escape_ascii().to_string());
        format!(
            "subscription {at} ({sid:?} of session {session}, {:?}, shard {}) to {} \
             queue {queue:?} {stamp:?} unsub {unsub:?} max {max:?} after {} messages",
            record.fate,
            record.shard,
            pattern.escape_ascii(),
            got.len(),
        )
    }

    /// Did the server surely read it?
    fn is_processed(&self, publication: &PubRecord) -> bool {
        publication.stamp.fenced.is_some() || self.sessions[publication.session].fate != Fate::Lost
    }

    /// Was this subscription known everywhere before the publication was written?
    fn is_before(sub: &SubRecord, publication: &PubRecord) -> bool {
        sub.stamp.fenced.is_some_and(|fenced| fenced < publication.stamp.issued)
    }

    /// Was it there from before the publication was written until after it was confirmed, with
    /// room?
    fn is_stable(&self, sub: &SubRecord, publication: &PubRecord) -> bool {
        let after = |end: u64| publication.stamp.fenced.is_some_and(|fenced| fenced < end);
        Oracle::is_before(sub, publication)
            && sub.unsub.is_none_or(|unsub| after(unsub.issued))
            && self.has_room(sub, publication)
            && self.sessions[sub.session].stays()
            && self.must_take(sub, publication)
    }

    /// Could it still take a message when the publication was confirmed?
    fn has_room(&self, sub: &SubRecord, publication: &PubRecord) -> bool {
        let Some((max, stamp)) = sub.max else { return true };
        let Some(fenced) = publication.stamp.fenced else { return !sub.is_full() };
        let taken = sub.got.iter().filter(|got| self.pubs[**got].stamp.issued < fenced).count();
        fenced < stamp.issued || taken < max
    }

    /// A 503 says that nobody was there. Whoever stayed until now and was known before was there.
    fn check_false_refusal(&self, id: PubId) -> Result<(), String> {
        let publication = &self.pubs[id];
        let Some(refused_at) = publication.refused_at else { return Ok(()) };
        let was_there = |sub: &SubRecord| {
            Oracle::is_before(sub, publication)
                && sub.unsub.is_none_or(|unsub| unsub.issued > refused_at)
                && sub.max.is_none_or(|(_, max)| max.issued > refused_at)
                && self.sessions[sub.session].fate == Fate::Open
                && self.must_take(sub, publication)
        };
        match self.subs.iter().position(was_there) {
            None => Ok(()),
            Some(at) => {
                let (publication, sub) = (self.show_pub(id), self.show_sub(at));
                Err(format!("a 503 though somebody was there: {publication}, {sub}"))
            }
        }
    }

    /// Can it have got the publication, for all its publisher knows?
    pub(super) fn is_possible(&self, sub: &SubRecord, publication: &PubRecord) -> bool {
        let issued = publication.stamp.issued;
        let ended = |at: Option<u64>| at.is_some_and(|at| at < issued);
        let begun = publication.stamp.fenced.is_none_or(|fenced| sub.stamp.issued < fenced);
        begun
            && !ended(sub.unsub.and_then(|unsub| unsub.fenced))
            && !ended(sub.over_at)
            && !ended(self.sessions[sub.session].gone_at)
            && self.may_take(sub, publication)
    }

    /// A request that nobody can have taken is refused, if its publisher asked for that and can be
    /// told.
    pub(super) fn check_refusal(&mut self, id: PubId) -> Result<(), String> {
        let publication = &self.pubs[id];
        let record = &self.sessions[publication.session];
        let asked = record.flags.no_responders
            && !publication.what.reply.is_empty()
            && publication.is_allowed
            && publication.eras.0 == publication.eras.1;
        let told = publication.stamp.fenced.is_some() || record.stays();
        if !asked || !told || publication.refused_at.is_some() || publication.deliveries > 0 {
            return Ok(());
        }
        let issued = publication.stamp.issued;
        let listens = self.subs.iter().any(|sub| {
            sub.session == publication.session
                && sub.queue.is_none()
                && sub.stamp.issued < issued
                && sub.unsub.is_none_or(|unsub| unsub.issued > issued)
                && sub.max.is_none()
                && super::matches(&sub.pattern, &publication.what.reply)
        });
        let possible = self.subs.iter().any(|sub| self.is_possible(sub, publication));
        self.obligations += 1;
        if listens && !possible {
            return Err(format!(
                "nobody could answer, and the publisher was not told: {}",
                self.show_pub(id)
            ));
        }
        Ok(())
    }

    /// A plain subscription gets everything that is published while it is known, and what it gets
    /// has no gaps.
    fn check_losses(&mut self, at: SubId) -> Result<(), String> {
        let sub = &self.subs[at];
        if sub.queue.is_some() {
            return Ok(());
        }
        let open = self.sessions[sub.session].stays();
        let wants_more = !sub.is_full();
        let mut checked = 0;
        for (id, publication) in self.pubs.iter().enumerate() {
            if sub.got.contains(&id) || !self.must_take(sub, publication) {
                continue;
            }
            checked += 1;
            // Before its SUB is confirmed it may get what comes its way for others, and miss the
            // rest.
            let begun = Oracle::is_before(sub, publication);
            let later = sub.last_from.get(&publication.session).is_some_and(|last| *last > id);
            if begun && later {
                return Err(format!(
                    "a publication is missing between others: {}, {}",
                    self.show_pub(id),
                    self.show_sub(at)
                ));
            }
            let stays = open && wants_more && self.is_stable(sub, publication);
            if stays && self.is_processed(publication) {
                return Err(format!(
                    "a publication never came: {}, {}",
                    self.show_pub(id),
                    self.show_sub(at)
                ));
            }
        }
        self.obligations += checked;
        Ok(())
    }

    /// A group gets everything that is published while a member stays.
    fn check_groups(&mut self) -> Result<(), String> {
        let mut queues: Vec<u8> = self.subs.iter().filter_map(|sub| sub.queue).collect();
        queues.sort_unstable();
        queues.dedup();
        for queue in queues {
            let members: Vec<SubId> =
                (0..self.subs.len()).filter(|at| self.subs[*at].queue == Some(queue)).collect();
            for id in 0..self.pubs.len() {
                let accounts: Vec<usize> =
                    self.pubs[id].ways.iter().map(|way| way.account).collect();
                for account in accounts {
                    if !self.groups.contains_key(&(id, account, queue)) {
                        self.check_group_loss(queue, account, &members, id)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A group spans the wall: who imports a stream is a member of its exporter's group.
    fn check_group_loss(
        &mut self,
        queue: u8,
        account: usize,
        members: &[SubId],
        id: PubId,
    ) -> Result<(), String> {
        let publication = &self.pubs[id];
        if !self.is_processed(publication) {
            return Ok(());
        }
        let mut stable = None;
        for at in members {
            let sub = &self.subs[*at];
            if self.way_to(sub, publication).is_none_or(|(way, _)| way.account != account) {
                continue;
            }
            // It may have been promised to a member that may not have it any more.
            let may = self.may_take(sub, publication);
            if may && !self.must_take(sub, publication) && publication.eras.0 < publication.eras.1 {
                return Ok(());
            }
            // It may have been given to a member whose connection then ended.
            let died = !self.sessions[sub.session].stays();
            if died && self.is_possible(sub, publication) {
                return Ok(());
            }
            let counts = sub.max.is_none() || !self.may_have_been_held(members);
            if counts && self.is_stable(sub, publication) {
                stable = Some(*at);
            }
        }
        self.obligations += 1;
        match stable {
            None => Ok(()),
            Some(at) => {
                let (publication, sub) = (self.show_pub(id), self.show_sub(at));
                Err(format!(
                    "a publication never came to group q{queue}: {publication}, \
                     though this stayed: {sub}"
                ))
            }
        }
    }

    /// A publisher that died may have held the last delivery of a limited member meanwhile.
    fn may_have_been_held(&self, members: &[SubId]) -> bool {
        self.pubs.iter().any(|other| {
            !self.is_processed(other)
                && members.iter().any(|at| self.may_take(&self.subs[*at], other))
        })
    }

    /// Had the server a reason to close it?
    pub(super) fn judge_close(
        &self,
        session: Session,
        reason: CloseReason,
        sent_bytes: u64,
    ) -> Result<(), String> {
        let record = &self.sessions[session];
        let warranted = match reason {
            CloseReason::ClientClosed => record.fate == Fate::Leaving || record.fate == Fate::Lost,
            CloseReason::ReadError | CloseReason::WriteError => record.fate == Fate::Lost,
            CloseReason::ProtocolViolation | CloseReason::MaximumPayloadExceeded => {
                record.fault.is_some_and(|fault| fault.reason() == reason)
            }
            CloseReason::StaleConnection => self.rules.stale_possible,
            CloseReason::MaximumConnectionsExceeded => record.refused,
            CloseReason::SlowConsumerPendingBytes => {
                self.most_bytes_for(session) >= sent_bytes + self.rules.pending_bytes_max
            }
            // The driver judges this one: it knows when the connection last took a byte.
            CloseReason::SlowConsumerWriteDeadline => true,
            _ => false,
        };
        if warranted {
            Ok(())
        } else {
            let (reason, most) = (reason.as_str(), self.most_bytes_for(session));
            Err(format!(
                "session {session} was closed: {reason}, after {sent_bytes} bytes of {most} at most"
            ))
        }
    }

    /// More bytes than this can't have been written for a connection.
    fn most_bytes_for(&self, session: Session) -> u64 {
        let record = &self.sessions[session];
        let operations = record.marks.len() as u64 + 16;
        let mut bytes = 4096 + operations * 64;
        for sub in self.subs.iter().filter(|sub| sub.session == session) {
            for publication in self.pubs.iter().filter(|other| self.may_take(sub, other)) {
                let what = &publication.what;
                bytes += LINE_BYTES + (what.header.len() + what.body.len()) as u64;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, Oracle, Publication, Rules, Session};
    use crate::walls::Walls;

    fn quiet() -> Flags {
        Flags { connect: true, verbose: false, pedantic: false, ..Flags::default() }
    }

    fn oracle() -> Oracle {
        Oracle::new(Rules { pending_bytes_max: 1 << 20, ..Rules::default() }, Walls::default())
    }

    fn open(oracle: &mut Oracle, flags: Flags) -> Session {
        let session = oracle.opened(0, None, flags, false);
        oracle.heard(session, b"INFO {} \r\n").expect("greeting");
        session
    }

    fn publish(oracle: &mut Oracle, session: Session, subject: &str, reply: &str) -> usize {
        let id = oracle.next_pub();
        let body = format!("#{id};").into_bytes();
        let (subject, reply) = (subject.into(), reply.into());
        oracle.sent_pub(session, Publication { subject, reply, header: Vec::new(), body });
        id
    }

    fn fence(oracle: &mut Oracle, session: Session) -> Result<(), String> {
        oracle.sent_ping(session);
        oracle.heard(session, b"PONG\r\n").map(|_| ())
    }

    #[test]
    fn a_message_that_came_is_no_loss_and_one_that_did_not_is() {
        let mut oracle = oracle();
        let (publisher, receiver) = (open(&mut oracle, quiet()), open(&mut oracle, quiet()));
        oracle.sent_sub(receiver, b"1", b"a.*", None);
        fence(&mut oracle, receiver).expect("pong");
        publish(&mut oracle, publisher, "a.b", "");
        assert!(oracle.verdict().expect_err("lost").contains("never came:"));
        oracle.heard(receiver, b"MSG a.b 1 3\r\n#0;\r\n").expect("sound");
        oracle.verdict().expect("all is well");
        assert!(
            oracle.heard(receiver, b"MSG a.b 1 3\r\n#0;\r\n").expect_err("twice").contains("twice")
        );
    }

    #[test]
    fn what_was_confirmed_is_visible_at_the_next_pong() {
        let mut oracle = oracle();
        let (publisher, receiver) = (open(&mut oracle, quiet()), open(&mut oracle, quiet()));
        oracle.sent_sub(receiver, b"1", b"a", None);
        fence(&mut oracle, receiver).expect("pong");
        publish(&mut oracle, publisher, "a", "");
        fence(&mut oracle, receiver).expect("not confirmed yet");
        fence(&mut oracle, publisher).expect("pong");
        assert!(fence(&mut oracle, receiver).expect_err("late").contains("not visible"));
    }

    #[test]
    fn a_message_from_the_past_and_one_after_the_end() {
        let mut oracle = oracle();
        let (publisher, receiver) = (open(&mut oracle, quiet()), open(&mut oracle, quiet()));
        publish(&mut oracle, publisher, "a", "");
        fence(&mut oracle, publisher).expect("pong");
        let sub = oracle.sent_sub(receiver, b"1", b"a", None).expect("valid");
        assert!(
            oracle.heard(receiver, b"MSG a 1 3\r\n#0;\r\n").expect_err("past").contains("began")
        );
        let id = publish(&mut oracle, publisher, "a", "");
        assert_eq!(id, 1);
        oracle.sessions[receiver].inbox.clear();
        oracle.heard(receiver, b"MSG a 1 3\r\n#1;\r\n").expect("sound");
        oracle.sent_unsub(receiver, sub, 0);
        fence(&mut oracle, receiver).expect("pong");
        publish(&mut oracle, publisher, "a", "");
        assert!(
            oracle
                .heard(receiver, b"MSG a 1 3\r\n#2;\r\n")
                .expect_err("over")
                .contains("after its UNSUB")
        );
    }

    #[test]
    fn order_content_and_replies_in_turn() {
        let mut oracle = oracle();
        let (publisher, receiver) = (open(&mut oracle, quiet()), open(&mut oracle, quiet()));
        oracle.sent_sub(receiver, b"1", b"a", None);
        publish(&mut oracle, publisher, "a", "");
        publish(&mut oracle, publisher, "a", "");
        oracle.heard(receiver, b"MSG a 1 3\r\n#1;\r\n").expect("sound");
        assert!(
            oracle.heard(receiver, b"MSG a 1 3\r\n#0;\r\n").expect_err("order").contains("after")
        );
        oracle.sessions[receiver].inbox.clear();
        publish(&mut oracle, publisher, "a", "");
        assert!(
            oracle
                .heard(receiver, b"MSG a 1 r 3\r\n#2;\r\n")
                .expect_err("reply")
                .contains("another reply")
        );
        assert!(oracle.heard(publisher, b"PONG\r\n").expect_err("unasked").contains("PONG came"));
    }

    #[test]
    fn a_group_gets_each_message_once() {
        let mut oracle = oracle();
        let (publisher, receiver) = (open(&mut oracle, quiet()), open(&mut oracle, quiet()));
        oracle.sent_sub(receiver, b"1", b"a", Some(1));
        oracle.sent_sub(receiver, b"2", b"*", Some(1));
        fence(&mut oracle, receiver).expect("pong");
        publish(&mut oracle, publisher, "a", "");
        assert!(oracle.verdict().expect_err("lost").contains("never came to group"));
        oracle.heard(receiver, b"MSG a 2 3\r\n#0;\r\n").expect("sound");
        oracle.verdict().expect("all is well");
        assert!(
            oracle
                .heard(receiver, b"MSG a 1 3\r\n#0;\r\n")
                .expect_err("twice")
                .contains("group q1 twice")
        );
    }

    #[test]
    fn limits_and_refusals() {
        let mut oracle = oracle();
        let flags = Flags { headers: true, no_responders: true, ..quiet() };
        let (asker, receiver) = (open(&mut oracle, flags), open(&mut oracle, quiet()));
        oracle.sent_sub(asker, b"9", b"r.>", None);
        let sub = oracle.sent_sub(receiver, b"1", b"a", None).expect("valid");
        oracle.sent_unsub(receiver, sub, 1);
        fence(&mut oracle, receiver).expect("pong");
        publish(&mut oracle, asker, "a", "r.0");
        publish(&mut oracle, asker, "a", "r.1");
        oracle.heard(receiver, b"MSG a 1 r.0 3\r\n#0;\r\n").expect("sound");
        assert!(
            oracle
                .heard(receiver, b"MSG a 1 r.1 3\r\n#1;\r\n")
                .expect_err("full")
                .contains("wanted 1")
        );
        publish(&mut oracle, asker, "b", "r.2");
        assert!(oracle.verdict().expect_err("not told").contains("was not told"));
        let status = b"HMSG r.2 9 33 33\r\nNATS/1.0 503\r\nNats-Subject: b\r\n\r\n\r\n";
        oracle.heard(asker, status).expect("told");
        assert!(oracle.heard(asker, status).expect_err("twice").contains("twice"));
    }
}
