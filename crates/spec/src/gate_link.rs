//! What keeper and gate say to each other over the socket that is the gate's standard input ([`crate::wire`] frames).
//! A bottle with repositories has a second gate, the git gate, and one that may ask its operator a third, the supervise
//! gate; they speak the same language.
//!
//! The first message is [`KeeperToGate::Start`]; with it ride the descriptors: the audit log first, then one listener
//! per door, in the order of `doors`, and last the scrapers' listener where `metrics` is set. When the socket closes,
//! the other side is gone: the gate exits at once.

use crate::{
    door::Door,
    event::Head,
    git::GitRepository,
    host::HostName,
    notify::NotifyStart,
    operator::{Grant, OperatorDecision},
    plan::PlannedSecret,
    policy::EgressPolicy,
    secret::{Secret, SecretRef},
    slug::Slug,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperToGate {
    Start(Box<GateStart>),
    /// The first message to a git gate; its one door's listener rides with it.
    StartGit(Box<GitStart>),
    /// The first message to a supervise gate; its one door's listener rides with it.
    StartSupervise(Box<SuperviseStart>),
    /// To a process that sends one notification and ends.
    Notify(Box<NotifyStart>),
    /// The answer to [`GateToKeeper::Ask`]: whether it is put before the operator; if not, why.
    Asked {
        id: String,
        result: Result<(), String>,
    },
    /// A request has its answer, from the operator or by its time.
    Decided(Box<OperatorDecision>),
    /// To the gate that writes the audit log, from the git gate: [`GateToKeeper::Record`].
    Record {
        id: u64,
        event: String,
    },
    /// Whether the event of this id is in the log; if not, why.
    Recorded {
        id: u64,
        result: Result<u64, String>,
    },
    /// The answer to [`GateToKeeper::RefreshSecret`].
    Secret {
        source: SecretRef,
        value: Result<Secret, String>,
    },
    /// A new policy; an invalid one leaves the last good one in force.
    Policy(Box<EgressPolicy>),
    /// Everything stops, or may go on. A gate that has stopped by itself goes on only by an order that was given after
    /// its keeper had heard of that.
    Freeze {
        frozen: bool,
        /// How often this gate's keeper has heard [`GateToKeeper::CanaryLeft`] from it.
        canaries: u64,
    },
    /// To the git gate: what the operator granted and holds, all of it.
    Granted(Vec<Grant>),
    /// Take no new connections, finish what is under way for at most this long, exit.
    Drain {
        seconds: u32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub struct GateStart {
    pub bottle: Slug,
    pub policy: EgressPolicy,
    pub doors: Vec<Door>,
    /// The first of the bottle's synthetic addresses: of [`crate::door::SYNTHETIC_NET`], or of
    /// [`crate::door::LOOPBACK_NET`].
    #[serde(default = "synthetic")]
    pub synthetic: Ipv4Addr,
    pub secrets: Vec<HeldSecret>,
    #[serde(default)]
    pub canaries: Vec<HeldCanary>,
    /// Whether the bottle is frozen from the start: a gate that died does not thaw it.
    #[serde(default)]
    pub frozen: bool,
    /// Whether the last descriptor is a Unix listener for scrapers of the metrics.
    #[serde(default)]
    pub metrics: bool,
    /// Whether the agent can ask its operator at a supervise door.
    #[serde(default)]
    pub supervised: bool,
    /// Seconds that the operator has for an answer.
    pub wait: u32,
    pub authority: Authority,
    pub audit_key: AuditKey,
    /// What the log must hold already.
    pub audit_head: Head,
    /// The host uid and gid that the gate takes on before it serves, where root started it.
    pub run_as: Option<(u32, u32)>,
}

fn synthetic() -> Ipv4Addr {
    crate::door::SYNTHETIC_NET.0
}

/// What a git gate serves from. Every path is absolute and there; no process of the bottle sees any of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct GitStart {
    pub bottle: Slug,
    pub repositories: Vec<GitRepository>,
    /// Of every kind: what is pushed is searched for all of them.
    pub secrets: Vec<HeldSecret>,
    #[serde(default)]
    pub canaries: Vec<HeldCanary>,
    #[serde(default)]
    pub frozen: bool,
    #[serde(default)]
    pub supervised: bool,
    /// Seconds that the operator has for an answer.
    pub wait: u32,
    /// What a repository of this machine is written with: the user's own.
    pub umask: u32,
    /// The mirrors that all bottles of a user share.
    pub mirrors: PathBuf,
    /// This bottle's own repositories.
    pub state: PathBuf,
    /// Where requests to the operator wait.
    pub requests: PathBuf,
    /// PEM files to trust besides the system's.
    pub upstream_ca: Vec<PathBuf>,
    /// Where https upstreams are, whatever their names resolve to.
    #[serde(default)]
    pub resolve: BTreeMap<HostName, SocketAddr>,
    /// The user's ssh agent.
    pub ssh_agent: Option<PathBuf>,
}

/// What a supervise gate serves from. It holds no secret and reaches no file and no network.
#[derive(Debug, Serialize, Deserialize)]
pub struct SuperviseStart {
    pub bottle: Slug,
    /// As in force, grants included.
    pub policy: EgressPolicy,
    pub git: Vec<GitRepository>,
    pub secrets: Vec<PlannedSecret>,
    /// What was asked in this run, oldest first.
    pub asked: Vec<PastRequest>,
    /// Seconds that the operator has for an answer.
    pub wait: u32,
    pub run_as: Option<(u32, u32)>,
}

/// A request as its file holds it, and the answer where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRequest {
    /// [`crate::operator::OperatorRequest`], as JSON that the keeper keeps unread.
    pub request: String,
    pub decision: Option<OperatorDecision>,
}

/// The key that signs the checkpoints of one run's audit log. The user's own key, which vouches for it, stays with the
/// keeper: a gate that was taken over can sign for its own bottle alone. Everything in hex.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditKey {
    /// The Ed25519 seed (RFC 8032), 32 bytes.
    pub seed: Secret,
    /// As in [`crate::event::Checkpoint`].
    pub signer: String,
    pub certificate: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldSecret {
    pub source: SecretRef,
    pub value: Secret,
    pub placeholder: String,
    /// When the value expires, in milliseconds since 1970; the keeper reads another before.
    #[serde(default)]
    pub until: Option<u64>,
}

/// A planted value. It opens nothing, and is watched as a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldCanary {
    /// What it looks like, as `AWS secret access key`.
    pub name: String,
    pub value: Secret,
}

/// A file with false credentials, for the bottle's home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoy {
    /// Below the home; at most one directory deep.
    pub path: String,
    pub text: Secret,
    /// What of it is watched.
    pub canaries: Vec<HeldCanary>,
}

/// The bottle's own certificate authority. It lives in the memory of keeper and gate, never on disk, and ends with
/// the bottle's run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Authority {
    /// The common name of the certificate's subject; leaves repeat it as their issuer's.
    pub name: String,
    pub certificate_pem: String,
    pub key_pem: Secret,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateToKeeper {
    /// From the git gate, before it is ready: these repositories have no mirror yet, and it is making one of each.
    Mirroring(Vec<String>),
    /// Confined and serving on every door.
    Ready,
    /// It will not serve; the process exits after this.
    Failed {
        message: String,
    },
    /// The upstream refused this secret (401): read it anew.
    RefreshSecret {
        source: SecretRef,
    },
    PolicyApplied {
        accepted: bool,
        message: String,
    },
    /// A checkpoint is in the audit log: bring the log to the disk, then note this beside it.
    Noted(Head),
    /// From the git gate: an audit event, as JSON that the keeper hands on unread. What it would allow waits for
    /// [`KeeperToGate::Recorded`].
    Record {
        id: u64,
        event: String,
    },
    /// The answer to [`KeeperToGate::Record`].
    Recorded {
        id: u64,
        result: Result<u64, String>,
    },
    /// A request for the operator: [`crate::operator::OperatorRequest`] of this id, as JSON that the keeper keeps unread.
    /// At `expires` (milliseconds since the Unix epoch) it counts as denied.
    Ask {
        id: String,
        /// As [`crate::operator::Requested::kind`].
        kind: String,
        request: String,
        expires: u64,
    },
    /// Nobody waits for this request any more.
    Withdraw {
        id: String,
    },
    /// The one request that a grant of this id gave leave for has passed.
    Used {
        request: String,
    },
    /// A canary was about to leave: the gate has stopped serving, and the bottle's processes should be stopped too.
    CanaryLeft,
    /// The answer to [`KeeperToGate::Freeze`]: whether the gate is frozen now.
    Frozen(bool),
}
