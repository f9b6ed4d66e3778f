//! A certificate made on the spot, for servers that are measured with TLS.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Tells the certificates of one process apart.
static MADE: AtomicU32 = AtomicU32::new(0);

/// An elliptic (P-256) certificate for 127.0.0.1 and its key, in files that are gone when this is
/// dropped.
pub struct Certificate {
    folder: PathBuf,
    client: Arc<ClientConfig>,
}

impl Certificate {
    /// A new one, and clients that trust nothing else. Each of their handshakes is a full one: a
    /// herd of clients that come for the first time has nothing to resume.
    ///
    /// # Errors
    /// A line that says what could not be made or written.
    pub fn make() -> Result<Self, String> {
        let number = MADE.fetch_add(1, Relaxed);
        let folder = format!("ringbus-bench-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(|e| e.to_string())?;
        let own = params.self_signed(&key).map_err(|e| e.to_string())?;
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone()).map_err(|e| e.to_string())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let mut client = builder.with_root_certificates(roots).with_no_client_auth();
        client.resumption = Resumption::disabled();
        let it = Self { folder, client: Arc::new(client) };
        for (name, text) in [(CERT, own.pem()), (KEY, key.serialize_pem())] {
            let file = it.folder.join(name);
            std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        }
        Ok(it)
    }

    /// What a server's command line says for it; nats-server's flags and ours.
    pub fn flags(&self) -> [String; 5] {
        let path = |name| self.folder.join(name).to_string_lossy().into_owned();
        ["--tls".into(), "--tlscert".into(), path(CERT), "--tlskey".into(), path(KEY)]
    }

    /// What clients do with it.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const CERT: &str = "server.pem";
const KEY: &str = "server.key";
