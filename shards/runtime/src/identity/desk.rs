//! Who may come in, and as whom, where tokens are believed. Answers at once, or says which
//! account's token it needs first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use claims::{
    Denied, LocalTime, Presented, Shift, SigningKey, Trust, User as Claimant, UserLimits,
    decode_user,
};
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use shard::Nanos;
use shard::access::{
    Access, Admission, Applicant, Bearer, CALLOUT_SUBJECT, Outcome, Papers, Permissions, Proof,
    Secret, Shown, Token, User,
};
use shard::account::Limits;

use super::rights::{connection_types, limit, permissions};
use super::roll::{Held, Roll, fingerprint};
use super::seats::{Holder, Seats};
use super::{Believed, Place, Resolver, Words, claims_update};

/// An expired account is asked for again after that many seconds.
const ASK_AGAIN_S: i64 = 1;
/// Accounts that are fetched for one: those it imports from, and so on.
const GATHERED_MAX: usize = 256;
/// Accounts that are still to be fetched because others import from them.
const WANTED_MAX: usize = 1024;
pub(super) const SECOND_NS: Nanos = 1_000_000_000;

/// All that is known of operators, accounts and their users, and what shards have been told of it.
#[derive(Debug)]
pub struct Desk {
    words: Words,
    believed: Believed,
    resolver: Arc<Resolver>,
    pub roll: Roll,
    /// Accounts that others import from, and nobody has fetched yet.
    pub wanted: BTreeSet<String>,
    access: Arc<Access>,
    pub seats: Seats,
}

/// An account and its token, as they were fetched.
pub type Found = (claims::Account, String);

/// What becomes of somebody.
pub enum Answer {
    /// This.
    Is(Outcome),
    /// First the token of this account is needed.
    Needs(String),
}

impl Desk {
    /// Opens the place tokens are in, and takes in the system account's.
    ///
    /// # Errors
    /// One line, for the operator.
    pub fn open(words: Words, access: Arc<Access>) -> Result<Desk, String> {
        let believed = words.believed()?;
        let resolver = match words.is_empty() {
            true => Resolver::Memory(BTreeMap::new()),
            false => words.resolver(&believed.place)?,
        };
        let mut desk = Desk {
            words,
            believed,
            resolver: Arc::new(resolver),
            roll: Roll::default(),
            wanted: BTreeSet::new(),
            access,
            seats: Seats::default(),
        };
        desk.warn_of_preloaded();
        // Its token has to be there from the start.
        if let Some(key) = desk.words.system_account.as_ref().filter(|_| !desk.words.is_empty()) {
            let found = gather(&desk.resolver, &desk.believed.trust, key, &BTreeSet::new())
                .map_err(|why| format!("Can't set system account: {why}"))?;
            desk.take_in(found);
            desk.update();
        }
        Ok(desk)
    }

    fn warn_of_preloaded(&self) {
        for (key, token) in &self.words.preload {
            if let Err(why) = self.believed.trust.account(key, token, now_s()) {
                log::warn!("Account [{key}] has validation issues: {why}");
            }
        }
    }

    /// What shards are to go by.
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access)
    }

    /// Where tokens are.
    pub fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    /// Whom to believe.
    pub fn trust(&self) -> &Trust {
        &self.believed.trust
    }

    /// May the owner of this key have accounts' tokens deleted?
    pub fn may_delete(&self, key: &str) -> bool {
        self.believed.first_operator.contains(key)
    }

    /// The first operator's own key, if it must not sign accounts with it.
    pub fn idle_key(&self) -> Option<&str> {
        self.believed.idle_key.as_deref()
    }

    /// Is this the system account's key?
    pub fn is_system(&self, key: &str) -> bool {
        self.words.system_account.as_deref() == Some(key)
    }

    /// What is listened to in the system account.
    pub fn services(&self) -> Vec<String> {
        match self.words.is_empty() {
            true => Vec::new(),
            false => claims_update::services(&self.believed.place),
        }
    }

    /// Other words, and another access to start from, made from the one there is.
    ///
    /// # Errors
    /// One line: accounts have come in meanwhile that it does not know.
    pub fn reload(&mut self, words: Words, base: &Access) -> Result<Arc<Access>, String> {
        let (now, then) = (self.access.accounts(), base.accounts());
        if now.len() > then.len() || now.iter().zip(then).any(|(now, then)| now.name != then.name) {
            return Err("accounts have come in meanwhile; try again".to_string());
        }
        let believed = words.believed()?;
        if !words.is_empty() {
            self.resolver = Arc::new(words.resolver_again(&believed.place)?);
        }
        (self.words, self.believed) = (words, believed);
        // Elsewhere they may have changed since, and what was pushed counts.
        if self.believed.place == Place::Memory {
            self.go_by_preloaded();
        }
        let (pinned, system) = (&self.words.pinned, &self.words.system_account);
        let is_pinned = |key: &str| pinned.contains(key) || system.as_deref() == Some(key);
        self.roll.bar(|key| !pinned.is_empty() && !is_pinned(key));
        let mut access = self.roll.enter(base, &self.believed.trust, now_s());
        access.forget_ended();
        self.access = Arc::new(access);
        Ok(self.access())
    }

    /// Holds those of the accounts it held that the words have.
    fn go_by_preloaded(&mut self) {
        for key in self.roll.keys() {
            let Some(token) = self.words.preload.get(&key) else {
                self.roll.take(&key);
                continue;
            };
            match self.believed.trust.account(&key, token, now_s()) {
                Ok(account) => drop(self.roll.put(account, token.clone(), now_s())),
                Err(why) => {
                    log::warn!("Account [{key}] has validation issues: {why}");
                    self.roll.take(&key);
                }
            }
        }
    }

    /// An account that another imports from is to be fetched.
    pub fn want(&mut self, account: String) {
        match self.wanted.len() < WANTED_MAX {
            true => drop(self.wanted.insert(account)),
            false => log::warn!("Account [{account}] is not fetched: too many are wanted"),
        }
    }

    /// Holds what was fetched. Call [`Desk::update`] for it to take effect. False if it is nothing
    /// new.
    pub fn take_in(&mut self, found: Vec<Found>) -> bool {
        let mut any = false;
        for (account, token) in found {
            any |= self.roll.put(account, token, now_s());
        }
        any
    }

    /// Makes what is held take effect. The access to tell shards of, and whether that concerns
    /// those who are here.
    pub fn update(&mut self) -> (Arc<Access>, bool) {
        let access = self.roll.enter(&self.access, &self.believed.trust, now_s());
        let concerns = access.concerns_those_of(&self.access);
        self.access = Arc::new(access);
        (self.access(), concerns)
    }

    /// Who is it that shows this? `fresh`: its account was asked for just now.
    pub fn admit(&mut self, shown: &Shown, fresh: bool, holder: Holder) -> Answer {
        match self.judged(shown, fresh) {
            Ok(Judged::Comes(admission)) => Answer::Is(self.seat(admission, holder)),
            Ok(Judged::Asks(applicant)) => Answer::Is(Outcome::Asks(Box::new(applicant))),
            Err(Refusal::Needs(account)) => Answer::Needs(account),
            Err(Refusal::No(why)) => Answer::Is(Outcome::Failed(why.into())),
        }
    }

    fn judged(&self, shown: &Shown, fresh: bool) -> Result<Judged, Refusal> {
        let (claimant, text) = self.claimant(shown)?;
        let admission = self.judge(&claimant, shown, fresh)?;
        Ok(match self.bearer(&claimant, text, &admission) {
            Some(bearer) => {
                let bearer = Some(Arc::new(bearer));
                Judged::Asks(Applicant { bearer, ..shown.applicant.clone() })
            }
            None => Judged::Comes(admission),
        })
    }

    /// An account, if it is known and its time is not over; `fresh`: it was asked for just now.
    pub(super) fn hold(&self, key: &str, fresh: bool) -> Result<&Held, Refusal> {
        match self.roll.find(key) {
            Some(held) if !held.has_expired() || fresh => Ok(held),
            Some(held) if now_s() - held.fetched_s < ASK_AGAIN_S => Ok(held),
            None if fresh => Err(Refusal::No("Account JWT lookup error".to_string())),
            _ => Err(Refusal::Needs(key.to_string())),
        }
    }

    fn judge(&self, claimant: &Claimant, shown: &Shown, fresh: bool) -> Result<Admission, Refusal> {
        claimant.check(now_s()).map_err(Denied::User)?;
        let key = claimant.account();
        if !self.words.pinned.is_empty() && !self.is_pinned(key) {
            return Err(Refusal::No(format!(
                "Account {key} not listed as operator pinned account"
            )));
        }
        let held = self.hold(key, fresh)?;
        if held.has_expired() {
            return Err(Denied::AccountExpired.into());
        }
        let presented = Presented {
            nonce: shown.applicant.nonce.as_bytes(),
            signature: &shown.applicant.signature,
            address: Some(shown.applicant.address.to_canonical()),
            now_s: now_s(),
            local_time: &local_time,
        };
        let admitted = self.believed.trust.admit(claimant, &held.account, &presented)?;
        if admitted.limits.proxy_required {
            return Err(Refusal::No("proxy connection required".to_string()));
        }
        let kinds = connection_types(&admitted.limits.allowed_connection_types);
        let Some(kinds) = kinds.filter(|kinds| kinds.allows(shown.kind)) else {
            return Err(Refusal::No("Connection type not allowed".to_string()));
        };
        let Some(account) = self.access.find_account(key) else {
            return Err(Refusal::No("Account JWT lookup error".to_string()));
        };
        Ok(Admission {
            user: Arc::new(User {
                name: claimant.claims.subject.as_str().into(),
                proof: Proof::Token(token(claimant, shown.token.expose(), held, &admitted.limits)),
                account,
                permissions: allowed(held, &admitted.limits, held.account.external().is_enabled()),
                connection_types: kinds,
                limits: Limits {
                    subscriptions_max: limit(admitted.limits.subscriptions_max),
                    payload_max: limit(admitted.limits.payload_max),
                    connections_max: None,
                },
            }),
            expires_in_ns: admitted.expiry.map(|expiry| expiry.in_s.saturating_mul(SECOND_NS)),
            is_seated: false,
        })
    }

    fn is_pinned(&self, key: &str) -> bool {
        self.words.pinned.contains(key) || self.is_system(key)
    }

    /// Whose token it is; the sentinel's where none is shown.
    fn claimant(&self, shown: &Shown) -> Result<(Claimant, Secret), Refusal> {
        let fault = match decode_user(shown.token.expose()) {
            Ok(claimant) => return Ok((claimant, shown.token.clone())),
            Err(fault) => fault,
        };
        match &self.words.sentinel {
            Some(sentinel) => decode_user(sentinel)
                .map(|claimant| (claimant, Secret::new(sentinel.as_str())))
                .map_err(|fault| Denied::User(fault).into()),
            None if shown.token.is_empty() => {
                Err(Refusal::No("Authentication requires a user JWT".to_string()))
            }
            None => Err(Denied::User(fault).into()),
        }
    }

    /// Whom a service is asked about: users of an account that has one, but its own.
    fn bearer(&self, claimant: &Claimant, text: Secret, admission: &Admission) -> Option<Bearer> {
        let held = self.roll.find(claimant.account())?;
        let external = held.account.external();
        if !external.is_enabled() || external.auth_users.contains(&claimant.claims.subject) {
            return None;
        }
        let expires_in_s = admission.expires_in_ns.map(|ns| ns / SECOND_NS);
        Some(Bearer {
            account: admission.user.account,
            token: text,
            key: claimant.claims.subject.as_str().into(),
            papers: Arc::new(papers(claimant, "", true)),
            ends_s: expires_in_s.map(|in_s| now_s().saturating_add_unsigned(in_s)),
        })
    }

    /// Counts somebody among its account's connections, if that counts them.
    pub fn seat(&mut self, mut admission: Admission, holder: Holder) -> Outcome {
        let account = admission.user.account;
        let limits = self.access.account_at(account).map(|account| account.limits);
        if let Some(max) = limits.and_then(|limits| limits.connections_max) {
            if !self.seats.take(account, max, holder) {
                return Outcome::Full;
            }
            admission.is_seated = true;
        }
        Outcome::Admitted(Box::new(admission))
    }

    /// Those who have to go because their account may have fewer connections than it has.
    pub fn crowd_out(&mut self) -> Vec<Holder> {
        let access = &self.access;
        self.seats.crowd_out(|account| access.account_at(account)?.limits.connections_max)
    }
}

/// What becomes of somebody whose token is good.
enum Judged {
    /// Comes in.
    Comes(Admission),
    /// A service is asked.
    Asks(Applicant),
}

/// Why nobody is let in yet.
pub enum Refusal {
    /// First the token of this account is needed.
    Needs(String),
    /// For this reason.
    No(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Refusal {
        Refusal::No(why)
    }
}

/// What a user with these rights may do in an account. Nobody may ask the account's own service.
pub(super) fn allowed(
    held: &Held,
    limits: &UserLimits,
    is_of_service: bool,
) -> Option<Arc<Permissions>> {
    let own = match limits.default_permissions() {
        true => permissions(held.account.default_permissions()),
        false => permissions(&limits.permissions),
    };
    match is_of_service {
        true => Some(Arc::new(Permissions::all_but(own.as_deref(), CALLOUT_SUBJECT))),
        false => own,
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        Refusal::No(denied.to_string())
    }
}

pub(super) fn token(claimant: &Claimant, text: &str, held: &Held, limits: &UserLimits) -> Token {
    let issuer = &claimant.claims.issuer;
    let by_another = !claimant.issuer_account().is_empty();
    let signer = held.account.signing_keys().iter().rev().find(|known| known.key() == issuer);
    Token {
        signing_key: if by_another { issuer.as_str().into() } else { "".into() },
        role: signer.filter(|_| by_another).map(|known: &SigningKey| fingerprint(known)),
        issued_at_s: claimant.claims.issued_at_s,
        is_bearer: limits.bearer_token,
        // Those of an account with a service are the defaults without it.
        has_default_permissions: limits.default_permissions()
            && !held.account.external().is_enabled(),
        is_by_service: false,
        papers: Arc::new(papers(claimant, text, limits.bearer_token)),
    }
}

/// A bearer's token is not shown: whoever has it can use it.
fn papers(claimant: &Claimant, text: &str, is_bearer: bool) -> Papers {
    Papers {
        text: if is_bearer { "" } else { text }.into(),
        name: claimant.claims.name.as_str().into(),
        tags: claimant.tags().iter().map(|tag| tag.as_str().into()).collect(),
    }
}

/// The token of an account, and of all it imports from that are not `known`. May take long.
///
/// # Errors
/// One line: the account's own token can't be had, or is not to be believed.
pub fn gather(
    resolver: &Resolver,
    trust: &Trust,
    key: &str,
    known: &BTreeSet<String>,
) -> Result<Vec<Found>, String> {
    let mut wanted = vec![key.to_string()];
    let mut found: Vec<Found> = Vec::new();
    while let Some(next) = wanted.pop() {
        let there = |known: &str| found.iter().any(|(it, _)| it.claims.subject == known);
        let is_known = next != key && known.contains(&next);
        if is_known || there(&next) || found.len() >= GATHERED_MAX {
            continue;
        }
        let fetched = resolver.fetch(&next).and_then(|token| {
            let account = trust.account(&next, &token, now_s()).map_err(|why| why.to_string())?;
            Ok((account, token))
        });
        match fetched {
            Ok((account, token)) => {
                let exporters = account.imports().iter().map(|import| import.account.clone());
                wanted.extend(exporters);
                found.push((account, token));
            }
            Err(why) if next == key => return Err(why),
            Err(why) => log::debug!("Can't locate account [{next}] for an import: {why}"),
        }
    }
    Ok(found)
}

/// Now, seconds since 1970.
pub fn now_s() -> i64 {
    Timestamp::now().as_second()
}

pub(super) fn local_time(zone: &str) -> Option<LocalTime> {
    // Names are not exact for who looks them up, and one of them is for what is not known.
    let zone = match zone {
        "" | "Local" => TimeZone::system(),
        name => TimeZone::get(name)
            .ok()
            .filter(|it| it.iana_name() == Some(name) && !it.is_unknown())?,
    };
    Some(clock(Timestamp::now(), &zone))
}

/// What clocks show there and then, and when they are next put forward or back.
fn clock(now: Timestamp, zone: &TimeZone) -> LocalTime {
    let of_day = now.to_zoned(zone.clone()).time().duration_since(Time::midnight());
    let shift = zone.following(now).next().and_then(|next| {
        Some(Shift {
            in_s: u32::try_from(next.timestamp().duration_since(now).as_secs()).ok()?,
            by_s: next.offset().seconds() - zone.to_offset(now).seconds(),
        })
    });
    LocalTime { of_day_s: u32::try_from(of_day.as_secs()).unwrap_or(0), shift }
}

#[cfg(test)]
mod tests {
    use claims::decode_account;
    use shard::report::Request;

    use super::*;
    use crate::identity::tests::{token, words};
    use crate::identity::{Deletion, FETCH_TIMEOUT, Url};

    fn key() -> String {
        decode_account(&token("account")).expect("a token").claims.subject
    }

    fn preloaded(name: &str) -> Words {
        Words { preload: BTreeMap::from([(key(), token(name))]), ..words() }
    }

    /// One that holds this token.
    fn desk(words: Words, name: &str) -> Desk {
        let mut desk = Desk::open(words, Arc::default()).expect("all goes together");
        desk.take_in(vec![(decode_account(&token(name)).expect("a token"), token(name))]);
        desk.update();
        desk
    }

    fn push(desk: &mut Desk, name: &str) -> Vec<monitor::ClaimsAnswer> {
        let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", key()).into_bytes();
        let payload = token(name).into_bytes();
        desk.hear(&Request { subject, reply: Vec::new(), header: Vec::new(), payload })
    }

    fn held(desk: &Desk) -> Option<&str> {
        desk.roll.find(&key()).map(|held| held.token())
    }

    #[test]
    fn clocks_and_when_they_are_put_forward() {
        let zone = TimeZone::get("Europe/Berlin").expect("it is there");
        let at = |text: &str| clock(text.parse().expect("a time"), &zone);
        let night = at("2025-03-30T00:30:00Z");
        let shift = Some(Shift { in_s: 1800, by_s: 3600 });
        assert_eq!(night, LocalTime { of_day_s: 5400, shift });
        let autumn = at("2025-10-26T00:59:59Z");
        let shift = Some(Shift { in_s: 1, by_s: -3600 });
        assert_eq!(autumn, LocalTime { of_day_s: 3 * 3600 - 1, shift });
        assert_eq!(clock(Timestamp::UNIX_EPOCH, &TimeZone::UTC), LocalTime::of_day(0));
    }

    #[test]
    fn a_reload_starts_from_the_accounts_there_are() {
        let mut desk = desk(preloaded("account"), "account");
        let number = desk.access().find_account(&key()).expect("it is known");
        let early = Access::default();
        let mut other = Access::default();
        other.account("X");
        assert_eq!(other.accounts().len(), desk.access().accounts().len());
        for base in [early, other] {
            let refused = desk.reload(preloaded("account"), &base);
            assert!(refused.is_err_and(|why| why.contains("meanwhile")));
            assert_eq!(desk.access().find_account(&key()), Some(number), "all is as it was");
        }
        let base = Access::after(&desk.access());
        let access = desk.reload(preloaded("account"), &base).expect("it knows all");
        assert_eq!(access.find_account(&key()), Some(number));
    }

    #[test]
    fn tokens_in_memory_are_those_of_the_file_that_was_read_last() {
        let mut desk = desk(preloaded("account"), "account");
        let mut reload = |words| {
            let base = Access::after(&desk.access());
            let access = desk.reload(words, &base).expect("it knows all");
            (held(&desk).map(str::to_string), access.find_account(&key()).is_some())
        };
        let other = token("account_no_bearer");
        assert_eq!(reload(preloaded("account_no_bearer")), (Some(other), true));
        assert_eq!(reload(preloaded("account_by_stranger")), (None, false));
        assert_eq!(reload(preloaded("account")), (None, false), "nobody has asked for it");
        desk.take_in(vec![(decode_account(&token("account")).expect("one"), token("account"))]);
        let base = Access::after(&desk.access());
        let access = desk.reload(words(), &base).expect("it knows all");
        assert_eq!((held(&desk), access.find_account(&key())), (None, None), "it is gone");
    }

    #[test]
    fn a_token_that_was_pushed_into_a_directory_outlives_a_reload() {
        let path = std::env::temp_dir().join(format!("ringbus-pushed-{}", std::process::id()));
        let place =
            Place::Directory { path: path.clone(), tokens_max: 0, deletion: Deletion::Refused };
        let words = Words { place: Some(place), ..preloaded("account") };
        let mut desk = desk(words.clone(), "account");
        assert!(matches!(
            push(&mut desk, "account_no_bearer")[..],
            [monitor::ClaimsAnswer::Done { .. }]
        ));
        let base = Access::after(&desk.access());
        desk.reload(words, &base).expect("it knows all");
        assert_eq!(held(&desk), Some(token("account_no_bearer").as_str()));
        assert_eq!(desk.resolver().fetch(&key()), Ok(token("account_no_bearer")));
        std::fs::remove_dir_all(path).expect("ours");
    }

    /// Nobody is kept waiting for a network: nothing listens there.
    #[test]
    fn accounts_that_a_pushed_token_imports_from_are_wanted() {
        let mut desk = desk(preloaded("account"), "account_no_bearer");
        desk.resolver = Arc::new(Resolver::Url(Url::new("http://127.0.0.1:1", FETCH_TIMEOUT)));
        push(&mut desk, "account");
        assert_eq!(held(&desk), Some(token("account").as_str()));
        let held = desk.roll.find(&key()).expect("it is held");
        let exporters = held.account.imports().iter().map(|import| import.account.clone());
        assert_eq!(desk.wanted, exporters.collect());
        assert_eq!(desk.wanted.len(), 1);
    }
}
