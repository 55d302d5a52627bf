//! Requests to the operator and the answers, as files of a bottle's `supervise/`: `<id>.request.json`, made by the gate
//! that waits, and `<id>.decision.json`, written by the keeper on the operator's word.
//!
//! Invariant: a decision names the very request that was shown, by the hash of its file: what was shown is what is
//! granted. Every text in a request may be the agent's; escape it before a person sees it.

mod asked;
mod grant;

pub use asked::{
    EgressRequest, GitRequest, HeldRequest, MAX_CHOICES, MAX_METHODS, MAX_PATHS, MAX_REFS, MAX_TEXT, QuestionRequest,
    SecretRequest, Unfit,
};
pub use grant::{Gives, Grant, Term};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Endings of the files' names.
pub const REQUEST: &str = ".request.json";
pub const DECISION: &str = ".decision.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRequest {
    /// Letters; drawn anew for each.
    pub id: String,
    pub bottle: String,
    /// Milliseconds since the Unix epoch.
    pub made: u64,
    /// When it counts as denied.
    pub expires: u64,
    #[serde(flatten)]
    pub what: Requested,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Requested {
    /// A push that waits at the git door.
    Push(PushRequest),
    /// A request that waits at the egress door.
    Held(HeldRequest),
    Egress(EgressRequest),
    Git(GitRequest),
    SecretRoute(SecretRequest),
    Question(QuestionRequest),
}

impl Requested {
    /// As the tag says it.
    pub fn kind(&self) -> &'static str {
        match self {
            Requested::Push(_) => "push",
            Requested::Held(_) => "held",
            Requested::Egress(_) => "egress",
            Requested::Git(_) => "git",
            Requested::SecretRoute(_) => "secret_route",
            Requested::Question(_) => "question",
        }
    }
}

/// A push that waits for a yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushRequest {
    pub repository: String,
    pub upstream: String,
    pub refs: Vec<RequestedRef>,
    /// What in it makes a machine run something.
    pub flags: Vec<String>,
    /// The new commits, newest first: what each is, who made it and its subject.
    pub commits: Vec<String>,
    /// The changes against what upstream has.
    pub diff: String,
    /// Whether there are more commits, or more of the diff, than are here.
    pub cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedRef {
    pub reference: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorDecision {
    pub id: String,
    /// [`digest`] of the request's file.
    pub request: String,
    pub allow: bool,
    /// For the agent to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// To a question: the choice, or what the operator wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What the bottle may do from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
}

impl OperatorDecision {
    /// A no that nobody said.
    pub fn no(id: &str, request: String, why: &str) -> OperatorDecision {
        OperatorDecision {
            id: id.to_owned(),
            request,
            allow: false,
            why: Some(why.to_owned()),
            answer: None,
            grant: None,
        }
    }
}

/// SHA-256 of a request's file, in hex.
pub fn digest(file: &[u8]) -> String {
    Sha256::digest(file).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text can be the id of a request: it becomes a file's name.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_lowercase())
}
