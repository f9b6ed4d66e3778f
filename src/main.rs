//! `ringbus`: a message bus that speaks NATS, one pinned shard per core. This binary turns the
//! operator's words into options; the engine is in `shards/`.

mod boot;
mod cli;
mod config;
mod cores;
mod engine;
mod files;
mod life;
mod logging;
mod notify;
mod signals;

use std::io::Write;
use std::process::ExitCode;

use cli::{Action, PROGRAM};

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Action::Print(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Action::Complain(complaint) => {
            eprintln!("{complaint}");
            print(&cli::usage());
            ExitCode::SUCCESS
        }
        Action::Refuse(reason) => refused(&reason),
        Action::Signal(request) => match cli::signal::send(&request) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => refused(&reason),
        },
        Action::Run(command) => match boot::run(*command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(boot::Failure::BeforeLogging(reason)) => refused(&reason),
            Err(boot::Failure::Logged) => ExitCode::FAILURE,
        },
    }
}

fn refused(reason: &str) -> ExitCode {
    eprintln!("{PROGRAM}: {reason}");
    ExitCode::FAILURE
}

/// A reader that has gone away is no reason to panic.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
