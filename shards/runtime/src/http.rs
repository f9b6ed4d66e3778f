//! The monitoring listener, on an executor of its own so that no operator delays a shard.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use futures_rustls::TlsAcceptor;
use glommio::channels::local_channel::{self, LocalSender};
use glommio::io::BufferedFile;
use glommio::net::{TcpListener as Listener, TcpStream};
use glommio::{GlommioError, Task, timer};
use monitor::{
    Framing, Monitor, Next, Question, Request, Requests, Response, Shared, Site, Step,
    SystemQuestion,
};
use shard::report::{Ask, News, Reload, Report, Wanted};

use crate::control::{Commons, Message, PLEAS_MAX, Plea};
use crate::executor::{self, Handle};
use crate::glance::Glance;
use crate::lanes::strike;
use crate::logins::Told;
use crate::process::{self, Process};
use crate::server::show_tls;
use crate::system;
use crate::tls::Tls;

/// Requests that may wait for the shards at once; further ones are answered with 503.
pub(crate) const REPORTS_MAX: usize = 64;
/// Connections served at once; further ones are closed.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may say nothing, and how long it may take a response.
const IDLE: Duration = Duration::from_secs(120);
/// How long all shards may take to report.
const REPORT_TIME_MAX: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 8 * 1024;
/// Changes of TLS that may wait to be taken notice of.
const TLS_CHANGES_MAX: usize = 16;

/// Answers about accounts' tokens that may wait to be told.
const TOLD_MAX: usize = 1024;

/// What the monitoring executor needs.
pub(crate) struct Http {
    /// Where the monitoring endpoints are, if anywhere.
    pub socket: Option<TcpListener>,
    pub site: Site,
    pub commons: Arc<Commons>,
    pub inputs: Inputs,
    /// Connections use TLS.
    pub secure: Option<Arc<Tls>>,
    /// Told by each shard when the system account is served, if there is one.
    pub serves: Option<Sender<()>>,
    /// How often it is told how many connections accounts have.
    pub recount: Duration,
}

/// What reaches it.
pub(crate) struct Inputs {
    pub reports: Receiver<Report>,
    pub news: Receiver<News>,
    pub changes: Receiver<Change>,
    /// Where to ask for the configuration to be read anew.
    pub pleads: Sender<Plea>,
}

/// Changes of a running server that monitoring has not taken note of; further ones wait.
pub(crate) const CHANGES_MAX: usize = 16;

/// What monitoring tells differently from here on.
pub(crate) enum Change {
    /// The configuration was loaded again.
    Reload {
        reload: Arc<Reload>,
        digest: String,
        tags: Vec<String>,
        metadata: BTreeMap<String, String>,
        write_timeout: String,
    },
    /// No new clients.
    LameDuck,
    /// The server ends as soon as the system account has been told, which this tells.
    Farewell(Sender<()>),
}

/// Ends the monitoring executor.
pub(crate) struct Stop {
    /// Ends it when it goes.
    tls: Sender<Option<Arc<Tls>>>,
    news: Arc<File>,
}

impl Stop {
    /// Returns at once.
    pub fn stop(self) {
        drop(self.tls);
        strike(&self.news);
    }

    /// What clients are offered has changed, and so have the server's certificates.
    pub fn secure(&self, tls: Option<Arc<Tls>>) {
        // Fails if it has ended already.
        let _ = self.tls.send(tls);
        strike(&self.news);
    }
}

/// Starts it.
pub(crate) fn spawn(http: Http) -> Result<(Handle, Stop), String> {
    let (tls, changes) = bounded(TLS_CHANGES_MAX);
    let news = http.commons.answers.arrived();
    let stop = Stop { tls, news };
    let handle = executor::builder("control", None)
        .spawn(move || async move {
            serve(http, changes).await.map_err(|error| format!("monitoring: {error}"))
        })
        .map_err(|error| format!("control: {error}"))?;
    Ok((handle, stop))
}

/// The state all monitoring tasks share.
pub(crate) struct Desk {
    pub monitor: Monitor,
    pub process: Process,
    pub commons: Arc<Commons>,
    /// Told by each shard when all know of its services.
    pub serving: Option<Sender<()>>,
    /// Requests to the system account that wait; somebody is about to answer them.
    pub questions: VecDeque<SystemQuestion>,
    pub answering: bool,
    /// Requests to read the configuration anew that are being answered, each by a task.
    pub reloads: usize,
    /// Told when the system account knows of the end.
    pub farewell: Option<Sender<()>>,
    /// Where to ask for the configuration to be read anew, and who waits for the outcome.
    pub pleads: Sender<Plea>,
    pub pleading: VecDeque<LocalSender<Result<(), String>>>,
    pub pleas_done: Sender<Result<(), String>>,
    /// Accounts that have more or fewer connections than was told; somebody is about to tell.
    pub recounted: BTreeSet<String>,
    pub recounting: bool,
    changes: Receiver<Change>,
    /// Where to leave what is to be told of accounts' tokens.
    pub told: Sender<Told>,
    tickets: u64,
    waiting: HashMap<u64, Waiting>,
    connections: usize,
    secure: Option<Arc<Tls>>,
    glances: Glances,
}

/// Reports that viewers share, one place for each kind.
struct Glances {
    figures: Rc<Glance>,
    open: Rc<Glance>,
    closed: Rc<Glance>,
}

impl Glances {
    fn new() -> Glances {
        Glances { figures: Glance::new(), open: Glance::new(), closed: Glance::new() }
    }

    fn of(&self, kind: Shared) -> Rc<Glance> {
        Rc::clone(match kind {
            Shared::Figures => &self.figures,
            Shared::Open => &self.open,
            Shared::Closed => &self.closed,
        })
    }
}

/// A request that waits for the shards.
struct Waiting {
    reports: Vec<Report>,
    done: LocalSender<Vec<Report>>,
}

async fn serve(http: Http, changes: Receiver<Option<Arc<Tls>>>) -> io::Result<()> {
    let news = http.commons.answers.arrived();
    let Inputs { reports, news: heard, changes: changed, pleads } = http.inputs;
    let (pleas_done, outcomes) = bounded(2 * PLEAS_MAX);
    let (told, telling) = bounded(TOLD_MAX);
    let desk = Rc::new(RefCell::new(Desk {
        monitor: Monitor::new(http.site),
        process: Process::new(),
        commons: http.commons,
        changes: changed,
        serving: http.serves,
        questions: VecDeque::new(),
        answering: false,
        reloads: 0,
        farewell: None,
        pleads,
        pleading: VecDeque::new(),
        pleas_done,
        recounted: BTreeSet::new(),
        recounting: false,
        told,
        tickets: 0,
        waiting: HashMap::new(),
        connections: 0,
        secure: http.secure,
        glances: Glances::new(),
    }));
    let tasks = start(http.socket, http.recount, &desk);
    let fd = news.try_clone()?.into_raw_fd();
    // SAFETY: the descriptor is nobody else's.
    let news = unsafe { BufferedFile::from_raw_fd(fd) };
    loop {
        match changes.try_recv() {
            Ok(tls) => {
                // There may be more that the same strike told of, the end among it.
                desk.borrow_mut().change_tls(tls);
                continue;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => break,
        }
        news.read_at(0, 8).await.map_err(io::Error::from)?;
        desk.borrow_mut().take_changes();
        while let Ok(report) = reports.try_recv() {
            desk.borrow_mut().file(report);
        }
        while let Ok(outcome) = outcomes.try_recv() {
            let pleading = desk.borrow_mut().pleading.pop_front();
            // Fails if nobody waits any more.
            let _ = pleading.map(|pleading| pleading.try_send(outcome));
        }
        while let Ok(news) = heard.try_recv() {
            system::hear(&desk, news);
        }
        telling.try_iter().for_each(|told| system::tell(&desk, told));
    }
    for task in tasks {
        task.cancel().await;
    }
    news.close().await.map_err(io::Error::from)
}

/// Starts what goes on beside the loop.
fn start(
    socket: Option<TcpListener>,
    recount: Duration,
    desk: &Rc<RefCell<Desk>>,
) -> Vec<Task<()>> {
    let mut tasks = Vec::new();
    if let Some(socket) = socket {
        // SAFETY: the descriptor is nobody else's any more.
        let listener = unsafe { Listener::from_raw_fd(socket.into_raw_fd()) };
        tasks.push(glommio::spawn_local(accept(listener, Rc::clone(desk))));
    }
    if desk.borrow().serving.is_some() {
        system::serve(&desk.borrow());
        tasks.push(glommio::spawn_local(system::beat(Rc::clone(desk))));
        tasks.push(glommio::spawn_local(system::recount_all(Rc::clone(desk), recount)));
    }
    tasks
}

async fn accept(listener: Listener, desk: Rc<RefCell<Desk>>) {
    loop {
        match listener.accept().await {
            Ok(stream) if desk.borrow().connections < CONNECTIONS_MAX => {
                desk.borrow_mut().connections += 1;
                let desk = Rc::clone(&desk);
                let task = async move {
                    if let Err(error) = receive(stream, &desk).await {
                        log::debug!("Monitoring connection: {error}");
                    }
                    desk.borrow_mut().connections -= 1;
                };
                glommio::spawn_local(task).detach();
            }
            Ok(_) => log::warn!("Monitoring has {CONNECTIONS_MAX} connections: one refused"),
            Err(error) => {
                log::error!("Temporary Monitoring Accept Error({error})");
                timer::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, with or without TLS.
async fn receive(stream: TcpStream, desk: &Rc<RefCell<Desk>>) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let secure = desk.borrow().secure.clone();
    let Some(tls) = secure else { return converse(stream, desk).await };
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.monitoring));
    let greeting = async { Ok::<_, GlommioError<()>>(acceptor.accept(stream).await) };
    let timeout = Duration::from_nanos(tls.settings.timeout_ns);
    match timer::timeout(timeout, greeting).await {
        Ok(stream) => converse(stream?, desk).await,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// What is said, until either side has had enough.
async fn converse<S>(mut stream: S, desk: &Rc<RefCell<Desk>>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut requests = Requests::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut out = Vec::new();
    loop {
        let framing = match requests.pull() {
            Next::More => {
                match stream.read(&mut buffer).await? {
                    0 => return Ok(()),
                    bytes => requests.push(&buffer[..bytes]),
                }
                continue;
            }
            Next::Refuse(response) => {
                response.write(Framing::LAST, now_unix_ns(), &mut out);
                Framing::LAST
            }
            Next::Request(request) => {
                let response = respond(&request, desk).await;
                for warning in &response.warnings {
                    log::warn!("{warning}");
                }
                response.write(request.framing, now_unix_ns(), &mut out);
                request.framing
            }
        };
        stream.write_all(&out).await?;
        stream.flush().await?;
        out.clear();
        if !framing.keep_alive {
            return stream.close().await;
        }
    }
}

async fn respond(request: &Request, desk: &Rc<RefCell<Desk>>) -> Response {
    desk.borrow_mut().take_changes();
    let step = desk.borrow_mut().monitor.ask(request);
    let question = match step {
        Step::Answer(response) => return response,
        Step::Need(question) => question,
    };
    let reports = match question.shared() {
        None => collect(question.wanted(), desk).await.map(Rc::new),
        Some(kind) => {
            let glance = desk.borrow().glances.of(kind);
            glance.look(collect(question.wanted(), desk)).await
        }
    };
    match reports {
        Some(reports) => desk.borrow_mut().answer(&question, &reports),
        None => unavailable(),
    }
}

/// One report of each shard. None if they can't be had.
pub(crate) async fn collect(wanted: Wanted, desk: &Rc<RefCell<Desk>>) -> Option<Vec<Report>> {
    let (ticket, answer) = desk.borrow_mut().ask(&wanted)?;
    let in_time =
        timer::timeout(REPORT_TIME_MAX, async { Ok::<_, GlommioError<()>>(answer.recv().await) });
    let reports = in_time.await;
    desk.borrow_mut().waiting.remove(&ticket);
    reports.ok().flatten()
}

impl Desk {
    fn change_tls(&mut self, tls: Option<Arc<Tls>>) {
        show_tls(self.monitor.site_mut(), tls.as_deref());
        if self.secure.is_some() && tls.is_some() {
            self.secure = tls;
        }
    }

    fn take_changes(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            match change {
                Change::LameDuck => {
                    self.monitor.set_accepting(false);
                    system::tell_end(self, "LAMEDUCK");
                }
                Change::Farewell(done) => system::say_farewell(self, done),
                Change::Reload { reload, digest, tags, metadata, write_timeout } => {
                    let site = self.monitor.site_mut();
                    (site.host, site.port) = (reload.host.clone(), reload.port);
                    site.write_timeout = write_timeout;
                    site.options = reload.options.clone();
                    site.auth_timeout_s = site.options.access.auth_timeout_ns as f64 / 1e9;
                    site.config_digest = digest;
                    site.config_load_unix_ns = now_unix_ns();
                    site.tags = tags;
                    site.metadata = metadata;
                }
            }
        }
    }

    /// Asks all shards. None if too much is asked already or a shard is gone.
    fn ask(&mut self, wanted: &Wanted) -> Option<(u64, local_channel::LocalReceiver<Vec<Report>>)> {
        if self.waiting.len() >= REPORTS_MAX {
            return None;
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let (done, answer) = local_channel::new_bounded(1);
        self.waiting.insert(ticket, Waiting { reports: Vec::new(), done });
        for mailbox in &self.commons.mailboxes {
            let ask = Ask::Report { ticket, what: wanted.clone() };
            if mailbox.try_post(Message::Ask(ask)).is_err() {
                self.waiting.remove(&ticket);
                return None;
            }
        }
        Some((ticket, answer))
    }

    /// Takes one shard's report.
    fn file(&mut self, report: Report) {
        let ticket = report.ticket;
        let shards = self.commons.mailboxes.len();
        let Some(waiting) = self.waiting.get_mut(&ticket) else { return };
        waiting.reports.push(report);
        if waiting.reports.len() == shards
            && let Some(waiting) = self.waiting.remove(&ticket)
        {
            // Fails if the request was given up.
            let _ = waiting.done.try_send(waiting.reports);
        }
    }

    fn answer(&mut self, question: &Question, reports: &[Report]) -> Response {
        let mut process = self.process.figures();
        if question.wants_threads() {
            process.threads = process::threads();
        }
        self.monitor.answer(question, reports, &process, now_unix_ns())
    }
}

fn unavailable() -> Response {
    Response {
        status: 503,
        content_type: "text/plain; charset=utf-8",
        header: None,
        headers: &[],
        body: b"The server is busy or shutting down\n".to_vec(),
        warnings: Vec::new(),
    }
}

pub(crate) fn now_unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}
