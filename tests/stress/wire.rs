//! A connection that counts: raw protocol, no client library that could hide a loss.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::frame;

/// A message of the stress test: whose, and which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    pub publisher: usize,
    pub sequence: u32,
}

impl Mark {
    pub fn text(self) -> String {
        format!("{} {}", self.publisher, self.sequence)
    }

    fn read(frame: &[u8]) -> Option<Mark> {
        let text = std::str::from_utf8(frame).ok()?;
        let (publisher, sequence) = text.lines().nth(1)?.split_once(' ')?;
        Some(Mark { publisher: publisher.parse().ok()?, sequence: sequence.parse().ok()? })
    }
}

pub struct Line {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Line {
    /// Dials, reads INFO and says CONNECT.
    pub async fn dial(address: SocketAddr) -> Result<Line, String> {
        let stream = TcpStream::connect(address).await.map_err(|e| format!("dial: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut line = Line { stream, received: Vec::new() };
        while frame::first_len(&line.received).is_none() {
            line.read().await?;
        }
        line.received.clear();
        line.send(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n").await?;
        Ok(line)
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).await.map_err(|e| format!("send: {e}"))
    }

    pub async fn ping(&mut self) -> Result<(), String> {
        self.send(b"PING\r\n").await
    }

    async fn read(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) => Err("the server closed it".into()),
            Ok(_) => Ok(()),
            Err(e) => Err(format!("read: {e}")),
        }
    }

    /// Takes every message before the next PONG.
    pub async fn until_pong(
        &mut self,
        mut take: impl FnMut(Mark) -> Result<(), String>,
    ) -> Result<(), String> {
        while !self.frames(&mut take)? {
            self.read().await?;
        }
        Ok(())
    }

    /// Reads up to the next PONG, whatever comes before it.
    pub async fn past_pong(&mut self) -> Result<(), String> {
        loop {
            while let Some(len) = frame::first_len(&self.received) {
                if self.received.drain(..len).as_slice() == b"PONG\r\n" {
                    return Ok(());
                }
            }
            self.read().await?;
        }
    }

    /// Waits for bytes once and takes what is whole.
    pub async fn once(
        &mut self,
        mut take: impl FnMut(Mark) -> Result<(), String>,
    ) -> Result<(), String> {
        self.read().await?;
        match self.frames(&mut take)? {
            true => Err("an unasked PONG".into()),
            false => Ok(()),
        }
    }

    /// Takes what comes within `time`.
    pub async fn some(
        &mut self,
        time: Duration,
        mut take: impl FnMut(Mark) -> Result<(), String>,
    ) -> Result<(), String> {
        let end = tokio::time::Instant::now() + time;
        loop {
            match tokio::time::timeout_at(end, self.read()).await {
                Err(_) => return Ok(()),
                Ok(read) => read?,
            }
            if self.frames(&mut take)? {
                return Err("an unasked PONG".into());
            }
        }
    }

    /// Takes all whole frames, or those up to a PONG; tells whether there was one.
    fn frames(
        &mut self,
        take: &mut impl FnMut(Mark) -> Result<(), String>,
    ) -> Result<bool, String> {
        let mut at = 0;
        let mut pong = false;
        while let Some(len) = frame::first_len(&self.received[at..]) {
            let one = &self.received[at..at + len];
            at += len;
            match one {
                b"PONG\r\n" => pong = true,
                // The server asks at its own times; these connections don't live long enough to be
                // stale.
                b"PING\r\n" => continue,
                _ => {
                    let mark = Mark::read(one);
                    let text = || format!("unexpected {:?}", String::from_utf8_lossy(one));
                    take(mark.ok_or_else(text)?)?;
                }
            }
            if pong {
                break;
            }
        }
        self.received.drain(..at);
        Ok(pong)
    }

    /// Ends the connection with a reset, as a machine that dies does.
    pub fn cut(self) -> Result<(), String> {
        self.stream.set_zero_linger().map_err(|e| e.to_string())
    }
}
