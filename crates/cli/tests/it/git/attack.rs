//! What a hostile bottle does at the git door.

use super::GitStage;
use bottle_testkit::{env::leftovers, wait_until};
use std::{fs, path::Path, time::Duration};

const ALLOW: [&str; 2] = ["--push", "app=refs/heads/agent/*:allow"];

#[test]
fn nonsense_at_the_door_is_answered_and_the_door_stays() {
    let stage = GitStage::new();
    let script = r#"
        say() { timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/9418; printf "$1" >&3; cat <&3' sh "$1" | tr -d '\0' | head -c 60; echo; }
        say 'zzzz'; say '0000'; say '0003'; say '0fff'; say '0010git-upload-pack'
        say '0033git-upload-pack /app\0host=x\0\0version=2\0\n00ff'
        say '002egit-upload-pack /app\0--upload-pack=id\0\0\0x\n'
        say '0024git-receive-pack --exec=id /app\0\n'
        say 'GET / HTTP/1.1\r\n\r\n'; say 'POST /app/git-upload-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nffff'
        say '\0\1\2'
        for n in 1 2 3 4 5 6 7 8; do (sleep 1 | bash -c 'exec 3<>/dev/tcp/127.0.0.1/9418; cat') & done
        git clone -q $GIT_GATE_URL/app fine; cat fine/README"#;
    let ran = stage.shell(&[], script);
    assert!(ran.success().ends_with("hello\n"), "{ran}");
    assert!(ran.stdout.contains("ERR this is no request of git"), "{ran}");
}

#[test]
fn a_packed_body_that_unpacks_to_more_than_git_is_told_ends_there() {
    let stage = GitStage::new();
    let script = "
        git clone -q $GIT_GATE_URL/app x; want=$(git -C x rev-parse HEAD)
        ask() { rm -f answer; curl -s -o answer --max-time 50 --data-binary @- -H 'Content-Encoding: gzip' \
            -H 'Content-Type: application/x-git-upload-pack-request' http://127.0.0.1:9418/app/git-upload-pack || :
            grep -aqs PACK answer && echo pack || echo none; }
        printf '0032want %s\\n00000009done\\n' $want | gzip | ask
        haves() { printf '0032want %s\\n0000' $want
            yes \"0032have 1111111111111111111111111111111111111111\" | head -c $1; printf '0009done\\n'; }
        haves 1000000 | gzip | ask; haves 200000000 | gzip | ask
        printf 'no gzip at all' | ask; git clone -q http://127.0.0.1:9418/app y && cat y/README";
    let ran = stage.shell(&[], script);
    let said = ran.success();
    assert_eq!(said, "pack\npack\nnone\nnone\nhello\n", "{ran}");
}

#[test]
fn the_git_gate_has_no_power_and_ends_with_what_it_started() {
    let stage = GitStage::new();
    stage.upstream.hook("pre-receive", "#!/bin/sh\n: > objects/reached\nexec sleep 1000\n");
    let push = "git push -q origin HEAD:refs/heads/agent/x";
    let pushing = stage.env.spawn(&stage.arguments(&ALLOW, &GitStage::with_commit(push)));
    let reached = stage.upstream.path().join("objects/reached");
    wait_until("the upstream to be reached", Duration::from_secs(30), || reached.exists());
    let gate = git_gate(&stage);
    let group = group(gate);
    let members = processes_of(group);
    assert!(members.len() > 2, "git, ssh and hooks run in the gate's group: {members:?}");
    for pid in &members {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let fields: Vec<&str> = status.lines().collect();
        for field in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.is_empty() || fields.contains(&field), "{pid} lacks {field}: {status}");
        }
        if rustix::process::getuid().is_root() {
            assert!(status.is_empty() || fields.contains(&"CapBnd:\t0000000000000000"), "{status}");
        }
    }
    let environment = fs::read_to_string(format!("/proc/{gate}/environ")).unwrap_or_default();
    assert_eq!(environment, "", "the git gate has no environment");
    let pid = i32::try_from(gate).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    wait_until("all of it to end", Duration::from_secs(30), || processes_of(group).is_empty());
    drop(pushing);
}

#[test]
fn a_push_changes_nothing_but_refs_and_objects() {
    let stage = GitStage::new();
    let script = "git push -q origin HEAD:refs/heads/agent/x
        mkdir hooks; printf '#!/bin/sh\\nid > /tmp/owned\\n' > hooks/post-update; printf '[core]\\nhooksPath = hooks\\n' > config
        git add -A; git commit -qm x; git push origin HEAD:refs/heads/agent/y || true
        git clone -q --depth 1 file://$PWD shallow; cd shallow; git config user.email a@b.c; git config user.name a
        git commit -q --allow-empty -m s; git push $GIT_GATE_URL/app HEAD:refs/heads/agent/z || true";
    let before = fs::read(stage.upstream.path().join("config")).expect("a configuration");
    let pushing = stage.env.spawn(&stage.arguments(&ALLOW, &GitStage::with_commit(script)));
    // The hook directory is a change of hooks, which is asked about.
    let waiting = stage.waiting();
    let id = waiting["id"].as_str().expect("an id");
    assert!(waiting["flags"].to_string().contains("hooks/post-update: a hook"), "{waiting}");
    stage.env.run(&["deny", id]).success();
    pushing.finish(bottle_testkit::env::PATIENCE).success();
    assert_eq!(fs::read(stage.upstream.path().join("config")).expect("a configuration"), before);
    let mirrors = stage.env.root().join("cache/bot-bottle/mirrors");
    let mirror = fs::read_dir(mirrors).expect("mirrors").flatten().next().expect("a mirror").path().join("mirror.git");
    assert!(!mirror.join("hooks").exists() && !Path::new("/tmp/owned").exists());
    let config = fs::read_to_string(mirror.join("config")).expect("a configuration");
    assert!(!config.contains("hooksPath"), "{config}");
}

pub(super) fn git_gates(stage: &GitStage) -> Vec<u32> {
    let root = stage.env.root().to_string_lossy().into_owned();
    let processes = leftovers::processes(&root).into_iter();
    processes.filter(|(_, line)| line.contains("git-gate")).map(|(pid, _)| pid).collect()
}

pub(super) fn git_gate(stage: &GitStage) -> u32 {
    git_gates(stage).first().copied().expect("a git gate")
}

pub(super) fn group(pid: u32) -> i32 {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::getpgid(pid).expect("it is there").as_raw_pid()
}

pub(super) fn processes_of(group: i32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of_group = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ')).into_iter().flatten();
        let (state, pgrp) = (fields.next(), fields.nth(1));
        state.is_some_and(|state| state != "Z") && pgrp.and_then(|pgrp| pgrp.parse().ok()) == Some(group)
    };
    pids.filter(of_group).collect()
}
