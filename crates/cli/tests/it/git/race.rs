//! Two who push, and a gate that dies in between.

use super::GitStage;
use bottle_testkit::{env, wait_until};
use std::time::Duration;

const REFERENCE: &str = "refs/heads/agent/x";

#[test]
fn a_ref_that_moved_meanwhile_is_not_overwritten() {
    let stage = GitStage::new();
    let ask = ["--push", "app=refs/heads/agent/*"];
    let allow = ["--push", "app=refs/heads/agent/*:allow"];
    let push = format!("git commit -q --allow-empty -m slow; git push origin HEAD:{REFERENCE}");
    let slow = stage.env.spawn(&stage.arguments(&ask, &GitStage::with_commit(&push)));
    let id = stage.waiting()["id"].as_str().expect("an id").to_owned();
    let fast = stage.pushing(&allow, &format!("git push -q origin HEAD:{REFERENCE}; git rev-parse HEAD"));
    let fast = fast.success().trim().to_owned();
    stage.env.run(&["approve", "--yes", &id]).success();
    let ran = slow.finish(env::PATIENCE);
    assert!(ran.failure(1).contains("upstream: stale info"), "{ran}");
    assert_eq!(stage.upstream.upstream(REFERENCE), Some(fast));
}

#[test]
fn a_gate_that_is_killed_in_a_push_leaves_no_half_of_it() {
    let stage = GitStage::new();
    let allow = ["--push", "app=refs/heads/agent/*:allow"];
    // A confined upstream by path writes below its objects alone.
    stage.upstream.hook(
        "pre-receive",
        "#!/bin/sh\n: > \"$GIT_DIR/objects/reached\"\nwhile [ ! -e objects/go ]; do sleep 0.05; done\n",
    );
    let objects = stage.upstream.path().join("objects");
    let script = format!(
        "git push origin HEAD:{REFERENCE} && echo pushed || echo failed
         git fetch -q; git ls-remote origin {REFERENCE} | wc -l; git push -q origin HEAD:{REFERENCE}
         git ls-remote origin {REFERENCE} | cut -f1; git rev-parse HEAD"
    );
    let pushing = stage.env.spawn(&stage.arguments(&allow, &GitStage::with_commit(&script)));
    wait_until("the upstream to be reached", Duration::from_secs(30), || objects.join("reached").exists());
    let root = stage.env.root().to_string_lossy().into_owned();
    let gates = || {
        let processes = env::leftovers::processes(&root).into_iter();
        processes.filter(|(_, line)| line.contains("git-gate")).map(|(pid, _)| pid).collect::<Vec<_>>()
    };
    let [gate] = gates()[..] else { panic!("one git gate, not {:?}", gates()) };
    let pid = i32::try_from(gate).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    wait_until("another gate", Duration::from_secs(30), || gates().iter().any(|pid| *pid != gate));
    std::fs::write(objects.join("go"), "").expect("a file of ours");
    let ran = pushing.finish(env::PATIENCE);
    let lines: Vec<&str> = ran.success().lines().collect();
    let [first, _, listed, head] = lines[..] else { panic!("{ran}") };
    assert_eq!(first, "failed", "nobody was left to say that it was taken: {ran}");
    assert_eq!(listed, head);
    assert_eq!(stage.upstream.upstream(REFERENCE).as_deref(), Some(head));
}
