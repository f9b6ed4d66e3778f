//! What the page shows of messages: subjects, latency, rings, and those who don't keep up.

use std::io::Write;
use std::net::TcpStream;

use serde_json::json;

use super::{SOON, client, look_at, say, serve_with};
use crate::harness::browser::Browser;
use crate::harness::server::Program;

#[test]
fn it_shows_where_messages_go_how_long_they_take_and_who_is_slow() {
    if !Program::under_test().takes_shards {
        return;
    }
    let bounds = ["max_payload: 64KB", "max_pending: 256KB", "metrics { top_subjects: 2 }"];
    let mut server = serve_with(None, "-1", 4, &bounds);
    let browser = look_at(&mut server);
    let empty = "document.getElementById('latency-body').textContent";
    assert_eq!(browser.eval(empty), json!("Nothing has been delivered yet."));
    let cluster = "document.getElementById('cluster-body').textContent";
    browser.wait(&format!("{cluster}.includes('runs alone')"), SOON);

    // One on each shard, as they are placed.
    let mut clients: Vec<TcpStream> =
        (0..4).map(|at| client(&server, &format!("client-{at}"))).collect();
    for listener in &mut clients[1..] {
        listener.write_all(b"SUB busy.> 1\r\n").expect("the server reads");
        std::thread::spawn({
            let mut reading = listener.try_clone().expect("a second handle");
            move || std::io::copy(&mut reading, &mut std::io::sink())
        });
    }
    let talker = &mut clients[0];
    let traffic = || {
        let (one, two) = ("PUB busy.a 2\r\nhi\r\n", "PUB busy.b 2\r\nhi\r\n");
        let says = one.repeat(40) + &two.repeat(20) + "PUB calm 2\r\nhi\r\n";
        say(talker, says.as_bytes());
    };
    let subjects = "[...document.querySelectorAll('#subjects-body tbody tr')]\
        .map(row => row.cells[0].textContent).join(' ')";
    browser.until(&format!("{subjects} === 'busy.a busy.b'"), SOON, traffic);
    let rates = "[...document.querySelectorAll('#latency-body tbody tr')]\
        .map(row => row.cells[1].textContent).filter(text => /\\d (µs|ms|s)$/.test(text)).length";
    browser.wait(&format!("{rates} === 5"), SOON);
    let flows = "[...document.querySelectorAll('#picture .rate.flow')]\
        .filter(text => /\\d( [kMG])?\\/s$/.test(text.textContent)).length";
    let talker = &mut clients[0];
    let burst = "PUB busy.a 2\r\nhi\r\n".repeat(40);
    browser.until(&format!("{flows} === 3"), SOON, || say(talker, burst.as_bytes()));
    let batch = "[...document.querySelectorAll('#shards tbody tr')]\
        .filter(row => Number(row.cells[7].textContent) > 1).length";
    browser.until(&format!("{batch} === 1"), SOON, || say(talker, burst.as_bytes()));

    shows_the_slow(&browser, &mut clients, || client(&server, "sleeper"));
    assert_eq!(browser.complaints(), [""; 0]);
}

fn shows_the_slow(
    browser: &Browser,
    clients: &mut [TcpStream],
    sleeper: impl FnOnce() -> TcpStream,
) {
    let counts = "document.querySelector('#slow-counts dd.value').textContent";
    assert_eq!(browser.eval(counts), json!("0"));
    let mut sleeper = sleeper();
    sleeper.write_all(b"SUB flood 1\r\n").expect("the server reads");
    let message = [b"PUB flood 60000\r\n", vec![b'x'; 60_000].as_slice(), b"\r\n"].concat();
    browser.until(&format!("{counts} === '1'"), SOON, || say(&mut clients[0], &message.repeat(8)));
    let listed = "document.getElementById('slow-list').textContent";
    browser.wait(&format!("{listed}.includes('sleeper')"), SOON);
    browser.wait(&format!("{listed}.includes('Pending Bytes')"), SOON);
}

#[test]
fn subjects_that_are_not_sampled_are_said_to_be_so() {
    if !Program::under_test().takes_shards {
        return;
    }
    let mut server = serve_with(None, "-1", 1, &["metrics { top_subjects: 0 }"]);
    let browser = look_at(&mut server);
    let said = "document.getElementById('subjects-body').textContent";
    browser.wait(&format!("{said}.includes('top_subjects: 0')"), SOON);
    assert_eq!(browser.complaints(), [""; 0]);
}
