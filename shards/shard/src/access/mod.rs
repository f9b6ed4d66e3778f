//! Who may come in, where they belong and what they may do: plain data, made by the operator's
//! words, shared by all shards and never changed in place.
//!
//! A shard is given another [`Access`] as a whole ([`crate::report::Ask::Access`]). Accounts keep
//! their numbers from one to the next, so frames under way keep their meaning.

mod callout;
mod check;
mod dn;
mod judge;
mod permissions;
mod secret;
mod token;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::account::{Limits, Ties, standing};
use crate::ids::{AccountId, Nanos};
use crate::limits::SECONDS;

pub use callout::{Applicant, Bearer, CALLOUT_SUBJECT, Callout};
pub use check::Check;
pub use dn::{DistinguishedName, Part};
pub(crate) use judge::{Presented, Verdict};
pub use permissions::{Permissions, Responses, Rule, RuleSet, Rules};
pub use secret::Secret;
pub(crate) use token::Void;
pub use token::{AccountPapers, Admission, Outcome, Papers, Shown, Terms, Token};

/// How long a client may take to authenticate, unless the operator says otherwise.
pub const AUTH_TIMEOUT: Nanos = 2 * SECONDS;

/// Name of the system account unless another account is given that part.
pub const SYSTEM_NAME: &str = "$SYS";

/// Everything an operator decides about access.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// By [`AccountId`]; the first is the global one.
    accounts: Vec<Arc<Account>>,
    /// The account whose users see the server itself; none if there shall be none.
    pub system: Option<AccountId>,
    users: Vec<Arc<User>>,
    by_name: HashMap<Box<str>, usize, FixedState>,
    by_key: HashMap<Box<str>, usize, FixedState>,
    /// A client must say who it is.
    pub required: bool,
    /// Whoever knows it is let in, to the global account.
    pub token: Option<Secret>,
    /// The one user where no list of users is given; belongs to the global account.
    pub single: Option<(Box<str>, Secret)>,
    /// Who a client is that says nothing of itself.
    no_auth_user: Option<Arc<User>>,
    /// Clients show users' tokens, and nothing else counts.
    believes_tokens: bool,
    /// A service that lets in whom it will.
    pub callout: Option<Arc<Callout>>,
    /// INFO does not ask for credentials, because a client without is let in.
    pub is_open: bool,
    /// A client is the user that its certificate names.
    pub maps_certificates: bool,
    /// How long a client may take to authenticate.
    pub auth_timeout_ns: Nanos,
    /// Users whose earlier secret still holds.
    believed: HashSet<Box<str>, FixedState>,
    believes_single: bool,
}

/// An account: subjects of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// As configured.
    pub name: Box<str>,
    /// No longer configured: nobody is let in, its number is not used again.
    pub is_gone: bool,
    /// What it has agreed with others.
    pub ties: Ties,
    /// What it may use.
    pub limits: Limits,
    /// What its token says about its users, if it has one.
    pub terms: Option<Arc<Terms>>,
}

/// Somebody who may come in.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Its name, or its public nkey.
    pub name: Box<str>,
    /// What it must show.
    pub proof: Proof,
    /// Where it belongs.
    pub account: AccountId,
    /// What it may do; none is everything.
    pub permissions: Option<Arc<Permissions>>,
    /// How it may connect.
    pub connection_types: ConnectionTypes,
    /// What it may use, besides what its account may.
    pub limits: Limits,
}

/// What a user must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A password; the user is known by name.
    Password(Secret),
    /// A signature of the nonce by the key that is the user's name.
    Nkey([u8; 32]),
    /// Whatever a service wants to see: it has let this user in, and may have left out the name.
    Service,
    /// A token that speaks for the nkey that is the user's name. It is looked at elsewhere.
    Token(Token),
}

impl Proof {
    /// What the holder of a public nkey, `U…`, must show; none if it is no key.
    pub fn nkey(text: &str) -> Option<Proof> {
        let bytes = data_encoding::BASE32_NOPAD.decode(text.as_bytes()).ok()?;
        // A prefix of one byte, the key, and two bytes of checksum.
        let key: [u8; 32] = bytes.get(1..33)?.try_into().ok()?;
        (bytes.len() == 35).then_some(Proof::Nkey(key))
    }
}

/// Kinds of connection, as `allowed_connection_types` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionTypes(u8);

impl ConnectionTypes {
    /// All kinds.
    pub const ANY: ConnectionTypes = ConnectionTypes(u8::MAX);
    /// None yet: add to it.
    pub const NONE: ConnectionTypes = ConnectionTypes(0);
    /// A client over TCP or TLS.
    pub const STANDARD: ConnectionTypes = ConnectionTypes(1);
    const NAMES: [&'static str; 7] =
        ["STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS"];

    /// The kind of this name, in whatever case.
    pub fn named(name: &str) -> Option<ConnectionTypes> {
        let at = Self::NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        Some(ConnectionTypes(1 << at))
    }

    /// Both sets.
    #[must_use]
    pub fn with(self, other: ConnectionTypes) -> ConnectionTypes {
        ConnectionTypes(self.0 | other.0)
    }

    /// Is some kind in both?
    pub fn allows(self, kind: ConnectionTypes) -> bool {
        self.0 & kind.0 != 0
    }
}

impl Default for Access {
    /// Everybody is let in.
    fn default() -> Access {
        let mut access = Access {
            accounts: Vec::new(),
            system: None,
            users: Vec::new(),
            by_name: HashMap::default(),
            by_key: HashMap::default(),
            required: false,
            token: None,
            believes_tokens: false,
            callout: None,
            single: None,
            no_auth_user: None,
            is_open: false,
            maps_certificates: false,
            auth_timeout_ns: AUTH_TIMEOUT,
            believed: HashSet::default(),
            believes_single: false,
        };
        access.account(AccountId::GLOBAL_NAME);
        access
    }
}

impl Access {
    /// A new one in place of `old`: everybody is let in until told otherwise, and accounts that
    /// `old` knows have the numbers they had.
    pub fn after(old: &Access) -> Access {
        let gone =
            |account: &Arc<Account>| Arc::new(Account { is_gone: true, ..(**account).clone() });
        let mut access =
            Access { accounts: old.accounts.iter().map(gone).collect(), ..Access::default() };
        access.account(AccountId::GLOBAL_NAME);
        access
    }

    /// The number of the account of this name, made if need be.
    pub fn account(&mut self, name: &str) -> AccountId {
        let known = self.accounts.iter().position(|account| *account.name == *name);
        let at = known.unwrap_or(self.accounts.len());
        if known.is_none() {
            self.accounts.push(Arc::default());
        }
        if known.is_none() || self.accounts[at].is_gone {
            let account = Account { name: name.into(), ..Account::default() };
            self.accounts[at] = Arc::new(account);
        }
        AccountId(at as u32)
    }

    /// What an account has agreed with others, and what it may use.
    pub fn bind(&mut self, account: AccountId, ties: Ties, limits: Limits) {
        if let Some(bound) = self.accounts.get_mut(account.0 as usize) {
            *bound = Arc::new(Account { ties, limits, ..(**bound).clone() });
        }
    }

    /// Lets every account there is ask the system account about itself. Ties given later replace
    /// this.
    pub fn open_system(&mut self) {
        let Some(system) = self.system else { return };
        for (at, account) in self.accounts.iter_mut().enumerate() {
            if !account.is_gone {
                let name = account.name.clone();
                let ties = &mut Arc::make_mut(account).ties;
                standing::add(ties, &name, AccountId(at as u32), system);
            }
        }
    }

    /// Clients must show users' tokens from now on.
    pub fn believe_tokens(&mut self) {
        self.believes_tokens = true;
        self.required = true;
    }

    /// A service lets in whom it will from now on. Nobody in its account may ask it.
    pub fn leave_to(&mut self, callout: Callout) {
        for user in self.users.iter_mut().filter(|user| user.account == callout.account) {
            let permissions = Permissions::all_but(user.permissions.as_deref(), CALLOUT_SUBJECT);
            *user = Arc::new(User { permissions: Some(Arc::new(permissions)), ..(**user).clone() });
        }
        self.required = true;
        self.callout = Some(Arc::new(callout));
    }

    /// Do they have to?
    pub fn believes_tokens(&self) -> bool {
        self.believes_tokens
    }

    /// All about an account that its token says. One that is the same as before stays the very
    /// same.
    pub fn set_account(
        &mut self,
        account: AccountId,
        ties: Ties,
        limits: Limits,
        terms: Arc<Terms>,
    ) {
        let Some(known) = self.accounts.get_mut(account.0 as usize) else { return };
        let (name, mut ties) = (known.name.clone(), ties);
        if let Some(system) = self.system {
            standing::add(&mut ties, &name, account, system);
        }
        let made = Account { name, is_gone: false, ties, limits, terms: Some(terms) };
        if **known != made {
            *known = Arc::new(made);
        }
    }

    /// Nobody is let in any more.
    pub fn end_account(&mut self, account: AccountId) {
        if let Some(known) = self.accounts.get_mut(account.0 as usize) {
            *known = Arc::new(Account { is_gone: true, ..(**known).clone() });
        }
    }

    /// Who came in by the token of an account that has ended is turned away as one who is not
    /// known, not as one whose time is over.
    pub fn forget_ended(&mut self) {
        for known in self.accounts.iter_mut().filter(|account| account.is_gone) {
            *known = Arc::new(Account { terms: None, ..(**known).clone() });
        }
    }

    /// Do connections have to be looked at anew, that were looked at under `before`?
    pub fn concerns_those_of(&self, before: &Access) -> bool {
        let binds_as = |(old, new): (&Option<Arc<Terms>>, &Option<Arc<Terms>>)| match (old, new) {
            (Some(old), Some(new)) => old.binds_as(new),
            (old, new) => old == new,
        };
        let differs = |(old, new): (&Arc<Account>, &Arc<Account>)| {
            !Arc::ptr_eq(old, new)
                && (!binds_as((&old.terms, &new.terms))
                    || (old.is_gone, old.limits, &old.ties.streams)
                        != (new.is_gone, new.limits, &new.ties.streams))
        };
        before.accounts.iter().zip(&self.accounts).any(differs)
    }

    /// The account of this number.
    pub fn account_at(&self, account: AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(account.0 as usize)
    }

    /// All accounts by their numbers, those that are gone included.
    pub fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    /// Compares the secrets with those of `old`: clients that have shown one of the old ones need
    /// not show it again where the new one is the same. May take as long as a few hashes do.
    pub fn recognise(&mut self, old: &Access) {
        let same = |old: &User, new: &User| match (&old.proof, &new.proof) {
            (Proof::Password(old), Proof::Password(new)) => old.says_the_same_as(new),
            (old, new) => old == new,
        };
        self.believed = self
            .users
            .iter()
            .filter(|user| old.same_user(user).is_some_and(|old| same(&old, user)))
            .map(|user| user.name.clone())
            .collect();
        let same = |old: &Option<Secret>, new: &Option<Secret>| match (old, new) {
            (Some(old), Some(new)) => old.says_the_same_as(new),
            _ => false,
        };
        self.believes_single = match (&old.single, &self.single) {
            _ if self.token.is_some() || old.token.is_some() => same(&old.token, &self.token),
            (Some((old_name, old)), Some((name, new))) => {
                old_name == name && old.says_the_same_as(new)
            }
            _ => false,
        };
    }

    /// Is anybody called so?
    pub fn has_user(&self, name: &str) -> bool {
        let single = self.single.as_ref().is_some_and(|(single, _)| **single == *name);
        single || self.by_name.contains_key(name) || self.by_key.contains_key(name)
    }

    /// The user of the same name, known in the same way.
    pub(crate) fn same_user(&self, user: &User) -> Option<Arc<User>> {
        let found = match user.proof {
            Proof::Password(_) => self.by_name(&user.name),
            Proof::Nkey(_) => self.by_key(&user.name),
            Proof::Token(_) | Proof::Service => None,
        };
        found.cloned()
    }

    /// Need a client that was `before` not show again that it is `now`?
    pub(crate) fn still_believes(&self, before: &User, now: &User) -> bool {
        now.connection_types.allows(ConnectionTypes::STANDARD)
            && (before.proof == now.proof || self.believed.contains(&now.name))
    }

    /// As [`Access::still_believes`], of a client that has shown a token or is the one user.
    pub(crate) fn still_believes_single(&self, _name: &str) -> bool {
        self.believes_single
    }

    /// The account's name.
    pub fn name_of(&self, account: AccountId) -> &str {
        self.accounts.get(account.0 as usize).map_or("", |account| &account.name)
    }

    /// What its token calls the account; empty if that is nothing.
    pub fn tag_of(&self, account: AccountId) -> &str {
        let terms = self.accounts.get(account.0 as usize).and_then(|it| it.terms.as_ref());
        terms.map_or("", |terms| &terms.name)
    }

    /// The number of the account of this name, unless it is gone.
    pub fn find_account(&self, name: &str) -> Option<AccountId> {
        let found = self.accounts.iter().position(|a| !a.is_gone && *a.name == *name)?;
        Some(AccountId(found as u32))
    }

    /// Adds a user. From then on clients must say who they are.
    pub fn add_user(&mut self, user: User) {
        let names = match user.proof {
            Proof::Password(_) => &mut self.by_name,
            Proof::Nkey(_) | Proof::Token(_) | Proof::Service => &mut self.by_key,
        };
        names.insert(user.name.clone(), self.users.len());
        self.users.push(Arc::new(user));
        self.required = true;
    }

    /// All users, in the order they were added.
    pub fn users(&self) -> &[Arc<User>] {
        &self.users
    }

    /// Lets clients that say nothing of themselves in as this user. False if there is none of the
    /// name.
    pub fn let_in_as(&mut self, name: &str) -> bool {
        let found = self.by_key(name).or_else(|| self.by_name(name)).cloned();
        self.no_auth_user = found;
        self.no_auth_user.is_some()
    }

    /// INFO asks clients for credentials.
    pub fn asks(&self) -> bool {
        self.required && !self.is_open
    }

    /// Clients have to be able to sign a nonce.
    pub fn needs_nonce(&self) -> bool {
        self.believes_tokens || !self.by_key.is_empty()
    }

    /// Who a client is that begins with another verb than CONNECT.
    pub(crate) fn silent_user(&self, kind: ConnectionTypes) -> Option<&Arc<User>> {
        let user = self.no_auth_user.as_ref()?;
        let by_name = matches!(user.proof, Proof::Password(_));
        (by_name && user.connection_types.allows(kind)).then_some(user)
    }

    fn by_name(&self, name: &str) -> Option<&Arc<User>> {
        self.by_name.get(name).map(|at| &self.users[*at])
    }

    fn by_key(&self, key: &str) -> Option<&Arc<User>> {
        self.by_key.get(key).map(|at| &self.users[*at])
    }
}
