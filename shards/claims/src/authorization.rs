//! The dialogue with an authorization service: a signed request of the server, and its answer,
//! which holds the user's token.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512_256};

use crate::key::{self, Kind};
use crate::token::{Claims, Fault, Known, decode};

const AUDIENCE: &str = "nats-authorization-request";
const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// The server that asks.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ServerId {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub host: String,
    /// Its public nkey.
    pub id: String,
    /// The version of nats-server it stands in for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Its cluster; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its public curve key, if requests are sealed; else empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub xkey: String,
}

/// The connection that wants in.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClientInfo {
    /// Its address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Its number on the server.
    pub id: u64,
    /// Who it says it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// From its CONNECT.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What the user of its token is tagged with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What that user is called.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_tag: String,
    /// `Client`.
    pub kind: &'static str,
    /// `nats`.
    #[serde(rename = "type")]
    pub transport: &'static str,
    /// The nonce it was given, if it signed it; else empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
}

/// What it showed in its CONNECT.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConnectOptions {
    /// A user's token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jwt: String,
    /// A public nkey.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nkey: String,
    /// The nonce's signature.
    #[serde(rename = "sig", skip_serializing_if = "String::is_empty")]
    pub signature: String,
    /// `auth_token`.
    #[serde(rename = "auth_token", skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// `user`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `pass`.
    #[serde(rename = "pass", skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// `name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `lang`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lang: String,
    /// `version`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `protocol`.
    pub protocol: i64,
}

/// Of a TLS connection: version, cipher suite, and the certificates it showed, PEM.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TlsFacts {
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cipher: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    verified_chains: Vec<Vec<String>>,
}

/// See [`TlsFacts`]; a chain that was verified, or else the certificates as they came.
pub fn tls_facts(version: &str, cipher: &str, certs: Vec<String>, verified: bool) -> TlsFacts {
    let (certs, verified_chains) = match (certs.is_empty(), verified) {
        (false, true) => (Vec::new(), vec![certs]),
        _ => (certs, Vec::new()),
    };
    TlsFacts { version: version.to_string(), cipher: cipher.to_string(), certs, verified_chains }
}

/// What a service is asked.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// Who asks.
    pub server_id: ServerId,
    /// A key made for this request alone: the answer's user must have it.
    pub user_nkey: String,
    /// Who wants in.
    pub client_info: ClientInfo,
    /// What it showed.
    pub connect_opts: ConnectOptions,
    /// How it came, over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_tls: Option<TlsFacts>,
}

#[derive(Serialize)]
struct Signed<'r> {
    aud: &'static str,
    exp: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    jti: &'r str,
    iat: i64,
    iss: &'r str,
    sub: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nats: Option<Body<'r>>,
}

#[derive(Serialize)]
struct Body<'r> {
    #[serde(flatten)]
    request: &'r Request,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u32,
}

/// The request's token, signed by the server. `subject` is the issuer or account it is meant for.
///
/// # Errors
/// The server's key can't sign.
pub fn request(
    server: &KeyPair,
    subject: &str,
    request: &Request,
    now_s: i64,
    expires_s: i64,
) -> Result<String, Fault> {
    let issuer = server.public_key();
    let mut signed = Signed {
        aud: AUDIENCE,
        exp: expires_s,
        jti: "",
        iat: now_s,
        iss: &issuer,
        sub: subject,
        nats: None,
    };
    let id = BASE32_NOPAD.encode(&Sha512_256::digest(json(&signed)?));
    signed.jti = &id;
    signed.nats = Some(Body { request, kind: "authorization_request", version: 2 });
    let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let text = format!("{}.{}", encode(HEADER.as_bytes()), encode(&json(&signed)?));
    let signature =
        server.sign(text.as_bytes()).map_err(|error| Fault::Invalid(error.to_string()))?;
    Ok(format!("{text}.{}", encode(&signature)))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(|error| Fault::Invalid(error.to_string()))
}

/// What a service answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Response {
    /// What every token says; its audience is the server, its subject the key of the request.
    #[serde(flatten)]
    pub claims: Claims,
    nats: Answer,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Answer {
    jwt: String,
    error: String,
    issuer_account: String,
}

impl Response {
    /// The user's token.
    ///
    /// # Errors
    /// The service said no, and why.
    pub fn user_token(&self) -> Result<&str, String> {
        match self.nats.error.is_empty() {
            true => Ok(&self.nats.jwt),
            false => Err(format!("auth callout service returned an error: {}", self.nats.error)),
        }
    }

    /// The account it says a signing key signed for; may be empty.
    pub fn issuer_account(&self) -> &str {
        &self.nats.issuer_account
    }
}

/// Reads an answer, meant for this server and the request with this user key.
///
/// # Errors
/// It is none, says what can't be, or is meant for somebody else.
pub fn read_response(
    token: &str,
    server_id: &str,
    user_nkey: &str,
    now_s: i64,
) -> Result<Response, String> {
    let response = match decode(token) {
        Ok(Known::Response(response)) => *response,
        Ok(_) => return Err("not an authorization response claim".to_string()),
        Err(fault) => return Err(fault.to_string()),
    };
    let Response { claims, nats } = &response;
    let faults = [
        (!key::is_public(Kind::User, &claims.subject), "Subject must be a user public key"),
        (!key::is_public(Kind::Server, &claims.audience), "Audience must be a server public key"),
        (nats.error.is_empty() && nats.jwt.is_empty(), "Error or Jwt is required"),
        (!nats.error.is_empty() && !nats.jwt.is_empty(), "Only Error or Jwt can be set"),
        (
            !nats.issuer_account.is_empty() && !key::is_public(Kind::Account, &nats.issuer_account),
            "issuer_account is not an account public key",
        ),
    ];
    if let Some((_, why)) = faults.iter().find(|(broken, _)| *broken) {
        return Err(format!("authorization response had validation errors: {why}"));
    }
    claims
        .check_time(now_s)
        .map_err(|why| format!("authorization response had validation errors: {why}"))?;
    if claims.subject != user_nkey {
        return Err("auth callout violation: auth callout response is not for expected user".into());
    }
    if claims.audience != server_id {
        return Err("auth callout violation: auth callout response is not for server".into());
    }
    Ok(response)
}
