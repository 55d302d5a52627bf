//! From the arguments of a call to a request, as data.
//!
//! Invariant: an argument that is unknown, too long or no name of its kind is refused with a sentence that says what is
//! right; nothing is guessed.

use bottle_spec::{
    host::{HostName, HostPattern},
    operator::{EgressRequest, GitRequest, QuestionRequest, Requested, SecretRequest, Term},
    policy::PathPattern,
};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Egress {
    host: String,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    methods: Option<Vec<String>>,
    #[serde(default)]
    paths: Option<Vec<String>>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    minutes: Option<u32>,
    #[serde(default)]
    once: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Git {
    repository: String,
    refs: Vec<String>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    host: String,
    secret: String,
    #[serde(default)]
    methods: Option<Vec<String>>,
    #[serde(default)]
    paths: Option<Vec<String>>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    minutes: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    question: String,
    #[serde(default)]
    choices: Vec<String>,
}

/// The request that a call of this tool makes; `None` = this tool asks for nothing.
pub(super) fn requested(tool: &str, arguments: Map<String, Value>) -> Option<Result<Requested, String>> {
    let arguments = Value::Object(arguments);
    Some(match tool {
        "request_egress" => read(arguments).and_then(egress),
        "request_git" => read(arguments).and_then(git),
        "request_secret_route" => read(arguments).and_then(secret),
        "ask_operator" => read(arguments).and_then(question),
        _ => return None,
    })
}

fn read<T: for<'de> Deserialize<'de>>(arguments: Value) -> Result<T, String> {
    serde_json::from_value(arguments).map_err(|error| error.to_string())
}

fn egress(asked: Egress) -> Result<Requested, String> {
    let term = match (asked.once, asked.minutes) {
        (true, _) => Term::Once,
        (false, Some(minutes)) => Term::Seconds(minutes.saturating_mul(60)),
        (false, None) => Term::Bottle,
    };
    let request = EgressRequest {
        host: HostPattern::parse(&asked.host).map_err(|error| format!("host: {error}"))?,
        port: asked.port.unwrap_or(443),
        methods: asked.methods.map(upper),
        paths: asked.paths.map(patterns),
        reason: asked.reason,
        term,
    };
    request.check().map_err(|unfit| unfit.to_string())?;
    Ok(Requested::Egress(request))
}

fn git(asked: Git) -> Result<Requested, String> {
    let refs: Result<_, _> = asked.refs.iter().map(|text| text.parse().map_err(|error| format!("{error}"))).collect();
    let request = GitRequest { repository: asked.repository, refs: refs?, reason: asked.reason, term: Term::Bottle };
    request.check().map_err(|unfit| unfit.to_string())?;
    Ok(Requested::Git(request))
}

fn secret(asked: Secret) -> Result<Requested, String> {
    let request = SecretRequest {
        host: HostName::parse(&asked.host).map_err(|error| format!("host: {error}"))?,
        secret: asked.secret,
        methods: asked.methods.map(upper),
        paths: asked.paths.map(patterns),
        reason: asked.reason,
        term: asked.minutes.map_or(Term::Bottle, |minutes| Term::Seconds(minutes.saturating_mul(60))),
    };
    request.check().map_err(|unfit| unfit.to_string())?;
    Ok(Requested::SecretRoute(request))
}

fn question(asked: Question) -> Result<Requested, String> {
    let request = QuestionRequest { question: asked.question, choices: asked.choices };
    request.check().map_err(|unfit| unfit.to_string())?;
    Ok(Requested::Question(request))
}

/// Methods are compared by letter and case (RFC 9110), and nobody means `get`.
fn upper(methods: Vec<String>) -> Vec<String> {
    methods.into_iter().map(|method| method.to_ascii_uppercase()).collect()
}

fn patterns(paths: Vec<String>) -> Vec<PathPattern> {
    paths.into_iter().map(PathPattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(tool: &str, arguments: Value) -> Result<Requested, String> {
        let Value::Object(arguments) = arguments else { panic!("{arguments}") };
        requested(tool, arguments).unwrap()
    }

    #[test]
    fn what_is_asked_for_is_read_as_it_is_meant() {
        let host = json!({ "host": "API.Example.com.", "methods": ["get"], "paths": ["/v1/**"], "minutes": 5 });
        let Ok(Requested::Egress(request)) = asked("request_egress", host) else { panic!() };
        assert_eq!((request.host.to_string().as_str(), request.port), ("api.example.com", 443));
        assert_eq!((request.methods, request.term), (Some(vec!["GET".to_owned()]), Term::Seconds(300)));
        assert!(requested("policy", Map::new()).is_none());
    }

    #[test]
    fn what_is_no_name_or_unknown_is_refused_with_a_sentence() {
        for (tool, arguments, word) in [
            ("request_egress", json!({ "host": "10.0.0.1" }), "IP address"),
            ("request_egress", json!({ "host": "a b" }), "host name"),
            ("request_egress", json!({ "host": "*.*.com" }), "at the front"),
            ("request_egress", json!({ "host": "a.test", "path": "/x" }), "unknown field `path`"),
            ("request_egress", json!({ "host": "a.test", "methods": [] }), "methods"),
            ("request_egress", json!({ "host": "a.test", "reason": "x".repeat(501) }), "longer"),
            ("request_egress", json!({}), "host"),
            ("request_git", json!({ "repository": "app", "refs": ["main"] }), "refs/heads"),
            ("request_secret_route", json!({ "host": "*.a.test", "secret": "x" }), "host name"),
            ("ask_operator", json!({ "question": "" }), "words"),
        ] {
            let error = asked(tool, arguments.clone()).unwrap_err();
            assert!(error.contains(word), "{arguments}: {error}");
        }
    }
}
