//! The one place that calls the engine.

use std::convert::Infallible;
use std::net::SocketAddr;

use crate::config::options::Options;
use crate::cores::Placement;

/// Given at build time; a build from an archive has none.
pub const GIT_COMMIT: Option<&str> = option_env!("RINGBUS_GIT_COMMIT");

pub struct Server(Infallible);

impl Server {
    pub fn client_addr(&self) -> SocketAddr {
        match self.0 {}
    }

    pub fn http_addr(&self) -> Option<SocketAddr> {
        match self.0 {}
    }

    pub fn shutdown(&self) {
        match self.0 {}
    }

    pub fn join(self) -> Result<(), String> {
        match self.0 {}
    }
}

pub fn preflight(_placement: &Placement) -> Result<(), String> {
    Ok(())
}

pub fn start(
    _options: &Options,
    _digest: &str,
    _placement: Placement,
    _id: String,
) -> Result<Server, String> {
    Err("the engine is not part of this build yet".to_string())
}
