//! Durations as Go writes them: `10s`, `1h30m`, `1.5s`, `250us`.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::character::complete::{char, digit0};
use nom::combinator::{opt, recognize, value};
use nom::{IResult, Parser};

/// Nanoseconds.
///
/// # Errors
/// What is wrong, in the words of Go's `time` package.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if unsigned == "0" {
        return Ok(0);
    }
    let mut rest = unsigned;
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let (tail, digits) = decimal(rest).map_err(|_| invalid())?;
        if !digits.contains(|c: char| c.is_ascii_digit()) {
            return Err(invalid());
        }
        let (tail, name) =
            unit_name(tail).map_err(|_| format!("time: missing unit in duration {text:?}"))?;
        let unit = unit_ns(name)
            .ok_or_else(|| format!("time: unknown unit {name:?} in duration {text:?}"))?;
        total = scaled(digits, unit).and_then(|ns| total.checked_add(ns)).ok_or_else(invalid)?;
        rest = tail;
    }
    let signed =
        if negative { 0_i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() };
    signed.ok_or_else(invalid)
}

/// As Go prints a duration: `2m0s`, `1.5s`, `250ms`.
pub fn format(ns: u64) -> String {
    let fraction = |value: u64, unit: u64, name: &str| {
        let digits = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        match digits.trim_end_matches('0') {
            "" => format!("{}{name}", value / unit),
            digits => format!("{}.{digits}{name}", value / unit),
        }
    };
    match ns {
        0 => "0s".to_string(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => fraction(ns, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(ns, 1_000_000, "ms"),
        _ => {
            let minutes = ns / 60_000_000_000;
            let seconds = fraction(ns % 60_000_000_000, 1_000_000_000, "s");
            match minutes {
                0 => seconds,
                1..60 => format!("{minutes}m{seconds}"),
                _ => format!("{}h{}m{seconds}", minutes / 60, minutes % 60),
            }
        }
    }
}

fn decimal(text: &str) -> IResult<&str, &str> {
    recognize((digit0, opt((char('.'), digit0)))).parse(text)
}

fn unit_name(text: &str) -> IResult<&str, &str> {
    take_while1(|c: char| c != '.' && !c.is_ascii_digit()).parse(text)
}

fn unit_ns(name: &str) -> Option<u64> {
    fn unit(name: &str) -> IResult<&str, u64> {
        alt((
            value(1, tag("ns")),
            value(1_000, alt((tag("us"), tag("µs"), tag("μs")))),
            value(1_000_000, tag("ms")),
            value(1_000_000_000, tag("s")),
            value(60_000_000_000, tag("m")),
            value(3_600_000_000_000, tag("h")),
        ))
        .parse(name)
    }
    unit(name).ok().and_then(|(rest, ns)| rest.is_empty().then_some(ns))
}

fn scaled(digits: &str, unit_ns: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut ns = whole.checked_mul(unit_ns)?;
    let mut place = unit_ns;
    for digit in fraction.bytes() {
        place /= 10;
        ns = ns.checked_add(u64::from(digit - b'0').checked_mul(place)?)?;
    }
    Some(ns)
}

#[cfg(test)]
mod tests {
    use super::{format, parse};

    #[test]
    fn printed_as_go_does() {
        let table: &[(u64, &str)] = &[
            (0, "0s"),
            (9, "9ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (120_000_000_000, "2m0s"),
            (3_600_000_000_000, "1h0m0s"),
        ];
        for (ns, text) in table {
            assert_eq!(format(*ns), *text);
        }
    }

    #[test]
    fn durations() {
        let table: &[(&str, i64)] = &[
            ("0", 0),
            ("10s", 10_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("-2m", -120_000_000_000),
            ("+3ms", 3_000_000),
            ("250us", 250_000),
            ("7µs", 7_000),
            ("9ns", 9),
            ("2m0.001s", 120_001_000_000),
        ];
        for (text, ns) in table {
            assert_eq!(parse(text), Ok(*ns), "{text}");
        }
        for text in ["", "-", "10", "s", "1 s", "10sec", "1d", ".s", "9999999999h", "1s2"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
