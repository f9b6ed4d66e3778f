//! `ringbus-bench`: a load generator for any server that speaks NATS, and a fair comparison of
//! several. See the README beside it.

mod certificate;
mod compare;
mod floor;
mod load;
mod machine;
mod nats_bench;
mod plan;
mod probe;
mod progress;
mod report;
mod results;
mod scenario;
mod servers;
mod siege;
mod stamp;
mod stats;
mod sys;
mod target;
mod template;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "ringbus-bench", version, about = "Measures servers that speak NATS")]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run scenarios against servers in turn, and write a report
    Run {
        /// TCP congestion control of the generator's and the floor's sockets, such as cubic
        /// (default: the host's); a server's sockets stay with the host's
        #[arg(long, value_name = "NAME")]
        congestion: Option<String>,
        #[command(flatten)]
        run: Box<RunArgs>,
    },
    /// Run nats.go's own nats-bench against servers in turn, and write a report
    NatsBench {
        /// Path of nats-bench
        #[arg(long)]
        program: PathBuf,
        /// Publications, as a share of what is usual
        #[arg(long, default_value_t = 1.0)]
        share: f64,
        #[command(flatten)]
        run: Box<RunArgs>,
    },
    /// List the scenarios
    List {
        /// Folder of scenario files
        #[arg(long, default_value = "bench/scenarios")]
        scenarios: PathBuf,
    },
    /// Write the table, and beside the JSON file the page, of a report again
    Show {
        /// A JSON file of an earlier run
        file: PathBuf,
    },
    /// Attack servers, and see what becomes of them and their healthy clients
    Siege(SiegeArgs),
    /// Serve as the yardstick: forward bytes with as little thought as possible
    Floor {
        /// Port on 127.0.0.1
        #[arg(long)]
        port: u16,
        /// TCP congestion control of its sockets (default: the host's)
        #[arg(long, value_name = "NAME")]
        congestion: Option<String>,
    },
}

#[derive(Args)]
struct RunArgs {
    /// Scenarios by name; all of them if none is named
    names: Vec<String>,
    /// Only the scenarios marked quick
    #[arg(long)]
    quick: bool,
    /// Scenarios by name, as the words after `run`
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Also the scenarios that take minutes
    #[arg(long)]
    slow: bool,
    /// Folder of scenario files
    #[arg(long, default_value = "bench/scenarios")]
    scenarios: PathBuf,
    /// Servers by name, in this order (default: those that can be found)
    #[arg(long, value_delimiter = ',')]
    server: Vec<String>,
    /// A TOML file of further servers
    #[arg(long)]
    servers: Option<PathBuf>,
    /// Path of ringbus
    #[arg(long, env = "RINGBUS", default_value = "target/release/ringbus")]
    ringbus: PathBuf,
    /// Shards of ringbus (default: one for each core of the server)
    #[arg(long)]
    ringbus_shards: Option<usize>,
    /// Path of nats-server
    #[arg(long, env = "NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Paths at which a second nats-server may be (the first that is there is called nats-debian)
    #[arg(
        long,
        env = "NATS_SERVER_DEBIAN",
        value_delimiter = ',',
        default_value = "/usr/sbin/nats-server,/usr/bin/nats-server"
    )]
    nats_debian: Vec<PathBuf>,
    /// The server the others are compared with; `nats` is the better nats-server, row by row
    #[arg(long, default_value = "nats")]
    reference: String,
    /// Runs of each server and scenario
    #[arg(long, short = 'n', default_value_t = 5)]
    runs: usize,
    /// Cores of the server (default: the first one)
    #[arg(long, value_delimiter = ',')]
    server_cores: Vec<usize>,
    /// Cores of the generator, a thread each (default: the others)
    #[arg(long, value_delimiter = ',')]
    generator_cores: Vec<usize>,
    /// Seconds measured, instead of what each scenario says
    #[arg(long)]
    duration: Option<f64>,
    /// Seconds of warm-up, instead of what each scenario says (where it has one)
    #[arg(long)]
    warm_up: Option<f64>,
    /// Sleep between events even though the generator has cores of its own
    #[arg(long)]
    no_spin: bool,
    /// Parse and check every message wherever the payload has room for a stamp
    #[arg(long)]
    verify: bool,
    /// What the report is called
    #[arg(long, default_value = "bench")]
    name: String,
    /// Folder of reports
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

#[derive(Args)]
struct SiegeArgs {
    /// Attacks by name; all of them if none is named
    names: Vec<String>,
    /// Path of ringbus
    #[arg(long, env = "RINGBUS", default_value = "target/release/ringbus")]
    ringbus: PathBuf,
    /// Path of nats-server
    #[arg(long, env = "NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Where to write the table as Markdown
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Verb::Run { congestion, run } => self::run(congestion.as_deref(), &run),
        Verb::NatsBench { program, share, run } => nats_bench(&program, share, &run),
        Verb::List { scenarios } => list(&scenarios),
        Verb::Show { file } => show(&file),
        Verb::Siege(arguments) => siege(&arguments),
        Verb::Floor { port, congestion } => floor(port, congestion.as_deref()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("ringbus-bench: {e}");
            ExitCode::from(2)
        }
    }
}

/// Serves until it is ended.
fn floor(port: u16, congestion: Option<&str>) -> Result<bool, String> {
    congestion.map_or(Ok(()), machine::check_congestion)?;
    let _ = sys::raise_open_files();
    let serve = || {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
        congestion.map_or(Ok(()), |name| sys::choose_congestion(&listener, name))?;
        floor::serve(listener)
    };
    serve().map(|()| true).map_err(|e| e.to_string())
}

/// Whether every row had exactly what it was owed.
fn run(congestion: Option<&str>, arguments: &RunArgs) -> Result<bool, String> {
    congestion.map_or(Ok(()), machine::check_congestion)?;
    let scenarios = choose_scenarios(arguments)?;
    let servers = choose_servers(congestion, arguments)?;
    let (server_cores, generator_cores) = choose_cores(arguments)?;
    let shared_cores = server_cores.iter().any(|core| generator_cores.contains(core));
    if let Err(e) = sys::raise_open_files() {
        eprintln!("ringbus-bench: open files: {e}");
    }
    let options = compare::Options {
        runs: arguments.runs.max(1),
        server_cores,
        generator_cores,
        duration_s: arguments.duration,
        warm_up_s: arguments.warm_up,
        spin: !shared_cores && !arguments.no_spin,
        verify: arguments.verify,
        congestion: congestion.map(String::from),
    };
    let cores = (options.server_cores.len(), options.generator_cores.len());
    let congestion = options.congestion.clone();
    let blank = results::Report { congestion, ..blank_report(arguments, cores, shared_cores) };
    let keep = |scenarios: &[results::ScenarioResult], servers: &compare::Versions| {
        let (scenarios, servers) = (scenarios.to_vec(), servers.clone());
        let report = results::Report { scenarios, servers, ..blank.clone() };
        if let Err(e) = write_report(arguments, &report) {
            eprintln!("ringbus-bench: {e}");
        }
    };
    let (scenarios, servers) = compare::run(&scenarios, &servers, &options, keep)?;
    show_report(arguments, &results::Report { scenarios, servers, ..blank })
}

/// As [`run`], with nats-bench as the load.
fn nats_bench(program: &std::path::Path, share: f64, arguments: &RunArgs) -> Result<bool, String> {
    let mut servers = choose_servers(None, arguments)?;
    // The client wants more of a server than the floor knows.
    servers.retain(|spec| matches!(spec.role(), servers::Role::Ours | servers::Role::Nats));
    let (server_cores, generator_cores) = choose_cores(arguments)?;
    let shared_cores = server_cores.iter().any(|core| generator_cores.contains(core));
    let options = nats_bench::Options {
        program,
        runs: arguments.runs.max(1),
        share,
        server_cores: &server_cores,
        generator_cores: &generator_cores,
    };
    let cores = (server_cores.len(), generator_cores.len());
    let blank = blank_report(arguments, cores, shared_cores);
    let (scenarios, servers) = nats_bench::run(&servers, &options)?;
    show_report(arguments, &results::Report { scenarios, servers, ..blank })
}

/// A report with nothing found yet.
fn blank_report(
    arguments: &RunArgs,
    (server_cores, generator_cores): (usize, usize),
    shared_cores: bool,
) -> results::Report {
    results::Report {
        name: arguments.name.clone(),
        date: machine::today(),
        machine: machine::Machine::read(),
        server_cores,
        generator_cores,
        shared_cores,
        runs: arguments.runs.max(1),
        congestion: None,
        reference: arguments.reference.clone(),
        servers: Vec::new(),
        scenarios: Vec::new(),
    }
}

/// Prints a report and writes its files; whether every row had exactly what it was owed.
fn show_report(arguments: &RunArgs, report: &results::Report) -> Result<bool, String> {
    print!("{}", report::table::table(report));
    for file in write_report(arguments, report)? {
        println!("{}", file.display());
    }
    Ok(report.troubles().is_empty())
}

/// Writes the JSON file and the page.
fn write_report(arguments: &RunArgs, report: &results::Report) -> Result<Vec<PathBuf>, String> {
    let stem = arguments.results.join(format!("{}-{}", report.date, report.name));
    std::fs::create_dir_all(&arguments.results).map_err(|e| e.to_string())?;
    let json = serde_json::to_string_pretty(report).map_err(|e| e.to_string())?;
    let mut files = Vec::new();
    for (ending, text) in [("json", json + "\n"), ("html", report::html::page(report))] {
        let file = stem.with_added_extension(ending);
        std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}

/// Whether ringbus survived everything.
fn siege(arguments: &SiegeArgs) -> Result<bool, String> {
    let paths = servers::Paths {
        ringbus: arguments.ringbus.clone(),
        nats_server: arguments.nats_server.clone(),
        nats_debian: Vec::new(),
    };
    let mut servers = servers::built_in(&paths);
    servers.retain(|spec| spec.name != "floor" && spec.available());
    let all = sys::cores().map_err(|e| e.to_string())?;
    let own = if all.len() > 1 { &all[1..] } else { &all[..] };
    let rows = siege::run(&servers, &arguments.names, &all[..1], own)?;
    print!("{}", siege::text(&rows));
    if let Some(file) = &arguments.out {
        let about = format!(
            "{}: {}; server and attackers on a core each.",
            machine::today(),
            machine::Machine::read()
        );
        std::fs::write(file, siege::markdown(&rows, &about))
            .map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(rows.iter().all(|row| row.survived || row.server != "ringbus"))
}

fn choose_scenarios(arguments: &RunArgs) -> Result<Vec<scenario::Scenario>, String> {
    let mut all = scenario::load(&arguments.scenarios)?;
    let named: Vec<&String> = arguments.names.iter().chain(&arguments.rows).collect();
    if let Some(name) = named.iter().find(|n| !all.iter().any(|s| s.name == ***n)) {
        return Err(format!("no scenario '{name}'; 'list' shows them"));
    }
    all.retain(|s| named.is_empty() || named.contains(&&s.name));
    all.retain(|s| !arguments.quick || s.quick);
    all.retain(|s| arguments.slow || !s.slow || named.contains(&&s.name));
    if all.is_empty() { Err("no scenario chosen".into()) } else { Ok(all) }
}

fn choose_servers(
    congestion: Option<&str>,
    arguments: &RunArgs,
) -> Result<Vec<servers::Spec>, String> {
    let paths = servers::Paths {
        ringbus: arguments.ringbus.clone(),
        nats_server: arguments.nats_server.clone(),
        nats_debian: arguments.nats_debian.clone(),
    };
    let mut all = servers::built_in(&paths);
    if let Some(shards) = arguments.ringbus_shards {
        let words = all.iter_mut().flat_map(|spec| &mut spec.command);
        words.for_each(|word| *word = word.replace("{cores}", &shards.to_string()));
    }
    if let Some(name) = congestion {
        let floor = all.iter_mut().filter(|spec| spec.role() == servers::Role::Floor);
        let words = ["--congestion", name].map(String::from);
        floor.for_each(|spec| spec.command.extend(words.clone()));
    }
    all.extend(servers::installed(&paths));
    if let Some(file) = &arguments.servers {
        all.extend(servers::from_file(file)?);
    }
    if !arguments.server.is_empty() {
        let find = |name: &String| {
            let found = all.iter().find(|spec| spec.name == *name).cloned();
            let found = found.ok_or_else(|| format!("no server '{name}'"))?;
            match found.available() {
                true => Ok(found),
                false => Err(format!("{name}: {} not found", found.command[0])),
            }
        };
        return arguments.server.iter().map(find).collect();
    }
    all.retain(|spec| {
        let there = spec.available();
        if !there {
            eprintln!("{}: not found, left out", spec.name);
        }
        there
    });
    if all.is_empty() { Err("no server found".into()) } else { Ok(all) }
}

/// The server gets the first core and the generator the rest, unless told otherwise. With a
/// single core they share it, and the report says so.
fn choose_cores(arguments: &RunArgs) -> Result<(Vec<usize>, Vec<usize>), String> {
    let all = sys::cores().map_err(|e| e.to_string())?;
    let server = match &arguments.server_cores[..] {
        [] => all[..1].to_vec(),
        given => given.to_vec(),
    };
    let mut generator = match &arguments.generator_cores[..] {
        [] => all.iter().copied().filter(|core| !server.contains(core)).collect(),
        given => given.to_vec(),
    };
    if generator.is_empty() {
        generator = server.clone();
    }
    if let Some(core) = server.iter().chain(&generator).find(|core| !all.contains(core)) {
        return Err(format!("core {core} is not ours to use"));
    }
    Ok((server, generator))
}

fn list(folder: &std::path::Path) -> Result<bool, String> {
    for scenario in scenario::load(folder)? {
        let quick = if scenario.quick { "quick" } else { "" };
        println!("{:<18} {:<6} {}", scenario.name, quick, scenario.title);
    }
    Ok(true)
}

fn show(file: &std::path::Path) -> Result<bool, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let report: results::Report = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    print!("{}", report::table::table(&report));
    let page = file.with_extension("html");
    std::fs::write(&page, report::html::page(&report))
        .map_err(|e| format!("{}: {e}", page.display()))?;
    Ok(report.troubles().is_empty())
}
