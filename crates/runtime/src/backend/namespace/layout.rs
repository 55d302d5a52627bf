//! The room's file system as data: what is where, in the order in which it is made. A pure function of the
//! [`RoomSpec`] and of [`HostFacts`], so that tests read it without a room.
//!
//! Invariants: every mount is `nosuid`; only device nodes lack `nodev`; of the host, nothing is writable but the home,
//! the workspace and what the plan says is; nothing of `/home`, `/root`, `/run`, `/var` and `/srv` is there unless the
//! plan names it. Targets are relative to the room's root.

use super::{
    etc,
    facts::{HostFacts, Program},
    room::RoomSpec,
};
use crate::trust;
use bottle_spec::plan::{Limits, Workspace};
use std::path::{Path, PathBuf};

/// The agent's home in every bottle.
pub(super) const HOME: &str = "/home/agent";

/// One entry of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Relative, without `.` and `..`.
    pub(super) target: PathBuf,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A directory of the root itself.
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
    /// A place of the host.
    Bind {
        source: PathBuf,
        access: Access,
    },
    Tmpfs(Bounds),
    /// A terminal file system of the room's own.
    Terminals,
    /// The room's own processes.
    Proc,
    /// A file that reads as `/dev/null`, or a directory that is empty. What the kernel does not have is left alone.
    Mask(Kind),
    /// Made read-only where it is. What the kernel does not have is left alone.
    Freeze,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    ReadOnly,
    Writable,
    Device,
}

/// How large a memory file system may grow, in bytes and in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) bytes: u64,
    pub(super) inodes: u64,
}

/// The root itself holds a few hundred small files.
pub(super) const ROOT_BOUNDS: Bounds = Bounds { bytes: 16 << 20, inodes: 4096 };

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What `/proc` shows of the host's kernel and no program in a bottle needs: memory, keys, addresses, timers.
const MASKED_FILES: [&str; 15] = [
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "mdstat",
    "sched_debug",
    "slabinfo",
    "sysrq-trigger",
    "timer_list",
    "vmallocinfo",
];
const MASKED_DIRECTORIES: [&str; 5] = ["acpi", "asound", "driver", "scsi", "sysvipc"];
const FROZEN: [&str; 4] = ["bus", "fs", "irq", "sys"];

/// Everything in the room's root.
pub(super) fn layout(spec: &RoomSpec<'_>, facts: &HostFacts) -> Vec<Entry> {
    let mut entries = Vec::new();
    programs(&mut entries, facts);
    written(&mut entries, spec, facts);
    devices(&mut entries);
    processes(&mut entries);
    scratch(&mut entries, spec.plan.limits);
    given(&mut entries, spec);
    entries
}

/// Where programs of the room may write, as absolute paths inside it: `InitStart::writable`.
pub fn writable(spec: &RoomSpec<'_>) -> Vec<String> {
    let mut places: Vec<String> =
        [HOME, "/tmp", "/var/tmp", "/run", "/dev", "/proc"].into_iter().map(str::to_owned).collect();
    if spec.workspace.is_some() {
        places.push(Workspace::TARGET.to_owned());
    }
    let mounts = spec.plan.mounts.iter().filter(|mount| mount.writable);
    places.extend(mounts.map(|mount| mount.target.to_string_lossy().into_owned()));
    places
}

/// A target of the plan as a path below the root: absolute, plain, and neither the root nor one of its own places.
pub(super) fn relative(target: &Path) -> Option<PathBuf> {
    const RESERVED: [&str; 9] = ["usr", "etc", "dev", "proc", "bin", "sbin", "lib", "lib64", "sys"];
    let path = target.strip_prefix("/").ok()?;
    let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let own = |name: &&str| path.starts_with(name);
    let whole = ["", "home", "home/agent", "run", "tmp", "var", "var/tmp", "opt", "workspace"];
    (plain && !RESERVED.iter().any(own) && !whole.iter().any(|name| path == Path::new(name)))
        .then(|| path.to_path_buf())
}

fn programs(entries: &mut Vec<Entry>, facts: &HostFacts) {
    for program in &facts.programs {
        match program {
            Program::Directory(name) => {
                entries.push(host(Path::new("/").join(name), name, Access::ReadOnly));
            }
            Program::Link { name, to } => entries.push(entry(name, What::Link(to.clone()))),
        }
    }
}

fn written(entries: &mut Vec<Entry>, spec: &RoomSpec<'_>, facts: &HostFacts) {
    for name in &facts.etc {
        entries.push(host(Path::new("/etc").join(name), Path::new("etc").join(name), Access::ReadOnly));
    }
    for (name, contents) in etc::files(spec) {
        entries.push(entry(Path::new("etc").join(name), What::File(contents)));
    }
    for (name, to) in etc::links(spec) {
        entries.push(entry(Path::new("etc").join(name), What::Link(to)));
    }
    let bundle = trust::bundle(&facts.roots_pem, spec.trust_anchor_pem);
    if facts.java {
        entries.push(entry("etc/bot-bottle/truststore.p12", What::File(trust::truststore(&bundle))));
        entries.push(entry("etc/ssl/certs/java/cacerts", What::Link("/etc/bot-bottle/truststore.p12".into())));
    }
    entries.push(entry("etc/ssl/certs/ca-certificates.crt", What::File(bundle.into_bytes())));
    entries.push(entry("etc/bot-bottle/ca.pem", What::File(spec.trust_anchor_pem.as_bytes().to_vec())));
}

fn devices(entries: &mut Vec<Entry>) {
    entries.push(entry("dev", What::Tmpfs(Bounds { bytes: 64 << 10, inodes: 64 })));
    for name in DEVICES {
        entries.push(host(Path::new("/dev").join(name), Path::new("dev").join(name), Access::Device));
    }
    entries.push(entry("dev/pts", What::Terminals));
    for (name, to) in [
        ("dev/ptmx", "pts/ptmx"),
        ("dev/fd", "/proc/self/fd"),
        ("dev/stdin", "/proc/self/fd/0"),
        ("dev/stdout", "/proc/self/fd/1"),
        ("dev/stderr", "/proc/self/fd/2"),
    ] {
        entries.push(entry(name, What::Link(to.into())));
    }
}

/// Comes after the devices: the masks are made of `/dev/null`.
fn processes(entries: &mut Vec<Entry>) {
    let proc = Path::new("proc");
    entries.push(entry(proc, What::Proc));
    entries.extend(MASKED_FILES.iter().map(|name| entry(proc.join(name), What::Mask(Kind::File))));
    entries.extend(MASKED_DIRECTORIES.iter().map(|name| entry(proc.join(name), What::Mask(Kind::Directory))));
    entries.extend(FROZEN.iter().map(|name| entry(proc.join(name), What::Freeze)));
}

fn scratch(entries: &mut Vec<Entry>, limits: Limits) {
    let large = scratch_bounds(limits);
    let small = Bounds { bytes: large.bytes.min(64 << 20), inodes: 1 << 16 };
    for (target, bounds) in [("tmp", large), ("var/tmp", large), ("dev/shm", large), ("run", small)] {
        entries.push(entry(target, What::Tmpfs(bounds)));
    }
    for name in ["cache", "lib", "log"] {
        entries.push(entry(Path::new("var").join(name), What::Directory));
    }
    entries.push(entry("var/run", What::Link("/run".into())));
    entries.push(entry("var/lock", What::Link("/run/lock".into())));
}

/// Half of the memory or a quarter of the disk that the plan allows, whichever is less, and 2 GiB at most.
fn scratch_bounds(limits: Limits) -> Bounds {
    let memory = limits.memory.map_or(u64::MAX, |bytes| bytes / 2);
    let disk = limits.disk.map_or(u64::MAX, |bytes| bytes / 4);
    Bounds { bytes: memory.min(disk).clamp(1 << 20, 2 << 30), inodes: 1 << 19 }
}

/// What the plan and the keeper give: home, workspace and mounts. A mount may lie in the home, so it comes after.
fn given(entries: &mut Vec<Entry>, spec: &RoomSpec<'_>) {
    entries.push(host(spec.home, &HOME[1..], Access::Writable));
    if let Some(workspace) = spec.workspace {
        entries.push(host(workspace, &Workspace::TARGET[1..], Access::Writable));
    }
    for mount in &spec.plan.mounts {
        let Some(target) = relative(&mount.target) else { continue };
        let access = if mount.writable { Access::Writable } else { Access::ReadOnly };
        entries.push(host(&mount.source, target, access));
    }
}

fn host(source: impl Into<PathBuf>, target: impl AsRef<Path>, access: Access) -> Entry {
    entry(target, What::Bind { source: source.into(), access })
}

fn entry(target: impl AsRef<Path>, what: What) -> Entry {
    Entry { target: target.as_ref().to_path_buf(), what }
}
