//! What the git gate decides.

use super::Decision;
use serde::{Deserialize, Serialize};

/// A fetch, or one ref of a push. Names of refs and repositories are the agent's; escape them before a person sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitEvent {
    pub operation: GitOperation,
    pub decision: Decision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<GitReason>,
    /// As it is listed; of a denial, as it was asked for.
    pub repository: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The object that the ref is at; none = there is no such ref.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The object that it is to be at; none = it is to be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Whether the operator was asked and said yes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
}

impl GitEvent {
    pub fn new(operation: GitOperation, repository: &str, decision: Decision) -> GitEvent {
        let repository = repository.to_owned();
        GitEvent {
            operation,
            decision,
            reason: None,
            repository,
            reference: None,
            old: None,
            new: None,
            approved: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitOperation {
    Fetch,
    Push,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitReason {
    UnlistedRepository,
    /// No pattern names the ref.
    RefNotAllowed,
    DeleteNotAllowed,
    ForceNotAllowed,
    /// The scan found something.
    Secret,
    /// More objects or bytes than are looked at.
    TooLarge,
    /// An object that cannot be read or is not what it says.
    Malformed,
    /// The operator said no.
    Denied,
    /// The operator said nothing in time.
    Unanswered,
    /// Another ref of an atomic push was refused.
    Atomic,
    /// The upstream's ref is not where the agent thinks.
    Moved,
    Frozen,
}

impl GitReason {
    /// As it stands in the log.
    pub fn code(self) -> &'static str {
        match self {
            GitReason::UnlistedRepository => "unlisted_repository",
            GitReason::RefNotAllowed => "ref_not_allowed",
            GitReason::DeleteNotAllowed => "delete_not_allowed",
            GitReason::ForceNotAllowed => "force_not_allowed",
            GitReason::Secret => "secret",
            GitReason::TooLarge => "too_large",
            GitReason::Malformed => "malformed",
            GitReason::Denied => "denied",
            GitReason::Unanswered => "unanswered",
            GitReason::Atomic => "atomic",
            GitReason::Moved => "moved",
            GitReason::Frozen => "frozen",
        }
    }
}

/// How an allowed ref of a push went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitEnded {
    /// `seq` of the record that allowed it.
    pub of: u64,
    /// Whether the upstream took it.
    pub taken: bool,
}
