//! A home of its own for one test: HOME, XDG directories and a name for the program, so that whatever the program
//! leaves behind can be found and told from everybody else's.
//!
//! Dropping it removes the bottles that are left, and then fails the test if a process, mount, socket, cgroup or
//! file of this environment outlived that.

pub mod leftovers;
mod run;

pub use leftovers::Leftovers;
pub use run::{Ran, Running};

use crate::wait::comes_within;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

/// An unprivileged user that no machine has.
pub const ORDINARY: u32 = 54_321;
/// How long one call of the program may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct TestEnv {
    root: TempDir,
    program: PathBuf,
    user: Option<u32>,
    variables: BTreeMap<String, String>,
}

impl TestEnv {
    /// For the built executable at `program` (a test has it from `env!("CARGO_BIN_EXE_bot-bottle")`).
    pub fn new(program: impl AsRef<Path>) -> TestEnv {
        // Short, since socket paths are.
        let root = tempfile::Builder::new().prefix("bb-").tempdir_in("/tmp").expect("a directory below /tmp");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("a directory of ours");
        for name in ["bin", "home", "config", "state", "cache", "run", "work"] {
            fs::create_dir(root.path().join(name)).expect("an empty directory");
        }
        let own = root.path().join("bin/bot-bottle");
        link_or_copy(program.as_ref(), &own);
        let mut env = TestEnv { root, program: own, user: None, variables: BTreeMap::new() };
        env.restrict();
        env
    }

    /// The same, where the program is started by an ordinary user. Without root there is no other user to be, and
    /// the caller is one.
    pub fn ordinary(program: impl AsRef<Path>) -> TestEnv {
        let mut env = TestEnv::new(program);
        if is_root() {
            env.user = Some(ORDINARY);
            env.restrict();
        }
        env
    }

    fn restrict(&mut self) {
        for name in ["home", "config", "state", "cache", "run", "work"] {
            let path = self.root.path().join(name);
            if let Some(user) = self.user {
                chown(&path, Some(user), Some(user)).expect("root may give a directory away");
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a directory of ours");
        }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The working directory of what is run.
    pub fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub fn state(&self) -> PathBuf {
        self.root.path().join("state/bot-bottle")
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The user who runs the program.
    pub fn user(&self) -> u32 {
        self.user.unwrap_or_else(|| rustix::process::getuid().as_raw())
    }

    /// A variable for every later call, such as one that a secret is read from.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Writes a file below the root, owned by the user; gives its path.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.root.path().join(path);
        let mut made = Vec::new();
        let mut parent = file.parent();
        while let Some(directory) = parent.filter(|directory| !directory.exists()) {
            made.push(directory.to_owned());
            parent = directory.parent();
        }
        fs::create_dir_all(file.parent().expect("a file has a directory")).expect("a directory of ours");
        fs::write(&file, text).expect("a file of ours");
        made.push(file.clone());
        if let Some(user) = self.user {
            made.iter().for_each(|path| chown(path, Some(user), Some(user)).expect("root may give a file away"));
        }
        file
    }

    /// Writes `bottles/<name>.yaml` where the user's own are.
    pub fn bottle(&self, name: &str, yaml: &str) -> PathBuf {
        self.write(&format!("config/bot-bottle/bottles/{name}.yaml"), yaml)
    }

    /// Writes `agents/<name>.md` where the user's own are.
    pub fn agent(&self, name: &str, front_matter: &str) -> PathBuf {
        self.write(&format!("config/bot-bottle/agents/{name}.md"), format!("---\n{front_matter}\n---\n"))
    }

    /// The program with an environment that holds this and nothing else.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = self.program_of_host(&self.program);
        command.args(arguments);
        command
    }

    /// Another program, as the user would start it: in the working directory and with the same environment.
    pub fn program_of_host(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.work());
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").env("LANG", "C.UTF-8").env("TERM", "dumb");
        for (name, directory) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_RUNTIME_DIR", "run"),
        ] {
            command.env(name, self.root.path().join(directory));
        }
        command.envs(&self.variables);
        if let Some(user) = self.user {
            use std::os::unix::process::CommandExt;
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs the program to its end, without standard input.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        self.spawn(arguments).finish(PATIENCE)
    }

    /// Starts the program; its output is collected meanwhile.
    #[track_caller]
    pub fn spawn<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        Running::start(self.command(arguments))
    }

    /// The slugs of the bottles that the state directory knows.
    pub fn bottles(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state().join("bottles")).into_iter().flatten();
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// What is there on this machine because of this environment.
    pub fn leftovers(&self) -> Leftovers {
        leftovers::find(self.root.path())
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        if !self.bottles().is_empty() {
            let _ = Running::start(self.command(&["cleanup", "--all", "--yes"])).wait(PATIENCE);
        }
        // A keeper may still be at its teardown when the cli that it served has ended.
        comes_within(Duration::from_secs(5), || self.leftovers().is_empty().then_some(()));
        let left = self.leftovers();
        left.kill();
        if !left.is_empty() && !std::thread::panicking() {
            panic!("left behind by {}: {left:#?}", self.root.path().display());
        }
    }
}

/// Whether tests that need another user's eyes can be run.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn link_or_copy(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{} is to be built first: {error}", from.display()));
    }
}
