//! Audit events: one per security decision, with a schema that stays.

use crate::verdict::Reason;
use serde::{Deserialize, Serialize};

/// One line of the audit log. `hash` is SHA-256, in hex, of the line's JSON with `hash` empty; `prev` is the hash of
/// the line before it, so an edit, a removal or a reordering shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// From 0, without gaps.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub time: u64,
    pub bottle: String,
    #[serde(flatten)]
    pub event: AuditEvent,
    pub prev: String,
    pub hash: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AuditEvent {
    /// The bottle's gate began to serve; `policy` is the SHA-256 of the policy's JSON.
    GateStarted {
        policy: String,
    },
    GateStopped,
    /// The running gate took a new policy, or kept its last good one.
    PolicyReloaded {
        policy: String,
        accepted: bool,
    },
    /// A request, tunnel or connection at the egress door.
    Egress(EgressEvent),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressEvent {
    pub decision: Decision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// As far as it is known when the decision is made, and only in its parsed form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether a secret was injected.
    #[serde(default)]
    pub injected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    Deny,
}
