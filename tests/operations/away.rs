//! A machine that has too much to do takes cores away from threads for a while, wherever they are.

use std::fs;
use std::process::Command;

use super::Client;
use crate::command::Scratch;
use crate::harness::server::{Program, Server, Setup};

/// glommio's executor may believe that it has nothing to run if that happens between two of its
/// steps: it slept for good, and the shard with it.
#[test]
fn threads_that_lose_their_cores_for_a_while_go_on() {
    let scratch = Scratch::new("away");
    let (source, library) = (scratch.0.join("away.c"), scratch.0.join("away.so"));
    fs::write(&source, include_str!("away.c")).expect("a file");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(made.expect("cc is there").success());
    let args = ["-m".to_string(), "-1".to_string()];
    let setup =
        Setup { args: args.to_vec(), shards: 2, preload: Some(library), ..Setup::default() };
    let mut server = Server::start(&Program::under_test(), &setup).expect("it starts");
    let address = server.address.to_string();
    let mut clients: Vec<Client> = (0..4).map(|_| Client::dial(&address)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ping(), "PONG\r\n"));
    assert!(server.log_text().contains("away for a while"), "no thread was away");
}
