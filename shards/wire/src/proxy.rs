//! The PROXY header that a proxy sends ahead of what its client says: version 1, a line, or
//! version 2, binary. It tells where the client really is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::quote::quoted;

/// No more bytes than these are needed to tell what a header says; the longest line with its end.
pub const HEADER_MAX: usize = 107;

/// By so many bytes it is known whether it is a header.
const MARK: usize = 6;
const LINE_MARK: &[u8; MARK] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and protocol, and the length of what follows.
const FIXED: usize = 16;
/// Two addresses and two ports.
const IPV4_BYTES: usize = 12;
const IPV6_BYTES: usize = 36;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// It takes more of them to say. There are fewer than [`HEADER_MAX`].
    More,
    /// No header: they are the client's own.
    Absent,
    /// A header of so many bytes; some of the last may still have to come.
    Header {
        /// Where the client is. None if the proxy speaks for itself, or does not say.
        source: Option<SocketAddr>,
        /// At most 16 and 64 KiB.
        len: usize,
    },
}

/// What is wrong with a header. Shown as nats-server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// Not as it has to be, and why.
    Invalid(String),
    /// Other than of TCP over IP.
    Unsupported(String),
    /// A port that is none, and why.
    Port(String),
    /// Neither on behalf of a client nor for itself.
    Command(u8),
    /// Fewer bytes than addresses have.
    Short(&'static str, usize),
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyFault::Invalid(why) => write!(f, "invalid PROXY protocol header: {why}"),
            ProxyFault::Unsupported(why) => write!(f, "unsupported PROXY protocol feature: {why}"),
            ProxyFault::Port(why) => f.write_str(why),
            ProxyFault::Command(command) => {
                write!(f, "unknown PROXY protocol command: 0x{command:02x}")
            }
            ProxyFault::Short(family, len) => {
                write!(f, "{family} address data too short: {len} bytes")
            }
        }
    }
}

impl std::error::Error for ProxyFault {}

/// Looks at the first bytes of a connection, of which at most [`HEADER_MAX`] matter.
///
/// # Errors
/// It is a header, but a wrong one.
pub fn parse(bytes: &[u8]) -> Result<Proxied, ProxyFault> {
    match bytes.get(..MARK) {
        None => Ok(Proxied::More),
        Some(mark) if mark == LINE_MARK => line(bytes),
        Some(mark) if *mark == SIGNATURE[..MARK] => binary(bytes),
        Some(_) => Ok(Proxied::Absent),
    }
}

/// What is lacking of a connection of which it is not known whether it begins with a header.
pub const NOTHING: &str = "failed to read protocol version";

/// What a header lacks of which no more comes, in nats-server's words, and whether some of that
/// part is there.
pub fn missing(bytes: &[u8]) -> (&'static str, bool) {
    let from = |what, start: usize| (what, bytes.len() > start);
    match bytes.get(..MARK) {
        None => from(NOTHING, 0),
        Some(mark) if mark == LINE_MARK => ("failed to read v1 line", false),
        Some(_) if bytes.len() < SIGNATURE.len() => from("failed to read v2 signature", MARK),
        Some(_) if bytes.len() < FIXED => from("failed to read v2 header", SIGNATURE.len()),
        Some(_) if bytes[12] & 0x0f == 0 => ("failed to discard LOCAL command address data", false),
        Some(_) => match bytes[13] & 0xf0 {
            0x10 => from("failed to read IPv4 address data", FIXED),
            0x20 => from("failed to read IPv6 address data", FIXED),
            _ => ("failed to discard UNSPEC address address data", false),
        },
    }
}

fn invalid(why: &str) -> ProxyFault {
    ProxyFault::Invalid(why.to_owned())
}

fn line(bytes: &[u8]) -> Result<Proxied, ProxyFault> {
    let shown = &bytes[MARK..bytes.len().min(HEADER_MAX)];
    let Some(end) = shown.windows(2).position(|pair| pair == b"\r\n") else {
        return match bytes.len() < HEADER_MAX {
            true => Ok(Proxied::More),
            false => Err(invalid("v1 line too long")),
        };
    };
    let text = String::from_utf8_lossy(&shown[..end]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let len = MARK + end + 2;
    let (protocol, source, target, ports) = match words[..] {
        [] => return Err(invalid("invalid v1 format")),
        ["UNKNOWN", ..] => return Ok(Proxied::Header { source: None, len }),
        [protocol, source, target, from, to] => (protocol, source, target, [from, to]),
        _ => return Err(invalid("invalid v1 format")),
    };
    let (Ok(from), Ok(_)) = (source.parse::<IpAddr>(), target.parse::<IpAddr>()) else {
        return Err(invalid("invalid address"));
    };
    let from_port = port(ports[0], "source")?;
    port(ports[1], "dest")?;
    // An IPv4 address in the form of IPv6 counts as the latter.
    let colons = [source, target].map(|text| text.contains(':'));
    match (protocol, colons) {
        ("TCP4", [false, false]) | ("TCP6", [true, true]) => {}
        ("TCP4", _) => return Err(invalid("TCP4 with IPv6 address")),
        ("TCP6", _) => return Err(invalid("TCP6 with IPv4 address")),
        _ => return Err(invalid(&format!("invalid protocol {protocol}"))),
    }
    Ok(Proxied::Header { source: Some(plain(from, from_port)), len })
}

fn port(text: &str, whose: &str) -> Result<u16, ProxyFault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let why = if digits { "value out of range" } else { "invalid syntax" };
    let fault = || {
        let text = quoted(text.as_bytes());
        ProxyFault::Port(format!("invalid {whose} port: strconv.ParseUint: parsing {text}: {why}"))
    };
    text.parse().ok().filter(|_| digits).ok_or_else(fault)
}

fn binary(bytes: &[u8]) -> Result<Proxied, ProxyFault> {
    let Some(signature) = bytes.get(..SIGNATURE.len()) else { return Ok(Proxied::More) };
    if signature != SIGNATURE {
        return Err(invalid("invalid signature"));
    }
    let Some(&[version, kind, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Ok(Proxied::More);
    };
    if version & 0xf0 != 0x20 {
        return Err(invalid(&format!("invalid version 0x{:02x}", version & 0xf0)));
    }
    let said = usize::from(u16::from_be_bytes([high, low]));
    let len = FIXED + said;
    match version & 0x0f {
        // For itself: a look at whether somebody is there.
        0 => return Ok(Proxied::Header { source: None, len }),
        1 => {}
        command => return Err(ProxyFault::Command(command)),
    }
    if kind & 0x0f != 1 {
        return Err(ProxyFault::Unsupported("only STREAM protocol supported".to_owned()));
    }
    let rest = &bytes[FIXED..];
    let source = match kind & 0xf0 {
        0x00 => return Ok(Proxied::Header { source: None, len }),
        0x10 if said < IPV4_BYTES => return Err(ProxyFault::Short("IPv4", said)),
        0x10 if rest.len() < IPV4_BYTES => return Ok(Proxied::More),
        0x10 => {
            let address: [u8; 4] = rest[..4].try_into().expect("four bytes");
            plain(Ipv4Addr::from(address).into(), u16::from_be_bytes([rest[8], rest[9]]))
        }
        0x20 if said < IPV6_BYTES => return Err(ProxyFault::Short("IPv6", said)),
        0x20 if rest.len() < IPV6_BYTES => return Ok(Proxied::More),
        0x20 => {
            let address: [u8; 16] = rest[..16].try_into().expect("sixteen bytes");
            plain(Ipv6Addr::from(address).into(), u16::from_be_bytes([rest[32], rest[33]]))
        }
        family => {
            let why = format!("unsupported address family 0x{family:02x}");
            return Err(ProxyFault::Unsupported(why));
        }
    };
    Ok(Proxied::Header { source: Some(source), len })
}

/// An IPv4 address in the form of IPv6 is shown as what it is.
fn plain(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(version: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
        let len = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[version, kind], &len, rest].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x10, 0x7e];

    fn v6(source: &str) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        let target: Ipv6Addr = "::1".parse().unwrap();
        [&source.octets()[..], &target.octets(), &[0x30, 0x39, 0x10, 0x7e]].concat()
    }

    fn told(bytes: &[u8]) -> String {
        match parse(bytes) {
            Ok(Proxied::More) => "more".to_owned(),
            Ok(Proxied::Absent) => "absent".to_owned(),
            Ok(Proxied::Header { source: None, len }) => format!("nobody {len}"),
            Ok(Proxied::Header { source: Some(source), len }) => format!("{source} {len}"),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn lines() {
        for (line, wanted) in [
            ("TCP4 192.0.2.7 10.0.0.1 12345 4222\r\n", "192.0.2.7:12345 42"),
            ("TCP6 2001:db8::7 ::1 12345 4222\r\nPING", "[2001:db8::7]:12345 39"),
            ("TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7:1 37"),
            ("  TCP4\t192.0.2.7 10.0.0.1 0 65535  \r\n", "192.0.2.7:0 43"),
            ("UNKNOWN\r\n", "nobody 15"),
            ("UNKNOWN what ever\r\n", "nobody 25"),
            ("TCP4 192.0.2.7", "more"),
            ("TCP4 192.0.2.7\r", "more"),
            ("\r\n", "invalid PROXY protocol header: invalid v1 format"),
            ("TCP4 192.0.2.7\r\n", "invalid PROXY protocol header: invalid v1 format"),
            ("TCP4 192.0.2.07 10.0.0.1 1 2\r\n", "invalid PROXY protocol header: invalid address"),
            ("TCP4 ::1 ::1 1 2\r\n", "invalid PROXY protocol header: TCP4 with IPv6 address"),
            ("TCP6 ::1 1.2.3.4 1 2\r\n", "invalid PROXY protocol header: TCP6 with IPv4 address"),
            (
                "UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
                "invalid PROXY protocol header: invalid protocol UDP4",
            ),
            (
                "TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
                "invalid source port: strconv.ParseUint: parsing \"+1\": invalid syntax",
            ),
            (
                "TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
                "invalid dest port: strconv.ParseUint: parsing \"65536\": value out of range",
            ),
        ] {
            assert_eq!(told(format!("PROXY {line}").as_bytes()), wanted, "{line:?}");
        }
    }

    #[test]
    fn a_line_has_an_end() {
        let line = |len: usize| format!("PROXY {}\r\n", "x".repeat(len));
        let too_long = "invalid PROXY protocol header: v1 line too long";
        assert_eq!(told(&line(HEADER_MAX).as_bytes()[..HEADER_MAX - 1]), "more");
        assert_eq!(told(line(HEADER_MAX - MARK - 1).as_bytes()), too_long);
        let format = "invalid PROXY protocol header: invalid v1 format";
        assert_eq!(told(line(HEADER_MAX - MARK - 2).as_bytes()), format);
    }

    #[test]
    fn binary_ones() {
        for (bytes, wanted) in [
            (v2(0x21, 0x11, V4), "192.0.2.7:12345 28"),
            (v2(0x21, 0x11, &[V4, &[9; 200]].concat()), "192.0.2.7:12345 228"),
            (v2(0x21, 0x21, &v6("2001:db8::7")), "[2001:db8::7]:12345 52"),
            (v2(0x21, 0x21, &v6("::ffff:192.0.2.7")), "192.0.2.7:12345 52"),
            (v2(0x20, 0x00, b""), "nobody 16"),
            (v2(0x20, 0x31, b"abc"), "nobody 19"),
            (v2(0x21, 0x01, b"abc"), "nobody 19"),
            (v2(0x11, 0x11, V4), "invalid PROXY protocol header: invalid version 0x10"),
            (v2(0x22, 0x11, V4), "unknown PROXY protocol command: 0x02"),
            (
                v2(0x21, 0x12, V4),
                "unsupported PROXY protocol feature: only STREAM protocol supported",
            ),
            (
                v2(0x21, 0x31, &[0; 216]),
                "unsupported PROXY protocol feature: unsupported address family 0x30",
            ),
            (v2(0x21, 0x11, &V4[..11]), "IPv4 address data too short: 11 bytes"),
            (v2(0x21, 0x21, V4), "IPv6 address data too short: 12 bytes"),
            (b"\r\n\r\n\0\r\nQUIX\n".to_vec(), "invalid PROXY protocol header: invalid signature"),
        ] {
            assert_eq!(told(&bytes), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_the_clients_own() {
        for (bytes, wanted) in [
            ("", "more"),
            ("PROXY", "more"),
            ("PING\r\n", "absent"),
            ("CONNECT {}\r\n", "absent"),
            ("proxy TCP4", "absent"),
            ("\u{16}\u{3}\u{1}abc", "absent"),
            ("\r\n\r\nPI", "absent"),
        ] {
            assert_eq!(told(bytes.as_bytes()), wanted, "{bytes:?}");
        }
    }

    /// Of every beginning of a header: either more is needed, or it says what the whole says. What
    /// is needed never exceeds what may be held.
    #[test]
    fn every_cut_says_the_same() {
        let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 4222\r\n".to_vec();
        for whole in [line, v2(0x21, 0x11, V4), v2(0x21, 0x21, &v6("::7")), v2(0x20, 0, &[1; 300])]
        {
            let last = parse(&whole);
            let cuts: Vec<_> = (0..whole.len()).map(|cut| parse(&whole[..cut])).collect();
            assert!(cuts.iter().all(|said| *said == Ok(Proxied::More) || *said == last));
            let known = cuts.iter().position(|said| *said == last).unwrap_or(whole.len());
            assert!(known <= HEADER_MAX);
        }
    }

    /// Whatever comes, nothing breaks, and no more is asked for than may be held.
    #[test]
    fn random_bytes_are_judged() {
        let mut state = 7_u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        let starts: [&[u8]; 4] = [b"PROXY ", SIGNATURE, b"PROXY TCP4 1.2.3.4 ", b""];
        let pieces: [&[u8]; 10] = [
            b" ",
            b"TCP4",
            b"TCP6",
            b"::1",
            b"1.2.3.4",
            b"99999",
            b"\r\n",
            b"\x21\x11",
            V4,
            b"\xff",
        ];
        for _ in 0..50_000 {
            let mut bytes = starts[draw(starts.len())].to_vec();
            for _ in 0..draw(12) {
                match draw(3) {
                    0 => bytes.push(draw(256) as u8),
                    _ => bytes.extend_from_slice(pieces[draw(pieces.len())]),
                }
            }
            let said = parse(&bytes);
            assert!(said != Ok(Proxied::More) || bytes.len() < HEADER_MAX, "{bytes:?}");
            if let Ok(Proxied::Header { len, .. }) = said {
                assert!((FIXED - 1..=FIXED + 65535).contains(&len), "{bytes:?}");
            }
            let _ = missing(&bytes);
        }
    }
}
