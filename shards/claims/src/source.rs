//! Networks that users may come from.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// `192.0.2.0/24` or `2001:db8::/32`.
    pub fn parse(cidr: &str) -> Option<Network> {
        let (address, bits) = cidr.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        if bits.is_empty() || !bits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let bits: u8 = bits.parse().ok()?;
        (bits <= width(address)).then_some(Network { address, bits })
    }

    /// Is this address in it? An IPv4 address written as IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        // A network wider than all of IPv4 is none of IPv4's, however it is written.
        let (own, bits) = match (self.address.to_canonical(), self.bits.checked_sub(96)) {
            (IpAddr::V4(own), Some(bits)) if self.address.is_ipv6() => (IpAddr::V4(own), bits),
            _ => (self.address, self.bits),
        };
        let other = address.to_canonical();
        if own.is_ipv4() != other.is_ipv4() {
            return false;
        }
        let shift = u32::from(width(own) - bits);
        let differing = numeral(own) ^ numeral(other);
        differing.checked_shr(shift).unwrap_or(0) == 0
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn numeral(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<String>),
    One(String),
}

/// An array, or a list between commas, or null.
pub(crate) fn list<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(match Option::<OneOrMany>::deserialize(from)? {
        None => Vec::new(),
        Some(OneOrMany::Many(list)) => list,
        Some(OneOrMany::One(text)) => {
            let words = text.split(',').map(|word| word.trim().to_lowercase());
            words.filter(|word| !word.is_empty()).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.200", true),
            ("192.0.2.0/24", "192.0.3.1", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("192.0.2.7/32", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.8", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("192.0.2.0/24", "::ffff:192.0.2.3", true),
            ("192.0.2.0/24", "2001:db8::1", false),
            ("::ffff:192.0.2.0/120", "192.0.2.3", true),
            ("::ffff:192.0.2.0/120", "192.0.3.3", false),
            ("::ffff:0.0.0.0/96", "192.0.3.3", true),
            ("::ffff:0.0.0.0/90", "192.0.2.3", false),
            ("::/0", "192.0.2.3", false),
        ];
        for (cidr, address, inside) in cases {
            let network = Network::parse(cidr).expect(cidr);
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{address} in {cidr}");
        }
        for none in ["", "192.0.2.0", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/+8", "a/8", "/8"] {
            assert_eq!(Network::parse(none), None, "{none}");
        }
    }
}
