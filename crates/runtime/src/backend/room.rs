//! What a room is on every backend: what it is made of, what came of it, and what of it does not depend on who makes it.

use crate::{guard::Guard, provision::Piece};
use bottle_spec::{
    door::Door,
    plan::{Limits, Plan, Workspace},
    slug::Slug,
};
use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
};

/// The agent's home in every bottle.
pub(super) const HOME: &str = "/home/agent";

/// What a room is made of. All paths are absolute and on the host.
#[derive(Debug, Clone, Copy)]
pub struct RoomSpec<'a> {
    /// Also the room's host name.
    pub slug: &'a Slug,
    /// Its image, mounts, time zone (`TZ` in `env`) and limits are used here.
    pub plan: &'a Plan,
    /// Becomes `/home/agent`, writable; it belongs to `host_ids` where those are given.
    pub home: &'a Path,
    /// Becomes `/workspace`, writable.
    pub workspace: Option<&'a Path>,
    /// What of it is held in its place.
    pub guards: &'a [Guard],
    /// What is put into it besides, outside of the home.
    pub pieces: &'a [Piece],
    /// The static executable that becomes PID 1.
    pub init_image: &'a [u8],
    /// Listeners to open inside, in this order.
    pub doors: &'a [Door],
    /// The host uid and gid that the room's processes run under. `Some` exactly when root makes the room; else they
    /// are the caller's own.
    pub host_ids: Option<(u32, u32)>,
    /// A cgroup v2 directory, made by the caller, that the room's processes are put into.
    pub cgroup: Option<&'a Path>,
}

/// A room whose init runs and has not been told anything yet. Dropping it closes the link, which ends the room.
#[derive(Debug)]
pub struct Room {
    /// Init, as the host numbers it.
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Speaks `bottle_spec::init_link`.
    pub link: UnixStream,
    /// In the order of [`RoomSpec::doors`]: bound, and listening where the door takes connections.
    pub listeners: Vec<(Door, OwnedFd)>,
}

impl RoomSpec<'_> {
    /// Where programs of the room may write, as absolute paths inside it: `InitStart::writable`.
    pub fn writable(&self) -> Vec<String> {
        let mut places: Vec<String> =
            [HOME, "/tmp", "/var/tmp", "/run", "/dev", "/proc"].into_iter().map(str::to_owned).collect();
        if self.workspace.is_some() {
            places.push(Workspace::TARGET.to_owned());
        }
        let mounts = self.plan.mounts.iter().filter(|mount| mount.writable);
        places.extend(mounts.map(|mount| mount.target.to_string_lossy().into_owned()));
        places
    }
}

/// How large a memory file system may grow, in bytes and in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(super) bytes: u64,
    pub(super) inodes: u64,
}

/// Half of the memory or a quarter of the disk that the plan allows, whichever is less, and 2 GiB at most.
pub(super) fn scratch_bounds(limits: Limits) -> Bounds {
    let memory = limits.memory.map_or(u64::MAX, |bytes| bytes / 2);
    let disk = limits.disk.map_or(u64::MAX, |bytes| bytes / 4);
    Bounds { bytes: memory.min(disk).clamp(1 << 20, 2 << 30), inodes: 1 << 19 }
}

/// What `/proc` shows of the host's kernel and no program in a bottle needs: memory, keys, addresses, timers.
pub(super) const MASKED_FILES: [&str; 15] = [
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
pub(super) const MASKED_DIRECTORIES: [&str; 5] = ["acpi", "asound", "driver", "scsi", "sysvipc"];
pub(super) const FROZEN: [&str; 4] = ["bus", "fs", "irq", "sys"];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_space_is_bounded_by_the_limits() {
        let bounds = |memory, disk| scratch_bounds(Limits { memory, disk, ..Limits::default() }).bytes;
        for (memory, disk, expected) in [
            (None, None, 2 << 30),
            (Some(1 << 30), None, 1 << 29),
            (None, Some(1 << 30), 1 << 28),
            (Some(1 << 40), Some(1 << 40), 2 << 30),
            (Some(0), None, 1 << 20),
        ] {
            assert_eq!(bounds(memory, disk), expected);
        }
    }

    #[test]
    fn targets_that_would_break_the_room_are_refused() {
        for target in
            ["/", "relative", "/usr/local", "/etc", "/proc/x", "/tmp", "/a/../etc", "/home/agent", "/workspace"]
        {
            assert_eq!(relative(Path::new(target)), None, "{target}");
        }
        assert_eq!(relative(Path::new("/home/agent/.cargo")), Some("home/agent/.cargo".into()));
        assert_eq!(relative(Path::new("/data")), Some("data".into()));
    }
}
