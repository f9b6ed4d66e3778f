//! A publisher and a subscriber that go on while an operator works, and miss nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Messages between two looks at the clock. The log has to keep up with traces of all of them.
const BURST: u64 = 8;
const PAUSE: Duration = Duration::from_millis(1);

pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    publisher: JoinHandle<u64>,
    subscriber: JoinHandle<u64>,
}

impl Load {
    /// Both log in with these words in their CONNECT, and use the subject `load`.
    pub fn start(address: &str, words: &str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let mut inbox = Peer::log_in(address, words);
        inbox.say("SUB load 1\r\nSUB load.over 2\r\nPING\r\n");
        inbox.await_line("PONG");
        let subscriber = thread::spawn(move || inbox.take_all());
        let mut outbox = Peer::log_in(address, words);
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&sent));
        let publisher = thread::spawn(move || {
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    outbox.say(&format!("PUB load 8\r\n{sent:08}\r\n"));
                    sent += 1;
                }
                outbox.say("PING\r\n");
                outbox.await_line("PONG");
                counter.store(sent, Ordering::Relaxed);
                thread::park_timeout(PAUSE);
            }
            outbox.say("PUB load.over 0\r\n\r\nPING\r\n");
            outbox.await_line("PONG");
            sent
        });
        Load { stop, sent, publisher, subscriber }
    }

    /// How many the server has taken.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Fails if one is missing, or came twice, or out of order.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.publisher.join().expect("the publisher was never turned away");
        let got = self.subscriber.join().expect("the subscriber was never turned away");
        assert!(sent > 0, "nothing was sent");
        assert_eq!(got, sent, "messages were lost");
    }
}

struct Peer(BufReader<TcpStream>);

impl Peer {
    fn log_in(address: &str, words: &str) -> Peer {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut peer = Peer(BufReader::new(stream));
        peer.say(&format!("CONNECT {{\"verbose\":false,\"protocol\":1{words}}}\r\nPING\r\n"));
        peer.await_line("PONG");
        peer
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The next line that is neither news nor a question whether it is still there.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            match line.trim_end() {
                "PING" => self.say("PONG\r\n"),
                line if line.starts_with("INFO ") => {}
                "" => panic!("the server closed"),
                line => return line.to_string(),
            }
        }
    }

    fn await_line(&mut self, words: &str) {
        let line = self.line();
        assert_eq!(line, words);
    }

    /// Counts what comes, in order, up to the last word of the publisher.
    fn take_all(mut self) -> u64 {
        let mut got = 0;
        loop {
            let line = self.line();
            if line == "MSG load.over 2 0" {
                return got;
            }
            assert_eq!(line, "MSG load 1 8");
            let mut body = [0; 10];
            self.0.read_exact(&mut body).unwrap();
            assert_eq!(String::from_utf8_lossy(&body), format!("{got:08}\r\n"));
            got += 1;
        }
    }
}
