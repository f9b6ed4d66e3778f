//! The control plane's side of the system account: requests answered, events and figures told.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use glommio::channels::local_channel;
use glommio::{GlommioError, timer};
use monitor::{Deed, SystemQuestion};
use shard::ShardId;
use shard::report::{Ask, News, Report, Request, Saying, Wanted};

use crate::control::{Message, PLEAS_MAX, Plea};
use crate::http::{Desk, collect, now_unix_ns};
use crate::identity::callout::Caller;
use crate::identity::claims_update;
use crate::logins::{Claims, Heard, Told};

/// The shard that holds the services.
pub(crate) const HOME: usize = 0;
/// Figures are told this soon after the start, then half as often each time.
const FIRST_BEAT: Duration = Duration::from_millis(250);
/// As seldom as they get.
const BEAT_MAX: Duration = Duration::from_secs(10);
/// Of how many accounts the connections are told at once.
const TOLD_AT_ONCE: usize = 128;
/// How long the operator's side may take to read the configuration anew.
const PLEA_TIME_MAX: Duration = Duration::from_secs(30);
/// Requests that may wait for an answer; further ones are dropped.
const QUESTIONS_MAX: usize = 4096;
/// Why something can't be told.
const UNREPORTED: &str = "The shards do not report in time";

/// Has the services held, by one shard; all may speak.
pub(crate) fn serve(desk: &Desk) {
    for (shard, mailbox) in desk.commons.mailboxes.iter().enumerate() {
        let (mut subjects, mut elsewhere) = (Vec::new(), Vec::new());
        if shard == HOME {
            subjects = desk.monitor.services();
            subjects.extend(desk.commons.logins.services().iter().cloned());
            elsewhere = desk.commons.logins.callout_inbox();
        }
        mailbox.post(Message::Serve { subjects, elsewhere });
    }
}

/// Takes in one piece of news.
pub(crate) fn hear(desk: &Rc<RefCell<Desk>>, news: News) {
    let mut at_desk = desk.borrow_mut();
    match news {
        News::Settled => {
            // They fail if nobody waits any more.
            let _ = match (at_desk.farewell.take(), &at_desk.serving) {
                (Some(farewell), _) => farewell.try_send(()),
                (None, Some(serving)) => serving.try_send(()),
                (None, None) => Ok(()),
            };
        }
        News::Request(request) if is_for_logins(&request.subject) => hand_on(&at_desk, request),
        News::Request(request) => {
            let Some(question) = at_desk.monitor.hear(&request) else { return };
            // Who reads the configuration may take long; nobody else waits for that.
            let alone = question.deed() == Some(Deed::Reload);
            let is_full = match alone {
                true => at_desk.reloads >= PLEAS_MAX,
                false => at_desk.questions.len() >= QUESTIONS_MAX,
            };
            if is_full {
                return drop_messages(&at_desk, 1, "Too many requests to the system account");
            }
            if alone {
                at_desk.reloads += 1;
            } else {
                at_desk.questions.push_back(question.clone());
                if std::mem::replace(&mut at_desk.answering, true) {
                    return;
                }
            }
            // A task may run at once.
            drop(at_desk);
            let desk = Rc::clone(desk);
            glommio::spawn_local(async move {
                if !alone {
                    return answer_all(&desk).await;
                }
                answer(&desk, &question).await;
                desk.borrow_mut().reloads -= 1;
            })
            .detach();
        }
        News::Connection(connection) => {
            let saying = at_desk.monitor.tell_of(&connection, now_unix_ns());
            say(&at_desk, saying);
        }
        News::Counted(account) => {
            at_desk.recounted.insert(account);
            if !std::mem::replace(&mut at_desk.recounting, true) {
                drop(at_desk);
                glommio::spawn_local(recount(Rc::clone(desk))).detach();
            }
        }
        News::Refused { connection, account, reason } => {
            let now = now_unix_ns();
            let monitor = &mut at_desk.monitor;
            let saying = monitor.tell_account_of_refused(&connection, &account, &reason, now);
            say(&at_desk, saying);
        }
        News::TurnedAway(connection) => {
            let saying = at_desk.monitor.tell_of_refused(&connection, now_unix_ns());
            say(&at_desk, saying);
        }
    }
}

/// Tells what became of a message about accounts' tokens.
pub(crate) fn tell(desk: &Rc<RefCell<Desk>>, (reply, answer): Told) {
    let mut desk = desk.borrow_mut();
    let saying = desk.monitor.say_of_claims(reply, answer, now_unix_ns());
    say(&desk, saying);
}

/// In the order they came, as nats-server does.
fn is_for_logins(subject: &[u8]) -> bool {
    Caller::concerns(subject) || claims_update::concerns(subject)
}

/// Leaves it to the thread that knows who is who.
fn hand_on(desk: &Desk, request: Request) {
    let heard = match Caller::concerns(&request.subject) {
        true => Heard::Answer(request),
        false => Heard::Claims(Claims {
            request,
            told: desk.told.clone(),
            arrived: desk.commons.answers.arrived(),
            dropped: Arc::clone(&desk.commons.dropped),
        }),
    };
    if !desk.commons.logins.hear(heard) {
        drop_messages(desk, 1, "Too many messages about tokens and logins at once");
    }
}

async fn answer_all(desk: &Rc<RefCell<Desk>>) {
    loop {
        let question = desk.borrow_mut().questions.pop_front();
        let Some(question) = question else { break };
        answer(desk, &question).await;
    }
    desk.borrow_mut().answering = false;
}

async fn answer(desk: &Rc<RefCell<Desk>>, question: &SystemQuestion) {
    let Some(reports) = collect(question.wanted(), desk).await else {
        return drop_messages(&desk.borrow(), 1, UNREPORTED);
    };
    let done = match question.deed() {
        Some(deed) => carry_out(desk, deed).await,
        None => Ok(()),
    };
    let mut desk = desk.borrow_mut();
    let process = desk.process.figures();
    if let Some(saying) = desk.monitor.say(question, done, &reports, &process, now_unix_ns()) {
        say(&desk, saying);
    }
}

async fn carry_out(desk: &Rc<RefCell<Desk>>, deed: Deed) -> Result<(), String> {
    let ask = |ask: &dyn Fn() -> Ask| {
        for mailbox in &desk.borrow().commons.mailboxes {
            mailbox.post(Message::Ask(ask()));
        }
        Ok(())
    };
    match deed {
        Deed::Kick(cid) => ask(&|| Ask::Kick { cid }),
        Deed::LameDuck(cid) => ask(&|| Ask::SendAway { cid }),
        Deed::Reload => plead(desk).await,
    }
}

/// Asks the operator's side to read the configuration anew, and waits for what comes of it.
async fn plead(desk: &Rc<RefCell<Desk>>) -> Result<(), String> {
    let (told, outcome) = local_channel::new_bounded(1);
    {
        let mut desk = desk.borrow_mut();
        let plea = Plea { done: desk.pleas_done.clone(), arrived: desk.commons.answers.arrived() };
        if desk.pleading.len() >= PLEAS_MAX || desk.pleads.try_send(plea).is_err() {
            return Err("too many reloads are asked for".to_owned());
        }
        desk.pleading.push_back(told);
    }
    let wait = async { Ok::<_, GlommioError<()>>(outcome.recv().await) };
    let outcome = timer::timeout(PLEA_TIME_MAX, wait).await;
    outcome.ok().flatten().unwrap_or_else(|| Err("the reload takes too long".to_owned()))
}

/// Tells the system account that the server goes, and how.
pub(crate) fn tell_end(desk: &mut Desk, how: &str) {
    if desk.serving.is_some() {
        let saying = desk.monitor.tell_end(how, now_unix_ns());
        say(desk, saying);
    }
}

/// As [`tell_end`], and tells when that is known everywhere.
pub(crate) fn say_farewell(desk: &mut Desk, done: Sender<()>) {
    tell_end(desk, "SHUTDOWN");
    let posted = desk.commons.mailboxes[HOME].try_post(Message::Ask(Ask::Settle));
    // If the shard is gone already, `done` is, too.
    desk.farewell = posted.is_ok().then_some(done);
}

/// Tells how many connections each account has that has more or fewer; until none has.
async fn recount(desk: Rc<RefCell<Desk>>) {
    loop {
        let accounts = std::mem::take(&mut desk.borrow_mut().recounted);
        if accounts.is_empty() {
            desk.borrow_mut().recounting = false;
            return;
        }
        let wanted = Wanted { accounts: true, ..Wanted::default() };
        match collect(wanted, &desk).await {
            Some(reports) => {
                accounts.iter().for_each(|account| tell_counted(&desk, account, &reports));
            }
            None => drop_messages(&desk.borrow(), accounts.len() as u64, UNREPORTED),
        }
    }
}

fn tell_counted(desk: &Rc<RefCell<Desk>>, account: &str, reports: &[Report]) {
    let mut desk = desk.borrow_mut();
    for saying in desk.monitor.tell_counted(account, reports, now_unix_ns()) {
        say(&desk, saying);
    }
}

/// Tells the connections of all accounts from time to time, for ever.
pub(crate) async fn recount_all(desk: Rc<RefCell<Desk>>, every: Duration) {
    loop {
        timer::sleep(every).await;
        let wanted = Wanted { accounts: true, followers: true, ..Wanted::default() };
        let Some(reports) = collect(wanted, &desk).await else { continue };
        if !reports.iter().any(|report| report.has_followers) {
            continue;
        }
        let accounts = desk.borrow().monitor.counted(&reports);
        for some in accounts.chunks(TOLD_AT_ONCE) {
            some.iter().for_each(|account| tell_counted(&desk, account, &reports));
            timer::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn say(desk: &Desk, saying: Saying) {
    let place = saying.place().map_or(HOME, ShardId::index);
    let ask = Message::Ask(Ask::Say(Box::new(saying)));
    let mailbox = desk.commons.mailboxes.get(place);
    if mailbox.is_none_or(|mailbox| mailbox.try_post(ask).is_err()) {
        drop_messages(desk, 1, "A shard has too much to do");
    }
}

fn drop_messages(desk: &Desk, count: u64, why: &str) {
    log::debug!("{count} messages from or to the system account are dropped: {why}");
    desk.commons.dropped.add(count);
}

/// Tells the figures of the server from time to time, for ever.
pub(crate) async fn beat(desk: Rc<RefCell<Desk>>) {
    let mut pause = FIRST_BEAT;
    loop {
        timer::sleep(pause).await;
        pause = (pause * 2).min(BEAT_MAX);
        let wanted = Wanted { accounts: true, ..Wanted::default() };
        let Some(reports) = collect(wanted, &desk).await else {
            drop_messages(&desk.borrow(), 1, UNREPORTED);
            continue;
        };
        let mut desk = desk.borrow_mut();
        let process = desk.process.figures();
        let saying = desk.monitor.tell_statsz(&reports, &process, now_unix_ns());
        say(&desk, saying);
    }
}
