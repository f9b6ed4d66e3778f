//! Makes random accounts and users: permissions, what is exported and imported, mappings.
//!
//! Declared exclusions. Of nats-server's own: mappings that overlap are tried in the order of a hash
//! table; what several imports make of one message comes in no order, so an account imports streams
//! of one other, and what it imports has names of its own; members of a group share one account,
//! since across an import any of both accounts' members may be picked. Of `docs/compat.md`: a
//! subscription ending in `>` where what is allowed ends in `*`; answers to a requestor whose
//! interest has gone in between, so where services are asked every connection keeps its inbox until
//! the end; headers that don't end in a CRLF.

use crate::harness::rng::Rng;

/// Between the first and the last line of an accounts block, so that blocks can be put together.
pub const OPENING: &str = "accounts {";
pub const CLOSING: &str = "}";

const NAMES: [&str; 3] = ["a", "b", "c"];

pub struct World {
    pub accounts: Vec<Account>,
    /// Services are imported: connections have an inbox, and stay.
    pub asks: bool,
}

pub struct Account {
    name: String,
    pub users: Vec<User>,
    /// First tokens of subjects that mean something here.
    pub words: Vec<String>,
    pub queues: [String; 2],
    exports: Vec<Export>,
    imports: Vec<String>,
    /// What is imported, as it is called here.
    imported: Vec<String>,
    mappings: Vec<String>,
    default_permissions: Vec<String>,
}

#[derive(Clone)]
pub struct User {
    pub name: String,
    lines: Vec<String>,
    /// May answer what it is asked; so chance must not decide what it is asked.
    pub answers: bool,
    /// What it may subscribe to ends in `*` somewhere.
    pub one_more_token: bool,
}

struct Export {
    is_service: bool,
    subject: String,
}

/// What a set of permissions comes to.
struct Permissions {
    lines: Vec<String>,
    answers: bool,
    one_more_token: bool,
}

impl World {
    pub fn new(case: u64, rng: &mut Rng) -> World {
        let asks = rng.chance(50);
        let words = if asks { &["a", "b"][..] } else { &["a", "b", "r"] };
        let mut world = World { accounts: Vec::new(), asks };
        let accounts = *rng.pick(&[1, 2, 2, 2, 3, 3]);
        for (at, letter) in ["A", "B", "C"].into_iter().enumerate().take(accounts) {
            let account = Account {
                name: format!("{letter}{case}"),
                users: Vec::new(),
                words: words.iter().map(|word| word.to_string()).collect(),
                queues: [format!("q.{at}"), format!("w.{at}")],
                exports: Vec::new(),
                imports: Vec::new(),
                imported: Vec::new(),
                mappings: Vec::new(),
                default_permissions: Vec::new(),
            };
            world.accounts.push(account);
            world.import(at, rng);
            world.export(at, rng);
            world.map(at, rng);
            world.populate(at, case, rng);
        }
        world
    }

    /// Only from accounts before this one, so that there is no ring.
    fn import(&mut self, at: usize, rng: &mut Rng) {
        if at == 0 {
            return;
        }
        let streams_of = rng.below(at);
        let mut with_stream = false;
        for from in 0..at {
            for which in 0..self.accounts[from].exports.len() {
                let Export { is_service, subject } = &self.accounts[from].exports[which];
                let (is_service, subject) = (*is_service, subject.clone());
                let wanted =
                    if is_service { self.asks } else { from == streams_of && !with_stream };
                if !wanted || !rng.chance(75) {
                    continue;
                }
                let local = format!("i{from}{which}");
                let whence = self.accounts[from].name.clone();
                let account = &mut self.accounts[at];
                let (line, pattern) = import_line(is_service, &whence, &subject, &local, rng);
                let known = |other: &String| first_token(other) == first_token(&pattern);
                if account.imported.iter().any(known) {
                    continue;
                }
                with_stream |= !is_service;
                account.imports.push(line);
                account.words.push(first_token(&pattern));
                account.imported.push(pattern);
            }
        }
    }

    fn export(&mut self, at: usize, rng: &mut Rng) {
        let often_service = if self.asks { 75 } else { 30 };
        let account = &mut self.accounts[at];
        for number in 0..rng.below(4) {
            let is_service = rng.chance(often_service);
            let word = match account.imported.last() {
                // What is imported goes on to others.
                Some(pattern) if rng.chance(30) => first_token(pattern),
                _ => format!("e{at}{number}"),
            };
            let tail = *rng.pick(&["", ".a", ".*", ".*", ".*.*", ".>", ".>", ".*.b"]);
            let subject = format!("{word}{tail}");
            if account.exports.iter().any(|other| other.subject == subject) {
                continue;
            }
            if !account.words.contains(&word) {
                account.words.push(word);
            }
            account.exports.push(Export { is_service, subject });
        }
    }

    /// At most one mapping for a first token.
    fn map(&mut self, at: usize, rng: &mut Rng) {
        let account = &mut self.accounts[at];
        for word in account.words.clone() {
            if !rng.chance(12) {
                continue;
            }
            let to = rng.pick(&account.words).clone();
            account.mappings.push(match rng.below(7) {
                0 => format!("\"{word}.a\": \"{to}.b\""),
                1 => format!("\"{word}.*\": \"{to}.{{{{wildcard(1)}}}}\""),
                2 => format!("\"{word}.*.*\": \"{to}.$2.$1\""),
                3 => format!("\"{word}.>\": \"{to}.>\""),
                4 => format!("\"{word}.*\": \"{to}.{{{{partition(3,1)}}}}.$1\""),
                5 => format!("\"{word}.a\": [ {{ destination: \"{to}.c\", weight: 100% }} ]"),
                _ => format!("\"{word}.b\": [ {{ destination: \"{word}.b\", weight: 0% }} ]"),
            });
        }
    }

    fn populate(&mut self, at: usize, case: u64, rng: &mut Rng) {
        let asks = self.asks;
        let account = &mut self.accounts[at];
        let default = if rng.chance(12) { account.permissions(asks, rng) } else { NONE };
        for number in 0..1 + rng.below(3) {
            let own = if rng.chance(45) { account.permissions(asks, rng) } else { NONE };
            let counts = if own.lines.is_empty() { &default } else { &own };
            account.users.push(User {
                name: format!("u{at}{number}x{case}"),
                answers: counts.answers,
                one_more_token: counts.one_more_token,
                lines: own.lines,
            });
        }
        account.default_permissions = default.lines;
    }

    /// Numbers of an account and of one of its users; one of each account comes first.
    pub fn anybody(&self, nth: usize, rng: &mut Rng) -> (usize, usize) {
        let all = self.accounts.len();
        let account = if nth < all { nth } else { rng.below(all) };
        (account, rng.below(self.accounts[account].users.len()))
    }

    pub fn user(&self, (account, user): (usize, usize)) -> &User {
        &self.accounts[account].users[user]
    }

    /// The lines of the accounts block.
    pub fn conf(&self) -> Vec<String> {
        let accounts = self.accounts.iter().flat_map(|account| account.conf(&self.accounts));
        std::iter::once(OPENING.to_string())
            .chain(accounts)
            .chain(std::iter::once(CLOSING.to_string()))
            .collect()
    }
}

const NONE: Permissions = Permissions { lines: Vec::new(), answers: false, one_more_token: false };

fn first_token(pattern: &str) -> String {
    pattern.split('.').next().unwrap_or_default().to_string()
}

/// The line, and what is imported as it is called by the importer.
fn import_line(
    is_service: bool,
    whence: &str,
    subject: &str,
    local: &str,
    rng: &mut Rng,
) -> (String, String) {
    let kind = if is_service { "service" } else { "stream" };
    let head = format!("{{ {kind}: {{ account: {whence}, subject: \"{subject}\" }}");
    let share = if is_service && rng.chance(30) { ", share: true" } else { "" };
    match rng.below(3) {
        0 => (format!("{head}{share} }}"), subject.to_string()),
        1 if !is_service => (format!("{head}, prefix: {local} }}"), format!("{local}.{subject}")),
        _ => {
            let tail = &subject[first_token(subject).len()..];
            let (to, pattern) = match tail {
                ".*" => (".$1", tail),
                ".*.*" => (".$2.$1", tail),
                ".*.b" => (".b.$1", ".b.*"),
                _ => (tail, tail),
            };
            (format!("{head}, to: \"{local}{to}\"{share} }}"), format!("{local}{pattern}"))
        }
    }
}

impl Account {
    /// What it has to do with others, as it is called here.
    pub fn shared(&self, rng: &mut Rng) -> Option<String> {
        let exported = self.exports.iter().map(|export| &export.subject);
        let all: Vec<&String> = exported.chain(&self.imported).collect();
        (!all.is_empty()).then(|| rng.pick(&all).to_string())
    }

    fn permissions(&self, asks: bool, rng: &mut Rng) -> Permissions {
        let mut lines = vec!["permissions {".to_string()];
        let (mut answers, mut one_more_token) = (false, false);
        if rng.chance(55) {
            self.rules("publish", false, asks, rng, &mut lines);
        }
        if rng.chance(65) {
            one_more_token = self.rules("subscribe", true, asks, rng, &mut lines);
        }
        if rng.chance(30) {
            answers = true;
            lines.push(match rng.below(4) {
                0 => "allow_responses: true".to_string(),
                1 => "allow_responses: { max: -1, expires: \"1h\" }".to_string(),
                _ => format!("allow_responses: {{ max: {}, expires: \"1h\" }}", 1 + rng.below(3)),
            });
        }
        lines.push("}".to_string());
        Permissions { lines, answers, one_more_token }
    }

    /// One item a line, so that any of them can be left out. True if one that allows ends in `*`.
    fn rules(
        &self,
        verb: &str,
        queues: bool,
        asks: bool,
        rng: &mut Rng,
        lines: &mut Vec<String>,
    ) -> bool {
        let (allows, denies) = match rng.below(10) {
            0..=3 => (1 + rng.below(4), 0),
            4..=6 => (0, 1 + rng.below(3)),
            _ => (1 + rng.below(4), 1 + rng.below(3)),
        };
        let mut one_more_token = false;
        lines.push(format!("{verb} {{"));
        if allows > 0 {
            lines.push("allow: [".to_string());
            lines.extend(asks.then(|| "\"in.>\"".to_string()));
            for _ in 0..allows {
                let rule = self.rule(queues, false, rng);
                one_more_token |= rule.split([' ', '"']).any(|part| part.ends_with('*'));
                lines.push(rule);
            }
            lines.push("]".to_string());
        }
        if denies > 0 {
            lines.push("deny: [".to_string());
            lines.extend((0..denies).map(|_| self.rule(queues, asks, rng)));
            lines.push("]".to_string());
        }
        lines.push("}".to_string());
        one_more_token
    }

    /// `"pattern"`, or `"pattern queue"`.
    fn rule(&self, queues: bool, spare_inboxes: bool, rng: &mut Rng) -> String {
        let mut pattern = match rng.below(10) {
            0 if !spare_inboxes => return "\">\"".to_string(),
            1 if !spare_inboxes => "*".to_string(),
            2..=4 => self.shared(rng).unwrap_or_else(|| "a".to_string()),
            _ => rng.pick(&self.words).clone(),
        };
        let more = if pattern.ends_with('>') { 0 } else { rng.below(3) };
        for _ in 0..more {
            match rng.below(10) {
                0..=3 => pattern.push_str(&format!(".{}", rng.pick(&NAMES))),
                4..=5 => pattern.push_str(".*"),
                _ => {
                    pattern.push_str(".>");
                    break;
                }
            }
        }
        if queues && rng.chance(25) {
            let own = rng.pick(&self.queues).clone();
            let queue = *rng.pick(&[own.as_str(), "q.*", "*.0", "w.>", ">", "*"]);
            return format!("\"{pattern} {queue}\"");
        }
        format!("\"{pattern}\"")
    }

    fn conf(&self, all: &[Account]) -> Vec<String> {
        let mut lines = vec![format!("{} {{", self.name), "users [".to_string()];
        for user in &self.users {
            lines.push("{".to_string());
            lines.push(format!("user: {}, password: p", user.name));
            lines.extend(user.lines.clone());
            lines.push("}".to_string());
        }
        lines.push("]".to_string());
        if let Some((_, rest)) = self.default_permissions.split_first() {
            lines.push("default_permissions {".to_string());
            lines.extend(rest.to_vec());
        }
        if !self.exports.is_empty() {
            lines.push("exports [".to_string());
            lines.extend(self.exports.iter().map(|export| export.line(self, all)));
            lines.push("]".to_string());
        }
        if !self.imports.is_empty() {
            lines.push("imports [".to_string());
            lines.extend(self.imports.clone());
            lines.push("]".to_string());
        }
        if !self.mappings.is_empty() {
            lines.push("mappings {".to_string());
            lines.extend(self.mappings.clone());
            lines.push("}".to_string());
        }
        lines.push("}".to_string());
        lines
    }
}

impl Export {
    /// Half of them for those alone who import something of this account.
    fn line(&self, of: &Account, all: &[Account]) -> String {
        let mark = format!("account: {},", of.name);
        let importers: Vec<&str> = all
            .iter()
            .filter(|other| other.imports.iter().any(|line| line.contains(&mark)))
            .map(|other| other.name.as_str())
            .collect();
        let kind = if self.is_service { "service" } else { "stream" };
        let mut line = format!("{{ {kind}: \"{}\"", self.subject);
        if !importers.is_empty() && self.subject.len().is_multiple_of(2) {
            line.push_str(&format!(", accounts: [ {} ]", importers.join(", ")));
        }
        if self.is_service {
            line.push_str(match self.subject.len() % 4 {
                0 => ", response: stream",
                1 => ", response: chunked",
                _ => "",
            });
        }
        line + " }"
    }
}
