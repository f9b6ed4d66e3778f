//! What a request is about.

use shard::report::Request;

use super::options::Options;
use super::{Deed, Encoding, Sought, SystemQuestion, What};
use crate::Monitor;
use crate::json;
use crate::query::Query;

/// What every server is asked by name, and all of them at once.
const SERVER_SERVICES: [&str; 15] = [
    "IDZ",
    "STATSZ",
    "VARZ",
    "SUBSZ",
    "CONNZ",
    "ROUTEZ",
    "GATEWAYZ",
    "LEAFZ",
    "ACCOUNTZ",
    "JSZ",
    "HEALTHZ",
    "PROFILEZ",
    "EXPVARZ",
    "IPQUEUESZ",
    "RAFTZ",
];
/// Where it says who asks from another account.
const REQUEST_INFO: &str = "Nats-Request-Info";
/// What is done to a server or to one of its clients.
const DEEDS: [&str; 3] = ["RELOAD", "KICK", "LDM"];
/// The options of requests that have none of their own.
const FILTER_TYPE: &str = "server.EventFilterOptions";
const ACCOUNT_SERVICES: [&str; 7] = ["SUBSZ", "CONNZ", "LEAFZ", "JSZ", "INFO", "STATZ", "CONNS"];

impl Monitor {
    /// The subjects whose messages are shown to [`Monitor::hear`], all in the system account.
    pub fn services(&self) -> Vec<String> {
        let id = &self.site.server_id;
        let mut subjects = vec!["$SYS.REQ.SERVER.PING".to_owned()];
        for name in SERVER_SERVICES {
            subjects.push(format!("$SYS.REQ.SERVER.PING.{name}"));
            subjects.push(format!("$SYS.REQ.SERVER.{id}.{name}"));
        }
        subjects.extend(DEEDS.map(|name| format!("$SYS.REQ.SERVER.{id}.{name}")));
        subjects.extend(ACCOUNT_SERVICES.map(|name| format!("$SYS.REQ.ACCOUNT.*.{name}")));
        subjects.extend(
            ["$SYS.REQ.ACCOUNT.NSUBS", "$SYS.REQ.USER.*.INFO", "$SYS.DEBUG.SUBSCRIBERS"]
                .map(str::to_owned),
        );
        subjects
    }

    /// Looks at a request. None if it gets no answer.
    pub fn hear(&self, request: &Request) -> Option<SystemQuestion> {
        let subject = str::from_utf8(&request.subject).ok()?;
        let mut reply = request.reply.clone();
        let tokens: Vec<&str> = subject.split('.').skip(1).collect();
        let statsz = matches!(tokens[..], ["REQ", "SERVER", "PING"] | [.., "STATSZ"]);
        if reply.is_empty() {
            if !statsz {
                return None;
            }
            reply = format!("$SYS.SERVER.{}.STATSZ", self.site.server_id).into_bytes();
        }
        let what = match self.understand(&tokens, statsz, request) {
            Ok(what) => what?,
            Err(text) => What::Wrong(400, text),
        };
        let encoding = match what {
            What::UserInfo { .. } => Encoding::Plain,
            _ => encoding(&request.header),
        };
        Some(SystemQuestion { what, reply, encoding })
    }

    fn understand(
        &self,
        tokens: &[&str],
        statsz: bool,
        request: &Request,
    ) -> Result<Option<What>, String> {
        match tokens {
            ["DEBUG", "SUBSCRIBERS"] => return Ok(Some(self.subscribers(request))),
            ["REQ", "USER", _, "INFO"] => {
                let info = user_info(&request.header);
                return Ok(Some(info.unwrap_or_else(|_| What::Wrong(400, String::new()))));
            }
            ["REQ", "SERVER", _, "IDZ"] => return Ok(Some(What::Idz)),
            ["REQ", "ACCOUNT", "NSUBS"]
            | ["REQ", "ACCOUNT", _, "CONNS"]
            | ["REQ", "SERVER", _, "KICK" | "LDM"] => return self.odd(tokens, &request.payload),
            _ => {}
        }
        let options = Options::parse(&request.payload, &options_type(tokens, statsz))?;
        if !options.concern(&self.site)? {
            return Ok(None);
        }
        if statsz {
            return Ok(Some(What::Statsz));
        }
        match tokens {
            ["REQ", "SERVER", _, "RELOAD"] => Ok(Some(What::Deed(Deed::Reload))),
            ["REQ", "SERVER", _, "PROFILEZ"] => Ok(Some(What::Profilez(options.text("name")?))),
            ["REQ", "SERVER", _, "HEALTHZ"] => Ok(Some(What::Health(health_options(&options)?))),
            ["REQ", "SERVER", _, name] => Ok(options.endpoint(name, None)?.map(What::Data)),
            ["REQ", "ACCOUNT", "PING", "STATZ"] => {
                Ok(options.endpoint("STATZ", None)?.map(What::Data))
            }
            ["REQ", "ACCOUNT", name, "INFO"] => Ok(Some(What::AccountInfo((*name).to_owned()))),
            ["REQ", "ACCOUNT", _, "JSZ"] => Ok(Some(What::AccountJsz)),
            ["REQ", "ACCOUNT", account, name] => {
                Ok(options.endpoint(name, Some(account))?.map(What::Data))
            }
            _ => Ok(None),
        }
    }

    /// A request that is not answered if its body makes no sense.
    fn odd(&self, tokens: &[&str], body: &[u8]) -> Result<Option<What>, String> {
        let Ok(options) = Options::parse(body, FILTER_TYPE) else { return Ok(None) };
        match tokens {
            ["REQ", "ACCOUNT", name, "CONNS"] => {
                let meant = options.text("acc").unwrap_or_default();
                let same = meant.is_empty() || meant == *name;
                Ok(same.then(|| What::AccountConns((*name).to_owned())))
            }
            _ if body.is_empty() => Ok(None),
            ["REQ", "ACCOUNT", "NSUBS"] => Ok(options.sought().ok().map(What::Subscribers)),
            [.., deed] => {
                let Ok(cid) = options.uint64("cid") else { return Ok(None) };
                let deed = if *deed == "KICK" { Deed::Kick(cid) } else { Deed::LameDuck(cid) };
                Ok(options.concern(&self.site)?.then_some(What::Deed(deed)))
            }
            [] => Ok(None),
        }
    }

    /// `subject [queue]`, of the account that asks.
    fn subscribers(&self, request: &Request) -> What {
        let text = json::text(&request.payload);
        let mut words = text.trim().split(' ').map(str::to_owned);
        let info =
            field(&request.header, REQUEST_INFO).and_then(|info| Options::parse(info, "").ok());
        let asks = info.and_then(|info| info.text("acc").ok()).filter(|name| !name.is_empty());
        What::Subscribers(Sought {
            account: asks.unwrap_or_else(|| self.site.system_account.clone()),
            subject: words.next().unwrap_or_default(),
            queue: words.next().unwrap_or_default(),
            connected_only: false,
        })
    }
}

/// What nats-server calls the options of a request; it names them when they are wrong.
fn options_type(tokens: &[&str], statsz: bool) -> String {
    let name = match tokens {
        _ if statsz => "STATSZ",
        ["REQ", "ACCOUNT", _, "INFO"] => return "server.AccInfoEventOptions".to_owned(),
        ["REQ", "ACCOUNT", _, "STATZ"] => return "server.AccountStatzEventOptions".to_owned(),
        [.., "RELOAD"] => return FILTER_TYPE.to_owned(),
        [.., name] => name,
        [] => "",
    };
    let (first, rest) = name.split_at(name.len().min(1));
    format!("server.{first}{}EventOptions", rest.to_ascii_lowercase())
}

/// What a service import says of who asks. Whoever asks in the system account itself is nobody.
fn user_info(header: &[u8]) -> Result<What, String> {
    let info = match header {
        [] => &[],
        _ => field(header, REQUEST_INFO).ok_or("nobody says who asks")?,
    };
    let options = Options::parse(info, "")?;
    let (user, account) = (options.text("user")?, options.text("acc")?);
    Ok(What::UserInfo { user, account, cid: options.uint64("id")? })
}

fn health_options(options: &Options) -> Result<Query, String> {
    let mut given = Vec::new();
    for name in ["account", "stream", "consumer"] {
        given.push((name.into(), options.text(name)?.into_bytes()));
    }
    given.push((b"details".to_vec(), options.flag("details")?.to_string().into_bytes()));
    Ok(Query::of(given))
}

/// The value of a header field. Its name is taken to the letter: what the server has set, it has
/// set under that name, and nothing that looks like it counts.
fn field<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        (line[..at] == *name.as_bytes()).then(|| line[at + 1..].trim_ascii())
    })
}

fn encoding(header: &[u8]) -> Encoding {
    let Some(value) = field(header, "Accept-Encoding") else { return Encoding::Plain };
    let value = json::text(value).to_ascii_lowercase();
    match value.as_str() {
        "" => Encoding::Plain,
        it if it.contains("snappy") || it.contains("s2") => Encoding::Snappy,
        it if it.contains("gzip") => Encoding::Gzip,
        _ => Encoding::Identity,
    }
}
