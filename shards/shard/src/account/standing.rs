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
        let known =
            |known: &ServiceImport| known.account == system && *known.from == *from.as_bytes();
        if own_already || ties.services.iter().any(known) {
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
