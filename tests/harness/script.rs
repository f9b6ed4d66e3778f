//! The dialogue format; `tests/README.md` describes it.

use super::cast::{self, Cast};
use super::text;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Dial and read the server's first INFO, which is shown.
    Open,
    Send(Vec<u8>),
    /// Send PING and read up to its PONG.
    Ping,
    /// Read up to a PONG that a line of the script has asked for.
    Pong,
    /// Read up to a frame that starts so.
    Wait(Vec<u8>),
    /// Read until the server closes.
    Eof,
    /// Close our half, then read until the server closes.
    Shut,
    /// Close without reading.
    Close,
}

#[derive(Clone, Debug)]
pub struct Act {
    pub conn: String,
    pub step: Step,
    /// What the step must read, one frame a line.
    pub expected: Vec<String>,
    /// Line of the file after which `expected` stands; 0 for a made-up script.
    pub line: usize,
}

/// Members of a queue group, of which any one may get a message: their messages are compared as a
/// bag.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    /// (connection, sid)
    pub members: Vec<(String, String)>,
    pub expected: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Script {
    pub name: String,
    pub conf: Vec<String>,
    /// Who has tokens and keys; see [`Cast`].
    pub cast: Vec<String>,
    pub groups: Vec<Group>,
    pub acts: Vec<Act>,
    /// What the connections still open at the end have left to read: (connection, frame).
    pub rest: Vec<(String, String)>,
}

/// A received line: `name< frame`.
fn received(line: &str) -> Option<(&str, &str)> {
    let (name, frame) = line.split_once('<')?;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| (name, frame.strip_prefix(' ').unwrap_or(frame)))
}

impl Script {
    pub fn parse(name: &str, source: &str) -> Result<Script, String> {
        let mut script = Script { name: name.to_string(), ..Script::default() };
        let mut ended = false;
        for (at, line) in source.lines().enumerate() {
            let number = at + 1;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if line == "end" {
                ended = true;
                continue;
            }
            script
                .take_line(line, number, ended)
                .map_err(|fault| format!("{name}.script:{number}: {fault}"))?;
        }
        Cast::read(&script.cast).map_err(|fault| format!("{name}.script: {fault}"))?;
        if script.acts.is_empty() {
            return Err(format!("{name}.script: it does nothing"));
        }
        Ok(script)
    }

    fn take_line(&mut self, line: &str, number: usize, ended: bool) -> Result<(), String> {
        if let Some(conf) = line.strip_prefix("conf ") {
            self.conf.push(conf.to_string());
            return Ok(());
        }
        if cast::is_member(line) {
            self.cast.push(line.to_string());
            return Ok(());
        }
        if let Some(group) = line.strip_prefix("group ") {
            self.groups.push(parse_group(group)?);
            return Ok(());
        }
        if let Some((name, frame)) = received(line) {
            return self.take_received(name, frame, ended);
        }
        if ended {
            return Err("an act after `end`".into());
        }
        let (conn, step) = parse_act(line)?;
        self.acts.push(Act { conn, step, expected: Vec::new(), line: number });
        Ok(())
    }

    fn take_received(&mut self, name: &str, frame: &str, ended: bool) -> Result<(), String> {
        let frame = frame.to_string();
        if ended {
            match self.groups.iter_mut().find(|group| group.name == name) {
                Some(group) => group.expected.push(frame),
                None => self.rest.push((name.to_string(), frame)),
            }
            return Ok(());
        }
        let act = self.acts.last_mut().filter(|act| act.conn == name && act.step.reads());
        act.ok_or("a received line must follow a reading act of its connection")?
            .expected
            .push(frame);
        Ok(())
    }

    /// The group that this connection's subscription belongs to.
    pub fn group_of(&self, conn: &str, sid: &[u8]) -> Option<usize> {
        self.groups
            .iter()
            .position(|group| group.members.iter().any(|(c, s)| c == conn && s.as_bytes() == sid))
    }

    /// A script of the same acts as a file would hold, without what was received.
    pub fn source(&self) -> String {
        let mut out = String::new();
        for member in &self.cast {
            out.push_str(&format!("{member}\n"));
        }
        for conf in &self.conf {
            out.push_str(&format!("conf {conf}\n"));
        }
        for group in &self.groups {
            out.push_str(&format!("group {} =", group.name));
            for (conn, sid) in &group.members {
                out.push_str(&format!(" {conn}/{sid}"));
            }
            out.push('\n');
        }
        for act in &self.acts {
            out.push_str(&act.source());
            out.push('\n');
        }
        out
    }
}

impl Act {
    /// The act as a script's line.
    pub fn source(&self) -> String {
        let conn = &self.conn;
        match &self.step {
            Step::Open => format!("{conn} open"),
            Step::Send(bytes) => match bytes.strip_suffix(b"\r\n") {
                Some(line) => format!("{conn}> {}", text::escape(line)),
                None => format!("{conn}>> {}", text::escape(bytes)),
            },
            Step::Ping => format!("{conn} ping"),
            Step::Pong => format!("{conn} pong"),
            Step::Wait(start) => format!("{conn} wait {}", text::escape(start)),
            Step::Eof => format!("{conn} eof"),
            Step::Shut => format!("{conn} shut"),
            Step::Close => format!("{conn} close"),
        }
    }
}

impl Step {
    pub fn reads(&self) -> bool {
        !matches!(self, Step::Send(_) | Step::Close)
    }
}

fn parse_group(text: &str) -> Result<Group, String> {
    let (name, members) = text.split_once(" = ").ok_or("group NAME = CONN/SID …")?;
    let members: Option<Vec<_>> = members
        .split_ascii_whitespace()
        .map(|member| member.split_once('/').map(|(c, s)| (c.to_string(), s.to_string())))
        .collect();
    let members = members.ok_or("a member is CONN/SID")?;
    Ok(Group { name: name.to_string(), members, expected: Vec::new() })
}

fn parse_act(line: &str) -> Result<(String, Step), String> {
    let end = line.find([' ', '>']).ok_or("no connection and act")?;
    let (conn, act) = line.split_at(end);
    if conn.is_empty() || !conn.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(format!("`{conn}` is no connection name"));
    }
    let step = match act {
        _ if act.starts_with(">> ") => Step::Send(text::unescape(&act[3..])?),
        ">" => Step::Send(b"\r\n".to_vec()),
        _ if act.starts_with("> ") => {
            let mut bytes = text::unescape(&act[2..])?;
            bytes.extend_from_slice(b"\r\n");
            Step::Send(bytes)
        }
        " open" => Step::Open,
        " ping" => Step::Ping,
        " pong" => Step::Pong,
        " eof" => Step::Eof,
        " shut" => Step::Shut,
        " close" => Step::Close,
        _ => match act.strip_prefix(" wait ") {
            Some(start) => Step::Wait(text::unescape(start)?),
            None => return Err(format!("unknown act `{line}`")),
        },
    };
    Ok((conn.to_string(), step))
}

#[test]
fn a_script_is_read_and_written_back() {
    let source = "account A\nconf max_payload: 8\ngroup q = a/1 b/2\na open\na> SUB foo 1\n\
                  a>> PUB foo 2\\r\\nhi\na ping\na wait MSG\na shut\n";
    let script = Script::parse("x", source).expect("it parses");
    assert_eq!(script.source(), source);
    assert_eq!(script.group_of("b", b"2"), Some(0));
    assert_eq!(script.group_of("b", b"1"), None);
    let faults = ["a bark", "> x", "a> SUB a 1\na< PONG", "a ping\nend\na ping", "group q"];
    for fault in faults {
        assert!(Script::parse("x", fault).is_err(), "`{fault}` must be refused");
    }
}
