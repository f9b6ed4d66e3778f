//! The thread that knows who is who: accounts and users by their tokens, and how many connections
//! each account has. It alone changes what shards know of accounts, so they all hear of it in one
//! order.
//!
//! Tokens are fetched by other threads, since that may take seconds; whose are next is decided in
//! [`crate::identity::aside`]. Messages about tokens and a
//! service's answers wait in a queue of [`HEARD_MAX`]. That of all other work has no bound of its
//! own: shards have at most [`shard::limits::CHECKS_MAX`] checks of a kind each out, and a seat is
//! given back once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claims::Trust;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mesh::{Counter, Padded};
use monitor::ClaimsAnswer;
use shard::access::{Access, Account, Applicant, Check, Outcome};
use shard::report::{Ask, Request};
use shard::turns::Origin;
use shard::{AccountId, ConnId, Seat, ShardId};

use crate::control::{Mailbox, Message};
use crate::identity::aside::{Aside, Asker, FETCHERS};
use crate::identity::callout::{self, Caller, Replied};
use crate::identity::desk::{self, Answer, Desk, Found, Refusal};
use crate::identity::{Resolver, Words};
use crate::lanes::strike;
use crate::system::HOME;

/// Messages about accounts' tokens, and answers of a service, that may wait; others are dropped.
const HEARD_MAX: usize = 1024;
/// Logins and the like done before what came of them is told.
const BATCH_MAX: usize = 64;
/// An account whose time is over is found so soon at the latest.
const EXPIRY_LOOK: Duration = Duration::from_millis(200);

/// What the thread is asked.
pub(crate) enum Work {
    /// Who is it that shows this, or is there room for it?
    Check { shard: ShardId, conn: ConnId, check: Box<Check> },
    /// A connection has come or gone.
    Seat { shard: ShardId, seat: Seat },
    /// What do shards go by?
    Access(Sender<Arc<Access>>),
    /// The operator's words have changed.
    Reload(Box<Reload>),
}

/// A message to the server itself.
pub(crate) enum Heard {
    /// About accounts' tokens.
    Claims(Claims),
    /// A service has said who somebody is.
    Answer(Request),
}

/// A message about accounts' tokens.
pub(crate) struct Claims {
    pub request: Request,
    /// What to tell, and where.
    pub told: Sender<Told>,
    /// Struck when there is something to tell.
    pub arrived: Arc<File>,
    /// Counts what can't be told.
    pub dropped: Arc<Padded<Counter>>,
}

/// Tells shards of what they go by from now on.
pub(crate) type Tell = Box<dyn FnOnce(&Arc<Access>) + Send>;

/// Where to, and what.
pub(crate) type Told = (Vec<u8>, ClaimsAnswer);

/// Other words of the operator.
pub(crate) struct Reload {
    pub words: Words,
    /// Made from what shards go by now.
    pub base: Arc<Access>,
    /// Tells shards of what comes of it.
    pub tell: Tell,
    /// Told when they have been.
    pub done: Sender<Result<Arc<Access>, String>>,
}

/// Where questions go. The threads end when the last of it is gone.
#[derive(Clone)]
pub(crate) struct Logins {
    work: Sender<Work>,
    heard: Sender<Heard>,
    services: Arc<[String]>,
    callout_inbox: Vec<(AccountId, String)>,
}

impl Logins {
    /// Starts the threads; they answer to the shards' mailboxes.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn start(desk: Desk, caller: Option<Caller>, mailboxes: &[Mailbox]) -> io::Result<Logins> {
        let (work, asked) = unbounded();
        let (tell, heard) = bounded(HEARD_MAX);
        let services = desk.services().into();
        let callout = desk.access().callout.clone().filter(|_| caller.is_some());
        let callout_inbox = callout.map(|it| (it.account, Caller::inbox())).into_iter().collect();
        let (fetches, fetched) = fetchers(FETCHERS)?;
        let thread = Thread {
            desk,
            caller,
            mailboxes: mailboxes.to_vec(),
            aside: Aside::default(),
            stale: BTreeSet::new(),
            fetches,
            news: false,
            is_crowded: false,
        };
        std::thread::Builder::new()
            .name("logins".to_owned())
            .spawn(move || thread.run(&asked, &heard, &fetched))?;
        Ok(Logins { work, heard: tell, services, callout_inbox })
    }

    /// What is listened to in the account of a service that lets clients in.
    pub fn callout_inbox(&self) -> Vec<(AccountId, String)> {
        self.callout_inbox.clone()
    }

    /// What is listened to in the system account, about accounts' tokens.
    pub fn services(&self) -> &[String] {
        &self.services
    }

    /// Leaves something to do.
    pub fn leave(&self, work: Work) {
        // Fails if the thread has panicked: then nobody is let in any more.
        let _ = self.work.send(work);
    }

    /// Leaves a message. False if it is dropped because too many wait.
    pub fn hear(&self, heard: Heard) -> bool {
        self.heard.try_send(heard).is_ok()
    }
}

struct Fetch {
    resolver: Arc<Resolver>,
    trust: Trust,
    account: String,
    /// Accounts that need not be fetched.
    known: BTreeSet<String>,
}

impl Fetch {
    /// May take long.
    fn gather(self) -> Fetched {
        let Fetch { resolver, trust, account, known } = self;
        let all = desk::gather(&resolver, &trust, &account, &known);
        (account, all)
    }
}

type Fetched = (String, Result<Vec<Found>, String>);

fn fetchers(count: usize) -> io::Result<(Sender<Fetch>, Receiver<Fetched>)> {
    let (fetches, wanted) = bounded::<Fetch>(count);
    let (found, fetched) = bounded(count);
    for fetcher in 0..count {
        let (wanted, found) = (wanted.clone(), found.clone());
        std::thread::Builder::new().name(format!("accounts-{fetcher}")).spawn(move || {
            for fetch in wanted {
                let (account, all) = fetch.gather();
                if found.send((account, all)).is_err() {
                    return;
                }
            }
        })?;
    }
    Ok((fetches, fetched))
}

struct Waiting {
    shard: ShardId,
    conn: ConnId,
    check: Box<Check>,
}

/// What waits for the token of an account.
enum Pending {
    /// Somebody who shows a token of one of its users.
    Login(Waiting),
    /// Somebody whom a service has made one of its users.
    Replied(Box<Replied>),
}

impl Pending {
    fn holder(&self) -> (ShardId, ConnId) {
        match self {
            Pending::Login(login) => login.holder(),
            Pending::Replied(replied) => (replied.about.shard, replied.about.conn),
        }
    }
}

struct Thread {
    desk: Desk,
    /// Asks a service about clients, if there is one.
    caller: Option<Caller>,
    mailboxes: Vec<Mailbox>,
    /// Logins that wait for the token of an account, and what is being fetched.
    aside: Aside<Pending>,
    /// Accounts of which what is being fetched may be out of date.
    stale: BTreeSet<String>,
    fetches: Sender<Fetch>,
    /// Shards have not been told of something that is held.
    news: bool,
    /// Accounts may have more connections than they may.
    is_crowded: bool,
}

impl Waiting {
    fn holder(&self) -> (ShardId, ConnId) {
        (self.shard, self.conn)
    }
}

impl Thread {
    fn run(mut self, asked: &Receiver<Work>, heard: &Receiver<Heard>, fetched: &Receiver<Fetched>) {
        let mut look = Instant::now() + EXPIRY_LOOK;
        loop {
            let waits = !self.aside.is_empty() || self.caller.as_ref().is_some_and(Caller::waits);
            let pause = match waits || self.desk.roll.next_expiry_s().is_some() {
                true => crossbeam_channel::at(look),
                false => crossbeam_channel::never(),
            };
            crossbeam_channel::select! {
                recv(asked) -> work => match work {
                    Ok(work) => {
                        self.work(work);
                        asked.try_iter().take(BATCH_MAX).for_each(|work| self.work(work));
                    }
                    Err(_) => return,
                },
                // One at a time, so that logins need not wait for all of them.
                recv(heard) -> heard => match heard {
                    Ok(Heard::Claims(claims)) => self.hear(&claims),
                    Ok(Heard::Answer(request)) => self.called_back(&request),
                    Err(_) => return,
                },
                recv(fetched) -> first => {
                    let more = fetched.try_iter().take(BATCH_MAX);
                    let all: Vec<Fetched> = first.into_iter().chain(more).collect();
                    self.take_in(all);
                }
                recv(pause) -> _ => {}
            }
            self.look_for_ends(&mut look);
            self.tell();
            self.make_room();
        }
    }

    /// Those who came last go where an account may have fewer connections than it has.
    fn make_room(&mut self) {
        if !std::mem::take(&mut self.is_crowded) {
            return;
        }
        for (shard, conn) in self.desk.crowd_out() {
            self.mailboxes[shard.index()].post(Message::Ask(Ask::CrowdOut { conn }));
        }
    }

    /// When it is time for that, however much else there is to do.
    fn look_for_ends(&mut self, at: &mut Instant) {
        if Instant::now() >= *at {
            self.news |= self.desk.roll.expire(desk::now_s());
            let late = self.caller.as_mut().map(Caller::too_late).unwrap_or_default();
            for (shard, conn, outcome) in late {
                self.answer_to((shard, conn), outcome);
            }
            self.forget_late();
            *at = Instant::now() + EXPIRY_LOOK;
        }
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Check { shard, conn, check } => {
                self.look_at(Waiting { shard, conn, check }, false);
            }
            Work::Seat { shard, seat: Seat::Taken(account, conn, cid) } => {
                self.desk.seats.add(account, (shard, conn), cid);
                self.is_crowded = true;
            }
            Work::Seat { shard, seat: Seat::Left(account, conn) } => {
                self.desk.seats.free(account, (shard, conn));
            }
            // Fails if whoever asked has lost patience.
            Work::Access(answer) => drop(answer.send(self.desk.access())),
            Work::Reload(reload) => {
                let Reload { words, base, tell, done } = *reload;
                let access = self.desk.reload(words, &base).inspect(tell);
                self.doubt_fetches();
                self.is_crowded = true;
                self.make_room();
                // As above.
                let _ = done.send(access);
            }
        }
    }

    /// Shards hear of what comes of it before whoever asked.
    fn hear(&mut self, claims: &Claims) {
        let answers = self.desk.hear(&claims.request);
        let subject = &claims.request.subject;
        if subject.ends_with(b"UPDATE") || subject.ends_with(b"DELETE") {
            self.doubt_fetches();
            self.news = true;
        }
        self.tell();
        self.fetch_more();
        if claims.request.reply.is_empty() {
            return;
        }
        let mut left = answers.len();
        for answer in answers {
            let told = claims.told.try_send((claims.request.reply.clone(), answer));
            if told.is_err() {
                log::debug!("{left} answers about accounts' tokens are dropped");
                claims.dropped.add(left as u64);
                break;
            }
            left -= 1;
        }
        strike(&claims.arrived);
    }

    fn look_at(&mut self, login: Waiting, fresh: bool) {
        if let Some((account, max)) = login.check.wanted_seat() {
            let outcome = match self.desk.seats.take(account, max, login.holder()) {
                true => Outcome::Seated(account),
                false => Outcome::Full,
            };
            return self.answer(&login, outcome);
        }
        if let Some(applicant) = login.check.applicant() {
            let asked = self.call_out(&login, applicant);
            if let Err(why) = asked {
                self.answer(&login, Outcome::Failed(why.into()));
            }
            return;
        }
        let Some(shown) = login.check.shown() else { return };
        match self.desk.admit(shown, fresh, login.holder()) {
            Answer::Is(outcome) => self.answer(&login, outcome),
            Answer::Needs(account) => self.set_aside(login, account),
        }
    }

    /// Until the token of an account is there. Its shard does not wait, so whoever needs no token
    /// but those that are held is not kept waiting by those who do.
    fn set_aside(&mut self, login: Waiting, account: String) {
        self.answer(&login, Outcome::Aside);
        // Nobody waits any longer to be let in.
        let until = Instant::now() + Duration::from_nanos(self.desk.access().auth_timeout_ns);
        self.wait(login.check.origin(), account, Pending::Login(login), until);
    }

    fn wait(&mut self, from: Origin, account: String, pending: Pending, until: Instant) {
        if let Some(crowded) = self.aside.add(from, account, pending, until) {
            self.answer_to(crowded.holder(), Outcome::Crowded);
        }
        self.fetch_more();
    }

    /// As many as may be under way.
    fn fetch_more(&mut self) {
        while let Some(account) = {
            let Desk { wanted, roll, .. } = &mut self.desk;
            // Some are held by now: a user of theirs has come, or they were pushed.
            let mut unknown = std::iter::from_fn(|| wanted.pop_first());
            let unknown = || unknown.find(|account| roll.find(account).is_none());
            self.aside.next(unknown, Instant::now())
        } {
            self.fetch(account);
        }
    }

    fn fetch(&mut self, account: String) {
        let fetch = Fetch {
            resolver: self.desk.resolver(),
            trust: self.desk.trust().clone(),
            account: account.clone(),
            known: self.desk.roll.keys(),
        };
        // There is room for all that are under way: it fails if the threads have panicked.
        if self.fetches.try_send(fetch).is_err() {
            log::error!("Account JWT lookup error: {account}: nobody fetches it");
            for pending in self.aside.end(&account).1 {
                let outcome = Outcome::Failed("Account JWT lookup error".into());
                self.answer_to(pending.holder(), outcome);
            }
        }
    }

    /// Their time to log in is over.
    fn forget_late(&mut self) {
        for pending in self.aside.take_late(Instant::now()) {
            let outcome = Outcome::Failed("Account JWT lookup error".into());
            self.answer_to(pending.holder(), outcome);
        }
    }

    /// Has a service asked who somebody is.
    fn call_out(&mut self, login: &Waiting, applicant: &Applicant) -> Result<(), String> {
        let access = self.desk.access();
        let callout = match &applicant.bearer {
            // It is asked by the system account's own session.
            Some(bearer) => access.system.and_then(|_| self.desk.callout_of(bearer)),
            None => access.callout.clone(),
        };
        let (Some(caller), Some(callout)) = (&mut self.caller, callout) else {
            return Err("there is nobody to ask".to_string());
        };
        let who = (login.shard, login.conn, login.check.origin());
        let saying = caller.ask(&callout, who, applicant, access.auth_timeout_ns)?;
        self.mailboxes[HOME].post(Message::Ask(Ask::Say(Box::new(saying))));
        Ok(())
    }

    fn called_back(&mut self, request: &Request) {
        let Some(caller) = &mut self.caller else { return };
        if let Some(replied) = caller.hear(&self.desk, request) {
            self.go_by(Box::new(replied), false);
        }
    }

    /// What a service has said, once the account it names is known.
    fn go_by(&mut self, replied: Box<Replied>, fresh: bool) {
        let Replied { about, .. } = &*replied;
        let holder = (about.shard, about.conn);
        let outcome = match self.desk.replied(&replied, fresh) {
            Ok(admission) => self.desk.seat(admission, holder),
            Err(Refusal::No(why)) => callout::refused(&why),
            Err(Refusal::Needs(account)) => {
                let (origin, until) = (about.origin, about.until);
                return self.wait(origin, account, Pending::Replied(replied), until);
            }
        };
        self.answer_to(holder, outcome);
    }

    fn answer_to(&self, (shard, conn): (ShardId, ConnId), outcome: Outcome) {
        self.mailboxes[shard.index()].post(Message::Checked { conn, outcome });
    }

    /// Tokens may have changed behind those that are being fetched.
    fn doubt_fetches(&mut self) {
        self.stale.extend(self.aside.under_way().cloned());
    }

    /// Shards know of an account before its user is there.
    fn answer(&self, login: &Waiting, outcome: Outcome) {
        self.answer_to(login.holder(), outcome);
    }

    fn take_in(&mut self, all: Vec<Fetched>) {
        let mut asked_for = Vec::new();
        for (account, found) in all {
            let fresh = !self.stale.remove(&account);
            match found {
                _ if !fresh => {}
                Ok(found) => self.news |= self.desk.take_in(found),
                Err(why) => log::debug!("Account JWT lookup error: {account}: {why}"),
            }
            asked_for.push((account, fresh));
        }
        self.tell();
        for (account, fresh) in asked_for {
            let (asker, logins) = self.aside.end(&account);
            if !fresh && (asker == Some(Asker::Imports) || logins.is_empty()) {
                self.desk.want(account);
            }
            // They ask again if what is held by now is not enough.
            for pending in logins {
                match pending {
                    Pending::Login(login) => self.look_at(login, fresh),
                    Pending::Replied(replied) => self.go_by(replied, fresh),
                }
            }
        }
        self.fetch_more();
    }

    fn tell(&mut self) {
        if !std::mem::take(&mut self.news) {
            return;
        }
        let before = self.desk.access();
        let (access, concerns) = self.desk.update();
        // What has not changed is the very same.
        let is_same = |(old, new): (&Arc<Account>, &Arc<Account>)| Arc::ptr_eq(old, new);
        let (old, new) = (before.accounts(), access.accounts());
        if old.len() == new.len() && old.iter().zip(new).all(is_same) {
            return;
        }
        for mailbox in &self.mailboxes {
            let access = Arc::clone(&access);
            mailbox.post(Message::Ask(match concerns {
                true => Ask::Access(access),
                false => Ask::MoreAccounts(access),
            }));
        }
        self.is_crowded = true;
    }
}

#[cfg(test)]
mod tests {
    use claims::decode_account;

    use super::*;
    use crate::identity::desk::now_s;
    use crate::identity::tests::{token, words};
    use crate::lanes;

    /// A thread's part without the thread: what is to be fetched can be looked at.
    fn thread() -> (Thread, Receiver<Fetch>) {
        let desk = Desk::open(words(), Arc::default()).expect("all goes together");
        let (fetches, wanted) = bounded(8);
        (
            Thread {
                desk,
                caller: None,
                mailboxes: Vec::new(),
                aside: Aside::default(),
                stale: BTreeSet::new(),
                fetches,
                news: false,
                is_crowded: false,
            },
            wanted,
        )
    }

    fn found(name: &str) -> Found {
        (decode_account(&token(name)).expect("a token"), token(name))
    }

    fn key() -> String {
        found("account").0.claims.subject
    }

    fn claims(subject: &str, payload: &str) -> (Claims, Receiver<Told>) {
        let (told, telling) = bounded(1);
        let request = Request {
            subject: subject.into(),
            reply: b"r".to_vec(),
            header: Vec::new(),
            payload: payload.into(),
        };
        let arrived = Arc::new(lanes::eventfd().expect("a descriptor"));
        (Claims { request, told, arrived, dropped: Arc::default() }, telling)
    }

    fn push(thread: &mut Thread, payload: &str) {
        let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", key());
        thread.hear(&claims(&subject, payload).0);
    }

    /// It is being fetched because others import from it.
    fn begin(thread: &mut Thread, fetches: &Receiver<Fetch>, account: String) {
        thread.desk.want(account.clone());
        thread.fetch_more();
        assert_eq!(fetches.try_recv().map(|fetch| fetch.account), Ok(account));
    }

    fn is_at_rest(thread: &Thread, fetches: &Receiver<Fetch>) -> bool {
        fetches.is_empty() && thread.aside.is_empty() && thread.aside.under_way().next().is_none()
    }

    #[test]
    fn what_was_fetched_before_a_change_is_not_held() {
        let (mut thread, fetches) = thread();
        begin(&mut thread, &fetches, key());
        push(&mut thread, &token("account_no_bearer"));
        thread.take_in(vec![(key(), Ok(vec![found("account")]))]);
        assert!(thread.desk.roll.find(&key()).is_none());
        assert_eq!(fetches.try_recv().map(|fetch| fetch.account), Ok(key()), "others import of it");
        thread.take_in(vec![(key(), Ok(vec![found("account_no_bearer")]))]);
        let held = thread.desk.roll.find(&key()).expect("it has not changed since");
        assert_eq!(held.token(), token("account_no_bearer"));
        assert!(is_at_rest(&thread, &fetches));
    }

    #[test]
    fn what_was_pushed_is_not_replaced_by_what_was_fetched_before() {
        let (mut thread, fetches) = thread();
        begin(&mut thread, &fetches, key());
        let (account, late) = found("account_expired");
        thread.desk.roll.put(account, late, now_s());
        assert!(thread.desk.roll.find(&key()).expect("it is held").has_expired());
        push(&mut thread, &token("account"));
        thread.take_in(vec![(key(), Ok(vec![found("account_expired")]))]);
        assert_eq!(thread.desk.roll.find(&key()).expect("it is held").token(), token("account"));
        assert!(thread.desk.wanted.is_empty());
        fetches.try_iter().for_each(|fetch| drop(thread.aside.end(&fetch.account)));
        assert!(is_at_rest(&thread, &fetches));
    }

    #[test]
    fn accounts_that_others_import_from_are_fetched_once_and_in_turn() {
        let (mut thread, fetches) = thread();
        let others: Vec<String> = (0..10).map(|at| format!("A{at}")).collect();
        others.iter().for_each(|other| thread.desk.want(other.clone()));
        push(&mut thread, "");
        let account = |fetch: Fetch| fetch.account;
        let first: Vec<String> = fetches.try_iter().map(account).collect();
        let most = FETCHERS / 2;
        assert_eq!(first, others[..most], "logins do not wait for all of them");
        thread.desk.want(others[0].clone());
        let fruitless = first[1..].iter().map(|other| (other.clone(), Err("x".to_string())));
        thread.take_in(fruitless.collect());
        let second: Vec<String> = fetches.try_iter().map(account).collect();
        assert_eq!(second, others[most..2 * most - 1]);
        assert!(thread.aside.under_way().eq(first[..1].iter().chain(&second)));
    }

    #[test]
    fn an_account_that_can_not_be_fetched_is_not_waited_for() {
        let (mut thread, fetches) = thread();
        drop(fetches);
        thread.desk.want(key());
        thread.fetch_more();
        assert!(thread.aside.under_way().next().is_none());
    }

    /// However busy the server is.
    #[test]
    fn an_account_ends_when_it_is_time_to_look() {
        let (mut thread, _fetches) = thread();
        let (account, token) = found("account_expired");
        let end = account.claims.expires_s;
        thread.desk.roll.put(account, token, end - 1);
        thread.desk.update();
        let has_expired =
            |thread: &Thread| thread.desk.roll.find(&key()).expect("it is held").has_expired();
        assert_eq!(thread.desk.roll.next_expiry_s(), Some(end));
        let mut look = Instant::now() + Duration::from_secs(60);
        thread.look_for_ends(&mut look);
        assert!(!has_expired(&thread) && !thread.news);
        look = Instant::now();
        thread.look_for_ends(&mut look);
        assert!(has_expired(&thread) && thread.news);
        assert!(look > Instant::now(), "and looks again later");
        assert_eq!(thread.desk.roll.next_expiry_s(), None);
    }

    #[test]
    fn messages_and_answers_beyond_bounds_are_counted() {
        let (tell, heard) = bounded(HEARD_MAX);
        let (work, _asked) = unbounded();
        let logins =
            Logins { work, heard: tell, services: Arc::default(), callout_inbox: Vec::new() };
        let hear = || logins.hear(Heard::Claims(claims("x", "").0));
        let left = (0..HEARD_MAX).filter(|_| hear()).count();
        assert_eq!(left, HEARD_MAX);
        assert!(!hear());
        drop(heard);

        let (mut thread, _fetches) = thread();
        let (update, telling) = claims(&format!("$SYS.ACCOUNT.{}.CLAIMS.UPDATE", key()), "");
        thread.hear(&update);
        assert_eq!((telling.len(), update.dropped.value()), (1, 0));
        thread.hear(&update);
        assert_eq!((telling.len(), update.dropped.value()), (1, 1));
    }
}
