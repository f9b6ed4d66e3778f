//! A NATS client: its protocol state, and what each of its operations does.

use std::net::SocketAddr;
use std::rc::Rc;

use wire::{ClientOp, ClientParser, Connect, Fault, Limits, Next, error_text};

use crate::account::{self, service::Begun};
use crate::effect::Reads;
use crate::fence::Why;
use crate::interest::Plan;
use crate::limits::{
    GREETING_BYTES_MAX, READ_AHEAD_BYTES_MAX, TOLD_AT_ONCE, UNCHECKED_BYTES_MAX, WHOLE_BYTES_MAX,
    WHOLE_BYTES_MIN,
};
use crate::report::Event;
use crate::security::TlsOffer;
use crate::session::guard::Guard;
use crate::session::login::{Admitted, Identity, Standing};
use crate::sid::Sids;
use crate::table;
use crate::{AccountId, ConnId, Effects, Introduction, Nanos, Peer, Shard, ShardId};

/// One client connection.
pub(crate) struct Client {
    pub conn: ConnId,
    pub cid: u64,
    pub addr: SocketAddr,
    /// Whether INFO tells a client its address.
    pub(super) tells_address: bool,
    pub start_unix_ns: u64,
    pub start: Nanos,
    pub account: AccountId,
    pub standing: Standing,
    pub identity: Identity,
    /// Without one it may do anything.
    pub guard: Option<Box<Guard>>,
    /// What INFO says of TLS, if there is any.
    pub offer: Option<TlsOffer>,
    parser: ClientParser,
    /// Bytes not parsed yet, from `carry_at` on.
    carry: Vec<u8>,
    carry_at: u32,
    /// Unparsed bytes below which parsing again is no use.
    need: u32,
    pub connect: Connect,
    pub connected: bool,
    /// Neither verbose nor pedantic, and wants its own messages: a publication needs no check.
    pub is_plain: bool,
    /// It has been told that the subject of the publication under way is wrong.
    pub told_invalid: bool,
    /// The operation that is looked at again is in the log already.
    pub is_traced: bool,
    pub(super) first_pong_sent: bool,
    pub sids: Sids,
    pub last_plan: Option<Rc<Plan>>,
    pub wait: Wait,
    /// Fences it waits for.
    pub fences: u32,
    /// A queue member of it that has left is still promised to a publisher.
    pub promised: bool,
    /// Its `+OK` waits for that.
    pub ok_due: bool,
    /// Receivers it is slowed for.
    pub stalled_by: u32,
    pub stalled_since: Nanos,
    pub stalls: u64,
    /// What peers have promised or refused for the publication that waits.
    pub claims: Vec<Held>,
    /// None if mappings and imports never had a say about what it publishes.
    pub tied: Option<Box<TiedState>>,
    reads_paused: bool,
    /// It will send nothing more: over as soon as it waits for nothing.
    pub hung_up: bool,
    pub last_in: Nanos,
    /// When the oldest came in of what waits with it.
    kept_since: Nanos,
    pub last_activity: Nanos,
    pub pings_out: u32,
    pub ping_sent_at: Nanos,
    /// Earlier ping timers of this connection are void.
    pub ping_due: Nanos,
    pub rtt: Nanos,
    pub in_msgs: u64,
    pub in_bytes: u64,
}

// Of the 1 KiB that an idle connection may cost.
const _: () = assert!(size_of::<Client>() <= 392);

/// What it publishes where mappings or imports have a say.
#[derive(Default)]
pub(crate) struct TiedState {
    /// What is decided of a publication that waits.
    pub begun: Option<Begun>,
    /// The plan of its last subject.
    pub last: Option<Rc<Plan>>,
}

/// What a peer was asked for a publication: one delivery to a group, or to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub shard: ShardId,
    /// None is plain subscriptions, of which nothing is held.
    pub queue: Option<Box<[u8]>>,
    /// Which of the publication's legs it is for.
    pub leg: u32,
    /// It said no: it is not asked again for this publication.
    pub refused: bool,
}

impl Held {
    /// The peer holds a delivery.
    pub fn is_held(&self) -> bool {
        self.queue.is_some() && !self.refused
    }
}

/// What a connection waits for before its next operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Nothing,
    /// Peers to catch up.
    Fence,
    /// The peer's answer to a claim.
    Claim(ShardId),
    /// What the peer says of a response.
    Answer(ShardId),
    /// Room in a ring.
    Lane,
    /// What it has shown of itself is looked at.
    Check,
    /// Its subscriptions to be taken back: it has said CONNECT again.
    Anew,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Done; the next one may be looked at, unless the connection waits or is over.
    Done,
    /// Not done: look at it again when the connection goes on.
    Again,
}

impl Client {
    pub fn new(conn: ConnId, peer: &Peer, now: Nanos) -> Client {
        Client {
            conn,
            cid: peer.cid,
            addr: peer.addr,
            tells_address: !peer.proxied,
            start_unix_ns: peer.start_unix_ns,
            start: now,
            account: AccountId::GLOBAL,
            standing: Standing::default(),
            identity: Identity::default(),
            guard: None,
            offer: peer.tls,
            parser: ClientParser::new(),
            carry: Vec::new(),
            carry_at: 0,
            need: 1,
            connect: Connect::default(),
            connected: false,
            is_plain: false,
            told_invalid: false,
            is_traced: false,
            first_pong_sent: false,
            sids: Sids::default(),
            last_plan: None,
            wait: Wait::Nothing,
            fences: 0,
            promised: false,
            ok_due: false,
            stalled_by: 0,
            stalled_since: 0,
            stalls: 0,
            claims: Vec::new(),
            tied: None,
            reads_paused: false,
            hung_up: false,
            last_in: now,
            kept_since: now,
            last_activity: now,
            pings_out: 0,
            ping_sent_at: 0,
            ping_due: 0,
            rtt: 0,
            in_msgs: 0,
            in_bytes: 0,
        }
    }

    /// It has published messages with so many bytes of payload.
    #[inline(always)]
    pub fn publishes(&mut self, msgs: u64, payload_bytes: u64, now: Nanos) {
        self.in_msgs = self.in_msgs.wrapping_add(msgs);
        self.in_bytes = self.in_bytes.wrapping_add(payload_bytes);
        self.last_activity = now;
    }

    /// It must not do anything now.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.wait != Wait::Nothing || self.stalled_by > 0
    }

    /// Does what it publishes on this subject go by its last plan, and need not be told of?
    #[inline(never)]
    pub fn maps(&self, subject: &[u8], traced: bool) -> bool {
        let is_last = |tied: &Rc<Plan>| {
            *tied.subject == *subject
                && self.last_plan.as_ref().is_some_and(|plan| tied.goes_by(plan))
        };
        !traced && self.last_tied().is_some_and(is_last)
    }

    /// The plan of the last subject that mappings or imports had a say about.
    #[inline]
    pub fn last_tied(&self) -> Option<&Rc<Plan>> {
        self.tied.as_ref()?.last.as_ref()
    }

    /// May an INFO come at any time?
    pub fn knows_news(&self) -> bool {
        self.first_pong_sent && self.connect.protocol >= 1
    }

    /// Of an operation that is not whole.
    pub fn unfinished_line(&self) -> Option<(&'static str, &[u8])> {
        self.parser.control_line(self.carry.get(self.carry_at as usize..)?)
    }

    fn unparsed(&self) -> usize {
        self.carry.len() - self.carry_at as usize
    }

    /// Keeps bytes for later.
    fn keep(&mut self, bytes: &[u8]) {
        let at = self.carry_at as usize;
        if at > 0 && at >= self.carry.len() / 2 {
            self.carry.drain(..at);
            self.carry_at = 0;
        }
        if !self.is_in() {
            let spare = self.carry.capacity() - self.carry.len();
            if spare < bytes.len() {
                // No doubling: a connection that nobody knows costs little.
                self.carry.reserve_exact(bytes.len().max(512));
            }
        } else if self.need as usize >= WHOLE_BYTES_MIN
            && self.carry.capacity() - self.carry.len() < bytes.len()
        {
            let missing = (self.need as usize).saturating_sub(self.unparsed());
            // What it has doubled, at most, so that it seldom grows.
            let room = missing.min(WHOLE_BYTES_MAX.max(self.carry.len()));
            self.carry.reserve_exact(bytes.len().max(room));
        }
        self.carry.extend_from_slice(bytes);
    }

    /// `User "alice"`, as log lines call who it is.
    pub fn described_user(&self) -> String {
        let name = wire::quoted(self.identity.name().as_bytes());
        match self.identity.label().split_once(':') {
            Some(("nkey", _)) => format!("Nkey {name}"),
            Some(("user", _)) => format!("User {name}"),
            _ if self.identity.label() == "token" => format!("Token {name}"),
            _ => "User \"N/A\"".to_string(),
        }
    }

    /// `v1.2.3:go:name`, as log lines show a client, without what it has not said; empty until it
    /// is in.
    pub fn described(&self) -> String {
        if !self.connected || !self.is_in() {
            return String::new();
        }
        let version = self.connect.version();
        let version = if version.is_empty() { String::new() } else { format!("v{version}") };
        let said = [&*version, self.connect.lang(), self.connect.name()];
        said.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(":")
    }
}

impl Shard {
    /// A client is there: greet it.
    pub(crate) fn open(&mut self, conn: ConnId, peer: &Peer, out: &mut Effects) {
        self.outbound.open(conn, self.now);
        table::fill_to(&mut self.clients, conn.index(), || None);
        debug_assert!(self.clients[conn.index()].is_none(), "a slot is free when it is given out");
        self.clients[conn.index()] = Some(Box::new(Client::new(conn, peer, self.now)));
        self.figures.connections += 1;
        self.figures.connections_total += 1;
        self.note(conn, Event::Created, out);
        self.begin_login(conn);
        if peer.tls.is_none_or(|offer| !offer.first) {
            self.send_info(conn, out);
        }
        if peer.refused {
            let text = error_text::MAXIMUM_CONNECTIONS;
            self.note(conn, Event::Fault(text.to_string()), out);
            self.send_err(conn, text, out);
            self.close(conn, wire::CloseReason::MaximumConnectionsExceeded, out);
            return;
        }
        self.let_go(conn);
        if peer.tls.is_none() && !peer.proxied {
            self.begin(conn);
        }
    }

    /// It is known now whom a connection serves that may come from a proxy.
    pub(crate) fn introduced(&mut self, conn: ConnId, what: Introduction, out: &mut Effects) {
        let Some(client) = self.client(conn) else { return };
        client.tells_address = true;
        let is_plain = client.offer.is_none();
        match what {
            Introduction::Wrong => {
                return self.close(conn, wire::CloseReason::ProtocolViolation, out);
            }
            Introduction::Client(addr) => {
                let proxy = std::mem::replace(&mut client.addr, addr);
                self.aliases.entry(conn).or_default().proxy = Some(proxy);
            }
            Introduction::Itself => {}
        }
        if is_plain {
            self.begin(conn);
        }
    }

    /// Whatever had to be settled beneath the protocol is: from now on the client's time counts.
    pub(crate) fn begin(&mut self, conn: ConnId) {
        self.expect_login(conn);
        self.first_ping_timer(conn, false);
    }

    /// Bytes came at `at`: do what they say, or keep them.
    pub(crate) fn bytes(&mut self, conn: ConnId, at: Nanos, mut bytes: &[u8], out: &mut Effects) {
        let now = self.now;
        let Some(client) = self.client(conn) else { return };
        client.last_in = now;
        if client.is_waiting() {
            client.keep(bytes);
            self.limit_read_ahead(conn, out);
            return;
        }
        client.kept_since = at;
        self.outbound.since = at;
        while !bytes.is_empty() {
            let Some(client) = self.client(conn) else { return };
            if client.unparsed() == 0 && !client.is_waiting() {
                let used = self.run(conn, bytes, out);
                if let Some(client) = self.client(conn) {
                    client.keep(&bytes[used..]);
                }
                break;
            }
            if client.is_waiting() {
                client.keep(bytes);
                break;
            }
            let take = completing((client.need as usize).saturating_sub(client.unparsed()), bytes);
            client.keep(&bytes[..take]);
            bytes = &bytes[take..];
            self.run_carry(conn, out);
        }
        self.limit_read_ahead(conn, out);
    }

    fn limit_read_ahead(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(client) = self.client(conn) else { return };
        if client.wait == Wait::Check && client.unparsed() > UNCHECKED_BYTES_MAX {
            return self.turn_away(conn, out);
        }
        let waits = client.is_waiting() && client.unparsed() > READ_AHEAD_BYTES_MAX;
        if waits && !client.reads_paused {
            client.reads_paused = true;
            out.reads.push((conn, Reads::Pause));
        }
    }

    /// The connection need wait no longer: on with what it has sent meanwhile.
    pub(crate) fn go_on(&mut self, conn: ConnId, out: &mut Effects) {
        let since = match self.client(conn) {
            // If it has to wait again, then with what came last.
            Some(client) if !client.is_waiting() => {
                std::mem::replace(&mut client.kept_since, client.last_in)
            }
            _ => return,
        };
        self.outbound.since = since;
        self.run_carry(conn, out);
        let Some(client) = self.client(conn) else { return };
        if client.hung_up && !client.is_waiting() {
            return self.close(conn, wire::CloseReason::ClientClosed, out);
        }
        if client.reads_paused && !client.is_waiting() {
            client.reads_paused = false;
            out.reads.push((conn, Reads::Resume));
        }
    }

    /// Parses what was kept, as far as it goes.
    fn run_carry(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(client) = self.client(conn) else { return };
        if client.unparsed() < client.need.max(1) as usize {
            return;
        }
        let carry = std::mem::take(&mut client.carry);
        let at = client.carry_at as usize;
        let used = self.run(conn, &carry[at..], out);
        let Some(client) = self.client(conn) else { return };
        if at + used == carry.len() {
            client.carry_at = 0;
        } else {
            client.carry = carry;
            client.carry_at = (at + used) as u32;
        }
    }

    /// Does the operations at the start of `bytes`; gives how many bytes are done with.
    fn run(&mut self, conn: ConnId, bytes: &[u8], out: &mut Effects) -> usize {
        let Some(client) = self.client(conn) else { return bytes.len() };
        let mut parser = client.parser.clone();
        client.need = 1;
        let (mut admitted, mut limits) = (self.admitted(conn), self.limits(conn));
        let mut at = 0;
        while at < bytes.len() {
            if admitted.is_none() && parser.begins_without_connect(&bytes[at..]) {
                if !self.let_in_silently(conn, out) {
                    // It is gone, or waits with what it has said.
                    return if self.client(conn).is_some() { at } else { bytes.len() };
                }
                (admitted, limits) = (self.admitted(conn), self.limits(conn));
            }
            if let Some(who) = admitted
                && let Some((publication, used)) = parser.whole_publication(&bytes[at..], &limits)
            {
                at += self.publish_whole(who, &publication, &bytes[at..], used, out);
                let Some(client) = self.client(conn) else { return bytes.len() };
                if client.is_waiting() {
                    break;
                }
                continue;
            }
            let before = parser.clone();
            match parser.next_slow(&bytes[at..], &limits) {
                Next::Op { op, used } => {
                    let flow = self.operate(conn, admitted, &op, out);
                    if !self.ended.is_empty() {
                        self.end_subscriptions(out);
                    }
                    let traces = self.options.trace;
                    let Some(client) = self.client(conn) else { return bytes.len() };
                    let waits = client.is_waiting();
                    match flow {
                        Flow::Done => at += used,
                        Flow::Again => (parser, client.is_traced) = (before, traces),
                    }
                    if waits {
                        break;
                    }
                    if matches!(op, ClientOp::Connect(_)) {
                        (admitted, limits) = (self.admitted(conn), self.limits(conn));
                    }
                }
                Next::Skip { used } => at += used,
                Next::More { need } => {
                    self.look_ahead(conn, &parser, &bytes[at..], out);
                    if let Some(client) = self.client(conn) {
                        client.need = u32::try_from(need).unwrap_or(u32::MAX);
                    }
                    break;
                }
                Next::Fault(fault) => {
                    if matches!(fault, Fault::UnknownOperation { .. }) {
                        self.look_ahead(conn, &before, &bytes[at..], out);
                    }
                    if !matches!(fault, Fault::ControlLineTooLong { .. }) {
                        self.trace_line(conn, before.control_line(&bytes[at..]), out);
                    }
                    self.fault(conn, &fault, out);
                    return bytes.len();
                }
            }
        }
        if let Some(client) = self.client(conn) {
            client.parser = parser;
        }
        at
    }

    /// A pedantic client hears of a wrong subject at the control line, before the payload.
    fn look_ahead(&mut self, conn: ConnId, parser: &ClientParser, bytes: &[u8], out: &mut Effects) {
        let Some(client) = self.client(conn) else { return };
        if !client.connect.pedantic || client.told_invalid {
            return;
        }
        if parser
            .unfinished_publication(bytes)
            .is_some_and(|subject| !subject::valid_literal(subject))
        {
            client.told_invalid = true;
            self.send_err(conn, error_text::INVALID_PUBLISH_SUBJECT, out);
        }
    }

    /// A limit of its account, or of its user if that is the lower one.
    fn own_limits(
        &self,
        conn: ConnId,
        limit: impl Fn(&account::Limits) -> Option<u32>,
    ) -> Option<u32> {
        let client = self.clients.get(conn.index()).and_then(Option::as_ref)?;
        let account = self.options.access.account_at(client.account);
        let of_account = account.and_then(|account| limit(&account.limits));
        let of_user = client.identity.user.as_ref().and_then(|user| limit(&user.limits));
        of_account.into_iter().chain(of_user).min()
    }

    pub(super) fn payload_max(&self, conn: ConnId) -> usize {
        let own = self.own_limits(conn, |limits| limits.payload_max);
        own.map_or(self.options.payload_max, |max| self.options.payload_max.min(max as usize))
    }

    /// None is no limit.
    pub(crate) fn subscriptions_max(&self, conn: ConnId) -> Option<u32> {
        let all = Some(self.options.subscriptions_max).filter(|max| *max > 0);
        let own = self.own_limits(conn, |limits| limits.subscriptions_max);
        all.into_iter().chain(own).min()
    }

    fn limits(&self, conn: ConnId) -> Limits {
        let client = self.clients[conn.index()].as_ref();
        let is_in = client.is_some_and(|client| client.is_in());
        let line_max = if is_in { usize::MAX } else { GREETING_BYTES_MAX };
        Limits {
            control_line_max: self.options.control_line_max.min(line_max),
            payload_max: self.payload_max(conn),
            headers: self.options.headers && client.is_some_and(|client| client.connect.headers),
        }
    }

    fn operate(
        &mut self,
        conn: ConnId,
        admitted: Option<Admitted>,
        op: &ClientOp<'_>,
        out: &mut Effects,
    ) -> Flow {
        if let (ClientOp::Pub(publication), Some(who)) = (op, admitted) {
            return self.publish_once(who, publication, true, out);
        }
        if self.options.trace {
            self.trace_in(conn, op, out);
        }
        let Some(who) = admitted else {
            if let ClientOp::Connect(json) = op {
                return self.connect(conn, json, out);
            }
            self.turn_away(conn, out);
            return Flow::Done;
        };
        match op {
            ClientOp::Sub { subject, queue, sid } => {
                return self.subscribe(who, subject, *queue, sid, out);
            }
            ClientOp::Unsub { sid, max } => return self.unsubscribe(who, sid, *max, out),
            ClientOp::Ping => self.ping(who, out),
            ClientOp::Pong => self.pong(who),
            ClientOp::Connect(json) => return self.connect(conn, json, out),
            ClientOp::Err(text) => self.fault(conn, &Fault::client_err(text), out),
            ClientOp::Info(_) | ClientOp::Ok | ClientOp::Pub(_) => {}
        }
        Flow::Done
    }

    fn connect(&mut self, conn: ConnId, json: &[u8], out: &mut Effects) -> Flow {
        let headers = self.options.headers;
        let now = self.now;
        let Some(client) = self.client(conn) else { return Flow::Done };
        let (connect, secrets) = match wire::connect::parse(&client.connect, json) {
            Ok(said) => said,
            Err(fault) => {
                self.fault(conn, &fault, out);
                return Flow::Done;
            }
        };
        let again = client.connected;
        if again {
            if self.begins_anew(conn, out) {
                return Flow::Again;
            }
            // What it still had to get may have been too much.
            if self.client(conn).is_none() {
                return Flow::Done;
            }
            self.keep_label(conn);
        }
        let Some(client) = self.client(conn) else { return Flow::Done };
        let understands = connect.headers && headers;
        client.is_plain = !connect.verbose && !connect.pedantic && connect.echo;
        client.connected = true;
        client.last_activity = now;
        // As nats-server does: INFO out, CONNECT in is a first idea of the round trip.
        client.rtt = now.saturating_sub(client.start).max(1);
        if let Some(receiver) = self.outbound.receiver(conn) {
            receiver.headers = understands;
        }
        self.log_in(conn, connect, &secrets, again, out);
        Flow::Done
    }

    /// The client is who it says it is.
    pub(crate) fn connected(&mut self, conn: ConnId, out: &mut Effects) {
        let headers = self.options.headers;
        let Some(client) = self.client(conn) else { return };
        let verbose = client.connect.verbose;
        if let Err(fault) = client.connect.check(headers) {
            return match fault {
                Fault::Authorization => self.turn_away(conn, out),
                fault => self.fault(conn, &fault, out),
            };
        }
        self.first_ping_timer(conn, true);
        self.tell_of(conn, None, out);
        if verbose {
            self.send_ok(conn, out);
        }
        // Nobody stays with as many subscriptions as he may have, as in nats-server.
        if self.subscriptions_max(conn) == Some(0) {
            let (text, reason) = (
                error_text::MAXIMUM_SUBSCRIPTIONS,
                wire::CloseReason::MaximumSubscriptionsExceeded,
            );
            self.end_with(conn, text, reason, out);
        }
    }

    fn ping(&mut self, who: Admitted, out: &mut Effects) {
        let conn = who.conn();
        if !self.park(conn, Why::Ping, out) {
            self.send_pong(conn, out);
        }
    }

    fn pong(&mut self, who: Admitted) {
        let (conn, now) = (who.conn(), self.now);
        let Some(client) = self.client(conn) else { return };
        client.pings_out = 0;
        client.rtt = now.saturating_sub(client.ping_sent_at).max(1);
    }

    /// Makes the connection wait until peers have caught up. False if they have.
    pub(crate) fn park(&mut self, conn: ConnId, why: Why, out: &mut Effects) -> bool {
        self.announce(out);
        if !self.fences.wait(conn, why, out) {
            return false;
        }
        if let Some(client) = self.client(conn) {
            client.wait = Wait::Fence;
            client.fences += 1;
        }
        true
    }

    /// A lane is full: the connection must not add to it.
    pub(super) fn must_wait_for_lanes(&mut self, conn: ConnId, out: &mut Effects) -> bool {
        let account = self.account_of(conn);
        if self.accounts[account.0 as usize].unannounced() >= TOLD_AT_ONCE {
            self.announce(out);
        }
        out.any_congests() && self.wait_for_lane(conn)
    }
}

/// How much of `bytes` to add to kept ones that lack `missing`: just that, or up to the end of a
/// control line.
fn completing(missing: usize, bytes: &[u8]) -> usize {
    let wanted = if missing > 1 {
        missing
    } else {
        bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1)
    };
    wanted.min(bytes.len())
}
