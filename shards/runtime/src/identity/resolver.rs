//! Where accounts' tokens come from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use claims::{Kind, TOKEN_BYTES_MAX, is_public};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::directory::Directory;

/// How long a URL may take to answer, as nats-server has it.
pub const FETCH_TIMEOUT: Duration = Duration::from_millis(1900);

/// One of the places tokens may be.
#[derive(Debug)]
pub enum Resolver {
    /// In the configuration file.
    Memory(BTreeMap<String, String>),
    /// Behind a URL that ends where the account's key begins.
    Url(Url),
    /// In a directory of this server's own.
    Directory(Directory),
}

impl Resolver {
    /// The token of an account. Waits for the network or the disk.
    ///
    /// # Errors
    /// There is none, or the place can't be reached, in one line without secrets.
    pub fn fetch(&self, account: &str) -> Result<String, String> {
        if !is_public(Kind::Account, account) {
            return Err("will only fetch valid account keys".to_string());
        }
        let missing = || "account missing".to_string();
        match self {
            Resolver::Memory(tokens) => tokens.get(account).cloned().ok_or_else(missing),
            Resolver::Url(url) => url.get(account),
            Resolver::Directory(directory) => {
                directory.get(account).map_err(|error| error.to_string())?.ok_or_else(missing)
            }
        }
    }
}

/// The system's own authorities are believed.
fn tls() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = found.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build()
}

/// An HTTP server with a token behind each account's key.
#[derive(Debug)]
pub struct Url {
    base: String,
    agent: Agent,
}

impl Url {
    /// `base` may lack its last slash.
    pub fn new(base: &str, timeout: Duration) -> Url {
        let slash = if base.ends_with('/') { "" } else { "/" };
        let config = Agent::config_builder().timeout_global(Some(timeout));
        let config = match base.starts_with("https:") {
            true => config.tls_config(tls()).build(),
            false => config.build(),
        };
        Url { base: format!("{base}{slash}"), agent: config.into() }
    }

    /// Does it answer at all? A server that can't ask it does not start.
    ///
    /// # Errors
    /// In one line, without secrets.
    pub fn probe(&self) -> Result<(), String> {
        self.get("").map(drop)
    }

    fn get(&self, account: &str) -> Result<String, String> {
        let fault = |why: String| format!("could not fetch <{:?}>: {why}", self.shown(account));
        let mut answer = self
            .agent
            .get(format!("{}{account}", self.base))
            .call()
            .map_err(|error| fault(error.to_string()))?;
        let body = answer.body_mut().with_config().limit(TOKEN_BYTES_MAX as u64);
        body.read_to_string()
            .map(|token| token.trim().to_string())
            .map_err(|error| fault(error.to_string()))
    }

    /// Without a password.
    fn shown(&self, account: &str) -> String {
        let base = &self.base;
        let hidden = base.split_once("://").and_then(|(scheme, rest)| {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (who, place) = rest[..end].rsplit_once('@')?;
            let (user, _) = who.split_once(':')?;
            Some(format!("{scheme}://{user}:xxxxx@{place}{}", &rest[end..]))
        });
        format!("{}{account}", hidden.as_ref().unwrap_or(base))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    const ACCOUNT: &str = "ACODERUVFFAWZQDSS6SBIACUA5O6SXF7HJ3YTYXBALHZP3P7R4BUO4J2";

    /// Answers one request with `answer` and tells what it was asked.
    fn serve(answer: String) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base = format!("http://{}/jwt/v1/accounts", listener.local_addr().expect("a port"));
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a visitor");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut bytes = [0; 1024];
                let count = stream.read(&mut bytes).expect("a request");
                request.extend_from_slice(&bytes[..count]);
            }
            stream.write_all(answer.as_bytes()).expect("it listens");
            String::from_utf8_lossy(&request).into_owned()
        });
        (base, asked)
    }

    #[test]
    fn a_token_from_a_url() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\neyJ.x\n".to_string();
        let (base, asked) = serve(answer);
        let url = Resolver::Url(Url::new(&base, FETCH_TIMEOUT));
        assert_eq!(url.fetch(ACCOUNT), Ok("eyJ.x".to_string()));
        let request = asked.join().expect("one request");
        assert!(request.starts_with(&format!("GET /jwt/v1/accounts/{ACCOUNT} ")), "{request}");
    }

    #[test]
    fn a_url_that_says_no_and_a_password_that_is_not_shown() {
        let (base, asked) = serve("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into());
        let base = base.replace("http://", "http://bob:secret@");
        let why = Url::new(&base, FETCH_TIMEOUT).get(ACCOUNT).expect_err("404");
        assert!(
            why.contains("404") && why.contains("bob:xxxxx@") && !why.contains("secret"),
            "{why}"
        );
        asked.join().expect("one request");
    }

    #[test]
    fn a_password_with_what_ends_others_in_it() {
        let url = |base: &str| Url::new(base, FETCH_TIMEOUT).shown("");
        assert_eq!(url("http://bob:se@c:ret@host/a@b:c"), "http://bob:xxxxx@host/a@b:c/");
        assert_eq!(url("http://host/a:b@c"), "http://host/a:b@c/");
    }

    #[test]
    fn an_answer_beyond_bounds_is_cut_off() {
        let answer = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(TOKEN_BYTES_MAX + 10));
        let (base, asked) = serve(answer);
        assert!(Url::new(&base, Duration::from_secs(10)).get(ACCOUNT).is_err());
        drop(asked);
    }

    #[test]
    fn only_account_keys_are_asked_for() {
        let memory = Resolver::Memory(BTreeMap::from([("x".to_string(), "y".to_string())]));
        assert!(memory.fetch("x").is_err());
        assert_eq!(memory.fetch(ACCOUNT), Err("account missing".to_string()));
    }
}
