//! `bot-bottle doctor`: what this machine can and cannot do. Looks, and changes nothing unless it is told to.

use crate::{
    compose::Context,
    engine,
    error::{CliError, Kind, in_a_line},
    host, smolvm,
};
use bottle_runtime::backend::{
    docker,
    namespace::{Requirement, requirements},
};
use bottle_spec::escape::Escaped;
use serde::Serialize;
use std::{
    path::Path,
    process::{Command, ExitCode, Stdio},
};

/// Say what this machine can and cannot do, and how to mend it
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Install what can be installed without root: smolvm, from PyPI into your cache
    #[cfg(feature = "registry")]
    #[arg(long)]
    fix: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// Bottles start, with less.
    Limited,
    /// No bottle starts.
    Missing,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<&'static str>,
}

pub(crate) fn run(args: DoctorArgs, context: &Context) -> Result<ExitCode, CliError> {
    #[cfg(feature = "registry")]
    if args.fix {
        fix(context)?;
    }
    let mut checks: Vec<Check> = requirements().into_iter().map(needed).collect();
    checks.extend([limits(), git(), engine(context), machines(context), state(context), runtime(context)]);
    if args.json {
        context.ui.json(&checks)?;
    } else {
        context.ui.result(&checks.iter().map(line).collect::<String>())?;
    }
    let missing = checks.iter().any(|check| check.state == State::Missing);
    Ok(if missing { ExitCode::from(Kind::Host as u8) } else { ExitCode::SUCCESS })
}

/// Leaves alone what is good.
#[cfg(feature = "registry")]
fn fix(context: &Context) -> Result<(), CliError> {
    let found = smolvm::find(context);
    let error = match found.probe() {
        Ok(features) => {
            context.ui.say(&format!("smolvm {} is there already", features.version));
            return Ok(());
        }
        Err(error) => error,
    };
    if context.environment.value(smolvm::VARIABLE).is_some() {
        let what = format!("{} names a smolvm that cannot be used", smolvm::VARIABLE);
        return Err(CliError::host(what).because(error).next("unset it, and try again"));
    }
    let installed = smolvm::install::run(context)?;
    context.ui.say(&format!("smolvm is installed at {}", context.short(&installed)));
    if smolvm::find(context).program != std::fs::canonicalize(&installed).unwrap_or(installed.clone()) {
        let installed = installed.display();
        context.ui.say(&format!("PATH has another one, which comes first: set {}={installed}", smolvm::VARIABLE));
    }
    Ok(())
}

fn line(check: &Check) -> String {
    let mark = match check.state {
        State::Ok => "ok",
        State::Limited => "limited",
        State::Missing => "missing",
    };
    let mend = check.mend.filter(|_| check.state != State::Ok).map(|mend| format!("\n{:25} mend: {mend}", ""));
    format!("{mark:<8} {:<16} {}{}\n", check.name, check.found, mend.unwrap_or_default())
}

/// Without one of these no bottle starts: the launch looks at the very same.
fn needed(requirement: Requirement) -> Check {
    let Requirement { name, met, hint } = requirement;
    let state = if met { State::Ok } else { State::Missing };
    Check { name, state, found: hint, mend: None }
}

/// Bottles with repositories, and clones of the working directory, take the host's.
fn git() -> Check {
    let output = Command::new("git").arg("--version").stdin(Stdio::null()).output();
    let said = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let (state, found) = match said {
        Some(said) => (State::Ok, String::from_utf8_lossy(&said).trim().trim_start_matches("git version ").to_owned()),
        None => (State::Limited, "none: no repositories, and no `--workspace clone`".to_owned()),
    };
    Check { name: "git", state, found, mend: Some("install git") }
}

/// Only bottles with `backend: docker` need one.
fn engine(context: &Context) -> Check {
    let found = engine::address(context).and_then(|address| {
        let version = docker::server(&address).map_err(|error| CliError::host(error.to_string()))?;
        Ok(format!("{} at {address}", Escaped(&version)))
    });
    let (state, found) = match found {
        Ok(found) => (State::Ok, found),
        Err(error) => (State::Limited, format!("no `--backend docker`: {}", in_a_line(&error))),
    };
    Check { name: "engine", state, found, mend: Some("start Docker or Podman's service, and join its group") }
}

#[cfg(feature = "registry")]
const INSTALL: &str = "`bot-bottle doctor --fix`, or have smolvm in PATH or name it in BOT_BOTTLE_SMOLVM";
#[cfg(not(feature = "registry"))]
const INSTALL: &str = "install smolvm, and have it in PATH or name it in BOT_BOTTLE_SMOLVM";

/// Only bottles with `backend: smolmachines` need it.
fn machines(context: &Context) -> Check {
    let smolvm = smolvm::find(context);
    let (state, found, mend) = match (smolvm.probe(), smolvm::without_kvm()) {
        (Err(error), _) => {
            let error = CliError::host(error.to_string());
            (State::Limited, format!("no `--backend smolmachines`: {}", in_a_line(&error)), INSTALL)
        }
        (Ok(_), Some(why)) => {
            let mend = "load the module kvm_intel or kvm_amd, and join the group `kvm`";
            (State::Limited, format!("no `--backend smolmachines`: {why}"), mend)
        }
        (Ok(features), None) => {
            let newer = if features.version.is_newer_than_tested() { ", newer than tested" } else { "" };
            (State::Ok, format!("smolvm {}{newer} at {}", features.version, context.short(&smolvm.program)), "")
        }
    };
    Check { name: "machines", state, found, mend: Some(mend) }
}

fn limits() -> Check {
    let controllers = host::controllers();
    let missing: Vec<&str> =
        ["cpu", "memory", "pids"].into_iter().filter(|name| !controllers.contains(*name)).collect();
    let (state, found) = if missing.is_empty() {
        (State::Ok, "cgroup v2: cpu, memory and pids are delegated".to_owned())
    } else {
        (
            State::Limited,
            format!("cgroup v2 does not delegate {} to you: such limits are not enforced", missing.join(", ")),
        )
    };
    let mend = "start through `systemd-run --user --scope -p Delegate=yes`, on a machine with cgroup v2";
    Check { name: "limits", state, found, mend: Some(mend) }
}

fn state(context: &Context) -> Check {
    let path = &context.dirs.state;
    let (state, found) = match writable(path) {
        true => (State::Ok, context.short(path)),
        false => (State::Missing, format!("{} cannot be written to", context.short(path))),
    };
    Check { name: "state", state, found, mend: Some("make it yours, or set XDG_STATE_HOME") }
}

fn runtime(context: &Context) -> Check {
    let path = &context.dirs.runtime;
    let (state, found) = match writable(path) {
        true => (State::Ok, context.short(path)),
        false => (State::Missing, format!("{} cannot be written to", context.short(path))),
    };
    Check { name: "sockets", state, found, mend: Some("set XDG_RUNTIME_DIR to a directory of yours, or unset it") }
}

/// Whether the path, or the nearest that exists above it, can be written to.
fn writable(path: &Path) -> bool {
    let existing = path.ancestors().find(|path| path.exists());
    existing.is_some_and(|path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok())
}
