//! A whole server: its threads, how they begin and how they end.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use claims::ServerId;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use mesh::{Counter, Padded, Rate};
use shard::access::{Access, Secret};
use shard::limits::SHARDS_MAX;
use shard::report::{Ask, LameDuck, News, Reload, Report};
use shard::{Nanos, ServerInfo, Shard, ShardId};

use crate::control::{
    Answers, Commons, MESSAGES_MAX, Mailbox, Message, Order, PLEAS_MAX, Peers, Plea,
};
use crate::driver::Parts;
use crate::engine::Engine;
use crate::executor::{self, Birth, Farewell, Handle};
use crate::http::{self, Http, Inputs, REPORTS_MAX};
use crate::identity::Words;
use crate::identity::callout::Caller;
use crate::identity::desk::Desk;
use crate::lanes::{self, Bell, Peer, strike};
use crate::listener::{self, Listener};
use crate::logins::{self, Logins, Work};
use crate::preflight;
use crate::proofs::Proofs;
use crate::proxied::Proxied;
use crate::tls::{Secure, TIMEOUT_NS, Tls, TlsSettings};
use crate::words::Cause;

/// What an operator decides about a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect: a name or an address.
    pub listen_host: String,
    /// Where clients connect; 0 is any free port.
    pub listen_port: u16,
    /// Where monitoring is, if anywhere.
    pub http: Option<HttpSettings>,
    /// The CPU of each shard; as many shards as CPUs named. At least 1, at most
    /// [`SHARDS_MAX`].
    pub cores: Vec<usize>,
    /// Tie each shard to its CPU.
    pub pin: bool,
    /// How long a shard looks for work before it sleeps, nanoseconds. 0 on shared cores.
    pub spin_ns: u64,
    /// How long input from many connections may gather before it is looked at, nanoseconds. 0: not
    /// at all. Needs Linux 6.12.
    pub gather_ns: u64,
    /// What the server says it is.
    pub identity: Identity,
    /// `sha256:<hex>` of the configuration file; empty without one.
    pub config_digest: String,
    /// Where INFO sends clients, if not to where this server listens; port 0 is the one it does.
    pub advertise: Option<(String, u16)>,
    /// How monitoring calls what becomes of a client whose writes take too long; empty for nothing.
    pub write_timeout: String,
    /// What operators tell servers apart by; monitoring shows it.
    pub tags: Vec<String>,
    /// What operators tell servers apart by; monitoring shows it.
    pub metadata: BTreeMap<String, String>,
    /// Parts of nats-server that the operator switches; monitoring shows those it knows.
    pub feature_flags: BTreeMap<String, bool>,
    /// The limits of the engine.
    pub shard: shard::Options,
    /// Clients may come from a proxy that says first where they really are.
    pub proxied: bool,
    /// How clients are to use TLS, if they are.
    pub tls: Option<TlsSettings>,
    /// Whose tokens let clients in.
    pub operators: Words,
    /// How often it is told how many connections accounts have, if anybody listens: [`RECOUNT`].
    pub recount: Duration,
}

/// As often as nats-server tells it.
pub const RECOUNT: Duration = Duration::from_secs(30);

/// Where the monitoring endpoints are.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// A name or an address.
    pub host: String,
    /// 0 is any free port.
    pub port: u16,
    /// What their paths begin with; usually empty.
    pub base_path: String,
    /// Over TLS, with the certificates of [`Settings::tls`].
    pub secure: bool,
}

/// What the server says it is.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Unique to this run.
    pub server_id: String,
    /// As configured; the id if it is not.
    pub server_name: String,
    /// The version of nats-server it stands in for.
    pub version: String,
    /// The commit it was built from; may be empty.
    pub git_commit: String,
    /// The toolchain it was built with.
    pub go: String,
    /// A public curve key, unique to this run.
    pub xkey: String,
    /// How it was called, without the secrets; monitoring shows it.
    pub command_line: Vec<String>,
    /// What the id and the curve key were made of: what signs and seals in their name.
    pub seeds: Option<(Secret, Secret)>,
}

/// How long the news of a shutdown may take to reach the system account.
pub const FAREWELL_TIME_MAX: Duration = Duration::from_millis(500);

/// How long a shard may take to take new settings.
const RELOAD_TIME_MAX: Duration = Duration::from_secs(10);

const LOGINS_SILENT: &str = "whoever knows the accounts did not answer in time";

/// What nats-server 2.15.1 says of its JetStream API, with JetStream off too.
const API_LEVEL: i32 = 5;

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// A port could not be listened on.
    Bind {
        /// As configured, `host:port`.
        address: String,
        /// It is the one of the monitoring endpoints.
        monitors: bool,
        /// What the system said.
        source: io::Error,
    },
    /// The settings make no sense.
    Settings(String),
    /// A thread could not be set up.
    Thread(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Bind { address, monitors, source } => {
                let cause = match source.raw_os_error() {
                    Some(_) => format!("listen tcp {address}: bind: {}", Cause(source)),
                    None => format!("listen tcp {address}: {source}"),
                };
                match monitors {
                    true => write!(
                        f,
                        "Can't start monitoring: can't listen to the monitor port: {cause}"
                    ),
                    false => write!(f, "Error listening on port: {address}, \"{cause}\""),
                }
            }
            StartError::Settings(why) => f.write_str(why),
            StartError::Thread(why) => write!(f, "cannot start: {why}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Bind { source, .. } => Some(source),
            StartError::Settings(_) | StartError::Thread(_) => None,
        }
    }
}

/// A running server. Ends with its last thread: see [`Server::shutdown`] and [`Server::join`].
pub struct Server {
    client_addr: SocketAddr,
    http_addr: Option<SocketAddr>,
    stopper: Stopper,
    threads: Threads,
    http: Option<(Handle, http::Stop)>,
    changes: Sender<http::Change>,
    pleas: Receiver<Plea>,
    /// There is a system account.
    serves: bool,
    /// Where clients find this server, unless it advertises another place.
    host_and_port: (String, u16),
}

/// What an operator changes in a running server.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// All options of the engine, changed or not.
    pub shard: shard::Options,
    /// See [`Settings::advertise`].
    pub advertise: Option<(String, u16)>,
    /// `sha256:<hex>` of the configuration file.
    pub digest: String,
    /// See [`Settings::write_timeout`].
    pub write_timeout: String,
    /// See [`Settings::tags`].
    pub tags: Vec<String>,
    /// See [`Settings::metadata`].
    pub metadata: BTreeMap<String, String>,
    /// What handshakes to come are made with, of monitoring too: see [`TlsSettings::load`].
    /// Connections keep what they have. `None` turns TLS off, for clients only.
    pub tls: Option<Tls>,
    /// See [`Settings::operators`].
    pub operators: Words,
}

/// Ends a server from another thread.
#[derive(Clone)]
pub struct Stopper {
    commons: Arc<Commons>,
}

impl Stopper {
    /// Stops accepting, closes every connection and ends all threads. Returns at once.
    pub fn shutdown(&self) {
        for mailbox in &self.commons.mailboxes {
            mailbox.post(Message::Ask(Ask::Shutdown));
        }
    }
}

impl Server {
    /// Where clients connect.
    pub fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Where monitoring is.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// A way to stop this server while another thread waits in [`Server::join`].
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Hears of the first shard that has ended: then the whole server does.
    pub fn ended(&self) -> Receiver<()> {
        self.threads.ended.clone()
    }

    /// No new clients; those there are told, and closed by and by. When the last one is gone the
    /// server ends. Returns at once.
    pub fn lame_duck(&self, how: LameDuck) {
        for mailbox in &self.stopper.commons.mailboxes {
            mailbox.post(Message::Ask(Ask::LameDuck(how)));
        }
        self.tell_monitoring(http::Change::LameDuck);
    }

    /// Other settings from here on, on every shard when this returns. Each shard changes between
    /// two of its steps, so that no operation of a client sees half of it. Gives how many
    /// connections were closed because there were more than may be.
    ///
    /// # Errors
    /// A shard that did not answer in time, or is gone.
    pub fn reload(&self, change: Changed) -> Result<u64, String> {
        let commons = &self.stopper.commons;
        let max = change.shard.connections_max.unwrap_or(u64::MAX);
        let mut excess = commons.open.iter().map(|open| open.value()).sum::<u64>();
        excess = excess.saturating_sub(max);
        let all = excess;
        let (host, port) = advertised(change.advertise, self.host_and_port.clone());
        let tls = change.tls.map(Arc::new);
        let mut reload = Reload { options: change.shard, host, port, excess: 0 };
        let (done, answers) = bounded(commons.mailboxes.len());
        let mut orders = Vec::with_capacity(commons.mailboxes.len());
        for (mailbox, open) in commons.mailboxes.iter().zip(&commons.open) {
            let share = excess.min(open.value());
            excess -= share;
            reload.excess = usize::try_from(share).unwrap_or(usize::MAX);
            let (tls, done) = (tls.clone(), done.clone());
            let order = Order { reload: Arc::new(reload.clone()), tls, done };
            orders.push((mailbox.clone(), order));
        }
        drop(done);
        reload.options.access =
            self.change_access(change.operators, &reload.options.access, orders)?;
        for _ in &commons.mailboxes {
            let answer = answers.recv_timeout(RELOAD_TIME_MAX);
            answer.map_err(|_| "a shard did not take the new settings in time".to_owned())?;
        }
        let Changed { digest, tags, metadata, write_timeout, .. } = change;
        let reload = Arc::new(reload);
        if let Some((_, monitoring)) = &self.http {
            monitoring.secure(tls);
        }
        self.tell_monitoring(http::Change::Reload {
            reload,
            digest,
            tags,
            metadata,
            write_timeout,
        });
        Ok(all)
    }

    /// What shards go by now: accounts whose tokens are known are among it.
    ///
    /// # Errors
    /// The thread that knows is gone, or did not answer in time.
    pub fn access(&self) -> Result<Arc<Access>, String> {
        let (answer, access) = bounded(1);
        self.stopper.commons.logins.leave(Work::Access(answer));
        access.recv_timeout(RELOAD_TIME_MAX).map_err(|_| LOGINS_SILENT.to_owned())
    }

    /// Gives out orders with the access that comes of `base` and all accounts whose tokens are
    /// known. Gives that access.
    fn change_access(
        &self,
        words: Words,
        base: &Arc<Access>,
        orders: Vec<(Mailbox, Order)>,
    ) -> Result<Arc<Access>, String> {
        let (done, answer) = bounded(1);
        let tell = move |access: &Arc<Access>| {
            for (mailbox, mut order) in orders {
                Arc::make_mut(&mut order.reload).options.access = Arc::clone(access);
                mailbox.post(Message::Reload(Box::new(order)));
            }
        };
        let (base, tell) = (Arc::clone(base), Box::new(tell));
        let reload = logins::Reload { words, base, tell, done };
        self.stopper.commons.logins.leave(Work::Reload(Box::new(reload)));
        answer.recv_timeout(RELOAD_TIME_MAX).map_err(|_| LOGINS_SILENT.to_owned())?
    }

    fn tell_monitoring(&self, change: http::Change) {
        // Fails if there is no monitoring.
        let _ = self.changes.send_timeout(change, RELOAD_TIME_MAX);
        strike(&self.stopper.commons.answers.arrived());
    }

    /// Where somebody in the system account asks for the configuration to be read anew. Each plea
    /// is to be answered, in turn.
    pub fn pleas(&self) -> Receiver<Plea> {
        self.pleas.clone()
    }

    /// As [`Stopper::shutdown`], after the system account has been told; that may take as long as
    /// [`FAREWELL_TIME_MAX`].
    pub fn shutdown(&self) {
        let (done, said) = bounded(1);
        if self.serves && self.changes.try_send(http::Change::Farewell(done)).is_ok() {
            strike(&self.stopper.commons.answers.arrived());
            select! {
                recv(said) -> _ => {}
                recv(self.threads.ended) -> _ => {}
                default(FAREWELL_TIME_MAX) => {}
            }
        }
        self.stopper.shutdown();
    }

    /// Waits until the server has ended. If one shard ends, all do.
    ///
    /// # Errors
    /// What went wrong with a thread, one line.
    pub fn join(self) -> Result<(), String> {
        let ended = self.threads.join(&self.stopper);
        let Some((handle, stop)) = self.http else { return ended };
        stop.stop();
        ended.and(outcome(handle))
    }
}

/// The shards' threads.
struct Threads {
    handles: Vec<Handle>,
    ended: Receiver<()>,
}

impl Threads {
    fn join(self, stopper: &Stopper) -> Result<(), String> {
        // An error means that all have ended.
        let _ = self.ended.recv();
        stopper.shutdown();
        self.handles.into_iter().map(outcome).fold(Ok(()), Result::and)
    }
}

fn outcome(handle: Handle) -> Result<(), String> {
    let name = handle.thread().name().unwrap_or("thread").to_owned();
    match handle.join() {
        Ok(result) => result,
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// Starts a server. It is listening when this returns.
///
/// # Errors
/// [`StartError`]: a port that cannot be had, or a thread that cannot be set up.
pub fn start(mut settings: Settings) -> Result<Server, StartError> {
    let shards = settings.cores.len();
    let desk = Desk::open(settings.operators.clone(), Arc::clone(&settings.shard.access));
    let desk = desk.map_err(StartError::Settings)?;
    settings.shard.access = desk.access();
    let mut options = settings.shard.clone();
    options.nonce_key = nonce_key();
    let identity = settings.identity.clone();
    let host = settings.listen_host.clone();
    let tls = settings.tls.as_ref().map(TlsSettings::load).transpose();
    let tls = tls.map_err(StartError::Settings)?.map(Arc::new);
    let (offered, rate) = (tls.clone(), Arc::new(Rate::default()));
    let (advertise, proxied) = (settings.advertise.clone(), settings.proxied);
    start_all(settings, desk, tls, move |id, port, now| {
        let listens = proxied.then(|| {
            let ip = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            SocketAddr::new(ip, port)
        });
        let (host, port) = advertised(advertise.clone(), (host.clone(), port));
        let info = ServerInfo {
            server_id: identity.server_id.clone(),
            server_name: identity.server_name.clone(),
            version: identity.version.clone(),
            proto: 1,
            git_commit: identity.git_commit.clone(),
            go: identity.go.clone(),
            host,
            port,
            headers: options.headers,
            max_payload: i32::try_from(options.payload_max).unwrap_or(i32::MAX),
            api_lvl: API_LEVEL,
            xkey: identity.xkey.clone(),
            ..ServerInfo::default()
        };
        let seed = RandomState::new().build_hasher().finish();
        let shard = Shard::new(id, shards, options.clone(), info, seed, now);
        let secure = Secure::new(shard, offered.clone(), Arc::clone(&rate));
        Proxied::new(secure, listens)
    })
}

/// 64 characters that nobody can guess.
fn nonce_key() -> shard::access::Secret {
    let mut bytes = [0u8; 32];
    // SAFETY: the kernel writes at most the array's length into it.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(got, bytes.len() as isize, "the kernel has no randomness to give");
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    shard::access::Secret::new(text)
}

/// As [`start`], with engines made by `make` from the shard's number, the client port and the time;
/// it is called on each shard's own thread. They have no TLS.
///
/// # Errors
/// As [`start`].
pub fn start_with<E, F>(settings: Settings, make: F) -> Result<Server, StartError>
where
    E: Engine + 'static,
    F: Fn(ShardId, u16, Nanos) -> E + Clone + Send + 'static,
{
    let desk = Desk::open(Words::default(), Arc::clone(&settings.shard.access));
    start_all(settings, desk.map_err(StartError::Settings)?, None, make)
}

fn start_all<E, F>(
    settings: Settings,
    desk: Desk,
    tls: Option<Arc<Tls>>,
    make: F,
) -> Result<Server, StartError>
where
    E: Engine + 'static,
    F: Fn(ShardId, u16, Nanos) -> E + Clone + Send + 'static,
{
    let shards = settings.cores.len();
    if !(1..=SHARDS_MAX).contains(&shards) {
        let why = format!("{shards} shards: from 1 to {SHARDS_MAX} are possible");
        return Err(StartError::Settings(why));
    }
    if tls.is_none() && settings.http.as_ref().is_some_and(|http| http.secure) {
        let why = "Can't start monitoring: TLS cert and key required for HTTPS";
        return Err(StartError::Settings(why.to_owned()));
    }
    preflight::open_files_for(settings.shard.connections_max.unwrap_or(u64::MAX));
    let (host, port) = (&settings.listen_host, settings.listen_port);
    let client = listener::bind(host, port).map_err(|source| no_port(host, port, false, source))?;
    let monitoring = match &settings.http {
        Some(HttpSettings { host, port, .. }) => Some(
            listener::bind_patiently(host, *port)
                .map_err(|source| no_port(host, *port, true, source))?,
        ),
        None => None,
    };
    let client_addr = address(&client)?;
    let (commons, messages, (reports, news)) = commons(&settings, desk).map_err(thread_error)?;
    let port = client_addr.port();
    let listener = Listener::new(client, settings.shard.connections_max);
    let threads = spawn_all(&settings, &commons, messages, port, make)?;
    let (changes, changed) = bounded(http::CHANGES_MAX);
    let (pleads, pleas) = bounded(PLEAS_MAX);
    let mut server = Server {
        client_addr,
        http_addr: None,
        stopper: Stopper { commons: Arc::clone(&commons) },
        threads,
        http: None,
        changes,
        pleas,
        serves: settings.shard.access.system.is_some(),
        host_and_port: (settings.listen_host.clone(), port),
    };
    server.http_addr = monitoring.as_ref().map(address).transpose()?;
    let inputs = Inputs { reports, news, changes: changed, pleads };
    let begun = begin_control(&mut server, &settings, (monitoring, tls), inputs);
    if let Err(why) = begun {
        server.shutdown();
        let ended = server.join();
        return Err(StartError::Thread(why.or(ended.err()).unwrap_or_default()));
    }
    commons.mailboxes[0].post(Message::Listen(Box::new(listener)));
    Ok(server)
}

/// Starts the control plane, if there is something for it to do, and waits until its services are
/// known on every shard: no client is let in before. Fails with the reason, if that is known.
fn begin_control(
    server: &mut Server,
    settings: &Settings,
    (socket, tls): (Option<TcpListener>, Option<Arc<Tls>>),
    inputs: Inputs,
) -> Result<(), Option<String>> {
    let serves = server.serves;
    if socket.is_none() && !serves {
        return Ok(());
    }
    let site = site(settings, server.client_addr, server.http_addr, tls.as_deref());
    let secure = tls.filter(|_| settings.http.as_ref().is_some_and(|http| http.secure));
    let commons = Arc::clone(&server.stopper.commons);
    let shards = settings.cores.len();
    let (told, serving) = bounded(shards);
    let told = serves.then_some(told);
    let recount = settings.recount;
    let http = Http { socket, site, commons, inputs, serves: told, secure, recount };
    server.http = Some(http::spawn(http).map_err(Some)?);
    for _ in 0..if serves { shards } else { 0 } {
        select! {
            recv(serving) -> told => told.map_err(|_| None)?,
            recv(server.threads.ended) -> _ => return Err(None),
        }
    }
    Ok(())
}

/// What INFO says of where this server is.
fn advertised(instead: Option<(String, u16)>, own: (String, u16)) -> (String, u16) {
    match instead {
        None => own,
        Some((host, 0)) => (host, own.1),
        Some(other) => other,
    }
}

fn no_port(host: &str, port: u16, monitors: bool, source: io::Error) -> StartError {
    let address = match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    StartError::Bind { address, monitors, source }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map(listener::plain).map_err(thread_error)
}

fn thread_error(error: io::Error) -> StartError {
    StartError::Thread(error.to_string())
}

/// What all share, each shard's messages, and what reaches the control plane.
type Channels = (Arc<Commons>, Vec<Receiver<Message>>, (Receiver<Report>, Receiver<News>));

fn commons(settings: &Settings, desk: Desk) -> io::Result<Channels> {
    let shards = settings.cores.len();
    let mut mailboxes = Vec::with_capacity(shards);
    let mut receivers = Vec::with_capacity(shards);
    for _ in 0..shards {
        let (messages, receiver) = bounded(MESSAGES_MAX);
        mailboxes.push(Mailbox { messages, bell: Bell::new()? });
        receivers.push(receiver);
    }
    let arrived = Arc::new(lanes::eventfd()?);
    let (answers, reports, news) = Answers::new(REPORTS_MAX * shards, arrived);
    let proofs = Proofs::start(&mailboxes)?;
    let caller = caller(settings, &desk).map_err(io::Error::other)?;
    let logins = Logins::start(desk, caller, &mailboxes)?;
    let commons = Commons {
        proofs,
        logins,
        origin: Instant::now(),
        mailboxes,
        open: (0..shards).map(|_| Padded(Counter::new(0))).collect(),
        dropped: Arc::default(),
        answers,
        spin_ns: settings.spin_ns,
        gather_ns: settings.gather_ns,
    };
    Ok((Arc::new(commons), receivers, (reports, news)))
}

/// Who asks a service about clients, if there is one.
fn caller(settings: &Settings, desk: &Desk) -> Result<Option<Caller>, String> {
    let (identity, access) = (&settings.identity, desk.access());
    let asks = access.callout.is_some() || access.believes_tokens();
    let Some((seed, xkey)) = identity.seeds.as_ref().filter(|_| asks) else {
        return Ok(None);
    };
    let about = ServerId {
        name: identity.server_name.clone(),
        host: settings.listen_host.clone(),
        id: identity.server_id.clone(),
        version: identity.version.clone(),
        tags: settings.tags.clone(),
        ..ServerId::default()
    };
    Caller::new(seed, xkey, about).map(Some)
}

/// Starts all shards: first every thread makes its ring, then each is told of all.
fn spawn_all<E, F>(
    settings: &Settings,
    commons: &Arc<Commons>,
    messages: Vec<Receiver<Message>>,
    port: u16,
    make: F,
) -> Result<Threads, StartError>
where
    E: Engine + 'static,
    F: Fn(ShardId, u16, Nanos) -> E + Clone + Send + 'static,
{
    let shards = settings.cores.len();
    let (address, addresses) = bounded(shards);
    let (told, ended) = bounded(shards);
    let mut births = Vec::with_capacity(shards);
    let mut threads = Threads { handles: Vec::with_capacity(shards), ended };
    for (shard, core) in settings.cores.iter().enumerate() {
        let (parts, receiver) = bounded(1);
        births.push(parts);
        let birth = Birth {
            core: settings.pin.then_some(*core),
            address: address.clone(),
            parts: receiver,
            farewell: Farewell { ended: told.clone() },
            shard,
        };
        let (make, commons) = (make.clone(), Arc::clone(commons));
        let make = move || make(ShardId(shard as u16), port, commons.now());
        threads.handles.push(executor::spawn(birth, make).map_err(StartError::Thread)?);
    }
    drop((address, told));
    let Some(peers) = introduce(addresses, commons) else {
        drop(births);
        let ended = threads.handles.into_iter().map(outcome).fold(Ok(()), Result::and);
        return Err(StartError::Thread(ended.err().unwrap_or_default()));
    };
    let ends = lanes::lanes(shards).into_iter().zip(messages);
    for (shard, (ends, messages)) in ends.enumerate() {
        let parts = Parts {
            id: ShardId(shard as u16),
            inbound: ends.inbound,
            outbound: ends.outbound,
            messages,
            commons: Arc::clone(commons),
            bounds: settings.shard.flow_bounds(shards),
        };
        // Fails if the thread is gone already; `join` will tell.
        let _ = births[shard].send((parts, Arc::clone(&peers)));
    }
    Ok(threads)
}

/// Waits for every shard's ring. None if there will be fewer.
fn introduce(addresses: Receiver<(usize, OwnedFd)>, commons: &Commons) -> Option<Peers> {
    let mut rings: Vec<Option<OwnedFd>> = commons.mailboxes.iter().map(|_| None).collect();
    for (shard, address) in addresses {
        rings[shard] = Some(address);
    }
    let mailboxes = commons.mailboxes.iter();
    let peers = rings
        .into_iter()
        .zip(mailboxes)
        .map(|(address, mailbox)| Some(Peer { bell: mailbox.bell.clone(), address: address? }));
    peers.collect::<Option<Vec<Peer>>>().map(Arc::new)
}

/// What a site says of TLS.
pub(crate) fn show_tls(site: &mut monitor::Site, tls: Option<&Tls>) {
    site.tls_required = tls.is_some_and(|tls| tls.offer().required);
    site.tls_verify = tls.is_some_and(|tls| tls.offer().verify);
    site.tls_timeout_s = tls.map_or(TIMEOUT_NS, |tls| tls.settings.timeout_ns) as f64 / 1e9;
    site.tls_cert_not_after_unix_s = tls.map(|tls| tls.not_after_unix_s.unsigned_abs());
}

fn site(
    settings: &Settings,
    client: SocketAddr,
    http: Option<SocketAddr>,
    tls: Option<&Tls>,
) -> monitor::Site {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start_unix_ns = since.as_nanos() as u64;
    let identity = settings.identity.clone();
    let (http_host, http_base_path) = settings
        .http
        .as_ref()
        .map_or_else(Default::default, |http| (http.host.clone(), http.base_path.clone()));
    let access = &settings.shard.access;
    let system_account = access.system.map_or("", |account| access.name_of(account)).to_owned();
    let secure = settings.http.as_ref().is_some_and(|http| http.secure);
    let monitored = |over_tls: bool| http.filter(|_| over_tls == secure).map_or(0, |a| a.port());
    let own = (settings.listen_host.clone(), client.port());
    let (host, port) = advertised(settings.advertise.clone(), own);
    let mut site = monitor::Site {
        system_account,
        server_id: identity.server_id,
        server_name: identity.server_name,
        version: identity.version,
        git_commit: identity.git_commit,
        toolchain: identity.go,
        host,
        port,
        http_host,
        http_port: monitored(false),
        https_port: monitored(true),
        http_base_path,
        options: settings.shard.clone(),
        auth_timeout_s: settings.shard.access.auth_timeout_ns as f64 / 1e9,
        start_unix_ns,
        config_load_unix_ns: start_unix_ns,
        config_digest: settings.config_digest.clone(),
        write_timeout: settings.write_timeout.clone(),
        tags: settings.tags.clone(),
        metadata: settings.metadata.clone(),
        command_line: identity.command_line,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        shards: settings.cores.len(),
        ..monitor::Site::default()
    };
    for (name, on) in &settings.feature_flags {
        if let Some(known) = site.feature_flags.get_mut(name) {
            *known = *on;
        }
    }
    show_tls(&mut site, tls);
    site
}
