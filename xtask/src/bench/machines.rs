//! What a bottle that is a machine costs besides the machine: the time of a start, less that of the commands of smolvm
//! without which there is no machine. With the real smolvm where it is named, else with the tests' stand-in.

use super::table::{Table, median, milliseconds};
use anyhow::{Context, Result, ensure};
use bottle_testkit::{Machines, TestEnv, wait_until};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(60);
const NAME: &str = "bench-kqzmb";
/// Of the stand-in; a real machine takes seconds, and an emulated one minutes.
const RUNS: usize = 11;
const REAL_RUNS: usize = 2;
/// Without these there is no machine, whoever starts it.
const NEEDED: [&str; 4] = ["create", "start", "branch", "status"];
const LIMITS: [&str; 4] = ["--limit", "cpus=1", "--limit", "memory=512MiB"];

/// One start.
struct Start {
    whole: Duration,
    /// What is needed of smolvm, and what it is asked besides.
    needed: Duration,
    asked: Duration,
}

pub(super) fn measure(program: &Path) -> Result<Table> {
    let mut env = TestEnv::ordinary(program);
    let machines = Machines::install(&mut env);
    let times = env.write("cache/times", "");
    let watch = env.write("cache/stopwatch", stopwatch(&machines.program(), &times));
    fs::set_permissions(&watch, fs::Permissions::from_mode(0o755))?;
    env.set("BOT_BOTTLE_SMOLVM", &watch.to_string_lossy());
    for (variable, beside) in [("SMOLVM_LIB_DIR", "lib"), ("SMOLVM_AGENT_ROOTFS", "rootfs")] {
        if machines.are_real() {
            env.set(variable, &machines.program().with_file_name(beside).to_string_lossy());
        }
    }
    let runs = if machines.are_real() { REAL_RUNS } else { RUNS };
    let cold = (0..runs).map(|_| one(&env, &times, &LIMITS)).collect::<Result<Vec<_>>>()?;
    let of = |part: fn(&Start) -> Duration| of(&cold, part);
    let which = if machines.are_real() { "the real smolvm" } else { "the tests' stand-in for smolvm" };
    let mut table = Table::new(&format!("Start of a machine, by {which}"), &["what", "p50"]);
    table.row(vec!["`run --detach`, to its end".to_owned(), milliseconds(of(|it| it.whole))]);
    table.row(vec!["of it `smolvm machine create`, `start` and `status`".to_owned(), milliseconds(of(|it| it.needed))]);
    table.row(vec!["of it asking smolvm for its version and flags".to_owned(), milliseconds(of(|it| it.asked))]);
    table.row(vec!["all but what is needed of smolvm".to_owned(), milliseconds(of(Start::own))]);
    let warm = warm(&env, &times, runs)?;
    let of = |part: fn(&Start) -> Duration| self::of(&warm, part);
    table.row(vec!["`run --warm --detach`, where a machine is prepared".to_owned(), milliseconds(of(|it| it.whole))]);
    table.row(vec!["of it `smolvm machine branch` and `status`".to_owned(), milliseconds(of(|it| it.needed))]);
    table.row(vec!["all but what is needed of smolvm, warm".to_owned(), milliseconds(of(Start::own))]);
    // For scale: what the same takes where there is no machine.
    let env = TestEnv::ordinary(program);
    let bare = (0..runs).map(|_| started(&env, NAME, &[]).inspect(|_| ended(&env)));
    let bare = bare.collect::<Result<Vec<_>>>()?;
    table.row(vec!["`run --detach` on the namespace backend".to_owned(), milliseconds(median(&bare))]);
    Ok(table)
}

/// Stands before smolvm and writes down how long each command took. Its own time counts as ours.
fn stopwatch(smolvm: &Path, times: &Path) -> String {
    format!(
        "#!/bin/bash\nfrom=${{EPOCHREALTIME/./}}\n{} \"$@\"\ncode=$?\n\
         echo \"$((${{EPOCHREALTIME/./}} - from)) $*\" >>{}\nexit $code\n",
        smolvm.display(),
        times.display()
    )
}

impl Start {
    fn own(&self) -> Duration {
        self.whole.saturating_sub(self.needed)
    }
}

fn of(starts: &[Start], part: fn(&Start) -> Duration) -> Duration {
    median(&starts.iter().map(part).collect::<Vec<_>>())
}

/// Beside the bottle for which the machine was prepared.
fn warm(env: &TestEnv, times: &Path, runs: usize) -> Result<Vec<Start>> {
    let flags = [&LIMITS[..], &["--warm"]].concat();
    started(env, "first-kqzmb", &flags)?;
    let one = |_| {
        let start = timed(env, times, &flags)?;
        env.run(&["stop", "--grace", "0", NAME]).success();
        wait_until("it to be gone", SOON, || !env.run(&["list"]).stdout.contains(NAME));
        Ok(start)
    };
    let starts = (0..runs).map(one).collect::<Result<Vec<_>>>()?;
    env.run(&["stop", "--grace", "0", "first-kqzmb"]).success();
    env.run(&["cleanup", "--all", "--yes"]).success();
    wait_until("nothing to be left", SOON, || env.leftovers().is_empty());
    Ok(starts)
}

fn one(env: &TestEnv, times: &Path, flags: &[&str]) -> Result<Start> {
    let start = timed(env, times, flags)?;
    ended(env);
    Ok(start)
}

fn timed(env: &TestEnv, times: &Path, flags: &[&str]) -> Result<Start> {
    fs::write(times, "")?;
    let whole = started(env, NAME, flags)?;
    let (mut needed, mut asked) = (Duration::ZERO, Duration::ZERO);
    for line in fs::read_to_string(times)?.lines() {
        let (time, words) = line.split_once(' ').context("a time and a command")?;
        let time = Duration::from_micros(time.parse()?);
        let is_needed = words.contains(" --name ") && NEEDED.iter().any(|verb| words.contains(verb));
        *(if is_needed { &mut needed } else { &mut asked }) += time;
    }
    Ok(Start { whole, needed, asked })
}

/// A bottle in the background.
fn started(env: &TestEnv, name: &str, flags: &[&str]) -> Result<Duration> {
    let words = [&["run", "--detach", "--name", name][..], flags, &["--", "sleep", "1000"]].concat();
    let mut command = env.command(&words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let from = Instant::now();
    let output = command.output()?;
    let whole = from.elapsed();
    ensure!(output.status.success(), "no start: {}", String::from_utf8_lossy(&output.stderr));
    Ok(whole)
}

/// Its end, which is not measured.
fn ended(env: &TestEnv) {
    env.run(&["stop", "--grace", "0", NAME]).success();
    env.run(&["cleanup", "--all", "--yes"]).success();
    wait_until("nothing to be left", SOON, || env.leftovers().is_empty());
}
