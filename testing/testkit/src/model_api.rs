//! A stand-in for the models that agents talk to: enough of their APIs that a real client does what a script says and
//! ends.
//!
//! A conversation is answered with the script's steps, one call of a tool after the other, and then with a text that
//! repeats what the tools said. Requests without the right key get 401, as from the real ones. What is asked without
//! tools (a title, the choice of a model) is no part of the conversation. One module for each dialect.

mod gemini;
mod messages;
mod responses;

use crate::upstream::{
    Answer, Asked, Body, Seen, TlsUpstream,
    routes::{full, json_answer},
    websocket,
};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// How a client and its model speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Anthropic's Messages, streamed or whole.
    Messages,
    /// OpenAI's Responses, as server-sent events and as a WebSocket.
    Responses,
    /// The same as subscribers of ChatGPT are served.
    ChatGpt,
    /// Google's generateContent, streamed or whole.
    Gemini,
}

impl Dialect {
    /// Where the real one lives.
    pub fn host(self) -> &'static str {
        match self {
            Dialect::Messages => "api.anthropic.com",
            Dialect::Responses => "api.openai.com",
            Dialect::ChatGpt => "chatgpt.com",
            Dialect::Gemini => "generativelanguage.googleapis.com",
        }
    }

    fn is_ours(self, seen: &Seen) -> bool {
        match self {
            Dialect::Messages => seen.path() == "/v1/messages",
            Dialect::Responses => seen.path() == "/v1/responses",
            Dialect::ChatGpt => seen.path() == "/backend-api/codex/responses",
            Dialect::Gemini => seen.path().starts_with("/v1beta/models/"),
        }
    }

    fn read(self, request: &Value) -> Conversation {
        match self {
            Dialect::Messages => messages::read(request),
            Dialect::Responses | Dialect::ChatGpt => responses::read(request),
            Dialect::Gemini => gemini::read(request),
        }
    }
}

/// Something that the model has its agent do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A line of shell.
    Shell(String),
    /// A tool of the bottle's own MCP server, without arguments. Left out where the client shows none.
    Mcp(&'static str),
    /// The tool that the last refusal names, with the arguments that it names.
    Ask,
    /// Waits for the answer to what was asked last.
    Await,
    /// A new file of this name and text, said once, as a SEARCH/REPLACE block to a client that asks for those.
    Edit(&'static str, &'static str),
}

/// Stands in every answer with a block, and tells that it was given.
const EDITED: &str = "Here is the edit that you asked for.";

/// What a request brings with it.
#[derive(Debug, Default)]
struct Conversation {
    /// What each call of a tool came to, in order.
    results: Vec<String>,
    /// The names of the tools that may be called.
    tools: Vec<String>,
    /// Whether the client wants edits as blocks, and has had none yet.
    edits: bool,
}

/// What the model says next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Move {
    Call { tool: String, input: Value },
    Text(String),
}

/// Tools that run a line of shell, as the clients call them.
const SHELLS: [&str; 4] = ["Bash", "bash", "run_shell_command", "exec_command"];

impl Conversation {
    fn next(&self, script: &[Step]) -> Move {
        let moves: Vec<Move> = script.iter().filter_map(|step| self.call(step)).collect();
        match moves.get(self.results.len()) {
            Some(next) => next.clone(),
            None if moves.is_empty() => Move::Text("ok".to_owned()),
            None => Move::Text(format!("The tools said: {}", self.results.join("\n"))),
        }
    }

    /// `None` where no tool can do it.
    fn call(&self, step: &Step) -> Option<Move> {
        match step {
            Step::Shell(line) => {
                if let Some(tool) = self.tools.iter().find(|tool| SHELLS.contains(&tool.as_str())) {
                    let input = json!({ "command": line, "cmd": line, "description": "Look around" });
                    return Some(Move::Call { tool: tool.clone(), input: of_tool(tool, input) });
                }
                responses::scripted(&self.tools, &responses::shell(line))
            }
            Step::Mcp(name) => match self.own(name) {
                Some(tool) => Some(Move::Call { tool, input: json!({}) }),
                None => responses::scripted(&self.tools, &responses::mcp(name)),
            },
            Step::Ask => {
                let refusal = self.said(|said| said["ask"]["tool"].is_string()).unwrap_or_default();
                let mut input = refusal["ask"]["arguments"].clone();
                input["reason"] = "to do as I am told".into();
                let tool = self.own(refusal["ask"]["tool"].as_str().unwrap_or("request_egress"))?;
                Some(Move::Call { tool, input })
            }
            Step::Edit(path, text) => {
                let block = format!("<<<<<<< SEARCH\n=======\n{text}>>>>>>> REPLACE");
                self.edits.then(|| Move::Text(format!("{EDITED}\n\n{path}\n```\n{block}\n```\n")))
            }
            Step::Await => {
                let asked = self.said(|said| said["id"].is_string()).unwrap_or_default();
                let tool = self.own("wait_for_decision")?;
                Some(Move::Call { tool, input: json!({ "id": asked["id"], "seconds": 60 }) })
            }
        }
    }

    /// A tool of the bottle's own MCP server, as the client calls it.
    fn own(&self, name: &str) -> Option<String> {
        self.tools.iter().find(|tool| tool.contains("bot") && tool.ends_with(name)).cloned()
    }

    /// The last JSON of this kind among what the tools said.
    fn said(&self, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
        let json = |result: &String| {
            let text = result.get(result.find('{')?..)?;
            serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok()
        };
        self.results.iter().rev().filter_map(json).find(is_it)
    }
}

/// The arguments that a tool has, of those that some have.
fn of_tool(tool: &str, mut input: Value) -> Value {
    let unwanted: &[&str] = if tool == "exec_command" { &["command", "description"] } else { &["cmd"] };
    if let Some(object) = input.as_object_mut() {
        object.retain(|name, _| !unwanted.contains(&name.as_str()));
    }
    input
}

/// A running fake; dropping it ends it.
#[derive(Debug)]
pub struct FakeModelApi {
    upstream: TlsUpstream,
    said: Arc<Mutex<Vec<Value>>>,
}

#[derive(Debug)]
struct Model {
    dialect: Dialect,
    key: String,
    script: Vec<Step>,
    said: Arc<Mutex<Vec<Value>>>,
}

impl FakeModelApi {
    /// Accepts `key` alone, under the real one's name and as `localhost`, and has every conversation go by `script`.
    pub fn start(dialect: Dialect, key: &str, script: Vec<Step>) -> FakeModelApi {
        let said = Arc::new(Mutex::new(Vec::new()));
        let model = Arc::new(Model { dialect, key: key.to_owned(), script, said: Arc::clone(&said) });
        let handler = move |asked: Asked| {
            let model = Arc::clone(&model);
            let future: Answer = Box::pin(async move { model.answer(asked) });
            future
        };
        let upstream = TlsUpstream::options(&[dialect.host(), "localhost"]).handler(Arc::new(handler)).start();
        FakeModelApi { upstream, said }
    }

    /// Address, authority and record.
    pub fn upstream(&self) -> &TlsUpstream {
        &self.upstream
    }

    /// Every request with the right key so far, whichever way it came.
    pub fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Host and path of every request so far, sorted, each once.
    pub fn contacted(&self) -> Vec<String> {
        let host = |seen: &Seen| seen.host.split(':').next().unwrap_or_default().to_owned();
        let mut all: Vec<String> =
            self.upstream.seen().iter().map(|seen| format!("{}{}", host(seen), seen.path())).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Model {
    fn answer(self: Arc<Model>, asked: Asked) -> Response<Body> {
        let Asked { seen, unread } = asked;
        if !self.is_right(&seen) {
            return failure(StatusCode::UNAUTHORIZED, "authentication_error", "invalid key");
        }
        if let Some(text) = (self.dialect == Dialect::ChatGpt).then(|| responses::of_chatgpt(&seen)).flatten() {
            return json_answer(StatusCode::OK, text.to_string());
        }
        if !self.dialect.is_ours(&seen) {
            return failure(StatusCode::NOT_FOUND, "not_found_error", "no such path");
        }
        if let Some(request) = unread {
            let mut conversation = responses::Running::default();
            return websocket::answer(request, move |text| self.message(&mut conversation, &text));
        }
        let request: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let next = self.next(&request);
        match self.dialect {
            Dialect::Messages if request["stream"] == true => sse(&messages::events(&next, &request), true),
            Dialect::Messages => json_answer(StatusCode::OK, messages::whole(&next, &request).to_string()),
            Dialect::Responses | Dialect::ChatGpt => sse(&responses::events(&next, &request), true),
            Dialect::Gemini if seen.path().ends_with(":streamGenerateContent") => {
                sse(&[gemini::whole(&next, &request)], false)
            }
            Dialect::Gemini => json_answer(StatusCode::OK, gemini::whole(&next, &request).to_string()),
        }
    }

    fn is_right(&self, seen: &Seen) -> bool {
        let bearer = format!("Bearer {}", self.key);
        seen.header("authorization") == Some(bearer.as_str())
            || ["x-api-key", "x-goog-api-key"].iter().any(|name| seen.header(name) == Some(self.key.as_str()))
    }

    fn next(&self, request: &Value) -> Move {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let mut conversation = self.dialect.read(request);
        let text = request.to_string();
        conversation.edits = text.contains("SEARCH/REPLACE") && !text.contains(EDITED);
        conversation.next(&self.script)
    }

    /// Answers one message of a WebSocket with several.
    fn message(&self, running: &mut responses::Running, text: &str) -> Vec<String> {
        let request = running.whole(serde_json::from_str(text).unwrap_or_default());
        let events = if request["generate"] == false {
            responses::nothing(&request)
        } else {
            responses::events(&self.next(&request), &request)
        };
        events.iter().map(Value::to_string).collect()
    }
}

fn failure(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    json_answer(status, json!({ "type": "error", "error": { "type": kind, "message": message } }).to_string())
}

fn sse(events: &[Value], named: bool) -> Response<Body> {
    let line = |event: &Value| {
        let name =
            if named { format!("event: {}\n", event["type"].as_str().unwrap_or_default()) } else { String::new() };
        format!("{name}data: {event}\n\n")
    };
    let mut response = Response::new(full(events.iter().map(line).collect::<String>()));
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
    response
}

/// The text of a tool's result in any of its forms.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(text_of).collect::<Vec<_>>().join("\n"),
        Value::Object(part) if part.get("text").is_some_and(Value::is_string) => text_of(&part["text"]),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(tools: &[&str], results: &[&str]) -> Conversation {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Conversation { results: owned(results), tools: owned(tools), edits: false }
    }

    #[test]
    fn a_script_goes_on_with_each_result_and_ends_with_them() {
        let script = [Step::Shell("echo 1".to_owned()), Step::Mcp("policy")];
        let call = |tools: &[&str], results: &[&str]| match conversation(tools, results).next(&script) {
            Move::Call { tool, input } => format!("{tool} {input}"),
            Move::Text(text) => text,
        };
        let both = ["bash", "bot-bottle_policy"];
        assert_eq!(call(&both, &[]), r#"bash {"command":"echo 1","description":"Look around"}"#);
        assert_eq!(call(&both, &["one"]), "bot-bottle_policy {}");
        assert_eq!(call(&both, &["one", "two"]), "The tools said: one\ntwo");
        assert_eq!(call(&["bash"], &["one"]), "The tools said: one", "what cannot be done is left out");
        assert_eq!(call(&[], &[]), "ok");
    }

    #[test]
    fn what_a_refusal_names_is_asked_for_and_waited_for() {
        let script = [Step::Shell("curl".to_owned()), Step::Ask, Step::Await];
        let tools = ["Bash", "mcp__bot-bottle__request_git", "mcp__bot-bottle__wait_for_decision"];
        let refusal = r#"{"error":"x","ask":{"tool":"request_git","arguments":{"repository":"app"}}} 403"#;
        let asked = conversation(&tools, &[refusal]).next(&script);
        let Move::Call { tool, input } = asked else { panic!("{asked:?}") };
        assert_eq!(tool, tools[1]);
        assert_eq!(input, json!({ "repository": "app", "reason": "to do as I am told" }));
        let waits = conversation(&tools, &[refusal, r#"{"id":"abcdef","status":"pending"}"#]).next(&script);
        let Move::Call { tool, input } = waits else { panic!("{waits:?}") };
        assert_eq!((tool.as_str(), &input["id"]), (tools[2], &json!("abcdef")));
    }

    #[test]
    fn an_edit_is_said_to_who_takes_it() {
        let script = [Step::Edit("a.txt", "one\n")];
        assert_eq!(conversation(&[], &[]).next(&script), Move::Text("ok".to_owned()));
        let said = Conversation { edits: true, ..Conversation::default() }.next(&script);
        let Move::Text(text) = said else { panic!("{said:?}") };
        assert!(text.starts_with(EDITED) && text.contains("a.txt\n```\n<<<<<<< SEARCH\n=======\none\n>>>>>>> REPLACE"));
    }

    #[test]
    fn every_dialect_reads_its_own() {
        let messages = json!({ "tools": [{ "name": "Bash" }], "messages": [{ "role": "user", "content": [
            { "type": "tool_result", "content": [{ "type": "text", "text": "42" }] }] }] });
        let responses = json!({ "input": [
            { "type": "additional_tools", "tools": [{ "type": "namespace", "name": "functions", "tools": [{ "name": "Bash" }] }] },
            { "type": "custom_tool_call_output", "output": [{ "type": "input_text", "text": "42" }] }] });
        let gemini = json!({ "tools": [{ "functionDeclarations": [{ "name": "Bash" }] }], "contents": [{ "parts": [
            { "functionResponse": { "response": { "output": "42" } } }] }] });
        let all = [(Dialect::Messages, messages), (Dialect::Responses, responses), (Dialect::Gemini, gemini)];
        for (dialect, request) in all {
            let read = dialect.read(&request);
            assert!(read.results.len() == 1 && read.results[0].contains("42"), "{dialect:?}: {read:?}");
            assert_eq!(read.tools, ["Bash"], "{dialect:?}");
        }
    }

    #[test]
    fn the_right_key_alone_is_taken() {
        let api = FakeModelApi::start(Dialect::Messages, "right", Vec::new());
        let model = Arc::new(Model {
            dialect: Dialect::Messages,
            key: "right".to_owned(),
            script: Vec::new(),
            said: Arc::clone(&api.said),
        });
        let status = |header: (&str, &str)| {
            let headers = vec![(header.0.to_owned(), header.1.to_owned())];
            let seen = Seen { target: "/v1/messages?beta=true".to_owned(), headers, ..Seen::default() };
            Arc::clone(&model).answer(Asked { seen, unread: None }).status()
        };
        assert_eq!(status(("authorization", "Bearer right")), StatusCode::OK);
        assert_eq!(status(("x-api-key", "right")), StatusCode::OK);
        assert_eq!(status(("x-api-key", "wrong")), StatusCode::UNAUTHORIZED);
        assert_eq!(api.said().len(), 2);
    }
}
