//! `cargo xtask ci`: what a change must pass, in the order in which it fails soonest.

use crate::{
    build::{cargo, root},
    check_deps, emulated, escape,
};
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// `--quick` leaves out what takes minutes: the escape suite as the other user, and a bottle in a real machine.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let quick = options.contains(&"--quick");
    step("rustfmt", cargo().args(["fmt", "--all", "--check"]))?;
    check_deps::run()?;
    step(
        "clippy",
        cargo().args(["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    )?;
    step("tests", &mut tests())?;
    let users: &[&str] = if quick { &["--user", "ordinary"] } else { &[] };
    escape::run("namespace", users)?;
    escape::run("docker", users)?;
    // What differs with the engine is what the socket topology showed of both.
    escape::run("docker-stream", users)?;
    escape::run("docker-sent", &["--user", "ordinary"])?;
    escape::run("podman", users)?;
    escape::run("smolmachines", &[])?;
    if quick {
        return Ok(());
    }
    // Last, beside nothing else: a machine that is emulated has one processor, and wants all of it.
    println!("== a bottle in a real machine");
    emulated::one_life()
}

/// The runner's closing lines are what tells how many tests ran; nextest where it is installed.
fn tests() -> Command {
    let nextest = cargo().args(["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    let mut command = cargo();
    if nextest {
        command.args(["nextest", "run", "--locked", "--workspace", "--profile", "ci"]);
    } else {
        command.args(["test", "--locked", "--workspace", "--no-fail-fast"]);
    }
    command
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    println!("== {name}");
    let status = command.current_dir(root()).status().with_context(|| format!("{name} cannot be started"))?;
    ensure!(status.success(), "{name} failed");
    Ok(())
}
