//! A server that runs: what signals ask of it, until it ends.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, never, select};
use runtime::tls::TlsSettings;
use runtime::{LameDuck, Server};

use crate::boot;
use crate::cli::Command;
use crate::config::options::Options;
use crate::config::reload;
use crate::engine;
use crate::files::{self, PortsFile};
use crate::logging::Logging;
use crate::notify;
use crate::signals::Event;

/// Everything that runs, and what it was started with.
pub struct Life {
    pub command: Command,
    pub options: Options,
    pub logging: Logging,
    pub server: Server,
    pub ports_file: Option<PortsFile>,
}

impl Life {
    /// Does what signals ask for, until one of them or a shard ends the server.
    ///
    /// # Errors
    /// Why the server ended out of order, one line.
    pub fn live(mut self, events: &Receiver<Event>) -> Result<(), String> {
        let ended = self.server.ended();
        let mut lame_duck = false;
        let mut pleas = self.server.pleas();
        let mut closing: Receiver<Instant> = never();
        loop {
            select! {
                recv(events) -> event => match event {
                    // A second one finds the first at work.
                    Ok(Event::Terminate) if lame_duck => {}
                    Ok(Event::Terminate | Event::Interrupt) | Err(_) => break,
                    Ok(Event::ReopenLog) => self.logging.reopen(),
                    Ok(Event::Reload) => drop(self.reload()),
                    Ok(Event::LameDuck) if lame_duck => {}
                    Ok(Event::LameDuck) => {
                        lame_duck = true;
                        closing = after(self.begin_lame_duck());
                    }
                },
                recv(pleas) -> plea => match plea {
                    Ok(plea) => plea.answer(self.reload()),
                    // Nobody can ask.
                    Err(_) => pleas = never(),
                },
                recv(closing) -> _ => {
                    closing = never();
                    log::info!("Closing existing clients");
                }
                recv(ended) -> _ => break,
            }
        }
        notify::stopping();
        log::info!("Initiating Shutdown...");
        self.server.shutdown();
        let ended = self.server.join();
        if let Some(Err(why)) = self.ports_file.take().map(PortsFile::remove) {
            log::error!("{why}");
        }
        log::info!("Server Exiting..");
        if let Err(why) = &ended {
            crate::logging::fatal!("{why}");
        }
        ended
    }

    /// Gives how long clients have before the first is closed.
    fn begin_lame_duck(&self) -> Duration {
        notify::stopping();
        log::info!("Entering lame duck mode, stop accepting new clients");
        let how = self.options.lame_duck;
        self.server.lame_duck(LameDuck {
            grace_ns: how.grace_ns,
            duration_ns: how.duration_ns - how.grace_ns,
        });
        Duration::from_nanos(how.grace_ns)
    }

    fn reload(&mut self) -> Result<(), String> {
        notify::reloading();
        let done = self.try_reload().inspect_err(|why| {
            log::error!("Failed to reload server configuration: {why}");
        });
        notify::ready();
        done
    }

    /// All of the file, or nothing of it.
    fn try_reload(&mut self) -> Result<(), String> {
        let Some(path) = &self.command.config else {
            let why = "can only reload config when a file is provided using -c or --config";
            return Err(why.to_string());
        };
        let (file, warnings) = boot::read(path)?;
        if !warnings.is_empty() {
            log::warn!("{warnings}");
        }
        let raw = file.raw.overlaid(self.command.raw.clone());
        let options = Options::resolve_after(&raw, Some(&*self.server.access()?))?;
        let lines = reload::differences(&self.options, &options)?;
        // What can fail comes first: certificates or a log that can't be had leave everything as it
        // was.
        let tls = options.tls.as_ref().map(TlsSettings::load).transpose()?;
        self.logging.configure(&options.log)?;
        let changed = engine::changed(&options, &file.digest, tls);
        let closed = self.server.reload(changed)?;
        if closed > 0 {
            log::info!("Closed {closed} connections to fall within max_connections");
        }
        self.move_files(&options);
        for line in lines {
            log::info!("{line}");
        }
        self.options = options;
        log::info!("Reloaded server configuration ({})", file.digest);
        Ok(())
    }

    fn move_files(&mut self, options: &Options) {
        if let Some(path) = &options.pid_file
            && options.pid_file != self.options.pid_file
            && let Err(error) = files::write_pid(path)
        {
            log::error!("Failed to write pidfile: {error}");
        }
        if options.ports_file_dir == self.options.ports_file_dir {
            return;
        }
        if let Some(Err(why)) = self.ports_file.take().map(PortsFile::remove) {
            log::error!("{why}");
        }
        let (clients, http) = (self.server.client_addr(), self.server.http_addr());
        self.ports_file = boot::write_ports(options, clients, http);
    }
}
