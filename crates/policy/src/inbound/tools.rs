//! Descriptions of tools (MCP, `tools/list`): orders hidden in them, and descriptions that change after they were first
//! seen.
//!
//! Invariant: at most [`MAX_TOOLS`] tools are remembered, each by a hash. What may be a list of tools and cannot be read
//! is not passed where something would be done about it: who reads it may be less strict than we are.

use super::{Act, MAX_SIGNS, REMOVED, Sign, found};
use memchr::memmem;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Tools remembered of one bottle.
pub const MAX_TOOLS: usize = 1024;
const POISONED: &str = "inbound-tool-order";
const CHANGED: &str = "inbound-tool-changed";
const UNREADABLE: &str = "inbound-tool-unreadable";

/// What the tools of this bottle's servers were when they were first seen.
#[derive(Debug, Default)]
pub struct Tools {
    seen: HashMap<[u8; 32], [u8; 32]>,
}

/// What becomes of what was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    Passes,
    /// This goes on in its place.
    Cleaned(Vec<u8>),
    Refused,
}

impl Tools {
    /// Looks at a whole body, a line of one, or a message: JSON.
    pub fn text(&mut self, host: &str, text: &[u8], act: Act, signs: &mut Vec<Sign>) -> Judged {
        match self.json(host, text, act, signs) {
            Read::Passes => Judged::Passes,
            Read::Cleaned(values) => {
                let end: &[u8] = if text.ends_with(b"\n") { b"\n" } else { b"" };
                Judged::Cleaned([values.join(&b'\n').as_slice(), end].concat())
            }
            Read::Refused => Judged::Refused,
        }
    }

    /// Looks at an event of an event stream, whose data is JSON.
    pub fn event(&mut self, host: &str, event: &[u8], act: Act, signs: &mut Vec<Sign>) -> Judged {
        if !names_tools(event) {
            return Judged::Passes;
        }
        let (mut data, mut others): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
        for line in without_mark(event).split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty()) {
            match line.strip_prefix(b"data:") {
                Some(value) => data.push(value.strip_prefix(b" ").unwrap_or(value)),
                None => others.push(line),
            }
        }
        match self.json(host, &data.join(&b'\n'), act, signs) {
            Read::Passes => Judged::Passes,
            Read::Cleaned(values) => {
                let mut out = Vec::new();
                others.iter().for_each(|line| out.extend_from_slice(&[line, b"\n".as_slice()].concat()));
                values.iter().for_each(|value| out.extend_from_slice(&[b"data: ", value.as_slice(), b"\n"].concat()));
                out.push(b'\n');
                Judged::Cleaned(out)
            }
            Read::Refused => Judged::Refused,
        }
    }

    fn json(&mut self, host: &str, text: &[u8], act: Act, signs: &mut Vec<Sign>) -> Read {
        let text = without_mark(text).trim_ascii();
        if !matches!(text.first(), Some(b'{' | b'[')) || !names_tools(text) {
            return Read::Passes;
        }
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(text).into_iter().collect();
        let Ok(mut values) = values else {
            signs.push(sign(UNREADABLE, &String::from_utf8_lossy(text.get(..80).unwrap_or(text))));
            return if act == Act::Warn { Read::Passes } else { Read::Refused };
        };
        let mut offends = false;
        for value in &mut values {
            match value {
                // A batch.
                Value::Array(messages) => {
                    messages.iter_mut().for_each(|message| offends |= self.message(host, message, act, signs));
                }
                message => offends |= self.message(host, message, act, signs),
            }
        }
        match act {
            Act::Strip if offends => Read::Cleaned(values.iter().map(|value| value.to_string().into_bytes()).collect()),
            Act::Block if offends => Read::Refused,
            Act::Warn | Act::Strip | Act::Block => Read::Passes,
        }
    }

    /// Whether something in it is not to go on; under [`Act::Strip`] that has been taken out.
    fn message(&mut self, host: &str, message: &mut Value, act: Act, signs: &mut Vec<Sign>) -> bool {
        let Some(tools) = message.pointer_mut("/result/tools").and_then(Value::as_array_mut) else { return false };
        let mut offends = false;
        tools.retain_mut(|tool| {
            let Some(name) = tool.get("name").and_then(Value::as_str).map(str::to_owned) else { return true };
            let now = hash(&[tool.to_string().as_bytes()]);
            let mut poisoned = false;
            descriptions(tool, &mut |text| {
                let orders = found(text.as_bytes(), 0..text.len(), true);
                poisoned |= !orders.is_empty();
                for (_, span) in &orders {
                    let words = String::from_utf8_lossy(text.as_bytes().get(span.clone()).unwrap_or_default());
                    note(signs, POISONED, &format!("{name}: {words}"));
                }
                if act == Act::Strip && !orders.is_empty() {
                    *text = String::from_utf8_lossy(REMOVED).into_owned();
                }
            });
            let changed = self.changes(host, &name, now, act, poisoned);
            if changed {
                note(signs, CHANGED, &name);
            }
            offends |= poisoned || changed;
            // What has changed about it may be any part of it.
            !(changed && act == Act::Strip)
        });
        offends
    }

    /// Whether it was another when it was first seen. What does not go on is not remembered.
    fn changes(&mut self, host: &str, name: &str, now: [u8; 32], act: Act, poisoned: bool) -> bool {
        let known = hash(&[host.as_bytes(), name.as_bytes()]);
        let room = self.seen.len() < MAX_TOOLS;
        match self.seen.get_mut(&known) {
            Some(before) if *before != now => {
                if act == Act::Warn {
                    *before = now;
                }
                true
            }
            None if room && (act == Act::Warn || !poisoned) => {
                self.seen.insert(known, now);
                false
            }
            Some(_) | None => false,
        }
    }
}

enum Read {
    Passes,
    /// Each value in one line.
    Cleaned(Vec<Vec<u8>>),
    Refused,
}

/// Plainly, or in a key that is spelled by escapes.
fn names_tools(text: &[u8]) -> bool {
    memmem::find(text, b"\"tools\"").is_some() || memmem::find(text, b"\\u00").is_some()
}

/// Without a byte order mark.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

fn note(signs: &mut Vec<Sign>, rule: &'static str, words: &str) {
    if signs.len() < MAX_SIGNS {
        signs.push(sign(rule, words));
    }
}

fn sign(rule: &'static str, words: &str) -> Sign {
    Sign { rule, span: 0..0, words: words.chars().take(80).collect() }
}

/// Every `description` and `title` in a tool, also of its parameters.
fn descriptions(value: &mut Value, each: &mut dyn FnMut(&mut String)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if matches!(name.as_str(), "description" | "title") => each(text),
                    _ => descriptions(member, each),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| descriptions(item, each)),
        _ => {}
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
