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
    words: Words,
}

/// What a client says of itself in words.
#[derive(Clone, Copy)]
enum Word {
    Name,
    Lang,
    Version,
    User,
    Nkey,
    Account,
}

const WORDS: usize = Word::Account as usize + 1;

/// They stand one behind the other, in one piece of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Words {
    all: Box<str>,
    /// Where each ends; the last one ends where all do.
    ends: [u32; WORDS - 1],
}

impl Words {
    fn of(&self, word: Word) -> &str {
        let at = word as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let end = self.ends.get(at).map_or(self.all.len(), |end| *end as usize);
        &self.all[start..end]
    }

    /// With these in the place of what was said before.
    fn with(&self, said: [Option<String>; WORDS]) -> Words {
        const ALL: [Word; WORDS] =
            [Word::Name, Word::Lang, Word::Version, Word::User, Word::Nkey, Word::Account];
        let words: [&str; WORDS] =
            std::array::from_fn(|at| said[at].as_deref().unwrap_or_else(|| self.of(ALL[at])));
        let mut end = 0;
        let ends = std::array::from_fn(|at| {
            end += words[at].len() as u32;
            end
        });
        Words { all: words.concat().into(), ends }
    }
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
            words: Words::default(),
        }
    }
}

impl Connect {
    /// Free-form name of the client.
    #[must_use]
    pub fn name(&self) -> &str {
        self.words.of(Word::Name)
    }

    /// Language of its library.
    #[must_use]
    pub fn lang(&self) -> &str {
        self.words.of(Word::Lang)
    }

    /// Version of its library.
    #[must_use]
    pub fn version(&self) -> &str {
        self.words.of(Word::Version)
    }

    /// User name. An empty one is the same as none.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.named(Word::User)
    }

    /// Public key. An empty one is the same as none.
    #[must_use]
    pub fn nkey(&self) -> Option<&str> {
        self.named(Word::Nkey)
    }

    fn named(&self, word: Word) -> Option<&str> {
        Some(self.words.of(word)).filter(|name| !name.is_empty())
    }

    /// What is left to refuse once the client has authenticated, in nats-server's order: an
    /// `account` of its own choice, an unknown protocol, no responders without headers (of the
    /// client or, by `server_headers`, of the server).
    ///
    /// # Errors
    ///
    /// The fault with which to close.
    pub fn check(&self, server_headers: bool) -> Result<(), Fault> {
        if self.new_account || self.named(Word::Account).is_some() {
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
        said: &mut [Option<String>; WORDS],
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
            "name" => set_text(&mut said[Word::Name as usize], value),
            "lang" => set_text(&mut said[Word::Lang as usize], value),
            "version" => set_text(&mut said[Word::Version as usize], value),
            "user" => set_text(&mut said[Word::User as usize], value),
            "nkey" => set_text(&mut said[Word::Nkey as usize], value),
            "account" => set_text(&mut said[Word::Account as usize], value),
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
    let mut said = [const { None }; WORDS];
    let mut secrets = Secrets::default();
    json::fields(json, |key, value| connect.set(&mut said, &mut secrets, key, value))
        .map_err(|wrong| Fault::BadConnect { what: wrong.to_string().into() })?;
    if said.iter().any(Option::is_some) {
        connect.words = connect.words.with(said);
    }
    Ok((connect, secrets))
}

fn set_bool(field: &mut bool, value: Value<'_>) -> Result<(), Wrong> {
    *field = value.bool()?.unwrap_or(*field);
    Ok(())
}

fn set_text(field: &mut Option<String>, value: Value<'_>) -> Result<(), Wrong> {
    if let Some(text) = value.text()? {
        *field = Some(text);
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
