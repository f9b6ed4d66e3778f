//! `CONNECT`: what a client says about itself.

use crate::errors::Fault;
use crate::json::{self, Value, Wrong};

/// What a connection keeps of its `CONNECT`, in as little memory as it takes. Before its first one
/// that is [`Connect::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// `+OK` is wanted.
    pub verbose: bool,
    /// Subjects of publications are to be checked.
    pub pedantic: bool,
    /// Own publications are wanted back.
    pub echo: bool,
    /// Informational.
    pub tls_required: bool,
    /// The client takes and sends headers.
    pub headers: bool,
    /// The client wants to hear when nobody listens.
    pub no_responders: bool,
    /// Refused from clients.
    pub new_account: bool,
    /// 0, or 1 if INFO may come at any time.
    pub protocol: i64,
    /// Free-form name of the client.
    pub name: Box<str>,
    /// Language of its library.
    pub lang: Box<str>,
    /// Version of its library.
    pub version: Box<str>,
    /// None if all are empty.
    names: Option<Box<Names>>,
}

/// Who a client says it is. An empty text is the same as none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    user: Box<str>,
    nkey: Box<str>,
    account: Box<str>,
}

/// What a client shows with a `CONNECT` to prove who it is: never kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Password.
    pub pass: Option<String>,
    /// Token.
    pub auth_token: Option<String>,
    /// User JWT.
    pub jwt: Option<String>,
    /// Signature of the nonce.
    pub sig: Option<String>,
}

impl Default for Connect {
    /// What a client is taken for until it says otherwise: verbose, pedantic, wanting its echo.
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            tls_required: false,
            headers: false,
            no_responders: false,
            new_account: false,
            protocol: 0,
            name: Box::default(),
            lang: Box::default(),
            version: Box::default(),
            names: None,
        }
    }
}

impl Connect {
    /// User name.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.named(|names| &names.user)
    }

    /// Public key.
    #[must_use]
    pub fn nkey(&self) -> Option<&str> {
        self.named(|names| &names.nkey)
    }

    fn named(&self, which: impl Fn(&Names) -> &str) -> Option<&str> {
        self.names.as_deref().map(which).filter(|name| !name.is_empty())
    }

    /// What is left to refuse once the client has authenticated, in nats-server's order: an
    /// `account` of its own choice, an unknown protocol, no responders without headers (of the
    /// client or, by `server_headers`, of the server).
    ///
    /// # Errors
    ///
    /// The fault with which to close.
    pub fn check(&self, server_headers: bool) -> Result<(), Fault> {
        if self.new_account || self.named(|names| &names.account).is_some() {
            return Err(Fault::Authorization);
        }
        if !matches!(self.protocol, 0 | 1) {
            return Err(Fault::InvalidProtocol);
        }
        if self.no_responders && !(self.headers && server_headers) {
            return Err(Fault::NoRespondersNeedHeaders);
        }
        Ok(())
    }

    fn set(
        &mut self,
        names: &mut Names,
        secrets: &mut Secrets,
        key: &str,
        value: Value<'_>,
    ) -> Result<(), Wrong> {
        match key {
            "verbose" => set_bool(&mut self.verbose, value),
            "pedantic" => set_bool(&mut self.pedantic, value),
            "echo" => set_bool(&mut self.echo, value),
            "tls_required" => set_bool(&mut self.tls_required, value),
            "headers" => set_bool(&mut self.headers, value),
            "no_responders" => set_bool(&mut self.no_responders, value),
            "new_account" => set_bool(&mut self.new_account, value),
            "protocol" => {
                self.protocol = value.int()?.unwrap_or(self.protocol);
                Ok(())
            }
            "name" => set_text(&mut self.name, value),
            "lang" => set_text(&mut self.lang, value),
            "version" => set_text(&mut self.version, value),
            "user" => set_text(&mut names.user, value),
            "nkey" => set_text(&mut names.nkey, value),
            "account" => set_text(&mut names.account, value),
            "pass" => set_secret(&mut secrets.pass, value),
            "auth_token" => set_secret(&mut secrets.auth_token, value),
            "jwt" => set_secret(&mut secrets.jwt, value),
            "sig" => set_secret(&mut secrets.sig, value),
            // They say nothing to a server of clients, but must have the right type.
            "proxy_sig" | "remote_account" => value.text().map(drop),
            "import" | "export" => value.permission(),
            _ => Ok(()),
        }
    }
}

/// Reads the argument of a `CONNECT` over what the connection had said before: a key that is absent
/// or null keeps its value, the last of several counts, keys are compared without case.
///
/// # Errors
///
/// [`Fault::BadConnect`] for anything but an object (or null) whose known keys have the right type.
pub fn parse(previous: &Connect, json: &[u8]) -> Result<(Connect, Secrets), Fault> {
    let mut connect = previous.clone();
    let mut names = connect.names.take().map_or_else(Names::default, |names| *names);
    let mut secrets = Secrets::default();
    json::fields(json, |key, value| connect.set(&mut names, &mut secrets, key, value))
        .map_err(|wrong| Fault::BadConnect { what: wrong.to_string().into() })?;
    connect.names = (names != Names::default()).then(|| Box::new(names));
    Ok((connect, secrets))
}

fn set_bool(field: &mut bool, value: Value<'_>) -> Result<(), Wrong> {
    *field = value.bool()?.unwrap_or(*field);
    Ok(())
}

fn set_text(field: &mut Box<str>, value: Value<'_>) -> Result<(), Wrong> {
    if let Some(text) = value.text()? {
        *field = text.into();
    }
    Ok(())
}

/// An empty text is the same as none.
fn set_secret(field: &mut Option<String>, value: Value<'_>) -> Result<(), Wrong> {
    if let Some(text) = value.text()? {
        *field = Some(text).filter(|text| !text.is_empty());
    }
    Ok(())
}
