//! Anthropic's Messages API.

use super::{Conversation, Move, text_of};
use serde_json::{Value, json};

pub(super) fn read(request: &Value) -> Conversation {
    let messages = request["messages"].as_array().into_iter().flatten();
    let blocks = messages.filter_map(|message| message["content"].as_array()).flatten();
    let results = blocks.filter(|block| block["type"] == "tool_result").map(|block| text_of(&block["content"]));
    let tools = request["tools"].as_array().into_iter().flatten();
    let names = tools.filter_map(|tool| tool["name"].as_str().map(str::to_owned));
    Conversation { results: results.collect(), tools: names.collect(), ..Conversation::default() }
}

fn envelope(request: &Value) -> Value {
    let turns = request["messages"].as_array().map_or(0, Vec::len);
    json!({
        "id": format!("msg_bottle_{turns}"), "type": "message", "role": "assistant", "model": request["model"],
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1},
    })
}

/// Unique in a conversation, as the real ones are.
fn call_id(request: &Value) -> String {
    format!("toolu_bottle_{}", request["messages"].as_array().map_or(0, Vec::len))
}

fn stop_reason(next: &Move) -> &'static str {
    match next {
        Move::Call { .. } => "tool_use",
        Move::Text(_) => "end_turn",
    }
}

pub(super) fn whole(next: &Move, request: &Value) -> Value {
    let block = match next {
        Move::Call { tool, input } => {
            json!({"type": "tool_use", "id": call_id(request), "name": tool, "input": input})
        }
        Move::Text(text) => json!({"type": "text", "text": text}),
    };
    let mut message = envelope(request);
    message["content"] = json!([block]);
    message["stop_reason"] = stop_reason(next).into();
    message
}

/// The same as events, a tool's input in two halves as the real one sends it.
pub(super) fn events(next: &Move, request: &Value) -> Vec<Value> {
    let (start, deltas) = match next {
        Move::Call { tool, input } => {
            let input = input.to_string();
            let middle = (0..=input.len() / 2).rev().find(|at| input.is_char_boundary(*at)).unwrap_or(0);
            let (head, tail) = input.split_at(middle);
            let part = |text: &str| json!({"type": "input_json_delta", "partial_json": text});
            let start = json!({"type": "tool_use", "id": call_id(request), "name": tool, "input": {}});
            (start, vec![part(head), part(tail)])
        }
        Move::Text(text) => (json!({"type": "text", "text": ""}), vec![json!({"type": "text_delta", "text": text})]),
    };
    let mut events = vec![
        json!({"type": "message_start", "message": envelope(request)}),
        json!({"type": "content_block_start", "index": 0, "content_block": start}),
    ];
    events.extend(deltas.iter().map(|delta| json!({"type": "content_block_delta", "index": 0, "delta": delta})));
    events.push(json!({"type": "content_block_stop", "index": 0}));
    let delta = json!({"stop_reason": stop_reason(next), "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}}));
    events.push(json!({"type": "message_stop"}));
    events
}
