//! What a session knows of the encryption beneath it. The bytes are the runtime's affair.

use std::sync::Arc;

use wire::{CloseReason, error_text};

use crate::effect::Effects;
use crate::ids::ConnId;
use crate::input::Name;
use crate::report::Event;
use crate::shard::Shard;

/// What a connection's greeting says of TLS, and when it goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsOffer {
    /// The client must use it; otherwise it may.
    pub required: bool,
    /// The client must show a certificate.
    pub verify: bool,
    /// INFO waits for [`Secured::Established`] or [`Secured::Silent`].
    pub first: bool,
}

/// How the encryption of a connection that was opened with a [`TlsOffer`] fares.
#[derive(Clone, Debug)]
pub enum Secured {
    /// The client has begun, or is waited for.
    Started,
    /// The handshake is done: all bytes from now on are protected.
    Established(Arc<TlsFacts>),
    /// The client waits for INFO before it begins.
    Silent,
    /// The client need not use TLS, and does not.
    Declined,
    /// The handshake took too long.
    TimedOut,
    /// Too many handshakes have begun this second.
    Throttled,
    /// The handshake went wrong.
    Failed {
        /// As the log says it.
        why: String,
        /// Whatever it is that connected, it does not know TLS at all: a probe, most likely.
        probe: bool,
    },
}

/// What was agreed in a handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite by Go's name.
    pub cipher: &'static str,
    /// It was done before INFO was sent.
    pub first: bool,
    /// It went on from an earlier connection's session.
    pub resumed: bool,
    /// The certificates the client showed, its own first. They have been verified.
    pub certificates: Vec<PeerCertificate>,
    /// What the client's own certificate calls it, in the order in which users are looked for:
    /// e-mail addresses, DNS names, URIs, then the subject in its forms. Empty without one.
    pub names: Vec<Name>,
}

/// A certificate as /connz shows it. Digests are lower-case hex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Its subject, in Go's order and spelling.
    pub subject: String,
    /// SHA-256 of the public key's SubjectPublicKeyInfo.
    pub spki_sha256: String,
    /// SHA-256 of the whole.
    pub cert_sha256: String,
}

impl Shard {
    /// The encryption of a connection has come on, or failed.
    pub(crate) fn secured(&mut self, conn: ConnId, secured: Secured, out: &mut Effects) {
        if self.client(conn).is_none() {
            return;
        }
        match secured {
            Secured::Started => self.note(conn, Event::TlsStarted, out),
            Secured::Established(facts) => {
                let (version, cipher) = (facts.version, facts.cipher);
                let greet = facts.first;
                if let Some(client) = self.client(conn) {
                    client.identity.set_tls(facts);
                }
                if greet {
                    self.send_info(conn, out);
                }
                self.note(conn, Event::TlsComplete, out);
                self.note(conn, Event::TlsAgreed { version, cipher }, out);
                self.begin(conn);
            }
            Secured::Silent => {
                if let Some(client) = self.client(conn)
                    && let Some(offer) = &mut client.offer
                {
                    offer.first = false;
                }
                self.send_info(conn, out);
            }
            Secured::Declined => self.begin(conn),
            Secured::TimedOut => {
                self.note(conn, Event::TlsTimedOut, out);
                // As with nats-server, a handshake's failure is flushed to nobody: this is for the
                // trace.
                self.send_err(conn, error_text::TLS_REQUIRED, out);
                self.close(conn, CloseReason::TlsHandshakeFailure, out);
            }
            Secured::Throttled => {
                self.send_err(conn, error_text::CONNECTION_THROTTLED, out);
                self.close(conn, CloseReason::MaximumConnectionsExceeded, out);
            }
            Secured::Failed { why, probe } => {
                self.note(conn, Event::TlsFailed { why, probe }, out);
                self.close(conn, CloseReason::TlsHandshakeFailure, out);
            }
        }
    }
}
