//! `bot-bottle doctor`: what this machine can and cannot do. Looks, and changes nothing.

use crate::{compose::Context, error::CliError, error::Kind, host};
use serde::Serialize;
use std::{fs, path::Path, process::ExitCode};

/// Say what this machine can and cannot do, and how to mend it
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
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
    let checks = [kernel(), namespaces(), landlock(), limits(), state(context), runtime(context)];
    if args.json {
        context.ui.json(&checks)?;
    } else {
        context.ui.result(&checks.iter().map(line).collect::<String>())?;
    }
    let missing = checks.iter().any(|check| check.state == State::Missing);
    Ok(if missing { ExitCode::from(Kind::Host as u8) } else { ExitCode::SUCCESS })
}

fn line(check: &Check) -> String {
    let mark = match check.state {
        State::Ok => "ok",
        State::Limited => "limited",
        State::Missing => "missing",
    };
    let mend = check.mend.filter(|_| check.state != State::Ok).map(|mend| format!("\n{:20} mend: {mend}", ""));
    format!("{mark:<8} {:<11} {}{}\n", check.name, check.found, mend.unwrap_or_default())
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let state = if release.is_empty() { State::Missing } else { State::Ok };
    let found = if release.is_empty() { "not Linux, or /proc is not mounted".to_owned() } else { release.to_owned() };
    Check { name: "kernel", state, found, mend: Some("run on Linux with /proc mounted") }
}

fn namespaces() -> Check {
    let restricted = fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        .is_ok_and(|text| text.trim() == "1");
    let is_root = rustix::process::geteuid().is_root();
    let (state, found) = match host::user_namespaces_refused() {
        Some(why) => (State::Missing, why),
        None if restricted && !is_root => (State::Limited, "AppArmor restricts user namespaces".to_owned()),
        None => (State::Ok, "user namespaces are allowed".to_owned()),
    };
    let mend = "as root: sysctl -w user.max_user_namespaces=28633 kernel.unprivileged_userns_clone=1 \
                kernel.apparmor_restrict_unprivileged_userns=0 (those that exist)";
    Check { name: "namespaces", state, found, mend: Some(mend) }
}

fn landlock() -> Check {
    let modules = fs::read_to_string("/sys/kernel/security/lsm");
    let (state, found) = match modules {
        Ok(text) if text.split(',').any(|module| module.trim() == "landlock") => {
            (State::Ok, "in the kernel".to_owned())
        }
        Ok(_) => (State::Missing, "not among the kernel's security modules".to_owned()),
        Err(_) => {
            (State::Limited, "cannot be told: /sys/kernel/security is not readable; a launch will tell".to_owned())
        }
    };
    Check { name: "landlock", state, found, mend: Some("boot with `lsm=landlock,…` and a kernel of 5.13 or later") }
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
