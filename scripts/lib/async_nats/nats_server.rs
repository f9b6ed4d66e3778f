//! What async-nats's tests ask of a server: the program called `nats-server` on PATH, with a
//! configuration file of theirs, on a port of the kernel's choice.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    port: u16,
    config: String,
}

/// Without a configuration file.
pub fn run_basic_server() -> Server {
    run_server("")
}

/// With this configuration file.
pub fn run_server(config: &str) -> Server {
    run_server_with_port(config, None)
}

/// On this port, if it is given.
pub fn run_server_with_port(config: &str, port: Option<&str>) -> Server {
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", port.unwrap_or("-1")]);
    if !config.is_empty() {
        command.args(["-c", config]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("`nats-server` is on PATH");
    let stderr = child.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let listens = "Listening for client connections on ";
    let line = lines.by_ref().find(|line| line.contains(listens));
    let port = line.as_deref().and_then(|line| line.rsplit(':').next()?.trim().parse().ok());
    let port = port.unwrap_or_else(|| panic!("the server listens nowhere: {line:?}"));
    assert!(lines.by_ref().any(|line| line.contains("Server is ready")), "it is not ready");
    // It would wait for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    Server { child, port, config: config.to_string() }
}

/// Clients are asked to leave.
pub fn set_lame_duck_mode(server: &Server) {
    let id = server.child.id().to_string();
    let sent = Command::new("kill").args(["-s", "USR2", &id]).status();
    assert!(sent.is_ok_and(|status| status.success()), "no signal");
}

/// Servers that know of each other. Tests that need them are skipped.
pub fn run_cluster(_config: &str) -> Server {
    panic!("these servers run alone")
}

impl Server {
    pub fn client_port(&self) -> u16 {
        self.port
    }

    pub fn client_url(&self) -> String {
        let config = std::fs::read_to_string(&self.config).unwrap_or_default();
        let scheme = if config.contains("tls {") { "tls" } else { "nats" };
        format!("{scheme}://localhost:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
