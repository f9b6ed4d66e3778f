//! TLS beneath the protocol: what the operator decides about it, and what comes of that.
//!
//! `secure` stands between a shard's loop and its engine and translates; `session` is one
//! connection's part of it. Neither knows of sockets. `spare` keeps the buffers of records.

mod certificates;
mod identity;
mod names;
mod secure;
mod session;
mod spare;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use shard::limits::{MILLIS, SECONDS};
use shard::{Nanos, PeerCertificate, TlsOffer};

pub use names::{Offered, cipher_suite, curve};
pub(crate) use secure::Secure;

/// How long a handshake may take unless the operator says otherwise.
pub const TIMEOUT_NS: Nanos = 2 * SECONDS;
/// How long `handshake_first: auto` waits before it greets in plain text.
pub const FALLBACK_NS: Nanos = 50 * MILLIS;
/// Sessions of TLS 1.2 clients without tickets that are remembered.
const SESSIONS_MAX: usize = 4096;

/// What an operator decides about TLS. Files are read by [`TlsSettings::load`], again at each call.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsSettings {
    /// Certificates and their keys, the one for clients that name no server first. At least one.
    pub certificates: Vec<CertificateFiles>,
    /// Certificates of the authorities that sign clients' ones; none means the system's.
    pub ca_file: Option<PathBuf>,
    /// Clients must show a certificate.
    pub verify: bool,
    /// Their certificates say who they are.
    pub map: bool,
    /// How long a handshake may take.
    pub timeout_ns: Nanos,
    /// TLS comes before INFO.
    pub first: bool,
    /// With `first`: after this much silence INFO comes after all; 0 is never.
    pub fallback_ns: Nanos,
    /// A client may do without.
    pub optional: bool,
    /// Handshakes that may begin in a second; 0 is any number.
    pub rate_max: u64,
    /// TLS 1.2 is refused.
    pub only_1_3: bool,
    /// The suites for TLS 1.2 by Go's names; all there are if empty.
    pub cipher_suites: Vec<String>,
    /// The groups for the key exchange by Go's names, in order; all there are if empty.
    pub curves: Vec<String>,
    /// SHA-256 of the keys clients may have, lower-case hex; any if empty.
    pub pinned: Vec<String>,
    /// The OCSP response to show with the first certificate, DER.
    pub ocsp_staple_file: Option<PathBuf>,
}

/// A certificate with those that lead to its authority, and its key. PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own first.
    pub cert_file: PathBuf,
    /// Its key: PKCS #1, PKCS #8 or SEC 1.
    pub key_file: PathBuf,
}

impl Default for TlsSettings {
    fn default() -> TlsSettings {
        TlsSettings {
            certificates: Vec::new(),
            ca_file: None,
            verify: false,
            map: false,
            timeout_ns: TIMEOUT_NS,
            first: false,
            fallback_ns: 0,
            optional: false,
            rate_max: 0,
            only_1_3: false,
            cipher_suites: Vec::new(),
            curves: Vec::new(),
            pinned: Vec::new(),
            ocsp_staple_file: None,
        }
    }
}

/// TLS ready for use: files read, keys parsed. Shared by all shards.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For clients.
    pub(crate) clients: Arc<ServerConfig>,
    /// For monitoring: nobody is asked for a certificate there.
    pub(crate) monitoring: Arc<ServerConfig>,
    pub(crate) settings: TlsSettings,
    /// When the first certificate expires, seconds since 1970.
    pub(crate) not_after_unix_s: i64,
    /// The first certificate demands an OCSP response with it.
    pub(crate) must_staple: bool,
}

impl TlsSettings {
    /// Reads the files and makes of them what handshakes need.
    ///
    /// # Errors
    /// One line: a file that can't be read or does not hold what it should, a name this server
    /// has no cipher suite or group for.
    pub fn load(&self) -> Result<Tls, String> {
        let provider = Arc::new(self.provider()?);
        let certificates = certificates::load(&provider, self)?;
        let first = certificates.first().ok_or("missing 'cert_file' in TLS configuration")?;
        let (not_after_unix_s, must_staple) = (first.not_after_unix_s, first.must_staple);
        let resolver = Arc::new(certificates::Choice::new(certificates));
        let versions: &[_] = if self.only_1_3 {
            &[&rustls::version::TLS13]
        } else {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        };
        let builder = || {
            ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)
                .map_err(|error| error.to_string())
        };
        let mut monitoring =
            builder()?.with_no_client_auth().with_cert_resolver(Arc::clone(&resolver) as _);
        // A file that is named is read, whatever it is for.
        let wanted = self.verify || self.ca_file.is_some();
        let roots = if wanted { Some(certificates::roots(self.ca_file.as_deref())?) } else { None };
        let mut clients = if let Some(roots) = roots.filter(|_| self.verify) {
            let roots = Arc::new(roots);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .build()
                    .map_err(|error| error.to_string())?;
            builder()?.with_client_cert_verifier(verifier).with_cert_resolver(resolver)
        } else {
            builder()?.with_no_client_auth().with_cert_resolver(resolver)
        };
        for config in [&mut clients, &mut monitoring] {
            // As Go does: the server's order counts, fastest first.
            config.ignore_client_order = true;
            config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
            config.ticketer =
                rustls::crypto::ring::Ticketer::new().map_err(|error| error.to_string())?;
            config.send_tls13_tickets = 1;
            config.max_early_data_size = 0;
        }
        Ok(Tls {
            clients: Arc::new(clients),
            monitoring: Arc::new(monitoring),
            settings: self.clone(),
            not_after_unix_s,
            must_staple,
        })
    }

    /// The primitives, narrowed to what the operator wants.
    fn provider(&self) -> Result<CryptoProvider, String> {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites = names::suites(&self.cipher_suites)?;
        if !self.curves.is_empty() {
            provider.kx_groups = names::groups(&self.curves)?;
        }
        Ok(provider)
    }
}

impl Tls {
    /// A client with these certificates, its own first, has a key it may have.
    pub(crate) fn lets_in(&self, certificates: &[PeerCertificate]) -> bool {
        let pinned = &self.settings.pinned;
        let own = certificates.first();
        pinned.is_empty() || own.is_some_and(|own| pinned.contains(&own.spki_sha256))
    }

    /// What connections are told of it.
    pub(crate) fn offer(&self) -> TlsOffer {
        let TlsSettings { optional, verify, first, .. } = self.settings;
        TlsOffer { required: !optional, verify, first }
    }

    /// The first certificate has the extension that obliges the server to show an OCSP response.
    pub fn must_staple(&self) -> bool {
        self.must_staple
    }
}
