//! The configuration file: two syntaxes, one tree of values, one schema.

pub mod access;
pub mod accounts;
pub mod conf;
pub mod digest;
mod duration;
mod number;
mod operators;
pub mod options;
pub mod reload;
mod scan;
pub mod schema;
pub mod toml;
pub mod value;

use std::path::Path;

use options::Raw;
use value::Fault;

/// A configuration file, read and understood.
#[derive(Debug)]
pub struct File {
    pub raw: Raw,
    /// `sha256:…`, the text nats-server prints for the same file.
    pub digest: String,
    /// Why `-t` refuses a file the server starts with.
    pub warnings: Vec<Fault>,
}

/// Reads the file at `path`, in TOML when its name ends in `.toml`, else in the nats-server
/// grammar.
///
/// # Errors
/// Everything that is wrong with it: the warnings, then the errors, each in the file's order.
pub fn load(path: &Path, environment: conf::Environment<'_>) -> Result<File, Vec<Fault>> {
    let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let map = if is_toml { toml::parse_file(path) } else { conf::parse_file(path, environment) };
    let map = map.map_err(|fault| vec![fault])?;
    let mut findings = schema::read(&map);
    if map.is_empty() {
        findings
            .warnings
            .push(Fault::nowhere(format!("{}: config has no values or is empty", path.display())));
    }
    if findings.errors.is_empty() {
        return Ok(File {
            raw: findings.raw,
            digest: digest::digest(&map),
            warnings: findings.warnings,
        });
    }
    findings.warnings.append(&mut findings.errors);
    Err(findings.warnings)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twins;
