//! What accounts have agreed with each other, as nats-server tells it.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use shard::access::Access;
use shard::account::{self, Latency, Mappings, ResponseType, ServiceImport, StreamImport, Ties};

use crate::duration::rfc3339_nano;
use crate::json::text;

/// Something others may import.
#[derive(Default, Serialize)]
pub(crate) struct Export<'a> {
    subject: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    token_req: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    response_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_latency: Option<Measured>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approved_accounts: Vec<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    revoked_activations: BTreeMap<&'a str, String>,
}

/// Something of others.
#[derive(Serialize)]
pub(crate) struct Import<'a> {
    subject: String,
    account: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    to: String,
    local_subject: String,
    r#type: &'static str,
    invalid: bool,
    share: bool,
    tracking: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Measured>,
}

/// How the time to answer is measured.
#[derive(Serialize)]
struct Measured {
    #[serde(serialize_with = "sampling")]
    sampling: u8,
    results: String,
}

/// Where what is published to a subject goes.
#[derive(Serialize)]
pub(crate) struct Destination {
    subject: String,
    weight: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn sampling<S: Serializer>(percent: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    match percent {
        0 => serializer.serialize_str("headers"),
        percent => serializer.serialize_u8(*percent),
    }
}

impl Measured {
    fn new(latency: &Latency) -> Measured {
        Measured { sampling: latency.sampling, results: text(&latency.subject) }
    }
}

/// What every system account offers, whatever else it does.
pub(crate) fn standing_exports<'a>() -> impl Iterator<Item = Export<'a>> {
    let all = [
        ("$SYS.REQ.ACCOUNT.*.CONNZ", "Streamed"),
        ("$SYS.REQ.ACCOUNT.*.STATZ", "Streamed"),
        ("$SYS.DEBUG.SUBSCRIBERS", "Singleton"),
        ("$SYS.REQ.USER.*.INFO", "Singleton"),
    ];
    all.into_iter().map(|(subject, response_type)| Export {
        subject: subject.to_owned(),
        r#type: "service",
        response_type,
        ..Export::default()
    })
}

/// Seconds since 1970, as nats-server writes them.
pub(crate) fn moment(unix_s: i64) -> String {
    rfc3339_nano(u64::try_from(unix_s).unwrap_or(0).saturating_mul(1_000_000_000))
}

/// What others may have.
pub(crate) fn exports<'a>(access: &'a Access, ties: &'a Ties) -> impl Iterator<Item = Export<'a>> {
    ties.exports.iter().map(|export| {
        let account::Export { subject, service, importers, needs_token, revoked } = export;
        let latency = service.as_ref().and_then(|service| service.latency.as_ref());
        Export {
            subject: text(subject),
            r#type: if service.is_some() { "service" } else { "stream" },
            token_req: *needs_token,
            response_type: service.as_ref().map_or("", |service| match service.response {
                ResponseType::Singleton => "Singleton",
                ResponseType::Stream => "Streamed",
                ResponseType::Chunked => "Chunked",
            }),
            service_latency: latency.map(Measured::new),
            approved_accounts: importers.iter().map(|importer| access.name_of(*importer)).collect(),
            revoked_activations: revoked
                .iter()
                .map(|(key, until)| (&**key, moment(*until)))
                .collect(),
        }
    })
}

/// What it has of others.
pub(crate) fn imports<'a>(access: &'a Access, ties: &'a Ties) -> Vec<Import<'a>> {
    let streams = ties.streams.iter().map(|import| Import::of_stream(access, import));
    let services = ties.services.iter().map(|import| Import::of_service(access, import));
    streams.chain(services).collect()
}

impl<'a> Import<'a> {
    fn of_stream(access: &'a Access, import: &StreamImport) -> Import<'a> {
        Import {
            subject: text(&import.from),
            account: access.name_of(import.account),
            to: String::new(),
            local_subject: text(&import.to),
            r#type: "stream",
            invalid: false,
            share: false,
            tracking: false,
            latency: None,
        }
    }

    fn of_service(access: &'a Access, import: &ServiceImport) -> Import<'a> {
        Import {
            subject: text(&import.to),
            account: access.name_of(import.account),
            to: text(&import.from),
            local_subject: text(&import.from),
            r#type: "service",
            invalid: false,
            share: import.share,
            tracking: false,
            latency: import.service.latency.as_ref().map(Measured::new),
        }
    }
}

/// By source; weights are sums, as nats-server keeps them.
pub(crate) fn mappings(mappings: &Mappings) -> BTreeMap<String, Vec<Destination>> {
    let destination = |(to, upto): (&[u8], u8)| Destination { subject: text(to), weight: upto };
    let one =
        |it: &account::Mapping| (text(it.source()), it.destinations().map(destination).collect());
    mappings.iter().map(one).collect()
}
