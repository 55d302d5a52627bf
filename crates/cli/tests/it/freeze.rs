//! The kill switch: everything stands still, and goes on where it was.

use crate::{gate::pid_of, stage::Stage};
use bottle_testkit::{Running, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{fs, time::Duration};

const SOON: Duration = Duration::from_secs(30);
const NAME: &str = "kill-kqzmb";
const SCRIPT: &str = "while :; do curl -s -o /dev/null --max-time 5 https://up.test/echo/a || sleep 0.05; done";

/// `mark` is what the shell is found by in /proc.
fn started(stage: &Stage, mark: &str) -> Running {
    let running = stage.spawn(&["--allow", "up.test", "--name", NAME], &["sh", "-c", SCRIPT, mark]);
    wait_until("requests to arrive", SOON, || stage.upstream.seen().len() >= 2);
    running
}

/// The states (`R`, `S`, `T`, …) of the bottle's shells, which `mark` is found by.
fn states(mark: &str) -> Vec<char> {
    let processes = fs::read_dir("/proc").expect("there is a /proc").flatten().map(|entry| entry.path());
    let ours = processes.filter(|path| {
        fs::read_to_string(path.join("cmdline")).is_ok_and(|line| line.starts_with("sh\0-c\0") && line.contains(mark))
    });
    ours.filter_map(|path| state(&fs::read_to_string(path.join("stat")).ok()?)).collect()
}

fn state(stat: &str) -> Option<char> {
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
}

/// Whether none of them can go on. One that was stopped between `vfork` and `execve` is a shell, too, and its parent
/// sleeps uninterruptibly (`D`) until it goes on (vfork(2)).
pub(crate) fn is_stopped(mark: &str) -> bool {
    let states = states(mark);
    states.contains(&'T') && states.iter().all(|state| matches!(state, 'T' | 'D'))
}

fn shown(stage: &Stage) -> String {
    stage.env.run(&["list"]).stdout
}

#[test]
fn a_frozen_bottle_stands_still_until_it_is_thawed() {
    let stage = Stage::new();
    let running = started(&stage, "freeze-by-command");
    let frozen = stage.env.run(&["freeze", "--all", "--json"]);
    assert!(frozen.stdout.contains(r#""frozen": true"#) || frozen.stdout.contains(r#""frozen":true"#), "{frozen:?}");
    wait_until("the processes to stop", SOON, || is_stopped("freeze-by-command"));
    assert!(shown(&stage).contains(&format!("{NAME:<24} frozen")), "{}", shown(&stage));
    let refused = stage.env.run(&["exec", NAME, "true"]);
    assert!(refused.stderr.contains("frozen"), "{refused:?}");

    // A gate that dies does not thaw it.
    let gate = pid_of(&stage, "gate").expect("a gate");
    kill_process(gate, Signal::KILL).expect("our own gate");
    let another = |old: Pid| pid_of(&stage, "gate").is_some_and(|new| new != old);
    wait_until("another gate", SOON, || another(gate));
    let before = stage.upstream.seen().len();

    assert_eq!(stage.env.run(&["thaw", NAME]).stdout, format!("{NAME}\n"));
    wait_until("requests to arrive again", SOON, || stage.upstream.seen().len() > before);
    assert!(shown(&stage).contains("running"), "{}", shown(&stage));
    assert_eq!(stage.env.run(&["exec", NAME, "true"]).code, Some(0));
    let log = stage.env.run(&["audit", "show", NAME]).stdout;
    assert!(log.contains("frozen by the operator") && log.contains("thawed"), "{log}");

    // A frozen bottle can be stopped.
    stage.env.run(&["freeze", NAME]);
    assert_eq!(stage.env.run(&["stop", NAME]).code, Some(0));
    drop(running);
}

/// The states of processes whose arguments are these.
fn states_of(line: &str) -> Vec<char> {
    let processes = fs::read_dir("/proc").expect("there is a /proc").flatten().map(|entry| entry.path());
    let ours = processes.filter(|path| fs::read_to_string(path.join("cmdline")).is_ok_and(|found| found == line));
    ours.filter_map(|path| state(&fs::read_to_string(path.join("stat")).ok()?)).collect()
}

#[test]
fn what_had_stopped_itself_is_not_continued_by_a_thaw() {
    let stage = Stage::new();
    let script = "sh -c 'kill -STOP $$' stops-itself & sleep 86422";
    let running = stage.spawn(&["--allow", "up.test", "--name", NAME], &["sh", "-c", script]);
    let (stopped, awake) = ("sh\0-c\0kill -STOP $$\0stops-itself\0", "sleep\x0086422\0");
    wait_until("one asleep and one stopped", SOON, || states_of(stopped) == ['T'] && states_of(awake) == ['S']);
    stage.env.run(&["freeze", NAME]);
    wait_until("both stopped", SOON, || states_of(stopped) == ['T'] && states_of(awake) == ['T']);
    stage.env.run(&["thaw", NAME]);
    wait_until("one awake again", SOON, || states_of(awake) == ['S']);
    assert_eq!(states_of(stopped), ['T']);
    stage.env.run(&["stop", NAME]);
    drop(running);
}

#[test]
fn a_file_freezes_for_as_long_as_it_is_there() {
    let stage = Stage::new();
    let running = started(&stage, "freeze-by-file");
    let runtime = stage.env.root().join("run/bot-bottle");
    for sentinel in [runtime.join("freeze"), runtime.join(NAME).join("freeze")] {
        fs::write(&sentinel, "").expect("the runtime directory is ours");
        wait_until("the processes to stop", SOON, || is_stopped("freeze-by-file"));
        let thawed = stage.env.run(&["thaw", NAME]);
        assert!(thawed.stderr.contains("freeze keeps it frozen"), "{thawed:?}");
        assert!(is_stopped("freeze-by-file"));
        fs::remove_file(&sentinel).expect("our own file");
        let before = stage.upstream.seen().len();
        wait_until("requests to arrive again", SOON, || stage.upstream.seen().len() > before);
    }
    stage.env.run(&["stop", NAME]);
    drop(running);
}
