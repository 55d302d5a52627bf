//! A bottle that is a container, against a container without a network of the same image, by the engine's own client:
//! to the first instruction of what runs in it, to the end, and many at once with what they leave behind.

use super::{
    first::until_it_runs,
    launch::at_once,
    table::{Table, median, milliseconds, quantile, ratio},
};
use anyhow::{Result, ensure};
use bottle_testkit::{
    Engine, TestEnv, comes_within,
    engine::{IMAGE, Make},
};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const ROUNDS: usize = 20;
const AT_ONCE: usize = 20;
const SOON: Duration = Duration::from_secs(60);

/// One after the other: each engine wants the machine for itself.
pub(super) fn measure(program: &Path) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for (make, name) in [(Make::Docker, "docker"), (Make::Podman, "podman")] {
        if let Some(engine) = Engine::shared(make) {
            let env = stage(program, &engine);
            tables.push(one(&env, &engine, name)?);
            env.run(&["cleanup", "--all", "--yes"]).success();
            tables.push(many(&env, &engine, name)?);
        }
    }
    Ok(tables)
}

fn stage(program: &Path, engine: &Engine) -> TestEnv {
    let mut env = TestEnv::new(program);
    env.set("DOCKER_HOST", &engine.host());
    env.set("BOT_BOTTLE_BACKEND", "docker");
    env.set("BOT_BOTTLE_IMAGE", IMAGE);
    env.bottle("dev", "");
    env.agent("timed", "bottle: dev\ncommand: [/usr/bin/date, +%s%N]");
    env
}

/// In turns.
fn one(env: &TestEnv, engine: &Engine, name: &str) -> Result<Table> {
    let rival = format!("`{name} run --rm --network none`");
    let topologies = ["socket", "stream", "sent"];
    let ours = topologies.map(|topology| format!("`bot-bottle start --topology {topology}`"));
    let parts = |what: &String| [format!("{what}, the agent runs"), format!("{what}, whole")];
    let theirs = [format!("{rival}, its program runs"), format!("{rival}, whole")];
    let kinds: Vec<String> = theirs.into_iter().chain(ours.iter().flat_map(parts)).collect();
    let mut samples = vec![Vec::<Duration>::new(); kinds.len()];
    for round in 0..=ROUNDS {
        let mut took = both(|| container(engine, &["/usr/bin/date", "+%s%N"]))?.to_vec();
        for topology in topologies {
            took.extend(both(|| env.command(&["start", "timed", "--yes", "--topology", topology]))?);
        }
        // The first round fills the caches.
        if round > 0 {
            samples.iter_mut().zip(took).for_each(|(samples, took)| samples.push(took));
        }
    }
    let title = format!("One container of the same image at a time, {name}");
    let mut table = Table::new(&title, &["what", "p50", "p99", "against the engine's client"]);
    for (index, (what, of_it)) in kinds.into_iter().zip(&samples).enumerate() {
        let base = median(&samples[index % 2]);
        let (middle, late) = (median(of_it), quantile(of_it, 0.99));
        table.row(vec![what, milliseconds(middle), milliseconds(late), ratio(middle, base)]);
    }
    Ok(table)
}

/// To the first instruction, and, of the same one, to the end.
fn both(command: impl Fn() -> Command) -> Result<[Duration; 2]> {
    let begun = Instant::now();
    let first = until_it_runs(command())?;
    Ok([first, begun.elapsed()])
}

fn container(engine: &Engine, program: &[&str]) -> Command {
    let mut command = engine.command();
    command.args(["run", "--rm", "--pull", "never", "--network", "none"]);
    // Podman asks for more by itself than a machine may have to give.
    if engine.make() == Make::Podman {
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=8192:8192"]);
    }
    command.arg(IMAGE).args(program);
    command
}

fn many(env: &TestEnv, engine: &Engine, name: &str) -> Result<Table> {
    let before = things(engine)?;
    let title = format!("Twenty at once, {name}: from the common start to each one's end");
    let mut table = Table::new(&title, &["what", "p50", "longest", "all succeeded", "left behind"]);
    for (what, command) in [
        (format!("`{name} run --rm --network none`"), container(engine, &["/bin/true"])),
        ("`bot-bottle run`".to_owned(), env.command(&["run", "--yes", "--", "true"])),
    ] {
        let (samples, good) = at_once(command, AT_ONCE)?;
        // A keeper is at its teardown when the command has ended.
        let gone = || (things(engine).ok()? == before && env.leftovers().is_empty()).then_some(());
        let left = if comes_within(SOON, gone).is_some() { "nothing".to_owned() } else { left(env, engine, &before)? };
        let longest = quantile(&samples, 1.0);
        table.row(vec![what, milliseconds(median(&samples)), milliseconds(longest), good.to_string(), left]);
    }
    Ok(table)
}

/// Containers, networks and volumes that the engine has.
fn things(engine: &Engine) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for arguments in [&["ps", "--all", "--quiet"][..], &["network", "ls", "--quiet"], &["volume", "ls", "--quiet"]] {
        let output = engine.command().args(arguments).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        all.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
    }
    Ok(all)
}

fn left(env: &TestEnv, engine: &Engine, before: &[String]) -> Result<String> {
    let now = things(engine)?;
    let new = now.iter().filter(|thing| !before.contains(thing)).count();
    Ok(format!("{new} of the engine's, {:?}", env.leftovers()).replace('|', "/"))
}
