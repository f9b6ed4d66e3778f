//! How often and how long a client may answer where it may do no more than that. Asked again on a
//! reply subject that it may still answer, it may so once less; asked again when it may not any
//! more, it may so anew. In which order a server came to its questions and its answers is not
//! always known: then all orders are thought through.

use std::collections::BTreeSet;

use shard::Nanos;

use super::walls::{Kind, Right, Way};
use super::{Oracle, PubId, Session, SubRecord};
use crate::walls::{Answers, Walls};

/// A request that a client was sent.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The publication.
    request: PubId,
    /// When that was written.
    written_at: Nanos,
    /// It came with a reply subject that the server made.
    is_service: bool,
    /// What the server may think.
    cases: BTreeSet<Case>,
}

/// A server's mind after what the client has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    /// How often it has answered, and was asked while it might have.
    answers: u32,
    /// How often it has been asked without having read it yet.
    ahead: u32,
    /// It may answer from then on, or from earlier on; the largest is not known yet.
    since: Nanos,
}

impl Case {
    fn is_spent(self, terms: Answers) -> bool {
        terms.most > 0 && self.answers >= terms.most
    }

    /// It has answered, or it was asked while it might have.
    fn counted(self, terms: Answers) -> Case {
        let is_counted = terms.most > 0 && !self.is_spent(terms);
        Case { answers: self.answers + u32::from(is_counted), ..self }
    }

    /// Asked once more, before `until`; where its time may be over, both are possible.
    fn asked(self, terms: Answers, may_be_over: bool, until: Nanos) -> impl Iterator<Item = Case> {
        let is_spent = self.is_spent(terms);
        let anew = (is_spent || may_be_over).then_some(Case { answers: 0, since: until, ..self });
        anew.into_iter().chain((!is_spent).then(|| self.counted(terms)))
    }

    /// It has read that it was asked. It had answered since that, or is asked only now.
    fn read(self, terms: Answers, may_be_over: bool, now: Nanos) -> Vec<Case> {
        match self.ahead {
            0 => self.asked(terms, may_be_over, now).collect(),
            1 => vec![Case { ahead: 0, since: self.since.min(now), ..self }],
            _ => vec![Case { ahead: self.ahead - 1, ..self }],
        }
    }
}

impl Question {
    fn new(request: PubId, written_at: Nanos, is_service: bool, now: Nanos) -> Question {
        let cases = BTreeSet::from([Case { answers: 0, ahead: 0, since: now }]);
        Question { request, written_at, is_service, cases }
    }

    fn read_again(&mut self, terms: Answers, now: Nanos) {
        let may_be_over = terms.within_ns.is_some_and(|ns| now - self.written_at > ns);
        let cases = std::mem::take(&mut self.cases);
        self.cases =
            cases.into_iter().flat_map(|case| case.read(terms, may_be_over, now)).collect();
    }

    /// What the server may think when it comes to what is written now, if so many questions are
    /// perhaps on their way.
    fn cases_ahead(&self, terms: Answers, unread: u32) -> BTreeSet<Case> {
        let is_possible = |case: &&Case| case.ahead <= unread;
        let mut last: BTreeSet<Case> = self.cases.iter().filter(is_possible).copied().collect();
        let mut all = last.clone();
        for _ in 0..unread {
            let asked = last.into_iter().filter(|case| case.ahead < unread).flat_map(|case| {
                let case = Case { ahead: case.ahead + 1, ..case };
                case.asked(terms, terms.within_ns.is_some(), Nanos::MAX)
            });
            last = asked.collect();
            all.extend(&last);
        }
        all
    }

    fn right(&self, terms: Answers, unread: u32, now: Nanos) -> Right {
        // It can't have been sent after it was read, nor can this be read before it is written.
        let is_late =
            |case: &Case| terms.within_ns.is_some_and(|ns| now.saturating_sub(case.since) > ns);
        let cases = self.cases_ahead(terms, unread);
        let open = cases.iter().filter(|case| !case.is_spent(terms) && !is_late(case)).count();
        match terms.within_ns {
            _ if open == 0 => Right::No,
            _ if open < cases.len() => Right::Perhaps,
            None => Right::Yes,
            // Nor can it have been sent before it was published.
            Some(ns) => Right::Until(self.written_at + ns),
        }
    }
}

impl Oracle {
    /// A client was sent a request.
    pub(super) fn note_question(&mut self, session: Session, id: PubId, way: &Way, reply: &[u8]) {
        let Some(terms) = self.terms(session, self.eras_now().0) else { return };
        let (now, written_at) = (self.clock, self.pubs[id].at);
        let asked = &mut self.sessions[session].asked;
        if let Some(question) = asked.get_mut(reply) {
            question.read_again(terms, now);
        } else {
            let question = Question::new(id, written_at, way.kind == Kind::Request, now);
            asked.insert(reply.to_vec(), question);
        }
    }

    fn terms(&self, session: Session, era: usize) -> Option<Answers> {
        self.eras[era].may(self.sessions[session].person)?.answers
    }

    /// May it answer one more time to what it was asked?
    pub(super) fn may_answer(&self, session: Session, subject: &[u8], era: usize) -> Right {
        let record = &self.sessions[session];
        // What it was asked is forgotten when what it may do changes.
        let is_new = self.is_changing && era == self.eras.len() - 1;
        let may = |era: usize| self.eras[era].may(record.person);
        let is_forgotten = is_new && may(era - 1) != may(era);
        match (self.terms(session, era), record.asked.get(subject)) {
            (Some(terms), Some(question)) if !is_forgotten => {
                question.right(terms, self.unread(session, question), self.clock)
            }
            _ => Right::No,
        }
    }

    /// How many of its subscriptions may yet get the request.
    fn unread(&self, session: Session, question: &Question) -> u32 {
        let request = &self.pubs[question.request];
        // All that there is came before the PONG.
        if request.stamp.fenced.is_some_and(|fenced| fenced < self.sessions[session].asked_upto) {
            return 0;
        }
        let may_get = |sub: &&SubRecord| {
            let is_over = sub.is_full() || sub.unsub.is_some_and(|unsub| unsub.fenced.is_some());
            let way = self.way_to(sub, request).map(|(way, _)| way);
            sub.session == session
                && !is_over
                && !sub.got.contains(&question.request)
                && way.is_some_and(|way| {
                    let member = |queue| (question.request, way.account, queue);
                    let is_taken =
                        sub.queue.is_some_and(|queue| self.groups.contains_key(&member(queue)));
                    !is_taken && (way.kind == Kind::Request) == question.is_service
                })
                && self.is_possible(sub, request)
        };
        self.subs.iter().filter(may_get).count() as u32
    }

    /// It publishes, perhaps something that it may only as an answer.
    pub(super) fn note_answer(&mut self, session: Session, subject: &[u8]) {
        let (first, last) = self.eras_now();
        let record = &self.sessions[session];
        let is_free =
            |walls: &Walls| walls.may(record.person).is_none_or(|may| may.publish(subject));
        let (Some(terms), Some(question)) = (self.terms(session, first), record.asked.get(subject))
        else {
            return;
        };
        if self.eras[first..=last].iter().all(is_free) {
            return;
        }
        let cases = question.cases_ahead(terms, self.unread(session, question));
        let cases = cases.into_iter().map(|case| case.counted(terms)).collect();
        if let Some(question) = self.sessions[session].asked.get_mut(subject) {
            question.cases = cases;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn terms(most: u32, within_ns: Option<Nanos>) -> Answers {
        Answers { most, within_ns }
    }

    fn answer(question: &mut Question, terms: Answers, unread: u32) {
        let cases = question.cases_ahead(terms, unread).into_iter();
        question.cases = cases.map(|case| case.counted(terms)).collect();
    }

    /// The words of compat.md: asked again, one less; asked when there is none left, anew.
    #[test]
    fn being_asked_again_counts_until_none_is_left() {
        let twice = terms(2, None);
        let mut question = Question::new(0, 0, false, 5);
        question.read_again(twice, 5);
        assert_eq!(question.right(twice, 0, 6), Right::Yes);
        answer(&mut question, twice, 0);
        assert_eq!(question.right(twice, 0, 6), Right::No);
        question.read_again(twice, 7);
        for _ in 0..2 {
            assert_eq!(question.right(twice, 0, 8), Right::Yes);
            answer(&mut question, twice, 0);
        }
        assert_eq!(question.right(twice, 0, 8), Right::No);
    }

    #[test]
    fn a_question_under_way_makes_doubtful_only_what_it_may_change() {
        let (once, thrice) = (terms(1, None), terms(3, None));
        let mut question = Question::new(0, 0, false, 5);
        assert_eq!(question.right(thrice, 2, 6), Right::Yes);
        assert_eq!(question.right(thrice, 3, 6), Right::Perhaps);
        assert_eq!(question.right(once, 1, 6), Right::Perhaps);
        // It was allowed before the other came, or refused after it: that one then is no other.
        answer(&mut question, once, 1);
        question.read_again(once, 7);
        assert_eq!(question.right(once, 0, 8), Right::Perhaps);
        question.read_again(once, 9);
        assert_eq!(question.right(once, 0, 10), Right::Perhaps);
        // Had it been under way, it must have come.
        let mut question = Question::new(0, 0, false, 5);
        answer(&mut question, once, 1);
        assert_eq!(question.right(once, 0, 8), Right::No);
    }

    #[test]
    fn time_begins_with_the_first_question_and_not_with_the_next() {
        let hasty = terms(3, Some(10));
        let mut question = Question::new(0, 100, false, 105);
        question.read_again(hasty, 109);
        assert_eq!(question.right(hasty, 0, 115), Right::Until(110));
        assert_eq!(question.right(hasty, 0, 116), Right::No);
        // This one may have come after the end, and is the first then.
        question.read_again(hasty, 112);
        assert_eq!(question.right(hasty, 0, 115), Right::Until(110));
        assert_eq!(question.right(hasty, 0, 122), Right::Perhaps);
        assert_eq!(question.right(hasty, 0, 123), Right::No);
    }
}
