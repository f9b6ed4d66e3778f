//! The page with ten thousand connections.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use serde_json::json;

use super::{SOON, look_at, serve_with};
use crate::harness::server::{Program, Server};

const CROWD: usize = 10_000;
/// One page of the table, whatever the number of connections.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Lets this process have as many sockets as it is to make.
fn raise_limit() {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux tells them");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let soft: usize = files.split_whitespace().nth(3).and_then(|n| n.parse().ok()).unwrap_or(0);
    let wanted = CROWD + 2000;
    if soft < wanted {
        let pid = std::process::id().to_string();
        let limit = format!("--nofile={wanted}:");
        let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(done.is_ok_and(|it| it.success()), "`ulimit -Hn` must be {wanted} or more");
    }
}

fn visitor(server: &Server, at: usize) -> TcpStream {
    let mut stream = server.dial().expect("the server accepts");
    let connect = format!("CONNECT {{\"verbose\":false,\"name\":\"crowd-{at:05}\"}}\r\nPING\r\n");
    stream.write_all(connect.as_bytes()).expect("the server reads");
    stream
}

#[test]
fn ten_thousand_connections_are_sorted_searched_and_paged() {
    if !Program::under_test().takes_shards {
        return;
    }
    raise_limit();
    let mut server = serve_with(None, "-1", 2, &[]);
    let crowd: Vec<TcpStream> = (0..CROWD).map(|at| visitor(&server, at)).collect();
    let browser = look_at(&mut server);
    let count = "document.getElementById('connections-count').textContent";
    browser.wait(&format!("{count} === '10,000 open'"), SOON);
    let first = "document.querySelector('#table tbody tr td:nth-child(2)').textContent";
    browser.click("#table th:nth-child(2) button");
    browser.wait(&format!("{first} === 'crowd-00000'"), SOON);
    browser.click("#last");
    browser.wait(&format!("{first} === 'crowd-09975'"), SOON);
    browser.type_into("#search", "crowd-0777");
    let rows = "document.querySelectorAll('#table tbody tr').length";
    browser.wait(&format!("{rows} === 10"), SOON);
    browser.wait(&format!("{count} === '10 of 10,000 open'"), SOON);

    // As the page asks.
    browser.run(
        "window.answer = null; fetch('dashboard/connections?sort=out_rate&order=desc&limit=100')\
             .then(response => response.text()).then(text => { window.answer = text; });",
    );
    browser.wait("window.answer", SOON);
    let bytes = browser.eval("window.answer.length").as_u64().expect("a length");
    assert!(bytes < ANSWER_BYTES_MAX, "{bytes} bytes");
    assert_eq!(browser.eval("JSON.parse(window.answer).connections.length"), json!(100));
    assert_eq!(browser.complaints(), [""; 0]);
    drop(crowd);
    browser.run(
        "document.getElementById('search').value = '';\
        document.getElementById('search').dispatchEvent(new Event('input'));",
    );
    browser.wait(&format!("{count} === '0 open'"), SOON);
}
