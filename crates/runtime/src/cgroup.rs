//! A cgroup v2 for one bottle, where this process may make one.
//!
//! The directory goes beneath the nearest ancestor of our own cgroup that lets us make directories and hand its
//! controllers down. Where there is none (cgroup v1, no delegation) there is no cgroup, and the plan's notices have
//! said so: a limit is never pretended.

use bottle_spec::{plan::Limits, slug::Slug};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const MOUNT: &str = "/sys/fs/cgroup";
/// The kernel's own unit of time for `cpu.max`, in microseconds.
const PERIOD: u64 = 100_000;

#[derive(Debug, thiserror::Error)]
#[error("the cgroup {} cannot be set up", path.display())]
pub struct CgroupError {
    path: PathBuf,
    source: io::Error,
}

/// Where a bottle's cgroup would go, and which of `cpu`, `memory` and `pids` it could limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    parent: PathBuf,
    pub controllers: Vec<&'static str>,
}

const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

impl Delegation {
    /// `None` where no cgroup can be made.
    pub fn find() -> Option<Delegation> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        Delegation::beneath(Path::new(MOUNT), Path::new(own))
    }

    fn beneath(mount: &Path, own: &Path) -> Option<Delegation> {
        // Only a v2 hierarchy has this file.
        if !mount.join("cgroup.controllers").exists() {
            return None;
        }
        let candidates = own.ancestors().map(|ancestor| mount.join(ancestor)).filter(|path| writable(path));
        let delegations: Vec<Delegation> = candidates.map(Delegation::at).collect();
        delegations.into_iter().max_by_key(|delegation| delegation.controllers.len())
    }

    /// Reads, and changes nothing: what is not handed down yet counts where it could be.
    fn at(parent: PathBuf) -> Delegation {
        let listed = |file: &str| fs::read_to_string(parent.join(file)).unwrap_or_default();
        let (available, enabled) = (listed("cgroup.controllers"), listed("cgroup.subtree_control"));
        let has = |list: &str, name: &str| list.split_ascii_whitespace().any(|known| known == name);
        // A cgroup with processes of its own hands nothing down (cgroups(7), "no internal processes"), except the
        // root, which alone has no type.
        let can_enable = !parent.join("cgroup.type").exists() || listed("cgroup.procs").is_empty();
        let limits = |name: &str| has(&enabled, name) || can_enable && has(&available, name);
        let controllers = CONTROLLERS.into_iter().filter(|name| limits(name)).collect();
        Delegation { parent, controllers }
    }

    /// Where the bottle's cgroup will be; for the journal.
    pub(crate) fn path(&self, slug: &Slug) -> PathBuf {
        self.parent.join(format!("bot-bottle-{slug}"))
    }

    /// Makes the cgroup with its limits, those that can be.
    pub(crate) fn make(&self, slug: &Slug, limits: &Limits) -> Result<PathBuf, CgroupError> {
        let path = self.path(slug);
        let failed = |source| CgroupError { path: path.clone(), source };
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(failed)?,
        }
        let control = self.parent.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&control).unwrap_or_default();
        for name in &self.controllers {
            if !enabled.split_ascii_whitespace().any(|known| known == *name) {
                fs::write(&control, format!("+{name}"))
                    .map_err(|source| CgroupError { path: control.clone(), source })?;
            }
        }
        for (file, value) in self.settings(limits) {
            match fs::write(path.join(file), &value) {
                // Kernels without swap accounting have no such file.
                Err(error) if file == "memory.swap.max" && error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(failed)?,
            }
        }
        Ok(path)
    }

    fn settings(&self, limits: &Limits) -> Vec<(&'static str, String)> {
        let has = |name| self.controllers.contains(&name);
        let mut settings = Vec::new();
        if let Some(millis) = limits.cpu_millis.filter(|_| has("cpu")) {
            settings.push(("cpu.max", format!("{} {PERIOD}", u64::from(millis) * PERIOD / 1000)));
        }
        if let Some(bytes) = limits.memory.filter(|_| has("memory")) {
            settings.push(("memory.max", bytes.to_string()));
            settings.push(("memory.swap.max", "0".to_owned()));
        }
        if let Some(count) = limits.pids.filter(|_| has("pids")) {
            settings.push(("pids.max", count.to_string()));
        }
        settings
    }
}

fn writable(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(path, Access::WRITE_OK).is_ok() && access(path.join("cgroup.procs"), Access::WRITE_OK).is_ok()
}

/// Kills what is in a cgroup and removes it. One that is not there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::write(path.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => return Ok(()),
        // Before Linux 5.14; whoever was in it has been killed by other means.
        _ => {}
    }
    const TRIES: u32 = 200;
    for attempt in 0.. {
        match fs::remove_dir(path) {
            // The dying leave a moment after their end is seen, and tell nobody.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && attempt < TRIES => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_settings_of_the_controllers_that_are_there() {
        let limits = Limits { cpu_millis: Some(1500), memory: Some(1 << 30), pids: Some(64), disk: None };
        let with = |controllers| Delegation { parent: PathBuf::new(), controllers }.settings(&limits);
        assert_eq!(
            with(CONTROLLERS.to_vec()),
            [
                ("cpu.max", "150000 100000".to_owned()),
                ("memory.max", "1073741824".to_owned()),
                ("memory.swap.max", "0".to_owned()),
                ("pids.max", "64".to_owned()),
            ]
        );
        assert_eq!(with(vec!["pids"]), [("pids.max", "64".to_owned())]);
    }

    #[test]
    fn a_group_with_processes_hands_down_what_it_does_already() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("user");
        fs::create_dir(&group).unwrap();
        let write = |file: &str, text: &str| fs::write(group.join(file), text).unwrap();
        write("cgroup.type", "domain\n");
        write("cgroup.controllers", "cpu memory pids\n");
        write("cgroup.subtree_control", "pids\n");
        write("cgroup.procs", "1\n");
        assert_eq!(Delegation::at(group.clone()).controllers, ["pids"]);
        write("cgroup.procs", "");
        assert_eq!(Delegation::at(group.clone()).controllers, CONTROLLERS);
        assert_eq!(fs::read_to_string(group.join("cgroup.subtree_control")).unwrap(), "pids\n", "find changes nothing");
    }

    #[test]
    fn a_hierarchy_of_version_1_is_none() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Delegation::beneath(root.path(), Path::new("")), None);
    }
}
