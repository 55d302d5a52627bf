//! Google's generateContent.

use super::{Conversation, Move};
use serde_json::{Value, json};

pub(super) fn read(request: &Value) -> Conversation {
    let contents = request["contents"].as_array().into_iter().flatten();
    let parts = contents.filter_map(|content| content["parts"].as_array()).flatten();
    let results = parts.filter(|part| part["functionResponse"].is_object());
    let tools = request["tools"].as_array().into_iter().flatten();
    let declared = tools.filter_map(|tool| tool["functionDeclarations"].as_array()).flatten();
    Conversation {
        results: results.map(|part| part["functionResponse"]["response"].to_string()).collect(),
        tools: declared.filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect(),
        ..Conversation::default()
    }
}

/// One answer, which is also the whole of a stream.
pub(super) fn whole(next: &Move, request: &Value) -> Value {
    let part = match next {
        Move::Call { tool, input } => json!({ "functionCall": { "name": tool, "args": input } }),
        // The client lets a model choose the model, by how hard the task is.
        Move::Text(_) if request["generationConfig"]["responseMimeType"] == "application/json" => {
            json!({ "text": json!({ "complexity_reasoning": "small", "complexity_score": 1 }).to_string() })
        }
        Move::Text(text) => json!({ "text": text }),
    };
    json!({
        "candidates": [{ "content": { "role": "model", "parts": [part] }, "finishReason": "STOP", "index": 0 }],
        "usageMetadata": { "promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2 },
        "modelVersion": "bottle",
    })
}
