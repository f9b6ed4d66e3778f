//! Who may see what, and under which subject: accounts, doors and permissions as an operator's
//! manual tells of them, read from the lists.

use shard::Nanos;

use super::{Expect, Oracle, PubRecord, Session, SubRecord, matches};
use crate::walls::{Answers, Lists, May, Walls};

/// One way of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub account: usize,
    /// There.
    pub subject: Vec<u8>,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In its publisher's account.
    Own,
    /// To an account that answers.
    Request,
    /// To the account that has asked; one that may have many answers, or not.
    Answer { is_many: bool },
}

/// Is something allowed?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Yes,
    No,
    /// Yes until then for sure, and perhaps a little longer.
    Until(Nanos),
    /// That can't be told from what clients see.
    Perhaps,
}

/// A reply subject that a server made for a request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The publication that is the request.
    pub request: usize,
    /// Who may answer.
    pub account: usize,
    pub is_many: bool,
    /// Publications on it that were allowed.
    pub answers: Vec<usize>,
    /// The one that arrived, where only one may.
    pub arrived: Option<usize>,
}

/// What the wildcards of `from` stand for in `subject`, put into `to`.
fn translated(from: &str, to: &str, subject: &[u8]) -> Vec<u8> {
    if from == to {
        return subject.to_vec();
    }
    let tokens = from.split('.').zip(subject.split(|byte| *byte == b'.'));
    let mut found = tokens.filter(|(token, _)| *token == "*").map(|(_, came)| came);
    let token = |token| match token {
        "*" => found.next().unwrap_or_default().to_vec(),
        literal => literal.as_bytes().to_vec(),
    };
    to.split('.').map(token).collect::<Vec<_>>().join(&b'.')
}

/// A rule's pattern, and the groups it is about.
fn parts(rule: &str) -> (&[u8], Option<&[u8]>) {
    match rule.split_once(' ') {
        Some((pattern, queue)) => (pattern.as_bytes(), Some(queue.as_bytes())),
        None => (rule.as_bytes(), None),
    }
}

/// Is a rule that names no group about this subject? One that names this group? One that names any?
fn about(rules: &[&str], subject: &[u8], queue: Option<&[u8]>) -> (bool, bool, bool) {
    let concerned = rules.iter().map(|rule| parts(rule)).filter(|(p, _)| matches(p, subject));
    let mut found = (false, false, false);
    for (_, named) in concerned {
        found.0 |= named.is_none();
        found.1 |= named.zip(queue).is_some_and(|(named, queue)| matches(named, queue));
        found.2 |= named.is_some();
    }
    found
}

impl May {
    pub(super) fn publish(&self, subject: &[u8]) -> bool {
        let Lists { allow, deny } = &self.publish;
        let any = |rules: &[&str]| rules.iter().any(|rule| matches(rule.as_bytes(), subject));
        allow.as_ref().is_none_or(|allow| any(allow)) && !any(deny)
    }

    fn denies(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let (anybody, this_group, _) = about(&self.subscribe.deny, subject, queue);
        anybody || this_group
    }

    /// A pattern is looked at as if it were a subject.
    fn subscribe(&self, pattern: &[u8], queue: Option<&[u8]>) -> bool {
        let allowed = self.subscribe.allow.as_ref().is_none_or(|allow| {
            let (anybody, this_group, any_group) = about(allow, pattern, queue);
            if queue.is_some() && any_group { this_group } else { anybody }
        });
        allowed && !self.denies(pattern, queue)
    }

    /// May a subscription of this group, however wide, see a message?
    fn see(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let allow = &self.subscribe.allow;
        let within = |allow: &Vec<&str>| allow.iter().any(|rule| matches(parts(rule).0, subject));
        allow.as_ref().is_none_or(within) && !self.denies(subject, queue)
    }
}

impl Walls {
    fn mapped(&self, account: usize, subject: &[u8]) -> Vec<u8> {
        let found = self
            .mappings
            .iter()
            .find(|(whose, from, _)| *whose == account && matches(from.as_bytes(), subject));
        match found {
            Some((_, from, to)) => translated(from, to, subject),
            None => subject.to_vec(),
        }
    }

    pub(super) fn may(&self, person: Option<usize>) -> Option<&May> {
        Some(&self.people.get(person?)?.may)
    }

    fn has(&self, person: Option<usize>) -> bool {
        person.is_none_or(|person| !self.people[person].is_gone)
    }
}

impl Oracle {
    /// What holds now, or will soon.
    pub fn walls(&self) -> &Walls {
        &self.eras[self.eras.len() - 1]
    }

    /// How a user may answer what it is asked, where it may do no more than that.
    pub fn answers_of(&self, person: Option<usize>) -> Option<Answers> {
        self.walls().may(person)?.answers
    }

    /// How long answers may take at most in these walls, where that is limited.
    pub fn longest_answer(&self) -> Option<Nanos> {
        let people = self.walls().people.iter();
        people.filter_map(|person| person.may.answers?.within_ns).max()
    }

    /// Do some shards perhaps not know of the last change?
    pub fn is_changing(&self) -> bool {
        self.is_changing
    }

    /// Where a user belongs.
    pub fn account_of(&self, person: Option<usize>) -> usize {
        person.map_or(0, |person| self.walls().people[person].account)
    }

    /// The eras of what happens now: two while access changes.
    pub(super) fn eras_now(&self) -> (usize, usize) {
        let last = self.eras.len() - 1;
        (last - usize::from(self.is_changing), last)
    }

    /// Everywhere a publication goes, if it may.
    pub(super) fn ways(&self, account: usize, subject: &[u8]) -> Vec<Way> {
        let walls = self.walls();
        let own = walls.mapped(account, subject);
        let mut ways = vec![Way { account, subject: own.clone(), kind: Kind::Own }];
        if let Some(asked) = self.asked.get(&own).filter(|asked| asked.account == account) {
            let request = &self.pubs[asked.request];
            let kind = Kind::Answer { is_many: asked.is_many };
            let subject = request.what.reply.clone();
            ways.push(Way { account: request.account, subject, kind });
        }
        for service in walls.services.iter().filter(|service| service.importer == account) {
            if matches(service.from.as_bytes(), &own) {
                let subject = translated(service.from, service.to, &own);
                let subject = walls.mapped(service.exporter, &subject);
                ways.push(Way { account: service.exporter, subject, kind: Kind::Request });
            }
        }
        ways
    }

    /// May a session publish to this subject, in an era?
    pub(super) fn may_publish(&self, session: Session, subject: &[u8], era: usize) -> Right {
        let person = self.sessions[session].person;
        let walls = &self.eras[era];
        match walls.may(person) {
            _ if !walls.has(person) => Right::No,
            Some(may) if !may.publish(subject) => self.may_answer(session, subject, era),
            _ => Right::Yes,
        }
    }

    /// May it subscribe to this pattern, in an era?
    pub(super) fn may_subscribe(
        &self,
        session: Session,
        pattern: &[u8],
        queue: Option<u8>,
        era: usize,
    ) -> bool {
        let name = queue.map(super::queue_name);
        let queue = name.as_ref().map(|name| name.as_bytes());
        let may = self.eras[era].may(self.sessions[session].person);
        may.is_none_or(|may| may.subscribe(pattern, queue))
    }

    /// The way by which a subscription would get a publication, and under which subject; whatever
    /// is permitted.
    pub(super) fn way_to<'p>(
        &self,
        sub: &SubRecord,
        publication: &'p PubRecord,
    ) -> Option<(&'p Way, Vec<u8>)> {
        publication.ways.iter().find_map(|way| {
            if way.account == sub.account {
                return matches(&sub.pattern, &way.subject).then(|| (way, way.subject.clone()));
            }
            if way.kind != Kind::Own {
                return None;
            }
            let mut streams = self.eras[0].streams.iter();
            let stream = streams.find(|stream| {
                stream.importer == sub.account
                    && stream.exporter == way.account
                    && matches(stream.from.as_bytes(), &way.subject)
            })?;
            let here = translated(stream.from, stream.to, &way.subject);
            matches(&sub.pattern, &here).then_some((way, here))
        })
    }

    fn sees(&self, sub: &SubRecord, subject: &[u8], era: usize) -> bool {
        let Some(may) = self.eras[era].may(self.sessions[sub.session].person) else { return true };
        let queue = sub.queue.map(super::queue_name);
        may.see(subject, queue.as_ref().map(|name| name.as_bytes()))
    }

    /// Is it permitted to get the publication, in any of its eras?
    pub(super) fn may_take(&self, sub: &SubRecord, publication: &PubRecord) -> bool {
        let (first, last) = publication.eras;
        !self.is_muffled(sub, publication)
            && self
                .way_to(sub, publication)
                .is_some_and(|(_, subject)| (first..=last).any(|era| self.sees(sub, &subject, era)))
    }

    /// Is it owed the publication, as far as permissions go?
    pub(super) fn must_take(&self, sub: &SubRecord, publication: &PubRecord) -> bool {
        let (first, last) = publication.eras;
        publication.is_allowed
            && !self.is_muffled(sub, publication)
            && self.way_to(sub, publication).is_some_and(|(way, subject)| {
                self.is_certain(way, publication)
                    && (first..=last).all(|era| self.sees(sub, &subject, era))
            })
    }

    /// Of several answers to one request any may be the one.
    fn is_certain(&self, way: &Way, publication: &PubRecord) -> bool {
        way.kind != (Kind::Answer { is_many: false })
            || self
                .asked
                .get(&publication.what.subject)
                .is_some_and(|asked| asked.answers.len() == 1)
    }

    /// Others hold from now on; who has been told of it and who has not is unknown. Gives the
    /// sessions that have to go. Nothing is under way.
    pub fn access_changes(&mut self, next: Walls) -> Vec<Session> {
        let stamp = self.stamp();
        self.eras.push(next);
        self.is_changing = true;
        let last = self.eras.len() - 1;
        for at in 0..self.subs.len() {
            let sub = &self.subs[at];
            let (session, queue) = (sub.session, sub.queue);
            let is_there = sub.unsub.is_none() && !sub.is_full();
            let open = self.sessions[session].closed_at.is_none();
            if !is_there || !open || self.may_subscribe(session, &sub.pattern, queue, last) {
                continue;
            }
            let sids = &self.sessions[session].by_sid;
            let Some((sid, _)) = sids.iter().find(|(_, id)| **id == at) else { continue };
            let group = queue.map(|queue| format!(" using queue \"{}\"", super::queue_name(queue)));
            let text = format!(
                "Permissions Violation for Subscription to \"{}\"{} (sid \"{}\")",
                String::from_utf8_lossy(&sub.pattern),
                group.unwrap_or_default(),
                String::from_utf8_lossy(sid),
            );
            self.sessions[session].removals.push((at, text));
            self.subs[at].unsub = Some(stamp);
            self.subs[at].is_revoked = true;
        }
        let gone = |at: &Session| {
            let record = &self.sessions[*at];
            record.closed_at.is_none() && !self.walls().has(record.person)
        };
        let gone: Vec<Session> = (0..self.sessions.len()).filter(gone).collect();
        gone.iter().for_each(|session| self.sessions[*session].forget());
        gone
    }

    /// All have been told, and nothing is under way: the new ones hold.
    pub fn access_has_changed(&mut self) -> Result<(), String> {
        let now = self.now();
        self.is_changing = false;
        let last = self.eras.len() - 1;
        for at in 0..self.sessions.len() {
            let record = &self.sessions[at];
            if record.closed_at.is_none() && !self.walls().has(record.person) {
                return Err(format!("session {at} stays though its user has gone"));
            }
            // One that has had its fill meanwhile was gone already.
            let mut removals = record.removals.iter().filter(|(sub, _)| !self.subs[*sub].is_full());
            if let Some((_, text)) = removals.next().filter(|_| record.stays()) {
                return Err(format!("session {at} was not told: {text}"));
            }
            let may = |era: usize| self.eras[era].may(record.person);
            let has_changed = may(last) != may(last - 1);
            let record = &mut self.sessions[at];
            let doubtful =
                |expect: &Expect| matches!(expect, Expect::PerhapsErr(..) | Expect::OkOrErr(..));
            if record.stays() {
                record.removals.clear();
                record.expected.retain(|expect| !doubtful(expect));
            } else {
                // It may read again, if only at its end.
                record.is_unsettled |= record.expected.iter().any(doubtful);
            }
            if has_changed {
                record.asked.clear();
            }
        }
        for sub in self.subs.iter_mut().filter(|sub| sub.is_revoked) {
            if let Some(unsub) = &mut sub.unsub
                && self.sessions[sub.session].stays()
            {
                unsub.fenced.get_or_insert(now);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_carried_over() {
        assert_eq!(translated("a.*", "in.a.*", b"a.x"), b"in.a.x");
        assert_eq!(translated("*.b", "*.b", b"x.b"), b"x.b");
        assert_eq!(translated("a.b", "b", b"a.b"), b"b");
    }

    #[test]
    fn rules_of_groups_are_about_groups() {
        let may = May {
            subscribe: Lists { allow: Some(vec!["a.*", "a.b q1"]), deny: vec!["a.c q0"] },
            ..May::default()
        };
        assert!(may.subscribe(b"a.b", None) && may.subscribe(b"a.b", Some(b"q1")));
        assert!(!may.subscribe(b"a.b", Some(b"q2")) && !may.subscribe(b"b", None));
        assert!(may.subscribe(b"a.c", None) && !may.subscribe(b"a.c", Some(b"q0")));
        assert!(may.see(b"a.c", Some(b"q1")) && !may.see(b"a.c", Some(b"q0")));
        assert!(!may.see(b"b", None));
    }
}
