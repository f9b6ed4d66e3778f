//! Access has changed: does everybody still belong, may every subscription stay? A budget a turn.

use std::sync::Arc;

use wire::{CloseReason, Connect, Secrets, error_text};

use super::guard::Watch;
use super::login::Standing;
use crate::access::{Access, Proof, Token, User, Verdict, Void};
use crate::account;
use crate::effect::{Effects, Seat};
use crate::ids::{AccountId, ConnId};
use crate::interest::Account;
use crate::limits::RECHECKED_PER_TURN;
use crate::report::Event;
use crate::shard::Shard;
use crate::sid::SubId;

/// Where a round over all connections stands.
pub(crate) struct Recheck {
    slot: usize,
    /// What was before.
    before: Arc<Access>,
    /// Of the connection in that slot, those still to be looked at.
    subs: Vec<SubId>,
}

/// What becomes of a connection.
enum Fate {
    Stays,
    /// Its user has gone, or belongs elsewhere: it may come again.
    Moved,
    /// What it has shown is no longer enough.
    TurnedAway,
    /// Its right to be here has ended.
    Ended(&'static str, CloseReason),
    /// So has that of the key its token was signed with.
    Unsigned,
}

impl Shard {
    /// Another access from now on.
    pub(crate) fn change_access(&mut self, access: Arc<Access>, out: &mut Effects) {
        // Whoever came in before is measured by the access that follows, not by a later one.
        while self.recheck.is_some() {
            self.recheck(usize::MAX, out);
        }
        self.info.auth_required = access.asks();
        let like = self.like();
        account::fit(&mut self.accounts, &access, &self.options.access, &like);
        let before = std::mem::replace(&mut self.options.access, access);
        self.recheck = Some(Recheck { slot: 0, before, subs: Vec::new() });
    }

    /// More accounts; nobody who is here is concerned.
    pub(crate) fn grow_access(&mut self, access: Arc<Access>) {
        let like = self.like();
        account::grow(&mut self.accounts, &access, &self.options.access, like);
        self.options.access = access;
    }

    fn like(&self) -> account::Like {
        let unannounced = self.unannounced.clone();
        account::Like { seed: self.seed, match_cache: self.options.match_cache, unannounced }
    }

    /// Tables for all accounts there are.
    pub(crate) fn ensure_accounts(&mut self) {
        if self.accounts.len() < self.options.access.accounts().len() {
            let access = self.options.access.clone();
            let like = self.like();
            account::fit(&mut self.accounts, &access, &access, &like);
        }
    }

    /// As [`Shard::ensure_accounts`], for a peer that has heard of an account first.
    #[cold]
    pub(crate) fn ensure_account(&mut self, account: AccountId) {
        let like = self.like();
        while self.accounts.len() <= account.0 as usize {
            let id = AccountId(self.accounts.len() as u32);
            self.accounts.push(Account::new(id, &like));
        }
    }

    /// Goes on with the round.
    pub(crate) fn go_on_rechecking(&mut self, out: &mut Effects) {
        if !out.any_congests() {
            self.recheck(RECHECKED_PER_TURN, out);
        }
    }

    fn recheck(&mut self, mut budget: usize, out: &mut Effects) {
        while budget > 0 {
            budget -= 1;
            let Some(round) = &mut self.recheck else { return };
            if let Some(sub) = round.subs.pop() {
                let slot = round.slot - 1;
                self.recheck_subscription(slot, sub, out);
                continue;
            }
            let slot = round.slot;
            round.slot += 1;
            if slot >= self.clients.len() {
                self.recheck = None;
                return;
            }
            if let Some(client) = &self.clients[slot] {
                let conn = client.conn;
                self.recheck_connection(conn, out);
            }
        }
    }

    fn recheck_connection(&mut self, conn: ConnId, out: &mut Effects) {
        match self.fate(conn) {
            Fate::Stays => {}
            Fate::Moved => return self.close(conn, CloseReason::ClientClosed, out),
            Fate::TurnedAway => return self.turn_away(conn, out),
            Fate::Ended(text, reason) => return self.end_with(conn, text, reason, out),
            Fate::Unsigned => return self.close(conn, CloseReason::AuthenticationFailure, out),
        }
        if self.has_too_many_subscriptions(conn) {
            let (text, reason) =
                (error_text::MAXIMUM_SUBSCRIPTIONS, CloseReason::MaximumSubscriptionsExceeded);
            return self.end_with(conn, text, reason, out);
        }
        self.count_late(conn, out);
        let Some(client) = self.client(conn) else { return };
        let subs = client.sids.in_order();
        if let Some(round) = &mut self.recheck {
            round.subs = subs;
        }
    }

    /// Decides about a connection, and makes it who it is now.
    fn fate(&mut self, conn: ConnId) -> Fate {
        let access = self.options.access.clone();
        let Some(client) = self.client(conn) else { return Fate::Stays };
        if !matches!(client.standing, Standing::In) {
            // It is measured by what it shows next; what is being looked at is out of date, unless
            // by those who made the new access.
            let stays = matches!(client.standing, Standing::Greeting)
                || access.believes_tokens()
                || access.callout.is_some();
            return if stays { Fate::Stays } else { Fate::TurnedAway };
        }
        let (before, account) = (client.identity.user.clone(), client.account);
        let nobody = client.identity.name().is_empty();
        if let Some(before) = before {
            match &before.proof {
                Proof::Token(token) => return self.fate_of_token(conn, &before, token),
                // It can't be asked about again without what was shown.
                Proof::Service => {
                    let known = access.account_at(account).is_some_and(|known| !known.is_gone);
                    let stays = known && access.callout.is_some();
                    return if stays { Fate::Stays } else { Fate::TurnedAway };
                }
                _ => {}
            }
            let Some(now) = access.same_user(&before) else { return Fate::Moved };
            if now.account != account {
                return Fate::Moved;
            }
            if !access.still_believes(&before, &now) {
                return Fate::TurnedAway;
            }
            let changed = before.permissions != now.permissions;
            let client = self.client(conn).map(|client| &mut client.identity.user);
            match client {
                Some(user) if !changed => *user = Some(now),
                _ => self.come_in(conn, Some(now)),
            }
            return Fate::Stays;
        }
        if !access.required {
            return Fate::Stays;
        }
        if !nobody {
            let still = access.still_believes_single(client.identity.name());
            return if still { Fate::Stays } else { Fate::TurnedAway };
        }
        match self.judge(conn, &Connect::default(), &Secrets::default()) {
            Verdict::In(user) if user.as_ref().is_none_or(|user| user.account == account) => {
                self.come_in(conn, user);
                Fate::Stays
            }
            Verdict::In(_) => Fate::Moved,
            _ => Fate::TurnedAway,
        }
    }

    /// As [`Shard::fate`], of a user whose token was believed.
    fn fate_of_token(&mut self, conn: ConnId, user: &Arc<User>, token: &Token) -> Fate {
        let expired = Fate::Ended(
            error_text::ACCOUNT_AUTHENTICATION_EXPIRED,
            CloseReason::AuthenticationExpired,
        );
        let access = self.options.access.clone();
        let Some(account) = access.account_at(user.account) else { return expired };
        let Some(terms) = &account.terms else { return Fate::TurnedAway };
        if account.is_gone {
            return expired;
        }
        match terms.voids(&user.name, token) {
            Some(Void::Expired) => return expired,
            Some(Void::Violation) => return Fate::TurnedAway,
            Some(Void::Revoked) => {
                let text = error_text::USER_AUTHENTICATION_REVOKED;
                return Fate::Ended(text, CloseReason::CredentialsRevoked);
            }
            None if terms.role_of(token) != token.role => return Fate::Unsigned,
            None => {}
        }
        if token.has_default_permissions && user.permissions != terms.default_permissions {
            let permissions = terms.default_permissions.clone();
            self.come_in(conn, Some(Arc::new(User { permissions, ..(**user).clone() })));
        }
        Fate::Stays
    }

    /// The token of its account allows another number from now on. As in nats-server, it may not
    /// have just as many.
    fn has_too_many_subscriptions(&mut self, conn: ConnId) -> bool {
        let Some(client) = self.client(conn) else { return false };
        let (account, count) = (client.account, client.sids.len() as u64);
        let max = |access: &Access| access.account_at(account)?.limits.subscriptions_max;
        let now = &self.options.access;
        let has_token = now.account_at(account).is_some_and(|it| it.terms.is_some());
        let same = self.recheck.as_ref().is_none_or(|round| max(&round.before) == max(now));
        let too_many = |max: u32| count >= u64::from(max);
        has_token && !same && self.subscriptions_max(conn).is_some_and(too_many)
    }

    /// Its account counts connections by now.
    fn count_late(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(client) = self.client(conn) else { return };
        let (account, cid) = (client.account, client.cid);
        if client.is_in()
            && client.identity.seat.is_none()
            && self.connections_max(account).is_some()
        {
            self.sit(conn, account);
            out.seats.push(Seat::Taken(account, conn, cid));
        }
    }

    /// May it stay, and must what it gets be looked at?
    fn recheck_subscription(&mut self, slot: usize, sub: SubId, out: &mut Effects) {
        let Some(conn) = self.clients[slot].as_ref().map(|client| client.conn) else { return };
        let Some(subscription) = self.subs.find(sub, conn) else { return };
        // What a client has given up is soon out of the tables; a shadow may have got its place.
        let given_up = self.outbound.peek(conn).is_none_or(|receiver| !receiver.takes());
        if subscription.leaving || subscription.import().is_some() || given_up {
            return;
        }
        let (account, pattern) = (subscription.account.0 as usize, subscription.pattern);
        let was = Watch { guarded: subscription.guarded, filtered: subscription.filtered };
        let queue = subscription.queue().cloned();
        let sid = subscription.sid.clone();
        let subject = self.accounts[account].pattern(pattern).to_vec();
        let Some(client) = self.client(conn) else { return };
        let queue = queue.as_deref();
        let guard = client.guard.as_ref();
        if guard.is_some_and(|guard| !guard.permissions.may_subscribe(&subject, queue)) {
            let who = client.described_user();
            self.forget_sid(conn, sid.as_bytes());
            self.settle_for(conn, out);
            self.drop_or_leave(sub, out);
            let text = error_text::permissions_violation_removed(&subject, queue, sid.as_bytes());
            self.send_err(conn, &text, out);
            let what = text.trim_start_matches("Permissions Violation for Subscription to ");
            return self.note(conn, Event::Removed(format!("{what} for {who}")), out);
        }
        self.settle_for(conn, out);
        self.recast_shadows(sub, out);
        let Some(client) = self.client(conn) else { return };
        let guard = client.guard.as_ref();
        let watch = guard.map(|guard| guard.watch(&subject, queue)).unwrap_or_default();
        // Of a filtered one, lists that are kept say whether its replies are noted.
        if watch != was || watch.filtered {
            self.settle_for(conn, out);
            self.accounts[account].guard(sub, watch, &mut self.subs);
            self.guard_shadows(sub, watch);
        }
    }
}
