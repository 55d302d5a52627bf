//! Audit events: one per security decision, with a schema that stays.

use crate::{operator::Grant, verdict::Reason};
use serde::{Deserialize, Serialize};

/// The JSON Schema of [`AuditRecord`].
pub const AUDIT_SCHEMA: &str = include_str!("../schema/audit.json");

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
    /// How an allowed request or tunnel went. Written later than it happened, by up to some seconds; `kill -9` loses
    /// those not yet written.
    EgressEnded(EgressEnded),
    /// Vouches for every record before it.
    Checkpoint(Checkpoint),
    /// So many decisions before this one could not be written (a full disk): each of them was a denial.
    Gap {
        lost: u64,
    },
    /// The scan found something in what was to leave.
    Finding(FindingEvent),
    /// A response held text that gives orders to the agent.
    Inbound(InboundEvent),
    /// A fetch, or one ref of a push, at the git door.
    Git(GitEvent),
    /// What the upstream made of an allowed ref.
    GitEnded(GitEnded),
    /// Everything stopped, or goes on: by the operator's word, or of itself because a canary was about to leave.
    Frozen {
        frozen: bool,
        by: FrozenBy,
    },
    /// A request of the agent's to its operator has its answer.
    Decided(DecidedEvent),
    /// What was granted holds no more.
    GrantEnded {
        /// The request's id, which is the grant's.
        request: String,
        how: GrantEnd,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedEvent {
    pub request: String,
    /// As [`crate::operator::Requested::kind`].
    pub kind: String,
    pub decision: Decision,
    pub by: DecidedBy,
    /// What a yes gives, where it gives more than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    Operator,
    /// Nobody answered in time.
    Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantEnd {
    Expired,
    Revoked,
    /// By the one request that it was for.
    Used,
}

mod git;

pub use git::{GitEnded, GitEvent, GitOperation, GitReason};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundEvent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub rule: String,
    /// The upstream's own, at most 80 characters; to be escaped before a person sees them.
    pub words: String,
    pub action: InboundAction,
}

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundAction {
    Warn,
    Strip,
    Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrozenBy {
    Operator,
    Canary,
}

/// Nothing in it holds more of the value than its first four bytes and its length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingEvent {
    pub action: FindingAction,
    /// As `exempt` names it.
    pub rule: String,
    /// Of a known secret or a canary: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where in the request.
    pub place: String,
    /// First bytes and length.
    pub shown: String,
    /// What it was hidden in, outermost first, as `base64 > inflate`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub through: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingAction {
    Block,
    Redact,
    Log,
    /// The operator is asked; whether it went on, the request's own record says.
    Ask,
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
    /// The budget that a denial would have gone over, as the manifest names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// No route allowed it: the bottle is being observed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressEnded {
    /// `seq` of the record that allowed it.
    pub of: u64,
    /// The upstream's answer; none for a tunnel, and where none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of bodies, towards the upstream; of everything, in a tunnel or WebSocket.
    pub sent: u64,
    /// The same, towards the agent.
    pub received: u64,
    /// Milliseconds from the decision to the end of the last body.
    pub took: u64,
}

/// A signature over all records before this one: Ed25519 by the run's own key over the text
/// `bot-bottle audit checkpoint v1`, bottle, `seq`, `time` and `prev` of this record, a line each. Everything in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The public key of this run of the bottle.
    pub key: String,
    /// The user's public key.
    pub signer: String,
    /// The user's signature over `bot-bottle audit key v1`, bottle and `key`, a line each.
    pub certificate: String,
    pub signature: String,
}

/// What is noted beside a log of its last checkpoint that is safely on the disk: a log that does not hold it has lost
/// its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub bottle: String,
    /// So many records, the checkpoint's included.
    pub records: u64,
    /// The hash of the last of them; that of no record is 64 zeros.
    pub hash: String,
}

/// The `prev` of the first record.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Head {
    /// Of a log that is about to begin.
    pub fn of_nothing(bottle: &str) -> Head {
        Head { bottle: bottle.to_owned(), records: 0, hash: GENESIS.to_owned() }
    }
}
