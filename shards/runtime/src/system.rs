//! The control plane's side of the system account: requests answered, events and figures told.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use glommio::timer;
use monitor::{Deed, SystemQuestion};
use shard::report::{Ask, News, Request, Saying, Wanted};

use crate::control::Message;
use crate::http::{Desk, collect, now_unix_ns};

/// The shard that holds the services.
const HOME: usize = 0;
/// Figures are told this soon after the start, then half as often each time.
const FIRST_BEAT: Duration = Duration::from_millis(250);
/// As seldom as they get.
const BEAT_MAX: Duration = Duration::from_secs(10);
/// Requests answered at once; further ones are dropped.
const ANSWERS_MAX: usize = 64;

/// Has the services held.
pub(crate) fn serve(desk: &Desk) {
    let subjects = desk.monitor.services();
    desk.commons.mailboxes[HOME].post(Message::Serve { subjects });
}

/// Takes in one piece of news.
pub(crate) fn hear(desk: &Rc<RefCell<Desk>>, news: News) {
    let mut at_desk = desk.borrow_mut();
    match news {
        News::Serving => {
            if let Some(serving) = at_desk.serving.take() {
                // Fails if the start was given up.
                let _ = serving.try_send(());
            }
        }
        News::Request(request) => {
            let Some(question) = understand(&at_desk, &request) else { return };
            if at_desk.answering >= ANSWERS_MAX {
                log::debug!("Too many requests to the system account at once");
                return;
            }
            at_desk.answering += 1;
            // A task may run at once.
            drop(at_desk);
            let desk = Rc::clone(desk);
            glommio::spawn_local(async move {
                answer(&desk, &question).await;
                desk.borrow_mut().answering -= 1;
            })
            .detach();
        }
        News::Connection(connection) => {
            let saying = at_desk.monitor.tell_of(&connection, now_unix_ns());
            say(&at_desk, saying);
        }
        News::TurnedAway(connection) => {
            let saying = at_desk.monitor.tell_of_refused(&connection, now_unix_ns());
            say(&at_desk, saying);
        }
    }
}

fn understand(desk: &Desk, request: &Request) -> Option<SystemQuestion> {
    desk.monitor.hear(request)
}

async fn answer(desk: &Rc<RefCell<Desk>>, question: &SystemQuestion) {
    let Some(reports) = collect(question.wanted(), desk).await else { return };
    let done = question.deed().map_or(Ok(()), |deed| carry_out(&desk.borrow(), deed));
    let mut desk = desk.borrow_mut();
    let process = desk.process.figures();
    if let Some(saying) = desk.monitor.say(question, done, &reports, &process, now_unix_ns()) {
        say(&desk, saying);
    }
}

fn carry_out(desk: &Desk, deed: Deed) -> Result<(), String> {
    let ask = |ask: &dyn Fn() -> Ask| {
        for mailbox in &desk.commons.mailboxes {
            mailbox.post(Message::Ask(ask()));
        }
        Ok(())
    };
    match deed {
        Deed::Kick(cid) => ask(&|| Ask::Kick { cid }),
        Deed::LameDuck(cid) => ask(&|| Ask::SendAway { cid }),
        Deed::Reload => match desk.commons.reload.get() {
            Some(reload) => reload(),
            None => Err("this server can not reload its configuration".to_owned()),
        },
    }
}

fn say(desk: &Desk, saying: Saying) {
    let ask = Ask::Say(Box::new(saying));
    if desk.commons.mailboxes[HOME].try_post(Message::Ask(ask)).is_err() {
        log::debug!("A message to the system account was dropped");
    }
}

/// Tells the figures of the server from time to time, for ever.
pub(crate) async fn beat(desk: Rc<RefCell<Desk>>) {
    let mut pause = FIRST_BEAT;
    loop {
        timer::sleep(pause).await;
        pause = (pause * 2).min(BEAT_MAX);
        let wanted = Wanted { accounts: true, ..Wanted::default() };
        let Some(reports) = collect(wanted, &desk).await else { continue };
        let mut desk = desk.borrow_mut();
        let process = desk.process.figures();
        let saying = desk.monitor.tell_statsz(&reports, &process, now_unix_ns());
        say(&desk, saying);
    }
}
