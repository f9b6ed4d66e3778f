//! The dashboard in a real browser: it opens, follows the messages, sorts, searches, and says when
//! its server is gone.

mod crowd;
mod looks;
mod measured;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::server::{Program, Server, Setup};
use crate::monitoring::monitor_address;

const SOON: Duration = Duration::from_secs(20);
/// Connections of the crowd: more than one page of the table.
const CROWD: usize = 60;

fn serve(port: Option<SocketAddr>, http: &str) -> Server {
    serve_with(port, http, 2, &[])
}

fn serve_with(port: Option<SocketAddr>, http: &str, shards: usize, conf: &[&str]) -> Server {
    let conf = conf.iter().map(|line| (*line).to_owned()).collect();
    let args = vec!["-m".to_owned(), http.to_owned(), "-n".to_owned(), "board".to_owned()];
    let port = port.map_or(0, |address| address.port());
    let setup = Setup { conf, args, shards, port, preload: None };
    Server::start(&Program::under_test(), &setup).expect("the server starts")
}

/// A browser that shows a server's dashboard.
fn look_at(server: &mut Server) -> Browser {
    let browser = Browser::start();
    browser.open(&format!("http://{}/dashboard", monitor_address(server)));
    browser.wait("document.body.dataset.state === 'live'", SOON);
    browser
}

/// A client with a name, which has said its hello.
fn client(server: &Server, name: &str) -> TcpStream {
    let mut stream = server.dial().expect("the server accepts");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let connect = format!("CONNECT {{\"verbose\":false,\"name\":\"{name}\"}}\r\nPING\r\n");
    stream.write_all(connect.as_bytes()).expect("the server reads");
    await_pong(&stream);
    stream
}

/// Says this on a connection that subscribes to nothing, and waits until the server has taken it in.
fn say(talker: &mut TcpStream, burst: &[u8]) {
    talker.write_all(burst).expect("the server reads");
    talker.write_all(b"PING\r\n").expect("the server reads");
    await_pong(talker);
}

/// Reads lines up to a PONG, which is the last the server has to say so far.
fn await_pong(stream: &TcpStream) {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("PONG") {
        line.clear();
        assert!(lines.read_line(&mut line).expect("the server answers") > 0, "closed");
    }
}

#[test]
fn it_shows_what_happens_and_that_nothing_does() {
    if !Program::under_test().takes_shards {
        return;
    }
    let mut server = serve(None, "-1");
    let (clients, http) = (server.address, monitor_address(&mut server));
    let browser = Browser::start();
    browser.open(&format!("http://{http}/"));
    browser.click("a[href='./dashboard']");
    browser.wait("document.body.dataset.state === 'live'", SOON);
    browser.wait("document.getElementById('server-name').textContent === 'board'", SOON);
    assert_eq!(browser.eval("document.querySelectorAll('#shards tbody tr').length"), json!(2));

    follows_messages(&browser, &server);
    let crowd: Vec<TcpStream> =
        (0..CROWD).map(|at| client(&server, &format!("crowd-{at:03}"))).collect();
    sorts_and_searches(&browser, &crowd);
    obeys_the_keyboard_and_the_theme(&browser);
    // The front page is nats-server's, which has no icon either.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|it| it.contains("/favicon.ico")), "{complaints:?}");

    drop(server);
    browser.wait("document.body.dataset.state === 'lost'", SOON);
    browser.wait("!document.getElementById('lost').hidden", SOON);
    assert_eq!(browser.eval("document.title"), json!("Lost: board"));
    drop(crowd);
    let _again = serve(Some(clients), &http.port().to_string());
    browser.wait("document.body.dataset.state === 'live'", SOON);
    assert_eq!(browser.eval("document.getElementById('lost').hidden"), json!(true));
}

fn follows_messages(browser: &Browser, server: &Server) {
    let mut talker = client(server, "talker");
    let mut listener = client(server, "listener");
    listener.write_all(b"SUB board.> 1\r\n").expect("the server reads");
    let reading = "document.querySelector('#chart-msgs .reading.out strong').textContent";
    browser.wait(&format!("{reading} === '0'"), SOON);
    let seen = format!("{reading} !== '0' && {reading} !== '–'");
    let burst = "PUB board.a 2\r\nhi\r\n".repeat(50);
    browser.until(&seen, SOON, || say(&mut talker, burst.as_bytes()));
    let line = "document.querySelector('#chart-msgs .line.out').getAttribute('d').length > 20";
    browser.wait(line, SOON);
}

fn sorts_and_searches(browser: &Browser, crowd: &[TcpStream]) {
    let count = format!(
        "/^{} open$/.test(document.getElementById('connections-count').textContent)",
        crowd.len()
    );
    browser.wait(&count, SOON);
    let first = "document.querySelector('#table tbody tr td:nth-child(2)').textContent";
    browser.click("#table th:nth-child(2) button");
    browser.wait(&format!("{first} === 'crowd-000'"), SOON);
    browser.click("#table th:nth-child(2) button");
    browser.wait(&format!("{first} === 'crowd-059'"), SOON);
    let sorted = "document.querySelector('#table th:nth-child(2)').getAttribute('aria-sort')";
    assert_eq!(browser.eval(sorted), json!("descending"));
    let rows = "document.querySelectorAll('#table tbody tr').length";
    assert_eq!(browser.eval(rows), json!(25), "one page of them");
    browser.click("#next");
    browser.wait(&format!("{first} === 'crowd-034'"), SOON);

    browser.type_into("#search", "CROWD-01");
    browser.wait(&format!("{rows} === 10"), SOON);
    browser.run(
        "const s = document.getElementById('search'); s.value = 'nobody'; \
                 s.dispatchEvent(new Event('input'));",
    );
    browser.wait("document.getElementById('range').textContent.startsWith('No open')", SOON);
    browser.run(
        "const s = document.getElementById('search'); s.value = ''; \
                 s.dispatchEvent(new Event('input'));",
    );
    browser.wait(&format!("{rows} === 25"), SOON);
    browser.click("#table tbody tr button.id");
    browser.wait("document.getElementById('detail').open", SOON);
    browser.wait("document.getElementById('detail-fields').textContent.includes('crowd-')", SOON);
    browser.click("#detail form button");
}

fn obeys_the_keyboard_and_the_theme(browser: &Browser) {
    let unnamed = "[...document.querySelectorAll('button, input, select')].filter(node => \
        !node.textContent.trim() && !node.labels?.length && !node.getAttribute('aria-label')).length";
    assert_eq!(browser.eval(unnamed), json!(0), "everything to press has a name");
    let heads = "[...document.querySelectorAll('th')].every(th => th.scope)";
    assert_eq!(browser.eval(heads), json!(true));
    browser.run("document.querySelector('#theme input[value=dark]').click();");
    let scheme = "getComputedStyle(document.documentElement).colorScheme";
    assert_eq!(browser.eval(scheme), json!("dark"));
    browser.run("document.querySelector('#theme input[value=light]').click();");
    assert_eq!(browser.eval(scheme), json!("light"));
}
