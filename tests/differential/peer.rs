//! Who speaks in a random dialogue.

use super::access::World;
use crate::harness::rng::Rng;

pub struct Peer {
    pub name: String,
    pub headers: bool,
    /// What CONNECT says beside who it is.
    pub fields: Vec<String>,
    pub connect: Option<String>,
    /// Numbers of its account and of its user there.
    pub user: (usize, usize),
    /// Answers requests, and joins no group.
    pub answers: bool,
    pub greeted: bool,
    pub over: bool,
    pub queue_subs: usize,
}

impl Peer {
    pub fn new(at: usize, world: Option<&World>, rng: &mut Rng) -> Peer {
        let name = ((b'a' + at as u8) as char).to_string();
        let mut fields = Vec::new();
        let mut headers = false;
        for key in ["verbose", "pedantic", "echo", "headers", "no_responders"] {
            if !rng.chance(60) {
                continue;
            }
            let value = rng.chance(if key == "verbose" { 25 } else { 60 });
            if key == "headers" {
                headers = value;
            }
            if key == "no_responders" && !headers {
                continue;
            }
            fields.push(format!("\"{key}\":{value}"));
        }
        if rng.chance(30) {
            fields.push(format!("\"protocol\":{}", rng.below(2)));
        }
        let (mut user, mut answers) = ((0, 0), false);
        if let Some(world) = world {
            user = world.anybody(at, rng);
            answers = rng.chance(50) || world.user(user).answers;
        }
        let connect = match world {
            Some(world) => Some(connect(&fields, Some(&world.user(user).name))),
            None => rng.chance(85).then(|| connect(&fields, None)),
        };
        headers &= connect.is_some();
        Peer {
            name,
            headers,
            fields,
            connect,
            user,
            answers,
            greeted: false,
            over: false,
            queue_subs: 0,
        }
    }

    /// Where answers to it go.
    pub fn inbox(&self) -> String {
        format!("in.{}", self.name)
    }
}

/// The line that says so, and who it is.
pub fn connect(fields: &[String], user: Option<&str>) -> String {
    let mut fields = fields.to_vec();
    fields.extend(user.map(|user| format!("\"user\":\"{user}\",\"pass\":\"p\"")));
    format!("CONNECT {{{}}}\r\n", fields.join(","))
}
