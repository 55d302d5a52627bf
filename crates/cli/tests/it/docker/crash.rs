//! Keepers that die, engines that go, state that is lost: what is left is found.

use super::{Dock, NAME, SOON};
use crate::{gate::pid_of, stage::HOST};
use bottle_testkit::wait::comes_within;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;

/// Where a container is about to be there, or is.
const POINTS: [&str; 9] =
    ["gate.done", "room", "room.done", "serve.done", "probe", "agent.done", "end", "drain", "remove"];

#[test]
fn a_keeper_that_is_killed_leaves_nothing_past_cleanup() {
    let Some(dock) = Dock::new() else { return };
    let faults: Vec<String> = POINTS
        .iter()
        .filter_map(|point| kill_at(&dock, point).err().map(|fault| format!("at {point}: {fault}")))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn kill_at(dock: &Dock, point: &str) -> Result<(), String> {
    let running = dock.stage.spawn(&["--allow", HOST, "--hold-at", point], &["true"]);
    let keeper = comes_within(SOON, || {
        let keeper = pid_of(&dock.stage, "keeper")?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", keeper.as_raw_nonzero())).ok()?;
        stat.rsplit(") ").next()?.starts_with('T').then_some(keeper)
    });
    kill(keeper.ok_or("the keeper was not held")?)?;
    running.wait(SOON).map_err(|ran| format!("the launcher did not end: {ran}"))?;
    let ran = dock.stage.env.run(&["cleanup", "--all", "--yes"]);
    if ran.code != Some(0) {
        return Err(format!("cleanup failed: {ran}"));
    }
    let left = dock.containers();
    if !left.is_empty() {
        return Err(format!("left in the engine: {left:?}"));
    }
    comes_within(SOON, || dock.stage.env.leftovers().is_empty().then_some(()))
        .ok_or_else(|| format!("left behind: {:#?}", dock.stage.env.leftovers()))
}

fn kill(process: Pid) -> Result<(), String> {
    kill_process(process, Signal::KILL).map_err(|error| error.to_string())
}

/// A container that was made and not started yet does not end with its keeper.
#[test]
fn a_container_whose_bottle_is_gone_is_found_by_its_label() {
    let Some(dock) = Dock::new() else { return };
    let state = dock.stage.env.state();
    let make = |slug: &str, state: &str| {
        let labels = [format!("bot-bottle.slug={slug}"), format!("bot-bottle.state={state}")];
        let image = bottle_testkit::engine::IMAGE;
        let made = dock.engine.client(&["create", "--label", &labels[0], "--label", &labels[1], image, "true"]);
        made.success().trim().to_owned()
    };
    dock.detached(&[], "sleep 1000");
    let lost = make("lost-abcde", &state.display().to_string());
    let foreign = make("lost-abcde", "/somebody/elses");
    let ran = dock.stage.env.run(&["cleanup", "--yes"]);
    assert!(ran.success().contains(&format!("lost-abcde: container {lost}")), "{ran}");
    assert_eq!(dock.containers().len(), 1, "the bottle that runs stays");
    assert_eq!(dock.exec("echo alive"), "alive\n");
    let others = dock.engine.client(&["ps", "--all", "--quiet", "--no-trunc"]);
    assert!(others.success().contains(&foreign), "another's container stays");
    dock.engine.client(&["rm", &foreign]).success();

    // The state is gone under a keeper that died.
    let keeper = pid_of(&dock.stage, "keeper").expect("a keeper");
    kill_process(keeper, Signal::STOP).expect("our own keeper");
    fs::remove_dir_all(state.join("bottles").join(NAME)).expect("state of ours");
    let ran = dock.stage.env.run(&["cleanup", "--yes"]);
    assert!(ran.success().contains(NAME), "{ran}");
    assert_eq!(dock.containers(), Vec::<String>::new());
    kill(keeper).expect("our own keeper");
    dock.nothing_is_left();
}
