//! What every account may ask the system account without having agreed on anything: about itself,
//! and nothing else.

use super::{RESPONSE_THRESHOLD, ResponseType, ServiceExport, ServiceId, ServiceImport, Ties};
use crate::ids::AccountId;

/// Numbers that no export of an operator's gets.
const CONNZ: ServiceId = ServiceId(u32::MAX);
const STATZ: ServiceId = ServiceId(u32::MAX - 1);
const USER_INFO: ServiceId = ServiceId(u32::MAX - 2);

/// Adds them, unless the account has something else by these subjects.
pub(crate) fn add(ties: &mut Ties, name: &str, own: AccountId, system: AccountId) {
    let about = |what: &str| format!("$SYS.REQ.ACCOUNT.{name}.{what}");
    let service = |id, export: &str, response| ServiceExport {
        id,
        subject: export.as_bytes().into(),
        response,
        threshold_ns: RESPONSE_THRESHOLD,
        latency: None,
    };
    let connz = service(CONNZ, "$SYS.REQ.ACCOUNT.*.CONNZ", ResponseType::Stream);
    let statz = service(STATZ, "$SYS.REQ.ACCOUNT.*.STATZ", ResponseType::Stream);
    let user_info = service(USER_INFO, "$SYS.REQ.USER.*.INFO", ResponseType::Singleton);
    let all = [
        ("$SYS.REQ.ACCOUNT.PING.CONNZ", about("CONNZ"), &connz),
        ("$SYS.REQ.SERVER.PING.CONNZ", about("CONNZ"), &connz),
        ("$SYS.REQ.ACCOUNT.PING.STATZ", about("STATZ"), &statz),
        ("$SYS.REQ.USER.INFO", format!("$SYS.REQ.USER.{name}.INFO"), &user_info),
    ];
    ties.serves = true;
    for (from, to, service) in all {
        let own_already = own == system && service.id != USER_INFO;
        // By this name the system account is asked about all accounts.
        let is_everybody = service.id == STATZ && name == "PING";
        let known =
            |known: &ServiceImport| known.account == system && *known.from == *from.as_bytes();
        if own_already || is_everybody || ties.services.iter().any(known) {
            continue;
        }
        ties.services.push(ServiceImport {
            account: system,
            from: from.as_bytes().into(),
            to: to.into_bytes().into(),
            transform: None,
            keeps_subject: false,
            // Who asks is the answer.
            share: service.id == USER_INFO,
            service: service.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(name: &str) -> Vec<String> {
        let mut ties = Ties::default();
        add(&mut ties, name, AccountId(5), AccountId(1));
        ties.services.iter().map(|it| String::from_utf8_lossy(&it.to).into_owned()).collect()
    }

    #[test]
    fn nobody_asks_about_all_accounts() {
        assert_eq!(asks("APP").len(), 4);
        assert!(asks("APP").iter().all(|it| it.contains(".APP.")));
        let of_all = "$SYS.REQ.ACCOUNT.PING.STATZ".to_string();
        assert!(asks("PING").len() == 3 && !asks("PING").contains(&of_all));
    }
}
