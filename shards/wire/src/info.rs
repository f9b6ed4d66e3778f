//! `INFO`: what the server says about itself.

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use crate::errors::Fault;
use crate::json::{self, Value};

/// The JSON of `INFO`, keys in nats-server's order. Empty strings and lists, zeros and `false` are
/// left out where nats-server leaves them out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the keys are the protocol's own")]
pub struct ServerInfo {
    pub server_id: String,
    pub server_name: String,
    pub version: String,
    pub proto: i32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_commit: String,
    pub go: String,
    pub host: String,
    pub port: u16,
    pub headers: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_verify: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_available: bool,
    /// Bytes, header included; -1 for no limit.
    pub max_payload: i32,
    #[serde(skip_serializing_if = "is_false")]
    pub jetstream: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub client_id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    #[serde(skip_serializing_if = "is_false")]
    pub cluster_dynamic: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ws_connect_urls: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub ldm: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
    #[serde(skip_serializing_if = "is_false")]
    pub connect_info: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_account: String,
    #[serde(skip_serializing_if = "is_false")]
    pub acc_is_sys: bool,
    #[serde(skip_serializing_if = "is_zero_i32")]
    pub api_lvl: i32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub xkey: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero_u64(value: &u64) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero_i32(value: &i32) -> bool {
    *value == 0
}

impl ServerInfo {
    /// Appends the JSON object.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write_json(self, out);
    }
}

/// Appends plain data as Go's `json.Marshal` writes it.
pub(crate) fn write_json(data: &impl Serialize, out: &mut Vec<u8>) {
    let mut serializer = Serializer::with_formatter(out, GoFormatter);
    // Plain data into a Vec: neither serde nor the writer has a way to fail.
    let written = data.serialize(&mut serializer);
    debug_assert!(written.is_ok());
}

/// Compact JSON with the characters that matter to HTML escaped, as Go writes it.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, special) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let Some(c) = special.chars().next() else {
                break;
            };
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &special[c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W>(&mut self, writer: &mut W, escape: CharEscape) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }
}

/// What a value in an `INFO` must be; `null` is always allowed.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    Uint {
        max: u64,
    },
    Text,
    Texts,
    /// Base64 text, or an array of byte values.
    Bytes,
    Permission,
}

const INT: Kind = Kind::Int { min: i64::MIN, max: i64::MAX };
const INT32: Kind = Kind::Int { min: i32::MIN as i64, max: i32::MAX as i64 };
const UINT64: Kind = Kind::Uint { max: u64::MAX };
const BYTE: Kind = Kind::Uint { max: u8::MAX as u64 };

/// Checks the argument of an `INFO` that a client sent. It means nothing, but nats-server closes
/// the connection if it can't be read as an `INFO`.
pub(crate) fn check(argument: &[u8]) -> Result<(), Fault> {
    json::fields(argument, |key, value| match kind(key) {
        Some(kind) => check_kind(kind, value),
        None => Ok(()),
    })
    .map_err(|wrong| Fault::BadInfo { what: wrong.to_string().into() })
}

fn kind(key: &str) -> Option<Kind> {
    Some(match key {
        "headers" | "auth_required" | "tls_required" | "tls_verify" | "tls_available"
        | "jetstream" | "cluster_dynamic" | "ldm" | "connect_info" | "acc_is_sys" | "lnoc"
        | "lnocu" | "ln" | "info_on_connect" | "gateway_nrp" | "gateway_iom" => Kind::Bool,
        "proto" | "port" | "api_lvl" | "route_pool_size" | "route_pool_idx" => INT,
        "max_payload" => INT32,
        "client_id" => UINT64,
        "gossip_mode" | "gateway_cmd" => BYTE,
        "gateway_cmd_payload" => Kind::Bytes,
        "connect_urls" | "ws_connect_urls" | "gateway_urls" | "leafnode_urls" => Kind::Texts,
        "import" | "export" => Kind::Permission,
        "server_id"
        | "server_name"
        | "version"
        | "git_commit"
        | "go"
        | "host"
        | "ip"
        | "client_ip"
        | "nonce"
        | "cluster"
        | "domain"
        | "compression"
        | "remote_account"
        | "route_account"
        | "route_acc_add_reqid"
        | "gateway"
        | "gateway_url"
        | "xkey" => Kind::Text,
        _ => return None,
    })
}

fn check_kind(kind: Kind, value: Value<'_>) -> Result<(), json::Wrong> {
    match kind {
        Kind::Bool => value.bool().map(drop),
        Kind::Int { min, max } => match value.int()? {
            Some(number) if number < min || number > max => Err(json::Wrong::kind("number")),
            _ => Ok(()),
        },
        Kind::Uint { max } => match value.uint()? {
            Some(number) if number > max => Err(json::Wrong::kind("number")),
            _ => Ok(()),
        },
        Kind::Text => value.text().map(drop),
        Kind::Texts => value.texts().map(drop),
        Kind::Bytes => value.check_bytes(),
        Kind::Permission => value.permission(),
    }
}
