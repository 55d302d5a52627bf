//! Decisions as action receipts of Pipelock, version 1: a chain of its own that `pipelock-verify` reads.
//!
//! A receipt is signed with Ed25519 over the SHA-256 of its action record, written as Go's `encoding/json` writes it:
//! fields in the format's order, no spaces, `<`, `>`, `&`, U+2028 and U+2029 escaped. Each names the SHA-256 of the one
//! before it. `action_id` is the hash of the audit record that the receipt is about, so that one leads to the other.

use super::{number, text};
use crate::error::CliError;
use crate::time::rfc3339;
use bottle_gate::audit::sign;
use bottle_spec::secret::Secret;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Field by field in the order that the signature covers.
#[derive(Serialize)]
struct ActionRecord<'a> {
    version: u32,
    action_id: &'a str,
    action_type: &'a str,
    timestamp: String,
    principal: &'a str,
    actor: &'a str,
    delegation_chain: [&'a str; 0],
    target: String,
    side_effect_class: &'a str,
    reversibility: &'a str,
    policy_hash: &'a str,
    verdict: &'a str,
    session_id: &'a str,
    transport: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    layer: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pattern: &'a str,
    request_id: String,
    chain_prev_hash: &'a str,
    chain_seq: u64,
}

/// Makes the receipts of one log.
pub(super) struct Receipts {
    key: Secret,
    signer: String,
    policy: String,
    prev: String,
    next: u64,
}

impl Receipts {
    pub(super) fn new(key: Secret) -> Result<Receipts, CliError> {
        let signer = super::public_key(&key)?;
        Ok(Receipts { key, signer, policy: String::new(), prev: "genesis".to_owned(), next: 0 })
    }

    /// The receipt of a decision; records of other kinds have none.
    pub(super) fn receipt(&mut self, record: &Value) -> Result<Option<String>, CliError> {
        let kind = text(record, "event").unwrap_or_default();
        let accepted = record.get("accepted") != Some(&Value::Bool(false));
        if matches!(kind, "gate_started" | "policy_reloaded") && accepted {
            self.policy = text(record, "policy").unwrap_or_default().to_owned();
        }
        if !matches!(kind, "egress" | "finding") {
            return Ok(None);
        }
        let method = text(record, "method").unwrap_or_default();
        let reads = matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE");
        let action = ActionRecord {
            version: 1,
            action_id: text(record, "hash").unwrap_or_default(),
            action_type: match method {
                "" | "CONNECT" => "unclassified",
                _ if reads => "read",
                _ => "write",
            },
            timestamp: rfc3339(number(record, "time").unwrap_or_default()),
            principal: "operator",
            actor: text(record, "bottle").unwrap_or_default(),
            delegation_chain: [],
            target: target(record),
            side_effect_class: if reads { "external_read" } else { "external_write" },
            reversibility: "unknown",
            policy_hash: &self.policy,
            verdict: match (text(record, "decision"), text(record, "action")) {
                (Some("allow"), _) | (_, Some("log")) => "allow",
                (_, Some("redact")) => "strip",
                _ => "block",
            },
            session_id: text(record, "bottle").unwrap_or_default(),
            transport: if method == "CONNECT" { "connect" } else { "intercept" },
            method,
            layer: kind,
            pattern: text(record, "reason").or(text(record, "rule")).unwrap_or_default(),
            request_id: number(record, "seq").unwrap_or_default().to_string(),
            chain_prev_hash: &self.prev,
            chain_seq: self.next,
        };
        let failed = |error| CliError::bug("a receipt has no JSON form").because::<serde_json::Error>(error);
        let action = as_go(&serde_json::to_string(&action).map_err(failed)?);
        let signature = sign::sign(&self.key, &Sha256::digest(action.as_bytes()))
            .map_err(|error| CliError::host("the receipts cannot be signed").because(error))?;
        let receipt = format!(
            r#"{{"version":1,"action_record":{action},"signature":"ed25519:{signature}","signer_key":"{}"}}"#,
            self.signer
        );
        self.prev = Sha256::digest(receipt.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        self.next += 1;
        Ok(Some(receipt))
    }
}

fn target(record: &Value) -> String {
    let Some(host) = text(record, "host") else { return "unknown".to_owned() };
    let port = number(record, "port").map(|port| format!(":{port}")).unwrap_or_default();
    format!("{host}{port}{}", text(record, "path").unwrap_or_default())
}

/// JSON of serde's as Go writes it. The characters in question stand in texts alone.
fn as_go(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn receipts_are_of_decisions_and_each_names_the_one_before() {
        let mut receipts = Receipts::new(Secret::new("42".repeat(32))).unwrap();
        assert!(receipts.receipt(&json!({ "event": "gate_started", "policy": "pp" })).unwrap().is_none());
        let record = json!({ "event": "egress", "decision": "deny", "reason": "no_route", "host": "a.test", "port": 443,
            "path": "/<&>", "method": "GET", "time": 0, "seq": 3, "hash": "hh", "bottle": "b-abcde" });
        let first = receipts.receipt(&record).unwrap().unwrap();
        assert!(first.contains(r#""target":"a.test:443/\u003c\u0026\u003e""#), "{first}");
        let parsed: Value = serde_json::from_str(&first).unwrap();
        assert_eq!(parsed["action_record"]["verdict"], "block");
        assert_eq!(
            (&parsed["action_record"]["policy_hash"], &parsed["action_record"]["chain_prev_hash"]),
            (&json!("pp"), &json!("genesis"))
        );
        let second: Value = serde_json::from_str(&receipts.receipt(&record).unwrap().unwrap()).unwrap();
        let hash: String = Sha256::digest(first.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(second["action_record"]["chain_prev_hash"], hash);
    }
}
