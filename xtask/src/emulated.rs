//! `cargo xtask emulated`: what a machine must have that few that build have, in one that QEMU plays: limits by cgroup v2,
//! and with `smolmachines` machines of its own.
//!
//! Minutes, and some hundred MB from Debian the first time. A guest's clock goes by what it has done, so its limits on
//! time hold there and the one on the whole is kept out here.

use crate::build::{self, Profile, root};
use anyhow::{Context, Result, ensure};
use std::{path::PathBuf, process::Command};

/// One life of one bottle: minutes, for a second of the emulated machine takes tens.
const QUICK: &str = "smolmachines::life::a_machine_lives";
/// A machine in an emulated one hangs once in a while, whatever runs in it: it gets a second try.
const TRIES: usize = 2;
/// What `scripts/emulated-machine` ends with then.
const NEVER: i32 = 75;

/// Whether what was to run in the emulated machine ran to its end.
#[derive(PartialEq, Eq)]
enum Played {
    ToItsEnd,
    Never,
}

pub(crate) fn run(options: &[&str]) -> Result<()> {
    if let ["smolmachines", options @ ..] = options {
        ensure!(smolmachines(options)? == Played::ToItsEnd, "the emulated machine did not come to its end in any try");
        return Ok(());
    }
    let program = match options {
        [] => build::binary("bot-bottle", Profile::Dev)?,
        ["--built"] => build::beside("bot-bottle")?,
        _ => anyhow::bail!("options: --built to build nothing"),
    };
    let scripts = root().join("scripts");
    let mut machine = Command::new(scripts.join("emulated-machine"));
    machine.arg(scripts.join("emulated/cgroup2.sh")).arg(program);
    let status = machine.status().context("the emulated machine cannot be started")?;
    ensure!(status.success(), "not all of it held");
    Ok(())
}

/// The tests of the program whose names hold one of `filters`, with the real smolvm; with `escape` that suite.
fn smolmachines(filters: &[&str]) -> Result<Played> {
    let scripts = root().join("scripts");
    let command: Vec<PathBuf> = match filters {
        ["escape"] => {
            // Both stand beside this program.
            build::binary("bot-bottle", Profile::Dev)?;
            let own = std::env::current_exe().context("this program's own path")?;
            [own, "escape".into(), "smolmachines".into(), "--user".into(), "ordinary".into(), "--built".into()].into()
        }
        filters => {
            let tests = build::tests("bot-bottle", "it")?;
            let filters = if filters.is_empty() { &[QUICK] } else { filters };
            let fixed = [tests, "--test-threads=1".into()];
            fixed.into_iter().chain(filters.iter().map(PathBuf::from)).collect()
        }
    };
    for turn in 1..=TRIES {
        let mut machine = Command::new(scripts.join("emulated-machine"));
        machine.arg("--nested").arg(scripts.join("emulated/smolmachines.sh")).args(&command);
        match machine.status().context("the emulated machine cannot be started")?.code() {
            Some(0) => return Ok(Played::ToItsEnd),
            Some(NEVER) => eprintln!("emulated: try {turn} of {TRIES} did not come to its end"),
            _ => anyhow::bail!("not all of it held"),
        }
    }
    Ok(Played::Never)
}
