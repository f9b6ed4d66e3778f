//! What a request to the system account says of itself, with nats-server's words for what is wrong.

use data_encoding::BASE64;
use serde_json::{Map, Value};

use crate::Endpoint;
use crate::absent::Absent;
use crate::accountz::AccstatzQuery;
use crate::connz::{ConnzQuery, State};
use crate::json;
use crate::query::Subscriptions;
use crate::site::Site;
use crate::subsz::SubszQuery;
use crate::system::Sought;

/// The members of the object in a request's body; none for an empty body.
pub(crate) struct Options {
    map: Map<String, Value>,
    /// What nats-server calls them.
    name: String,
}

const BEGINNING: &str = "looking for beginning of value";

impl Options {
    pub(crate) fn parse(body: &[u8], name: &str) -> Result<Options, String> {
        let options = |map| Options { map, name: name.to_owned() };
        if body.is_empty() {
            return Ok(options(Map::new()));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(options(map)),
            Ok(Value::Null) => Ok(options(Map::new())),
            Ok(other) => {
                Err(format!("json: cannot unmarshal {} into Go value of type {name}", kind(&other)))
            }
            Err(error) if error.is_eof() => Err("unexpected end of JSON input".to_owned()),
            Err(error) => {
                let at = error.column().saturating_sub(1).min(body.len() - 1);
                let trailing = error.to_string().starts_with("trailing");
                let place = if trailing { "after top-level value" } else { BEGINNING };
                Err(format!("invalid character {:?} {place}", char::from(body[at])))
            }
        }
    }

    fn get<T>(
        &self,
        key: &str,
        go: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        // Go takes keys in any case, the exact one first.
        let found = self.map.get(key).or_else(|| {
            self.map
                .iter()
                .find(|(other, _)| other.eq_ignore_ascii_case(key))
                .map(|(_, value)| value)
        });
        match found {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(format!(
                    "json: cannot unmarshal {} into Go struct field {}.{key} of type {go}",
                    kind(value),
                    self.name.trim_start_matches("server.")
                )),
            },
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<String, String> {
        let read = |value: &Value| value.as_str().map(str::to_owned);
        Ok(self.get(key, "string", read)?.unwrap_or_default())
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool, String> {
        Ok(self.get(key, "bool", Value::as_bool)?.unwrap_or_default())
    }

    pub(crate) fn int(&self, key: &str) -> Result<i64, String> {
        Ok(self.get(key, "int", Value::as_i64)?.unwrap_or_default())
    }

    pub(crate) fn uint64(&self, key: &str) -> Result<u64, String> {
        Ok(self.get(key, "uint64", Value::as_u64)?.unwrap_or_default())
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let read = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        };
        Ok(self.get(key, "[]string", read)?.unwrap_or_default())
    }

    /// Is the request for this server?
    pub(crate) fn concern(&self, site: &Site) -> Result<bool, String> {
        let exact = self.flag("exact_match")?;
        let mut hit = true;
        for (key, own) in
            [("server_name", &*site.server_name), ("host", &*site.host), ("cluster", "")]
        {
            let wanted = self.text(key)?;
            let same = if exact { wanted == own } else { own.contains(&wanted) };
            hit &= wanted.is_empty() || same;
        }
        for tag in self.texts("tags")? {
            hit &= site.tags.iter().any(|own| own.eq_ignore_ascii_case(&tag));
        }
        Ok(hit && self.text("domain")?.is_empty())
    }

    /// What NSUBS counts.
    pub(crate) fn sought(&self) -> Result<Sought, String> {
        let (account, subject) = (self.text("acc")?, self.text("subject")?);
        let queue = self.text("queue")?;
        let queue = BASE64.decode(queue.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Sought { account, subject, queue: json::text(&queue), connected_only: true })
    }

    fn page(&self) -> Result<(i64, i64), String> {
        Ok((self.int("offset")?, self.int("limit")?))
    }

    fn connz(&self, account: Option<&str>) -> Result<ConnzQuery, String> {
        let (subjects, detail) = (self.flag("subscriptions")?, self.flag("subscriptions_detail")?);
        let query = ConnzQuery {
            sort: self.text("sort")?.into_bytes(),
            auth: self.flag("auth")?,
            subscriptions: match (detail, subjects) {
                (true, _) => Subscriptions::Detail,
                (false, true) => Subscriptions::Subjects,
                (false, false) => Subscriptions::Hidden,
            },
            cid: self.uint64("cid")?,
            state: match self.get("state", "server.ConnState", Value::as_i64)?.unwrap_or_default() {
                1 => State::Closed,
                2 => State::Any,
                _ => State::Open,
            },
            user: self.text("user")?,
            account: account.map_or_else(|| self.text("acc"), |name| Ok(name.to_owned()))?,
            mqtt_client: self.text("mqtt_client")?,
            filter: self.text("filter_subject")?,
            ..ConnzQuery::default()
        };
        Ok(query.paged(self.page()?))
    }

    fn subsz(&self, account: Option<&str>) -> Result<SubszQuery, String> {
        let list = self.flag("subscriptions")? || account.is_some();
        let account = account.map_or_else(|| self.text("account"), |name| Ok(name.to_owned()))?;
        Ok(SubszQuery::new(list, self.page()?, self.text("test")?.into_bytes(), account))
    }

    /// The endpoint of this name and its options; `account` if it is asked of one account. None if
    /// nothing answers to it.
    pub(crate) fn endpoint(
        &self,
        name: &str,
        account: Option<&str>,
    ) -> Result<Option<Endpoint>, String> {
        Ok(Some(match name {
            "VARZ" => Endpoint::Varz,
            "CONNZ" => Endpoint::Connz(self.connz(account)?),
            "SUBSZ" => Endpoint::Subsz(self.subsz(account)?),
            "ROUTEZ" => Endpoint::Absent(Absent::Routez),
            "GATEWAYZ" => Endpoint::Absent(Absent::Gatewayz),
            "LEAFZ" => Endpoint::Absent(Absent::Leafz),
            // Whoever wants the leader only gets no answer from anybody else.
            "JSZ" if account.is_none() && self.flag("leader_only")? => return Ok(None),
            "JSZ" if account.is_none() => Endpoint::Absent(Absent::Jsz),
            "IPQUEUESZ" => Endpoint::Absent(Absent::Ipqueuesz),
            "RAFTZ" => Endpoint::Absent(Absent::Raftz),
            "ACCOUNTZ" => Endpoint::Accountz(self.text("account")?),
            "EXPVARZ" => Endpoint::DebugVars,
            "STATZ" => {
                let named = account.map(|name| vec![name.to_owned()]);
                let accounts = named.map_or_else(|| self.texts("accounts"), Ok)?;
                let unused = self.flag("include_unused")?;
                Endpoint::Accstatz(AccstatzQuery { accounts, unused })
            }
            _ => return Ok(None),
        }))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
