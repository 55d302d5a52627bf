//! A stand-in for Anthropic's Messages API: enough of it that a real agent does one tool call and ends.
//!
//! A conversation has two turns. The first is answered with a call of the tool `Bash`; the second, which brings the
//! tool's result, with a text that repeats that result. Both streamed or whole, as asked. Requests without the right
//! key get 401, as from the real one.

use crate::upstream::{
    Asked, Body, Seen, TlsUpstream,
    routes::{full, json_answer},
};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where the real one lives.
pub const HOST: &str = "api.anthropic.com";
/// What the fake model has the agent run; the answer is in no text that anyone sent.
pub const COMMAND: &str = "echo bottle-$((40+2))";
/// What [`COMMAND`] prints.
pub const RESULT: &str = "bottle-42";

/// A running fake; dropping it ends it.
#[derive(Debug)]
pub struct FakeMessagesApi {
    upstream: TlsUpstream,
}

impl FakeMessagesApi {
    /// Accepts `key` alone, as `Authorization: Bearer` or `x-api-key`.
    pub fn start(key: &str) -> FakeMessagesApi {
        let key: Arc<str> = key.into();
        let handler = move |asked: Asked| {
            let response = answer(&asked.seen, &key);
            let future: crate::upstream::Answer = Box::pin(async move { response });
            future
        };
        FakeMessagesApi { upstream: TlsUpstream::options(&[HOST]).handler(Arc::new(handler)).start() }
    }

    /// Address, authority and record.
    pub fn upstream(&self) -> &TlsUpstream {
        &self.upstream
    }

    /// Host and path of every request so far, sorted, each once.
    pub fn contacted(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.upstream.seen().iter().map(|seen| format!("{}{}", host_of(seen), seen.path())).collect();
        all.sort();
        all.dedup();
        all
    }

    /// How many requests brought the tool's result with them.
    pub fn round_trips(&self) -> usize {
        let with_result = |seen: &&Seen| tool_result(&body(seen)).is_some_and(|text| text.contains(RESULT));
        self.upstream.seen().iter().filter(with_result).count()
    }
}

fn host_of(seen: &Seen) -> &str {
    seen.host.split(':').next().unwrap_or_default()
}

fn answer(seen: &Seen, key: &str) -> Response<Body> {
    let bearer = seen.header("authorization") == Some(format!("Bearer {key}").as_str());
    if !bearer && seen.header("x-api-key") != Some(key) {
        return failure(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key");
    }
    if seen.method != "POST" || seen.path() != "/v1/messages" {
        return failure(StatusCode::NOT_FOUND, "not_found_error", "no such path");
    }
    let request = body(seen);
    let message = Message::next(&request);
    if request["stream"] == true { message.streamed(&request) } else { message.whole(&request) }
}

fn failure(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    json_answer(status, json!({"type": "error", "error": {"type": kind, "message": message}}).to_string())
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap_or_default()
}

/// The text of the last tool result in the conversation.
fn tool_result(request: &Value) -> Option<String> {
    let messages = request["messages"].as_array()?;
    let mut blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
    let result = blocks.rfind(|block| block["type"] == "tool_result")?;
    Some(match &result["content"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// What the fake model says next.
enum Message {
    Call,
    Text(String),
}

impl Message {
    fn next(request: &Value) -> Message {
        let has_bash = request["tools"].as_array().is_some_and(|tools| tools.iter().any(|tool| tool["name"] == "Bash"));
        match tool_result(request) {
            Some(text) => Message::Text(format!("The tool said: {text}")),
            None if has_bash => Message::Call,
            None => Message::Text("ok".to_owned()),
        }
    }

    fn block(&self) -> Value {
        match self {
            Message::Call => json!({"type": "tool_use", "id": "toolu_bottle", "name": "Bash", "input": self.input()}),
            Message::Text(text) => json!({"type": "text", "text": text}),
        }
    }

    fn input(&self) -> Value {
        json!({"command": COMMAND, "description": "Add two numbers"})
    }

    fn stop_reason(&self) -> &'static str {
        match self {
            Message::Call => "tool_use",
            Message::Text(_) => "end_turn",
        }
    }

    fn envelope(request: &Value) -> Value {
        json!({
            "id": "msg_bottle", "type": "message", "role": "assistant", "model": request["model"], "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1},
        })
    }

    fn whole(&self, request: &Value) -> Response<Body> {
        let mut message = Message::envelope(request);
        message["content"] = json!([self.block()]);
        message["stop_reason"] = self.stop_reason().into();
        json_answer(StatusCode::OK, message.to_string())
    }

    /// The same as server-sent events, the tool's input in two halves as the real one sends it.
    fn streamed(&self, request: &Value) -> Response<Body> {
        let (start, deltas) = match self {
            Message::Call => {
                let input = self.input().to_string();
                let (head, tail) = input.split_at(input.len() / 2);
                let part = |text: &str| json!({"type": "input_json_delta", "partial_json": text});
                let start = json!({"type": "tool_use", "id": "toolu_bottle", "name": "Bash", "input": {}});
                (start, vec![part(head), part(tail)])
            }
            Message::Text(text) => {
                (json!({"type": "text", "text": ""}), vec![json!({"type": "text_delta", "text": text})])
            }
        };
        let mut events = vec![
            json!({"type": "message_start", "message": Message::envelope(request)}),
            json!({"type": "content_block_start", "index": 0, "content_block": start}),
        ];
        events.extend(deltas.iter().map(|delta| json!({"type": "content_block_delta", "index": 0, "delta": delta})));
        events.push(json!({"type": "content_block_stop", "index": 0}));
        let delta = json!({"stop_reason": self.stop_reason(), "stop_sequence": null});
        events.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}}));
        events.push(json!({"type": "message_stop"}));
        let line = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
        let mut response = Response::new(full(events.iter().map(line).collect::<String>()));
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(stream: bool, content: Value) -> Seen {
        let body = json!({
            "model": "m", "stream": stream, "tools": [{"name": "Bash"}],
            "messages": [{"role": "user", "content": content}],
        });
        Seen {
            method: "POST".to_owned(),
            target: "/v1/messages?beta=true".to_owned(),
            headers: vec![("authorization".to_owned(), "Bearer right".to_owned())],
            body: body.to_string().into_bytes(),
            ..Seen::default()
        }
    }

    #[test]
    fn the_first_turn_calls_the_tool_and_the_second_repeats_its_result() {
        let first = Message::next(&body(&ask(true, json!("hello"))));
        assert_eq!(first.stop_reason(), "tool_use");
        let result = json!([{"type": "tool_result", "tool_use_id": "toolu_bottle", "content": RESULT}]);
        let second = Message::next(&body(&ask(true, result)));
        assert_eq!(second.block()["text"], format!("The tool said: {RESULT}"));
    }

    #[test]
    fn the_right_key_alone_is_taken() {
        let mut seen = ask(false, json!("hello"));
        assert_eq!(answer(&seen, "right").status(), StatusCode::OK);
        assert_eq!(answer(&seen, "wrong").status(), StatusCode::UNAUTHORIZED);
        seen.headers = vec![("x-api-key".to_owned(), "right".to_owned())];
        assert_eq!(answer(&seen, "right").status(), StatusCode::OK);
    }
}
