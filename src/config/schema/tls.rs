//! The `tls` block.

use std::path::PathBuf;

use runtime::tls::{self, CertificateFiles, Offered, TlsSettings};

use super::{Field, unknown};
use crate::config::value::{Data, Fault, Map, Value};

const KEYS: &[&str] = &[
    "cert_file",
    "key_file",
    "ca_file",
    "verify",
    "verify_and_map",
    "insecure",
    "timeout",
    "cipher_suites",
    "curve_preferences",
    "min_version",
    "pinned_certs",
    "connection_rate_limit",
    "handshake_first",
    "certs",
    "certificates",
    "allow_insecure_cipher_suites",
    "verify_cert_and_check_known_urls",
    "ocsp_peer",
    "ocsp_staple_file",
];

const WINDOWS: &str = "it is for the certificate store of Windows; write cert_file and key_file";
const NO_SUITE: &str = "rustls has AEAD suites with forward secrecy only; leave it out";
const NO_CURVE: &str = "the curves here are X25519, CurveP256 and CurveP384; leave it out";

/// Reads the block, without the files it names.
pub fn read(field: &Field<'_>) -> Result<TlsSettings, Fault> {
    let Data::Map(map) = &field.value.data else {
        return Err(field.expected("a map such as { cert_file: ..., key_file: ... }"));
    };
    let mut settings = TlsSettings::default();
    let mut own = CertificateFiles::default();
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(_, value)| (value.at.line, value.at.column));
    for (key, value) in entries {
        let field = Entry { key, value };
        match key.to_lowercase().as_str() {
            "cert_file" => own.cert_file = field.file()?,
            "key_file" => own.key_file = field.file()?,
            _ => entry(&field, &mut settings)?,
        }
    }
    let empty = |path: &PathBuf| path.as_os_str().is_empty();
    let fault = |message: &str| Err(field.value.fault(message));
    match (empty(&own.cert_file), empty(&own.key_file), settings.certificates.is_empty()) {
        (false, _, false) => {
            return fault("error parsing tls config, cannot combine 'cert_file' with 'certs'");
        }
        (false, true, _) => return fault("missing 'key_file' in TLS configuration"),
        (true, false, _) => return fault("missing 'cert_file' in TLS configuration"),
        (true, true, true) => {
            return fault("missing 'cert_file' and 'key_file': no client could connect without");
        }
        (false, false, true) => settings.certificates.push(own),
        (true, true, false) => {}
    }
    Ok(settings)
}

fn entry(field: &Entry<'_>, settings: &mut TlsSettings) -> Result<(), Fault> {
    match field.key.to_lowercase().as_str() {
        "ca_file" => settings.ca_file = Some(field.file()?).filter(|p| !p.as_os_str().is_empty()),
        "verify" => settings.verify |= field.flag()?,
        "verify_and_map" => {
            settings.map = field.flag()?;
            settings.verify |= settings.map;
        }
        // Of connections this server makes; nothing here depends on it.
        "insecure" => drop(field.flag()?),
        // There are none to allow: each is refused by its name.
        "allow_insecure_cipher_suites" => drop(field.flag()?),
        "verify_cert_and_check_known_urls" => {
            if field.flag()? {
                return Err(field.wrong("is not for clients: write verify"));
            }
        }
        "timeout" => settings.timeout_ns = field.seconds()?,
        "cipher_suites" => settings.cipher_suites = field.names(tls::cipher_suite, NO_SUITE)?,
        "curve_preferences" => settings.curves = field.names(tls::curve, NO_CURVE)?,
        "min_version" => settings.only_1_3 = field.min_version()?,
        "pinned_certs" => settings.pinned = field.pinned()?,
        "connection_rate_limit" => match field.value.data {
            Data::Integer(limit) => settings.rate_max = u64::try_from(limit).unwrap_or(0),
            _ => return Err(field.wrong("expects a whole number of handshakes per second")),
        },
        "handshake_first" | "first" | "immediate" => {
            (settings.first, settings.fallback_ns) = field.handshake_first()?;
        }
        "certs" | "certificates" => settings.certificates = field.certificates()?,
        "ocsp_staple_file" => settings.ocsp_staple_file = Some(field.file()?),
        "ocsp_peer" if matches!(field.value.data, Data::Bool(false)) => {}
        "ocsp_peer" => {
            return Err(field.unsupported(
                field.key,
                "clients' certificates are not checked for revocation; write false",
            ));
        }
        "cert_store"
        | "cert_match_by"
        | "cert_match"
        | "ca_certs_match"
        | "cert_match_skip_invalid" => return Err(field.unsupported(field.key, WINDOWS)),
        _ => {
            let what = "error parsing tls config, unknown field";
            let unknown = unknown("field", field.key, KEYS.iter().copied());
            return Err(field.value.fault(unknown.replacen("unknown field", what, 1)));
        }
    }
    Ok(())
}

/// A key of the block and its value.
struct Entry<'v> {
    key: &'v str,
    value: &'v Value,
}

impl Entry<'_> {
    fn wrong(&self, why: &str) -> Fault {
        self.value.fault(format!("error parsing tls config, '{}' {why}", self.key))
    }

    fn unsupported(&self, name: &str, advice: &str) -> Fault {
        self.value.fault(format!("{name} is not supported yet: {advice}"))
    }

    fn file(&self) -> Result<PathBuf, Fault> {
        file(self.value).ok_or_else(|| self.wrong("expects a file name"))
    }

    fn flag(&self) -> Result<bool, Fault> {
        match self.value.data {
            Data::Bool(on) => Ok(on),
            _ => Err(self.wrong("expects true or false")),
        }
    }

    /// Seconds, or a duration; none is the default.
    fn seconds(&self) -> Result<u64, Fault> {
        let ns = match &self.value.data {
            Data::Integer(seconds) => seconds.saturating_mul(1_000_000_000),
            Data::Float(seconds) => (seconds * 1e9) as i64,
            Data::Text(text) => {
                crate::config::duration::parse(text).map_err(|why| self.wrong(&why))?
            }
            _ => return Err(self.wrong("expects seconds, or a duration such as \"2s\"")),
        };
        match u64::try_from(ns) {
            Ok(0) => Ok(tls::TIMEOUT_NS),
            Ok(ns) => Ok(ns),
            Err(_) => Err(self.wrong("can not be negative")),
        }
    }

    fn list(&self) -> Result<&[Value], Fault> {
        match &self.value.data {
            Data::Array(values) => Ok(values),
            _ => Err(self.wrong("expects a list")),
        }
    }

    fn names(&self, look: fn(&str) -> Offered, advice: &str) -> Result<Vec<String>, Fault> {
        let values = self.list()?;
        if values.is_empty() {
            return Err(self.wrong("cannot be empty"));
        }
        let what = if self.key.eq_ignore_ascii_case("cipher_suites") {
            "unrecognized cipher"
        } else {
            "unrecognized curve preference"
        };
        let mut names = Vec::new();
        for value in values {
            let Data::Text(name) = &value.data else {
                return Err(value.fault(format!("{what}: a name was expected")));
            };
            match look(name) {
                Offered::Here => names.push(name.clone()),
                Offered::Elsewhere | Offered::Insecure => {
                    return Err(value.fault(format!("{name} is not supported yet: {advice}")));
                }
                Offered::Unknown => return Err(value.fault(format!("{what} {name}"))),
            }
        }
        Ok(names)
    }

    fn min_version(&self) -> Result<bool, Fault> {
        match &self.value.data {
            Data::Text(version) => match version.as_str() {
                "1.2" => Ok(false),
                "1.3" => Ok(true),
                "1.0" | "1.1" => {
                    Err(self.wrong(&format!("unsupported TLS version: TLS {version}")))
                }
                _ => Err(self.wrong(&format!("unknown version: {version}"))),
            },
            _ => Err(self.wrong("expects \"1.2\" or \"1.3\", in quotes")),
        }
    }

    fn pinned(&self) -> Result<Vec<String>, Fault> {
        let mut pinned = Vec::new();
        for value in self.list()? {
            match &value.data {
                Data::Text(hex)
                    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) =>
                {
                    pinned.push(hex.to_lowercase());
                }
                _ => {
                    return Err(value.fault(
                        "error parsing tls config, 'pinned_certs' expects 64 hex digits: \
                         the SHA-256 of a key's SubjectPublicKeyInfo",
                    ));
                }
            }
        }
        Ok(pinned)
    }

    /// Whether TLS comes first, and after which silence it does not after all; 0 is never.
    fn handshake_first(&self) -> Result<(bool, u64), Fault> {
        match &self.value.data {
            Data::Bool(on) => Ok((*on, 0)),
            Data::Text(text) => match text.to_lowercase().as_str() {
                "true" | "on" => Ok((true, 0)),
                "false" | "off" => Ok((false, 0)),
                "auto" | "auto_fallback" => Ok((true, tls::FALLBACK_NS)),
                _ => {
                    let ns = crate::config::duration::parse(text)
                        .map_err(|_| self.wrong(&format!("value {text:?} is invalid")))?;
                    Ok((true, u64::try_from(ns).unwrap_or(0)))
                }
            },
            _ => Err(self.wrong("expects true, false, \"auto\" or a duration")),
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateFiles>, Fault> {
        self.list()?.iter().map(pair).collect()
    }
}

fn pair(value: &Value) -> Result<CertificateFiles, Fault> {
    let Data::Map(map) = &value.data else {
        return Err(value.fault("error parsing certificates config: expected a map of two files"));
    };
    let map: &Map = map;
    let mut files = CertificateFiles::default();
    for (key, value) in map {
        let place = match key.as_str() {
            "cert_file" => &mut files.cert_file,
            "key_file" => &mut files.key_file,
            _ => {
                let known = ["cert_file", "key_file"].into_iter();
                return Err(value.fault(unknown("field", key, known)));
            }
        };
        *place = file(value).ok_or_else(|| {
            value.fault(format!("error parsing certificates config: {key} expects a file name"))
        })?;
    }
    if files.cert_file.as_os_str().is_empty() || files.key_file.as_os_str().is_empty() {
        return Err(value.fault(
            "error parsing certificates config: both 'cert_file' and 'key_file' are required",
        ));
    }
    Ok(files)
}

fn file(value: &Value) -> Option<PathBuf> {
    match &value.data {
        Data::Text(path) => Some(PathBuf::from(path)),
        _ => None,
    }
}

/// What an operator wants of OCSP responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stapling {
    /// Shown if the certificate demands it.
    #[default]
    Demanded,
    /// Always shown.
    Always,
    /// Not shown, whatever the certificate demands.
    Never,
}

/// `ocsp: true`, or `ocsp { mode: always }`.
pub fn ocsp(field: &Field<'_>) -> Result<Stapling, Fault> {
    let map = match &field.value.data {
        Data::Bool(true) => return Ok(Stapling::Demanded),
        Data::Bool(false) => return Ok(Stapling::Never),
        Data::Map(map) => map,
        _ => return Err(field.expected("true, false or { mode }")),
    };
    let mut stapling = Stapling::Demanded;
    for (key, value) in map.iter() {
        match (key.as_str(), &value.data) {
            ("mode", Data::Text(mode)) => {
                stapling = match mode.to_lowercase().as_str() {
                    "always" => Stapling::Always,
                    "auto" | "must" => Stapling::Demanded,
                    "never" => Stapling::Never,
                    _ => {
                        return Err(value.fault(format!(
                            "error parsing ocsp config: unsupported ocsp mode {mode:?}: \
                             write auto, always, must or never"
                        )));
                    }
                }
            }
            ("url" | "urls", _) => {
                return Err(value.fault(format!(
                    "{key} is not supported yet: OCSP responses are not fetched; \
                     write their file's name in tls {{ ocsp_staple_file }}"
                )));
            }
            _ => {
                return Err(
                    value.fault(format!("error parsing ocsp config: unsupported field {key:?}"))
                );
            }
        }
    }
    Ok(stapling)
}

/// Reads the files, so that a check of the configuration finds what is wrong with them.
pub fn check(settings: &mut TlsSettings, stapling: Stapling) -> Result<(), String> {
    let loaded = settings.load()?;
    let shown = settings.ocsp_staple_file.is_some();
    match stapling {
        Stapling::Never => settings.ocsp_staple_file = None,
        Stapling::Always if !shown => {
            return Err("ocsp mode always is not supported yet without a response to show: write \
                        its file's name in tls { ocsp_staple_file }"
                .to_string());
        }
        Stapling::Demanded if !shown && loaded.must_staple() => {
            return Err("the certificate demands an OCSP response, which is not fetched here: \
                        write its file's name in tls { ocsp_staple_file }, or ocsp: false"
                .to_string());
        }
        Stapling::Always | Stapling::Demanded => {}
    }
    Ok(())
}
