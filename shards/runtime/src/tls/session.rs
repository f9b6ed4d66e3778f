//! One connection's TLS: records in, plain bytes out, and back. No sockets, no clock.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConfig};
use shard::TlsFacts;

use super::{identity, names};

/// What a client may say before its handshake is done, bytes: a `ClientHello` is a few hundred, a
/// chain of certificates a few thousand.
pub(super) const HANDSHAKE_BYTES_MAX: usize = 16 * 1024;
/// Plain bytes in one record.
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// What a record adds: a header, in TLS 1.2 a nonce, in TLS 1.3 a type, and the tag.
const RECORD_OVERHEAD_MAX: usize = 5 + 8 + 1 + 16;
/// An alert in a record.
const ALERT_BYTES_MAX: usize = 64;

/// The state of one connection. Its bounds: [`HANDSHAKE_BYTES_MAX`] of input before the handshake
/// is done, part of one record afterwards.
pub(super) struct Channel {
    tls: UnbufferedServerConnection,
    /// Came, and is not understood yet. rustls remembers where in it parts of a message are, so it
    /// must be shown this and nothing else.
    incoming: Vec<u8>,
    /// Records that carry nothing of the engine's, to be sent before anything else.
    pub outgoing: Vec<u8>,
    /// The first flight is answered: what is left to do is little.
    pub answered: bool,
    /// Its keys have sealed as much as they may: all that can be said yet is a goodbye. With rustls
    /// that is so after 2^24 records of TLS 1.2 with AES-GCM; TLS 1.3 gets new keys.
    pub is_used_up: bool,
}

/// What the peer has left to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// There will be more.
    More,
    /// It has said that there will not.
    End,
}

impl Channel {
    /// For a client that has said nothing yet. `first` goes out, unprotected, before all else.
    pub fn new(config: &Arc<ServerConfig>, first: Vec<u8>) -> Result<Channel, Error> {
        let tls = UnbufferedServerConnection::new(Arc::clone(config))?;
        let (incoming, outgoing) = (Vec::new(), first);
        Ok(Channel { tls, incoming, outgoing, answered: false, is_used_up: false })
    }

    /// Plain bytes may be exchanged.
    pub fn is_done(&self) -> bool {
        !self.tls.is_handshaking()
    }

    /// Keeps bytes to be understood later. False if they are more than a handshake needs.
    pub fn keep(&mut self, bytes: &[u8]) -> bool {
        self.incoming.extend_from_slice(bytes);
        self.incoming.len() <= HANDSHAKE_BYTES_MAX
    }

    /// Does what was kept begin as TLS does?
    pub fn looks_like_tls(&self) -> bool {
        self.answered || self.incoming.first().is_none_or(|byte| *byte == 0x16)
    }

    /// Understands what was kept and `bytes`. Plain bytes go to `hear`, which is only called once
    /// [`Channel::is_done`]; answers and alerts go to `outgoing`.
    ///
    /// # Errors
    /// What the peer did wrong. The alert is in `outgoing`; nothing can be exchanged any more.
    pub fn take_in(
        &mut self,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<Heard, Error> {
        scratch.clear();
        scratch.extend_from_slice(&self.incoming);
        scratch.extend_from_slice(bytes);
        self.incoming.clear();
        let mut used = 0;
        let heard = self.understand(scratch, &mut used, hear);
        if heard.is_ok() && used < scratch.len() {
            self.incoming.extend_from_slice(&scratch[used..]);
        } else {
            // An idle connection keeps no buffer.
            self.incoming = Vec::new();
        }
        heard
    }

    fn understand(
        &mut self,
        input: &mut [u8],
        used: &mut usize,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<Heard, Error> {
        loop {
            let UnbufferedStatus { discard, state } =
                self.tls.process_tls_records(&mut input[*used..]);
            let mut over = None;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        hear(record?.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.outgoing, |room| data.encode(room));
                    self.answered = true;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    over = Some(Ok(Heard::End));
                }
                // Early data is off; a state that does not exist yet asks for nothing.
                Ok(_) => over = Some(Ok(Heard::More)),
                Err(error) => over = Some(Err(error)),
            }
            *used += discard;
            match over {
                None => {}
                Some(Ok(heard)) => return Ok(heard),
                Some(Err(error)) => {
                    self.take_alert();
                    return Err(error);
                }
            }
        }
    }

    /// An error leaves an alert behind, most of the time. If it does not, nothing may be asked
    /// any more: rustls would look for the rest of a message where there is nothing.
    fn take_alert(&mut self) {
        if !self.tls.wants_write() {
            return;
        }
        let status = self.tls.process_tls_records(&mut []);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
            append(&mut self.outgoing, |room| data.encode(room));
        }
    }

    /// Appends records that carry `plain` at `at` of `sealed`, which grows as needed; gives where
    /// they end. None if the keys are used up: the connection is over.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>, mut at: usize) -> Option<usize> {
        let mut room = sealed_bytes_max(plain.len());
        loop {
            if sealed.len() < at + room {
                sealed.resize(at + room, 0);
            }
            match self.tls.process_tls_records(&mut self.incoming).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    match traffic.encrypt(plain, &mut sealed[at..]) {
                        Ok(written) => return Some(at + written),
                        Err(EncryptError::InsufficientSize(more)) => room = more.required_size,
                        Err(EncryptError::EncryptExhausted) => return None,
                    }
                }
                // An answer that was not asked for yet goes first.
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let mut answer = Vec::new();
                    append(&mut answer, |room| data.encode(room));
                    sealed.truncate(at);
                    sealed.extend_from_slice(&answer);
                    at += answer.len();
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                // It has ended its side; ours goes on.
                Ok(ConnectionState::PeerClosed) => {}
                _ => return None,
            }
        }
    }

    /// Says goodbye, in `outgoing`.
    pub fn say_goodbye(&mut self) {
        for _ in 0..4 {
            match self.tls.process_tls_records(&mut self.incoming).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let mut alert = [0; ALERT_BYTES_MAX];
                    if let Ok(written) = traffic.queue_close_notify(&mut alert) {
                        self.outgoing.extend_from_slice(&alert[..written]);
                    }
                    return;
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.outgoing, |room| data.encode(room));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                _ => return,
            }
        }
    }

    /// What was agreed. Only once [`Channel::is_done`].
    pub fn facts(&self, first: bool) -> TlsFacts {
        let chain = self.tls.peer_certificates().unwrap_or_default();
        let suite = self.tls.negotiated_cipher_suite();
        TlsFacts {
            version: match self.tls.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                _ => "1.3",
            },
            cipher: suite.map_or("unknown", |suite| names::of_suite(suite.suite())),
            first,
            resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
            certificates: identity::certificates(chain),
            names: chain.first().map(identity::names).unwrap_or_default(),
        }
    }
}

/// How many bytes of records so many plain ones need at most, with an alert in front.
pub(super) fn sealed_bytes_max(plain: usize) -> usize {
    plain + plain.div_ceil(RECORD_BYTES_MAX) * RECORD_OVERHEAD_MAX + ALERT_BYTES_MAX
}

/// Lets `encode` append to `out`, which grows as much as it asks for.
fn append(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let at = out.len();
    let written = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(needed)) => {
            out.resize(at + needed.required_size, 0);
            encode(&mut out[at..]).unwrap_or(0)
        }
        Ok(written) => written,
        Err(EncodeError::AlreadyEncoded) => 0,
    };
    out.truncate(at + written);
}

/// An error in the words Go has for the commonest; others in rustls's.
pub(super) fn in_words(error: &Error) -> String {
    match error {
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        Error::InvalidCertificate(why) => format!("tls: failed to verify certificate: {why:?}"),
        Error::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
        Error::InvalidMessage(_) => {
            "tls: first record does not look like a TLS handshake".to_owned()
        }
        Error::PeerIncompatible(why) => format!("tls: no common ground: {why:?}"),
        Error::PeerMisbehaved(why) => format!("tls: {why:?}"),
        error => format!("tls: {error}"),
    }
}
