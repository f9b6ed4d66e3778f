//! Publications packed for a peer shard: the inside of [`crate::Frame::Deliver`].
//!
//! It begins with the time at which the first publication came in, and with its weight: about what
//! it makes for one receiver, in bytes. A record is a fixed head, then group names, subject and the
//! ready-made end of the MSG line with its payload. Written and read by shards of one process, so a
//! malformed record is a fault of ours and asserts.

use crate::ids::{AccountId, ConnId, Nanos};
use crate::router::Publication;

/// A publication as one peer needs it.
pub(crate) struct Delivery<'a> {
    /// The message.
    pub publication: Publication<'a>,
    /// Its publisher on the sending shard.
    pub origin: ConnId,
    /// It goes to plain subscriptions too, not only to `groups`.
    pub plain: bool,
    /// The queue groups for which this peer was chosen.
    pub groups: Groups<'a>,
    /// How many messages there are: all as long as `publication`, which is the first, and like it
    /// but for their payloads.
    pub msgs: usize,
    /// Their tails, one after the other.
    pub tails: &'a [u8],
}

/// Flags of a record: it goes to plain subscriptions too.
const PLAIN: u8 = 1;
/// It came by an imported service.
const FROM_SERVICE: u8 = 2;

/// Length-prefixed group names.
#[derive(Clone, Copy)]
pub(crate) struct Groups<'a>(&'a [u8]);

/// Set on a group's length when the delivery was claimed beforehand.
const CLAIMED: u32 = 1 << 31;

/// Before each group name: its length, and whether it was claimed.
const GROUP_HEAD_LEN: usize = 4;

const HEAD_LEN: usize = 41;

/// Bytes of the time, and of the weight.
const SINCE_LEN: usize = 8;
const WEIGHT_LEN: usize = 4;
/// Bytes before the first record.
const BEGIN_LEN: usize = SINCE_LEN + WEIGHT_LEN;

/// Makes room for so many bytes of records, and begins the batch if it is empty.
#[inline]
fn begin(out: &mut Vec<u8>, since: Nanos, len: usize) {
    out.reserve(BEGIN_LEN + len);
    if out.is_empty() {
        out.extend_from_slice(&since.to_le_bytes());
        out.extend_from_slice(&[0; WEIGHT_LEN]);
    }
}

/// Writes down what the records of a batch weigh.
pub(crate) fn weigh(batch: &mut [u8], weight: usize) {
    let weight = u32::try_from(weight).unwrap_or(u32::MAX);
    batch[SINCE_LEN..BEGIN_LEN].copy_from_slice(&weight.to_le_bytes());
}

/// What a batch weighs.
pub(crate) fn weight(batch: &[u8]) -> usize {
    let weight = batch[SINCE_LEN..].first_chunk().expect("a batch has a beginning");
    u32::from_le_bytes(*weight) as usize
}

/// When the first publication of a batch came in, and the records.
pub(crate) fn begun(batch: &[u8]) -> (Nanos, &[u8]) {
    let (since, _) = batch.split_first_chunk().expect("a batch has a beginning");
    (Nanos::from_le_bytes(*since), &batch[BEGIN_LEN..])
}

/// Appends one record of a publication that came in at `since`; gives its weight.
pub(crate) fn write(
    out: &mut Vec<u8>,
    since: Nanos,
    publication: &Publication<'_>,
    origin: ConnId,
    plain: bool,
    groups: &[(&[u8], bool)],
) -> usize {
    let groups_len: usize = groups.iter().map(|(name, _)| GROUP_HEAD_LEN + name.len()).sum();
    let subject = publication.subject;
    let len = HEAD_LEN + groups_len + subject.len() + publication.tail.len();
    begin(out, since, len);
    out.extend_from_slice(&head(publication, origin, plain, groups_len, 1));
    for (name, claimed) in groups {
        let mark = if *claimed { CLAIMED } else { 0 };
        out.extend_from_slice(&(name.len() as u32 | mark).to_le_bytes());
        out.extend_from_slice(name);
    }
    out.extend_from_slice(subject);
    out.extend_from_slice(publication.tail);
    len
}

/// Appends one record of publications that are like `first` but for their payloads, for plain
/// subscriptions. The last bytes of every `stride` bytes of `messages` are a tail. Gives its
/// weight.
pub(crate) fn write_alike(
    out: &mut Vec<u8>,
    since: Nanos,
    first: &Publication<'_>,
    messages: &[u8],
    stride: usize,
    origin: ConnId,
) -> usize {
    let (subject, tail_len) = (first.subject, first.tail.len());
    let msgs = messages.len() / stride;
    let len = HEAD_LEN + subject.len() + msgs * tail_len;
    begin(out, since, len);
    out.extend_from_slice(&head(first, origin, true, 0, msgs));
    out.extend_from_slice(subject);
    wire::emit::tails(out, messages, stride, tail_len);
    msgs * (HEAD_LEN + subject.len() + tail_len)
}

fn head(
    publication: &Publication<'_>,
    origin: ConnId,
    plain: bool,
    groups_len: usize,
    msgs: usize,
) -> [u8; HEAD_LEN] {
    let subject = publication.subject;
    let len = HEAD_LEN + groups_len + subject.len() + msgs * publication.tail.len();
    let mut head = [0u8; HEAD_LEN];
    head[0..4].copy_from_slice(&word(len));
    head[4..8].copy_from_slice(&publication.account.0.to_le_bytes());
    head[8..16].copy_from_slice(&origin.to_bits().to_le_bytes());
    head[16..20].copy_from_slice(&word(groups_len));
    head[20..24].copy_from_slice(&word(subject.len()));
    head[24..28].copy_from_slice(&word(publication.reply.len()));
    head[28..32].copy_from_slice(&word(publication.header_len));
    head[32..36].copy_from_slice(&word(publication.payload.len()));
    head[36] = if plain { PLAIN } else { 0 };
    head[36] |= if publication.from_service { FROM_SERVICE } else { 0 };
    head[37..41].copy_from_slice(&word(msgs));
    head
}

/// Takes the first record off a batch.
pub(crate) fn read<'a>(batch: &mut &'a [u8]) -> Option<Delivery<'a>> {
    if batch.is_empty() {
        return None;
    }
    let word_at = |at: usize| {
        let bytes: [u8; 4] = batch[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes)
    };
    let len_at = |at: usize| word_at(at) as usize;
    let (record, rest) = batch.split_at(len_at(0));
    let (groups, text) = record[HEAD_LEN..].split_at(len_at(16));
    let (subject, tails) = text.split_at(len_at(20));
    let msgs = len_at(37);
    let tail = &tails[..tails.len() / msgs];
    let payload_len = len_at(32);
    let payload_at = tail.len() - 2 - payload_len;
    let delivery = Delivery {
        publication: Publication {
            account: AccountId(word_at(4)),
            subject,
            reply: &tail[..len_at(24)],
            header_len: len_at(28),
            payload: &tail[payload_at..payload_at + payload_len],
            tail,
            from_service: record[36] & FROM_SERVICE != 0,
        },
        origin: ConnId::from_bits(u64::from(word_at(12)) << 32 | u64::from(word_at(8))),
        plain: record[36] & PLAIN != 0,
        groups: Groups(groups),
        msgs,
        tails,
    };
    *batch = rest;
    Some(delivery)
}

impl<'a> Iterator for Groups<'a> {
    /// A name, and whether this delivery was claimed.
    type Item = (&'a [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        let (len, rest) = self.0.split_first_chunk::<GROUP_HEAD_LEN>()?;
        let len = u32::from_le_bytes(*len);
        let (name, rest) = rest.split_at((len & !CLAIMED) as usize);
        self.0 = rest;
        Some((name, len & CLAIMED != 0))
    }
}

fn word(n: usize) -> [u8; 4] {
    u32::try_from(n).expect("a record is under 4 GiB: sizes have nine digits at most").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_written() {
        let tail = b"inbox.1 4 9\r\nh: vhello\r\n";
        let publication = Publication {
            account: AccountId(3),
            subject: b"tele.a.b",
            reply: &tail[..7],
            header_len: 4,
            payload: &tail[13..22],
            tail,
            from_service: true,
        };
        let origin = ConnId { slot: 9, generation: 4_000_000_000 };
        let mut bytes = Vec::new();
        write(&mut bytes, 77, &publication, origin, true, &[(b"q1", false), (b"workers", true)]);
        write(&mut bytes, 99, &publication, origin, false, &[]);
        let (since, mut batch) = begun(&bytes);
        assert_eq!(since, 77, "that of the first");
        let first = read(&mut batch).expect("first");
        assert_eq!(first.publication, publication);
        assert_eq!((first.origin, first.plain), (origin, true));
        let groups: Vec<_> = first.groups.collect();
        assert_eq!(groups, [(&b"q1"[..], false), (&b"workers"[..], true)]);
        let second = read(&mut batch).expect("second");
        assert_eq!((second.plain, second.groups.count()), (false, 0));
        assert!(read(&mut batch).is_none());
    }

    #[test]
    fn publications_that_are_alike_share_a_record() {
        let messages = b"PUB a 1\r\nx\r\nPUB a 1\r\ny\r\n";
        let (stride, tail) = (12, &messages[6..12]);
        let first = Publication {
            account: AccountId(0),
            subject: b"a",
            reply: &[],
            header_len: 0,
            payload: b"x",
            tail,
            from_service: false,
        };
        let mut bytes = Vec::new();
        let origin = ConnId { slot: 1, generation: 2 };
        let weight = write_alike(&mut bytes, 5, &first, messages, stride, origin);
        let mut apart = Vec::new();
        let one = write(&mut apart, 5, &first, origin, true, &[]);
        assert_eq!(weight, 2 * one, "as much as if it did not");
        weigh(&mut bytes, weight);
        assert_eq!(super::weight(&bytes), weight);
        let (since, mut batch) = begun(&bytes);
        let read = read(&mut batch).expect("a record");
        assert_eq!(since, 5);
        assert_eq!((read.publication, read.msgs, read.plain), (first, 2, true));
        assert_eq!(read.tails, b"1\r\nx\r\n1\r\ny\r\n");
    }
}
