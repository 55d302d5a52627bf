//! A launch that is held at a step: what its user sees of it, and by what the tests find its keeper.

use crate::{
    gate::pid_of,
    stage::Stage,
    tmux::{Tmux, has_tmux},
};
use bottle_testkit::wait::{wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    process::Stdio,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);

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

pub(crate) fn stopped_keeper(stage: &Stage) -> Option<Pid> {
    let keeper = pid_of(stage, "keeper")?;
    let stat = fs::read_to_string(format!("/proc/{}/stat", keeper.as_raw_nonzero())).ok()?;
    stat.rsplit(") ").next()?.starts_with('T').then_some(keeper)
}

pub(crate) fn signal(process: Pid, signal: Signal) -> Result<(), String> {
    kill_process(process, signal).map_err(|error| error.to_string())
}
