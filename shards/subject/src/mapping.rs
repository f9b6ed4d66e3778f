//! Where a published subject really goes: mappings with weighted destinations.

use crate::pattern;
use crate::token::tokens;
use crate::transform::{Transform, TransformError, check_mapping, tokenize};

/// All mappings of an account, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    all: Vec<Mapping>,
}

/// What becomes of the subjects of one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    source: Box<[u8]>,
    destinations: Vec<Destination>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Destination {
    /// None leaves the subject nothing: a destination of no bytes.
    transform: Option<Transform>,
    /// Percent of what is published, with those of the destinations before it.
    upto: u8,
}

/// Why a mapping can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingError {
    /// The source is no pattern.
    Source,
    /// A destination comes twice.
    Duplicate(String),
    /// One weight is over 100.
    Weight,
    /// All weights are over 100 together.
    TotalWeight,
    /// A destination does not go with the source.
    Transform(TransformError),
}

impl std::fmt::Display for MappingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MappingError::Source => f.write_str("invalid subject"),
            MappingError::Duplicate(destination) => {
                write!(f, "duplicate entry for {destination:?}")
            }
            MappingError::Weight => f.write_str("individual weights need to be <= 100"),
            MappingError::TotalWeight => f.write_str("total weight needs to be <= 100"),
            MappingError::Transform(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for MappingError {}

impl From<TransformError> for MappingError {
    fn from(error: TransformError) -> MappingError {
        MappingError::Transform(error)
    }
}

/// Where a subject goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'m> {
    /// No mapping is for it.
    Unmapped,
    /// As the transform says.
    To(&'m Transform),
    /// Nowhere: its mapping loses a part of what is published on purpose.
    Lost,
}

impl Mapping {
    /// Destinations come with their weights in percent. What is missing to 100 stays where it is,
    /// or is lost if the source itself is a destination.
    ///
    /// # Errors
    ///
    /// As [`MappingError`] says.
    pub fn new(source: &[u8], destinations: &[(Vec<u8>, u8)]) -> Result<Mapping, MappingError> {
        if !pattern::valid_pattern(source) {
            return Err(MappingError::Source);
        }
        let mut total = 0;
        let mut all = Vec::new();
        for (at, (destination, weight)) in destinations.iter().enumerate() {
            if destinations[..at].iter().any(|(earlier, _)| earlier == destination) {
                let text = String::from_utf8_lossy(destination).into_owned();
                return Err(MappingError::Duplicate(text));
            }
            if *weight > 100 {
                return Err(MappingError::Weight);
            }
            total += weight;
            if total > 100 {
                return Err(MappingError::TotalWeight);
            }
            check_mapping(source, destination)?;
            let transform = match destination.is_empty() {
                true => None,
                false => Some(Transform::new(source, destination)?),
            };
            all.push(Destination { transform, upto: *weight });
        }
        if total != 100 && !destinations.iter().any(|(destination, _)| **destination == *source) {
            let stays = Transform::new(source, &tokenize(source))?;
            all.push(Destination { transform: Some(stays), upto: 100 - total });
        }
        all.sort_by_key(|destination| destination.upto);
        let mut upto = 0;
        for destination in &mut all {
            upto += destination.upto;
            destination.upto = upto;
        }
        Ok(Mapping { source: source.into(), destinations: all })
    }

    /// The pattern of the subjects it is for.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Each destination as it was written, and the percentage of what is published up to which it
    /// is meant, from the destination before it.
    pub fn destinations(&self) -> impl Iterator<Item = (&[u8], u8)> {
        self.destinations
            .iter()
            .map(|it| (it.transform.as_ref().map_or(&b""[..], Transform::destination), it.upto))
    }

    /// Each destination, nothing for one of no bytes, and the percentage of what is published up to
    /// which it is meant, from the destination before it. Beyond the last one it is lost.
    pub fn choices(&self) -> impl Iterator<Item = (Option<&Transform>, u8)> {
        self.destinations.iter().map(|it| (it.transform.as_ref(), it.upto))
    }

    /// It makes of each subject always the same.
    pub fn is_fixed(&self) -> bool {
        match &self.destinations[..] {
            [only] => {
                only.upto == 100 && !only.transform.as_ref().is_some_and(Transform::is_random)
            }
            _ => false,
        }
    }

    /// `draw` gives a number under 100; it is asked at most once.
    fn choose(&self, draw: &mut dyn FnMut() -> u8) -> Choice<'_> {
        let chosen = match &self.destinations[..] {
            [only] if only.upto == 100 => Some(only),
            all => {
                let drawn = draw();
                all.iter().find(|destination| drawn < destination.upto)
            }
        };
        match chosen.and_then(|destination| destination.transform.as_ref()) {
            Some(transform) => Choice::To(transform),
            None => Choice::Lost,
        }
    }
}

impl Mappings {
    /// Adds a mapping, or puts it in the place of one with the same source.
    pub fn add(&mut self, mapping: Mapping) {
        match self.all.iter_mut().find(|known| known.source == mapping.source) {
            Some(known) => *known = mapping,
            None => self.all.push(mapping),
        }
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// In the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.all.iter()
    }

    /// The first mapping that is for this subject.
    pub fn find(&self, subject: &[u8]) -> Option<&Mapping> {
        self.all.iter().find(|mapping| takes(&mapping.source, subject))
    }

    /// Where a message on `subject` goes. Only the first mapping for it counts, and what it gives
    /// is not mapped again. `draw` gives a number under 100.
    pub fn choose(&self, subject: &[u8], draw: &mut dyn FnMut() -> u8) -> Choice<'_> {
        self.find(subject).map_or(Choice::Unmapped, |mapping| mapping.choose(draw))
    }
}

/// Is a mapping of `source` for what is published to `subject`? Published wildcards count as such:
/// a `>` goes only where the source has one too. What stands under that one is not looked at.
fn takes(source: &[u8], subject: &[u8]) -> bool {
    let mut names = tokens(subject);
    for token in tokens(source) {
        let Some(name) = names.next() else { return false };
        let fits = match token {
            b">" => return true,
            b"*" => !name.is_empty() && name != b">",
            _ => token == name,
        };
        if !fits {
            return false;
        }
    }
    names.next().is_none()
}
