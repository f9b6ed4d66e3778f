//! What a client's certificates say, in Go's words.

use std::fmt::Write;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use shard::access::DistinguishedName;
use shard::{Name, PeerCertificate};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Name;

/// Go's short names for the parts of a subject; others go by their numbers.
const SHORT: &[(&str, &str)] = &[
    ("2.5.4.6", "C"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.17", "POSTALCODE"),
];
const DOMAIN_COMPONENT: &str = "0.9.2342.19200300.100.1.25";

/// The certificates as /connz shows them. They have been parsed before, by whoever verified them.
pub(super) fn certificates(chain: &[CertificateDer<'_>]) -> Vec<PeerCertificate> {
    chain
        .iter()
        .filter_map(|der| parse_x509_certificate(der).ok().map(|(_, it)| (der, it)))
        .map(|(der, parsed)| PeerCertificate {
            subject: go_subject(&named(parsed.subject())),
            spki_sha256: sha256_hex(parsed.public_key().raw),
            cert_sha256: sha256_hex(der),
        })
        .collect()
}

/// What a certificate calls whoever has it, in the order in which `verify_and_map` tries: e-mail
/// addresses, DNS names, URIs, and the subject in three forms.
pub(super) fn names(der: &CertificateDer<'_>) -> Vec<Name> {
    let Ok((_, parsed)) = parse_x509_certificate(der) else { return Vec::new() };
    let mut names = alternative_names(&parsed);
    let by_oid = named(parsed.subject());
    let subject = go_rdn_sequence(&known_by_name(&by_oid));
    let dcs = domain_components(&by_oid);
    let shortened = |(oid, value): (String, String)| (short(&oid).to_owned(), value);
    let parts = by_oid.into_iter().rev().map(|rdn| rdn.into_iter().map(shortened).collect());
    names.push(Name::Distinguished(DistinguishedName::new(parts.collect())));
    if !dcs.is_empty() {
        names.push(Name::Text(format!("{subject},{dcs}")));
    }
    names.push(Name::Text(subject));
    names
}

fn alternative_names(parsed: &X509Certificate<'_>) -> Vec<Name> {
    let (mut emails, mut dns_names, mut uris) = (Vec::new(), Vec::new(), Vec::new());
    for extension in parsed.extensions() {
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::RFC822Name(email) => emails.push(Name::Text((*email).to_owned())),
                GeneralName::DNSName(name) => dns_names.push(Name::Text((*name).to_owned())),
                GeneralName::URI(uri) => uris.push(Name::Text((*uri).to_owned())),
                _ => {}
            }
        }
    }
    emails.into_iter().chain(dns_names).chain(uris).collect()
}

type Named = Vec<Vec<(String, String)>>;

/// The parts of a name by their numbers, in the certificate's order.
fn named(name: &X509Name<'_>) -> Named {
    let part = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        let value = match part.as_str() {
            Ok(text) => text.to_owned(),
            Err(_) => part.as_slice().iter().fold("#".to_owned(), |mut text, byte| {
                // Writing to a string can't fail.
                let _ = write!(text, "{byte:02x}");
                text
            }),
        };
        (part.attr_type().to_id_string(), value)
    };
    name.iter_rdn().map(|rdn| rdn.iter().map(part).collect()).collect()
}

fn short(oid: &str) -> &str {
    match SHORT.iter().find(|(number, _)| *number == oid) {
        Some((_, short)) => short,
        None if oid == DOMAIN_COMPONENT => "DC",
        None => oid,
    }
}

/// The parts Go knows by name, gathered by kind and in its order.
fn known_by_name(names: &Named) -> Named {
    const MANY: &[&str] =
        &["2.5.4.6", "2.5.4.8", "2.5.4.7", "2.5.4.9", "2.5.4.17", "2.5.4.10", "2.5.4.11"];
    const ONE: &[&str] = &["2.5.4.3", "2.5.4.5"];
    let of_kind = |kind: &str| -> Vec<(String, String)> {
        names.iter().flatten().filter(|(oid, _)| oid == kind).cloned().collect()
    };
    let many = MANY.iter().map(|kind| of_kind(kind));
    let one = ONE.iter().map(|kind| of_kind(kind).pop().into_iter().collect());
    many.chain(one).filter(|parts: &Vec<_>| !parts.is_empty()).collect()
}

/// As Go's `pkix.Name.String`: what it knows by name, and then the others.
fn go_subject(names: &Named) -> String {
    let unknown = names.iter().flatten().filter(|(oid, _)| !SHORT.iter().any(|(it, _)| it == oid));
    let mut parts: Named = unknown.map(|part| vec![part.clone()]).collect();
    parts.append(&mut known_by_name(names));
    go_rdn_sequence(&parts)
}

/// As Go's `RDNSequence.String`: the last first, parts of one RDN joined by `+`.
fn go_rdn_sequence(names: &Named) -> String {
    let mut text = String::new();
    for rdn in names.iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (at, (oid, value)) in rdn.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            match SHORT.iter().find(|(it, _)| it == oid) {
                Some((_, name)) => {
                    text.push_str(name);
                    text.push('=');
                    escape(value, &mut text);
                }
                None => {
                    text.push_str(oid);
                    text.push_str("=#");
                    for byte in go_der(value) {
                        // Writing to a string can't fail.
                        let _ = write!(text, "{byte:02x}");
                    }
                }
            }
        }
    }
    text
}

/// A string as Go's `asn1.Marshal` writes it.
fn go_der(value: &str) -> Vec<u8> {
    let printable = |b: u8| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b);
    let tag = if value.bytes().all(printable) { 0x13 } else { 0x0c };
    let mut der = vec![tag];
    match value.len() {
        length @ 0..0x80 => der.push(length as u8),
        length => {
            let bytes: Vec<u8> =
                length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            der.push(0x80 | bytes.len() as u8);
            der.extend(bytes);
        }
    }
    der.extend_from_slice(value.as_bytes());
    der
}

/// `DC=com,DC=example`, in the certificate's order.
fn domain_components(names: &Named) -> String {
    let dcs = names.iter().flatten().filter(|(oid, _)| oid == DOMAIN_COMPONENT);
    let dcs: Vec<String> = dcs.map(|(_, value)| format!("DC={value}")).collect();
    dcs.join(",")
}

/// RFC 2253's escapes, where Go has them.
fn escape(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (c == ' ' && (at == 0 || at == last))
            || (c == '#' && at == 0);
        if special {
            text.push('\\');
        }
        text.push(c);
    }
}

/// Lower-case hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
