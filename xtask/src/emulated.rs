//! `cargo xtask emulated`: limits by cgroup v2, in a machine that QEMU plays, since many that build have cgroup v1 alone.
//!
//! Minutes, and some hundred MB from Debian the first time: no part of `ci`.

use crate::build::{self, Profile, root};
use anyhow::{Context, Result, ensure};
use std::process::Command;

pub(crate) fn run(options: &[&str]) -> Result<()> {
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
