//! The servers that are compared: how to start, find, pin and stop them.

use crate::certificate::Certificate;
use crate::load::dial::Door;
use crate::load::protocol::Protocol;
use crate::{probe, sys};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to come up.
const START_MAX: Duration = Duration::from_secs(15);
/// How long it may take to go down before it is killed.
const STOP_MAX: Duration = Duration::from_secs(5);

/// What kind of server one is, as its name tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Ours, in whatever version: `ringbus…`.
    Ours,
    /// A nats-server: `nats…`.
    Nats,
    /// The yardstick: `floor`.
    Floor,
    /// One that speaks RESP: `redis…`, `valkey…`.
    Resp,
    /// Any other.
    Other,
}

impl Role {
    /// Of a server of this name.
    pub fn of(name: &str) -> Self {
        match name {
            n if n.starts_with("ringbus") => Self::Ours,
            n if n.starts_with("nats") => Self::Nats,
            "floor" => Self::Floor,
            n if n.starts_with("redis") || n.starts_with("valkey") => Self::Resp,
            _ => Self::Other,
        }
    }
}

/// A server by command line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What it is called in the report.
    pub name: String,
    /// Program and arguments; `{port}` and `{cores}` (their number) are filled in.
    pub command: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Vec<Spec>,
}

/// Paths the built-in servers are started by.
pub struct Paths {
    /// ringbus.
    pub ringbus: PathBuf,
    /// nats-server.
    pub nats_server: PathBuf,
    /// Where a second nats-server may be: the first of these that is there.
    pub nats_debian: Vec<PathBuf>,
}

/// The servers every bench knows: ringbus, nats-server, and the floor under both.
pub fn built_in(paths: &Paths) -> Vec<Spec> {
    let own = std::env::current_exe().unwrap_or_else(|_| "ringbus-bench".into());
    let spec = |name: &str, program: &Path, arguments: &str| Spec {
        name: name.into(),
        command: std::iter::once(program.to_string_lossy().into_owned())
            .chain(arguments.split_whitespace().map(String::from))
            .collect(),
    };
    vec![
        spec("ringbus", &paths.ringbus, "-a 127.0.0.1 -p {port} --shards {cores}"),
        spec("nats-server", &paths.nats_server, NATS),
        spec("floor", &own, "floor --port {port}"),
    ]
}

/// Others that are compared where they are installed: Debian's nats-server, Redis, Valkey.
pub fn installed(paths: &Paths) -> Vec<Spec> {
    let same = |other: &Path| match (paths.nats_server.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    };
    let nats = paths.nats_debian.iter().filter(|path| path.is_file() && !same(path)).take(1);
    let nats = nats.map(|path| (String::from("nats-debian"), path.to_string_lossy(), NATS));
    let resp =
        ["redis", "valkey"].map(|name| (name.to_string(), format!("{name}-server").into(), RESP));
    let spec = |(name, program, arguments): (String, std::borrow::Cow<'_, str>, &str)| Spec {
        name,
        command: std::iter::once(program.into_owned())
            .chain(arguments.split_whitespace().map(|word| word.replace("''", "")))
            .collect(),
    };
    nats.chain(resp).map(spec).collect()
}

const NATS: &str = "-a 127.0.0.1 -p {port}";
/// Nothing is written to disk, and nobody is cut off for being behind.
const RESP: &str = "--bind 127.0.0.1 --port {port} --save '' --appendonly no --protected-mode no \
    --maxclients 20000 --client-output-buffer-limit pubsub 0 0 0";

/// More servers, from a TOML file of `[[server]]` tables.
///
/// # Errors
/// A line that says what is wrong with the file.
pub fn from_file(path: &Path) -> Result<Vec<Spec>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse_file(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse_file(text: &str) -> Result<Vec<Spec>, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
    match file.server.iter().find(|spec| spec.command.is_empty()) {
        Some(spec) => Err(format!("{}: no command", spec.name)),
        None => Ok(file.server),
    }
}

impl Spec {
    /// What kind of server it is.
    pub fn role(&self) -> Role {
        Role::of(&self.name)
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        match self.role() {
            Role::Resp => Protocol::Resp,
            _ => Protocol::Nats,
        }
    }

    /// Whether its program can be found.
    pub fn available(&self) -> bool {
        let program = Path::new(&self.command[0]);
        if program.components().count() > 1 {
            return program.is_file();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    }

    /// Whether it can be started with a certificate.
    pub fn knows_tls(&self) -> bool {
        matches!(self.role(), Role::Ours | Role::Nats)
    }

    fn arguments(&self, port: u16, cores: usize) -> Vec<String> {
        let fill = |a: &String| {
            a.replace("{port}", &port.to_string()).replace("{cores}", &cores.to_string())
        };
        self.command[1..].iter().map(fill).collect()
    }

    /// Starts it on a port the kernel chose, on `server_cores`, and waits until it says INFO.
    /// The caller goes on on `own_cores`. With a certificate its clients must use TLS.
    ///
    /// # Errors
    /// A line that says what it did instead.
    pub fn start(
        &self,
        certificate: Option<&Certificate>,
        server_cores: &[usize],
        own_cores: &[usize],
    ) -> Result<Running, String> {
        let port = free_port().map_err(|e| e.to_string())?;
        sys::pin(server_cores).map_err(|e| format!("pinning the server: {e}"))?;
        let child = Command::new(&self.command[0])
            .args(self.arguments(port, server_cores.len()))
            .args(certificate.map(Certificate::flags).into_iter().flatten())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        sys::pin(own_cores).map_err(|e| format!("pinning the generator: {e}"))?;
        let child = child.map_err(|e| format!("{}: {e}", self.name))?;
        let pid = child.id();
        let tls = certificate.map(Certificate::client);
        let door = Door { port, protocol: self.protocol(), tls, congestion: None };
        let mut running = Running { child, door, pid, version: String::new() };
        let info = running.wait_up(self.protocol()).map_err(|e| format!("{}: {e}", self.name))?;
        running.version = info;
        running.pid = probe::listener(pid, port)
            .ok_or_else(|| format!("{}: nobody of its family listens on its port", self.name))?;
        Ok(running)
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A server that is up. Dropping it stops it.
pub struct Running {
    child: Child,
    /// Where its clients come in.
    pub door: Door,
    /// The process that listens, which may be a child of the one that was started.
    pub pid: u32,
    /// What its INFO says its version is.
    pub version: String,
}

impl Running {
    fn wait_up(&mut self, protocol: Protocol) -> Result<String, String> {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended at once ({status})"));
            }
            match hello(self.door.port, protocol) {
                Ok(version) => return Ok(version),
                Err(e) if start.elapsed() > START_MAX => return Err(format!("not up: {e}")),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Whether the process still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.alive() {
            sys::terminate(self.pid);
        }
        let start = Instant::now();
        while self.alive() && start.elapsed() < STOP_MAX {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects and hears what the server says of itself; gives the version it tells.
fn hello(port: u16, protocol: Protocol) -> Result<String, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience).map_err(|e| e.to_string())?;
    stream.write_all(protocol.who_are_you()).map_err(|e| e.to_string())?;
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(version) = protocol.version(&got)? {
            return Ok(version);
        }
        match stream.read(&mut buffer).map_err(|e| e.to_string())? {
            0 => return Err("closed without a word about itself".into()),
            n => got.extend_from_slice(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_file_names_commands() {
        let text = "[[server]]\nname = 'old'\ncommand = ['/opt/nats', '-p', '{port}', '-x{cores}']";
        let servers = parse_file(text).unwrap();
        assert_eq!(servers[0].arguments(4222, 2), ["-p", "4222", "-x2"]);
        assert!(parse_file("[[server]]\nname = 'x'\ncommand = []").is_err());
        assert!(parse_file("[[server]]\nname = 'x'\ncommand = ['y']\nport = 1").is_err());
    }

    #[test]
    fn a_name_tells_what_a_server_is() {
        let roles = ["ringbus", "nats-debian", "floor", "valkey", "x"].map(Role::of);
        assert_eq!(roles, [Role::Ours, Role::Nats, Role::Floor, Role::Resp, Role::Other]);
    }

    #[test]
    fn a_second_nats_server_is_not_the_first_one() {
        let own = std::env::current_exe().unwrap();
        let paths = |first: &Path| Paths {
            ringbus: own.clone(),
            nats_server: first.to_path_buf(),
            nats_debian: vec!["/no/such/path".into(), own.clone()],
        };
        let names = |first: &Path| installed(&paths(first)).into_iter().map(|s| s.name).collect();
        let apart: Vec<String> = names(Path::new("/no/such/path"));
        assert_eq!(apart, ["nats-debian", "redis", "valkey"]);
        let same: Vec<String> = names(&own);
        assert_eq!(same, ["redis", "valkey"]);
    }

    #[test]
    fn a_missing_program_is_not_available() {
        let spec = |program: &str| Spec { name: "x".into(), command: vec![program.into()] };
        assert!(spec("sh").available());
        assert!(!spec("no-such-program-anywhere").available());
        assert!(!spec("/no/such/path").available());
    }

    #[test]
    fn a_program_that_ends_is_an_error_and_not_a_wait() {
        let spec = Spec { name: "false".into(), command: vec!["false".into()] };
        let cores = sys::cores().unwrap();
        let start = Instant::now();
        assert!(spec.start(None, &cores, &cores).is_err());
        assert!(start.elapsed() < START_MAX);
    }
}
