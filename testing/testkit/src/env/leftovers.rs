//! Finding what outlived its test, by the one thing that only that test's bottles know: the path of its directory.
//!
//! A keeper and a gate run an executable below it; every process of a bottle has mounts from below it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What was found; empty is how it should be.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// Each with its command line.
    pub processes: Vec<(u32, String)>,
    /// Mount points of this mount namespace.
    pub mounts: Vec<String>,
    pub sockets: Vec<String>,
    pub cgroups: Vec<PathBuf>,
    /// What is left below the state and runtime directories.
    pub files: Vec<PathBuf>,
}

impl Leftovers {
    pub fn is_empty(&self) -> bool {
        *self == Leftovers::default()
    }

    /// Ends the processes that were found, and no others.
    pub fn kill(&self) {
        for (pid, _) in &self.processes {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// Looks for everything of the environment at `root`.
pub fn find(root: &Path) -> Leftovers {
    let mark = root.to_string_lossy().into_owned();
    let slugs = slugs(root);
    Leftovers {
        processes: processes(&mark),
        mounts: lines_with("/proc/self/mountinfo", &mark),
        sockets: lines_with("/proc/net/unix", &mark),
        cgroups: cgroups(Path::new("/sys/fs/cgroup"), &slugs, 0),
        files: bottle_files(root),
    }
}

/// The processes whose executable, command line or mounts are below `mark`.
pub fn processes(mark: &str) -> Vec<(u32, String)> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let own = std::process::id();
    pids.filter(|pid| *pid != own && belongs(*pid, mark)).map(|pid| (pid, command_line(pid))).collect()
}

fn belongs(pid: u32, mark: &str) -> bool {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let below = exe.to_string_lossy().starts_with(mark);
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    below || mounts.contains(mark) && !same_mounts(pid)
}

/// Whether a process shares our view of the file system, and so says nothing about a bottle.
fn same_mounts(pid: u32) -> bool {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    of(&pid.to_string()) == of("self")
}

fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

fn lines_with(file: &str, mark: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect()
}

fn slugs(root: &Path) -> Vec<String> {
    let seen = fs::read_to_string(root.join("slugs")).unwrap_or_default();
    let listed = fs::read_dir(root.join("state/bot-bottle/bottles")).into_iter().flatten().flatten();
    let mut slugs: Vec<String> = listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    slugs.extend(seen.lines().map(str::to_owned));
    slugs
}

fn cgroups(directory: &Path, slugs: &[String], depth: usize) -> Vec<PathBuf> {
    if depth > 6 || slugs.is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found = Vec::new();
    for path in directories.map(|entry| entry.path()) {
        if slugs.iter().any(|slug| path.ends_with(slug)) {
            found.push(path);
        } else {
            found.extend(cgroups(&path, slugs, depth + 1));
        }
    }
    found
}

/// What `cleanup` must have removed: the bottles' own directories.
fn bottle_files(root: &Path) -> Vec<PathBuf> {
    let below = |directory: &str| fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
    let state = below("state/bot-bottle/bottles").map(|entry| entry.path());
    let sockets = below("run/bot-bottle").map(|entry| entry.path()).filter(|path| path.is_dir());
    state.chain(sockets).collect()
}
