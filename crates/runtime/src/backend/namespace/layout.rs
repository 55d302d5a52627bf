//! The room's file system as data: what is where, in the order in which it is made. A pure function of the
//! [`RoomSpec`] and of [`HostFacts`], so that tests read it without a room.
//!
//! Invariants: every mount is `nosuid`; only device nodes lack `nodev`; of the host, nothing is writable but the home,
//! the workspace and what the plan says is; nothing of `/home`, `/root`, `/run`, `/var` and `/srv` is there unless the
//! plan names it. Targets are relative to the room's root.

use super::{
    facts::{HostFacts, Program},
    ids::AGENT,
};
use crate::{
    backend::{
        etc,
        room::{Bounds, FROZEN, HOME, MASKED_DIRECTORIES, MASKED_FILES, RoomSpec, relative, scratch_bounds},
    },
    provision::{Piece, Put},
};
use bottle_spec::plan::{Limits, Workspace};
use std::path::{Path, PathBuf};

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
    File {
        contents: Vec<u8>,
        mode: u32,
    },
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
    /// Nothing can be added any more to the memory file system that an earlier entry made.
    Seal,
    /// Made read-only where it is. What the kernel does not have is left alone.
    Freeze,
    /// Mounted on itself, so that it can be neither renamed nor replaced, and read-only where it says so. It must be
    /// there.
    Hold {
        read_only: bool,
    },
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

/// The root itself holds a few hundred small files.
pub(super) const ROOT_BOUNDS: Bounds = Bounds { bytes: 16 << 20, inodes: 4096 };

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Everything in the room's root.
pub(super) fn layout(spec: &RoomSpec<'_>, facts: &HostFacts) -> Vec<Entry> {
    let mut entries = Vec::new();
    programs(&mut entries, facts);
    written(&mut entries, spec, facts);
    devices(&mut entries, spec.plan.limits);
    processes(&mut entries);
    scratch(&mut entries, spec.plan.limits);
    given(&mut entries, spec);
    entries
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
    for (name, contents) in etc::files(spec, (AGENT, AGENT), "/bin/bash") {
        entries.push(entry(Path::new("etc").join(name), What::File { contents, mode: 0o644 }));
    }
    for (name, to) in etc::links(spec) {
        entries.push(entry(Path::new("etc").join(name), What::Link(to)));
    }
    for Piece { target, what } in spec.pieces {
        let target = target.strip_prefix("/").unwrap_or(target);
        entries.push(match what {
            Put::File { bytes, mode } => entry(target, What::File { contents: bytes.clone(), mode: *mode }),
            Put::Link(to) => entry(target, What::Link(to.clone())),
            Put::Tree(source) => host(source, target, Access::ReadOnly),
        });
    }
}

fn devices(entries: &mut Vec<Entry>, limits: Limits) {
    entries.push(entry("dev", What::Tmpfs(Bounds { bytes: 64 << 10, inodes: 64 })));
    for name in DEVICES {
        entries.push(host(Path::new("/dev").join(name), Path::new("dev").join(name), Access::Device));
    }
    entries.push(entry("dev/pts", What::Terminals));
    entries.push(entry("dev/shm", What::Tmpfs(scratch_bounds(limits))));
    for (name, to) in [
        ("dev/ptmx", "pts/ptmx"),
        ("dev/fd", "/proc/self/fd"),
        ("dev/stdin", "/proc/self/fd/0"),
        ("dev/stdout", "/proc/self/fd/1"),
        ("dev/stderr", "/proc/self/fd/2"),
    ] {
        entries.push(entry(name, What::Link(to.into())));
    }
    entries.push(entry("dev", What::Seal));
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
    for (target, bounds) in [("tmp", large), ("var/tmp", large), ("run", small)] {
        entries.push(entry(target, What::Tmpfs(bounds)));
    }
    for name in ["cache", "lib", "log"] {
        entries.push(entry(Path::new("var").join(name), What::Directory));
    }
    entries.push(entry("var/run", What::Link("/run".into())));
    entries.push(entry("var/lock", What::Link("/run/lock".into())));
}

/// What the plan and the keeper give: home, workspace and mounts. A mount may lie in the home, so it comes after.
fn given(entries: &mut Vec<Entry>, spec: &RoomSpec<'_>) {
    entries.push(host(spec.home, &HOME[1..], Access::Writable));
    if let Some(workspace) = spec.workspace {
        entries.push(host(workspace, &Workspace::TARGET[1..], Access::Writable));
        held(entries, spec, Path::new(Workspace::TARGET));
    }
    for mount in &spec.plan.mounts {
        let Some(target) = relative(&mount.target) else { continue };
        let access = if mount.writable { Access::Writable } else { Access::ReadOnly };
        entries.push(host(&mount.source, target, access));
        held(entries, spec, &mount.target);
    }
}

/// What is guarded of the directory that is at `target`.
fn held(entries: &mut Vec<Entry>, spec: &RoomSpec<'_>, target: &Path) {
    for guard in spec.guards.iter().filter(|guard| guard.target == target) {
        let Ok(target) = target.strip_prefix("/") else { continue };
        entries.push(entry(target.join(&guard.path), What::Hold { read_only: guard.read_only }));
    }
}

fn host(source: impl Into<PathBuf>, target: impl AsRef<Path>, access: Access) -> Entry {
    entry(target, What::Bind { source: source.into(), access })
}

fn entry(target: impl AsRef<Path>, what: What) -> Entry {
    Entry { target: target.as_ref().to_path_buf(), what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_spec::{
        plan::{Backend, Image, Mount, Plan, PlannedProvider},
        policy::EgressPolicy,
        slug::Slug,
        topology::Topology,
    };
    use std::collections::BTreeMap;

    fn plan() -> Plan {
        let mount =
            |source: &str, target: &str, writable| Mount { source: source.into(), target: target.into(), writable };
        Plan {
            agent: "a".into(),
            bottle: None,
            backend: Backend::Namespace,
            topology: Topology::Socket,
            provider: PlannedProvider::named("command"),
            command: vec!["true".into()],
            prompt: String::new(),
            skills: Vec::new(),
            files: Vec::new(),
            image: Image::Host,
            image_id: None,
            env: BTreeMap::from([("TZ".into(), "Europe/Berlin".into())]),
            mounts: vec![mount("/srv/data", "/data", false), mount("/srv/out", "/home/agent/out", true)],
            workspace: Workspace::None,
            git: Vec::new(),
            egress: EgressPolicy::default(),
            secrets: Vec::new(),
            supervise: false,
            wait: Plan::WAIT,
            canaries: false,
            limits: Limits::default(),
            ports: Vec::new(),
            machine: None,
            notices: Vec::new(),
        }
    }

    fn with<T>(look: impl FnOnce(&RoomSpec<'_>, &[Entry]) -> T) -> T {
        let (plan, slug): (Plan, Slug) = (plan(), "a-abcde".parse().unwrap());
        let spec = RoomSpec {
            slug: &slug,
            plan: &plan,
            home: Path::new("/state/home"),
            workspace: Some(Path::new("/state/workspace")),
            guards: &[],
            pieces: &[],
            init_image: &[],
            doors: &[],
            host_ids: None,
            cgroup: None,
        };
        let facts = HostFacts {
            programs: vec![Program::Directory("usr"), Program::Link { name: "bin", to: "usr/bin".into() }],
            etc: vec!["ld.so.cache".into()],
        };
        look(&spec, &layout(&spec, &facts))
    }

    #[test]
    fn of_the_host_only_what_was_given_is_writable() {
        with(|_, entries| {
            let writable: Vec<_> = entries
                .iter()
                .filter_map(|entry| match &entry.what {
                    What::Bind { source, access: Access::Writable } => Some((source.as_path(), entry.target.as_path())),
                    _ => None,
                })
                .collect();
            let pair = |source: &'static str, target: &'static str| (Path::new(source), Path::new(target));
            assert_eq!(
                writable,
                [
                    pair("/state/home", "home/agent"),
                    pair("/state/workspace", "workspace"),
                    pair("/srv/out", "home/agent/out")
                ]
            );
        });
    }

    #[test]
    fn nothing_private_of_the_host_is_a_source() {
        with(|spec, entries| {
            for Entry { what, .. } in entries {
                let What::Bind { source, .. } = what else { continue };
                let given = [spec.home, Path::new("/state/workspace"), Path::new("/srv/data"), Path::new("/srv/out")];
                let shown = ["/usr", "/opt", "/etc", "/dev"].iter().any(|place| source.starts_with(place));
                assert!(given.contains(&source.as_path()) || shown, "{}", source.display());
            }
        });
    }

    #[test]
    fn nothing_is_made_below_a_place_that_is_sealed_or_before_its_mount() {
        with(|_, entries| {
            for (index, entry) in entries.iter().enumerate() {
                if entry.what == What::Seal {
                    let later = entries.iter().skip(index + 1).find(|later| later.target.starts_with(&entry.target));
                    assert_eq!(later, None);
                }
                let mounted_over = entries.iter().take(index).find(|earlier| {
                    earlier.target.starts_with(&entry.target)
                        && !matches!(entry.what, What::Seal | What::Freeze | What::Hold { .. })
                });
                assert_eq!(mounted_over, None, "hidden by /{}", entry.target.display());
            }
        });
    }

    #[test]
    fn writable_places_are_those_of_the_mounts() {
        let places = with(|spec, _| spec.writable());
        assert!(places.contains(&"/home/agent/out".to_owned()) && places.contains(&"/workspace".to_owned()));
        assert!(!places.contains(&"/data".to_owned()) && !places.iter().any(|place| place == "/" || place == "/etc"));
    }
}
