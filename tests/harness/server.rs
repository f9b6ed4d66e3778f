//! Starts a server (the reference or the one under test) on a port the kernel chooses, and ends it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A server that has not said by then that it is ready, or what it thinks of another configuration, is
/// taken for broken.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Which program plays the server.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    /// ringbus's own flags (`--shards`) are for it alone.
    pub takes_shards: bool,
}

impl Program {
    /// The server under test: `RINGBUS_BIN`, or the binary that cargo built for this test.
    pub fn under_test() -> Program {
        let path = std::env::var_os("RINGBUS_BIN")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ringbus")), PathBuf::from);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let takes_shards = !name.unwrap_or_default().starts_with("nats-server");
        Program { path, takes_shards }
    }

    /// nats-server 2.15.1: `NATS_SERVER_BIN`, or the one under `.tools`, or the one on PATH.
    pub fn reference() -> Program {
        let tools =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/nats-server/bin/nats-server");
        let path = match std::env::var_os("NATS_SERVER_BIN") {
            Some(path) => PathBuf::from(path),
            None if tools.exists() => tools,
            None => PathBuf::from("nats-server"),
        };
        Program { path, takes_shards: false }
    }

    /// nats-server and ringbus.
    pub fn both() -> [Program; 2] {
        [Program::reference(), Program::under_test()]
    }
}

/// What `work` tells of both programs; it must be the same.
pub fn same_of_each<T: PartialEq + std::fmt::Debug>(work: impl Fn(&Program) -> T) -> T {
    let [theirs, ours] = Program::both().map(|program| work(&program));
    assert_eq!(theirs, ours, "nats-server on the left, ringbus on the right");
    ours
}

/// How to start it.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Lines of the configuration file; no file is given when there are none.
    pub conf: Vec<String>,
    /// Further command-line arguments.
    pub args: Vec<String>,
    /// Left out for a program that has no shards; 0 leaves the number to the server.
    pub shards: usize,
    /// 0 lets the kernel choose.
    pub port: u16,
    /// A library whose functions stand in for those of others.
    pub preload: Option<PathBuf>,
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    log: Receiver<String>,
    seen: Vec<String>,
    /// Its configuration file, if it has one.
    pub conf: Option<PathBuf>,
}

impl Server {
    /// Starts it and waits until it says that it is ready.
    pub fn start(program: &Program, setup: &Setup) -> Result<Server, String> {
        let conf = write_conf(&setup.conf)?;
        let port = if setup.port == 0 { "-1".to_string() } else { setup.port.to_string() };
        let mut command = Command::new(&program.path);
        command.args(["-a", "127.0.0.1", "-p", &port]).args(&setup.args);
        if let Some(path) = &conf {
            command.arg("-c").arg(path);
        }
        if program.takes_shards && setup.shards > 0 {
            command.args(["--shards", &setup.shards.to_string()]);
        }
        if let Some(library) = &setup.preload {
            command.env("LD_PRELOAD", library);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|e| format!("{} does not start: {e}", program.path.display()))?;
        let log = follow(child.stderr.take().expect("stderr is piped"));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, address, log, seen: Vec::new(), conf };
        server.wait_ready()?;
        Ok(server)
    }

    /// As [`Server::start`], with these lines in its file; it does start.
    pub fn with_conf(program: &Program, conf: &[String], shards: usize) -> Server {
        let setup = Setup { conf: conf.to_vec(), shards, ..Setup::default() };
        Server::start(program, &setup).unwrap_or_else(|fault| panic!("{fault}"))
    }

    fn wait_ready(&mut self) -> Result<(), String> {
        let line = self.wait_log("Listening for client connections on ", TIME_MAX)?;
        let port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok());
        let port: u16 = port.ok_or_else(|| format!("no port in `{line}`"))?;
        self.address = SocketAddr::from(([127, 0, 0, 1], port));
        self.wait_log("Server is ready", TIME_MAX).map(drop)
    }

    /// Waits for a log line that holds `text` and gives it.
    pub fn wait_log(&mut self, text: &str, time_max: Duration) -> Result<String, String> {
        let end = Instant::now() + time_max;
        loop {
            match self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "no `{text}` within {time_max:?}; log:\n{}",
                        self.log_text()
                    ));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("it ended before `{text}`; log:\n{}", self.log_text()));
                }
            }
        }
    }

    /// Everything it has logged so far.
    pub fn log_text(&mut self) -> String {
        self.seen.extend(self.log.try_iter());
        self.seen.join("\n")
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn signal(&self, name: &str) {
        let id = self.process_id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no signal {name}");
    }

    /// Has it read its file again, which says this now; the line of the log with these words.
    pub fn reread(&mut self, text: &str, words: &str) -> String {
        let path = self.conf.as_ref().expect("it has a file");
        std::fs::write(path, text).expect("the file can be written");
        self.signal("HUP");
        self.wait_log(words, TIME_MAX).unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// As [`Server::reread`]; it takes that.
    pub fn reload(&mut self, text: &str) {
        self.reread(text, "Reloaded server configuration");
    }

    pub fn dial(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// As [`Server::dial`], from another address of this machine.
    pub fn dial_from(&self, address: [u8; 4]) -> std::io::Result<TcpStream> {
        let dial = async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind((address, 0).into())?;
            socket.connect(self.address).await?.into_std()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let stream = runtime.block_on(dial)?;
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(path) = &self.conf {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn write_conf(lines: &[String]) -> Result<Option<PathBuf>, String> {
    if lines.is_empty() {
        return Ok(None);
    }
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ringbus-test-{}-{number}.conf", std::process::id());
    let path = std::env::temp_dir().join(name);
    let write = || {
        let mut file = std::fs::File::create(&path)?;
        file.write_all(lines.join("\n").as_bytes())?;
        file.write_all(b"\n")
    };
    write().map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(Some(path))
}

/// Reads the log on a thread of its own, so that the server never blocks on it.
pub fn follow(stderr: std::process::ChildStderr) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n') {
            let Ok(line) = line else { return };
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receive
}
