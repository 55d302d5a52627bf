//! `kill -9` of launcher, keeper and gate at each step of the journal: `cleanup` leaves nothing.

use crate::{
    gate::pid_of,
    stage::{HOST, Stage},
    tmux::{Tmux, has_tmux},
};
use bottle_runtime::journal::STEPS;
use bottle_testkit::wait::{comes_within, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    process::Stdio,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Launcher,
    Keeper,
    Gate,
}

#[test]
fn the_launcher_may_be_killed_at_any_step() {
    at_every_step(Victim::Launcher);
}

#[test]
fn the_keeper_may_be_killed_at_any_step() {
    at_every_step(Victim::Keeper);
}

#[test]
fn the_gate_may_be_killed_at_any_step() {
    at_every_step(Victim::Gate);
}

/// What a person sees of a launch that hangs: the keeper is stopped at a step, and later goes on.
#[test]
fn a_step_that_takes_long_is_told() {
    const LINE: &str = "proving that the room is tight: ";
    let stage = Stage::new();
    let arguments = stage.arguments(&["--workspace", "none", "--hold-at", "probe.done"], &["true"]);
    let go_on = || {
        let keeper = wait_for("a stopped keeper", SOON, || stopped_keeper(&stage));
        signal(keeper, Signal::CONT).expect("it is there");
    };
    // Into a file it is told once.
    let path = stage.env.work().join("errors");
    let file = File::create(&path).expect("a file of ours");
    let mut program = stage.env.command(&arguments).stdin(Stdio::null()).stderr(file).spawn().expect("it starts");
    let told = || fs::read_to_string(&path).unwrap_or_default().matches(LINE).count();
    wait_until("the step to be told", SOON, || told() == 1);
    go_on();
    assert!(program.wait().expect("it ends").success());
    assert_eq!(told(), 1);

    if !has_tmux() {
        return;
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let screen = Tmux::start(&stage.env, 80, 24, &words);
    screen.wait(&format!("{LINE}2 s so far"));
    screen.wait(&format!("{LINE}4 s so far"));
    go_on();
    screen.wait_end();
}

/// Held just before each thing is made, and just after. Every failure is told, not the first alone.
fn at_every_step(victim: Victim) {
    let stage = Stage::new();
    let mut faults = Vec::new();
    let mut held = 0;
    for step in STEPS {
        for point in [step.to_owned(), format!("{step}.done")] {
            match kill_at(&stage, &point, victim) {
                Ok(true) => held += 1,
                Ok(false) => {}
                Err(fault) => faults.push(format!("{victim:?} at {point}: {fault}")),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held >= STEPS.len(), "the keeper was held at {held} points only");
}

/// Whether the keeper was held there at all, or what is wrong.
fn kill_at(stage: &Stage, point: &str, victim: Victim) -> Result<bool, String> {
    let mut running = stage.spawn(&["--allow", HOST, "--hold-at", point], &["true"]);
    let keeper = comes_within(SOON, || match running.ended() {
        Some(_) => Some(None),
        None => stopped_keeper(stage).map(Some),
    });
    let Some(keeper) = keeper.ok_or("neither held nor ended")? else {
        return clean(stage, false).map(|()| false);
    };
    match victim {
        Victim::Launcher => {
            running.kill();
            signal(keeper, Signal::CONT)?;
        }
        Victim::Keeper => signal(keeper, Signal::KILL)?,
        Victim::Gate => {
            if let Some(gate) = pid_of(stage, "gate") {
                signal(gate, Signal::KILL)?;
            }
            signal(keeper, Signal::CONT)?;
        }
    }
    if victim != Victim::Launcher {
        let ran = running.wait(SOON).map_err(|ran| format!("the launcher did not end: {ran}"))?;
        if victim == Victim::Keeper
            && ran.code == Some(0)
            && !["end", "drain", "remove"].iter().any(|it| point.starts_with(it))
        {
            return Err(format!("a launch without its keeper passed for a success: {ran}"));
        }
    }
    comes_within(SOON, || pid_of(stage, "keeper").is_none().then_some(())).ok_or("the keeper lives on")?;
    clean(stage, victim == Victim::Keeper).map(|()| true)
}

fn stopped_keeper(stage: &Stage) -> Option<Pid> {
    let keeper = pid_of(stage, "keeper")?;
    let stat = fs::read_to_string(format!("/proc/{}/stat", keeper.as_raw_nonzero())).ok()?;
    stat.rsplit(") ").next()?.starts_with('T').then_some(keeper)
}

fn signal(process: Pid, signal: Signal) -> Result<(), String> {
    kill_process(process, signal).map_err(|error| error.to_string())
}

/// `cleanup` succeeds, names what it reaped, and nothing of the environment is left.
fn clean(stage: &Stage, must_name: bool) -> Result<(), String> {
    let bottles = stage.env.bottles();
    let ran = stage.env.run(&["cleanup", "--all", "--yes"]);
    if ran.code != Some(0) {
        return Err(format!("cleanup failed: {ran}"));
    }
    let said = format!("{}{}", ran.stdout, ran.stderr);
    if let Some(unnamed) = bottles.iter().find(|slug| must_name && !slug.starts_with('.') && !said.contains(*slug)) {
        return Err(format!("cleanup did not say that it reaped {unnamed}: {said}"));
    }
    comes_within(Duration::from_secs(5), || stage.env.leftovers().is_empty().then_some(()))
        .ok_or_else(|| format!("left behind: {:#?}", stage.env.leftovers()))
}
