use std::path::Path;

use super::*;
use crate::config::{conf, schema};

fn read(text: &str) -> (Said, Vec<String>) {
    let map = conf::parse_text(Path::new("x.conf"), text, &|_| None).expect("it parses");
    let findings = schema::read(&map);
    (findings.raw.access, findings.errors.iter().map(Fault::to_string).collect())
}

fn access(text: &str) -> Access {
    let (said, errors) = read(text);
    assert!(errors.is_empty(), "{text}: {errors:?}");
    said.resolve(&Flags::default(), &Default::default(), None)
        .unwrap_or_else(|why| panic!("{text}: {why}"))
}

#[test]
fn users_belong_to_accounts() {
    let access = access(
        "accounts { A { users [{user: a, password: x}] }, $SYS { users [{user: s, pass: y}] } }\n\
         authorization { users [{user: g, pass: z}] }\nno_auth_user: a",
    );
    let name = |user: &str| {
        let user = access.users().iter().find(|known| *known.name == *user).expect("there");
        access.name_of(user.account).to_string()
    };
    assert_eq!((name("a"), name("s"), name("g")), ("A".into(), "$SYS".into(), "$G".into()));
    assert!(access.required && access.is_open);
    assert_eq!(access.system, access.find_account("$SYS"));
}

#[test]
fn a_system_account_alone_lets_everybody_in() {
    let access = access("accounts { $SYS { users [{user: s, pass: y}] } }");
    assert!(access.required && !access.is_open);
    assert_eq!(access.users().len(), 2);
}

#[test]
fn secrets_are_not_shown() {
    let access = access("authorization { user: u, password: hidden }");
    let (said, _) = read("authorization { token: hidden }");
    assert!(!format!("{access:?} {said:?}").contains("hidden"));
}

fn refused(text: &str) -> String {
    let (said, errors) = read(text);
    assert!(errors.is_empty(), "{errors:?}");
    said.resolve(&Flags::default(), &Default::default(), None).expect_err("it can't be")
}

/// An operator is told where the mistake is.
#[test]
fn a_service_without_its_account_or_the_servers_is_a_fault_of_a_place() {
    const ISSUER: &str = "AABQHMMPFDOBD4ZHW6DTW65CVKNV7UUWBWUTUDXUG5ZMUA5Q6JJY3MHV";
    let said = |account: &str, more: &str| {
        refused(&format!(
            "authorization {{\n  auth_callout {{\n    issuer: {ISSUER}, auth_users: [a]\n\
             {account}  }}\n}}\n{more}"
        ))
    };
    assert_eq!(
        said("    account: NOWHERE\n", ""),
        "x.conf:4:5: Authorization callout account \"NOWHERE\" not valid"
    );
    assert_eq!(
        said("", "no_system_account: true\n"),
        "x.conf:2:3: auth_callout needs the system account: remove no_system_account"
    );
}

#[test]
fn a_name_of_nobody_is_a_fault_of_a_place() {
    const USERS: &str = "authorization { users [{user: u}] }\n";
    for (text, wanted) in [
        (
            format!("{USERS}  no_auth_user: a"),
            "x.conf:2:3: no_auth_user: \"a\" not present as user or nkey in authorization block or \
             account configuration: name one that is there, or remove it",
        ),
        (
            "\nno_auth_user: a".to_string(),
            "x.conf:2:1: no_auth_user: \"a\" present, but users/nkeys are not defined: define it \
             in users, or remove it",
        ),
        (
            format!("{USERS} system_account: S\nsystem: T"),
            "x.conf:2:2: error resolving system account: account missing: define \"S\" in \
             accounts, or name one that is there",
        ),
        (
            "accounts: [A]\nsystem: T\n".to_string(),
            "x.conf:2:1: error resolving system account: account missing: define \"T\" in \
             accounts, or name one that is there",
        ),
    ] {
        assert_eq!(refused(&text), wanted);
    }
}
