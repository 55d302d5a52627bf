//! From the command to the agent's first instruction, and to the end: a bottle against a bare `bwrap` and, where an
//! engine can be started, a container without network, and a bottle that is one.

use super::{
    engine::Engine,
    table::{Table, median, milliseconds, quantile, ratio},
};
use anyhow::{Context, Result, ensure};
use bottle_testkit::TestEnv;
use serde::Deserialize;
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Of each, so many times in a row, and in turns; the first round fills the caches.
const RUNS: usize = 5;
const ROUNDS: usize = 8;
const AT_ONCE: usize = 50;

/// One launch at a time, by hyperfine, in turns with its rivals.
pub(super) fn one(program: &Path) -> Result<Table> {
    let env = TestEnv::new(program);
    let engine = Engine::start()?;
    let mut contenders = vec![
        ("`bwrap --unshare-all true`", bwrap(&["true"]), Vec::new()),
        ("`bot-bottle run -- true`", env.command(&["run", "--", "true"]), Vec::new()),
    ];
    if let Some(engine) = &engine {
        contenders.push(("`docker run --network none true`", engine.run(), Vec::new()));
        let mut boxed = env.command(&["run", "--backend", "docker", "--image", Engine::IMAGE, "--", "true"]);
        boxed.env("DOCKER_HOST", engine.host());
        contenders.push(("`bot-bottle run --backend docker true`", boxed, Vec::new()));
    }
    for round in 0..=ROUNDS {
        for (_, command, samples) in &mut contenders {
            let times = hyperfine(command)?;
            if round > 0 {
                samples.extend(times);
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

#[derive(Deserialize)]
struct Exported {
    results: Vec<Timed>,
}

/// Seconds.
#[derive(Deserialize)]
struct Timed {
    times: Vec<f64>,
}

/// Times a command, with its own environment and without a shell.
fn hyperfine(command: &Command) -> Result<Vec<Duration>> {
    let export = tempfile::NamedTempFile::new()?;
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words = words.map(|word| word.to_str().context("a word that is no text")).collect::<Result<Vec<_>>>()?;
    ensure!(words.iter().all(|word| !word.contains([' ', '\'', '"'])), "a word that would need quotes");
    let mut timing = Command::new("hyperfine");
    timing.args(["-N", "--style", "none", "--runs", &RUNS.to_string(), "--export-json"]).arg(export.path());
    timing.arg(words.join(" ")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(directory) = command.get_current_dir() {
        timing.current_dir(directory);
    }
    let own = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    if command.get_envs().len() > 0 {
        timing.env_clear().envs(own);
    }
    let output = timing.output().context("hyperfine cannot be started; scripts/install-bench-needs")?;
    ensure!(output.status.success(), "{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    let exported: Exported = serde_json::from_slice(&std::fs::read(export.path())?)?;
    Ok(exported.results.iter().flat_map(|timed| &timed.times).map(|time| Duration::from_secs_f64(*time)).collect())
}

/// Fifty at once: each one's time from the common start to its end.
pub(super) fn many(program: &Path) -> Result<Table> {
    let env = TestEnv::new(program);
    let mut table = Table::new("Fifty at once", &["what", "p50", "p99", "p99 against p50", "all succeeded"]);
    for (name, command) in [
        ("`bwrap --unshare-all true`", bwrap(&["true"])),
        ("`bot-bottle run -- true`", env.command(&["run", "--", "true"])),
    ] {
        let (samples, good) = at_once(command, AT_ONCE)?;
        let (p50, p99) = (median(&samples), quantile(&samples, 0.99));
        table.row(vec![name.to_owned(), milliseconds(p50), milliseconds(p99), ratio(p99, p50), good.to_string()]);
    }
    Ok(table)
}

/// And whether all ended well.
pub(super) fn at_once(mut command: Command, count: usize) -> Result<(Vec<Duration>, bool)> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..count {
        let mut child = command.spawn()?;
        waiting.push(std::thread::spawn(move || (child.wait().is_ok_and(|status| status.success()), begun.elapsed())));
    }
    let ended: Vec<(bool, Duration)> = waiting.into_iter().filter_map(|thread| thread.join().ok()).collect();
    Ok((ended.iter().map(|(_, time)| *time).collect(), ended.len() == count && ended.iter().all(|(good, _)| *good)))
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
