//! Canonical lines of received frames, and readable differences between two lists of lines.

use super::player::Transcript;
use super::script::Script;
use super::{frame, mask, text};

/// One line a frame. Copies of one publication for several subscriptions of a connection come in an
/// order that no server promises; they are put in order of sid.
pub fn canonical(mut frames: Vec<Vec<u8>>) -> Vec<String> {
    let mut from = 0;
    while from < frames.len() {
        let len = copies(&frames[from..]);
        frames[from..from + len].sort_by(|a, b| sid(a).cmp(sid(b)));
        from += len;
    }
    let mut lines: Vec<String> = frames.iter().map(|frame| line(&mask::frame(frame))).collect();
    lines.dedup_by(|next, line| next == line && line == REPEATED);
    lines
}

/// nats-server reads the arguments of a PUB again when its payload comes with a later read, and
/// says this again. How often is a matter of timing; a run of it counts as one.
const REPEATED: &str = "-ERR 'Invalid Publish Subject'";

/// How many frames from the first on are copies of one publication; at least 1.
fn copies(frames: &[Vec<u8>]) -> usize {
    let Some(first) = frame::message(&frames[0]) else { return 1 };
    let same = |other: &&Vec<u8>| frame::message(other).is_some_and(|m| m.same_publication(&first));
    frames.iter().take_while(same).count()
}

fn sid(frame: &[u8]) -> &[u8] {
    frame::message(frame).map_or(b"", |message| message.sid)
}

fn line(frame: &[u8]) -> String {
    match frame.strip_suffix(b"\r\n") {
        Some(whole) => text::escape(whole),
        None => format!("{} (no CRLF)", text::escape(frame)),
    }
}

/// A group's message: which member got it is chance, so its sid is left out.
pub fn line_without_sid(bytes: &[u8]) -> String {
    let message = frame::message(bytes).expect("only messages are pooled");
    let parts = [message.verb, message.subject, b"*", message.rest];
    line(&mask::frame(&parts.join(&b' ')))
}

/// What the script's file says must come back.
pub fn expected(script: &Script) -> Transcript {
    Transcript {
        acts: script.acts.iter().map(|act| act.expected.clone()).collect(),
        groups: script.groups.iter().map(|group| group.expected.clone()).collect(),
        rest: script.rest.clone(),
    }
}

/// Empty when both are equal; else each difference with the act that it belongs to.
pub fn differences(script: &Script, wanted: &Transcript, got: &Transcript) -> String {
    let mut out = String::new();
    for (at, act) in script.acts.iter().enumerate() {
        let head = format!("{}.script:{}: `{}`", script.name, act.line, act.source());
        lines(&head, &wanted.acts[at], &got.acts[at], &mut out);
    }
    for (at, group) in script.groups.iter().enumerate() {
        let head = format!("{}.script, group {}", script.name, group.name);
        lines(&head, &wanted.groups[at], &got.groups[at], &mut out);
    }
    let flat = |rest: &[(String, String)]| -> Vec<String> {
        rest.iter().map(|(conn, line)| format!("{conn}< {line}")).collect()
    };
    let head = format!("{}.script, left to read at the end", script.name);
    lines(&head, &flat(&wanted.rest), &flat(&got.rest), &mut out);
    out
}

fn lines(head: &str, wanted: &[String], got: &[String], out: &mut String) {
    if wanted == got {
        return;
    }
    let before = wanted.iter().zip(got).take_while(|(a, b)| a == b).count();
    let (wanted, got) = (&wanted[before..], &got[before..]);
    let after = wanted.iter().rev().zip(got.iter().rev()).take_while(|(a, b)| a == b).count();
    out.push_str(&format!("{head}, after {before} equal lines:\n"));
    for line in &wanted[..wanted.len() - after] {
        out.push_str(&format!("  - wanted {line}\n"));
    }
    for line in &got[..got.len() - after] {
        out.push_str(&format!("  + got    {line}\n"));
    }
}

#[test]
fn only_the_order_of_copies_is_free() {
    let frames = |list: &[&str]| list.iter().map(|f| f.as_bytes().to_vec()).collect::<Vec<_>>();
    let one = canonical(frames(&["MSG a 2 1\r\nx\r\n", "MSG a 1 1\r\nx\r\n", "PONG\r\n"]));
    let two = canonical(frames(&["MSG a 1 1\r\nx\r\n", "MSG a 2 1\r\nx\r\n", "PONG\r\n"]));
    assert_eq!(one, two);
    let apart = canonical(frames(&["MSG a 1 1\r\ny\r\n", "MSG a 2 1\r\nx\r\n"]));
    let other = canonical(frames(&["MSG a 2 1\r\nx\r\n", "MSG a 1 1\r\ny\r\n"]));
    assert_ne!(apart, other);
    assert_eq!(canonical(frames(&["PON"])), ["PON (no CRLF)"]);
}
