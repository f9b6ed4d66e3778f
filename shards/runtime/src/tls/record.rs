//! Records of TLS 1.3 once the handshake is done: they are opened where the kernel has put them,
//! and sealed where it takes them from. rustls made the keys, and makes those that follow.
//!
//! RFC 8446, sections 4.6.3, 5 and 6. Nothing but data, alerts and updates of keys is understood;
//! anything else ends the connection.

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{ConnectionTrafficSecrets, Error, InvalidMessage, PeerMisbehaved};

use super::session::Heard;

const HEADER_BYTES: usize = 5;
const TAG_BYTES: usize = 16;
/// What a record adds: header, type, tag.
const OVERHEAD_BYTES: usize = HEADER_BYTES + 1 + TAG_BYTES;
/// Plain bytes of one record.
const PLAIN_BYTES_MAX: usize = 16 * 1024;
/// What may follow a header: the plain bytes, and up to 256 that the protection adds.
const BODY_BYTES_MAX: usize = PLAIN_BYTES_MAX + 256;
/// Records without data that a peer may send in a row.
const EMPTY_MAX: u32 = 32;
/// From here on an update of keys is due, so far from the end that it can still be sent.
const KEEP_RECORDS: u64 = 16;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const DECODE_ERROR: u8 = 50;
const INTERNAL_ERROR: u8 = 80;
const USER_CANCELED: u8 = 90;

/// Both directions of one connection.
pub(super) struct Records {
    opener: Keys,
    sealer: Keys,
    secrets: KernelConnection<ServerConnectionData>,
    /// Records that may be sealed with one key.
    sealed_max: u64,
    /// Records without data since the last one with some.
    empty: u32,
    /// The peer has said that it will say no more.
    ended: bool,
}

/// A key, and the number of the next record. No number is used twice with a key: `next` only grows,
/// and at its end nothing is sealed any more.
pub(super) struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    next: u64,
}

impl Records {
    /// Takes over from rustls, which has nothing more to send.
    ///
    /// # Errors
    /// rustls keeps its secrets to itself: the handshake is not done, or the configuration says so.
    pub fn new(tls: UnbufferedServerConnection) -> Result<Records, Error> {
        let (extracted, secrets) = tls.dangerous_into_kernel_connection()?;
        let suite = secrets.negotiated_cipher_suite();
        let common = suite.tls13().map(|suite| &suite.common);
        let sealed_max = common.map_or(0, |common| common.confidentiality_limit);
        Ok(Records {
            opener: Keys::new(extracted.rx)?,
            sealer: Keys::new(extracted.tx)?,
            secrets,
            sealed_max,
            empty: 0,
            ended: false,
        })
    }

    /// Opens the whole records at the start of `bytes`, where they are; gives how many bytes they
    /// were. Their plain bytes go to `hear` together; records in answer are appended to `outgoing`.
    ///
    /// # Errors
    /// What the peer did wrong. What came before was heard, and the alert is in `outgoing`.
    pub fn open(
        &mut self,
        bytes: &mut [u8],
        outgoing: &mut Vec<u8>,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Error> {
        // Records up to `used` are opened; their plain bytes are moved together, up to `plain`.
        let (mut used, mut plain) = (0, 0);
        let done = loop {
            if self.ended {
                used = bytes.len();
                break Ok(());
            }
            let length = match record_bytes(&bytes[used..]) {
                Ok(Some(length)) => length,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let record = &mut bytes[plain..used + length];
            let opened = self.opener.open(record, used - plain);
            used += length;
            let heard = match opened {
                Ok((DATA, content)) if content > 0 => {
                    plain += content;
                    self.empty = 0;
                    continue;
                }
                Ok((kind, content)) => {
                    let content = &bytes[plain..plain + content];
                    self.control(kind, content, outgoing)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = heard {
                break Err(error);
            }
        };
        if plain > 0 {
            hear(&bytes[..plain]);
        }
        if let Err(error) = &done
            && let Some(alert) = alert_for(error)
        {
            self.say(ALERT, &[2, alert], outgoing);
        }
        done.map(|()| used)
    }

    /// Has the peer said that it will say no more?
    pub fn heard(&self) -> Heard {
        if self.ended { Heard::End } else { Heard::More }
    }

    /// A record that carries no data.
    fn control(&mut self, kind: u8, content: &[u8], outgoing: &mut Vec<u8>) -> Result<(), Error> {
        self.empty += 1;
        if self.empty > EMPTY_MAX {
            return Err(Error::PeerMisbehaved(PeerMisbehaved::TooManyKeyUpdateRequests));
        }
        match (kind, content) {
            (DATA, []) | (ALERT, [_, USER_CANCELED]) => Ok(()),
            (ALERT, [_, CLOSE_NOTIFY]) => {
                self.ended = true;
                Ok(())
            }
            (ALERT, [_, alert]) => Err(Error::AlertReceived((*alert).into())),
            // An update of its keys, and whether it wants one of ours.
            (HANDSHAKE, [24, 0, 0, 1, wants @ 0..=1]) => {
                self.opener = Keys::new(self.secrets.update_rx_secret()?)?;
                if *wants == 1 { self.update(outgoing) } else { Ok(()) }
            }
            (HANDSHAKE, [24, ..]) => Err(InvalidMessage::InvalidKeyUpdate.into()),
            (ALERT | HANDSHAKE, []) => Err(InvalidMessage::InvalidEmptyPayload.into()),
            _ => Err(InvalidMessage::InvalidContentType.into()),
        }
    }

    /// Says that other keys are used from here on, and uses them.
    fn update(&mut self, outgoing: &mut Vec<u8>) -> Result<(), Error> {
        self.say(HANDSHAKE, &[24, 0, 0, 1, 0], outgoing).ok_or(Error::EncryptError)?;
        self.sealer = Keys::new(self.secrets.update_tx_secret()?)?;
        Ok(())
    }

    /// Appends records that carry `plain` at `at` of `sealed`, which grows as needed; gives where
    /// they end. None if the keys are used up: the connection is over.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>, mut at: usize) -> Option<usize> {
        let records = plain.len().div_ceil(PLAIN_BYTES_MAX);
        let room = plain.len() + records * OVERHEAD_BYTES;
        if sealed.len() < at + room {
            sealed.resize(at + room, 0);
        }
        for part in plain.chunks(PLAIN_BYTES_MAX) {
            if self.is_worn() {
                let mut said = Vec::new();
                self.update(&mut said).ok()?;
                sealed.splice(at..at, said.iter().copied());
                at += said.len();
            }
            at += self.sealer.seal(DATA, part, &mut sealed[at..])?;
        }
        Some(at)
    }

    fn is_worn(&self) -> bool {
        self.sealer.next.saturating_add(KEEP_RECORDS) >= self.sealed_max
    }

    /// Says goodbye, in `outgoing`.
    pub fn say_goodbye(&mut self, outgoing: &mut Vec<u8>) {
        self.say(ALERT, &[1, CLOSE_NOTIFY], outgoing);
    }

    fn say(&mut self, kind: u8, content: &[u8], outgoing: &mut Vec<u8>) -> Option<()> {
        let at = outgoing.len();
        outgoing.resize(at + content.len() + OVERHEAD_BYTES, 0);
        let sealed = self.sealer.seal(kind, content, &mut outgoing[at..]);
        outgoing.truncate(at + sealed.unwrap_or(0));
        sealed.map(|_| ())
    }

    #[cfg(test)]
    pub fn wear_after(&mut self, records: u64) {
        self.sealed_max = records + KEEP_RECORDS;
    }

    #[cfg(test)]
    pub fn sealed(&self) -> u64 {
        self.sealer.next
    }
}

impl Keys {
    pub fn new((next, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Keys, Error> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("a cipher without a name".into())),
        };
        let unfit = |_| Error::General("a key of another length".into());
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).map_err(unfit)?);
        let mut own = [0; 12];
        own.copy_from_slice(iv.as_ref());
        Ok(Keys { key, iv: own, next })
    }

    /// The nonce of the next record.
    fn nonce(&mut self) -> Option<Nonce> {
        let number = self.next;
        self.next = number.checked_add(1)?;
        let mut nonce = self.iv;
        for (byte, bits) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= bits;
        }
        Some(Nonce::assume_unique_for_key(nonce))
    }

    /// Opens the record that begins at `at` of `bytes` and ends where they end. What it carries is
    /// put at their start; gives its type and how many bytes it is.
    pub fn open(&mut self, bytes: &mut [u8], at: usize) -> Result<(u8, usize), Error> {
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes[at..at + HEADER_BYTES]);
        let nonce = self.nonce().ok_or(Error::DecryptError)?;
        let opened = self.key.open_within(nonce, Aad::from(header), bytes, at + HEADER_BYTES..);
        let opened = opened.map_err(|_| Error::DecryptError)?;
        // The type is the last byte that is not padding.
        let last = opened.iter().rposition(|byte| *byte != 0);
        let last = last.ok_or(Error::InvalidMessage(InvalidMessage::InvalidContentType))?;
        if last > PLAIN_BYTES_MAX {
            return Err(Error::PeerSentOversizedRecord);
        }
        Ok((opened[last], last))
    }

    /// A record at the start of `room`; gives where it ends. None if no number is left.
    pub fn seal(&mut self, kind: u8, plain: &[u8], room: &mut [u8]) -> Option<usize> {
        let (body, end) = (HEADER_BYTES + plain.len() + 1, plain.len() + OVERHEAD_BYTES);
        let length = u16::try_from(end - HEADER_BYTES).ok()?.to_be_bytes();
        let header = [DATA, 3, 3, length[0], length[1]];
        let room = room.get_mut(..end)?;
        room[..HEADER_BYTES].copy_from_slice(&header);
        room[HEADER_BYTES..body - 1].copy_from_slice(plain);
        room[body - 1] = kind;
        let nonce = self.nonce()?;
        let content = &mut room[HEADER_BYTES..body];
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(header), content).ok()?;
        room[body..].copy_from_slice(tag.as_ref());
        Some(end)
    }
}

/// How long the record is that `bytes` begin with, if all of it is there.
fn record_bytes(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(length) = record_bytes_wanted(bytes)? else { return Ok(None) };
    Ok((bytes.len() >= length).then_some(length))
}

/// How long the record is that `bytes` begin with, if its header is there.
///
/// # Errors
/// It can't be one.
pub(super) fn record_bytes_wanted(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let [kind, _, _, high, low, ..] = *bytes else { return Ok(None) };
    if kind != DATA {
        return Err(InvalidMessage::InvalidContentType.into());
    }
    let body = usize::from(u16::from_be_bytes([high, low]));
    if body > BODY_BYTES_MAX {
        return Err(Error::PeerSentOversizedRecord);
    }
    Ok(Some(HEADER_BYTES + body))
}

/// What the peer is told, unless it was the one that told.
fn alert_for(error: &Error) -> Option<u8> {
    Some(match error {
        Error::AlertReceived(_) => return None,
        Error::DecryptError => BAD_RECORD_MAC,
        Error::PeerSentOversizedRecord => RECORD_OVERFLOW,
        Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate) => DECODE_ERROR,
        Error::InvalidMessage(_) | Error::PeerMisbehaved(_) => UNEXPECTED_MESSAGE,
        _ => INTERNAL_ERROR,
    })
}
