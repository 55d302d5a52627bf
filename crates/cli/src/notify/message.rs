//! What a notification says.
//!
//! Invariants: every text is escaped and short; the reason, which is the agent's free text, is not in it; a request in
//! which the scanner finds anything is told of by its kind alone.

use crate::commands::requests::summary;
use bottle_policy::scan::{Known, Scanner, Shape};
use bottle_spec::{
    notify::NotifyStart,
    operator::{OperatorRequest, PushRequest, Requested},
};
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;

/// Characters of one request.
const LONGEST: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) bottle: String,
    pub(super) requests: Vec<Told>,
    /// Others that wait.
    pub(super) more: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) summary: String,
}

impl Message {
    pub(super) fn of(start: &NotifyStart) -> Message {
        let known = start.secrets.iter().fold(Known::builder(), |known, held| {
            known.secret(held.source.to_string(), held.value.expose().as_bytes())
        });
        let scanner = Arc::new(Scanner::new(known.build()));
        let read = |text: &String| {
            let request: OperatorRequest = serde_json::from_str(text).ok()?;
            // A gate that was taken over can say what it likes, but not of another bottle.
            (request.bottle == start.bottle.as_str() && bottle_spec::operator::is_id(&request.id)).then_some(request)
        };
        let requests: Vec<Told> = start.requests.iter().filter_map(read).map(|it| Told::of(it, &scanner)).collect();
        let more = start.more + start.requests.len() - requests.len();
        Message { bottle: start.bottle.to_string(), requests, more }
    }

    pub(super) fn title(&self) -> String {
        format!("bot-bottle: {} asks", self.bottle)
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let told = self.requests.iter().map(|told| format!("{}  {}", told.id, told.summary));
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        told.chain(more).collect()
    }
}

impl Told {
    fn of(request: OperatorRequest, scanner: &Arc<Scanner>) -> Told {
        let kind = request.what.kind();
        let said = match request.what {
            // What is pushed has been searched, and is not told.
            Requested::Push(push) => {
                Requested::Push(PushRequest { diff: String::new(), commits: Vec::new(), flags: Vec::new(), ..push })
            }
            other => other,
        };
        let whole = summary(&said);
        let raw = serde_json::to_vec(&said).unwrap_or_default();
        let mut found = Vec::new();
        for (text, shape) in [(raw, Shape::of(Some(b"application/json"))), (whole.clone().into(), Shape::of(None))] {
            let mut stream = scanner.stream(shape);
            stream.push(Bytes::from(text), &mut found);
            stream.finish(&mut found);
        }
        let summary = if found.is_empty() { short(&whole) } else { format!("{kind} (not shown here)") };
        Told { id: request.id, kind, summary }
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_spec::{
        gate_link::HeldSecret,
        notify::Targets,
        operator::QuestionRequest,
        secret::{Secret, SecretRef},
    };

    const SECRET: &str = "correct-horse-battery-staple-91";

    fn message(questions: &[&str]) -> Message {
        let request = |question: &&str| {
            let what = Requested::Question(QuestionRequest { question: (*question).to_owned(), choices: Vec::new() });
            let request = OperatorRequest {
                id: "abc".to_owned(),
                bottle: "dev-kqzmb".to_owned(),
                made: 0,
                expires: u64::MAX,
                what,
            };
            serde_json::to_string(&request).unwrap()
        };
        let secret = HeldSecret {
            source: SecretRef::Env("TOKEN".to_owned()),
            value: Secret::new(SECRET.to_owned()),
            placeholder: "p".to_owned(),
            until: None,
        };
        Message::of(&NotifyStart {
            bottle: "dev-kqzmb".parse().unwrap(),
            targets: Targets::default(),
            secrets: vec![secret],
            requests: questions.iter().map(request).chain(["{".to_owned()]).collect(),
            more: 2,
            run_as: None,
        })
    }

    #[test]
    fn a_request_is_told_of_escaped_and_short() {
        let long = "x".repeat(400);
        let told = message(&["Which?\u{1b}[31m\u{202e}", &long]);
        assert_eq!(told.lines()[0], "abc  asks: Which?\\u{1b}[31m\\u{202e}");
        assert!(told.lines()[1].ends_with('…') && told.lines()[1].chars().count() < 220);
        // What cannot be read is counted.
        assert_eq!(told.lines()[2], "and 3 more");
        assert_eq!(told.title(), "bot-bottle: dev-kqzmb asks");
    }

    #[test]
    fn no_secret_is_told_in_any_dress() {
        // Standard base64 of the secret; with a zero-width space in it; in hex.
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        let split = SECRET.replacen("horse", "ho\u{200b}rse", 1);
        let aws = format!("AKIA{}", "Q3EGTXDRL5Y2WMZB");
        for text in [SECRET, &split, &hex, &aws] {
            let told = message(&[&format!("is it {text}?")]);
            assert_eq!(told.lines()[0], "abc  question (not shown here)", "{text}");
        }
        assert_eq!(message(&["is it blue?"]).lines()[0], "abc  asks: is it blue?");
    }
}
