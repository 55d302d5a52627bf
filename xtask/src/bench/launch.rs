//! From the command to the agent's first instruction, and to the end: a bottle against a bare `bwrap` and, where an
//! engine answers, a container without network.

use super::table::{Table, median, milliseconds, quantile, ratio};
use anyhow::{Result, ensure};
use bottle_testkit::TestEnv;
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const ROUNDS: usize = 30;
const AT_ONCE: usize = 50;

/// One launch at a time, in turns with its rivals.
pub(super) fn one(program: &Path) -> Result<Table> {
    let env = TestEnv::new(program);
    let mut contenders: Vec<(&str, Command, Vec<Duration>)> = vec![
        ("`bwrap --unshare-all true`", bwrap(&["true"]), Vec::new()),
        ("`bot-bottle run -- true`", env.command(&["run", "--", "true"]), Vec::new()),
    ];
    if docker_answers() {
        contenders.push(("`docker run --network none`", docker(), Vec::new()));
    }
    for round in 0..=ROUNDS {
        for (name, command, samples) in &mut contenders {
            let begun = Instant::now();
            let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            ensure!(status.success(), "{name} failed");
            // The first round fills the caches.
            if round > 0 {
                samples.push(begun.elapsed());
            }
        }
    }
    let base = contenders.first().map(|(_, _, samples)| median(samples)).unwrap_or_default();
    let mut table = Table::new("Launch and end, one at a time", &["what", "p50", "p99", "against bwrap"]);
    for (name, _, samples) in &contenders {
        let p50 = median(samples);
        table.row(vec![(*name).to_owned(), milliseconds(p50), milliseconds(quantile(samples, 0.99)), ratio(p50, base)]);
    }
    Ok(table)
}

/// Fifty at once: each one's time from the common start to its end.
pub(super) fn many(program: &Path) -> Result<Table> {
    let env = TestEnv::new(program);
    let mut table = Table::new("Fifty at once", &["what", "p50", "p99", "p99 against p50", "all succeeded"]);
    for (name, command) in [
        ("`bwrap --unshare-all true`", bwrap(&["true"])),
        ("`bot-bottle run -- true`", env.command(&["run", "--", "true"])),
    ] {
        let (samples, good) = at_once(command)?;
        let (p50, p99) = (median(&samples), quantile(&samples, 0.99));
        table.row(vec![name.to_owned(), milliseconds(p50), milliseconds(p99), ratio(p99, p50), good.to_string()]);
    }
    Ok(table)
}

fn at_once(mut command: Command) -> Result<(Vec<Duration>, bool)> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..AT_ONCE {
        let mut child = command.spawn()?;
        waiting.push(std::thread::spawn(move || (child.wait().is_ok_and(|status| status.success()), begun.elapsed())));
    }
    let ended: Vec<(bool, Duration)> = waiting.into_iter().filter_map(|thread| thread.join().ok()).collect();
    Ok((ended.iter().map(|(_, time)| *time).collect(), ended.len() == AT_ONCE && ended.iter().all(|(good, _)| *good)))
}

/// As bare as a room with the host's programs can be.
pub(super) fn bwrap(program: &[&str]) -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"]);
    command.args([
        "--symlink",
        "usr/lib",
        "/lib",
        "--symlink",
        "usr/lib64",
        "/lib64",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]);
    command.args(program);
    command
}

fn docker_answers() -> bool {
    let mut command = docker();
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// With an image that the machine has already.
fn docker() -> Command {
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--pull", "never", "--network", "none", "debian", "true"]);
    command
}
