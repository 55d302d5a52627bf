//! `kill -9` of launcher, keeper and gate at each step of the journal: `cleanup` leaves nothing, here or in an engine.

use super::{Backend, Fixture, SOON};
use crate::{
    crash::{signal, stopped_keeper},
    gate::pid_of,
    stage::HOST,
};
use bottle_runtime::journal::STEPS;
use bottle_testkit::wait::comes_within;
use rustix::process::Signal;

/// Where a container or a machine is about to be there, or is: before that nobody else knows anything of the bottle.
const AROUND_A_CONTAINER: [&str; 9] =
    ["gate.done", "room", "room.done", "serve.done", "probe", "agent.done", "end", "drain", "remove"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Launcher,
    Keeper,
    Gate,
}

pub(super) fn the_launcher_may_be_killed(backend: Backend) {
    at_every_step(backend, Victim::Launcher);
}

pub(super) fn the_keeper_may_be_killed(backend: Backend) {
    at_every_step(backend, Victim::Keeper);
}

pub(super) fn the_gate_may_be_killed(backend: Backend) {
    at_every_step(backend, Victim::Gate);
}

/// What carries for a container that no socket leads into is as init is elsewhere: its end is the bottle's.
pub(super) fn what_carries_may_be_killed(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    it.detached(&["--allow", HOST], "sleep 1000");
    let carrier = pid_of(&it.stage, "/doors");
    assert_eq!(carrier.is_some(), backend.is_stream());
    match carrier {
        Some(carrier) => signal(carrier, Signal::KILL).expect("our own carrier"),
        None => it.stop(),
    }
    assert!(comes_within(SOON, || it.containers().is_empty().then_some(())).is_some(), "the container lives on");
    it.nothing_is_left();
}

/// Held just before each thing is made, and just after. Every failure is told, not the first alone.
fn at_every_step(backend: Backend, victim: Victim) {
    let Some(it) = Fixture::new(backend) else { return };
    let points: Vec<String> = if backend == Backend::Namespace {
        STEPS.iter().flat_map(|step| [(*step).to_owned(), format!("{step}.done")]).collect()
    } else {
        AROUND_A_CONTAINER.map(str::to_owned).into()
    };
    let mut faults = Vec::new();
    let mut held = 0;
    for point in &points {
        match kill_at(&it, point, victim) {
            Ok(true) => held += 1,
            Ok(false) => {}
            Err(fault) => faults.push(format!("{victim:?} at {point}: {fault}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held >= STEPS.len().min(points.len()), "the keeper was held at {held} points only");
}

/// Whether the keeper was held there at all, or what is wrong.
fn kill_at(it: &Fixture, point: &str, victim: Victim) -> Result<bool, String> {
    let stage = &it.stage;
    let mut running = stage.spawn(&["--allow", HOST, "--hold-at", point], &["true"]);
    let keeper = comes_within(SOON, || match running.ended() {
        Some(_) => Some(None),
        None => stopped_keeper(stage).map(Some),
    });
    let Some(keeper) = keeper.ok_or("neither held nor ended")? else {
        return clean(it, false).map(|()| false);
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
    clean(it, victim == Victim::Keeper).map(|()| true)
}

/// `cleanup` succeeds, names what it reaped, and nothing of the environment is left.
fn clean(it: &Fixture, must_name: bool) -> Result<(), String> {
    let bottles = it.env().bottles();
    let ran = it.env().run(&["cleanup", "--all", "--yes"]);
    if ran.code != Some(0) {
        return Err(format!("cleanup failed: {ran}"));
    }
    let said = format!("{}{}", ran.stdout, ran.stderr);
    if let Some(unnamed) = bottles.iter().find(|slug| must_name && !slug.starts_with('.') && !said.contains(*slug)) {
        return Err(format!("cleanup did not say that it reaped {unnamed}: {said}"));
    }
    comes_within(SOON / 4, || it.left().ok()).ok_or_else(|| format!("left behind: {:?}", it.left()))
}
