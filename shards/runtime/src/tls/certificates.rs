//! The server's certificates, which of them a client is shown, and whom clients' ones may be from.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::ParsedExtension;
use x509_parser::parse_x509_certificate;

use super::{CertificateFiles, TlsSettings};
use crate::words::Cause;

/// The extension by which a certificate demands an OCSP response (RFC 7633), and its content:
/// a sequence of the one number 5.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
const STATUS_REQUEST: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0x05];

/// A certificate and its key.
#[derive(Debug)]
pub(super) struct Certificate {
    pub key: Arc<CertifiedKey>,
    pub not_after_unix_s: i64,
    pub must_staple: bool,
}

/// Reads all of them.
pub(super) fn load(
    provider: &CryptoProvider,
    settings: &TlsSettings,
) -> Result<Vec<Certificate>, String> {
    let count = settings.certificates.len();
    let mut loaded = Vec::with_capacity(count);
    for (at, files) in settings.certificates.iter().enumerate() {
        let staple = match settings.ocsp_staple_file.as_deref().filter(|_| at == 0) {
            Some(path) => Some(read(path)?),
            None => None,
        };
        let which = if count > 1 { format!(" {}/{count}", at + 1) } else { String::new() };
        loaded.push(
            one(provider, files, staple)
                .map_err(|why| format!("error parsing X509 certificate/key pair{which}: {why}"))?,
        );
    }
    Ok(loaded)
}

fn one(
    provider: &CryptoProvider,
    files: &CertificateFiles,
    staple: Option<Vec<u8>>,
) -> Result<Certificate, String> {
    let chain = chain(&files.cert_file)?;
    let pem = read(&files.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| format!("{}: no private key in it: {error}", files.key_file.display()))?;
    let (not_after_unix_s, must_staple) =
        looked_at(&chain[0]).map_err(|why| format!("{}: {why}", files.cert_file.display()))?;
    let mut key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "private key does not match public key".to_string(),
        error => format!("{}: {error}", files.key_file.display()),
    })?;
    key.ocsp = staple;
    Ok(Certificate { key: Arc::new(key), not_after_unix_s, must_staple })
}

/// As an operator expects a file's fault to be told.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("open {}: {}", path.display(), Cause(&error)))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(format!("{}: no certificate in it", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// When it expires, and whether it demands an OCSP response.
fn looked_at(certificate: &CertificateDer<'_>) -> Result<(i64, bool), String> {
    let (_, parsed) = parse_x509_certificate(certificate)
        .map_err(|error| format!("malformed certificate: {error}"))?;
    let demands = parsed.extensions().iter().any(|extension| {
        extension.oid.to_id_string() == TLS_FEATURE
            && extension.value == STATUS_REQUEST
            && !matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. })
    });
    Ok((parsed.validity().not_after.timestamp(), demands))
}

/// Whom clients' certificates may be from: those in the file, or the system's.
pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = match ca_file {
        Some(path) => {
            chain(path).map_err(|why| format!("failed to parse root ca certificate: {why}"))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        let place = ca_file.map_or("the system's store".into(), Path::to_string_lossy);
        return Err(format!("failed to parse root ca certificate: none in {place}"));
    }
    Ok(roots)
}

/// Chooses a certificate for a client: the first that is for the name it asks for and whose key it
/// can check, or else the first of all.
pub(super) struct Choice {
    all: Vec<Arc<CertifiedKey>>,
}

impl Choice {
    pub fn new(certificates: Vec<Certificate>) -> Choice {
        Choice { all: certificates.into_iter().map(|certificate| certificate.key).collect() }
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| {
            key.key.choose_scheme(hello.signature_schemes()).is_some()
                && hello.server_name().is_none_or(|name| is_for(key, name))
        };
        let found = if self.all.len() > 1 { self.all.iter().find(fits) } else { None };
        found.or_else(|| self.all.first()).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else { return false };
    let parsed = key.cert.first().map(ParsedCertificate::try_from);
    matches!(parsed, Some(Ok(parsed)) if verify_server_name(&parsed, &name).is_ok())
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificates", self.all.len())
    }
}
