//! The gate locks itself in before it reads the first byte from the bottle.
//!
//! Invariant: after [`confine`] returns, this process has no privilege and no way to get one, can open no file, start
//! no process or thread, signal or trace nobody, and cannot be traced or dumped by others of its uid. It keeps the
//! descriptors it has and may make TCP and UDP sockets. A step that fails is an error and the gate does not serve:
//! there is no weaker mode.
//!
//! What is not stopped: connecting to any address (which to dial is the connector's rule), and using the descriptors
//! that are open. A kernel newer than the one this asks for (Linux 5.13, for Landlock) gets more of Landlock enforced.

mod syscalls;

use crate::limits::{MAX_DESCRIPTORS, MAX_MEMORY};
use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, geteuid, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, Gid, Uid, set_capabilities, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid, set_thread_uid,
    },
};
use std::{fs, io};

#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error("could not count the gate's threads in /proc/self/task")]
    CountThreads(#[source] io::Error),
    #[error("the gate has {0} threads; it can confine only one")]
    Threads(usize),
    #[error("root started the gate and named no user for it to run as")]
    Root,
    #[error("could not set the limit on {what}")]
    Limit {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("could not give up the supplementary groups")]
    Groups(#[source] io::Error),
    #[error("could not take on gid {gid}")]
    Group {
        gid: u32,
        #[source]
        source: io::Error,
    },
    #[error("could not take on uid {uid}")]
    User {
        uid: u32,
        #[source]
        source: io::Error,
    },
    #[error("the gate could become root again")]
    Reversible,
    #[error("could not give up capabilities")]
    Capabilities(#[source] io::Error),
    #[error("could not set no_new_privs")]
    NoNewPrivs(#[source] io::Error),
    #[error("could not forbid being traced and dumped")]
    Dumpable(#[source] io::Error),
    #[error("could not confine the gate by Landlock; Linux 5.13 or newer with `landlock` among its LSMs is needed")]
    Landlock(#[source] landlock::RulesetError),
    #[error("this kernel does not enforce Landlock; boot it with `landlock` among its LSMs (`lsm=landlock,...`)")]
    NoLandlock,
    #[error("could not make the system call filter")]
    Filter(#[source] seccompiler::BackendError),
    #[error("could not put the system call filter in force")]
    Seccomp(#[source] seccompiler::Error),
}

/// Confines the calling process for good. Everything that needs a file, another uid or a thread must be done.
/// `run_as` is the uid and gid to take on; needed where root started the gate and impossible elsewhere.
pub fn confine(run_as: Option<(u32, u32)>) -> Result<(), ConfineError> {
    require_one_thread()?;
    limit_resources()?;
    // Before no_new_privs and the rest, which need no privilege.
    if let Some((uid, gid)) = run_as {
        become_user(uid, gid)?;
    }
    if geteuid().is_root() {
        return Err(ConfineError::Root);
    }
    drop_capabilities()?;
    set_no_new_privs(true).map_err(|err| ConfineError::NoNewPrivs(err.into()))?;
    // A change of uid resets this, so it comes after.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|err| ConfineError::Dumpable(err.into()))?;
    restrict_by_landlock()?;
    // Last: it forbids every call made above.
    let filter = syscalls::filter().map_err(ConfineError::Filter)?;
    seccompiler::apply_filter(&filter).map_err(ConfineError::Seccomp)
}

/// The same for a process that carries between a bottle and its gate: it goes on as the user it is, connects to named
/// sockets, and can open no file and no connection of TCP. What it has to do is not bounded by a filter of system calls.
pub fn confine_carrier() -> Result<(), ConfineError> {
    require_one_thread()?;
    limit_resources()?;
    drop_capabilities()?;
    set_no_new_privs(true).map_err(|err| ConfineError::NoNewPrivs(err.into()))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|err| ConfineError::Dumpable(err.into()))?;
    let rules = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V6))?
            .handle_access(AccessNet::from_all(ABI::V6))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .restrict_self()
    };
    enforced(rules().map_err(ConfineError::Landlock)?.ruleset)
}

fn enforced(status: RulesetStatus) -> Result<(), ConfineError> {
    match status {
        RulesetStatus::NotEnforced => Err(ConfineError::NoLandlock),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// What follows acts on the calling thread alone.
fn require_one_thread() -> Result<(), ConfineError> {
    let threads = fs::read_dir("/proc/self/task").map_err(ConfineError::CountThreads)?.count();
    if threads == 1 { Ok(()) } else { Err(ConfineError::Threads(threads)) }
}

fn limit_resources() -> Result<(), ConfineError> {
    let fixed = |value| Rlimit { current: Some(value), maximum: Some(value) };
    let set = |what, resource, limit| {
        setrlimit(resource, limit).map_err(|err| ConfineError::Limit { what, source: err.into() })
    };
    // A core would hold the secrets.
    set("core dumps", Resource::Core, fixed(0))?;
    // A gate that a peer makes grow ends alone, and not with the host.
    set("memory", Resource::Data, fixed(MAX_MEMORY))?;
    let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_DESCRIPTORS);
    set("descriptors", Resource::Nofile, fixed(MAX_DESCRIPTORS.min(allowed)))
}

fn become_user(uid: u32, gid: u32) -> Result<(), ConfineError> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[]).map_err(|err| ConfineError::Groups(err.into()))?;
    set_thread_res_gid(group, group, group).map_err(|err| ConfineError::Group { gid, source: err.into() })?;
    set_thread_res_uid(user, user, user).map_err(|err| ConfineError::User { uid, source: err.into() })?;
    if set_thread_uid(Uid::ROOT).is_ok() { Err(ConfineError::Reversible) } else { Ok(()) }
}

/// Those that came with a user other than root (ambient ones, or a set-capability file).
fn drop_capabilities() -> Result<(), ConfineError> {
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(|err| ConfineError::Capabilities(err.into()))
}

/// No path at all can be opened, no TCP port bound, and nobody outside signalled or met on an abstract socket. The
/// file rules of the first Landlock are required; the others wherever the kernel knows them, seccomp behind them.
fn restrict_by_landlock() -> Result<(), ConfineError> {
    let rules = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V9))?
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::from_all(ABI::V9))?
            .create()?
            .restrict_self()
    };
    enforced(rules().map_err(ConfineError::Landlock)?.ruleset)
}
