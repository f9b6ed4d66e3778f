//! From what tokens say to what shards understand: permissions, limits, kinds of connections.

use std::sync::Arc;

use claims::{Permission, Permissions as Said};
use shard::access::{ConnectionTypes, Permissions, Responses, Rule, RuleSet, Rules};

/// How many answers to a request are allowed where none is said, and for how long.
const RESPONSES_DEFAULT: u32 = 1;
const RESPONSE_TIME_DEFAULT_NS: u64 = 120_000_000_000;

/// None is everything.
pub fn permissions(said: &Said) -> Option<Arc<Permissions>> {
    if said.is_empty() {
        return None;
    }
    let responses = said.respond.as_ref().map(|respond| Responses {
        max: match respond.max {
            0 => Some(RESPONSES_DEFAULT),
            max => u32::try_from(max).ok(),
        },
        expires_ns: match respond.ttl {
            0 => Some(RESPONSE_TIME_DEFAULT_NS),
            ttl => u64::try_from(ttl).ok(),
        },
    });
    let mut publish = rules(&said.publish, false);
    if responses.is_some() {
        // Whoever may answer may do nothing else, unless it is said.
        publish.allow.get_or_insert_with(|| RuleSet::new(&[]));
    }
    Some(Arc::new(Permissions { publish, subscribe: rules(&said.subscribe, true), responses }))
}

/// A subject that is none matches nothing, whether it is allowed or denied.
fn rules(said: &Permission, is_subscribe: bool) -> Rules {
    let allowed = |text: &String| rule(text, is_subscribe);
    // Publications have no queue group: what is denied with one is denied.
    let denied = |text: &String| match is_subscribe {
        true => rule(text, true),
        false => rule(text, true).map(|rule| Rule { queue: None, ..rule }),
    };
    let set = |rules: Vec<Rule>| RuleSet::new(&rules);
    // For subscriptions an empty list is none.
    let says = |allow: &&Vec<String>| !allow.is_empty() || !(is_subscribe || said.is_empty());
    Rules {
        allow: said
            .allow
            .as_ref()
            .filter(says)
            .map(|all| set(all.iter().filter_map(allowed).collect())),
        deny: (!said.deny.is_empty()).then(|| set(said.deny.iter().filter_map(denied).collect())),
    }
}

/// Blanks around it are none of it, if there may be two words.
fn rule(text: &str, with_queue: bool) -> Option<Rule> {
    let trimmed = || Rule::parse(text.trim(), true).ok().filter(|_| with_queue);
    Rule::parse(text, with_queue).ok().or_else(trimmed)
}

/// -1 is no limit. Less than that is less than anybody may have.
pub fn limit(said: i64) -> Option<u32> {
    (said != -1).then(|| u32::try_from(said.max(0)).unwrap_or(u32::MAX))
}

/// None: all that is said is unknown.
pub fn connection_types(names: &[String]) -> Option<ConnectionTypes> {
    if names.is_empty() {
        return Some(ConnectionTypes::ANY);
    }
    let known: Vec<_> = names.iter().filter_map(|name| ConnectionTypes::named(name)).collect();
    let all = known.iter().fold(ConnectionTypes::NONE, |all, kind| all.with(*kind));
    (!known.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_kinds() {
        assert_eq!((limit(-1), limit(0), limit(1 << 40)), (None, Some(0), Some(u32::MAX)));
        assert_eq!(limit(-2), Some(0));
        let kinds = |names: &[&str]| {
            connection_types(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(kinds(&[]), Some(ConnectionTypes::ANY));
        assert_eq!(kinds(&["standard", "NEW"]), Some(ConnectionTypes::STANDARD));
        assert_eq!(kinds(&["NEW"]), None, "a list of unknown kinds is not a list of none");
    }

    #[test]
    fn whoever_may_answer_may_do_nothing_else() {
        let said: Said = Said {
            respond: Some(claims::ResponsePermission { max: 0, ttl: -1 }),
            ..Said::default()
        };
        let made = permissions(&said).expect("something is said");
        assert_eq!(made.responses, Some(Responses { max: Some(1), expires_ns: None }));
        assert!(made.publish.allow.is_some());
        assert!(permissions(&Said::default()).is_none());
    }
}
