//! The processes of a bottle, and that nobody looks into them. What happens when the gate dies is in the contract.

use crate::stage::{HOST, Stage};
use bottle_testkit::{env::leftovers, wait_until};
use rustix::{
    fs::SealFlags,
    process::{Pid, Resource, Rlimit, getrlimit, setrlimit},
};
use std::{fs, os::unix::fs::MetadataExt as _, process::Stdio, time::Duration};

const SOON: Duration = Duration::from_secs(30);

pub(crate) fn pid_of(stage: &Stage, role: &str) -> Option<Pid> {
    let ours = leftovers::processes(&stage.env.root().to_string_lossy());
    let found = ours.iter().find(|(_, line)| line.ends_with(role))?.0;
    Pid::from_raw(i32::try_from(found).ok()?)
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
