//! What of the machine's memory the bottle may take: all that is not in use when it starts, but what the machine needs to
//! stay one.
//!
//! Without that, a bottle that takes all there is leaves the machine nothing to run by: its kernel reads the same pages of
//! programs again and again rather than end one, and whoever waits for the bottle waits for ever. With it, the bottle's own
//! share is used up first, and the kernel ends a program of the bottle's (cgroup v2, `memory.max`).

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

/// Where smolvm shows its workload the control groups: this program's own is the root of what is there.
const GROUPS: &str = "/sys/fs/cgroup";
/// A sixteenth is the machine's, and within these bounds, besides what it has taken by now: its kernel, smolvm's agent and
/// the porter, some 50 MiB.
const PART: u64 = 16;
const LEAST: u64 = 48 << 20;
const MOST: u64 = 256 << 20;

/// Makes the bottle's control group, with its bound. What joins it is written to the file; none where this machine has no
/// such groups.
pub(super) fn set_apart() -> io::Result<Option<File>> {
    within(Path::new(GROUPS), memory(&fs::read_to_string("/proc/meminfo")?))
}

fn within(groups: &Path, memory: Option<u64>) -> io::Result<Option<File>> {
    let controllers = match fs::read_to_string(groups.join("cgroup.controllers")) {
        Ok(controllers) => controllers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(memory) = memory.filter(|_| controllers.split_ascii_whitespace().any(|it| it == "memory")) else {
        return Ok(None);
    };
    // A group that shares out what it has may hold no processes itself.
    let porter = groups.join("porter");
    fs::create_dir(&porter)?;
    for process in fs::read_to_string(groups.join("cgroup.procs"))?.lines() {
        fs::write(porter.join("cgroup.procs"), process)?;
    }
    fs::write(groups.join("cgroup.subtree_control"), "+memory")?;
    let bottle = groups.join("bottle");
    fs::create_dir(&bottle)?;
    fs::write(bottle.join("memory.max"), share(memory).to_string())?;
    OpenOptions::new().write(true).open(bottle.join("cgroup.procs")).map(Some)
}

/// Bytes that are the bottle's of so many that nobody has taken.
fn share(memory: u64) -> u64 {
    memory.saturating_sub((memory / PART).clamp(LEAST, MOST)).max(memory / 2)
}

/// What nobody in the machine has taken, of what `/proc/meminfo` says.
fn memory(meminfo: &str) -> Option<u64> {
    let kibibytes = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.trim().strip_suffix("kB")?;
    kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_keeps_a_part_and_the_bottle_gets_the_most() {
        assert_eq!(memory("MemTotal:         239616 kB\nMemAvailable:  192512 kB\n"), Some(188 << 20));
        assert_eq!(memory("MemTotal:  1 kB\n"), None);
        assert_eq!(share(188 << 20), (188 - 48) << 20);
        assert_eq!(share(4 << 30), (4096 - 256) << 20);
        assert_eq!(share(64 << 20), 32 << 20);
    }

    #[test]
    fn the_bottle_gets_a_group_of_its_own() {
        let groups = tempfile::tempdir().unwrap();
        let at = |name: &str| groups.path().join(name);
        assert!(within(groups.path(), Some(1 << 30)).unwrap().is_none(), "no such groups");
        fs::write(at("cgroup.controllers"), "cpu pids\n").unwrap();
        assert!(within(groups.path(), Some(1 << 30)).unwrap().is_none(), "not for memory");
        fs::write(at("cgroup.controllers"), "cpu memory pids\n").unwrap();
        fs::write(at("cgroup.procs"), "1\n").unwrap();
        // A kernel makes the files of a group with it.
        assert!(within(groups.path(), Some(1 << 30)).is_err(), "no kernel is behind it");
        assert_eq!(fs::read_to_string(at("porter/cgroup.procs")).unwrap(), "1");
        assert_eq!(fs::read_to_string(at("cgroup.subtree_control")).unwrap(), "+memory");
        assert_eq!(fs::read_to_string(at("bottle/memory.max")).unwrap(), ((1024u64 - 64) << 20).to_string());
    }
}
