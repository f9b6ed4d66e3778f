//! What nats-server answers about features that are not there: routes, gateways, leafnodes,
//! persistence, its own queues.

use serde::Serialize;

use crate::duration::rfc3339_nano;
use crate::http::Response;
use crate::json::{self, Layout};
use crate::query::Query;
use crate::site::Site;

/// An endpoint that has nothing to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    Routez,
    Gatewayz,
    Leafz,
    Jsz,
    Ipqueuesz,
    /// By the system account only: over HTTP it is not found.
    Raftz,
}

/// What /jsz says to whoever wants the leader only. A subscriber that asks so gets no answer.
const NOT_LEADER: &str = "filtered response: not leader";

#[derive(Serialize)]
struct Routez<'a> {
    server_id: &'a str,
    server_name: &'a str,
    now: String,
    num_routes: u64,
    routes: [(); 0],
}

#[derive(Serialize)]
struct Gatewayz<'a> {
    server_id: &'a str,
    now: String,
    outbound_gateways: Empty,
    inbound_gateways: Empty,
}

#[derive(Serialize)]
struct Leafz<'a> {
    server_id: &'a str,
    now: String,
    leafnodes: u64,
    leafs: [(); 0],
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Jsz<'a> {
    #[serde(flatten)]
    usage: Usage,
    server_id: &'a str,
    now: String,
    disabled: bool,
    config: JetStreamConfig,
    streams: u64,
    consumers: u64,
    messages: u64,
    bytes: u64,
    total: u64,
}

#[derive(Default, Serialize)]
struct Usage {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: u64,
    ha_assets: u64,
    api: Api,
}

#[derive(Default, Serialize)]
struct Api {
    level: u64,
    total: u64,
    errors: u64,
}

#[derive(Serialize)]
struct JetStreamConfig {
    max_memory: u64,
    max_storage: u64,
}

impl Absent {
    /// The endpoint behind a path, its parameters checked in nats-server's order.
    pub(crate) fn parse(path: &str, query: &Query) -> Result<Option<Absent>, Response> {
        match path {
            "/routez" => {
                query.subscriptions()?;
                Ok(Some(Absent::Routez))
            }
            "/gatewayz" => {
                query.subscriptions()?;
                query.boolean("accs")?;
                Ok(Some(Absent::Gatewayz))
            }
            "/leafz" => {
                query.boolean("subs")?;
                Ok(Some(Absent::Leafz))
            }
            "/jsz" => {
                for name in ["accounts", "streams", "consumers", "direct-consumers", "config"] {
                    query.boolean(name)?;
                }
                query.int("offset")?;
                query.int("limit")?;
                let leader_only = query.boolean("leader-only")?;
                query.boolean("raft")?;
                query.boolean("stream-leader-only")?;
                if leader_only {
                    return Err(Response::bad_request(NOT_LEADER.as_bytes().to_vec()));
                }
                Ok(Some(Absent::Jsz))
            }
            "/ipqueuesz" => {
                query.boolean("all")?;
                Ok(Some(Absent::Ipqueuesz))
            }
            "/raftz" => Err(Response::text(404, b"No Raft nodes registered".to_vec())),
            _ => Ok(None),
        }
    }

    pub(crate) fn body(self, site: &Site, now_unix_ns: u64, layout: Layout) -> Vec<u8> {
        let now = rfc3339_nano(now_unix_ns);
        let (server_id, server_name) = (&*site.server_id, &*site.server_name);
        match self {
            Absent::Routez => {
                let routez = Routez { server_id, server_name, now, num_routes: 0, routes: [] };
                json::write(&routez, layout)
            }
            Absent::Gatewayz => {
                let (outbound_gateways, inbound_gateways) = (Empty {}, Empty {});
                let gatewayz = Gatewayz { server_id, now, outbound_gateways, inbound_gateways };
                json::write(&gatewayz, layout)
            }
            Absent::Leafz => {
                json::write(&Leafz { server_id, now, leafnodes: 0, leafs: [] }, layout)
            }
            Absent::Jsz => json::write(&jsz(server_id, now), layout),
            Absent::Ipqueuesz | Absent::Raftz => json::write(&Empty {}, layout),
        }
    }
}

fn jsz(server_id: &str, now: String) -> Jsz<'_> {
    Jsz {
        usage: Usage::default(),
        server_id,
        now,
        disabled: true,
        config: JetStreamConfig { max_memory: 0, max_storage: 0 },
        streams: 0,
        consumers: 0,
        messages: 0,
        bytes: 0,
        total: 0,
    }
}
