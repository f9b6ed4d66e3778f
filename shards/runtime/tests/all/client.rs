//! A blocking client for tests. Every wait is bounded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use runtime::{Identity, Server, Settings};

/// Longer than anything here may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A connection and what it has read but not used.
pub struct Client {
    pub stream: TcpStream,
    pub unread: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn new(addr: SocketAddr) -> Client {
        let port = addr.port();
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, unread: Vec::new() }
    }

    /// Connects, reads INFO, says CONNECT and waits for its PONG.
    pub fn hello(addr: SocketAddr) -> Client {
        let mut client = Client::new(addr);
        assert!(client.line().starts_with("INFO {"));
        client.send("CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n");
        client.ping();
        client
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("the server reads");
    }

    pub fn ping(&mut self) {
        self.send("PING\r\n");
        self.expect("PONG\r\n");
    }

    /// Reads exactly this.
    pub fn expect(&mut self, text: &str) {
        while self.unread.len() < text.len() {
            assert!(self.fill() > 0, "closed before {text:?}, after {:?}", self.unread());
        }
        let rest = self.unread.split_off(text.len());
        let got = std::mem::replace(&mut self.unread, rest);
        assert_eq!(String::from_utf8_lossy(&got), text);
    }

    /// Reads that many bytes.
    pub fn skip(&mut self, bytes: usize) {
        while self.unread.len() < bytes {
            assert!(self.fill() > 0, "closed before {bytes} bytes");
        }
        self.unread.drain(..bytes);
    }

    /// Reads a line, without its end.
    pub fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let rest = self.unread.split_off(end + 2);
                let line = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(self.fill() > 0, "closed within a line: {:?}", self.unread());
        }
    }

    /// Reads until the peer closes, however it does.
    pub fn rest(&mut self) -> String {
        while self.fill() > 0 {}
        self.unread()
    }

    fn unread(&self) -> String {
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0; 64 * 1024];
        let bytes = self.stream.read(&mut buffer).expect("bytes or an end in time");
        self.unread.extend_from_slice(&buffer[..bytes]);
        bytes
    }
}

/// A server of that many shards on any port, not pinned.
pub fn settings(shards: usize) -> Settings {
    Settings {
        listen_host: "127.0.0.1".to_owned(),
        listen_port: 0,
        http: None,
        cores: (0..shards).collect(),
        pin: false,
        spin_ns: 0,
        gather_ns: 500_000,
        identity: Identity { server_id: "NTEST".to_owned(), ..Identity::default() },
        config_digest: String::new(),
        advertise: None,
        write_timeout: String::new(),
        tags: Vec::new(),
        metadata: Default::default(),
        feature_flags: Default::default(),
        shard: shard::Options::default(),
        proxied: false,
        tls: None,
        operators: Default::default(),
        recount: runtime::RECOUNT,
    }
}

/// Shuts a server down, which must take no more than a few seconds.
pub fn end(server: Server) {
    let started = Instant::now();
    server.shutdown();
    server.join().expect("an orderly end");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}
