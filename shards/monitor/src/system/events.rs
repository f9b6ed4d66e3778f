//! What the server tells the system account by itself.

use shard::AccountId;
use shard::report::{Connection, Figures, REFUSED, Report, Saying};

use crate::accountz::{AccountStat, Traffic, names};
use crate::duration::rfc3339_nano;
use crate::figures::of_account;
use crate::json;
use crate::system::envelope;
use crate::system::shapes::{AccountConns, Client, Connected, Disconnected, Statsz, Typed};
use crate::{Monitor, ProcessFigures};

/// What an event about an account's connections is.
const CONNECTIONS_TYPE: &str = "io.nats.server.advisory.v1.account_connections";
const ID_CHARS: usize = 22;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Monitor {
    /// A connection has come, or gone if it is closed.
    pub fn tell_of(&mut self, connection: &Connection, now_unix_ns: u64) -> Saying {
        let client = Client::new(connection);
        let kind = match connection.closed {
            None => "CONNECT",
            Some(_) => "DISCONNECT",
        };
        let subject = format!("$SYS.ACCOUNT.{}.{kind}", connection.account).into_bytes();
        let body = match connection.closed {
            None => {
                let typed = self.typed("io.nats.server.advisory.v1.client_connect", now_unix_ns);
                let server = self.server(now_unix_ns);
                json::compact(&Connected { typed, server, client })
            }
            Some((reason, _)) => {
                self.disconnected(client, connection, reason.as_str(), now_unix_ns)
            }
        };
        Saying::new(subject, body)
    }

    /// A client could not prove who it is.
    pub fn tell_of_refused(&mut self, connection: &Connection, now_unix_ns: u64) -> Saying {
        let subject = format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", self.site.server_id);
        let reason =
            connection.closed.map_or("Authentication Failure", |(reason, _)| reason.as_str());
        let client = Client::new(connection);
        let body = self.disconnected(client, connection, reason, now_unix_ns);
        Saying::new(subject.into_bytes(), body)
    }

    /// As [`Monitor::tell_of_refused`], in an account.
    pub fn tell_account_of_refused(
        &mut self,
        connection: &Connection,
        (account, name): &(AccountId, Box<str>),
        reason: &str,
        now_unix_ns: u64,
    ) -> Saying {
        let mut client = Client::new(connection);
        client.acc = name;
        let body = self.disconnected(client, connection, reason, now_unix_ns);
        Saying { account: Some(*account), ..Saying::new(REFUSED.into(), body) }
    }

    fn disconnected(
        &mut self,
        client: Client<'_>,
        connection: &Connection,
        reason: &str,
        now_unix_ns: u64,
    ) -> Vec<u8> {
        let typed = self.typed("io.nats.server.advisory.v1.client_disconnect", now_unix_ns);
        let server = self.server(now_unix_ns);
        // As nats-server has it: what the client sent.
        let sent = Traffic { msgs: connection.in_msgs, bytes: connection.in_bytes };
        let received = Traffic { msgs: connection.out_msgs, bytes: connection.out_bytes };
        json::compact(&Disconnected { typed, server, client, sent, received, reason })
    }

    /// The figures of the server, for everybody.
    pub fn tell_statsz(
        &mut self,
        reports: &[Report],
        process: &ProcessFigures,
        now_unix_ns: u64,
    ) -> Saying {
        let statsz = json::compact(&Statsz::new(&self.site, reports, process));
        let server = json::compact(&self.server(now_unix_ns));
        let (body, _) = envelope(&server, Ok(Some(("statsz", statsz))));
        let subject = format!("$SYS.SERVER.{}.STATSZ", self.site.server_id);
        Saying::new(subject.into_bytes(), body)
    }

    /// How many connections an account has, which has changed or is told again.
    pub fn tell_counted(
        &mut self,
        account: &str,
        reports: &[Report],
        now_unix_ns: u64,
    ) -> [Saying; 2] {
        let figures = of_account(reports, account);
        let typed = self.connections_type(now_unix_ns);
        let subjects = [
            format!("$SYS.SERVER.ACCOUNT.{account}.CONNS"),
            format!("$SYS.ACCOUNT.{account}.SERVER.CONNS"),
        ];
        subjects.map(|subject| {
            let typed = typed.clone();
            self.conns(account, subject.into_bytes(), typed, &figures, now_unix_ns)
        })
    }

    pub(super) fn connections_type(&mut self, now_unix_ns: u64) -> Typed {
        self.typed(CONNECTIONS_TYPE, now_unix_ns)
    }

    /// How many connections an account has, said there.
    pub(super) fn conns(
        &mut self,
        account: &str,
        subject: Vec<u8>,
        typed: Typed,
        figures: &Figures,
        now_unix_ns: u64,
    ) -> Saying {
        let stat = AccountStat::new(account, figures);
        let body = AccountConns { typed, server: self.server(now_unix_ns), stat };
        Saying::new(subject, json::compact(&body))
    }

    /// The accounts whose connections are counted and that have some.
    pub fn counted(&self, reports: &[Report]) -> Vec<String> {
        let names = names(&self.site, reports).into_iter();
        let counted = names.filter(|name| *name != AccountId::GLOBAL_NAME);
        let counted = counted.filter(|name| of_account(reports, name).connections > 0);
        counted.map(str::to_owned).collect()
    }

    /// The server is about to go: `SHUTDOWN`, or `LAMEDUCK`.
    pub fn tell_end(&mut self, how: &str, now_unix_ns: u64) -> Saying {
        let subject = format!("$SYS.SERVER.{}.{how}", self.site.server_id);
        Saying::new(subject.into_bytes(), json::compact(&self.server(now_unix_ns)))
    }

    pub(super) fn typed(&mut self, kind: &'static str, now_unix_ns: u64) -> Typed {
        self.events += 1;
        // Unlike that of any other event of any run of any server.
        let mut number = u128::from(self.site.start_unix_ns) << 64 | u128::from(self.events);
        let mut id = vec![b'0'; ID_CHARS];
        for digit in id.iter_mut().rev() {
            *digit = DIGITS[(number % 62) as usize];
            number /= 62;
        }
        let id = json::text(&id);
        Typed { r#type: kind, id, timestamp: rfc3339_nano(now_unix_ns) }
    }
}
