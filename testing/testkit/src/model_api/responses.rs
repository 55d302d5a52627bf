//! OpenAI's Responses API, whose events are the same over HTTP and over a WebSocket.

use super::{Conversation, Move, text_of};
use crate::upstream::Seen;
use serde_json::{Value, json};

/// The tool that takes a program in JavaScript, which calls the others.
const PROGRAM: &str = "exec";

/// What ChatGPT's servers say besides: which models there are, and where the account's workspace is served.
pub(super) fn of_chatgpt(seen: &Seen) -> Option<Value> {
    match seen.path() {
        "/backend-api/codex/models" => Some(json!({ "models": [] })),
        "/backend-api/wham/accounts/check" => {
            let account = seen.header("chatgpt-account-id").unwrap_or_default();
            let entry = json!({
                "id": account, "account_id": account, "name": "me", "structure": "personal", "plan_type": "pro",
                "is_deactivated": false, "workspace_backend_origin": "https://chatgpt.com", "account_routing_override": "NO_CONSTRAINT",
            });
            Some(json!({ "accounts": [entry], "default_account_id": account, "account_ordering": [account] }))
        }
        _ => None,
    }
}

pub(super) fn read(request: &Value) -> Conversation {
    let input = || request["input"].as_array().into_iter().flatten();
    let is_result = |item: &&Value| item["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output"));
    let results = input().filter(is_result).map(|item| text_of(&item["output"])).collect();
    // Recent models are told of their tools in the conversation.
    let later = input().filter(|item| item["type"] == "additional_tools");
    let mut tools = Vec::new();
    for list in std::iter::once(request).chain(later) {
        names(&list["tools"], &mut tools);
    }
    Conversation { results, tools, ..Conversation::default() }
}

/// Also of those in a namespace.
fn names(tools: &Value, found: &mut Vec<String>) {
    for tool in tools.as_array().into_iter().flatten() {
        match tool["tools"].as_array() {
            Some(_) => names(&tool["tools"], found),
            None => found.extend(tool["name"].as_str().map(str::to_owned)),
        }
    }
}

/// A call of the tool that takes a program, where there is one.
pub(super) fn scripted(tools: &[String], program: &str) -> Option<Move> {
    let there = tools.iter().any(|tool| tool == PROGRAM);
    there.then(|| Move::Call { tool: PROGRAM.to_owned(), input: program.into() })
}

pub(super) fn shell(line: &str) -> String {
    let line = Value::from(line);
    format!("const ran = await tools.exec_command({{ cmd: {line}, yield_time_ms: 25000 }}); text(ran);")
}

/// The server's tools under whatever name the client gives them.
pub(super) fn mcp(name: &str) -> String {
    format!(
        "const tool = ALL_TOOLS.find((tool) => tool.name.includes('bot') && tool.name.endsWith('{name}')); \
         text(tool ? await tools[tool.name]({{}}) : ALL_TOOLS.map((tool) => tool.name));"
    )
}

/// A WebSocket's conversation, of which each message brings only what is new.
#[derive(Debug, Default)]
pub(super) struct Running {
    input: Vec<Value>,
}

impl Running {
    /// The request with all that was said before.
    pub(super) fn whole(&mut self, mut request: Value) -> Value {
        let new = request["input"].as_array().cloned().unwrap_or_default();
        if request["previous_response_id"].is_null() {
            self.input.clear();
        }
        self.input.extend(new);
        request["input"] = Value::Array(self.input.clone());
        request
    }
}

fn item(next: &Move, turn: usize) -> Value {
    match next {
        Move::Call { tool, input: Value::String(program) } => json!({
            "type": "custom_tool_call", "id": format!("ctc_{turn}"), "call_id": format!("call_{turn}"),
            "status": "completed", "name": tool, "input": program,
        }),
        Move::Call { tool, input } => json!({
            "type": "function_call", "id": format!("fc_{turn}"), "call_id": format!("call_{turn}"),
            "status": "completed", "name": tool, "arguments": input.to_string(),
        }),
        Move::Text(text) => json!({
            "type": "message", "id": format!("msg_{turn}"), "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }],
        }),
    }
}

fn response(request: &Value, status: &str, output: &[Value]) -> Value {
    let turn = request["input"].as_array().map_or(0, Vec::len);
    json!({
        "id": format!("resp_{turn}"), "object": "response", "created_at": 1, "model": request["model"],
        "status": status, "output": output,
        "usage": {
            "input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
            "input_tokens_details": { "cached_tokens": 0 }, "output_tokens_details": { "reasoning_tokens": 0 },
        },
    })
}

pub(super) fn events(next: &Move, request: &Value) -> Vec<Value> {
    let item = item(next, request["input"].as_array().map_or(0, Vec::len));
    let mut events = vec![
        json!({ "type": "response.created", "response": response(request, "in_progress", &[]) }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": item }),
    ];
    if let Move::Text(text) = next {
        events.push(json!({
            "type": "response.output_text.delta", "item_id": item["id"], "output_index": 0, "content_index": 0,
            "delta": text,
        }));
    }
    events.push(json!({ "type": "response.output_item.done", "output_index": 0, "item": item }));
    events.push(json!({ "type": "response.completed", "response": response(request, "completed", &[item]) }));
    events
}

/// What answers a message that only opens a conversation.
pub(super) fn nothing(request: &Value) -> Vec<Value> {
    vec![
        json!({ "type": "response.created", "response": response(request, "in_progress", &[]) }),
        json!({ "type": "response.completed", "response": response(request, "completed", &[]) }),
    ]
}
