//! /healthz: is the server fit for clients?

use serde::Serialize;

use crate::http::Response;
use crate::json;
use crate::query::Query;

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Problem<'a>>,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    error: &'a str,
}

/// Without persistence nothing but the listener can be ill; the parameters are still checked.
pub(crate) fn answer(query: &Query, accepting: bool) -> Response {
    let mut response = check(query, accepting).unwrap_or_else(|refusal| refusal);
    if matches!(query.boolean("js-enabled"), Ok(true)) {
        let warning = "Healthcheck: js-enabled deprecated, use js-enabled-only instead";
        response.warnings.insert(0, warning.to_owned());
    }
    response
}

/// As a subscriber is told: the status code is in it.
pub(crate) fn data(query: &Query, accepting: bool) -> Vec<u8> {
    let response = check(query, accepting).unwrap_or_else(|refusal| refusal);
    let text = json::text(&response.body);
    let code = format!(",\"status_code\":{}", response.status);
    // Behind the status, which is first.
    let at = text.match_indices('"').nth(3).map_or(text.len(), |(at, _)| at + 1);
    [&text[..at], &code, &text[at..]].concat().into_bytes()
}

fn check(query: &Query, accepting: bool) -> Result<Response, Response> {
    for name in ["js-enabled", "js-enabled-only", "js-server-only", "js-meta-only"] {
        query.boolean(name)?;
    }
    let details = query.boolean("details")?;
    let given = |name: &str| !query.value(name).is_empty();
    let ill = |status, kind, error: &str| Ok(ill(status, kind, error, details));
    if given("stream") && !given("account") {
        let error = "\"account\" must not be empty when checking stream health";
        return ill(400, "BAD_REQUEST", error);
    }
    if given("consumer") && !given("stream") {
        let error = "\"stream\" must not be empty when checking consumer health";
        return ill(400, "BAD_REQUEST", error);
    }
    if !accepting {
        let error = "failed to be ready for connections after 1ms: server";
        return ill(500, "CONNECTION", error);
    }
    let health = Health { status: "ok", error: None, errors: Vec::new() };
    Ok(Response::json(200, json::compact(&health)))
}

fn ill(status: u16, kind: &'static str, error: &str, details: bool) -> Response {
    let (health, warning) = if details {
        let errors = vec![Problem { r#type: kind, error }];
        (Health { status: "error", error: None, errors }, "1 errors".to_owned())
    } else {
        let health = Health { status: "error", error: Some(error), errors: Vec::new() };
        (health, format!("{error:?}"))
    };
    let warnings = vec![format!("Healthcheck failed: {warning}")];
    Response { warnings, ..Response::json(status, json::compact(&health)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str, accepting: bool) -> (u16, String, Vec<String>) {
        let response = answer(&Query::parse(query), accepting);
        (response.status, String::from_utf8(response.body).unwrap(), response.warnings)
    }

    #[test]
    fn healthy() {
        let ok = (200, r#"{"status":"ok"}"#.to_owned(), vec![]);
        for query in ["", "details=1", "js-server-only=true", "account=x", "account=x&stream=y"] {
            assert_eq!(ask(query, true), ok, "{query}");
        }
    }

    #[test]
    fn a_deprecated_parameter_is_logged() {
        let (status, _, warnings) = ask("js-enabled=1", true);
        assert_eq!(status, 200);
        let warning = "Healthcheck: js-enabled deprecated, use js-enabled-only instead";
        assert_eq!(warnings, [warning]);
    }

    #[test]
    fn parameters_that_need_others() {
        let error = r#""\"account\" must not be empty when checking stream health""#;
        let (status, body, warnings) = ask("stream=x", true);
        assert_eq!((status, body), (400, format!(r#"{{"status":"error","error":{error}}}"#)));
        assert_eq!(warnings, [format!("Healthcheck failed: {error}")]);

        let (status, body, warnings) = ask("stream=x&details=1", true);
        let list = format!(r#"[{{"type":"BAD_REQUEST","error":{error}}}]"#);
        assert_eq!((status, body), (400, format!(r#"{{"status":"error","errors":{list}}}"#)));
        assert_eq!(warnings, ["Healthcheck failed: 1 errors"]);

        let (status, body, _) = ask("account=a&consumer=c", true);
        assert_eq!(status, 400);
        assert!(body.contains(r#"\"stream\" must not be empty when checking consumer health"#));
    }

    #[test]
    fn wrong_parameters() {
        for name in ["js-enabled", "js-enabled-only", "js-server-only", "js-meta-only", "details"] {
            let (status, body, _) = ask(&format!("{name}=zz"), true);
            let wanted = format!(
                "Error decoding boolean for '{name}': strconv.ParseBool: parsing \"zz\": \
                 invalid syntax"
            );
            assert_eq!((status, body), (400, wanted));
        }
    }

    #[test]
    fn not_accepting() {
        let error = "failed to be ready for connections after 1ms: server";
        let (status, body, _) = ask("", false);
        assert_eq!((status, body), (500, format!(r#"{{"status":"error","error":"{error}"}}"#)));
        let (status, body, _) = ask("details=1", false);
        assert_eq!(status, 500);
        assert!(body.contains(r#""type":"CONNECTION""#), "{body}");
    }
}
