//! Rooms, looked at from inside: the example `room` makes one, in a process of one thread, and runs a script in it.
//! Every case runs as root (under a foreign host uid) and as an ordinary user, where the tests themselves are root.
//!
//! `cargo test -p bottle-runtime` builds the example first; with `--test it` it is used as it was last built.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};
use tempfile::TempDir;

#[path = "../../../init/image.rs"]
mod image;

/// The host uid that root gives to rooms here, and the one that plays the ordinary user.
pub(crate) const GIVEN: u32 = 0x7000_0fff;
pub(crate) const ORDINARY: u32 = 0x7000_0ffe;

/// Programs where every uid can execute them; there as long as some bench uses them.
fn programs() -> Arc<TempDir> {
    static PROGRAMS: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut made = PROGRAMS.lock().unwrap();
    if let Some(directory) = made.upgrade() {
        return directory;
    }
    let directory = open_directory();
    // The test's executable is TARGET/PROFILE/deps/it-HASH.
    let own = std::env::current_exe().unwrap();
    let init = image::build(own.ancestors().nth(3).unwrap()).unwrap();
    fs::copy(init, directory.path().join("init")).unwrap();
    fs::copy(own.ancestors().nth(2).unwrap().join("examples/room"), directory.path().join("room")).unwrap();
    let directory = Arc::new(directory);
    *made = Arc::downgrade(&directory);
    directory
}

pub(crate) fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Who makes a room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Maker {
    Root,
    /// Already the uid of the test.
    Own,
    /// An ordinary user that root becomes.
    Ordinary,
}

pub(crate) fn makers() -> Vec<Maker> {
    if rustix::process::geteuid().is_root() { vec![Maker::Root, Maker::Ordinary] } else { vec![Maker::Own] }
}

/// A home to make rooms with, and the options for one.
pub(crate) struct Bench {
    maker: Maker,
    programs: Arc<TempDir>,
    pub(crate) home: TempDir,
    options: Vec<String>,
}

impl Bench {
    pub(crate) fn new(maker: Maker) -> Bench {
        let home = open_directory();
        let owner = match maker {
            Maker::Root => Some(GIVEN),
            Maker::Ordinary => Some(ORDINARY),
            Maker::Own => None,
        };
        std::os::unix::fs::chown(home.path(), owner, owner).unwrap();
        Bench { maker, programs: programs(), home, options: Vec::new() }
    }

    pub(crate) fn with(mut self, options: &[&str]) -> Bench {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = Command::new(self.programs.path().join("room"));
        command.arg("--init").arg(self.programs.path().join("init")).arg("--home").arg(self.home.path());
        match self.maker {
            Maker::Root => {
                command.arg("--ids").arg(format!("{GIVEN}:{GIVEN}"));
            }
            Maker::Ordinary => {
                command.uid(ORDINARY).gid(ORDINARY);
            }
            Maker::Own => {}
        }
        command.args(&self.options).args(["--", "/bin/sh", "-c", script]).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, script: &str) -> Output {
        self.command(script).output().unwrap()
    }

    /// What the script prints, less the last line break.
    pub(crate) fn says(&self, script: &str) -> String {
        let output = self.run(script);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{:?}: `{script}` ended with {:?}: {error}", self.maker, output.status.code());
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}
