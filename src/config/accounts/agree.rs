//! Exports and imports of all accounts, fitted together.

use runtime::AccountId;
use runtime::account::{Agreements, Ties};

use super::Words;
use super::imports::What;
use crate::config::value::{Fault, Value};

/// What each account has agreed with others, by number. `accounts` gives name, number and words of
/// the configured ones, `count` how many numbers there are. Mistakes are reported at `at`, as
/// nats-server does.
pub fn agree(
    accounts: &[(&str, AccountId, &Words)],
    count: usize,
    at: &Value,
    faults: &mut Vec<Fault>,
) -> Vec<Ties> {
    let mut names = vec![""; count];
    for (name, id, _) in accounts {
        names[id.0 as usize] = name;
    }
    let mut agreements = Agreements::new(names.into_iter());
    let find = |name: &str| accounts.iter().find(|(known, ..)| *known == name).map(|known| known.1);
    export(&mut agreements, accounts, &find, at, faults);
    for services in [false, true] {
        for (_, id, words) in accounts {
            for import in &words.imports {
                let (kind, is_service) = match import.what {
                    What::Stream { .. } => ("stream", false),
                    What::Service { .. } => ("service", true),
                };
                if is_service != services {
                    continue;
                }
                let Some(exporter) = find(&import.account) else {
                    let name = &import.account;
                    faults
                        .push(at.fault(format!("{name:?} account not defined for {kind} import")));
                    continue;
                };
                let (from, to) = (import.subject.as_bytes(), import.to.as_bytes());
                let made = match &import.what {
                    What::Stream { prefix } if !prefix.is_empty() => {
                        agreements.import_stream_under(*id, exporter, from, prefix.as_bytes())
                    }
                    What::Stream { .. } => agreements.import_stream(*id, exporter, from, to),
                    What::Service { share } => {
                        let here = if to.is_empty() { from } else { to };
                        agreements.import_service(*id, exporter, here, from, *share)
                    }
                };
                if let Err(why) = made {
                    let subject = &import.subject;
                    faults.push(at.fault(format!("Error adding {kind} import {subject:?}: {why}")));
                }
            }
        }
    }
    agreements.into_ties()
}

fn export(
    agreements: &mut Agreements,
    accounts: &[(&str, AccountId, &Words)],
    find: &dyn Fn(&str) -> Option<AccountId>,
    at: &Value,
    faults: &mut Vec<Fault>,
) {
    for (_, id, words) in accounts {
        for export in &words.exports {
            let kind = if export.service.is_some() { "service" } else { "stream" };
            let mut importers = Vec::new();
            for name in &export.accounts {
                match find(name) {
                    Some(importer) => importers.push(importer),
                    None => faults
                        .push(at.fault(format!("{name:?} account not defined for {kind} export"))),
                }
            }
            let (subject, position) = (export.subject.as_bytes(), export.token_position);
            let made = match &export.service {
                Some(terms) => {
                    agreements.export_service(*id, subject, &importers, position, terms.clone())
                }
                None => agreements.export_stream(*id, subject, &importers, position),
            };
            if let Err(why) = made {
                let subject = &export.subject;
                faults.push(at.fault(format!("Error adding {kind} export {subject:?}: {why}")));
            }
        }
    }
}
