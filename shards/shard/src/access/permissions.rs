//! What a user may publish and subscribe to.

use std::fmt;

use subject::Sublist;

use crate::ids::Nanos;

/// What a user may do. Compiled from the operator's lists; shared by its connections.
#[derive(Debug, Default)]
pub struct Permissions {
    /// Subjects of publications.
    pub publish: Rules,
    /// Patterns and queue groups of subscriptions.
    pub subscribe: Rules,
    /// Replies to what it was asked are allowed, whatever `publish` says.
    pub responses: Option<Responses>,
}

/// How often and how long a reply is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responses {
    /// Messages per request; none is no limit.
    pub max: Option<u32>,
    /// After the request; none is no limit.
    pub expires_ns: Option<Nanos>,
}

/// Subjects allowed and denied. Deny wins.
#[derive(Debug, Default)]
pub struct Rules {
    /// None allows all; an empty one allows nothing.
    pub allow: Option<RuleSet>,
    /// None denies nothing.
    pub deny: Option<RuleSet>,
}

/// One line of a list: a pattern, and the queue groups it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Subjects.
    pub pattern: Box<[u8]>,
    /// Only subscriptions of this group, whose name may have wildcards.
    pub queue: Option<Box<[u8]>>,
}

impl Rule {
    /// A line of an operator's list: `a.*`, or with a queue group `a.* workers` if that may be.
    ///
    /// # Errors
    /// What is wrong with it, in nats-server's words.
    pub fn parse(text: &str, with_queue: bool) -> Result<Rule, String> {
        let pattern = |text: &str| text.as_bytes().into();
        if subject::valid_pattern(text.as_bytes()) {
            return Ok(Rule { pattern: pattern(text), queue: None });
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            [subject, queue] if with_queue => {
                if !subject::valid_pattern(subject.as_bytes()) {
                    return Err(format!("subject {subject:?} is not a valid subject"));
                }
                if !subject::valid_pattern(queue.as_bytes()) {
                    return Err(format!("queue {queue:?} is not a valid queue"));
                }
                Ok(Rule { pattern: pattern(subject), queue: Some(pattern(queue)) })
            }
            _ => Err(format!("subject {text:?} is not a valid subject")),
        }
    }
}

/// Rules by pattern.
pub struct RuleSet {
    table: Sublist<Queues>,
}

/// What the rules of one pattern are about.
#[derive(Debug, Default)]
struct Queues {
    /// Any subscription or publication.
    any: bool,
    /// Subscriptions of these groups.
    named: Vec<Box<[u8]>>,
}

impl PartialEq for Permissions {
    fn eq(&self, other: &Permissions) -> bool {
        self.publish == other.publish
            && self.subscribe == other.subscribe
            && self.responses == other.responses
    }
}

impl Eq for Permissions {}

impl PartialEq for Rules {
    fn eq(&self, other: &Rules) -> bool {
        let rules = |set: &Option<RuleSet>| set.as_ref().map(RuleSet::sorted);
        rules(&self.allow) == rules(&other.allow) && rules(&self.deny) == rules(&other.deny)
    }
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sorted()).finish()
    }
}

impl RuleSet {
    /// Rules whose patterns are well formed; others are left out.
    pub fn new(rules: &[Rule]) -> RuleSet {
        let mut table: Sublist<Queues> = Sublist::new(0);
        for rule in rules.iter().filter(|rule| subject::well_formed(&rule.pattern)) {
            let id = match table.find(&rule.pattern) {
                Some(id) => id,
                None => table.insert(&rule.pattern, Queues::default()),
            };
            match &rule.queue {
                Some(queue) => table[id].named.push(queue.clone()),
                None => table[id].any = true,
            }
        }
        RuleSet { table }
    }

    /// As an operator would write them, in order.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (pattern, any, queues) in self.sorted() {
            lines.extend(any.then(|| pattern.clone()));
            lines.extend(queues.iter().map(|queue| format!("{pattern} {queue}")));
        }
        lines
    }

    fn sorted(&self) -> Vec<(String, bool, Vec<String>)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut all: Vec<_> = self
            .table
            .iter()
            .map(|(_, pattern, queues)| {
                let named = queues.named.iter().map(|queue| text(queue)).collect();
                (text(pattern), queues.any, named)
            })
            .collect();
        all.sort();
        all
    }

    fn rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (_, pattern, queues) in self.table.iter() {
            let rule = |queue: Option<Box<[u8]>>| Rule { pattern: pattern.into(), queue };
            rules.extend(queues.any.then(|| rule(None)));
            rules.extend(queues.named.iter().map(|name| rule(Some(name.clone()))));
        }
        rules
    }

    /// Is a subject, taken byte by byte, under a rule that is not about a queue group?
    fn has(&self, subject: &[u8]) -> bool {
        self.table.has_match(subject)
    }

    /// Is some rule about the subject about anybody? About this group? Is any about some group?
    fn about(&self, subject: &[u8], queue: Option<&[u8]>) -> About {
        let mut about = About::default();
        self.table.visit(subject, |id| {
            let queues = &self.table[id];
            about.anybody |= queues.any;
            about.groups |= !queues.named.is_empty();
            about.this_group |= queue.is_some_and(|queue| {
                queues.named.iter().any(|name| **name == *queue || subject::covers(name, queue))
            });
        });
        about
    }

    /// Does some rule's pattern cover all of what `pattern` matches?
    fn covers(&self, pattern: &[u8]) -> bool {
        self.table.iter().any(|(_, wide, _)| subject::covers(wide, pattern))
    }

    fn collides(&self, pattern: &[u8]) -> bool {
        self.table.iter().any(|(_, rule, _)| subject::collide(rule, pattern))
    }
}

#[derive(Default)]
struct About {
    anybody: bool,
    groups: bool,
    this_group: bool,
}

impl Rules {
    /// Nothing is forbidden.
    pub fn are_empty(&self) -> bool {
        self.allow.is_none() && self.deny.is_none()
    }
}

impl Permissions {
    /// As `own`, or all if that is none, but for one subject to publish to.
    pub fn all_but(own: Option<&Permissions>, subject: &str) -> Permissions {
        let copy = |rules: &Rules| Rules {
            allow: rules.allow.as_ref().map(|set| RuleSet::new(&set.rules())),
            deny: rules.deny.as_ref().map(|set| RuleSet::new(&set.rules())),
        };
        let mut made = own.map_or_else(Permissions::default, |own| Permissions {
            publish: copy(&own.publish),
            subscribe: copy(&own.subscribe),
            responses: own.responses,
        });
        let mut denied = made.publish.deny.as_ref().map(RuleSet::rules).unwrap_or_default();
        denied.push(Rule { pattern: subject.as_bytes().into(), queue: None });
        made.publish.deny = Some(RuleSet::new(&denied));
        made
    }

    /// May it publish to this subject? Responses apart.
    pub(crate) fn may_publish(&self, subject: &[u8]) -> bool {
        let rules = &self.publish;
        rules.allow.as_ref().is_none_or(|allow| allow.has(subject))
            && !rules.deny.as_ref().is_some_and(|deny| deny.has(subject))
    }

    /// May it subscribe to this pattern, in this group?
    pub(crate) fn may_subscribe(&self, pattern: &[u8], queue: Option<&[u8]>) -> bool {
        let allowed = self.subscribe.allow.as_ref().is_none_or(|allow| {
            let about = allow.about(pattern, queue);
            if queue.is_some() && about.groups { about.this_group } else { about.anybody }
        });
        allowed && !self.is_denied(pattern, queue)
    }

    /// Is a message on this subject kept from a subscription in this group?
    pub(crate) fn is_denied(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.subscribe.deny.as_ref().is_some_and(|deny| {
            let about = deny.about(subject, queue);
            about.anybody || about.this_group
        })
    }

    /// As [`Permissions::is_denied`], and outside of what is allowed: a subscription may be wider.
    pub(crate) fn keeps_from(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.is_denied(subject, queue)
            || self.subscribe.allow.as_ref().is_some_and(|allow| !allow.has(subject))
    }

    /// Must what this subscription gets be looked at message by message?
    pub(crate) fn filters(&self, pattern: &[u8], queue: Option<&[u8]>) -> bool {
        let is_wide = queue.is_some() || subject::has_wildcard(pattern);
        let rules = &self.subscribe;
        is_wide
            && (rules.deny.as_ref().is_some_and(|deny| deny.collides(pattern))
                || rules.allow.as_ref().is_some_and(|allow| !allow.covers(pattern)))
    }
}
