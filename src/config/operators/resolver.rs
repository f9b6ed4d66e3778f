//! `resolver: MEMORY`, `URL(https://…)`, or `{ type: full, dir: ./jwt, … }`.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use runtime::identity::{Deletion, Place};

use crate::config::duration;
use crate::config::schema::unknown;
use crate::config::value::{Data, Fault, Map, Value};

const WRONG: &str = "error parsing account resolver, should be MEM or  URL(\"url\") or a map \
                     containing dir and type state=[FULL|CACHE])";
const KEYS: [&str; 8] =
    ["dir", "type", "allow_delete", "hard_delete", "limit", "ttl", "interval", "timeout"];

/// None stands for a mistake that was reported.
pub fn read(value: &Value, faults: &mut Vec<Fault>) -> Result<Option<Place>, Fault> {
    match &value.data {
        Data::Text(text) => word(text).map(Some).map_err(|why| value.fault(why)),
        Data::Map(map) => block(value, map, faults),
        other => {
            Err(value
                .fault(format!("error parsing operator resolver, wrong type: {}", other.noun())))
        }
    }
}

fn word(text: &str) -> Result<Place, String> {
    let upper = text.to_uppercase();
    if upper.contains("MEM") {
        return Ok(Place::Memory);
    }
    let at = upper.find("URL").ok_or(WRONG)?;
    // Upper case keeps the length of what an address may consist of.
    let rest = text.get(at + "URL".len()..).unwrap_or_default();
    let inside = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(url, _)| url);
    let url = inside.unwrap_or_default().trim().trim_matches('"');
    if url.is_empty() || url.contains(char::is_whitespace) {
        return Err("error parsing account resolver url".to_string());
    }
    // It may hold a secret: it is not shown.
    match url.split_once("://") {
        Some(("http" | "https", rest)) if has_port(rest) => Ok(Place::Url(url.to_string())),
        Some(("http" | "https", _)) => Err("account resolver url has a port that is none".into()),
        _ => Err("account resolver url must begin with http:// or https://".to_string()),
    }
}

/// Or none, which is the usual one.
fn has_port(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    port.is_none_or(|port| port.is_empty() || port.parse::<u16>().is_ok())
}

/// What a block says, before it is looked at as a whole.
#[derive(Default)]
struct Said {
    dir: String,
    kind: String,
    deletes: bool,
    hard: Option<bool>,
    limit: i64,
    ttl: i64,
    interval: i64,
}

fn block(value: &Value, map: &Rc<Map>, faults: &mut Vec<Fault>) -> Result<Option<Place>, Fault> {
    let mut said = Said::default();
    for (key, value) in map.iter() {
        said.take(key, value)?;
    }
    match said.kind.to_uppercase().as_str() {
        "MEM" | "MEMORY" => Ok(Some(Place::Memory)),
        "FULL" => {
            faults.extend(said.faults().into_iter().map(|why| value.fault(why)));
            let deletion = match (said.deletes, said.hard) {
                (false, _) => Deletion::Refused,
                (true, Some(true)) => Deletion::Removed,
                (true, _) => Deletion::Renamed,
            };
            Ok(Some(Place::Directory {
                path: PathBuf::from(&said.dir),
                tokens_max: usize::try_from(said.limit).unwrap_or(0),
                deletion,
            }))
        }
        "CACHE" => Err(value.fault(
            "resolver is not supported yet: type cache asks other servers, and this one runs \
             alone; write type: full",
        )),
        _ => Err(value.fault(WRONG)),
    }
}

impl Said {
    fn take(&mut self, key: &str, value: &Value) -> Result<(), Fault> {
        match key.to_lowercase().as_str() {
            "dir" => self.dir = text(key, value)?,
            "type" => self.kind = text(key, value)?,
            "allow_delete" => self.deletes = flag(key, value)?,
            "hard_delete" => self.hard = Some(flag(key, value)?),
            "limit" => match value.data {
                Data::Integer(limit) => self.limit = limit,
                _ => return Err(wrong(key, "a whole number", value)),
            },
            "ttl" => self.ttl = time(key, value)?,
            "interval" => self.interval = time(key, value)?,
            // How long other servers may take to answer; there are none.
            "timeout" => drop(time(key, value)?),
            _ if value.referenced.get() => {}
            _ => {
                let name = format!("resolver.{key}");
                return Err(value.fault(unknown("field", &name, KEYS.into_iter())));
            }
        }
        Ok(())
    }

    fn faults(&self) -> Vec<&'static str> {
        let mut faults = Vec::new();
        match Path::new(&self.dir).metadata() {
            _ if self.dir.is_empty() => {
                faults.push("dir has no value and needs to point to a directory");
            }
            Ok(found) if !found.is_dir() || found.permissions().readonly() => {
                faults.push("dir needs to point to an accessible directory");
            }
            _ => {}
        }
        if self.ttl != 0 {
            faults.push("FULL does not accept ttl");
        }
        if self.hard.is_some() && !self.deletes {
            faults.push("hard_delete has no effect without delete");
        }
        if self.interval < 0 || self.limit < 0 {
            faults.push("resolver interval and limit can not be negative");
        }
        faults
    }
}

fn wrong(key: &str, what: &str, value: &Value) -> Fault {
    value.fault(format!("resolver.{key} expects {what}, got {}", value.data.noun()))
}

fn text(key: &str, value: &Value) -> Result<String, Fault> {
    match &value.data {
        Data::Text(text) => Ok(text.clone()),
        _ => Err(wrong(key, "a string", value)),
    }
}

fn flag(key: &str, value: &Value) -> Result<bool, Fault> {
    match value.data {
        Data::Bool(on) => Ok(on),
        _ => Err(wrong(key, "true or false", value)),
    }
}

fn time(key: &str, value: &Value) -> Result<i64, Fault> {
    let text = text(key, value)?;
    duration::parse(&text).map_err(|why| value.fault(format!("resolver.{key}: {why}")))
}
