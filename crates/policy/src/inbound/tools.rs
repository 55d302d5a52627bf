//! Descriptions of tools (MCP, `tools/list`): orders hidden in them, and descriptions that change after they were first
//! seen.
//!
//! Invariant: at most [`MAX_TOOLS`] tools are remembered, each by a hash; a body that is no JSON of this form says
//! nothing.

use super::{Sign, phrases, phrases::ORDER};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Tools remembered of one bottle.
pub const MAX_TOOLS: usize = 1024;
const POISONED: &str = "inbound-tool-order";
const CHANGED: &str = "inbound-tool-changed";

/// What the tools of this bottle's servers were when they were first seen.
#[derive(Debug, Default)]
pub struct Tools {
    seen: HashMap<[u8; 32], [u8; 32]>,
}

impl Tools {
    /// Looks at a whole body from this host: JSON, or an event stream whose data is JSON.
    pub fn look(&mut self, host: &str, body: &[u8], signs: &mut Vec<Sign>) {
        if memchr::memmem::find(body, b"inputSchema").is_none() {
            return;
        }
        if let Ok(value) = serde_json::from_slice(body) {
            return self.message(host, &value, signs);
        }
        let data = body.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
        for value in data.filter_map(|data| serde_json::from_slice(data).ok()) {
            self.message(host, &value, signs);
        }
    }

    fn message(&mut self, host: &str, message: &Value, signs: &mut Vec<Sign>) {
        let tools = message.pointer("/result/tools").and_then(Value::as_array);
        for tool in tools.into_iter().flatten() {
            let Some(name) = tool.get("name").and_then(Value::as_str) else { continue };
            let mut texts = Vec::new();
            descriptions(tool, &mut texts);
            for text in texts {
                phrases::find(text.as_bytes(), &mut |phrase, span| {
                    if !phrase.weak || phrase.rule == ORDER {
                        let words = text.get(span).unwrap_or_default();
                        signs.push(sign(POISONED, &format!("{name}: {words}")));
                    }
                });
            }
            let known = hash(&[host.as_bytes(), name.as_bytes()]);
            let now = hash(&[tool.to_string().as_bytes()]);
            let room = self.seen.len() < MAX_TOOLS;
            match self.seen.get_mut(&known) {
                Some(before) if *before != now => {
                    *before = now;
                    signs.push(sign(CHANGED, name));
                }
                None if room => drop(self.seen.insert(known, now)),
                Some(_) | None => {}
            }
        }
    }
}

fn sign(rule: &'static str, words: &str) -> Sign {
    Sign { rule, span: 0..0, words: words.chars().take(80).collect() }
}

/// Every `description` and `title` in a tool, also of its parameters.
fn descriptions<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(text) if matches!(name.as_str(), "description" | "title") => texts.push(text),
                    _ => descriptions(member, texts),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| descriptions(item, texts)),
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
