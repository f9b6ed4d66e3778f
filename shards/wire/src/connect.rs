//! `CONNECT`: what a client says about itself.

use crate::errors::Fault;
use crate::json::{self, Value, Wrong};

/// The options of a client. Before its first `CONNECT` they are [`Connect::default`].
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
    /// 0, or 1 if INFO may come at any time.
    pub protocol: i64,
    /// Free-form name of the client.
    pub name: String,
    /// Language of its library.
    pub lang: String,
    /// Version of its library.
    pub version: String,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub pass: Option<String>,
    /// Token.
    pub auth_token: Option<String>,
    /// User JWT.
    pub jwt: Option<String>,
    /// Public key.
    pub nkey: Option<String>,
    /// Signature of the nonce.
    pub sig: Option<String>,
    /// Signature of the nonce by a trusted proxy.
    pub proxy_sig: Option<String>,
    /// Refused from clients.
    pub account: Option<String>,
    /// Refused from clients.
    pub new_account: bool,
    /// For leafnodes and routes only.
    pub remote_account: Option<String>,
    /// For leafnodes and routes only.
    pub import: Option<SubjectPermission>,
    /// For leafnodes and routes only.
    pub export: Option<SubjectPermission>,
}

/// What a connection keeps of its `CONNECT`, in as little memory as it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// `+OK` is wanted.
    pub verbose: bool,
    /// Subjects of publications are to be checked.
    pub pedantic: bool,
    /// Own publications are wanted back.
    pub echo: bool,
    tls_required: bool,
    /// The client takes and sends headers.
    pub headers: bool,
    /// The client wants to hear when nobody listens.
    pub no_responders: bool,
    new_account: bool,
    /// 0, or 1 if INFO may come at any time.
    pub protocol: i64,
    /// Free-form name of the client.
    pub name: Box<str>,
    /// Language of its library.
    pub lang: Box<str>,
    /// Version of its library.
    pub version: Box<str>,
    names: Option<Box<Names>>,
}

/// Who it said it was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    user: Option<String>,
    nkey: Option<String>,
    account: Option<String>,
}

/// Subjects allowed and denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectPermission {
    /// Patterns allowed.
    pub allow: Vec<String>,
    /// Patterns denied.
    pub deny: Vec<String>,
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
            protocol: 0,
            name: String::new(),
            lang: String::new(),
            version: String::new(),
            user: None,
            pass: None,
            auth_token: None,
            jwt: None,
            nkey: None,
            sig: None,
            proxy_sig: None,
            account: None,
            new_account: false,
            remote_account: None,
            import: None,
            export: None,
        }
    }
}

impl Default for Settled {
    fn default() -> Self {
        Connect::default().settle()
    }
}

impl Settled {
    /// User name.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.names.as_ref()?.user.as_deref()
    }

    /// Public key.
    #[must_use]
    pub fn nkey(&self) -> Option<&str> {
        self.names.as_ref()?.nkey.as_deref()
    }

    /// What is left to refuse once the client has authenticated, in nats-server's order: an
    /// `account` of its own choice, an unknown protocol, no responders without headers (of the
    /// client or, by `server_headers`, of the server).
    ///
    /// # Errors
    ///
    /// The fault with which to close.
    pub fn check(&self, server_headers: bool) -> Result<(), Fault> {
        let chooses = self.names.as_ref().is_some_and(|names| names.account.is_some());
        if self.new_account || chooses {
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

    /// The options to read another `CONNECT` over.
    fn again(&self) -> Connect {
        let text =
            |of: fn(&Names) -> &Option<String>| self.names.as_deref().and_then(|n| of(n).clone());
        Connect {
            verbose: self.verbose,
            pedantic: self.pedantic,
            echo: self.echo,
            tls_required: self.tls_required,
            headers: self.headers,
            no_responders: self.no_responders,
            new_account: self.new_account,
            protocol: self.protocol,
            name: self.name.to_string(),
            lang: self.lang.to_string(),
            version: self.version.to_string(),
            user: text(|names| &names.user),
            nkey: text(|names| &names.nkey),
            account: text(|names| &names.account),
            ..Connect::default()
        }
    }
}

impl Connect {
    /// What stays of it: nothing that must be kept secret or that means nothing from a client.
    #[must_use]
    pub fn settle(self) -> Settled {
        let Connect { user, nkey, account, .. } = self;
        let has_names = user.is_some() || nkey.is_some() || account.is_some();
        Settled {
            verbose: self.verbose,
            pedantic: self.pedantic,
            echo: self.echo,
            tls_required: self.tls_required,
            headers: self.headers,
            no_responders: self.no_responders,
            new_account: self.new_account,
            protocol: self.protocol,
            name: self.name.into(),
            lang: self.lang.into(),
            version: self.version.into(),
            names: has_names.then(|| Box::new(Names { user, nkey, account })),
        }
    }

    fn set(&mut self, key: &str, value: Value<'_>) -> Result<(), Wrong> {
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
            "user" => set_secret(&mut self.user, value),
            "pass" => set_secret(&mut self.pass, value),
            "auth_token" => set_secret(&mut self.auth_token, value),
            "jwt" => set_secret(&mut self.jwt, value),
            "nkey" => set_secret(&mut self.nkey, value),
            "sig" => set_secret(&mut self.sig, value),
            "proxy_sig" => set_secret(&mut self.proxy_sig, value),
            "account" => set_secret(&mut self.account, value),
            "remote_account" => set_secret(&mut self.remote_account, value),
            "import" => set_permission(&mut self.import, value),
            "export" => set_permission(&mut self.export, value),
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
pub fn parse(previous: &Settled, json: &[u8]) -> Result<Connect, Fault> {
    let mut connect = previous.again();
    json::fields(json, |key, value| connect.set(key, value))
        .map_err(|wrong| Fault::BadConnect { what: wrong.to_string().into() })?;
    Ok(connect)
}

fn set_bool(field: &mut bool, value: Value<'_>) -> Result<(), Wrong> {
    *field = value.bool()?.unwrap_or(*field);
    Ok(())
}

fn set_text(field: &mut String, value: Value<'_>) -> Result<(), Wrong> {
    if let Some(text) = value.text()? {
        *field = text;
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

fn set_permission(field: &mut Option<SubjectPermission>, value: Value<'_>) -> Result<(), Wrong> {
    *field = value.permission(field.as_ref())?;
    Ok(())
}
