//! A bottle as a machine of its own. By a stand-in for smolvm, which starts the same porter in namespaces; in the
//! emulated machine (`cargo xtask emulated smolmachines`) the same tests run with the real one.

#[cfg(feature = "registry")]
mod cache;
#[cfg(feature = "registry")]
mod images;
mod life;
mod refused;
mod told;
mod warm;

use crate::stage::Stage;
use bottle_testkit::{Machines, wait_until};
use std::{fs, time::Duration};

pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const NAME: &str = "machine-kqzmb";
/// Small, and with the one processor that a machine in an emulated machine can have.
pub(crate) const LIMITS: [&str; 4] = ["--limit", "cpus=1", "--limit", "memory=512MiB"];

/// A stage with machines.
pub(crate) struct Yard {
    pub(crate) stage: Stage,
    pub(crate) machines: Machines,
}

impl Yard {
    pub(crate) fn new() -> Yard {
        let mut stage = Stage::ordinary();
        let machines = Machines::install(&mut stage.env);
        Yard { stage, machines }
    }

    /// Whatever there is on this machine.
    pub(crate) fn of_stand_ins() -> Yard {
        let mut stage = Stage::ordinary();
        let machines = Machines::stand_in(&mut stage.env);
        Yard { stage, machines }
    }

    pub(crate) fn run(&self, flags: &[&str], command: &[&str]) -> bottle_testkit::Ran {
        self.stage.run(&[&LIMITS[..], flags].concat(), command)
    }

    /// A bottle named [`NAME`] in the background.
    #[track_caller]
    pub(crate) fn detached(&self, flags: &[&str], script: &str) {
        let fixed = ["--detach", "--name", NAME];
        let ran = self.run(&[&fixed[..], flags].concat(), &["sh", "-c", script]);
        assert_eq!(ran.success(), format!("{NAME}\n"));
    }

    #[track_caller]
    pub(crate) fn exec(&self, script: &str) -> String {
        self.stage.env.run(&["exec", NAME, "--", "sh", "-c", script]).success().to_owned()
    }

    /// The processes that are machines of these bottles.
    pub(crate) fn machines(&self) -> Vec<u32> {
        let root = self.stage.env.root().to_string_lossy().into_owned();
        let is_ours = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.contains("_boot-vm") && line.contains(&root)
        };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
    }

    #[track_caller]
    pub(crate) fn nothing_is_left(&self) {
        self.stage.env.run(&["cleanup", "--all", "--yes"]).success();
        wait_until("no machine to be left", SOON, || self.machines().is_empty());
        wait_until("nothing to be left", SOON, || self.stage.env.leftovers().is_empty());
    }
}
