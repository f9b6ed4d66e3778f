//! Cipher suites and groups by the names Go has for them.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::{cipher_suite as suite, kx_group};
use rustls::{CipherSuite, SupportedCipherSuite};

/// What becomes of a name an operator has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It can be used.
    Here,
    /// Go has it, this server does not.
    Elsewhere,
    /// Go has it and calls it insecure; this server does not have it.
    Insecure,
    /// Nobody has it.
    Unknown,
}

/// By Go's name; fastest first, as both ends have AES in hardware more often than not.
const SUITES: &[(&str, SupportedCipherSuite)] = &[
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", suite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Go's short names for two of them.
const SHORT: &[(&str, &str)] = &[
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// Suites Go has and this server has not.
const SECURE_ELSEWHERE: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];
const INSECURE_ELSEWHERE: &[&str] = &[
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

const CURVES_ELSEWHERE: &[&str] =
    &["SecP384r1MLKEM1024", "SecP256r1MLKEM768", "X25519MLKEM768", "CurveP521"];

/// What becomes of a cipher suite's name.
pub fn cipher_suite(name: &str) -> Offered {
    if find(name).is_some() {
        Offered::Here
    } else if SECURE_ELSEWHERE.contains(&name) {
        Offered::Elsewhere
    } else if INSECURE_ELSEWHERE.contains(&name) {
        Offered::Insecure
    } else {
        Offered::Unknown
    }
}

/// What becomes of a curve's name.
pub fn curve(name: &str) -> Offered {
    match group(name) {
        Some(_) => Offered::Here,
        None if CURVES_ELSEWHERE.contains(&name) => Offered::Elsewhere,
        None => Offered::Unknown,
    }
}

fn find(name: &str) -> Option<SupportedCipherSuite> {
    let full = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full);
    SUITES.iter().find(|(known, _)| *known == full).map(|(_, suite)| *suite)
}

fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    match name {
        "X25519" => Some(kx_group::X25519),
        "CurveP256" => Some(kx_group::SECP256R1),
        "CurveP384" => Some(kx_group::SECP384R1),
        _ => None,
    }
}

/// The suites to offer. As with Go, names choose among those of TLS 1.2 only, and their order does
/// not count.
pub(super) fn suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, String> {
    let wanted: Vec<SupportedCipherSuite> = names
        .iter()
        .map(|name| find(name).ok_or_else(|| format!("cipher {name} is not available")))
        .collect::<Result<_, _>>()?;
    let all = SUITES.iter().map(|(_, suite)| *suite);
    let chosen = |suite: &SupportedCipherSuite| suite.tls13().is_some() || wanted.contains(suite);
    Ok(all.filter(|suite| names.is_empty() || chosen(suite)).collect())
}

/// The groups to offer, in the operator's order.
pub(super) fn groups(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, String> {
    let found = names
        .iter()
        .map(|name| group(name).ok_or_else(|| format!("curve {name} is not available")));
    found.collect()
}

/// A suite by Go's name.
pub(super) fn of_suite(suite: CipherSuite) -> &'static str {
    SUITES.iter().find(|(_, known)| known.suite() == suite).map_or("unknown", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_gos() {
        assert_eq!(cipher_suite("TLS_AES_128_GCM_SHA256"), Offered::Here);
        assert_eq!(cipher_suite("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"), Offered::Here);
        assert_eq!(cipher_suite("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"), Offered::Elsewhere);
        assert_eq!(cipher_suite("TLS_RSA_WITH_RC4_128_SHA"), Offered::Insecure);
        assert_eq!(cipher_suite("TLS13_AES_128_GCM_SHA256"), Offered::Unknown);
        assert_eq!(curve("X25519"), Offered::Here);
        assert_eq!(curve("X25519MLKEM768"), Offered::Elsewhere);
        assert_eq!(curve("secp256r1"), Offered::Unknown);
        assert_eq!(of_suite(CipherSuite::TLS13_AES_256_GCM_SHA384), "TLS_AES_256_GCM_SHA384");
    }

    #[test]
    fn names_choose_among_tls_1_2_only() {
        let one = suites(&["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384".to_string()]).unwrap();
        let names: Vec<&str> = one.iter().map(|suite| of_suite(suite.suite())).collect();
        assert_eq!(
            names,
            [
                "TLS_AES_128_GCM_SHA256",
                "TLS_AES_256_GCM_SHA384",
                "TLS_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            ]
        );
    }
}
