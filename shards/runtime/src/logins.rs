//! The thread that knows who is who: accounts and users by their tokens, and how many connections
//! each account has. It alone changes what shards know of accounts, so they all hear of it in one
//! order.
//!
//! Tokens are fetched by other threads, since that may take seconds. The queue has no bound of its
//! own: shards have at most [`CHECKS_MAX`] checks each out, and a seat is given back once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claims::Trust;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use monitor::ClaimsAnswer;
use shard::access::{Access, Check, Outcome};
use shard::limits::CHECKS_MAX;
use shard::report::{Ask, Request};
use shard::{ConnId, Seat, ShardId};

use crate::control::{Mailbox, Message};
use crate::identity::desk::{self, Answer, Desk, Found};
use crate::identity::{Resolver, Words};
use crate::lanes::strike;

/// Places that take long to answer are asked for so many accounts at once.
const FETCHERS: usize = 4;
/// Logins and the like done before what came of them is told.
const BATCH_MAX: usize = 64;
/// An account whose time is over is found so soon at the latest.
const EXPIRY_LOOK: Duration = Duration::from_millis(200);

/// What the thread is asked.
pub(crate) enum Work {
    /// Who is it that shows this, or is there room for it?
    Check { shard: ShardId, conn: ConnId, check: Box<Check> },
    /// A connection has come or gone.
    Seat(Seat),
    /// What do shards go by?
    Access(Sender<Arc<Access>>),
    /// The operator's words have changed.
    Reload(Box<Reload>),
    /// A message about accounts' tokens came to the system account.
    Claims(Box<Claims>),
}

/// A message about accounts' tokens.
pub(crate) struct Claims {
    pub request: Request,
    /// What to tell, and where.
    pub told: Sender<Told>,
    /// Struck when there is something to tell.
    pub arrived: Arc<File>,
}

/// Where to, and what.
pub(crate) type Told = (Vec<u8>, ClaimsAnswer);

/// Other words of the operator.
pub(crate) struct Reload {
    pub words: Words,
    /// Made from what shards go by now.
    pub base: Arc<Access>,
    /// Tells shards of what comes of it.
    pub tell: Box<dyn FnOnce(Arc<Access>) -> Arc<Access> + Send>,
    /// Told when they have been.
    pub done: Sender<Result<Arc<Access>, String>>,
}

/// Where questions go. The threads end when the last of it is gone.
#[derive(Clone)]
pub(crate) struct Logins {
    work: Sender<Work>,
    services: Arc<[String]>,
}

impl Logins {
    /// Starts the threads; they answer to the shards' mailboxes.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn start(desk: Desk, mailboxes: &[Mailbox]) -> io::Result<Logins> {
        let (work, asked) = unbounded();
        let services = desk.services().into();
        let (fetches, fetched) = fetchers(CHECKS_MAX * mailboxes.len())?;
        let thread = Thread {
            desk,
            mailboxes: mailboxes.to_vec(),
            waiting: BTreeMap::new(),
            stale: BTreeSet::new(),
            fetches,
            news: false,
        };
        std::thread::Builder::new()
            .name("logins".to_owned())
            .spawn(move || thread.run(&asked, &fetched))?;
        Ok(Logins { work, services })
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
}

struct Fetch {
    resolver: Arc<Resolver>,
    trust: Trust,
    account: String,
    /// Accounts that need not be fetched.
    known: BTreeSet<String>,
}

type Fetched = (String, Result<Vec<Found>, String>);

fn fetchers(max: usize) -> io::Result<(Sender<Fetch>, Receiver<Fetched>)> {
    // An account is asked for once at a time, and somebody waits for each.
    let (fetches, wanted) = bounded::<Fetch>(max.max(1));
    let (found, fetched) = bounded(max.max(1));
    for fetcher in 0..FETCHERS {
        let (wanted, found) = (wanted.clone(), found.clone());
        std::thread::Builder::new().name(format!("accounts-{fetcher}")).spawn(move || {
            for Fetch { resolver, trust, account, known } in wanted {
                let all = desk::gather(&resolver, &trust, &account, &known);
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

struct Thread {
    desk: Desk,
    mailboxes: Vec<Mailbox>,
    /// Logins that wait for the token of an account.
    waiting: BTreeMap<String, Vec<Waiting>>,
    /// Of those, accounts of which what is being fetched may be out of date.
    stale: BTreeSet<String>,
    fetches: Sender<Fetch>,
    /// Shards have not been told of something that is held.
    news: bool,
}

impl Thread {
    fn run(mut self, asked: &Receiver<Work>, fetched: &Receiver<Fetched>) {
        let mut look = Instant::now() + EXPIRY_LOOK;
        loop {
            let pause = match self.desk.roll.next_expiry_s() {
                Some(_) => crossbeam_channel::at(look),
                None => crossbeam_channel::never(),
            };
            crossbeam_channel::select! {
                recv(asked) -> work => match work {
                    Ok(work) => {
                        self.work(work);
                        asked.try_iter().take(BATCH_MAX).for_each(|work| self.work(work));
                    }
                    Err(_) => return,
                },
                recv(fetched) -> first => {
                    let more = fetched.try_iter().take(BATCH_MAX);
                    let all: Vec<Fetched> = first.into_iter().chain(more).collect();
                    self.take_in(all);
                }
                recv(pause) -> _ => {}
            }
            // However much there is to do.
            if Instant::now() >= look {
                self.news |= self.desk.roll.expire(desk::now_s());
                look = Instant::now() + EXPIRY_LOOK;
            }
            self.tell();
        }
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Check { shard, conn, check } => {
                self.look_at(Waiting { shard, conn, check }, false);
            }
            Work::Seat(Seat::Taken(account)) => self.desk.add_seat(account),
            Work::Seat(Seat::Left(account)) => self.desk.free_seat(account),
            // Fails if whoever asked has lost patience.
            Work::Access(answer) => drop(answer.send(self.desk.access())),
            Work::Claims(claims) => self.hear(&claims),
            Work::Reload(reload) => {
                let Reload { words, base, tell, done } = *reload;
                let access = self.desk.reload(words, &base);
                self.doubt_fetches();
                // As above.
                let _ = done.send(access.map(tell));
            }
        }
    }

    /// Shards hear of what comes of it before whoever asked.
    fn hear(&mut self, claims: &Claims) {
        let answers = self.desk.hear(&claims.request);
        let subject = &claims.request.subject;
        if subject.ends_with(b"UPDATE") || subject.ends_with(b"DELETE") {
            self.doubt_fetches();
        }
        self.news = true;
        self.tell();
        if claims.request.reply.is_empty() {
            return;
        }
        for answer in answers {
            let told = claims.told.try_send((claims.request.reply.clone(), answer));
            if told.is_err() {
                log::debug!("Answers about accounts' tokens are dropped");
                break;
            }
        }
        strike(&claims.arrived);
    }

    fn look_at(&mut self, login: Waiting, fresh: bool) {
        if let Some((account, max)) = login.check.wanted_seat() {
            let outcome = match self.desk.take_seat(account, max) {
                true => Outcome::Seated(account),
                false => Outcome::Full,
            };
            return self.answer(&login, outcome);
        }
        let Some(shown) = login.check.shown() else { return };
        match self.desk.admit(shown, fresh) {
            Answer::Is(outcome) => self.answer(&login, outcome),
            Answer::Needs(account) => {
                let others = self.waiting.entry(account.clone()).or_default();
                others.push(login);
                if others.len() == 1 {
                    self.fetch(account);
                }
            }
        }
    }

    fn fetch(&mut self, account: String) {
        let fetch = Fetch {
            resolver: self.desk.resolver(),
            trust: self.desk.trust().clone(),
            account,
            known: self.desk.roll.keys(),
        };
        // There is room: somebody waits for each, and so many may wait.
        let left = self.fetches.try_send(fetch);
        debug_assert!(left.is_ok(), "more accounts are waited for than may be");
    }

    /// Tokens may have changed behind those that are being fetched.
    fn doubt_fetches(&mut self) {
        self.stale.extend(self.waiting.keys().cloned());
    }

    /// Shards know of an account before its user is there.
    fn answer(&self, login: &Waiting, outcome: Outcome) {
        let message = Message::Checked { conn: login.conn, outcome };
        self.mailboxes[login.shard.index()].post(message);
    }

    fn take_in(&mut self, all: Vec<Fetched>) {
        let mut asked_for = Vec::new();
        for (account, found) in all {
            if self.stale.remove(&account) {
                self.fetch(account);
                continue;
            }
            match found {
                Ok(found) => self.news |= self.desk.take_in(found),
                Err(why) => log::debug!("Account JWT lookup error: {account}: {why}"),
            }
            asked_for.push(account);
        }
        self.tell();
        for account in asked_for {
            for login in self.waiting.remove(&account).unwrap_or_default() {
                self.look_at(login, true);
            }
        }
    }

    fn tell(&mut self) {
        if !std::mem::take(&mut self.news) {
            return;
        }
        let before = self.desk.access();
        let (access, concerns) = self.desk.update();
        if *access == *before {
            return;
        }
        for mailbox in &self.mailboxes {
            let access = Arc::clone(&access);
            mailbox.post(Message::Ask(match concerns {
                true => Ask::Access(access),
                false => Ask::MoreAccounts(access),
            }));
        }
    }
}
