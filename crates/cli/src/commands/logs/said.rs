//! What a line of a transcript says, for people. Claude Code, Codex, pi and Gemini CLI each write their own kind of JSON
//! lines.
//!
//! Invariants: total, whatever the line is; every line that comes out is escaped; a tool's result is cut. What is not
//! JSON is text and comes out as it is; JSON that says nothing (titles, counts, states) gives nothing.

use bottle_spec::escape::Escaped;
use serde_json::Value;
use std::fmt::Write as _;

/// Of a tool's call or result.
const LINES_SHOWN: usize = 20;

/// Whole lines, or nothing.
pub(super) fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown = String::new();
    match serde_json::from_str::<Value>(&text) {
        Ok(value @ Value::Object(_)) => message(&value, &mut shown),
        _ => push(&mut shown, "", &text, usize::MAX),
    }
    shown
}

fn message(line: &Value, shown: &mut String) {
    // Codex wraps what is said in `payload`, the others in `message`.
    let item = match (&line["payload"], &line["message"]) {
        (payload @ Value::Object(_), _) if line["type"] == "response_item" => payload,
        (_, message @ Value::Object(_)) => message,
        _ => return turn(line, shown),
    };
    let text = |name: &str| item[name].as_str().unwrap_or_default();
    match (text("role"), text("type")) {
        ("user" | "assistant" | "toolResult", _) => content(text("role"), &item["content"], shown),
        (_, "function_call") => call(text("name"), &item["arguments"], shown),
        (_, "custom_tool_call") => call(text("name"), &item["input"], shown),
        (_, "function_call_output" | "custom_tool_call_output") => result(&item["output"], shown),
        _ => {}
    }
}

/// Gemini CLI's: what was said, and the calls that a turn made with what they gave.
fn turn(line: &Value, shown: &mut String) {
    let role = line["type"].as_str().unwrap_or_default();
    if !matches!(role, "user" | "gemini") {
        return;
    }
    push(shown, who(role), &plain(&line["content"]), usize::MAX);
    for made in line["toolCalls"].as_array().into_iter().flatten() {
        call(made["name"].as_str().unwrap_or_default(), &made["args"], shown);
        let given = made["result"].as_array().into_iter().flatten();
        for part in given.map(|part| &part["functionResponse"]["response"]["output"]) {
            result(part, shown);
        }
    }
}

fn who(role: &str) -> &'static str {
    if role == "user" { "you" } else { "agent" }
}

fn content(role: &str, content: &Value, shown: &mut String) {
    let who = who(role);
    match content {
        content if role == "toolResult" => result(content, shown),
        Value::String(text) => push(shown, who, text, usize::MAX),
        Value::Array(blocks) => {
            for block in blocks {
                match block["type"].as_str().unwrap_or_default() {
                    "text" | "input_text" | "output_text" => {
                        push(shown, who, block["text"].as_str().unwrap_or_default(), usize::MAX);
                    }
                    "tool_use" => call(block["name"].as_str().unwrap_or_default(), &block["input"], shown),
                    "toolCall" => call(block["name"].as_str().unwrap_or_default(), &block["arguments"], shown),
                    "tool_result" => result(&block["content"], shown),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn call(name: &str, input: &Value, shown: &mut String) {
    // A shell's line says more than the JSON around it.
    let text = ["command", "cmd"].iter().find_map(|key| input[*key].as_str());
    let text = text.map_or_else(|| plain(input), str::to_owned);
    push(shown, &format!("calls {name}"), &text, LINES_SHOWN);
}

fn result(content: &Value, shown: &mut String) {
    push(shown, "gets", &plain(content), LINES_SHOWN);
}

/// Text as it is, of a list its texts, else JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(plain).collect::<Vec<_>>().join("\n"),
        Value::Object(part) => match part.get("text") {
            Some(Value::String(text)) => text.clone(),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// `who: text`, its further lines indented.
fn push(shown: &mut String, who: &str, text: &str, most: usize) {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    for (at, line) in lines.iter().take(most).enumerate() {
        let line = Escaped(line);
        let _ = match (who, at) {
            ("", _) => writeln!(shown, "{line}"),
            (who, 0) => writeln!(shown, "{}: {line}", Escaped(who)),
            _ => writeln!(shown, "    {line}"),
        };
    }
    if lines.len() > most {
        let _ = writeln!(shown, "    (and {} lines more; --raw has them)", lines.len() - most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_agents_lines_become_readable() {
        for (line, expected) in [
            (r#"{"type":"user","message":{"role":"user","content":"Do it"}}"#, "you: Do it\n"),
            (
                r#"{"type":"assistant","message":{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},
                   {"type":"text","text":"Yes.\nNow."},{"type":"tool_use","name":"Bash","input":{"command":"ls"}}]}}"#,
                "agent: Yes.\n    Now.\ncalls Bash: ls\n",
            ),
            (
                r#"{"type":"user","message":{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"42"}]}]}}"#,
                "gets: 42\n",
            ),
            (
                r#"{"type":"response_item","payload":{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi"}]}}"#,
                "agent: Hi\n",
            ),
            (
                r#"{"type":"response_item","payload":{"type":"function_call","name":"shell","arguments":"{\"cmd\":\"ls\"}"}}"#,
                "calls shell: {\"cmd\":\"ls\"}\n",
            ),
            (r#"{"type":"response_item","payload":{"type":"function_call_output","output":"out"}}"#, "gets: out\n"),
            (
                r#"{"type":"message","message":{"role":"assistant","content":[{"type":"toolCall","name":"bash","arguments":{"command":"ls"}}]}}"#,
                "calls bash: ls\n",
            ),
            (
                r#"{"type":"message","message":{"role":"toolResult","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}"#,
                "gets: a\n    b\n",
            ),
            (r#"{"type":"summary","summary":"x"}"#, ""),
            (r#"{"message":{"role":7,"content":{}}}"#, ""),
            ("#### /run ls", "#### /run ls\n"),
            ("[1]", "[1]\n"),
            ("", ""),
        ] {
            assert_eq!(readable(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn what_reaches_a_terminal_is_escaped_and_results_are_cut() {
        let line = r#"{"message":{"role":"assistant","content":[{"type":"tool_use","name":"a\u001b[2J","input":"\u001b]0;x\u0007"}]}}"#;
        assert_eq!(readable(line.as_bytes()), "calls a\\u{1b}[2J: \\u{1b}]0;x\\u{7}\n");
        assert_eq!(readable(b"\x1b[31m\xff"), "\\u{1b}[31m\u{fffd}\n");
        let long = "x\\n".repeat(50);
        let shown = readable(
            format!(r#"{{"message":{{"role":"user","content":[{{"type":"tool_result","content":"{long}"}}]}}}}"#)
                .as_bytes(),
        );
        assert_eq!(shown.lines().count(), LINES_SHOWN + 1);
        assert!(shown.ends_with("    (and 30 lines more; --raw has them)\n"), "{shown}");
        let deep = "[".repeat(5000);
        assert_eq!(readable(deep.as_bytes()).trim_end(), deep);
    }
}
