//! What operators say of accounts and users, as far as rows are about it.

use std::sync::Arc;

use shard::AccountId;
use shard::access::{
    Access, ConnectionTypes, Permissions, Proof, Rule, RuleSet, Rules, Secret, User,
};
use shard::account::{Agreements, Limits, Mapping, ServiceTerms, Ties};

/// Whoever says nothing of itself.
const ANYBODY: &str = "anybody";
/// Somebody who may hear less than others.
pub const BOUND: &str = "bound";
/// Somebody of another account.
pub const OTHER: &str = "other";

fn user(access: &mut Access, name: &str, account: AccountId, permissions: Option<Permissions>) {
    access.add_user(User {
        name: name.into(),
        proof: Proof::Password(Secret::new("")),
        account,
        permissions: permissions.map(Arc::new),
        connection_types: ConnectionTypes::ANY,
        limits: Limits::default(),
    });
}

fn rules(patterns: &[&str]) -> Option<RuleSet> {
    let rule = |text: &&str| Rule::parse(text, false).expect("a pattern");
    Some(RuleSet::new(&patterns.iter().map(rule).collect::<Vec<_>>()))
}

/// Everybody has these permissions, or all, if that is none.
fn open(permissions: Option<Permissions>) -> Access {
    let mut access = Access::default();
    user(&mut access, ANYBODY, AccountId::GLOBAL, permissions);
    assert!(access.let_in_as(ANYBODY), "the user is there");
    access
}

/// Everybody may publish and hear much, but not all.
pub fn walled() -> Access {
    let allowed = ["bench.>", "t.*.*", "visit.>", "_INBOX.>"];
    let publish = Rules { allow: rules(&allowed), deny: rules(&["bench.secret.>", "t.*.secret"]) };
    let subscribe =
        Rules { allow: rules(&["bench.>", "t.>"]), deny: rules(&["*.secret.>", "t.*.secret"]) };
    open(Some(Permissions { publish, subscribe, responses: None }))
}

/// What rows publish is kept from [`BOUND`], but not all that its subscriptions match.
pub fn partly_kept() -> Access {
    let mut access = open(None);
    let subscribe = Rules { allow: None, deny: rules(&["*.000", "t.*.*"]) };
    let permissions = Permissions { subscribe, ..Permissions::default() };
    user(&mut access, BOUND, AccountId::GLOBAL, Some(permissions));
    access
}

/// What is published on `bench.*` goes elsewhere, to one of these by weight.
pub fn mapped(destinations: &[(&str, u8)]) -> Access {
    let mut access = open(None);
    let all: Vec<_> =
        destinations.iter().map(|(text, weight)| (text.as_bytes().to_vec(), *weight)).collect();
    let mapping = Mapping::new(b"bench.*", &all).expect("a mapping");
    let mut ties = Ties::default();
    ties.mappings.add(mapping);
    access.bind(AccountId::GLOBAL, ties, Limits::default());
    access
}

/// [`OTHER`]'s account has the stream `bench.*` and the service `ask.*`, and everybody's imports
/// both: the stream as it is, the service as `far.*`.
pub fn imported() -> Access {
    let mut access = open(None);
    let (here, there) = (AccountId::GLOBAL, access.account("B"));
    user(&mut access, OTHER, there, None);
    let names: Vec<String> = access.accounts().iter().map(|it| it.name.to_string()).collect();
    let mut all = Agreements::new(names.iter().map(String::as_str));
    all.export_stream(there, b"bench.*", &[], 0).expect("an export");
    all.export_service(there, b"ask.*", &[], 0, ServiceTerms::default()).expect("an export");
    all.import_stream(here, there, b"bench.*", b"bench.*").expect("an import");
    all.import_service(here, there, b"far.*", b"ask.*", false).expect("an import");
    for (at, ties) in all.into_ties().into_iter().enumerate() {
        access.bind(AccountId(at as u32), ties, Limits::default());
    }
    access
}
