//! What resolving must know of the host, as plain data. The cli gathers it; tests write it down.

use crate::topology::Topology;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    pub home: PathBuf,
    pub cwd: PathBuf,
    /// bot-bottle's own directories: configuration and state. No bottle may write to them.
    pub own: Vec<PathBuf>,
    pub euid: u32,
    /// `LANG`, `LANGUAGE` and `LC_*` as they are set.
    pub locale: BTreeMap<String, String>,
    /// As `Europe/Berlin`.
    pub time_zone: Option<String>,
    pub term: Option<String>,
    pub color_term: Option<String>,
    /// The cgroup v2 controllers that this user can set limits with.
    pub controllers: BTreeSet<String>,
    /// Why user namespaces cannot be made, where that is known.
    pub user_namespaces_refused: Option<String>,
    /// Of the programs that make a difference: `bash`, `git`, `java`, `ssh`.
    pub programs: BTreeSet<String>,
    /// The names of the environment's variables that are set and not empty.
    pub variables: BTreeSet<String>,
    /// The logins that `bot-bottle login` has, each with its account where it names one.
    pub logins: BTreeMap<String, Option<String>>,
    /// The program of the request's provider, where it was found on `PATH`.
    pub agent_program: Option<AgentProgram>,
    /// The request's skills that were found, each with its folder.
    pub skills: BTreeMap<String, PathBuf>,
    /// What the container engine said, where the request's backend has one.
    pub engine: Option<EngineFacts>,
    /// The smolvm of this host, where the backend has it and it says which it is.
    pub smolvm: Option<SmolvmFacts>,
    /// What stands at the paths that [`crate::request::Request::paths`] asks about; absent = nothing.
    pub paths: BTreeMap<PathBuf, PathKind>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmolvmFacts {
    /// As `1.32.2`.
    pub version: String,
    /// What is to be known of it before it makes a machine.
    pub notice: Option<String>,
}

/// What an engine says of the request's image, and of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineFacts {
    /// `sha256:…`.
    pub image_id: String,
    /// The image's own environment.
    pub image_env: BTreeMap<String, String>,
    /// Of `cpu`, `memory` and `pids`, what it can limit.
    pub controllers: BTreeSet<String>,
    /// What it can do of what is usual: socket, unless it runs in a machine of its own or does not see this one's files.
    pub topology: Topology,
}

/// Where an agent's program lies on the host, and what a bottle must be shown for it to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentProgram {
    pub path: PathBuf,
    /// Files and directories that no bottle has anyway; shown read-only where they are.
    pub shown: Vec<PathBuf>,
    /// Where its interpreter is, for the bottle's `PATH`.
    pub folders: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    File,
    Directory,
    /// A socket, a device, a FIFO.
    Other,
}

impl HostFacts {
    pub fn is_root(&self) -> bool {
        self.euid == 0
    }

    /// A path as the user wrote it, made absolute: `~` is the home, a relative one begins at `base`.
    pub fn absolute(&self, path: &Path, base: &Path) -> PathBuf {
        absolute(path, base, &self.home)
    }
}

/// See [`HostFacts::absolute`]. `.` and `..` are folded as text, which is what the user sees.
pub fn absolute(path: &Path, base: &Path, home: &Path) -> PathBuf {
    let joined = match path.strip_prefix("~") {
        Ok(rest) => home.join(rest),
        Err(_) => base.join(path),
    };
    let mut folded = PathBuf::new();
    for part in joined.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                folded.pop();
            }
            part => folded.push(part),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute() {
        for (given, expected) in [
            ("~", "/home/u"),
            ("~/x", "/home/u/x"),
            ("x/./y", "/base/x/y"),
            ("../x", "/x"),
            ("/a/../../b", "/b"),
            ("~other/x", "/base/~other/x"),
        ] {
            assert_eq!(absolute(Path::new(given), Path::new("/base"), Path::new("/home/u")), Path::new(expected));
        }
    }
}
