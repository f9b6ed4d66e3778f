//! A client's socket, with or without TLS on it. Without, it is the socket and nothing else.

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, Error};
use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// Most bytes of records taken in at once. What a caller reads into must have room for a record.
const READ: usize = 256 << 10;
/// Room for the records of as many plain bytes.
const ROOM: usize = 1 << 10;
/// Most plain bytes of one write that are sealed.
const SEALED_MAX: usize = 64 << 10;
/// The largest record there is, its header included.
const RECORD: usize = 5 + (16 << 10) + 256;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A client's socket.
pub struct Stream {
    socket: TcpStream,
    secure: Option<Box<Secure>>,
}

struct Secure {
    tls: UnbufferedClientConnection,
    /// Came, and is no whole record yet.
    incoming: Vec<u8>,
    /// Records the kernel has not taken yet.
    outgoing: Vec<u8>,
    out_at: usize,
}

impl Stream {
    /// Plain bytes over `socket`.
    pub fn new(socket: TcpStream) -> Self {
        Self { socket, secure: None }
    }

    /// From here on TLS: the handshake begins.
    ///
    /// # Errors
    /// The socket's, or what the configuration can't do.
    pub fn begin_tls(&mut self, config: &Arc<ClientConfig>) -> io::Result<()> {
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1])));
        let tls =
            UnbufferedClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        let mut secure = Box::new(Secure { tls, incoming, outgoing, out_at: 0 });
        secure.understand(&mut [], &mut |_| {}).map_err(io::Error::other)?;
        self.secure = Some(secure);
        self.try_flush()
    }

    /// The handshake is under way: nothing can be written yet.
    pub fn is_shaking(&self) -> bool {
        self.secure.as_ref().is_some_and(|secure| secure.tls.is_handshaking())
    }

    /// Whether records wait for the kernel to take them.
    pub fn pending(&self) -> bool {
        self.secure.as_ref().is_some_and(|secure| secure.out_at < secure.outgoing.len())
    }

    /// Plain bytes into `buffer`, which has room for more than a record. 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` when there are none, though there may have been records; else the socket's or
    /// the peer's fault.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.secure.is_none() {
            return self.socket.read(buffer);
        }
        self.read_records(buffer)?.ok_or(ErrorKind::WouldBlock.into())
    }

    /// As [`Stream::read`], over a socket that blocks.
    ///
    /// # Errors
    /// `WouldBlock` when nothing came in the time the socket is given.
    pub fn wait(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.secure.is_none() {
            return self.socket.read(buffer);
        }
        loop {
            if let Some(n) = self.read_records(buffer)? {
                return Ok(n);
            }
        }
    }

    /// Ends the handshake, over a socket that blocks.
    ///
    /// # Errors
    /// As [`Stream::wait`].
    pub fn shake(&mut self) -> io::Result<()> {
        while self.is_shaking() {
            if self.take_in(READ, &mut |_| {})? == Some(0) {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn read_records(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        assert!(buffer.len() >= 2 * RECORD, "a record must fit beside the part of another");
        let mut n = 0;
        let most = buffer.len();
        self.take_in(most, &mut |plain| {
            buffer[n..n + plain.len()].copy_from_slice(plain);
            n += plain.len();
        })
    }

    /// Counts plain bytes and throws them away. 0 is the end.
    ///
    /// # Errors
    /// As [`Stream::read`].
    pub fn discard(&mut self) -> io::Result<usize> {
        match self.secure {
            None => crate::sys::discard(&self.socket, 4 << 20),
            Some(_) => self.take_in(READ, &mut |_| {})?.ok_or(ErrorKind::WouldBlock.into()),
        }
    }

    /// Takes some of `bytes` to be sent.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel takes none; else the socket's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let Some(secure) = &mut self.secure else { return self.socket.write(bytes) };
        let n = bytes.len().min(SEALED_MAX);
        secure.seal(&bytes[..n]).map_err(io::Error::other)?;
        self.try_flush()?;
        Ok(n)
    }

    /// Sends all of `bytes` over a socket that blocks.
    ///
    /// # Errors
    /// The socket's.
    pub fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = self.write(bytes)?;
            bytes = &bytes[n..];
        }
        self.flush()
    }

    /// Sends records that wait.
    ///
    /// # Errors
    /// `WouldBlock` when some still do.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(secure) = &mut self.secure else { return Ok(()) };
        while secure.out_at < secure.outgoing.len() {
            secure.out_at += self.socket.write(&secure.outgoing[secure.out_at..])?;
        }
        secure.outgoing.clear();
        secure.out_at = 0;
        Ok(())
    }

    /// As [`Stream::flush`]; that some still wait is no fault.
    fn try_flush(&mut self) -> io::Result<()> {
        match self.flush() {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    /// One read of records, of no more than `most` with what was left of the last; their plain
    /// bytes go to `hear`, and are counted: `None` where the records carried none.
    fn take_in(&mut self, most: usize, hear: &mut dyn FnMut(&[u8])) -> io::Result<Option<usize>> {
        let Some(secure) = &mut self.secure else { return Ok(None) };
        let mut plain = 0;
        let mut count = |bytes: &[u8]| {
            plain += bytes.len();
            hear(bytes);
        };
        let ended = SCRATCH.with_borrow_mut(|scratch| -> io::Result<bool> {
            scratch.resize(READ, 0);
            let kept = secure.incoming.len();
            scratch[..kept].copy_from_slice(&secure.incoming);
            let n = self.socket.read(&mut scratch[kept..most.min(READ)])?;
            let input = &mut scratch[..kept + n];
            let used = secure.understand(input, &mut count).map_err(io::Error::other)?;
            secure.incoming.clear();
            secure.incoming.extend_from_slice(&input[used..]);
            Ok(n == 0)
        })?;
        self.try_flush()?;
        Ok(Some(plain).filter(|plain| *plain > 0 || ended))
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Secure {
    /// Takes whole records; gives how many bytes they were. What there is to answer is in
    /// `outgoing`.
    fn understand(
        &mut self,
        input: &mut [u8],
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } =
                self.tls.process_tls_records(&mut input[used..]);
            let mut over = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        hear(record?.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(&mut self.outgoing, |room| data.encode(room));
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                // It waits for more, or may write, or is over, which the socket tells too.
                _ => over = true,
            }
            used += discard;
            if over {
                return Ok(used);
            }
        }
    }

    /// Appends the records of `plain` to `outgoing`.
    fn seal(&mut self, plain: &[u8]) -> Result<(), Error> {
        loop {
            match self.tls.process_tls_records(&mut self.incoming).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let at = self.outgoing.len();
                    self.outgoing.resize(at + plain.len() + ROOM, 0);
                    match traffic.encrypt(plain, &mut self.outgoing[at..]) {
                        Ok(written) => self.outgoing.truncate(at + written),
                        Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
                        Err(EncryptError::InsufficientSize(_)) => {
                            return Err(Error::General("too little room for records".into()));
                        }
                    }
                    return Ok(());
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(&mut self.outgoing, |room| data.encode(room));
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(Error::HandshakeNotComplete),
            }
        }
    }
}

/// Lets `encode` append to `out`, which grows as much as it asks for.
fn append(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let at = out.len();
    let written = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(needed)) => {
            out.resize(at + needed.required_size, 0);
            encode(&mut out[at..]).unwrap_or(0)
        }
        _ => 0,
    };
    out.truncate(at + written);
}
