//! What an account's subjects have to do with other accounts and with one another: mappings,
//! imports of streams and services, limits. Plain data, alike on every shard, and what a shard
//! does about it.

mod agree;
mod latency;
pub(crate) mod legs;
mod requestor;
pub(crate) mod response;
pub(crate) mod service;
mod shadow;
pub(crate) mod standing;
pub(crate) mod tied;
mod trace_headers;

use std::rc::Rc;
use std::sync::Arc;

use subject::Transform;

use crate::access::Access;
use crate::ids::{AccountId, Nanos};
use crate::interest::{Account, Unannounced};
use crate::limits::SECONDS;

pub use subject::{Mapping, MappingError, Mappings, valid_pattern};

pub use agree::{Agreements, Disagreement, ServiceTerms};

/// How long a response may take, unless the export says otherwise.
pub const RESPONSE_THRESHOLD: Nanos = 120 * SECONDS;

/// What replies to requests of other accounts begin with.
pub(crate) const REPLY_PREFIX: &[u8] = b"_R_.";

/// What one account has agreed with others, and with itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ties {
    /// Where published subjects really go.
    pub mappings: Mappings,
    /// Messages of other accounts that subscriptions of this one get too.
    pub streams: Vec<StreamImport>,
    /// Requests that other accounts answer.
    pub services: Vec<ServiceImport>,
    /// Some account may send requests here: replies to them go by `_R_.` subjects.
    pub serves: bool,
    /// What others may import. It is told of; what has come of it stands in their ties.
    pub exports: Vec<Export>,
    /// Its token imports something that can't be had. It is told of.
    pub lacks_imports: bool,
}

impl Ties {
    /// Its subjects are its own, and mean what they say.
    pub fn is_empty(&self) -> bool {
        let Ties { mappings, streams, services, serves, exports: _, lacks_imports: _ } = self;
        mappings.is_empty() && streams.is_empty() && services.is_empty() && !serves
    }
}

/// [`Ties`] as one shard holds them.
#[derive(Debug)]
pub(crate) struct Bonds {
    pub mappings: Mappings,
    pub streams: Vec<Rc<StreamImport>>,
    pub services: Vec<Rc<ServiceImport>>,
    serves: bool,
    /// Of all subjects that mappings and services concern.
    beginnings: Beginnings,
    /// Of those that are requests.
    asking: Beginnings,
}

/// First bytes of subjects.
#[derive(Clone, Copy, Debug, Default)]
struct Beginnings([u64; 4]);

impl Beginnings {
    const ALL: Beginnings = Beginnings([u64::MAX; 4]);

    /// Of requests to these.
    fn of(services: &[ServiceImport]) -> Beginnings {
        let mut beginnings = Beginnings::default();
        for import in services {
            match import.from.first() {
                Some(b'*' | b'>') | None => return Beginnings::ALL,
                Some(first) => beginnings.add(*first),
            }
        }
        beginnings
    }

    fn add(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn have(&self, subject: &[u8]) -> bool {
        let byte = subject.first().copied().unwrap_or_default();
        self.0[usize::from(byte >> 6)] & 1 << (byte & 63) != 0
    }
}

impl Bonds {
    /// None if there are none.
    pub fn of(ties: &Ties) -> Option<Rc<Bonds>> {
        (!ties.is_empty()).then(|| {
            let asking = Beginnings::of(&ties.services);
            Rc::new(Bonds {
                mappings: ties.mappings.clone(),
                streams: ties.streams.iter().cloned().map(Rc::new).collect(),
                services: ties.services.iter().cloned().map(Rc::new).collect(),
                serves: ties.serves,
                beginnings: if ties.mappings.is_empty() { asking } else { Beginnings::ALL },
                asking,
            })
        })
    }

    /// Have they something to say of a message published on this subject?
    pub fn concern(&self, subject: &[u8]) -> bool {
        self.may_answer(subject)
            || self.may_concern(subject)
                && (self.mappings.find(subject).is_some() || self.asks(subject))
    }

    /// Have mappings or services perhaps something to say of it?
    pub fn may_concern(&self, subject: &[u8]) -> bool {
        self.beginnings.have(subject)
    }

    /// Is it perhaps a request to another account?
    pub fn may_ask(&self, subject: &[u8]) -> bool {
        self.asking.have(subject)
    }

    /// Is it a request to another account?
    pub fn asks(&self, subject: &[u8]) -> bool {
        self.may_ask(subject) && self.services.iter().any(|import| import.takes(subject))
    }

    /// May this be a response to a request of another account?
    pub fn may_answer(&self, subject: &[u8]) -> bool {
        self.serves && subject.starts_with(REPLY_PREFIX)
    }
}

/// Messages of another account, under a subject of one's own.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamImport {
    /// Whose messages.
    pub account: AccountId,
    /// Their pattern there.
    pub from: Box<[u8]>,
    /// Their pattern here.
    pub to: Box<[u8]>,
    /// From a subject there to one here; none if a subject is the same on both sides or `to` is
    /// the only one there is.
    pub transform: Option<Transform>,
    /// The other way.
    pub reverse: Option<Transform>,
    /// Subjects are the same on both sides.
    pub keeps_subject: bool,
}

/// Requests that another account answers.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceImport {
    /// Who answers.
    pub account: AccountId,
    /// The pattern of requests here.
    pub from: Box<[u8]>,
    /// Their subject or pattern there.
    pub to: Box<[u8]>,
    /// From a subject here to one there; none if a subject is the same on both sides or `to` is
    /// the only one there is.
    pub transform: Option<Transform>,
    /// Subjects are the same on both sides.
    pub keeps_subject: bool,
    /// The one who answers learns who asks.
    pub share: bool,
    /// What was exported.
    pub service: ServiceExport,
}

impl ServiceImport {
    /// Is a message on this subject a request for it?
    pub(crate) fn takes(&self, subject: &[u8]) -> bool {
        *self.from == *subject || subject::matches(&self.from, subject)
    }
}

/// Something of an account that others may import.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// The pattern of its subjects.
    pub subject: Box<[u8]>,
    /// None: it is a stream.
    pub service: Option<ServiceExport>,
    /// Who alone may; nobody stands for everybody.
    pub importers: Vec<AccountId>,
    /// Importers must show a token of the exporter's.
    pub needs_token: bool,
    /// Whose tokens of earlier than when, seconds since 1970, no longer hold; `*` is everybody.
    pub revoked: Vec<(Box<str>, i64)>,
}

/// A service, whatever it is imported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

/// A service that other accounts may ask.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceExport {
    /// Among all exports.
    pub id: ServiceId,
    /// The pattern of requests.
    pub subject: Box<[u8]>,
    /// What an answer may consist of.
    pub response: ResponseType,
    /// How long to wait for a response, or for one more.
    pub threshold_ns: Nanos,
    /// Measured, if so.
    pub latency: Option<Latency>,
}

/// What an answer consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseType {
    /// One message.
    #[default]
    Singleton,
    /// Messages, up to an empty one.
    Stream,
    /// Parts of one, up to an empty one.
    Chunked,
}

/// How the time to answer is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Requests in a hundred, from 1; 0 is those whose headers ask for it.
    pub sampling: u8,
    /// Where the figures are published, in the account that answers.
    pub subject: Box<[u8]>,
}

/// What an account may use. None is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Subscriptions of one connection.
    pub subscriptions_max: Option<u32>,
    /// Bytes of one message with its headers.
    pub payload_max: Option<u32>,
    /// Connections on the whole server.
    pub connections_max: Option<u32>,
}

/// How tables are made.
#[derive(Clone)]
pub(crate) struct Like {
    pub seed: u64,
    pub match_cache: bool,
    pub unannounced: Unannounced,
}

/// Makes tables what `access` says: more of them, or with other ties than `before`.
pub(crate) fn fit(tables: &mut Vec<Account>, access: &Access, before: &Access, like: &Like) {
    for (at, account) in access.accounts().iter().enumerate() {
        let is_new = at >= tables.len();
        if is_new {
            tables.push(Account::new(AccountId(at as u32), like));
        }
        let known = before.accounts().get(at).filter(|_| !is_new);
        if known.is_none_or(|known| !Arc::ptr_eq(known, account)) {
            tables[at].tie(Bonds::of(&account.ties));
        } else {
            tables[at].recasts = false;
        }
    }
}

/// As [`fit`], where what accounts had to do with each other stays: a look at all subscriptions
/// that is under way goes on.
pub(crate) fn grow(tables: &mut Vec<Account>, access: &Access, before: &Access, like: Like) {
    let recasts: Vec<bool> = tables.iter().map(|table| table.recasts).collect();
    fit(tables, access, before, &like);
    for (table, recasts) in tables.iter_mut().zip(recasts) {
        table.recasts |= recasts;
    }
}
