//! A syslog daemon, on this host or on another. One that takes nothing costs lines, never time of
//! anybody but the logger's thread, and not much of that.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::Cause;

use super::thread::Health;
use crate::config::options::SyslogAddress;

/// How long connecting, or the peer's taking of a line, may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// The first and the longest pause before connecting again.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest message that fits a datagram, whatever the way.
const DATAGRAM_BYTES_MAX: usize = 60_000;
/// Where daemons of this host listen.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// Only the logger's thread writes to it, one message a write.
pub struct Syslog {
    address: SyslogAddress,
    connection: Option<Connection>,
    health: Arc<Health>,
    pause: Duration,
    retry_at: Option<Instant>,
}

enum Connection {
    Datagram(UnixDatagram),
    Unix(UnixStream),
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Syslog {
    /// # Errors
    /// One line: nobody listens there.
    pub fn connect(address: &SyslogAddress, health: Arc<Health>) -> Result<Syslog, String> {
        let connection = Connection::to(address).map_err(|error| {
            format!("error connecting to syslog: {:?}", format!("{address}: {}", Cause(&error)))
        })?;
        Ok(Syslog {
            address: address.clone(),
            connection: Some(connection),
            health,
            pause: PAUSE,
            retry_at: None,
        })
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.connection.is_none() {
            if self.retry_at.is_some_and(|at| Instant::now() < at) {
                return Err(io::Error::new(io::ErrorKind::NotConnected, "no connection"));
            }
            self.connection = Some(Connection::to(&self.address)?);
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        connection.send(message)?;
        self.pause = PAUSE;
        Ok(())
    }
}

impl Write for Syslog {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let had_connection = self.connection.is_some();
        let mut sent = self.send(message);
        // A daemon that was restarted is not to cost the line that finds out; one that is stuck is
        // not to cost twice the time.
        let stuck = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
        };
        if had_connection && sent.as_ref().is_err_and(|error| !stuck(error)) {
            self.connection = None;
            sent = self.send(message);
        }
        if let Err(error) = sent {
            if self.retry_at.is_none_or(|at| Instant::now() >= at) {
                self.retry_at = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(PAUSE_MAX);
            }
            self.connection = None;
            self.health.failed(&self.address, &error);
        }
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Connection {
    fn to(address: &SyslogAddress) -> io::Result<Connection> {
        match address {
            SyslogAddress::Local => {
                let mut why = io::Error::from(io::ErrorKind::NotFound);
                for path in LOCAL {
                    match Connection::to_path(Path::new(path)) {
                        Ok(connection) => return Ok(connection),
                        Err(error) => why = error,
                    }
                }
                Err(why)
            }
            SyslogAddress::Unix(path) => Connection::to_path(path),
            SyslogAddress::Udp(host) => {
                let to = resolve(host)?;
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(to)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Connection::Udp(socket))
            }
            SyslogAddress::Tcp(host) => {
                let stream = TcpStream::connect_timeout(&resolve(host)?, PATIENCE)?;
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Connection::Tcp(stream))
            }
        }
    }

    fn to_path(path: &Path) -> io::Result<Connection> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        if socket.connect(path).is_ok() {
            return Ok(Connection::Datagram(socket));
        }
        let stream = UnixStream::connect(path)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection::Unix(stream))
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let datagram = &message[..message.len().min(DATAGRAM_BYTES_MAX)];
        match self {
            Connection::Datagram(socket) => socket.send(datagram).map(drop),
            Connection::Udp(socket) => socket.send(datagram).map(drop),
            Connection::Unix(stream) => stream.write_all(message),
            Connection::Tcp(stream) => stream.write_all(message),
        }
    }
}

fn resolve(host: &str) -> io::Result<std::net::SocketAddr> {
    host.to_socket_addrs()?.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_daemon_that_was_restarted_is_found_again() {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let health = Arc::new(Health::default());
        let mut syslog =
            Syslog::connect(&SyslogAddress::Tcp(address.to_string()), Arc::clone(&health)).unwrap();
        let mut stream = first.accept().unwrap().0;
        syslog.write_all(b"one\n").unwrap();
        let mut line = [0; 4];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"one\n");
        // Reset, so that the next write fails rather than vanishes.
        drop((stream, first));
        let second = TcpListener::bind(address).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        second.set_nonblocking(true).unwrap();
        let mut stream = loop {
            assert!(Instant::now() < deadline, "no second connection");
            syslog.write_all(b"two\n").unwrap();
            if let Ok((stream, _)) = second.accept() {
                break stream;
            }
        };
        stream.set_nonblocking(false).unwrap();
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"two\n");
    }

    #[test]
    fn a_peer_that_never_reads_costs_lines_not_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = SyslogAddress::Tcp(listener.local_addr().unwrap().to_string());
        let health = Arc::new(Health::default());
        let mut syslog = Syslog::connect(&address, Arc::clone(&health)).unwrap();
        let message = vec![b'x'; 1 << 20];
        let begin = Instant::now();
        while health.failures() == 0 {
            syslog.write_all(&message).unwrap();
            assert!(begin.elapsed() < Duration::from_secs(20), "it never gives up");
        }
        let begin = Instant::now();
        for _ in 0..1000 {
            syslog.write_all(b"y\n").unwrap();
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }

    #[test]
    fn nobody_there_is_said() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = SyslogAddress::Tcp(unused.to_string());
        let why = Syslog::connect(&address, Arc::default()).err().unwrap();
        assert!(why.starts_with("error connecting to syslog: \"tcp://127.0.0.1:"), "{why}");
    }
}
