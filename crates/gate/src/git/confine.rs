//! The git gate locks itself in, and with that every git and ssh that it will start.
//!
//! Invariant: after [`confine`] returns, this process and its children have no capability and no way to get one, write
//! nowhere but in the bottle's git state, its requests, its mirrors and the upstreams that may be pushed to by path,
//! read besides these only programs, libraries, `/etc` and the keys that the plan names, and can make no namespace,
//! mount, trace or kernel object. A step that fails is an error and the gate does not serve.
//!
//! Started by root it stays root's uid, for upstreams and keys are root's own: with an empty bounding set and
//! `SECBIT_NOROOT` locked, so that uid 0 is an owner of files and no more. What is not stopped: reading what is readable
//! below `/usr` and `/etc`, dialling any address, and, before Linux 6.12, signals to processes of the same user.

use bottle_spec::git::{GitRepository, Kind};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};
use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
        set_capabilities_secure_bits, set_no_new_privs,
    },
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

const MAX_DESCRIPTORS: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum GitConfineError {
    #[error("could not count the git gate's threads in /proc/self/task")]
    CountThreads(#[source] io::Error),
    #[error("the git gate has {0} threads; it can confine only one")]
    Threads(usize),
    #[error("could not set the limit on {what}")]
    Limit {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("could not give up capabilities")]
    Capabilities(#[source] io::Error),
    #[error("could not set no_new_privs")]
    NoNewPrivs(#[source] io::Error),
    #[error("could not forbid being traced and dumped")]
    Dumpable(#[source] io::Error),
    #[error("could not confine the git gate by Landlock; Linux 5.13 or newer with `landlock` among its LSMs is needed")]
    Landlock(#[source] landlock::RulesetError),
    #[error("this kernel does not enforce Landlock; boot it with `landlock` among its LSMs (`lsm=landlock,...`)")]
    NoLandlock,
    #[error("could not make the system call filter")]
    Filter(#[source] BackendError),
    #[error("could not put the system call filter in force")]
    Seccomp(#[source] seccompiler::Error),
}

/// What the git gate and its children may reach of the file system.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    pub(crate) read: Vec<PathBuf>,
    pub(crate) write: Vec<PathBuf>,
}

/// Programs, their libraries and what they read to run.
const PROGRAMS: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/opt"];
const READ: [&str; 5] = ["/etc", "/proc", "/run/systemd/resolve", "/run/nscd", "/sys/devices/system/cpu"];
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"];

/// Confines the calling process, of one thread, for good.
pub(crate) fn confine(reach: &Reach) -> Result<(), GitConfineError> {
    let threads = fs::read_dir("/proc/self/task").map_err(GitConfineError::CountThreads)?.count();
    if threads != 1 {
        return Err(GitConfineError::Threads(threads));
    }
    limit_resources()?;
    drop_capabilities().map_err(GitConfineError::Capabilities)?;
    set_no_new_privs(true).map_err(|err| GitConfineError::NoNewPrivs(err.into()))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|err| GitConfineError::Dumpable(err.into()))?;
    restrict_by_landlock(reach)?;
    let filter = filter().map_err(GitConfineError::Filter)?;
    seccompiler::apply_filter(&filter).map_err(GitConfineError::Seccomp)
}

fn limit_resources() -> Result<(), GitConfineError> {
    let fixed = |value| Rlimit { current: Some(value), maximum: Some(value) };
    let set = |what, resource, limit| {
        setrlimit(resource, limit).map_err(|err| GitConfineError::Limit { what, source: err.into() })
    };
    set("core dumps", Resource::Core, fixed(0))?;
    let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_DESCRIPTORS);
    set("descriptors", Resource::Nofile, fixed(MAX_DESCRIPTORS.min(allowed)))
}

fn drop_capabilities() -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        // Else a program that root's uid executes would get them all again.
        let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
        set_capabilities_secure_bits(bits)?;
        for number in 0..u64::BITS {
            let Some(one) = 1_u64.checked_shl(number).map(CapabilitySet::from_bits_retain) else { break };
            match remove_capability_from_bounding_set(one) {
                // The kernel knows no more of them.
                Err(rustix::io::Errno::INVAL) => break,
                other => other?,
            }
        }
    }
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

fn restrict_by_landlock(reach: &Reach) -> Result<(), GitConfineError> {
    let known: BitFlags<AccessFs> = AccessFs::from_all(ABI::V5);
    let look = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = look | AccessFs::Execute;
    // Whatever a repository takes, but devices and sockets.
    let write = known & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock);
    let hooks = |path: &&PathBuf| path.join("hooks").is_dir();
    let device = look | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let rules = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(known)?
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .add_rules(path_beneath_rules(PROGRAMS, run))?
            .add_rules(path_beneath_rules(READ, look))?
            .add_rules(path_beneath_rules(DEVICES, device))?
            // The hooks of an upstream that is a bare repository are its own.
            .add_rules(path_beneath_rules(reach.read.iter().filter(hooks).map(|path| path.join("hooks")), run))?
            .add_rules(path_beneath_rules(&reach.read, look))?
            .add_rules(path_beneath_rules(reach.write.iter().filter(hooks).map(|path| path.join("hooks")), run))?
            .add_rules(path_beneath_rules(&reach.write, write))?
            .restrict_self()
    };
    match rules().map_err(GitConfineError::Landlock)?.ruleset {
        RulesetStatus::NotEnforced => Err(GitConfineError::NoLandlock),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// What neither git nor ssh needs, and what a way out of a confined process is made of. All else stays: the programs are
/// many and not ours.
const REFUSED: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
];
/// Of `clone`: new namespaces. `clone3` hides its flags in memory; told that it is not there, libc uses the other.
const NEW_NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;
const SOCKETS: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

fn filter() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let mut clones = Vec::new();
    for bit in 0..i32::BITS - 1 {
        let flag = 1_i32 << bit;
        if NEW_NAMESPACES & flag != 0 {
            clones.push(SeccompRule::new(vec![masked(0, flag)?])?);
        }
    }
    rules.insert(libc::SYS_clone, clones);
    let others: Result<Vec<_>, _> = SOCKETS.iter().map(|family| condition(SeccompCmpOp::Ne, *family)).collect();
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(others?)?]);
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn condition(operator: SeccompCmpOp, value: i32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, u64::from(value.cast_unsigned()))
}

fn masked(index: u8, flag: i32) -> Result<SeccompCondition, BackendError> {
    let flag = u64::from(flag.cast_unsigned());
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag)
}

/// What an upstream by path takes: its repository, where a work tree has one, and what it borrows from.
pub(crate) fn reach_of(repository: &GitRepository, reach: &mut Reach) {
    reach.read.extend(repository.identity_file.iter().chain(&repository.known_hosts).cloned());
    let Kind::Path(path) = repository.upstream.kind() else { return };
    let mut directories = git_directories(path);
    let borrowed: Vec<PathBuf> = directories.iter().flat_map(|directory| alternates(directory)).collect();
    if let Some(push) = &repository.push {
        for directory in &directories {
            // Below these alone a push writes; what could make the host run something stays as it is.
            reach.write.extend(["objects", "refs", "logs"].map(|name| directory.join(name)));
            if push.delete {
                // A deletion makes `packed-refs` anew, beside everything else.
                reach.write.push(directory.clone());
            }
        }
    }
    directories.push(path.to_owned());
    reach.read.extend(directories);
    reach.read.extend(borrowed);
}

/// The repository at a path: itself, its `.git`, or where its `.git` file leads, with the common directory.
pub(crate) fn git_directories(path: &Path) -> Vec<PathBuf> {
    let dot = path.join(".git");
    let own = if dot.is_dir() {
        dot
    } else if let Some(to) = fs::read_to_string(&dot).ok().as_deref().and_then(|text| text.strip_prefix("gitdir:")) {
        path.join(to.trim())
    } else {
        path.to_owned()
    };
    let common = fs::read_to_string(own.join("commondir")).ok().map(|text| own.join(text.trim()));
    let all = std::iter::once(own).chain(common);
    all.map(|path| fs::canonicalize(&path).unwrap_or(path)).collect()
}

fn alternates(directory: &Path) -> Vec<PathBuf> {
    let objects = directory.join("objects");
    let text = fs::read_to_string(objects.join("info/alternates")).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| objects.join(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_can_take_the_filter() {
        assert!(filter().unwrap().len() < 4096);
    }
}
