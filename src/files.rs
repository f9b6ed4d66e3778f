//! The files that tell others about this process: the pid file, which stays behind as nats-server's
//! does, and the ports file, which goes with the process.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use runtime::Cause;
use serde::Serialize;

/// What this program was called as, directories left out.
pub fn program_name() -> String {
    let program = std::env::args_os().next().map(PathBuf::from);
    let name = program.as_deref().and_then(Path::file_name);
    name.map_or_else(|| "ringbus".to_string(), |name| name.to_string_lossy().into_owned())
}

/// Writes the process id, decimal, with no line end.
///
/// # Errors
/// One line: the file can't be written.
pub fn write_pid(path: &Path) -> Result<(), String> {
    write(path, std::process::id().to_string().as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("open {}: {}", path.display(), Cause(&error)))
}

/// `<executable>_<pid>.ports`: where this process can be reached, as URLs.
pub struct PortsFile {
    path: PathBuf,
}

#[derive(Serialize)]
struct Ports {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nats: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    monitoring: Vec<String>,
}

impl PortsFile {
    /// # Errors
    /// One line: the file can't be written.
    pub fn write(
        directory: &Path,
        nats: SocketAddr,
        monitoring: Option<SocketAddr>,
    ) -> Result<PortsFile, String> {
        let name = format!("{}_{}.ports", program_name(), std::process::id());
        let path = directory.join(name);
        let interfaces = interface_addresses();
        let ports = Ports {
            nats: urls("nats", nats, &interfaces),
            monitoring: monitoring
                .map(|address| urls("http", address, &interfaces))
                .unwrap_or_default(),
        };
        let failed = |why: String| format!("Error writing ports file ({}): {why}", path.display());
        let json = serde_json::to_vec(&ports).map_err(|error| failed(error.to_string()))?;
        write(&path, &json).map_err(failed)?;
        Ok(PortsFile { path })
    }

    /// # Errors
    /// One line: the file can't be removed.
    pub fn remove(self) -> Result<(), String> {
        fs::remove_file(&self.path).map_err(|error| {
            let path = self.path.display();
            format!("Error cleaning up ports file {path}: remove {path}: {}", Cause(&error))
        })
    }
}

/// One URL, or one for each address of this host when the socket listens on all of them.
fn urls(scheme: &str, address: SocketAddr, interfaces: &[IpAddr]) -> Vec<String> {
    let port = address.port();
    if !address.ip().is_unspecified() {
        return vec![format!("{scheme}://{address}")];
    }
    interfaces.iter().map(|ip| format!("{scheme}://{}", SocketAddr::new(*ip, port))).collect()
}

fn interface_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.into_iter().map(|interface| interface.ip()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_addresses() {
        let interfaces = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let table: &[(&str, &[&str])] = &[
            ("127.0.0.1:4222", &["nats://127.0.0.1:4222"]),
            ("[::1]:4222", &["nats://[::1]:4222"]),
            ("0.0.0.0:4222", &["nats://127.0.0.1:4222", "nats://[::1]:4222"]),
        ];
        for (address, expected) in table {
            assert_eq!(urls("nats", address.parse().unwrap(), &interfaces), *expected);
        }
    }
}
