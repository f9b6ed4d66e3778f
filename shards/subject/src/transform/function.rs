//! One token of a destination: what it says, and what is wrong with it.

use super::TransformError;
use super::error::Reason;

/// What a destination token is replaced by. Wildcards are counted from 1, as written; an index
/// below 1 means the first token of the subject, as nats-server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Nothing: the token stands for itself.
    Literal,
    Wildcard(i64),
    Partition {
        buckets: u32,
        wildcards: Vec<i64>,
    },
    SplitFromLeft(i64, i32),
    SplitFromRight(i64, i32),
    SliceFromLeft(i64, i32),
    SliceFromRight(i64, i32),
    Left(i64, i32),
    Right(i64, i32),
    Split(i64, Box<[u8]>),
    Random(i32),
}

/// Reads one token of a destination.
pub(super) fn read(token: &[u8]) -> Result<Function, TransformError> {
    if let Some(index) = token.strip_prefix(b"$")
        && token.len() > 1
    {
        // Other subjects start with `$` too: what is no number is no function.
        return Ok(number(index).map_or(Function::Literal, Function::Wildcard));
    }
    if !is_braced(token) {
        return Ok(Function::Literal);
    }
    let fault = |reason| TransformError::at(reason, token);
    if let Some(args) = arguments(token, "wildcard", "w") {
        return match &args[..] {
            [b""] => Err(fault(Reason::NotEnoughArguments)),
            [index] => number(trim(index))
                .map(Function::Wildcard)
                .ok_or_else(|| fault(Reason::InvalidArgument)),
            _ => Err(fault(Reason::TooManyArguments)),
        };
    }
    if let Some(args) = arguments(token, "partition", "p") {
        return partition(&args).ok_or_else(|| fault(Reason::InvalidArgument));
    }
    type Make = fn(i64, i32) -> Function;
    let of_two: [(&str, &str, Make); 6] = [
        ("splitfromleft", "sfl", Function::SplitFromLeft),
        ("splitfromright", "sfr", Function::SplitFromRight),
        ("slicefromleft", "sfl", Function::SliceFromLeft),
        ("slicefromright", "sfr", Function::SliceFromRight),
        ("right", "r", Function::Right),
        ("left", "l", Function::Left),
    ];
    for (name, capitals, make) in of_two {
        if let Some(args) = arguments(token, name, capitals) {
            return two(&args, make).map_err(fault);
        }
    }
    if let Some(args) = arguments(token, "split", "s") {
        return split(&args).map_err(fault);
    }
    if let Some(args) = arguments(token, "random", "r") {
        let [max] = args[..] else { return Err(fault(Reason::NotEnoughArguments)) };
        let max = word(trim(max)).ok_or_else(|| fault(Reason::InvalidArgument))?;
        return Ok(Function::Random(max as i32));
    }
    Err(fault(Reason::UnknownFunction))
}

/// Is it `{{…}}`, and so meant to be a function?
pub(super) fn is_braced(token: &[u8]) -> bool {
    token.len() > 4 && token.starts_with(b"{{") && token.ends_with(b"}}")
}

/// Does it name a function, whatever its arguments?
pub(super) fn is_known(token: &[u8]) -> bool {
    NAMES.iter().any(|(name, capitals)| arguments(token, name, capitals).is_some())
}

/// Is it a wildcard function, for [`super::untokenize`]?
pub(super) fn is_wildcard(token: &[u8]) -> bool {
    let dollar = token.len() > 1 && token[0] == b'$' && matches!(token[1], b'1'..=b'9');
    dollar
        || arguments(token, "wildcard", "w")
            .is_some_and(|args| args.len() == 1 && !args[0].is_empty())
}

const NAMES: [(&str, &str); 10] = [
    ("partition", "p"),
    ("wildcard", "w"),
    ("splitfromleft", "sfl"),
    ("splitfromright", "sfr"),
    ("slicefromleft", "sfl"),
    ("slicefromright", "sfr"),
    ("split", "s"),
    ("left", "l"),
    ("right", "r"),
    ("random", "r"),
];

/// The arguments of `{{ name(a, b) }}` somewhere in the token; `name` may start its words, and only
/// those, with a capital.
fn arguments<'t>(token: &'t [u8], name: &str, capitals: &str) -> Option<Vec<&'t [u8]>> {
    (0..token.len()).find_map(|at| {
        let rest = token[at..].strip_prefix(b"{{")?;
        let rest = strip_name(skip_blanks(rest), name.as_bytes(), capitals.as_bytes())?;
        let rest = skip_blanks(rest).strip_prefix(b"(")?;
        let end = (0..rest.len())
            .rev()
            .find(|end| rest[*end] == b')' && skip_blanks(&rest[end + 1..]).starts_with(b"}}"))?;
        let args = &rest[..end];
        (!args.contains(&b'\n')).then(|| split_arguments(args))
    })
}

/// Takes `name` off, whose letters in `capitals`, taken in order, may be written large.
fn strip_name<'t>(text: &'t [u8], name: &[u8], capitals: &[u8]) -> Option<&'t [u8]> {
    let (head, rest) = text.split_at_checked(name.len())?;
    let starts: &[usize] = match name {
        b"splitfromleft" | b"splitfromright" | b"slicefromleft" | b"slicefromright" => &[0, 5, 9],
        _ => &[0],
    };
    debug_assert_eq!(starts.len(), capitals.len());
    let same = head.iter().enumerate().all(|(at, byte)| {
        *byte == name[at] || (starts.contains(&at) && byte.to_ascii_lowercase() == name[at])
    });
    same.then_some(rest)
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0c | b'\r');
    let at = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    &text[at..]
}

/// At commas, whose blanks behind them go too.
fn split_arguments(args: &[u8]) -> Vec<&[u8]> {
    let mut parts = args.split(|byte| *byte == b',');
    let first = parts.next().unwrap_or_default();
    std::iter::once(first).chain(parts.map(skip_blanks)).collect()
}

fn trim(text: &[u8]) -> &[u8] {
    let from = text.iter().position(|byte| *byte != b' ').unwrap_or(text.len());
    let to = text.iter().rposition(|byte| *byte != b' ').map_or(from, |at| at + 1);
    &text[from..to]
}

/// A decimal number with an optional sign.
fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A number of at most 31 bits; its low 32 bits count, as nats-server keeps no more.
fn word(text: &[u8]) -> Option<u32> {
    let number = number(text)?;
    (number <= i64::from(i32::MAX)).then_some(number as u32)
}

fn partition(args: &[&[u8]]) -> Option<Function> {
    let (buckets, wildcards) = args.split_first()?;
    let buckets = word(trim(buckets))?;
    let wildcards = wildcards.iter().map(|arg| number(trim(arg))).collect::<Option<_>>()?;
    Some(Function::Partition { buckets, wildcards })
}

fn two(args: &[&[u8]], make: fn(i64, i32) -> Function) -> Result<Function, Reason> {
    match args {
        [] | [_] => Err(Reason::NotEnoughArguments),
        [index, length] => {
            let index = number(trim(index)).ok_or(Reason::InvalidArgument)?;
            let length = number(trim(length)).ok_or(Reason::InvalidArgument)?;
            let length = i32::try_from(length).map_err(|_| Reason::InvalidArgument)?;
            Ok(make(index, length))
        }
        _ => Err(Reason::TooManyArguments),
    }
}

fn split(args: &[&[u8]]) -> Result<Function, Reason> {
    match args {
        [] | [_] => Err(Reason::NotEnoughArguments),
        [index, delimiter] => {
            let index = number(trim(index)).ok_or(Reason::InvalidArgument)?;
            if delimiter.iter().any(|byte| matches!(byte, b' ' | b'.')) {
                return Err(Reason::InvalidArgument);
            }
            Ok(Function::Split(index, (*delimiter).into()))
        }
        _ => Err(Reason::TooManyArguments),
    }
}

impl Function {
    /// The wildcards it names.
    pub(super) fn wildcards(&self) -> &[i64] {
        match self {
            Function::Literal | Function::Random(_) => &[],
            Function::Partition { wildcards, .. } => wildcards,
            Function::Wildcard(index)
            | Function::SplitFromLeft(index, _)
            | Function::SplitFromRight(index, _)
            | Function::SliceFromLeft(index, _)
            | Function::SliceFromRight(index, _)
            | Function::Left(index, _)
            | Function::Right(index, _)
            | Function::Split(index, _) => std::slice::from_ref(index),
        }
    }
}
