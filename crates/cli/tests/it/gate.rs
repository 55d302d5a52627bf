//! The gate's death: while it is gone nothing leaves, and it comes back with the same policy.

use crate::stage::{HOST, Stage};
use bottle_testkit::{env::leftovers, wait_for, wait_until};
use rustix::{
    fs::SealFlags,
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit},
};
use std::{fs, os::unix::fs::MetadataExt as _, process::Stdio, time::Duration};

const SOON: Duration = Duration::from_secs(30);

pub(crate) fn pid_of(stage: &Stage, role: &str) -> Option<Pid> {
    let ours = leftovers::processes(&stage.env.root().to_string_lossy());
    let found = ours.iter().find(|(_, line)| line.ends_with(role))?.0;
    Pid::from_raw(i32::try_from(found).ok()?)
}

#[test]
fn without_its_gate_nothing_leaves_and_a_new_one_has_the_old_policy() {
    let stage = Stage::ordinary();
    let script = "while :; do curl -s -o /dev/null -w '%{http_code}\\n' --max-time 1 https://up.test/echo/a || echo none; \
                  curl -s -o /dev/null -w 'denied %{http_code}\\n' --max-time 1 https://up.test/other || :; done";
    let log = stage.env.root().join("log");
    let mut command = stage.env.command(&stage.arguments(&["--allow", "up.test:GET/echo/**"], &["sh", "-c", script]));
    let output = fs::File::create(&log).expect("a file of ours");
    command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
    let mut launcher = command.spawn().expect("the program starts");
    let came = || stage.upstream.seen().len();
    wait_until("requests to arrive", SOON, || came() >= 2);

    let keeper = pid_of(&stage, "keeper").expect("a keeper");
    let gate = pid_of(&stage, "gate").expect("a gate");
    kill_process(keeper, Signal::STOP).expect("our own keeper");
    kill_process(gate, Signal::KILL).expect("our own gate");
    wait_until("the gate to be gone", SOON, || pid_of(&stage, "gate") != Some(gate));
    let before = came();
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().filter(|line| *line == "none").count();
    wait_until("requests to fail", SOON, || lines() >= 2);
    assert_eq!(came(), before, "something left without a gate");

    kill_process(keeper, Signal::CONT).expect("our own keeper");
    wait_until("requests to arrive again", SOON, || came() > before);
    let new = wait_for("a new gate", SOON, || pid_of(&stage, "gate"));
    assert_ne!(new, gate);
    assert!(stage.upstream.seen().iter().all(|seen| seen.path() == "/echo/a" && seen.host.starts_with(HOST)));
    let text = fs::read_to_string(&log).unwrap_or_default();
    assert!(!text.contains("denied 200"), "{text}");
    launcher.kill().expect("our own launcher");
    launcher.wait().expect("our own launcher");
    wait_until("the bottle to end with its launcher", SOON, || pid_of(&stage, "keeper").is_none());
}

/// Neither memory nor environment, nor a core of either; and what PID 1 of the bottle runs cannot be changed under it.
#[test]
fn nothing_of_a_bottle_can_be_looked_into() {
    let stage = Stage::ordinary();
    // As those have it who want cores of their own programs.
    let core = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: core.maximum, ..core }).expect("our own limit");
    let marker = stage.env.root().join("started");
    let log = fs::File::create(&marker).expect("a file of ours");
    let mut command = stage.env.command(&stage.arguments(&["--allow", HOST], &["sh", "-c", "echo up; exec sleep 600"]));
    let mut launcher =
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).spawn().expect("the program starts");
    wait_until("the agent", SOON, || fs::read_to_string(&marker).is_ok_and(|text| text.contains("up")));
    let keeper = pid_of(&stage, "keeper").expect("a keeper").as_raw_nonzero().get();
    let gate = pid_of(&stage, "gate").expect("a gate").as_raw_nonzero().get();
    let init = child_of(keeper, "memfd:init").expect("an init");
    for (role, pid) in [("keeper", keeper), ("gate", gate), ("init", init)] {
        let proc = |file: &str| format!("/proc/{pid}/{file}");
        // What may not be dumped belongs to root in /proc, whoever runs it (proc(5)).
        assert_eq!(fs::metadata(proc("environ")).expect("a process").uid(), 0, "{role} can be dumped");
        let limits = fs::read_to_string(proc("limits")).expect("a process");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{role}: {core}");
    }
    if rustix::process::geteuid().is_root() {
        let image = fs::File::open(format!("/proc/{init}/exe")).expect("init's image");
        let seals = rustix::fs::fcntl_get_seals(&image).expect("seals");
        assert!(seals.contains(SealFlags::WRITE | SealFlags::SEAL | SealFlags::GROW | SealFlags::SHRINK), "{seals:?}");
    } else {
        println!("SKIPPED(not root): the seals of init's image");
    }
    launcher.kill().expect("our own launcher");
    launcher.wait().expect("our own launcher");
    wait_until("the bottle to end with its launcher", SOON, || pid_of(&stage, "keeper").is_none());
}

fn child_of(parent: i32, name: &str) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let named =
        |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.to_string_lossy().contains(name));
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(named)
}
