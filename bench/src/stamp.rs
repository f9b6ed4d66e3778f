//! What a verified message carries in its first bytes.

/// Bytes of a stamp: a payload of a verified scenario has at least these.
pub const SIZE: usize = 16;

/// What fills a payload after its stamp, and all of it where nothing is stamped.
pub const FILLING: u8 = b'x';

/// Who sent a message, which of theirs it is, and when it was meant to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// ns on the load's clock.
    pub intended_ns: u64,
    /// Index of the publisher.
    pub publisher: u32,
    /// Index of the message among its publisher's, modulo 2^32.
    pub sequence: u32,
}

impl Stamp {
    /// Writes the stamp over the first [`SIZE`] bytes of a payload.
    pub fn write(self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&self.intended_ns.to_le_bytes());
        payload[8..12].copy_from_slice(&self.publisher.to_le_bytes());
        payload[12..16].copy_from_slice(&self.sequence.to_le_bytes());
    }

    /// Reads it back; nothing from a payload too short.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let eight = payload.get(..8)?.try_into().ok()?;
        let publisher = payload.get(8..12)?.try_into().ok()?;
        let sequence = payload.get(12..16)?.try_into().ok()?;
        Some(Self {
            intended_ns: u64::from_le_bytes(eight),
            publisher: u32::from_le_bytes(publisher),
            sequence: u32::from_le_bytes(sequence),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp { intended_ns: 1 << 40, publisher: 7, sequence: u32::MAX };
        let mut payload = [FILLING; 20];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(&payload[16..], b"xxxx");
        assert_eq!(Stamp::read(&payload[..15]), None);
    }
}
