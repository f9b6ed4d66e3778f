//! Signals, turned into events on a channel.

use std::io;

use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// What an operator asks of the running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Interrupt,
    Terminate,
    ReopenLog,
    Reload,
    LameDuck,
}

/// Takes the signals over, for the rest of the process's life.
///
/// # Errors
/// The handlers can't be installed.
pub fn listen() -> io::Result<Receiver<Event>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP])?;
    let (sender, events) = crossbeam_channel::bounded(16);
    std::thread::Builder::new().name("signals".to_string()).spawn(move || {
        for signal in signals.forever() {
            let (name, event) = meaning(signal);
            log::info!("Trapped \"{name}\" signal");
            if sender.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(events)
}

/// The words Go has for a signal, and what it asks for.
fn meaning(signal: i32) -> (&'static str, Event) {
    match signal {
        SIGUSR1 => ("user defined signal 1", Event::ReopenLog),
        SIGUSR2 => ("user defined signal 2", Event::LameDuck),
        SIGHUP => ("hangup", Event::Reload),
        SIGTERM => ("terminated", Event::Terminate),
        _ => ("interrupt", Event::Interrupt),
    }
}
