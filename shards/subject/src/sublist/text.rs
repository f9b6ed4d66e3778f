//! Owned bytes of a pattern or a token.

const INLINE: usize = 30;

/// Bytes that never change; up to 30 of them stay in place, so that comparing a short subject
/// touches no other cache line.
pub(super) enum Text {
    Inline { length: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

const _: () = assert!(size_of::<Text>() == 32);

impl Text {
    pub(super) fn new(text: &[u8]) -> Self {
        if text.len() > INLINE {
            return Self::Heap(text.into());
        }
        let mut bytes = [0; INLINE];
        bytes[..text.len()].copy_from_slice(text);
        Self::Inline { length: text.len() as u8, bytes }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Self::Heap(bytes) => bytes,
        }
    }
}
