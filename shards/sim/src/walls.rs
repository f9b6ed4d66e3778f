//! What an operator may set up: accounts, users and what they may do, doors between accounts,
//! mappings. Plain lists of patterns: the shards are given them as they want them, the oracle reads
//! them its own way.

use std::sync::Arc;

use shard::access::{
    Access, ConnectionTypes, Permissions, Proof, Responses, Rule, RuleSet, Rules, Secret, User,
};
use shard::account::{Agreements, Limits, Mapping, ResponseType, ServiceTerms};
use shard::limits::{MILLIS, SECONDS};
use shard::{AccountId, Nanos};

use crate::prng::Prng;

/// Longer than any run.
const THRESHOLD_NS: Nanos = 1_000_000 * SECONDS;

/// Accounts by their numbers, and what holds in them.
#[derive(Clone, Debug, Default)]
pub struct Walls {
    /// How many; the first is the one of clients that say nothing of themselves. None if there are
    /// no walls at all.
    pub accounts: usize,
    /// As many as there are accounts may do everything in theirs, in order; then the others.
    pub people: Vec<Person>,
    /// At most one door, stream or service, between two accounts.
    pub streams: Vec<Stream>,
    /// No account both asks and answers.
    pub services: Vec<Service>,
    /// Account, source, destination.
    pub mappings: Vec<(usize, &'static str, &'static str)>,
}

/// What may be wrong with walls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Everybody may subscribe to everything.
    Subscriptions,
    /// Everybody may publish everything.
    Publications,
    /// A stream lets all of its account through.
    Streams,
    /// Nobody may answer what it may not publish anyway.
    Answers,
    /// Whoever may answer may do so any number of times.
    EndlessAnswers,
    /// Whoever may answer may do so at any time.
    LateAnswers,
    /// Whoever may answer has hardly any time to do so.
    HastyAnswers,
    /// Whatever users may do, they could do at the beginning.
    Stale,
}

/// A user.
#[derive(Clone, Debug)]
pub struct Person {
    /// Where it belongs.
    pub account: usize,
    /// What it may do.
    pub may: May,
    /// It is not let in any more.
    pub is_gone: bool,
}

/// Permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct May {
    /// Subjects of publications.
    pub publish: Lists,
    /// Patterns of subscriptions; after a blank, the groups that a rule is about.
    pub subscribe: Lists,
    /// A request may be answered, whatever `publish` says.
    pub answers: Option<Answers>,
}

/// How a request may be answered by who may do no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// How often; 0 is any number.
    pub most: u32,
    /// How long after it came; none is for ever.
    pub within_ns: Option<Nanos>,
}

/// What is allowed and what is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// None allows everything.
    pub allow: Option<Vec<&'static str>>,
    /// Wins over `allow`.
    pub deny: Vec<&'static str>,
}

/// Messages of one account that another one gets too.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Whose they are.
    pub exporter: usize,
    /// Who gets them.
    pub importer: usize,
    /// Their pattern there.
    pub from: &'static str,
    /// Their pattern here, with as many wildcards.
    pub to: &'static str,
}

/// Requests of one account that another one answers.
#[derive(Clone, Debug)]
pub struct Service {
    /// Who answers.
    pub exporter: usize,
    /// Who asks.
    pub importer: usize,
    /// The pattern of requests where they are asked.
    pub from: &'static str,
    /// Their pattern there, with as many wildcards.
    pub to: &'static str,
    /// A request may have any number of responses, not one.
    pub is_many: bool,
}

const STREAMS: [(&str, &str); 7] = [
    ("a.>", "a.>"),
    ("a.*", "in.a.*"),
    ("a.*", "b.*"),
    ("a.b", "b"),
    ("*.b", "*.b"),
    ("a", "in.x"),
    (">", ">"),
];
const SERVICES: [(&str, &str); 5] =
    [("q.a", "a.b"), ("q.*", "a.*"), ("a.b", "a.b"), ("b.*", "b.*"), ("q.b", "q.b")];
const MAPPINGS: [(&str, &str); 4] = [("m.a", "a.b"), ("m.*", "a.*"), ("b.a", "a"), ("m.b", "q.a")];
const ALLOWED: [&str; 11] =
    ["a", "a.*", "a.>", "b.*", "*.b", ">", "q.*", "m.*", "z.>", "*.*", "in.>"];
const DENIED: [&str; 8] = ["a.b", "a.*", "b", "q.a", "*.a", "a.>", "in.a.b", "a"];
/// How often, and for how long.
const ANSWERS: [(u32, Option<Nanos>); 7] = [
    (0, None),
    (1, None),
    (3, None),
    (0, Some(20 * MILLIS)),
    (1, Some(SECONDS)),
    (3, Some(200 * MILLIS)),
    (0, Some(SECONDS)),
];
const OF_GROUPS: [&str; 5] = ["a.> q0", "* q1", "*.* *", "a.b q0", "> q1"];

/// Subjects that mean something only where there are walls.
pub const SUBJECTS: [&str; 5] = ["q.a", "q.b", "m.a", "m.b", "a.c"];
/// Patterns of that kind.
pub const PATTERNS: [&str; 5] = ["in.>", "in.a.*", "q.*", "b", "in.x"];

impl Walls {
    /// Two or three accounts with some users each.
    pub fn draw(p: &mut Prng) -> Walls {
        let accounts = p.between(2, 3) as usize;
        let free = |account| Person { account, may: May::default(), is_gone: false };
        let mut walls =
            Walls { accounts, people: (0..accounts).map(free).collect(), ..Walls::default() };
        for _ in 0..p.between(1, 5) {
            let account = p.index(accounts);
            walls.people.push(Person { account, may: May::draw(p), is_gone: false });
        }
        for exporter in 0..accounts {
            for importer in exporter + 1..accounts {
                walls.draw_door(exporter, importer, p);
            }
        }
        for account in 0..accounts {
            let mut kept = MAPPINGS.into_iter().filter(|_| p.chance(200)).take(2);
            walls.mappings.extend(kept.by_ref().map(|(from, to)| (account, from, to)));
        }
        walls
    }

    /// Now and then somebody may do nothing but answer, and that for a while.
    pub fn hurry(&mut self, p: &mut Prng) {
        if p.chance(400)
            && let Some(person) = self.people.last_mut()
        {
            let publish = Lists { allow: Some(vec!["z.>"]), deny: Vec::new() };
            let most = *p.pick(&[0, 1, 3]);
            let within_ns = Some(*p.pick(&[20 * MILLIS, 200 * MILLIS, SECONDS]));
            let answers = Some(Answers { most, within_ns });
            person.may = May { publish, subscribe: Lists::default(), answers };
        }
    }

    fn draw_door(&mut self, exporter: usize, importer: usize, p: &mut Prng) {
        match p.below(3) {
            0 => {
                let (from, to) = *p.pick(&STREAMS);
                self.streams.push(Stream { exporter, importer, from, to });
            }
            1 => {
                let in_a_row = self
                    .services
                    .iter()
                    .any(|known| known.importer == exporter || known.exporter == importer);
                let ((from, to), is_many) = (*p.pick(&SERVICES), p.chance(400));
                if !in_a_row {
                    self.services.push(Service { exporter, importer, from, to, is_many });
                }
            }
            _ => {}
        }
    }

    /// The same, but for what some users may do, and for who they are.
    pub fn changed(&self, p: &mut Prng) -> Walls {
        let mut walls = self.clone();
        for person in walls.people.iter_mut().skip(self.accounts) {
            match p.below(4) {
                0 => person.may = May::draw(p),
                1 => person.may = May::default(),
                2 => person.is_gone = !person.is_gone,
                _ => {}
            }
        }
        walls
    }

    /// The same with a gap; `first` is what held at the beginning.
    pub fn with(&self, gap: Gap, first: &Walls) -> Walls {
        let mut walls = self.clone();
        for (person, before) in walls.people.iter_mut().zip(&first.people) {
            let may = &mut person.may;
            match gap {
                Gap::Subscriptions => may.subscribe = Lists::default(),
                Gap::Publications => may.publish = Lists::default(),
                Gap::Answers => may.answers = None,
                Gap::EndlessAnswers => {
                    may.answers = may.answers.map(|answers| Answers { most: 0, ..answers });
                }
                Gap::LateAnswers => {
                    may.answers = may.answers.map(|answers| Answers { within_ns: None, ..answers });
                }
                Gap::HastyAnswers => {
                    let hasty = |ns: Nanos| ns / 1000;
                    may.answers = may.answers.map(|answers| Answers {
                        within_ns: answers.within_ns.map(hasty),
                        ..answers
                    });
                }
                Gap::Stale => may.clone_from(&before.may),
                Gap::Streams => {}
            }
        }
        for stream in walls.streams.iter_mut().filter(|_| gap == Gap::Streams) {
            (stream.from, stream.to) = (">", ">");
        }
        walls
    }

    /// Most ways of one publication: its own, and those to accounts that answer or have asked.
    pub fn copies_max(&self) -> usize {
        let asked_by = |who: usize| self.services.iter().filter(|s| s.importer == who).count();
        let asks = (0..self.accounts).map(asked_by).max().unwrap_or(0);
        1 + asks.max(usize::from(!self.services.is_empty()))
    }

    /// Who may come in.
    pub fn guests(&self) -> Vec<usize> {
        (0..self.people.len()).filter(|at| !self.people[*at].is_gone).collect()
    }

    /// As the shards want it. Accounts keep the numbers they have in `before`.
    pub fn access(&self, before: Option<&Access>) -> Arc<Access> {
        let mut access = before.map_or_else(Access::default, Access::after);
        if self.accounts == 0 {
            return Arc::new(access);
        }
        // A client may be read late.
        access.auth_timeout_ns = THRESHOLD_NS;
        let ids: Vec<AccountId> =
            (0..self.accounts).map(|at| access.account(&account_name(at))).collect();
        for (at, person) in self.people.iter().enumerate().filter(|(_, person)| !person.is_gone) {
            let permissions = person.may.permissions();
            access.add_user(User {
                name: person_name(at).into(),
                proof: Proof::Password(Secret::new("p")),
                account: ids[person.account],
                permissions: permissions.map(Arc::new),
                connection_types: ConnectionTypes::ANY,
                limits: Default::default(),
            });
        }
        for (at, mut ties) in self.agreements(&access, &ids).into_ties().into_iter().enumerate() {
            for (_, from, to) in self.mappings.iter().filter(|(account, ..)| *account == at) {
                let to = numbered(to).into_bytes();
                let mapping = Mapping::new(from.as_bytes(), &[(to, 100)]);
                ties.mappings.add(mapping.expect("a mapping of the list"));
            }
            access.bind(AccountId(at as u32), ties, Limits::default());
        }
        if let Some(before) = before {
            access.recognise(before);
        }
        Arc::new(access)
    }

    fn agreements(&self, access: &Access, ids: &[AccountId]) -> Agreements {
        let names: Vec<String> = access.accounts().iter().map(|a| a.name.to_string()).collect();
        let mut agreements = Agreements::new(names.iter().map(String::as_str));
        for Stream { exporter, importer, from, to } in &self.streams {
            let (exporter, importer) = (ids[*exporter], ids[*importer]);
            agreements
                .export_stream(exporter, from.as_bytes(), &[], 0)
                .and_then(|()| {
                    agreements.import_stream(importer, exporter, from.as_bytes(), to.as_bytes())
                })
                .expect("a stream of the list");
        }
        for Service { exporter, importer, from, to, is_many } in &self.services {
            let (exporter, importer) = (ids[*exporter], ids[*importer]);
            let response = if *is_many { ResponseType::Stream } else { ResponseType::Singleton };
            let terms = ServiceTerms { response, threshold_ns: Some(THRESHOLD_NS), latency: None };
            let from = if from == to { (*from).to_string() } else { numbered(from) };
            agreements
                .export_service(exporter, to.as_bytes(), &[], 0, terms)
                .and_then(|()| {
                    let (from, to) = (from.as_bytes(), to.as_bytes());
                    agreements.import_service(importer, exporter, from, to, false)
                })
                .expect("a service of the list");
        }
        agreements
    }
}

impl May {
    fn draw(p: &mut Prng) -> May {
        let mut may = May { publish: Lists::draw(p), subscribe: Lists::draw(p), answers: None };
        if let Some(allow) = &mut may.publish.allow {
            allow.extend(["r.>", "_R_.>"].into_iter().filter(|_| p.chance(400)));
        }
        if may.publish.allow.is_some() && p.chance(600) {
            let (most, within_ns) = *p.pick(&ANSWERS);
            may.answers = Some(Answers { most, within_ns });
        }
        if p.chance(400) {
            let lists = &mut may.subscribe;
            let list =
                if p.chance(500) { lists.allow.get_or_insert_default() } else { &mut lists.deny };
            list.push(*p.pick(&OF_GROUPS));
        }
        if let Some(allow) = &mut may.subscribe.allow
            && p.chance(900)
        {
            allow.push("r.>");
        }
        may
    }

    fn permissions(&self) -> Option<Permissions> {
        (*self != May::default()).then(|| Permissions {
            publish: self.publish.rules(),
            subscribe: self.subscribe.rules(),
            responses: self.answers.map(|Answers { most, within_ns }| Responses {
                max: (most > 0).then_some(most),
                expires_ns: within_ns,
            }),
        })
    }
}

impl Lists {
    fn draw(p: &mut Prng) -> Lists {
        let mut some = |all: &[&'static str], most: u64| -> Vec<&'static str> {
            (0..p.between(1, most)).map(|_| *p.pick(all)).collect()
        };
        let (allow, deny) = (some(&ALLOWED, 4), some(&DENIED, 2));
        match p.below(4) {
            0 => Lists::default(),
            1 => Lists { allow: Some(allow), deny: Vec::new() },
            2 => Lists { allow: None, deny },
            _ => Lists { allow: Some(allow), deny },
        }
    }

    fn rules(&self) -> Rules {
        let set = |texts: &[&str]| {
            let rule = |text: &&str| Rule::parse(text, true).expect("a rule of the list");
            RuleSet::new(&texts.iter().map(rule).collect::<Vec<_>>())
        };
        Rules {
            allow: self.allow.as_deref().map(set),
            deny: (!self.deny.is_empty()).then(|| set(&self.deny)),
        }
    }
}

/// `a.*` as `a.$1`.
fn numbered(pattern: &str) -> String {
    let mut count = 0;
    let token = |token: &str| {
        count += usize::from(token == "*");
        if token == "*" { format!("${count}") } else { token.to_string() }
    };
    pattern.split('.').map(token).collect::<Vec<_>>().join(".")
}

/// The name of an account.
pub fn account_name(account: usize) -> String {
    if account == 0 { AccountId::GLOBAL_NAME.into() } else { format!("A{account}") }
}

/// The name of a user.
pub fn person_name(person: usize) -> String {
    format!("u{person}")
}
