//! A client as those see it who answer its requests.

use wire::{ClientInfo, rfc3339_nano};

use crate::ids::ConnId;
use crate::shard::Shard;

impl Shard {
    /// Its account and round trip; with `detailed`, who it is and where.
    pub(crate) fn client_info(&self, conn: ConnId, detailed: bool) -> ClientInfo {
        let client = self.clients.get(conn.index()).and_then(Option::as_ref);
        let Some(client) = client.filter(|client| client.conn == conn) else {
            return ClientInfo::default();
        };
        let info = ClientInfo {
            acc: self.account_name(client.account).to_string(),
            rtt: client.rtt,
            ..ClientInfo::default()
        };
        if !detailed {
            return info;
        }
        let papers = client.papers();
        ClientInfo {
            jwt: papers.map_or_else(String::new, |papers| papers.text.to_string()),
            issuer_key: self.issuer_key(client).to_owned(),
            name_tag: papers.map_or_else(String::new, |papers| papers.name.to_string()),
            tags: papers
                .map_or_else(Vec::new, |it| it.tags.iter().map(|t| t.to_string()).collect()),
            start: rfc3339_nano(client.start_unix_ns),
            host: client.addr.ip().to_string(),
            id: client.cid,
            user: client.identity.name().to_string(),
            name: client.connect.name().to_string(),
            lang: client.connect.lang().to_string(),
            ver: client.connect.version().to_string(),
            server: self.info.server_name.clone(),
            kind: "Client".to_string(),
            client_type: "nats".to_string(),
            ..info
        }
    }

    /// As [`Shard::client_info`] without details, in JSON.
    pub(crate) fn write_brief_info(&self, conn: ConnId, out: &mut Vec<u8>) {
        let client = self.clients.get(conn.index()).and_then(Option::as_ref);
        let known = client.filter(|client| client.conn == conn);
        let (name, rtt) =
            known.map_or(("", 0), |client| (self.account_name(client.account), client.rtt));
        ClientInfo::write_brief(name, rtt, out);
    }

    /// Wall clock now, ns since 1970, as this connection tells it.
    pub(crate) fn unix_ns(&self, conn: ConnId) -> u64 {
        let client = self.clients.get(conn.index()).and_then(Option::as_ref);
        client.map_or(0, |client| client.start_unix_ns + self.now.saturating_sub(client.start))
    }
}
