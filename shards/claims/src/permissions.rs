//! What a user may publish, subscribe to and answer, and from where and when: the part that users,
//! roles of signing keys and accounts' defaults have in common.

use serde::{Deserialize, Deserializer};

use serde_json::Value;

use crate::hours::Hours;
use crate::source;

/// Subjects allowed and denied; a subscription's may be `subject queue`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permission {
    /// Nothing said allows everything, an empty list nothing, if something is denied.
    pub allow: Option<Vec<String>>,
    /// Stronger than `allow`.
    pub deny: Vec<String>,
}

impl Permission {
    /// Says nothing at all.
    pub fn is_empty(&self) -> bool {
        self.allowed().is_empty() && self.deny.is_empty()
    }

    /// What is allowed by name.
    pub fn allowed(&self) -> &[String] {
        self.allow.as_deref().unwrap_or_default()
    }
}

/// Replies to requests that were delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResponsePermission {
    /// For each request: 0 is one, negative any number.
    pub max: i64,
    /// How long after it, ns: 0 is two minutes, negative for ever.
    pub ttl: i64,
}

/// Publish, subscribe, respond.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// What may be published.
    #[serde(rename = "pub")]
    pub publish: Permission,
    /// What may be subscribed to.
    #[serde(rename = "sub")]
    pub subscribe: Permission,
    /// Which replies may be published besides.
    #[serde(rename = "resp")]
    pub respond: Option<ResponsePermission>,
}

impl Permissions {
    /// Says nothing at all.
    pub fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.subscribe.is_empty() && self.respond.is_none()
    }

    /// # Errors
    /// A subject that is none, or a queue where there can be none.
    pub(crate) fn check(&self) -> Result<(), String> {
        for entry in self.publish.allowed().iter().chain(&self.publish.deny) {
            check_entry(entry, false)?;
        }
        for entry in self.subscribe.allowed().iter().chain(&self.subscribe.deny) {
            check_entry(entry, true)?;
        }
        Ok(())
    }
}

fn check_entry(entry: &str, may_queue: bool) -> Result<(), String> {
    let mut words = entry.split(' ');
    let (subject, queue, more) = (words.next(), words.next(), words.next());
    check_subject(subject.unwrap_or_default())?;
    match (queue, more) {
        (None, _) => Ok(()),
        (Some(_), None) if !may_queue => {
            Err(format!("Permission Subject {entry:?} is not allowed to contain queue"))
        }
        (Some(queue), None) => check_subject(queue),
        (Some(_), Some(_)) => Err(format!("Permission Subject {entry:?} contains too many spaces")),
    }
}

/// As far as claims are concerned: tokens between dots, no space.
pub(crate) fn check_subject(subject: &str) -> Result<(), String> {
    if subject.is_empty() {
        return Err("subject cannot be empty".to_string());
    }
    if subject.contains(' ') {
        return Err(format!("subject {subject:?} cannot have spaces"));
    }
    if subject.starts_with('.') || subject.ends_with('.') {
        return Err(format!("subject {subject:?} cannot start or end with a `.`"));
    }
    if subject.contains("..") {
        return Err(format!("subject {subject:?} cannot contain consecutive `.`"));
    }
    Ok(())
}

/// All that limits one user. -1 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UserLimits {
    /// What it may do.
    #[serde(flatten)]
    pub permissions: Permissions,
    /// Networks it may come from; none is any.
    #[serde(rename = "src", deserialize_with = "source::list")]
    pub sources: Vec<String>,
    /// Hours of the day it may connect in; none is any. A time zone's name stands beside them.
    #[serde(flatten)]
    pub hours: Hours,
    /// Most subscriptions.
    #[serde(rename = "subs")]
    pub subscriptions_max: i64,
    /// Kept, and as in nats-server not enforced.
    #[serde(rename = "data")]
    pub data_max: i64,
    /// Largest payload, bytes.
    #[serde(rename = "payload")]
    pub payload_max: i64,
    /// The token alone is enough: no signature of the nonce.
    pub bearer_token: bool,
    /// Only through a trusted proxy.
    pub proxy_required: bool,
    /// As in configuration files; none is any.
    pub allowed_connection_types: Vec<String>,
}

impl UserLimits {
    /// No limit: what a user without a scope has at least to say for itself.
    pub fn unlimited() -> UserLimits {
        UserLimits { subscriptions_max: -1, data_max: -1, payload_max: -1, ..UserLimits::default() }
    }

    /// # Errors
    /// A subject, a network or an hour that is none.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.permissions.check()?;
        for cidr in &self.sources {
            if source::Network::parse(cidr).is_none() {
                return Err(format!("invalid cidr {cidr:?} in user src limits"));
            }
        }
        self.hours.check()
    }

    /// Of a role, in which numbers that are not said are no limit.
    pub(crate) fn of_role<'d, D: Deserializer<'d>>(from: D) -> Result<UserLimits, D::Error> {
        let said = Value::deserialize(from)?;
        let mut limits = UserLimits::deserialize(&said).map_err(serde::de::Error::custom)?;
        let none = UserLimits::unlimited();
        let unsaid = |name: &str| said.get(name).is_none();
        if unsaid("subs") {
            limits.subscriptions_max = none.subscriptions_max;
        }
        if unsaid("data") {
            limits.data_max = none.data_max;
        }
        if unsaid("payload") {
            limits.payload_max = none.payload_max;
        }
        Ok(limits)
    }
}
