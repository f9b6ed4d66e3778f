//! How a connection becomes somebody. Until then nothing but CONNECT is listened to.
//!
//! What a client may do takes an [`Admitted`], and only this file makes one.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use wire::{CloseReason, Connect, Fault, Secrets, error_text};

use super::client::{Client, Wait};
use super::guard::Guard;
use crate::access::{Check, ConnectionTypes, Outcome, Papers, Presented, Proof, User, Verdict};
use crate::effect::{Effects, Seat};
use crate::ids::{AccountId, ConnId, Nanos};
use crate::limits::CHECKS_MAX;
use crate::report::Event;
use crate::security::TlsFacts;
use crate::shard::Shard;
use crate::timers::Due;
use crate::turns::{Origin, Places, Turns};

/// A connection that has been let in, and is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted(ConnId);

impl Admitted {
    #[inline]
    pub fn conn(self) -> ConnId {
        self.0
    }
}

/// How far a connection has come.
#[derive(Debug, Default)]
pub(crate) enum Standing {
    /// It has not said who it is.
    #[default]
    Greeting,
    /// What it has shown is looked at.
    Checking(Box<Claimed>),
    /// It is who it says it is.
    In,
}

/// Who a connection says it is.
#[derive(Debug)]
pub(crate) struct Claimed {
    user: Option<Arc<User>>,
    /// To be looked at; none once it has been given out.
    check: Option<Box<Check>>,
    /// It has not said CONNECT.
    is_silent: bool,
    /// A service has to say, until then; 0 is none.
    called_out_until: Nanos,
    /// The account whose service it is, if it is not the file's.
    asks_in: Option<AccountId>,
}

/// Who a connection is, and what it has shown of itself apart from secrets.
#[derive(Default)]
pub(crate) struct Identity {
    pub user: Option<Arc<User>>,
    /// Those of whom nothing is asked, and who show nothing, need none.
    shown: Option<Box<Shown>>,
    /// When its right to be here ends; 0 is never.
    pub expires: Nanos,
    /// The account that counts it among its connections.
    pub seat: Option<AccountId>,
}

/// What a connection has shown of itself, and was asked to sign.
#[derive(Default)]
struct Shown {
    name: Box<str>,
    label: Box<str>,
    nonce: Box<str>,
    tls: Option<Arc<TlsFacts>>,
}

impl Identity {
    /// As connz shows it: the nkey, the user's name, or that there was a token.
    pub fn name(&self) -> &str {
        self.shown.as_ref().map_or("", |shown| &shown.name)
    }

    /// `user:alice`, as log lines show it.
    pub fn label(&self) -> &str {
        self.shown.as_ref().map_or("", |shown| &shown.label)
    }

    /// What it was asked to sign.
    pub fn nonce(&self) -> &str {
        self.shown.as_ref().map_or("", |shown| &shown.nonce)
    }

    pub fn tls(&self) -> Option<&Arc<TlsFacts>> {
        self.shown.as_ref()?.tls.as_ref()
    }

    pub fn set_tls(&mut self, facts: Arc<TlsFacts>) {
        self.shown.get_or_insert_default().tls = Some(facts);
    }

    fn set_name(&mut self, name: Box<str>, label: Box<str>) {
        if self.shown.is_some() || !name.is_empty() || !label.is_empty() {
            let shown = self.shown.get_or_insert_default();
            (shown.name, shown.label) = (name, label);
        }
    }
}

/// Checks that are out, and connections whose turn has not come. What a service is asked is apart,
/// so that whoever needs none does not wait for it.
pub(crate) struct Checks {
    out: Vec<(ConnId, Origin)>,
    places: Places<Origin>,
    waiting: Turns<Origin, ConnId>,
    /// With more of them those that are gone are dropped.
    waiting_max: usize,
}

/// Connections that wait for a check, which may be gone, before any is dropped.
const WAITING_MIN: usize = 1024;

impl Default for Checks {
    fn default() -> Checks {
        Checks {
            out: Vec::new(),
            places: Places::new(CHECKS_MAX),
            waiting: Turns::default(),
            waiting_max: WAITING_MIN,
        }
    }
}

const TOKEN: &str = "[REDACTED]";
const FAILED: &str = CloseReason::AuthenticationFailure.as_str();
const TOO_LATE: &str = "authorization callout response not received in time";

impl Client {
    #[inline]
    pub fn is_in(&self) -> bool {
        matches!(self.standing, Standing::In)
    }

    /// What its token says for people to read.
    pub fn papers(&self) -> Option<&Arc<Papers>> {
        match &self.identity.user.as_ref()?.proof {
            Proof::Token(token) => Some(&token.papers),
            _ => None,
        }
    }
}

impl Shard {
    /// What lets a connection do anything.
    #[inline]
    pub(crate) fn admitted(&mut self, conn: ConnId) -> Option<Admitted> {
        self.client(conn).filter(|client| client.is_in()).map(|_| Admitted(conn))
    }

    /// A connection is there: nobody is asked anything if everybody is let in.
    pub(crate) fn begin_login(&mut self, conn: ConnId) {
        let access = self.options.access.clone();
        let nonce = access.needs_nonce().then(|| self.nonce());
        let Some(client) = self.client(conn) else { return };
        if let Some(nonce) = nonce {
            client.identity.shown.get_or_insert_default().nonce = nonce;
        }
        if !access.required {
            client.standing = Standing::In;
        }
    }

    /// From now on its time to log in runs.
    pub(crate) fn expect_login(&mut self, conn: ConnId) {
        let at = self.now + self.options.access.auth_timeout_ns;
        let Some(client) = self.client(conn) else { return };
        if !client.is_in() {
            self.timers.set(at, Due::Login, conn);
        }
    }

    /// 11 bytes that cannot be foreseen, in 15 characters.
    fn nonce(&mut self) -> Box<str> {
        self.nonces += 1;
        let mut hash = Sha256::new();
        hash.update(self.options.nonce_key.expose());
        hash.update(self.id.0.to_le_bytes());
        hash.update(self.nonces.to_le_bytes());
        BASE64URL_NOPAD.encode(&hash.finalize()[..11]).into()
    }

    /// Is this connection late?
    pub(crate) fn login_due(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(client) = self.client(conn).filter(|client| !client.is_in()) else { return };
        let (until, asks_in) = match &client.standing {
            Standing::Checking(claimed) => (claimed.called_out_until, claimed.asks_in),
            _ => (0, None),
        };
        if until > self.now {
            return;
        }
        if until > 0 {
            // It has said who it is; who should know was too slow.
            self.note(conn, Event::TurnedAway(TOO_LATE.into()), out);
            self.tell_account_of_refused(conn, asks_in, "", out);
            return self.turn_away(conn, out);
        }
        self.note(conn, Event::Late, out);
        self.send_err(conn, error_text::AUTHENTICATION_TIMEOUT, out);
        self.close(conn, CloseReason::AuthenticationTimeout, out);
    }

    /// A client that has not said CONNECT begins with something else. False if it may not.
    pub(crate) fn let_in_silently(&mut self, conn: ConnId, out: &mut Effects) -> bool {
        let access = self.options.access.clone();
        if access.silent_user(ConnectionTypes::STANDARD).is_some() {
            let verdict = self.judge(conn, &Connect::default(), &Secrets::default());
            if let (Verdict::In(user), Some(client)) = (verdict, self.client(conn)) {
                client.connected = true;
                let is_in = self.enter(conn, user, out);
                if let Some(Standing::Checking(claimed)) =
                    self.client(conn).map(|client| &mut client.standing)
                {
                    claimed.is_silent = true;
                }
                return is_in;
            }
        }
        self.turn_away(conn, out);
        false
    }

    pub(crate) fn judge(&mut self, conn: ConnId, connect: &Connect, secrets: &Secrets) -> Verdict {
        let access = self.options.access.clone();
        let Some(client) = self.client(conn) else { return Verdict::Out("gone") };
        let identity = &client.identity;
        access.judge(&Presented {
            user: connect.user().unwrap_or_default(),
            pass: secrets.pass.as_deref().unwrap_or_default(),
            token: secrets.auth_token.as_deref().unwrap_or_default(),
            nkey: connect.nkey().unwrap_or_default(),
            signature: secrets.sig.as_deref().unwrap_or_default(),
            nonce: identity.nonce(),
            jwt: secrets.jwt.as_deref().unwrap_or_default(),
            address: client.addr.ip(),
            kind: ConnectionTypes::STANDARD,
            tls: identity.tls(),
            connect,
            cid: client.cid,
        })
    }

    /// The client has said CONNECT, and who it is: lets it in, turns it away, or has it wait.
    pub(crate) fn log_in(
        &mut self,
        conn: ConnId,
        connect: Connect,
        secrets: &Secrets,
        again: bool,
        out: &mut Effects,
    ) {
        let Some(client) = self.client(conn) else { return };
        let same = again
            && client.is_in()
            && *secrets == Secrets::default()
            && connect.user() == client.connect.user()
            && connect.nkey() == client.connect.nkey();
        let verdict = match same {
            // Secrets are not kept: what was shown before still holds.
            true => Verdict::In(client.identity.user.clone()),
            false => self.judge(conn, &connect, secrets),
        };
        let Some(client) = self.client(conn) else { return };
        if !same {
            client.standing = Standing::Greeting;
            let (name, label) = (name(&connect, secrets), label(&connect, secrets));
            client.identity.set_name(name.into(), label.into());
            client.identity.expires = 0;
        }
        client.connect = connect;
        match verdict {
            Verdict::In(user) if same => {
                self.come_in(conn, user);
                self.connected(conn, out);
            }
            Verdict::In(user) => {
                if self.enter(conn, user, out) {
                    self.connected(conn, out);
                }
            }
            Verdict::Check(check, user) => {
                if check.shown().is_some() || check.applicant().is_some() {
                    // It is given a seat with the answer.
                    self.stand_up(conn, out);
                }
                self.have_checked(conn, check, user, out);
            }
            Verdict::Out(why) => {
                self.note(conn, Event::TurnedAway(why.into()), out);
                self.tell_account_of_refused(conn, None, FAILED, out);
                self.turn_away(conn, out);
            }
        }
    }

    /// Gives out checks, as many as may be out at once.
    fn give_checks(&mut self, called_out: bool, out: &mut Effects) {
        while let Some((origin, conn)) = self.checks(called_out).next() {
            let Some(client) = self.client(conn) else { continue };
            let Standing::Checking(claimed) = &mut client.standing else { continue };
            let Some(check) = claimed.check.take() else { continue };
            self.checks(called_out).give(conn, origin);
            out.checks.push((conn, check));
        }
        if self.checks(called_out).are_many() {
            let mut checks = std::mem::take(self.checks(called_out));
            checks.prune(|conn| self.client(conn).is_some());
            *self.checks(called_out) = checks;
        }
    }

    fn checks(&mut self, called_out: bool) -> &mut Checks {
        match called_out {
            true => &mut self.callouts,
            false => &mut self.checks,
        }
    }

    /// A check has come back.
    pub(crate) fn checked(&mut self, conn: ConnId, outcome: Outcome, out: &mut Effects) {
        for called_out in [false, true] {
            self.checks(called_out).take_back(conn);
            self.give_checks(called_out, out);
        }
        if matches!(outcome, Outcome::Aside) {
            return;
        }
        let Some(claimed) = self.claimed(conn) else {
            // It did not wait for the answer.
            return free_seat(conn, &outcome, out);
        };
        let is_silent = claimed.is_silent;
        let is_in = match outcome {
            Outcome::Passed => self.enter(conn, claimed.user, out),
            Outcome::Seated(account) => {
                self.come_in(conn, claimed.user);
                self.sit(conn, account);
                true
            }
            Outcome::Admitted(admission) => {
                let account = admission.user.account;
                let expires = admission.expires_in_ns.map(|ns| self.now.saturating_add(ns));
                self.come_in(conn, Some(admission.user));
                if admission.is_seated {
                    self.sit(conn, account);
                }
                self.expire_at(conn, expires);
                true
            }
            Outcome::Full => return self.no_room(conn, out),
            Outcome::Aside => return,
            Outcome::Crowded => {
                self.figures.logins_crowded += 1;
                let why = "too many wait for accounts' tokens";
                self.note(conn, Event::TurnedAway(why.into()), out);
                self.tell_account_of_refused(conn, claimed.asks_in, FAILED, out);
                return self.turn_away(conn, out);
            }
            Outcome::Asks(applicant) => {
                let check = Box::new(Check::callout(*applicant));
                return self.have_checked(conn, check, None, out);
            }
            Outcome::Failed(why) => {
                let reason = if claimed.called_out_until > 0 { &why } else { FAILED };
                self.tell_account_of_refused(conn, claimed.asks_in, reason, out);
                self.note(conn, Event::TurnedAway(why), out);
                return self.turn_away(conn, out);
            }
        };
        if !is_in {
            return;
        }
        if !is_silent {
            self.connected(conn, out);
        }
        self.runnable.push_back(conn);
    }

    fn claimed(&mut self, conn: ConnId) -> Option<Box<Claimed>> {
        let client = self.client(conn)?;
        let Standing::Checking(claimed) = std::mem::take(&mut client.standing) else { return None };
        client.wait = Wait::Nothing;
        Some(claimed)
    }

    /// Somebody else has to look at something; until then the connection waits.
    fn have_checked(
        &mut self,
        conn: ConnId,
        mut check: Box<Check>,
        user: Option<Arc<User>>,
        out: &mut Effects,
    ) {
        let called_out = check.applicant().is_some();
        let bearer = check.applicant().and_then(|applicant| applicant.bearer.as_deref());
        let asks_in = bearer.map(|bearer| bearer.account);
        let mut called_out_until = 0;
        if called_out {
            called_out_until = self.now + self.options.access.auth_timeout_ns;
            self.timers.set(called_out_until, Due::Login, conn);
        }
        let now = self.now;
        let Some(client) = self.client(conn) else { return };
        let origin = Origin::of(client.addr.ip());
        check.comes_from(origin, now);
        let claimed =
            Claimed { user, check: Some(check), is_silent: false, called_out_until, asks_in };
        client.standing = Standing::Checking(Box::new(claimed));
        client.wait = Wait::Check;
        self.checks(called_out).waiting.push(origin, conn);
        self.give_checks(called_out, out);
    }

    /// The connection is this user, once there is room in the account. False if that is not known
    /// yet.
    fn enter(&mut self, conn: ConnId, user: Option<Arc<User>>, out: &mut Effects) -> bool {
        let account = user.as_ref().map_or(AccountId::GLOBAL, |user| user.account);
        let is_seated = self.client(conn).is_some_and(|it| it.identity.seat == Some(account));
        if !is_seated {
            self.stand_up(conn, out);
        }
        match self.connections_max(account) {
            Some(max) if !is_seated => {
                self.have_checked(conn, Box::new(Check::seat(account, max)), user, out);
                false
            }
            _ => {
                self.come_in(conn, user);
                true
            }
        }
    }

    pub(crate) fn connections_max(&self, account: AccountId) -> Option<u32> {
        self.options.access.account_at(account)?.limits.connections_max
    }

    /// It counts among the connections of an account.
    pub(crate) fn sit(&mut self, conn: ConnId, account: AccountId) {
        if let Some(client) = self.client(conn) {
            client.identity.seat = Some(account);
        }
    }

    /// It does no longer.
    pub(crate) fn stand_up(&mut self, conn: ConnId, out: &mut Effects) {
        if let Some(client) = self.client(conn)
            && let Some(account) = client.identity.seat.take()
        {
            out.seats.push(Seat::Left(account, conn));
        }
    }

    /// Its account may have fewer connections than there are.
    pub(crate) fn crowd_out(&mut self, conn: ConnId, out: &mut Effects) {
        if self.client(conn).is_some_and(|client| client.identity.seat.is_some()) {
            self.no_room(conn, out);
        }
    }

    fn no_room(&mut self, conn: ConnId, out: &mut Effects) {
        let text = error_text::MAXIMUM_ACCOUNT_CONNECTIONS;
        self.note(conn, Event::Fault(text.to_string()), out);
        self.send_err(conn, text, out);
        self.close(conn, CloseReason::MaximumAccountConnectionsExceeded, out);
    }

    fn expire_at(&mut self, conn: ConnId, expires: Option<Nanos>) {
        let Some(at) = expires else { return };
        if let Some(client) = self.client(conn) {
            client.identity.expires = at;
            self.timers.set(at, Due::Expiry, conn);
        }
    }

    /// Has the client's right to be here ended?
    pub(crate) fn expiry_due(&mut self, conn: ConnId, out: &mut Effects) {
        let now = self.now;
        let ends = |client: &Client| (1..=now).contains(&client.identity.expires);
        if self.client(conn).is_some_and(|client| client.is_in() && ends(client)) {
            let reason = CloseReason::AuthenticationExpired;
            self.end_with(conn, error_text::USER_AUTHENTICATION_EXPIRED, reason, out);
        }
    }

    /// Tells why, and closes.
    pub(crate) fn end_with(
        &mut self,
        conn: ConnId,
        text: &str,
        reason: CloseReason,
        out: &mut Effects,
    ) {
        self.send_err(conn, text, out);
        self.close(conn, reason, out);
    }

    /// The connection is this user from now on.
    pub(crate) fn come_in(&mut self, conn: ConnId, user: Option<Arc<User>>) {
        let Some(client) = self.client(conn) else { return };
        client.standing = Standing::In;
        let (before, has_subs) = (client.account, client.sids.len() > 0);
        client.account = user.as_ref().map_or(AccountId::GLOBAL, |user| user.account);
        client.last_plan = None;
        if let Some(tied) = &mut client.tied {
            tied.last = None;
        }
        let permissions = user.as_ref().and_then(|user| user.permissions.clone());
        client.guard = permissions.map(|permissions| Box::new(Guard::new(permissions)));
        // A service need not say what somebody is called.
        if let Some(user) = user.as_ref().filter(|user| !user.name.is_empty()) {
            let kind = match &user.proof {
                Proof::Token(token) if !token.is_by_service => "nkey",
                Proof::Nkey(_) => "nkey",
                _ => "user",
            };
            let label = format!("{kind}:{}", user.name);
            client.identity.set_name(user.name.clone(), label.into());
        }
        client.identity.user = user;
        self.ensure_accounts();
        if has_subs {
            // What it may see was decided where plans were made.
            self.accounts[before.0 as usize].forget_plans();
        }
    }

    /// The one answer to every kind of failure.
    pub(crate) fn turn_away(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(client) = self.client(conn) else { return };
        let connect = &client.connect;
        let who = match (connect.nkey(), connect.user(), client.identity.name()) {
            (Some(nkey), ..) => format!(" - Nkey {}", wire::quoted(nkey.as_bytes())),
            (None, Some(user), _) => format!(" - User {}", wire::quoted(user.as_bytes())),
            (None, None, TOKEN) => format!(" - Token \"{TOKEN}\""),
            _ => String::new(),
        };
        self.note(conn, Event::Fault(format!("{}{who}", Fault::Authorization)), out);
        self.tell_of_refused(conn, out);
        self.send_err(conn, error_text::AUTHORIZATION_VIOLATION, out);
        self.close(conn, CloseReason::AuthenticationFailure, out);
    }
}

/// Nobody sits where there was room for somebody who has gone.
fn free_seat(conn: ConnId, outcome: &Outcome, out: &mut Effects) {
    match outcome {
        Outcome::Seated(account) => out.seats.push(Seat::Left(*account, conn)),
        Outcome::Admitted(admission) if admission.is_seated => {
            out.seats.push(Seat::Left(admission.user.account, conn));
        }
        _ => {}
    }
}

impl Checks {
    /// Whose turn it is, if there is a place.
    fn next(&mut self) -> Option<(Origin, ConnId)> {
        // However many wait, whoever comes costs no look at all of them.
        if self.places.are_taken() {
            return None;
        }
        self.waiting.pop(|origin| self.places.may(origin))
    }

    fn give(&mut self, conn: ConnId, origin: Origin) {
        self.places.take(origin);
        self.out.push((conn, origin));
    }

    fn take_back(&mut self, conn: ConnId) {
        for (_, origin) in self.out.extract_if(.., |(it, _)| *it == conn) {
            self.places.leave(origin);
        }
    }

    /// Those that are gone may be the larger part.
    fn are_many(&self) -> bool {
        self.waiting.len() > self.waiting_max
    }

    /// Drops those that are gone.
    fn prune(&mut self, mut is_open: impl FnMut(ConnId) -> bool) {
        self.waiting.extract(|conn| !is_open(*conn));
        self.waiting_max = WAITING_MIN.max(2 * self.waiting.len());
    }
}

fn name(connect: &Connect, secrets: &Secrets) -> String {
    match (connect.nkey().or(connect.user()), &secrets.auth_token) {
        (Some(name), _) => name.to_owned(),
        (None, Some(_)) => TOKEN.to_string(),
        _ => String::new(),
    }
}

fn label(connect: &Connect, secrets: &Secrets) -> String {
    match (connect.nkey(), connect.user(), &secrets.auth_token) {
        (Some(nkey), ..) => format!("nkey:{nkey}"),
        (None, Some(user), _) => format!("user:{user}"),
        (None, None, Some(_)) => "token".to_string(),
        _ => String::new(),
    }
}
