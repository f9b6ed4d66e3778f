//! What a request to the system account says of itself, with nats-server's words for what is wrong.

use serde_json::{Map, Value};

use crate::Endpoint;
use crate::absent::Absent;
use crate::accountz::AccstatzQuery;
use crate::connz::{ConnzQuery, State};
use crate::query::Subscriptions;
use crate::site::Site;
use crate::subsz::SubszQuery;

/// The members of the object in a request's body; none for an empty body.
pub(crate) struct Options(Map<String, Value>);

impl Options {
    pub(crate) fn parse(body: &[u8]) -> Result<Options, String> {
        if body.is_empty() {
            return Ok(Options(Map::new()));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Options(map)),
            Ok(Value::Null) => Ok(Options(Map::new())),
            Ok(other) => Err(format!("json: cannot unmarshal {} into Go value", kind(&other))),
            Err(error) if error.is_eof() => Err("unexpected end of JSON input".to_owned()),
            Err(error) => {
                let at = error.column().saturating_sub(1).min(body.len() - 1);
                let char = char::from(body[at]);
                Err(format!("invalid character {char:?} looking for beginning of value"))
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
        let found = self.0.get(key).or_else(|| {
            self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(key)).map(|(_, value)| value)
        });
        match found {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(format!(
                    "json: cannot unmarshal {} into Go struct field .{key} of type {go}",
                    kind(value)
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
            state: match self.int("state")? {
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
