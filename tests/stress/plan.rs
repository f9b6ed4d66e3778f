//! Who subscribes to what.

use crate::harness::rng::Rng;

pub const PUBLISHERS: usize = 200;
pub const TOPICS: usize = 50;
pub const GROUPS: usize = 64;
/// Groups from here on have members that come and go.
const STABLE_GROUPS: usize = 48;
const MEMBERS: usize = 8;
const PLAIN: usize = 1000;
/// Plain subscribers of everything.
const WIDE: usize = 8;
/// Together with the stable ones 2,000 subscribers.
pub const CHURNERS: usize = 2000 - PLAIN - WIDE - STABLE_GROUPS * MEMBERS;

#[derive(Clone, Debug)]
pub enum Role {
    /// One topic.
    Plain(usize),
    /// All topics.
    Wide,
    /// Of a group; `wild` ones use an overlapping pattern and are of the same group all the same.
    Member { group: usize, wild: bool },
}

pub fn topic(number: usize) -> String {
    format!("s.{number}")
}

/// The subscribers that stay for a whole round.
pub fn roles() -> Vec<Role> {
    let plain = (0..PLAIN).map(|at| Role::Plain(at % TOPICS));
    let wide = (0..WIDE).map(|_| Role::Wide);
    let members = (0..STABLE_GROUPS * MEMBERS)
        .map(|at| Role::Member { group: at % STABLE_GROUPS, wild: at / STABLE_GROUPS % 2 == 1 });
    plain.chain(wide).chain(members).collect()
}

/// What one that comes and goes subscribes to.
pub fn passing(rng: &mut Rng) -> Role {
    match rng.below(10) {
        0 => Role::Wide,
        1..=5 => Role::Plain(rng.below(TOPICS)),
        _ => {
            let group = STABLE_GROUPS + rng.below(GROUPS - STABLE_GROUPS);
            Role::Member { group, wild: rng.chance(50) }
        }
    }
}

pub fn is_stable(group: usize) -> bool {
    group < STABLE_GROUPS
}

pub fn publishers_of(topic: usize) -> usize {
    (0..PUBLISHERS).filter(|publisher| publisher % TOPICS == topic).count()
}

impl Role {
    pub fn sub(&self, sid: &str) -> String {
        match self {
            Role::Plain(number) => format!("SUB {} {sid}\r\n", topic(*number)),
            Role::Wide => format!("SUB s.* {sid}\r\n"),
            Role::Member { group, wild } => {
                let number = group % TOPICS;
                let pattern = if *wild { format!("*.{number}") } else { topic(number) };
                format!("SUB {pattern} g{group} {sid}\r\n")
            }
        }
    }

    pub fn group(&self) -> Option<usize> {
        match self {
            Role::Member { group, .. } => Some(*group),
            _ => None,
        }
    }

    /// Whether a plain subscriber of this role must hear this publisher.
    pub fn hears(&self, publisher: usize) -> bool {
        match self {
            Role::Plain(number) => publisher % TOPICS == *number,
            Role::Wide => true,
            Role::Member { .. } => false,
        }
    }
}
