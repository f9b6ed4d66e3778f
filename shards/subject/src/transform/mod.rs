//! From one subject to another: what mappings and imports do.

mod apply;
mod error;
mod function;

pub use error::TransformError;

use crate::pattern;
use crate::token::tokens;
use error::Reason;
use function::Function;

/// Makes a subject of another one, as a destination with functions says.
///
/// A function names wildcards of the source by their place, from 1: `$1` or `{{wildcard(1)}}` is
/// the token that the first `*` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    source: Box<[u8]>,
    destination: Box<[u8]>,
    steps: Vec<Step>,
    /// Tokens of the source.
    source_len: usize,
    /// What `>` of the source stands for goes at the end.
    has_rest: bool,
}

/// One token of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    text: Box<[u8]>,
    function: Function,
    /// Places in the subject of the wildcards the function names.
    at: Vec<usize>,
}

impl Transform {
    /// # Errors
    ///
    /// If either is no subject, one ends in `>` and the other does not, or a function of the
    /// destination is wrong.
    pub fn new(source: &[u8], destination: &[u8]) -> Result<Transform, TransformError> {
        Transform::make(source, destination, false)
    }

    /// One that can be reversed, as imports need it.
    ///
    /// # Errors
    ///
    /// As [`Transform::new`]; and if another function than `wildcard` is used, or not every
    /// wildcard.
    pub fn strict(source: &[u8], destination: &[u8]) -> Result<Transform, TransformError> {
        Transform::make(source, destination, true)
    }

    fn make(source: &[u8], destination: &[u8], strict: bool) -> Result<Transform, TransformError> {
        let from = Shape::of(source).ok_or(TransformError::of(Reason::InvalidSubject))?;
        let to = Shape::of(destination).ok_or(TransformError::of(Reason::InvalidSubject))?;
        if !to.wildcards.is_empty() || from.has_rest != to.has_rest {
            return Err(TransformError::of(Reason::InvalidSubject));
        }
        let literal = from.wildcards.is_empty() && !from.has_rest;
        let mut named = 0;
        let mut steps = Vec::new();
        for token in tokens(destination) {
            let function = function::read(token)?;
            if literal {
                check_without_wildcards(token, &function)?;
            } else if strict && !matches!(function, Function::Literal | Function::Wildcard(_)) {
                return Err(TransformError::at(Reason::NotForImports, token));
            }
            named += function.wildcards().len();
            let at = if literal { Vec::new() } else { places(token, &function, &from)? };
            steps.push(Step { text: token.into(), function, at });
        }
        if strict && named < from.wildcards.len() {
            return Err(TransformError::at(Reason::NotAllWildcards, destination));
        }
        if to.has_rest {
            steps.pop();
        }
        Ok(Transform {
            source: source.into(),
            destination: destination.into(),
            steps,
            source_len: tokens(source).count(),
            has_rest: to.has_rest,
        })
    }

    /// The pattern of the subjects it is for.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// As it was written.
    pub fn destination(&self) -> &[u8] {
        &self.destination
    }

    /// It may make different subjects of the same one.
    pub fn is_random(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.function, Function::Random(_)))
    }

    /// The way back. None if wildcards are named otherwise than by the wildcard function.
    pub fn reverse(&self) -> Option<Transform> {
        let (source, holders) = untokenize(&self.destination);
        let mut holders = holders.into_iter();
        let mut destination: Vec<Vec<u8>> = Vec::new();
        for token in tokens(&self.source) {
            destination.push(if token == b"*" { holders.next()? } else { token.into() });
        }
        Transform::strict(&source, &destination.join(&b'.')).ok()
    }
}

/// Without wildcards in the source there is nothing that most functions could name.
fn check_without_wildcards(token: &[u8], function: &Function) -> Result<(), TransformError> {
    match function {
        Function::Literal | Function::Random(_) | Function::Partition { .. } => Ok(()),
        _ => Err(TransformError::at(Reason::IndexOutOfRange, token)),
    }
}

fn places(token: &[u8], function: &Function, from: &Shape) -> Result<Vec<usize>, TransformError> {
    let place = |index: &i64| match usize::try_from(*index) {
        Ok(0) | Err(_) => Ok(0),
        Ok(n) => from.wildcards.get(n - 1).copied().ok_or(TransformError::index(token, *index)),
    };
    function.wildcards().iter().map(place).collect()
}

/// What there is to know of a subject's tokens.
struct Shape {
    /// Where the tokens `*` stand.
    wildcards: Vec<usize>,
    has_rest: bool,
}

impl Shape {
    /// None if it is no subject.
    fn of(subject: &[u8]) -> Option<Shape> {
        if !pattern::well_formed(subject) {
            return None;
        }
        let all = tokens(subject).enumerate();
        let wildcards = all.filter(|(_, token)| *token == b"*").map(|(at, _)| at).collect();
        Some(Shape { wildcards, has_rest: tokens(subject).any(|token| token == b">") })
    }
}

/// `foo.*.*` as a destination: `foo.$1.$2`.
#[must_use]
pub fn tokenize(pattern: &[u8]) -> Vec<u8> {
    let mut count = 0;
    let holders = tokens(pattern).map(|token| {
        if token != b"*" {
            return token.to_vec();
        }
        count += 1;
        format!("${count}").into_bytes()
    });
    holders.collect::<Vec<_>>().join(&b'.')
}

/// `foo.$2.$1` as a pattern, `foo.*.*`, and what stood there, `$2` and `$1`.
#[must_use]
pub fn untokenize(destination: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut holders = Vec::new();
    let pattern = tokens(destination).map(|token| {
        if !function::is_wildcard(token) {
            return token.to_vec();
        }
        holders.push(token.to_vec());
        b"*".to_vec()
    });
    let pattern = pattern.collect::<Vec<_>>().join(&b'.');
    (pattern, holders)
}

/// Whether a mapping from `source` may lead to `destination`; an empty one is taken for the source.
///
/// # Errors
///
/// As nats-server puts it.
pub fn check_mapping(source: &[u8], destination: &[u8]) -> Result<(), TransformError> {
    if destination.is_empty() {
        return Ok(());
    }
    let mut rest = false;
    for token in tokens(destination) {
        if token.is_empty() || rest {
            return Err(TransformError::at(Reason::InvalidTransform, token));
        }
        if function::is_braced(token) {
            if !function::is_known(token) {
                return Err(TransformError::at(Reason::UnknownFunction, token));
            }
            continue;
        }
        rest = token == b">";
        if token.iter().any(|byte| matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | b' ')) {
            return Err(TransformError::of(Reason::InvalidTransform));
        }
    }
    Transform::new(source, destination).map(|_| ())
}
