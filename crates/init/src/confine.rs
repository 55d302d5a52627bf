//! The agent's whole confinement, put on PID 1 before it starts anything. What is inherited cannot be forgotten for
//! one of the children.

use crate::filter;
use bottle_spec::init_link::InitStart;
use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};
use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{CapabilitySet, capabilities, set_no_new_privs},
};
use std::io;

/// Open files of one process, unless the host's own limit is lower.
const OPEN_FILES: u64 = 65_536;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    #[error("init was started with capabilities")]
    Capabilities,
    #[error("reading capabilities")]
    ReadCapabilities(#[source] io::Error),
    #[error("setting the limit on {0}")]
    Limit(&'static str, #[source] io::Error),
    #[error("closing this process to tracers")]
    Dumpable(#[source] io::Error),
    #[error("giving up new privileges")]
    NoNewPrivileges(#[source] io::Error),
    #[error("making the Landlock rules")]
    Landlock(#[source] RulesetError),
    #[error("this kernel does not enforce Landlock")]
    LandlockMissing,
    #[error("installing the system call filter")]
    Seccomp(#[source] seccompiler::Error),
}

/// Applies everything. There is no way back, and none of it may fail.
pub(crate) fn confine(start: &InitStart) -> Result<(), ConfineError> {
    // The room's maker dropped them all, while that was still possible; here it is only made sure of.
    check_capabilities()?;
    limit(start.pids)?;
    // Before anything of the agent's runs: from now on /proc/1 shows nothing, and it cannot be attached to.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| ConfineError::Dumpable(error.into()))?;
    // Landlock and seccomp both ask for this of a process without capabilities.
    set_no_new_privs(true).map_err(|error| ConfineError::NoNewPrivileges(error.into()))?;
    landlock(&start.writable)?;
    // Last, since the filter would refuse some of the above.
    filter::install().map_err(ConfineError::Seccomp)
}

fn check_capabilities() -> Result<(), ConfineError> {
    let failed = |error: rustix::io::Errno| ConfineError::ReadCapabilities(error.into());
    let held = capabilities(None).map_err(failed)?;
    let mut none = (held.effective | held.permitted | held.inheritable).is_empty();
    for number in 0..u64::BITS {
        match rustix::thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(bound) => none &= !bound,
            // The first number that this kernel does not know.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(failed(error)),
        }
    }
    if none { Ok(()) } else { Err(ConfineError::Capabilities) }
}

fn limit(processes: Option<u32>) -> Result<(), ConfineError> {
    // A core dump would carry memory to wherever the host's core_pattern says.
    set_limit(Resource::Core, 0, "core dumps")?;
    set_limit(Resource::Nofile, OPEN_FILES, "open files")?;
    match processes {
        // Counted in the room's own user namespace since Linux 5.14; before, with all others of the host's user.
        Some(processes) => set_limit(Resource::Nproc, processes.into(), "processes"),
        None => Ok(()),
    }
}

/// Sets both limits to `value`, or to the present hard limit where that is lower.
fn set_limit(resource: Resource, value: u64, name: &'static str) -> Result<(), ConfineError> {
    let value = getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value));
    let limit = Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(resource, limit).map_err(|error| ConfineError::Limit(name, error.into()))
}

/// Writing is for the places given; reading and executing are for all there is, for the mounts decide what is there.
///
/// Devices are no matter of Landlock here: those in `/dev` are all that can be opened, every mount is `nodev`, and the
/// dangerous requests to terminals are refused by seccomp. Neither is TCP: there is no network but loopback.
fn landlock(writable: &[String]) -> Result<(), ConfineError> {
    // What the kernel does not know of these, the crate leaves out; the first ABI is enough to keep writes in place.
    let writes = AccessFs::from_write(ABI::V3);
    let devices: BitFlags<AccessFs> = AccessFs::MakeBlock | AccessFs::MakeChar;
    let enforce = || {
        Ruleset::default()
            .handle_access(writes)?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .add_rules(path_beneath_rules(writable, writes & !devices))?
            .restrict_self()
    };
    match enforce().map_err(ConfineError::Landlock)?.ruleset {
        RulesetStatus::NotEnforced => Err(ConfineError::LandlockMissing),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}
