//! Bare words that begin like a number: integers with size suffixes, floats, Zulu dates, addresses,
//! and the words that turn out to be strings after all (`4222/tcp`, `10Mx`).

use nom::branch::alt;
use nom::bytes::complete::{take_while, take_while_m_n};
use nom::character::complete::{char, digit1, one_of};
use nom::combinator::{eof, opt, recognize, value};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::scan::END;

/// What a bare word that begins with a digit or `-` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Integer,
    Float,
    Date,
    /// Digits, dots, colons and dashes after at least two dots: `127.0.0.1:4222`.
    Address,
    /// Not a number: the rest of the word belongs to it, as in any bare string.
    Word,
}

/// Recognises the number at the start of `text`: its shape and its length in bytes. For `Word` the
/// length is only that of the part that looked like a number.
///
/// # Errors
/// What to write instead, for a text that can only be a broken number or date.
pub fn recognise(text: &str) -> Result<(Shape, usize), String> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text),
    };
    let Ok((rest, digits)) = digits(unsigned) else {
        return Err(match unsigned.chars().next() {
            Some('.') => "a decimal number starts with a digit: write 0.5, not .5".to_string(),
            _ => "expected a digit after '-' (quote the value if it is a string)".to_string(),
        });
    };
    let before = text.len() - rest.len();
    if let Some(fraction) = rest.strip_prefix('.') {
        return fractional(fraction).map(|(shape, used)| (shape, before + 1 + used));
    }
    if let Ok((tail, _)) = size_suffix(rest) {
        let shape = if ends_value(tail) { Shape::Integer } else { Shape::Word };
        return Ok((shape, text.len() - tail.len()));
    }
    if negative || ends_value(rest) {
        return Ok((Shape::Integer, before));
    }
    match rest.strip_prefix('-') {
        Some(_) if digits.len() == 4 => match zulu_date(text) {
            Ok((tail, _)) => Ok((Shape::Date, text.len() - tail.len())),
            Err(_) => Err(DATE_ADVICE.to_string()),
        },
        Some(_) => Err(DATE_ADVICE.to_string()),
        None => Ok((Shape::Word, before + rest.chars().next().map_or(0, char::len_utf8))),
    }
}

const DATE_ADVICE: &str =
    "a date is written in full Zulu form, 2016-05-04T18:53:41Z (quote the value if it is a string)";

// No message shows the text: an unquoted password may look like a number, too.

/// The value of an integer with its suffix: `k m g t p e` are powers of 1000, followed by `b`, `i`
/// or `ib` powers of 1024. Wraps at 64 bits as nats-server does.
///
/// # Errors
/// Digits beyond 64 bits, and suffixes that mean nothing.
pub fn integer(text: &str) -> Result<i64, String> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(at);
    let number: i64 =
        digits.parse().map_err(|_| "this integer is out of the range of 64 bits".to_string())?;
    let suffix = suffix.to_ascii_lowercase();
    let Some(letter) = suffix.chars().next() else {
        return Ok(number);
    };
    let base: i64 = match &suffix[1..] {
        "" => 1000,
        "b" | "i" | "ib" => 1024,
        _ => {
            return Err("no known size suffix: write one like 8M, 8MB or 8MiB".to_string());
        }
    };
    let power = "kmgtpe".find(letter).map_or(0, |index| index as u32 + 1);
    Ok(number.wrapping_mul(base.wrapping_pow(power)))
}

/// # Errors
/// Floats too large for 64 bits.
pub fn float(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("this decimal number is out of the range of 64 bits".to_string()),
    }
}

/// # Errors
/// A month, day or time of day that does not exist.
pub fn check_date(text: &str) -> Result<(), String> {
    let civil = text.strip_suffix('Z').and_then(|t| t.parse::<jiff::civil::DateTime>().ok());
    match civil {
        Some(at) if at.second() < 60 && !text.contains(":60Z") => Ok(()),
        _ => Err(DATE_ADVICE.to_string()),
    }
}

fn digits(text: &str) -> IResult<&str, &str> {
    digit1(text)
}

fn fractional(text: &str) -> Result<(Shape, usize), String> {
    let Ok((rest, _)) = digits(text) else {
        return Err(
            "a decimal number has a digit after the '.' (quote the value if it is a string)".into(),
        );
    };
    let (rest, address) = opt(address_tail).parse(rest).unwrap_or((rest, None));
    let shape = if address.is_some() { Shape::Address } else { Shape::Float };
    Ok((shape, text.len() - rest.len()))
}

fn address_tail(text: &str) -> IResult<&str, &str> {
    recognize((char('.'), take_while(|c: char| c.is_ascii_digit() || ".:-".contains(c))))
        .parse(text)
}

fn size_suffix(text: &str) -> IResult<&str, &str> {
    recognize((one_of("kKmMgGtTpPeE"), take_while(|c| "bBiI".contains(c)))).parse(text)
}

/// True where a value may end: a blank, a line end, `,`, `;`, `}` or the end of the text.
fn ends_value(text: &str) -> bool {
    fn end(text: &str) -> IResult<&str, ()> {
        alt((value((), eof), value((), one_of("\r\n}; ,\t")), value((), char(END)))).parse(text)
    }
    end(text).is_ok()
}

fn zulu_date(text: &str) -> IResult<&str, &str> {
    fn two(text: &str) -> IResult<&str, &str> {
        take_while_m_n(2, 2, |c: char| c.is_ascii_digit()).parse(text)
    }
    let year = take_while_m_n(4, 4, |c: char| c.is_ascii_digit());
    let day = (year, preceded(char('-'), two), preceded(char('-'), two));
    let time = (preceded(char('T'), two), preceded(char(':'), two), preceded(char(':'), two));
    recognize((day, time, char('Z'))).parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let table: &[(&str, Shape, usize)] = &[
            ("4222", Shape::Integer, 4),
            ("4222\n", Shape::Integer, 4),
            ("-1", Shape::Integer, 2),
            ("-1]", Shape::Integer, 2),
            ("8MB,", Shape::Integer, 3),
            ("8MiB}", Shape::Integer, 4),
            ("8Mx", Shape::Word, 2),
            ("8M]", Shape::Word, 2),
            ("5e7bcd", Shape::Word, 2),
            ("2]", Shape::Word, 2),
            ("4222/tcp", Shape::Word, 5),
            ("1.5", Shape::Float, 3),
            ("-1.5 ", Shape::Float, 4),
            ("1.2.", Shape::Address, 4),
            ("127.0.0.1:4222 ", Shape::Address, 14),
            ("2016-05-04T18:53:41Z", Shape::Date, 20),
        ];
        for (text, shape, length) in table {
            assert_eq!(recognise(text), Ok((*shape, *length)), "{text:?}");
        }
        for text in ["-", "-x", "-.5", "1.", "1.x", "12-3", "2016-05", "2016-05-04 18:53:41Z"] {
            assert!(recognise(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        let table: &[(&str, i64)] = &[
            ("10m", 10_000_000),
            ("8M", 8_000_000),
            ("8MB", 8 << 20),
            ("8mi", 8 << 20),
            ("8Mib", 8 << 20),
            ("1k", 1000),
            ("1KB", 1024),
            ("-2g", -2_000_000_000),
            ("1e", 1_000_000_000_000_000_000),
            ("1eb", 1 << 60),
            ("16eb", 0),
        ];
        for (text, number) in table {
            assert_eq!(integer(text), Ok(*number), "{text}");
        }
        assert!(integer("9223372036854775808").is_err());
        assert!(integer("8mbb").is_err());
        assert!(integer("8mbi").is_err());
    }

    #[test]
    fn dates() {
        assert!(check_date("2016-02-29T18:53:41Z").is_ok());
        for text in [
            "2015-02-29T18:53:41Z",
            "2016-13-01T00:00:00Z",
            "2016-01-01T24:00:00Z",
            "2016-01-01T00:00:60Z",
        ] {
            assert!(check_date(text).is_err(), "{text}");
        }
    }
}
