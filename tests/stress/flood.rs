//! Publishers that write as fast as the socket takes it: whatever is full on the way (a ring, a
//! socket, a receiver's buffer) may hold them up, but must let them go on.

use std::time::Duration;

use tokio::task::JoinSet;

use super::wire::{Line, Mark};
use crate::harness::server::{Program, Server, Setup};

const TIME_MAX: Duration = Duration::from_secs(30);

struct Shape {
    publishers: usize,
    subscribers: usize,
    /// Of each publisher.
    messages: u32,
    shards: usize,
}

const SHAPES: [Shape; 6] = [
    Shape { publishers: 1, subscribers: 1, messages: 300_000, shards: 1 },
    Shape { publishers: 1, subscribers: 1, messages: 300_000, shards: 2 },
    Shape { publishers: 1, subscribers: 1, messages: 300_000, shards: 4 },
    Shape { publishers: 5, subscribers: 5, messages: 20_000, shards: 2 },
    Shape { publishers: 1, subscribers: 100, messages: 3_000, shards: 4 },
    Shape { publishers: 8, subscribers: 4, messages: 20_000, shards: 4 },
];

async fn publisher(mut line: Line, number: usize, messages: u32) -> Result<(), String> {
    let mut bytes = Vec::new();
    for sequence in 0..messages {
        let body = Mark { publisher: number, sequence }.text();
        bytes.extend_from_slice(format!("PUB flood {}\r\n{body}\r\n", body.len()).as_bytes());
    }
    line.send(&bytes).await?;
    line.ping().await?;
    line.until_pong(|_| Err("a publisher hears nothing".into())).await
}

async fn subscriber(mut line: Line, publishers: usize, messages: u32) -> Result<(), String> {
    let mut next = vec![0; publishers];
    let mut left = publishers as u32 * messages;
    while left > 0 {
        line.once(|mark: Mark| {
            let wanted = next[mark.publisher];
            next[mark.publisher] += 1;
            left -= 1;
            if mark.sequence == wanted {
                return Ok(());
            }
            Err(format!("publisher {}: {} for {wanted}", mark.publisher, mark.sequence))
        })
        .await?;
    }
    Ok(())
}

async fn run(server: &Server, shape: &Shape) -> Result<(), String> {
    let mut tasks = JoinSet::new();
    for _ in 0..shape.subscribers {
        let mut line = Line::dial(server.address).await?;
        line.send(b"SUB flood 1\r\n").await?;
        line.ping().await?;
        line.until_pong(|_| Ok(())).await?;
        tasks.spawn(subscriber(line, shape.publishers, shape.messages));
    }
    for number in 0..shape.publishers {
        let line = Line::dial(server.address).await?;
        tasks.spawn(publisher(line, number, shape.messages));
    }
    while let Some(result) = tasks.join_next().await {
        result.map_err(|e| e.to_string())??;
    }
    Ok(())
}

fn flood(program: &Program) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for shape in &SHAPES {
        let setup = Setup { shards: shape.shards, ..Setup::default() };
        let mut server = Server::start(program, &setup).unwrap_or_else(|fault| panic!("{fault}"));
        let work = async { tokio::time::timeout(TIME_MAX, run(&server, shape)).await };
        let result = runtime.block_on(work).unwrap_or(Err("not all came in time".into()));
        let Shape { publishers, subscribers, messages, shards } = shape;
        let named = format!("{publishers} to {subscribers}, {messages} each, {shards} shards");
        assert_eq!(result, Ok(()), "{named}; log:\n{}", server.log_text());
    }
}

#[test]
fn ringbus_holds_up_fast_publishers_and_lets_them_go_on() {
    flood(&Program::under_test());
}

#[test]
fn the_reference_holds_up_fast_publishers_and_lets_them_go_on() {
    flood(&Program::reference());
}
