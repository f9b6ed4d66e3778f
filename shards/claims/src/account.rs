//! Accounts: a subject space, what it shares with others, and who may sign for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::key::{self, Kind};
use crate::permissions::{Permissions, UserLimits, check_subject};
use crate::token::{Claims, Fault, Known, decode, read};

/// Public keys and the moment, seconds since 1970, up to which what they were given is void.
/// `*` stands for all.
pub type Revocations = BTreeMap<String, i64>;

/// What an account's token says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Account {
    /// What every token says; its subject is the account's public nkey.
    #[serde(flatten)]
    pub claims: Claims,
    nats: Body,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Body {
    imports: Vec<Import>,
    exports: Vec<Export>,
    limits: AccountLimits,
    signing_keys: Vec<SigningKey>,
    revocations: Revocations,
    default_permissions: Permissions,
    mappings: BTreeMap<String, Vec<WeightedSubject>>,
    authorization: External,
    trace: Option<Trace>,
    cluster_traffic: String,
    tags: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Old {
    tags: Vec<String>,
}

/// Most of each; -1 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AccountLimits {
    imports: i64,
    exports: i64,
    #[serde(rename = "wildcards")]
    wildcard_exports: bool,
    /// Users must prove that they own their key.
    #[serde(rename = "disallow_bearer")]
    pub no_bearer: bool,
    /// Client connections.
    #[serde(rename = "conn")]
    pub connections_max: i64,
    /// Leafnode connections.
    #[serde(rename = "leaf")]
    pub leafnodes_max: i64,
    /// Subscriptions of one connection.
    #[serde(rename = "subs")]
    pub subscriptions_max: i64,
    /// Payload, bytes.
    #[serde(rename = "payload")]
    pub payload_max: i64,
}

/// Another key that signs users and activations for the account.
#[derive(Clone, Debug, PartialEq)]
pub enum SigningKey {
    /// With the rights of the account's own key.
    Plain(String),
    /// Only for users that have exactly the rights of its role.
    Scoped(Box<Scope>),
}

/// A signing key's role.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Scope {
    kind: String,
    key: String,
    /// For people.
    pub role: String,
    /// The rights of its users; subjects may hold `{{name()}}` and the like.
    #[serde(deserialize_with = "UserLimits::of_role")]
    pub template: UserLimits,
}

impl Default for Scope {
    fn default() -> Scope {
        let template = UserLimits::unlimited();
        Scope { kind: String::new(), key: String::new(), role: String::new(), template }
    }
}

/// Stream or service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportKind {
    /// Not said.
    #[default]
    #[serde(skip)]
    Unknown,
    /// Messages published in the exporting account.
    Stream,
    /// Requests answered there.
    Service,
}

/// Something other accounts may import.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Export {
    /// For people.
    pub name: String,
    /// What.
    pub subject: String,
    /// As what.
    #[serde(rename = "type")]
    pub kind: ExportKind,
    /// Only with an activation.
    pub token_req: bool,
    /// Activations that are void, by the importing account.
    pub revocations: Revocations,
    /// `Singleton`, `Stream`, `Chunked`, or empty for the first.
    pub response_type: String,
    /// Longest time between responses, ns; 0 is the server's default.
    pub response_threshold: i64,
    /// Measure requests.
    #[serde(rename = "service_latency")]
    pub latency: Option<Latency>,
    /// Which token of the subject must be the importing account's key, from 1; 0 is none.
    pub account_token_position: u32,
    /// May importers' traces go on here?
    pub allow_trace: bool,
}

/// Latency samples of a service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Latency {
    /// How many of them.
    #[serde(default)]
    pub sampling: Sampling,
    /// Where they are published.
    pub results: String,
}

/// How often a request is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampling {
    /// When its headers ask for it.
    #[default]
    Headers,
    /// This percentage of them.
    Percent(i64),
}

/// Something taken over from another account.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Import {
    /// For people.
    pub name: String,
    /// What, as the exporting account calls it.
    pub subject: String,
    /// Who exports it.
    pub account: String,
    /// An activation.
    pub token: String,
    /// The old form of `local_subject`, with the meaning the other way round for services.
    pub to: String,
    /// What it is called here; wildcards may be named `$1`, `$2`.
    pub local_subject: String,
    /// As what.
    #[serde(rename = "type")]
    pub kind: ExportKind,
    /// Tell the service who asks.
    pub share: bool,
    /// May traces go on into this account?
    pub allow_trace: bool,
}

/// One of the subjects that another is mapped to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WeightedSubject {
    /// May hold functions.
    pub subject: String,
    weight: u8,
    /// Only in this cluster; empty is any.
    pub cluster: String,
}

/// Users are let in by a service of the account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct External {
    /// Users that are let in without it.
    pub auth_users: Vec<String>,
    /// Accounts it may place users in; `*` is any.
    pub allowed_accounts: Vec<String>,
    /// The curve key requests are sealed for; may be empty.
    pub xkey: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Trace {
    dest: String,
    sampling: i64,
}

impl WeightedSubject {
    /// Percent.
    pub fn weight(&self) -> u8 {
        if self.weight == 0 { 100 } else { self.weight }
    }
}

impl Account {
    /// The first version had less to say, and its tags outside `nats`.
    pub(crate) fn read(json: &Value, version: i64) -> Result<Account, Fault> {
        let mut account: Account = read(json)?;
        if version == 1 {
            let old: Old = read(json)?;
            let Body { imports, exports, limits, signing_keys, revocations, .. } = account.nats;
            let said =
                Body { imports, exports, limits, signing_keys, revocations, ..Body::default() };
            account.nats = Body { tags: old.tags, ..said };
        }
        Ok(account)
    }
}

impl External {
    /// Is there such a service at all?
    pub fn is_enabled(&self) -> bool {
        !self.auth_users.is_empty()
    }
}

impl SigningKey {
    /// Its public nkey.
    pub fn key(&self) -> &str {
        match self {
            SigningKey::Plain(key) => key,
            SigningKey::Scoped(scope) => &scope.key,
        }
    }
}

impl<'d> Deserialize<'d> for SigningKey {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<SigningKey, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Key(String),
            Scope(Box<Scope>),
        }
        match Either::deserialize(from)? {
            Either::Key(key) => Ok(SigningKey::Plain(key)),
            Either::Scope(scope) if scope.kind == "user_scope" => Ok(SigningKey::Scoped(scope)),
            Either::Scope(scope) => {
                let why = format!("unknown signing key scope {:?}", scope.kind);
                Err(serde::de::Error::custom(why))
            }
        }
    }
}

impl<'d> Deserialize<'d> for Sampling {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Sampling, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Percent(i64),
            Word(String),
        }
        match Either::deserialize(from)? {
            Either::Percent(0) => Ok(Sampling::Headers),
            Either::Percent(percent) => Ok(Sampling::Percent(percent)),
            Either::Word(word) if word.eq_ignore_ascii_case("headers") => Ok(Sampling::Headers),
            Either::Word(_) => Err(serde::de::Error::custom("unknown sampling rate")),
        }
    }
}

impl Account {
    /// What it exports.
    pub fn exports(&self) -> &[Export] {
        &self.nats.exports
    }

    /// What it imports.
    pub fn imports(&self) -> &[Import] {
        &self.nats.imports
    }

    /// Its limits.
    pub fn limits(&self) -> &AccountLimits {
        &self.nats.limits
    }

    /// Of users that say nothing of permissions.
    pub fn default_permissions(&self) -> &Permissions {
        &self.nats.default_permissions
    }

    /// Subjects mapped to others, by the subject published on.
    pub fn mappings(&self) -> &BTreeMap<String, Vec<WeightedSubject>> {
        &self.nats.mappings
    }

    /// The service that lets users in.
    pub fn external(&self) -> &External {
        &self.nats.authorization
    }

    /// For templates and for people, lower case.
    pub fn tags(&self) -> &[String] {
        &self.nats.tags
    }

    /// Other keys that sign for it.
    pub fn signing_keys(&self) -> &[SigningKey] {
        &self.nats.signing_keys
    }

    /// Whose tokens are void up to when.
    pub fn revocations(&self) -> &Revocations {
        &self.nats.revocations
    }

    /// May `issuer` sign users and activations for this account? And in which role?
    pub fn signer(&self, issuer: &str) -> Option<Option<&Scope>> {
        if issuer == self.claims.subject {
            return Some(None);
        }
        // The last one counts where a key is listed twice, as in a map that is filled in order.
        match self.nats.signing_keys.iter().rev().find(|known| known.key() == issuer)? {
            SigningKey::Plain(_) => Some(None),
            SigningKey::Scoped(scope) => Some(Some(scope)),
        }
    }

    /// Is a user's token of that time void?
    pub fn has_revoked(&self, user: &str, issued_at_s: i64) -> bool {
        is_revoked(&self.nats.revocations, user, issued_at_s)
    }

    /// Valid at this moment, by itself: not expired, and all of it can be.
    ///
    /// # Errors
    /// The first thing that can't be.
    pub fn check(&self, now_s: i64) -> Result<(), Fault> {
        self.claims.check_time(now_s)?;
        self.check_body().map_err(Fault::Invalid)
    }

    fn check_body(&self) -> Result<(), String> {
        let body = &self.nats;
        check_imports(&self.claims.subject, &body.imports)?;
        check_exports(&body.exports)?;
        body.default_permissions.check()?;
        check_mappings(&body.mappings)?;
        body.authorization.check()?;
        if let Some(trace) = &body.trace {
            trace.check()?;
        }
        let AccountLimits { imports, exports, wildcard_exports, .. } = body.limits;
        if imports != -1 && body.imports.len() as i64 > imports {
            return Err("the account contains more imports than allowed by the operator".into());
        }
        if exports != -1 && body.exports.len() as i64 > exports {
            return Err("the account contains more exports than allowed by the operator".into());
        }
        let wild = body.exports.iter().any(|e| has_wildcard(&e.subject));
        if exports != -1 && !wildcard_exports && wild {
            return Err("the account contains wildcard exports that are not allowed by the \
                        operator"
                .into());
        }
        if let Some(known) =
            body.signing_keys.iter().find(|known| !key::is_public(Kind::Account, known.key()))
        {
            return Err(format!("{:?} is not a valid account signing key", known.key()));
        }
        match body.cluster_traffic.as_str() {
            "" | "system" | "owner" => Ok(()),
            other => Err(format!("unknown cluster traffic option: {other:?}")),
        }
    }
}

impl External {
    fn check(&self) -> Result<(), String> {
        if !self.allowed_accounts.is_empty() && self.auth_users.is_empty() {
            return Err(
                "External authorization cannot have accounts without users specified".to_string()
            );
        }
        if let Some(user) = self.auth_users.iter().find(|u| !key::is_public(Kind::User, u)) {
            return Err(format!("AuthUser {user:?} is not a valid user public key"));
        }
        for account in &self.allowed_accounts {
            if account == "*" && self.allowed_accounts.len() > 1 {
                return Err("AllowedAccounts can only be a list of accounts or \"*\"".to_string());
            }
            if account != "*" && !key::is_public(Kind::Account, account) {
                return Err(format!("Account {account:?} is not a valid account public key"));
            }
        }
        if !self.xkey.is_empty() && !key::is_public(Kind::Curve, &self.xkey) {
            return Err(format!("XKey {:?} is not a valid public xkey", self.xkey));
        }
        Ok(())
    }
}

impl Trace {
    fn check(&self) -> Result<(), String> {
        check_subject(&self.dest).map_err(|why| format!("the account Trace.Destination {why}"))?;
        if has_wildcard(&self.dest) {
            return Err(format!(
                "the account Trace.Destination subject {:?} is not a valid publish subject",
                self.dest
            ));
        }
        if !(0..=100).contains(&self.sampling) {
            return Err(format!(
                "the account Trace.Sampling value '{}' is not valid, should be in the range \
                 [1..100]",
                self.sampling
            ));
        }
        Ok(())
    }
}

fn check_mappings(mappings: &BTreeMap<String, Vec<WeightedSubject>>) -> Result<(), String> {
    for (from, to) in mappings {
        check_subject(from)?;
        let mut totals: BTreeMap<&str, u32> = BTreeMap::new();
        for target in to {
            check_subject(&target.subject)?;
            let total = totals.entry(&target.cluster).or_default();
            *total += u32::from(target.weight());
            if *total > 100 {
                return Err(format!("Mapping {from:?} exceeds 100% among all of its mappings"));
            }
        }
    }
    Ok(())
}

fn check_exports(exports: &[Export]) -> Result<(), String> {
    for export in exports {
        export.check()?;
    }
    for (at, one) in exports.iter().enumerate() {
        let twice = exports.iter().enumerate().any(|(other_at, other)| {
            other_at != at && other.kind == one.kind && contained(&one.subject, &other.subject)
        });
        if twice {
            return Err(format!("export subject {:?} is exported already", one.subject));
        }
    }
    Ok(())
}

impl Export {
    /// Is an activation of that time void?
    pub fn has_revoked(&self, importer: &str, issued_at_s: i64) -> bool {
        is_revoked(&self.revocations, importer, issued_at_s)
    }

    fn check(&self) -> Result<(), String> {
        let service = self.kind == ExportKind::Service;
        match self.kind {
            ExportKind::Unknown => return Err("invalid export type: \"unknown\"".to_string()),
            ExportKind::Service => {
                if !matches!(&*self.response_type, "" | "Singleton" | "Stream" | "Chunked") {
                    return Err(format!(
                        "invalid response type for service: {:?}",
                        self.response_type
                    ));
                }
            }
            ExportKind::Stream => {
                if !self.response_type.is_empty() {
                    return Err(format!(
                        "invalid response type for stream: {:?}",
                        self.response_type
                    ));
                }
                if self.allow_trace {
                    return Err("AllowTrace only valid for service export".to_string());
                }
            }
        }
        if let Some(latency) = &self.latency {
            if !service {
                return Err("latency tracking only permitted for services".to_string());
            }
            latency.check()?;
        }
        if self.response_threshold < 0 {
            return Err("negative response threshold is invalid".to_string());
        }
        if self.response_threshold > 0 && !service {
            return Err("response threshold only valid for services".to_string());
        }
        check_subject(&self.subject)?;
        self.check_position()
    }

    fn check_position(&self) -> Result<(), String> {
        let Some(at) = (self.account_token_position as usize).checked_sub(1) else {
            return Ok(());
        };
        match self.subject.split('.').nth(at) {
            Some("*") => Ok(()),
            Some(token) => Err(format!(
                "Account Token Position {} matches '{token}' but must match a * in: {}",
                at + 1,
                self.subject
            )),
            None => Err(format!(
                "Account Token Position {} exceeds length of subject '{}'",
                at + 1,
                self.subject
            )),
        }
    }
}

impl Latency {
    fn check(&self) -> Result<(), String> {
        if let Sampling::Percent(percent) = self.sampling
            && !(1..=100).contains(&percent)
        {
            return Err("sampling percentage needs to be between 1-100".to_string());
        }
        check_subject(&self.results)?;
        match has_wildcard(&self.results) {
            true => Err("results subject can not contain wildcards".to_string()),
            false => Ok(()),
        }
    }
}

fn check_imports(account: &str, imports: &[Import]) -> Result<(), String> {
    for import in imports {
        import.check(account)?;
    }
    let services: Vec<_> = imports.iter().filter(|i| i.kind == ExportKind::Service).collect();
    for (at, one) in services.iter().enumerate() {
        let subject = one.called_here();
        for other in &services[at + 1..] {
            let taken = other.called_here();
            if other.account == one.account
                && (contained(&subject, &taken) || contained(&taken, &subject))
            {
                return Err(format!(
                    "overlapping subject namespace for {taken:?} and {subject:?} in same account \
                     {:?}",
                    one.account
                ));
            }
        }
    }
    Ok(())
}

impl Import {
    /// The activation it carries, if it carries one that can be read.
    pub fn activation(&self) -> Option<crate::Activation> {
        match decode(&self.token) {
            Ok(Known::Activation(activation)) => Some(*activation),
            _ => None,
        }
    }

    /// Of a service: its subject in this account, and in the one that answers.
    pub fn service_subjects(&self) -> (&str, &str) {
        match (self.local_subject.is_empty(), self.to.is_empty()) {
            (false, _) => (&self.local_subject, &self.subject),
            // The old form has them the other way round.
            (true, false) => (&self.subject, &self.to),
            (true, true) => (&self.subject, &self.subject),
        }
    }

    /// The subject it has here, with `*` for named wildcards.
    fn called_here(&self) -> String {
        if !self.to.is_empty() {
            return self.to.clone();
        }
        if self.local_subject.is_empty() {
            return self.subject.clone();
        }
        let tokens: Vec<&str> = self
            .local_subject
            .split('.')
            .map(|token| if reference(token).is_some() { "*" } else { token })
            .collect();
        tokens.join(".")
    }

    pub(crate) fn check(&self, account: &str) -> Result<(), String> {
        let service = self.kind == ExportKind::Service;
        if self.kind == ExportKind::Unknown {
            return Err("invalid import type: \"unknown\"".to_string());
        }
        if service && self.allow_trace {
            return Err("AllowTrace only valid for stream import".to_string());
        }
        if self.account.is_empty() {
            return Err("account to import from is not specified".to_string());
        }
        check_subject(&self.subject)?;
        if !self.local_subject.is_empty() {
            check_renaming(&self.subject, &self.local_subject)?;
            if !self.to.is_empty() {
                return Err("Local Subject replaces To".to_string());
            }
        }
        if self.share && !service {
            return Err(format!(
                "sharing information (for latency tracking) is only valid for services: {:?}",
                self.subject
            ));
        }
        if self.token.is_empty() { Ok(()) } else { self.check_token(account) }
    }

    fn check_token(&self, account: &str) -> Result<(), String> {
        let subject = &self.subject;
        let Some(activation) = self.activation() else {
            return Err(format!("import {subject:?} contains an invalid activation token"));
        };
        if !activation.is_of(&self.account) {
            return Err(format!("activation token doesn't match account for import {subject:?}"));
        }
        if activation.claims.subject != account {
            return Err(format!(
                "activation token doesn't match account it is being included in, {subject:?}"
            ));
        }
        if activation.kind() != self.kind {
            return Err("mismatch between token import type and type of import".to_string());
        }
        activation.check()?;
        let old_service = self.kind == ExportKind::Service && !self.to.is_empty();
        let wanted = if old_service { &self.to } else { subject };
        match contained(wanted, activation.subject()) {
            true => Ok(()),
            false => Err(format!(
                "activation token import subject {:?} doesn't match import {subject:?}",
                activation.subject()
            )),
        }
    }
}

fn check_renaming(from: &str, to: &str) -> Result<(), String> {
    check_subject(to)?;
    let full = |subject: &str| subject == ">" || subject.ends_with(".>");
    if full(from) != full(to) {
        return Err("both, renaming subject and subject, need to end or not end in >".to_string());
    }
    let stars = from.split('.').filter(|token| *token == "*").count();
    let mut used = 0;
    for token in to.split('.') {
        match reference(token) {
            Some(number) if number > stars => {
                return Err(format!(
                    "Reference ${number} in {to:?} reference * in {from:?} that do not exist"
                ));
            }
            Some(_) => used += 1,
            None => used += usize::from(token == "*"),
        }
    }
    match used == stars {
        true => Ok(()),
        false => Err("subject does not contain enough * or reference wildcards $[0-9]".to_string()),
    }
}

/// `$2` is 2.
fn reference(token: &str) -> Option<usize> {
    token.strip_prefix('$')?.parse().ok()
}

fn has_wildcard(pattern: &str) -> bool {
    subject::has_wildcard(pattern.as_bytes())
}

/// Token by token: is everything that matches `inner` matched by `outer`?
fn contained(inner: &str, outer: &str) -> bool {
    subject::covers(outer.as_bytes(), inner.as_bytes())
}

pub(crate) fn is_revoked(revocations: &Revocations, key: &str, issued_at_s: i64) -> bool {
    let until = |key: &str| revocations.get(key).is_some_and(|until| *until >= issued_at_s);
    until(key) || until("*")
}
