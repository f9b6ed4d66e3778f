//! How a connection becomes somebody. Until then nothing but CONNECT is listened to.
//!
//! What a client may do takes an [`Admitted`], and only this file makes one.

use std::collections::VecDeque;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use wire::{CloseReason, Connect, Fault, error_text};

use super::client::{Client, Wait};
use super::guard::Guard;
use crate::access::{Check, ConnectionTypes, Presented, Proof, User, Verdict};
use crate::effect::Effects;
use crate::ids::{AccountId, ConnId};
use crate::limits::CHECKS_MAX;
use crate::report::Event;
use crate::security::TlsFacts;
use crate::shard::Shard;
use crate::timers::Due;

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
    Checking(Claimed),
    /// It is who it says it is.
    In,
}

/// Who a connection says it is.
#[derive(Debug)]
pub(crate) struct Claimed {
    user: Option<Arc<User>>,
    /// To be looked at; none once it has been given out.
    check: Option<Box<Check>>,
}

/// Who a connection is, and what it has shown of itself apart from secrets.
#[derive(Default)]
pub(crate) struct Identity {
    pub user: Option<Arc<User>>,
    /// As connz shows it: the nkey, the user's name, or that there was a token.
    pub name: Box<str>,
    /// `user:alice`, as log lines show it.
    pub label: Box<str>,
    /// What it was asked to sign.
    pub nonce: Box<str>,
    pub tls: Option<Arc<TlsFacts>>,
}

/// Checks that are out, and connections whose turn has not come.
#[derive(Default)]
pub(crate) struct Checks {
    out: usize,
    waiting: VecDeque<ConnId>,
}

const TOKEN: &str = "[REDACTED]";

impl Client {
    #[inline]
    pub fn is_in(&self) -> bool {
        matches!(self.standing, Standing::In)
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
        client.identity.nonce = nonce.unwrap_or_default();
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
        if self.client(conn).is_none_or(|client| client.is_in()) {
            return;
        }
        self.note(conn, Event::Late, out);
        self.send_err(conn, error_text::AUTHENTICATION_TIMEOUT, out);
        self.close(conn, CloseReason::AuthenticationTimeout, out);
    }

    /// A client that has not said CONNECT begins with something else. False if it may not.
    pub(crate) fn let_in_silently(&mut self, conn: ConnId, out: &mut Effects) -> bool {
        let access = self.options.access.clone();
        if access.silent_user(ConnectionTypes::STANDARD).is_some() {
            let verdict = self.judge(conn, &Connect::default());
            if let (Verdict::In(user), Some(client)) = (verdict, self.client(conn)) {
                client.connected = true;
                self.come_in(conn, user);
                return true;
            }
        }
        self.turn_away(conn, out);
        false
    }

    pub(crate) fn judge(&mut self, conn: ConnId, connect: &Connect) -> Verdict {
        let access = self.options.access.clone();
        let Some(client) = self.client(conn) else { return Verdict::Out("gone") };
        let identity = &client.identity;
        let text = |text: &'_ Option<String>| text.clone().unwrap_or_default();
        let (user, pass) = (text(&connect.user), text(&connect.pass));
        let (token, nkey) = (text(&connect.auth_token), text(&connect.nkey));
        access.judge(&Presented {
            user: &user,
            pass: &pass,
            token: &token,
            nkey: &nkey,
            signature: connect.sig.as_deref().unwrap_or_default(),
            nonce: &identity.nonce,
            kind: ConnectionTypes::STANDARD,
            tls: identity.tls.as_deref(),
        })
    }

    /// The client has said CONNECT, and who it is: lets it in, turns it away, or has it wait.
    pub(crate) fn log_in(
        &mut self,
        conn: ConnId,
        connect: Connect,
        again: bool,
        out: &mut Effects,
    ) {
        let Some(client) = self.client(conn) else { return };
        let secrets = [&connect.pass, &connect.auth_token, &connect.sig];
        let same = again
            && client.is_in()
            && secrets.iter().all(|secret| secret.is_none())
            && connect.user == client.connect.user
            && connect.nkey == client.connect.nkey;
        let verdict = match same {
            // Secrets are not kept: what was shown before still holds.
            true => Verdict::In(client.identity.user.clone()),
            false => self.judge(conn, &connect),
        };
        let Some(client) = self.client(conn) else { return };
        if !same {
            client.standing = Standing::Greeting;
            client.identity.name = name(&connect).into();
            client.identity.label = label(&connect).into();
        }
        *client.connect = connect.without_secrets();
        match verdict {
            Verdict::In(user) => {
                self.come_in(conn, user);
                self.connected(conn, out);
            }
            Verdict::Check(check, user) => {
                client.standing = Standing::Checking(Claimed { user, check: Some(check) });
                client.wait = Wait::Check;
                self.checks.wait(conn);
                self.give_checks(out);
            }
            Verdict::Out(why) => {
                self.note(conn, Event::TurnedAway(why), out);
                self.turn_away(conn, out);
            }
        }
    }

    /// Gives out checks, as many as may be out at once.
    fn give_checks(&mut self, out: &mut Effects) {
        while self.checks.out < CHECKS_MAX
            && let Some(conn) = self.checks.waiting.pop_front()
        {
            let Some(client) = self.client(conn) else { continue };
            let Standing::Checking(claimed) = &mut client.standing else { continue };
            let Some(check) = claimed.check.take() else { continue };
            self.checks.out += 1;
            out.checks.push((conn, check));
        }
        let clients = &self.clients;
        self.checks
            .prune(|conn| clients[conn.index()].as_ref().is_some_and(|client| client.conn == conn));
    }

    /// A check has come back.
    pub(crate) fn checked(&mut self, conn: ConnId, passed: bool, out: &mut Effects) {
        self.checks.out = self.checks.out.saturating_sub(1);
        self.give_checks(out);
        let Some(client) = self.client(conn) else { return };
        let Standing::Checking(claimed) = std::mem::take(&mut client.standing) else { return };
        client.wait = Wait::Nothing;
        if !passed {
            self.note(conn, Event::TurnedAway("wrong password, token or signature"), out);
            return self.turn_away(conn, out);
        }
        self.come_in(conn, claimed.user);
        self.connected(conn, out);
        self.runnable.push_back(conn);
    }

    /// The connection is this user from now on.
    pub(crate) fn come_in(&mut self, conn: ConnId, user: Option<Arc<User>>) {
        let Some(client) = self.client(conn) else { return };
        client.standing = Standing::In;
        client.account = user.as_ref().map_or(AccountId::GLOBAL, |user| user.account);
        client.last_plan = None;
        let permissions = user.as_ref().and_then(|user| user.permissions.clone());
        client.guard = permissions.map(|permissions| Box::new(Guard::new(permissions)));
        if let Some(user) = &user {
            client.identity.name = user.name.clone();
            client.identity.label = match user.proof {
                Proof::Password(_) => format!("user:{}", user.name).into(),
                Proof::Nkey(_) => format!("nkey:{}", user.name).into(),
            };
        }
        client.identity.user = user;
        self.ensure_accounts();
    }

    /// The one answer to every kind of failure.
    pub(crate) fn turn_away(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(client) = self.client(conn) else { return };
        let connect = &client.connect;
        let who = match (&connect.nkey, &connect.user, &*client.identity.name) {
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

impl Checks {
    fn wait(&mut self, conn: ConnId) {
        self.waiting.push_back(conn);
    }

    /// Drops those that are gone, when they may be the larger part.
    fn prune(&mut self, is_open: impl Fn(ConnId) -> bool) {
        if self.waiting.len() > 1024 && self.waiting.len() == self.waiting.capacity() {
            self.waiting.retain(|conn| is_open(*conn));
            self.waiting.shrink_to(2 * self.waiting.len());
        }
    }
}

fn name(connect: &Connect) -> String {
    let named = connect.nkey.as_ref().or(connect.user.as_ref());
    match (named, &connect.auth_token) {
        (Some(name), _) => name.clone(),
        (None, Some(_)) => TOKEN.to_string(),
        _ => String::new(),
    }
}

fn label(connect: &Connect) -> String {
    match (&connect.nkey, &connect.user, &connect.auth_token) {
        (Some(nkey), ..) => format!("nkey:{nkey}"),
        (None, Some(user), _) => format!("user:{user}"),
        (None, None, Some(_)) => "token".to_string(),
        _ => String::new(),
    }
}
