//! How the page looks and feels: on narrow screens, in both themes, by keyboard, without motion.

use std::io::Write;

use serde_json::json;

use super::{SOON, client, look_at, say, serve_with};
use crate::harness::browser::Browser;
use crate::harness::server::{Program, Server};

/// Gives what is wrong, as a list, and how many texts it has looked at.
const CONTRAST: &str = include_str!("contrast.js");
const TAB: &str = "\u{e004}";
/// What a keyboard gets to before the table of connections, at most.
const STEPS_MAX: usize = 60;

#[test]
fn it_is_readable_reachable_and_calm() {
    if !Program::under_test().takes_shards {
        return;
    }
    let mut server = serve_with(None, "-1", 4, &[]);
    let browser = look_at(&mut server);
    let mut listener = client(&server, "a-listener-with-a-name-that-goes-on-and-on-for-long");
    listener.write_all(b"SUB > 1\r\n").expect("the server reads");
    std::thread::spawn(move || std::io::copy(&mut listener, &mut std::io::sink()));
    let mut talker = client(&server, "talker");
    let long = format!("a.subject.of.many.tokens.{}", "x".repeat(120));
    let says = format!("PUB {long} 2\r\nhi\r\n").repeat(50);
    let mut talk = || say(&mut talker, says.as_bytes());
    browser.until("document.querySelectorAll('tr.share').length > 0", SOON, &mut talk);
    for width in [360, 400, 760, 1100, 1400, 1920, 2560] {
        browser.resize(width, 900);
        let wide = "document.documentElement.scrollWidth <= innerWidth";
        browser.wait(&format!("innerWidth === {width} && {wide}"), SOON);
    }
    let shards = "document.getElementById('shards').parentElement";
    for width in [1280, 1400] {
        browser.resize(width, 1000);
        let fits =
            format!("innerWidth === {width} && {shards}.scrollWidth <= {shards}.clientWidth");
        let widths = || browser.eval(&format!("[{shards}.scrollWidth, {shards}.clientWidth]"));
        assert_eq!(
            browser.eval(&fits),
            json!(true),
            "{width}: not all shards' columns: {}",
            widths()
        );
    }
    connections_fit(&browser, &server);
    for theme in ["light", "dark"] {
        browser.run(&format!("document.querySelector('#theme input[value={theme}]').click();"));
        let seen = browser.run(CONTRAST);
        assert_eq!(seen["bad"], json!([]), "in the {theme} theme");
        assert!(seen["looked_at"].as_u64().is_some_and(|nodes| nodes > 50), "{seen}");
    }
    is_reached_by_keyboard(&browser);
    let moving = "document.getAnimations().filter(it => it.playState === 'running').length";
    browser.until(&format!("{moving} > 0"), SOON, &mut talk);
    browser.calm();
    browser.wait(&format!("{moving} === 0"), SOON);
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Connections are seen from the first column to the last, each in one line; on a narrow screen from
/// the name to the rates.
fn connections_fit(browser: &Browser, server: &Server) {
    let mut named = server.dial().expect("the server accepts");
    let connect = "CONNECT {\"verbose\":false,\"name\":\"telemetry-gateway-of-the-north\",\
        \"lang\":\"python3\",\"version\":\"2.10.0\"}\r\nPING\r\n";
    named.write_all(connect.as_bytes()).expect("the server reads");
    let table = "document.getElementById('table')";
    browser.wait(&format!("{table}.textContent.includes('python3 2.10.0')"), SOON);
    let edges = |column: &str| {
        format!(
            "[...{table}.tHead.rows[0].cells].find(it => it.textContent === '{column}') \
             .getBoundingClientRect().right <= {table}.parentElement.getBoundingClientRect().right"
        )
    };
    let lines = format!("[...{table}.tBodies[0].rows].every(row => row.offsetHeight < 40)");
    for (width, last) in [(1280, "Uptime"), (400, "Out/s")] {
        browser.resize(width, 900);
        browser.wait(&format!("innerWidth === {width}"), SOON);
        assert_eq!(browser.eval(&edges(last)), json!(true), "{width}: {last} is cut off");
        assert_eq!(browser.eval(&lines), json!(true), "{width}: a connection in several lines");
    }
}

/// Nothing happens, and no two marks of a scale say the same.
#[test]
fn scales_of_nothing_are_scales() {
    if !Program::under_test().takes_shards {
        return;
    }
    let mut server = serve_with(None, "-1", 1, &[]);
    let browser = look_at(&mut server);
    for chart in ["chart-msgs", "chart-bytes"] {
        let marks = format!(
            "(marks => marks.length === 3 && new Set(marks).size === 3)([...document \
             .querySelectorAll('#{chart} .grid text[text-anchor=end]')] \
             .map(it => it.textContent).filter(it => it !== 'now'))"
        );
        browser.wait(&marks, SOON);
    }
}

/// Everything to use is come to by Tab, in order, named, and seen to be where one is.
fn is_reached_by_keyboard(browser: &Browser) {
    let now = "(node => `${node.id || node.name || node.textContent.trim()}`)\
        (document.activeElement)";
    let seen = "(node => { const shown = node.matches('.segments input') \
        ? node.nextElementSibling : node; \
        return getComputedStyle(shown).outlineStyle; })(document.activeElement)";
    browser.run("document.activeElement.blur(); scrollTo(0, 0);");
    let mut reached: Vec<String> = Vec::new();
    for _ in 0..STEPS_MAX {
        browser.type_into_focus(TAB);
        let name = browser.eval(now).as_str().unwrap_or_default().to_owned();
        assert_ne!(browser.eval(seen), json!("none"), "{name} doesn't show that it has the focus");
        reached.push(name);
        if reached.last().is_some_and(|name| name == "limit") {
            break;
        }
    }
    let place = |wanted: &str| {
        let found = reached.iter().position(|name| name == wanted);
        found.unwrap_or_else(|| panic!("{wanted} is not among {reached:?}"))
    };
    let order = ["Skip to the figures", "pause", "theme", "Cluster", "window", "search", "limit"];
    let places: Vec<usize> = order.into_iter().map(place).collect();
    assert!(places.is_sorted(), "{reached:?}");
}
