//! An account's token as nats-server shows it once it has read it: the keys it knows, in its order,
//! without those that say nothing.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a key holds.
enum Shape {
    /// Anything; left out if it is empty.
    Plain,
    /// Text, there even if it is empty.
    Text,
    /// A number, there even if it is 0.
    Number,
    /// Of a service's samples: `headers`, or how many of a hundred.
    Sampling,
    /// A list, or its items in one text.
    Items,
    /// Keys of their own, there even if there are none.
    Keys(&'static [Key]),
    /// Keys of their own, if it is there.
    Maybe(&'static [Key]),
    /// A list of such.
    Each(&'static [Key]),
    /// Such by names.
    Named(&'static [Key]),
    /// Times by names.
    Times,
    /// Lists of such by names.
    NamedEach(&'static [Key]),
    /// Keys, alone or with a role.
    SigningKeys,
}

type Key = (&'static str, Shape);

use Shape::{
    Each, Items, Keys, Maybe, Named, NamedEach, Number, Plain, Sampling, SigningKeys, Text, Times,
};

const TOKEN: &[Key] = &[
    ("aud", Plain),
    ("exp", Plain),
    ("jti", Plain),
    ("iat", Plain),
    ("iss", Plain),
    ("name", Plain),
    ("nbf", Plain),
    ("sub", Plain),
    ("nats", Keys(ACCOUNT)),
];
const ACCOUNT: &[Key] = &[
    ("imports", Each(IMPORT)),
    ("exports", Each(EXPORT)),
    ("limits", Keys(LIMITS)),
    ("signing_keys", SigningKeys),
    ("revocations", Times),
    ("default_permissions", Keys(PERMISSIONS)),
    ("mappings", NamedEach(DESTINATION)),
    ("authorization", Keys(AUTHORIZATION)),
    ("trace", Maybe(TRACE)),
    ("cluster_traffic", Plain),
    ("description", Plain),
    ("info_url", Plain),
    ("tags", Plain),
    ("type", Plain),
    ("version", Plain),
];
const IMPORT: &[Key] = &[
    ("name", Plain),
    ("subject", Plain),
    ("account", Plain),
    ("token", Plain),
    ("to", Plain),
    ("local_subject", Plain),
    ("type", Plain),
    ("share", Plain),
    ("allow_trace", Plain),
];
const EXPORT: &[Key] = &[
    ("name", Plain),
    ("subject", Plain),
    ("type", Plain),
    ("token_req", Plain),
    ("revocations", Times),
    ("response_type", Plain),
    ("response_threshold", Plain),
    ("service_latency", Maybe(&[("sampling", Sampling), ("results", Text)])),
    ("account_token_position", Plain),
    ("advertise", Plain),
    ("allow_trace", Plain),
    ("description", Plain),
    ("info_url", Plain),
];
const LIMITS: &[Key] = &[
    ("subs", Plain),
    ("data", Plain),
    ("payload", Plain),
    ("imports", Plain),
    ("exports", Plain),
    ("wildcards", Plain),
    ("disallow_bearer", Plain),
    ("conn", Plain),
    ("leaf", Plain),
    ("mem_storage", Plain),
    ("disk_storage", Plain),
    ("streams", Plain),
    ("consumer", Plain),
    ("max_ack_pending", Plain),
    ("mem_max_stream_bytes", Plain),
    ("disk_max_stream_bytes", Plain),
    ("max_bytes_required", Plain),
    ("tiered_limits", Named(STORAGE)),
];
const STORAGE: &[Key] = &[
    ("mem_storage", Plain),
    ("disk_storage", Plain),
    ("streams", Plain),
    ("consumer", Plain),
    ("max_ack_pending", Plain),
    ("mem_max_stream_bytes", Plain),
    ("disk_max_stream_bytes", Plain),
    ("max_bytes_required", Plain),
];
const PERMISSIONS: &[Key] =
    &[("pub", Keys(RULES)), ("sub", Keys(RULES)), ("resp", Maybe(RESPONSES))];
const RULES: &[Key] = &[("allow", Plain), ("deny", Plain)];
const RESPONSES: &[Key] = &[("max", Number), ("ttl", Number)];
const DESTINATION: &[Key] = &[("subject", Text), ("weight", Plain), ("cluster", Plain)];
const AUTHORIZATION: &[Key] =
    &[("auth_users", Plain), ("allowed_accounts", Plain), ("xkey", Plain)];
const TRACE: &[Key] = &[("dest", Plain), ("sampling", Plain)];
const SCOPE: &[Key] = &[
    ("kind", Text),
    ("key", Text),
    ("role", Text),
    ("template", Keys(TEMPLATE)),
    ("description", Text),
];
const TEMPLATE: &[Key] = &[
    ("pub", Keys(RULES)),
    ("sub", Keys(RULES)),
    ("resp", Maybe(RESPONSES)),
    ("src", Items),
    ("times", Each(&[("start", Plain), ("end", Plain)])),
    ("times_location", Plain),
    ("subs", Plain),
    ("data", Plain),
    ("payload", Plain),
    ("bearer_token", Plain),
    ("proxy_required", Plain),
    ("allowed_connection_types", Plain),
];
/// Of the first version's, in what is an account's alone today.
const FIRST_VERSION: [&str; 5] = ["imports", "exports", "limits", "signing_keys", "revocations"];

/// Something about a token that its owner should know.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Issue {
    description: &'static str,
    blocking: bool,
    time_check: bool,
}

/// A token that was believed when it came.
#[derive(Debug, Deserialize)]
pub(crate) struct Decoded(Map<String, Value>);

impl Decoded {
    /// None if it is no token.
    pub(crate) fn new(token: &str) -> Option<Decoded> {
        let body = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
        let mut decoded: Decoded = serde_json::from_slice(&body).ok()?;
        decoded.make_current();
        Some(decoded)
    }

    /// What nats-server makes of it as it reads it.
    fn make_current(&mut self) {
        let (kind, tags) = (self.0.remove("type"), self.0.remove("tags"));
        let Some(Value::Object(account)) = self.0.get_mut("nats") else { return };
        if kind.is_some() {
            account.retain(|key, _| FIRST_VERSION.contains(&key.as_str()));
            account.insert("type".to_owned(), kind.unwrap_or_default());
            account.insert("tags".to_owned(), tags.unwrap_or_default());
            account.insert("version".to_owned(), 1.into());
        }
        if let Some(Value::Object(limits)) = account.get_mut("limits")
            && !limits.get("tiered_limits").is_none_or(is_empty)
        {
            limits.retain(|key, _| STORAGE.iter().all(|(it, _)| it != key));
        }
        if let Some(Value::Object(trace)) = account.get_mut("trace")
            && trace.get("sampling").is_none_or(is_empty)
        {
            trace.insert("sampling".to_owned(), 100.into());
        }
    }

    fn account(&self, key: &str) -> Option<&Value> {
        self.0.get("nats")?.get(key)
    }

    /// Whose signature it has.
    pub(crate) fn issuer(&self) -> String {
        self.0.get("iss").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// What the account is tagged with.
    pub(crate) fn tags(&self) -> Vec<String> {
        let tags = self.account("tags").and_then(Value::as_array);
        tags.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn imports(&self) -> impl Iterator<Item = &Value> {
        self.account("imports").and_then(Value::as_array).into_iter().flatten()
    }

    /// What nats-server has to say of one that it believes.
    pub(crate) fn issues(&self, now_unix_s: i64) -> Vec<Issue> {
        let expires = self.0.get("exp").and_then(Value::as_i64).unwrap_or(0);
        let is_over = expires > 0 && now_unix_s > expires;
        let expired = Issue { description: "claim is expired", blocking: false, time_check: true };
        let old = self.imports().filter(|import| !import.get("to").is_none_or(is_empty));
        let old = old.map(|_| Issue {
            description: "the field to has been deprecated (use LocalSubject instead)",
            blocking: false,
            time_check: false,
        });
        is_over.then_some(expired).into_iter().chain(old).collect()
    }
}

impl Serialize for Decoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shaped(Some(&self.0), TOKEN).serialize(serializer)
    }
}

/// As Go has it: what a field is if nothing is said.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.is_empty(),
    }
}

/// Something with those keys.
struct Shaped<'a>(Option<&'a Map<String, Value>>, &'static [Key]);

impl Serialize for Shaped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, shape) in self.1 {
            let said = self.0.and_then(|said| said.get(*key)).filter(|said| !said.is_null());
            write(&mut map, key, shape, said)?;
        }
        map.end()
    }
}

fn write<M: SerializeMap>(
    map: &mut M,
    key: &str,
    shape: &Shape,
    said: Option<&Value>,
) -> Result<(), M::Error> {
    match (shape, said) {
        (Keys(keys), said) => {
            map.serialize_entry(key, &Shaped(said.and_then(Value::as_object), keys))
        }
        (Maybe(keys), Some(said)) => map.serialize_entry(key, &Shaped(said.as_object(), keys)),
        (Text, None) => map.serialize_entry(key, ""),
        (Number, None) => map.serialize_entry(key, &0),
        (Text | Number, Some(said)) => map.serialize_entry(key, said),
        (Sampling, Some(Value::Number(percent))) if percent.as_u64() != Some(0) => {
            map.serialize_entry(key, percent)
        }
        (Sampling, _) => map.serialize_entry(key, "headers"),
        (_, None) => Ok(()),
        (_, Some(said)) if is_empty(said) => Ok(()),
        (Items, Some(Value::String(items))) => {
            map.serialize_entry(key, &items.split(',').collect::<Vec<_>>())
        }
        (Each(keys), Some(said)) => map.serialize_entry(key, &each(said, keys)),
        (Named(keys), Some(Value::Object(said))) => {
            let named: BTreeMap<_, _> =
                said.iter().map(|(name, it)| (name, Shaped(it.as_object(), keys))).collect();
            map.serialize_entry(key, &named)
        }
        (NamedEach(keys), Some(Value::Object(said))) => {
            let named: BTreeMap<_, _> =
                said.iter().map(|(name, it)| (name, each(it, keys))).collect();
            map.serialize_entry(key, &named)
        }
        (Times, Some(Value::Object(said))) => {
            map.serialize_entry(key, &said.iter().collect::<BTreeMap<_, _>>())
        }
        (SigningKeys, Some(said)) => map.serialize_entry(key, &signing_keys(said)),
        (_, Some(said)) => map.serialize_entry(key, said),
    }
}

fn each<'a>(said: &'a Value, keys: &'static [Key]) -> Vec<Shaped<'a>> {
    let all = said.as_array().into_iter().flatten();
    all.map(|it| Shaped(it.as_object(), keys)).collect()
}

#[derive(Serialize)]
#[serde(untagged)]
enum SigningKey<'a> {
    Plain(&'a str),
    Scoped(Shaped<'a>),
}

impl<'a> SigningKey<'a> {
    fn new(said: &'a Value) -> Option<(&'a str, SigningKey<'a>)> {
        match said {
            Value::String(key) => Some((key, SigningKey::Plain(key))),
            Value::Object(scope) => {
                let key = scope.get("key")?.as_str()?;
                Some((key, SigningKey::Scoped(Shaped(Some(scope), SCOPE))))
            }
            _ => None,
        }
    }
}

/// Each once, in the order of the keys.
fn signing_keys(said: &Value) -> Vec<SigningKey<'_>> {
    let all = said.as_array().into_iter().flatten().filter_map(SigningKey::new);
    all.collect::<BTreeMap<_, _>>().into_values().collect()
}
