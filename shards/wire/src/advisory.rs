//! What the server tells of clients inside messages: who asks a service, and how long it took.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::emit::decimal;
use crate::info::write_json;

/// A client as services and advisories see it. Field order is nats-server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientInfo {
    /// When it connected, RFC 3339.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub start: String,
    /// Its address without the port.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub host: String,
    /// Counts from 1 over the whole server; 0 is not told.
    #[serde(skip_serializing_if = "is_zero")]
    pub id: u64,
    /// Its account.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub acc: String,
    /// The account through which its request came.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub svc: String,
    /// Its user.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user: String,
    /// From its CONNECT.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: String,
    /// From its CONNECT.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub lang: String,
    /// From its CONNECT.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub ver: String,
    /// Round trip of its last PING, ns; 0 is unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub rtt: u64,
    /// The server's name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub server: String,
    /// Its user's token, if that is worth nothing without a key.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub jwt: String,
    /// Whose key vouches for it: a signing key's, else its account's name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub issuer_key: String,
    /// What its token calls it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name_tag: String,
    /// What its token tags it with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// `Client`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: String,
    /// `nats`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub client_type: String,
}

/// How long an answer took. Field order is nats-server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceLatency {
    /// [`ServiceLatency::TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Unlike any other.
    pub id: String,
    /// When this was written, RFC 3339.
    pub timestamp: String,
    /// 200; 400 without a reply subject, 503 without anybody to answer, 504 without an answer.
    pub status: u16,
    /// What the status means.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: String,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requestor: Option<ClientInfo>,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responder: Option<ClientInfo>,
    /// The headers that asked for the measurement.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, Vec<String>>,
    /// When the request was sent, RFC 3339.
    pub start: String,
    /// Time the service took, ns.
    pub service: u64,
    /// Time the server took, ns.
    pub system: u64,
    /// All of it, ns.
    pub total: u64,
}

impl ServiceLatency {
    /// What such a message is called.
    pub const TYPE: &'static str = "io.nats.server.metric.v1.service_latency";

    /// Appends the JSON object.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write_json(self, out);
    }
}

impl ClientInfo {
    /// The header that brings it to a service.
    pub const HEADER: &'static str = "Nats-Request-Info";

    /// Appends the JSON object.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write_json(self, out);
    }

    /// Appends the JSON object of one of whom nothing is told but account and round trip.
    pub fn write_brief(acc: &str, rtt: u64, out: &mut Vec<u8>) {
        let as_it_is = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"\\<>&".contains(&byte);
        if acc.is_empty() || !acc.bytes().all(as_it_is) {
            let info = ClientInfo { acc: acc.to_string(), rtt, ..ClientInfo::default() };
            return info.write_json(out);
        }
        out.extend_from_slice(b"{\"acc\":\"");
        out.extend_from_slice(acc.as_bytes());
        if rtt == 0 {
            return out.extend_from_slice(b"\"}");
        }
        out.extend_from_slice(b"\",\"rtt\":");
        decimal(out, rtt as usize);
        out.push(b'}');
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_in_brief_is_what_is_told_in_full() {
        for acc in
            ["", "A", "$G", "a b~!", "<a>&", "qu\"ote", "back\\slash", "tab\t", "ä", "\u{7f}"]
        {
            for rtt in [0, 1, 123_456_789, u64::MAX] {
                let (mut brief, mut full) = (Vec::new(), Vec::new());
                ClientInfo::write_brief(acc, rtt, &mut brief);
                let info = ClientInfo { acc: acc.into(), rtt, ..ClientInfo::default() };
                info.write_json(&mut full);
                assert_eq!(String::from_utf8(brief), String::from_utf8(full), "{acc} {rtt}");
            }
        }
    }
}
