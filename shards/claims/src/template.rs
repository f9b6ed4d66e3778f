//! Roles of signing keys: permissions with `{{name()}}`, `{{tag(team)}}` and the like in them,
//! filled in for one user.

use crate::account::Account;
use crate::permissions::{Permission, UserLimits};
use crate::user::User;

/// Most subjects that one list of a role may grow into. As in nats-server 2.15.1.
pub const TEMPLATE_SUBJECTS_MAX: usize = 4096;
/// Bytes of one entry of a role that has functions in it, as it is written and as it is filled in.
const TEMPLATE_BYTES_MAX: usize = 8192;

/// The rights of `user` by the role `template` of a signing key of `account`.
///
/// # Errors
/// A function that is not known, a tag that a denied subject needs and nobody has, a subject that
/// is none, or too many of them.
pub(crate) fn filled(
    template: &UserLimits,
    user: &User,
    account: &Account,
) -> Result<UserLimits, String> {
    let mut limits = template.clone();
    fill(&mut limits.permissions.subscribe, user, account)?;
    fill(&mut limits.permissions.publish, user, account)?;
    Ok(limits)
}

fn fill(permission: &mut Permission, user: &User, account: &Account) -> Result<(), String> {
    let allowed_some = !permission.allowed().is_empty();
    if let Some(allow) = &mut permission.allow {
        *allow = fill_list(allow, false, user, account)?;
    }
    permission.deny = fill_list(&permission.deny, true, user, account)?;
    // An empty list would allow everything.
    if allowed_some && permission.allowed().is_empty() {
        permission.deny.push(">".to_string());
    }
    Ok(())
}

/// `strict`: a subject that can't be filled in is an error, not left out.
fn fill_list(
    list: &[String],
    strict: bool,
    user: &User,
    account: &Account,
) -> Result<Vec<String>, String> {
    if !list.iter().any(|entry| next_function(entry).is_some()) {
        return Ok(list.to_vec());
    }
    let mut filled = Vec::new();
    for entry in list {
        let entries = expand(entry, strict, user, account, filled.len())?;
        for subject in entries {
            if subject::valid_pattern(subject.as_bytes()) {
                filled.push(subject);
            } else if strict {
                return Err("generated invalid subject".to_string());
            }
        }
    }
    Ok(filled)
}

/// One entry with every combination of its functions' values. A function that is written twice in
/// the same way has one value.
fn expand(
    entry: &str,
    strict: bool,
    user: &User,
    account: &Account,
    already: usize,
) -> Result<Vec<String>, String> {
    let mut entries = vec![entry.to_string()];
    let (mut count, mut written) = (1, Vec::new());
    let mut rest = entry;
    while let Some((before, function, after)) = next_function(rest) {
        if entry.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("template is longer than {TEMPLATE_BYTES_MAX} bytes"));
        }
        let values = values_of(entry, function, strict, user, account)?;
        count *= values.len();
        if count > 1 && count + already > TEMPLATE_SUBJECTS_MAX {
            return Err(format!("template expansion exceeds limit: {TEMPLATE_SUBJECTS_MAX}"));
        }
        let text = &rest[before.len()..rest.len() - after.len()];
        if !written.contains(&text) {
            let longest = values.iter().map(String::len).max().unwrap_or(0);
            let fits = |entry: &String| {
                let times = entry.matches(text).count();
                entry.len() - times * text.len() + times * longest <= TEMPLATE_BYTES_MAX
            };
            if !entries.iter().all(fits) {
                return Err(format!("template makes more than {TEMPLATE_BYTES_MAX} bytes"));
            }
            let each = |entry: &String| -> Vec<String> {
                values.iter().map(|value| entry.replace(text, value)).collect()
            };
            entries = entries.iter().flat_map(each).collect();
            written.push(text);
        }
        rest = after;
    }
    Ok(entries)
}

/// Text before the next `{{…}}`, what is inside, and the text behind.
fn next_function(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find("{{")?;
        let inside = &text[start + 2..];
        match inside.find('}') {
            Some(end) if end > 0 && inside[end..].starts_with("}}") => {
                return Some((&text[..start], &inside[..end], &inside[end + 2..]));
            }
            _ => from = start + 1,
        }
    }
}

fn values_of(
    entry: &str,
    function: &str,
    strict: bool,
    user: &User,
    account: &Account,
) -> Result<Vec<String>, String> {
    let function = function.trim();
    let is = |name: &str| function.eq_ignore_ascii_case(name);
    let one = |value: &str| Ok(vec![value.to_string()]);
    if is("name()") {
        return one(&user.claims.name);
    }
    if is("subject()") {
        return one(&user.claims.subject);
    }
    if is("account-name()") {
        return one(&account.claims.name);
    }
    if is("account-subject()") {
        return one(user.issuer_account());
    }
    let (name, tags) = if let Some(name) = argument(function, "tag(") {
        (name, user.tags())
    } else if let Some(name) = argument(function, "account-tag(") {
        (name, account.tags())
    } else {
        return Err(format!("template operation in {entry:?}: {function:?} is not defined"));
    };
    let prefix = format!("{}:", name.to_lowercase());
    let values: Vec<String> =
        tags.iter().filter_map(|tag| tag.strip_prefix(&prefix)).map(str::to_string).collect();
    match (values.is_empty(), strict) {
        (false, _) => Ok(values),
        (true, true) => {
            Err(format!("generated invalid subject {entry:?}: {name:?} is not defined"))
        }
        // Makes a subject that is none, which is then left out.
        (true, false) => one(" "),
    }
}

/// What is in the brackets. Of a function that is not written in lower case all counts as its
/// argument, as in nats-server: no tag is called that.
fn argument<'t>(function: &'t str, name: &str) -> Option<&'t str> {
    let head = function.get(..name.len())?;
    if !head.eq_ignore_ascii_case(name) {
        return None;
    }
    function.strip_prefix(name).unwrap_or(function).strip_suffix(')')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(tags: usize) -> User {
        let tags: Vec<String> = (0..tags).map(|n| format!("t:{n}")).collect();
        let json = serde_json::json!({ "name": "n", "nats": { "tags": tags } });
        serde_json::from_value(json).expect("a user")
    }

    fn filled_list(entries: &[&str], strict: bool, tags: usize) -> Result<Vec<String>, String> {
        let entries: Vec<String> = entries.iter().map(|entry| entry.to_string()).collect();
        fill_list(&entries, strict, &user(tags), &Account::default())
    }

    #[test]
    fn every_combination_but_not_too_many() {
        let square = "{{tag(t)}}.{{ tag(t) }}";
        assert_eq!(filled_list(&[square], false, 64).map(|list| list.len()), Ok(4096));
        assert_eq!(
            filled_list(&["{{tag(t)}}.{{tag(t)}}"], false, 2),
            Ok(vec!["0.0".to_string(), "1.1".to_string()]),
            "written in the same way"
        );
        let limit = Err("template expansion exceeds limit: 4096".to_string());
        assert_eq!(filled_list(&[square], false, 65), limit);
        assert_eq!(filled_list(&[square, "{{tag(t)}}"], false, 64), limit);
    }

    #[test]
    fn an_entry_does_not_grow_without_end() {
        let fits = format!("{}{{{{name()}}}}", "a".repeat(TEMPLATE_BYTES_MAX - "{{name()}}".len()));
        assert!(filled_list(&[&fits], false, 0).is_ok());
        let long = Err(format!("template is longer than {TEMPLATE_BYTES_MAX} bytes"));
        assert_eq!(filled_list(&[&format!("a{fits}")], false, 0), long);
        let account = Account::default();
        let mut user = user(0);
        user.claims.name = "n".repeat(4000);
        let much = ["{{name()}}.{{name()}}.{{name()}}".to_string()];
        let made = Err(format!("template makes more than {TEMPLATE_BYTES_MAX} bytes"));
        assert_eq!(fill_list(&much, false, &user, &account), made);
    }

    #[test]
    fn odd_entries() {
        let ok = |entry: &str| filled_list(&[entry, "{{name()}}"], false, 1);
        assert_eq!(ok("a.{{ NAME() }}.b"), Ok(vec!["a.n.b".to_string(), "n".to_string()]));
        assert_eq!(ok("a.{{tag(none)}}"), Ok(vec!["n".to_string()]), "left out");
        assert_eq!(ok("a.{{TAG(t)}}"), Ok(vec!["n".to_string()]), "no tag is called that");
        assert_eq!(ok("a.{name()}"), Ok(vec!["a.{name()}".to_string(), "n".to_string()]));
        assert_eq!(ok("a..{{name()}}"), Ok(vec!["n".to_string()]));
        assert!(filled_list(&["a.{{tag(none)}}"], true, 1).is_err(), "a denied one must be right");
        let unknown = filled_list(&["a.{{shout()}}"], false, 1);
        assert_eq!(
            unknown,
            Err("template operation in \"a.{{shout()}}\": \"shout()\" is not defined".to_string())
        );
    }

    #[test]
    fn an_allowed_list_that_comes_out_empty_allows_nothing() {
        let mut permission =
            Permission { allow: Some(vec!["{{tag(none)}}.x".to_string()]), deny: Vec::new() };
        fill(&mut permission, &user(0), &Account::default()).expect("it can be filled in");
        assert_eq!(permission.allowed(), [""; 0]);
        assert_eq!(permission.deny, [">"]);
    }
}
