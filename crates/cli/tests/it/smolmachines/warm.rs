//! Bottles that start warm: as branches of a machine that was prepared.

use super::{NAME, SOON, Yard, life::held};
use crate::{
    gate::pid_of,
    stage::{HOST, TOKEN},
};
use bottle_testkit::wait_until;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command, time::Instant};

const OTHER: &str = "other-kqzmb";

/// A bottle that lasts, and may reach the upstream with its secret.
fn start(yard: &Yard, name: &str, flags: &[&str]) {
    let auth = format!("{HOST}=bearer:env:UP_TOKEN");
    let fixed = ["--warm", "--detach", "--keep", "--name", name, "--allow", HOST, "--auth", &auth];
    let ran = yard.run(&[&fixed[..], flags].concat(), &["sleep", "100000"]);
    assert_eq!(ran.success(), format!("{name}\n"));
}

fn prepared(yard: &Yard) -> Vec<PathBuf> {
    let all = fs::read_dir(yard.stage.env.state().join("warm")).into_iter().flatten().flatten();
    all.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Of the calls since the last look, what each was to do.
fn verbs(yard: &Yard) -> Vec<String> {
    let calls = yard.machines.take_calls();
    let calls = calls.iter().map(|call| serde_json::from_str::<Value>(call).expect("a call"));
    let words = calls.map(|call| {
        let words: Vec<String> = serde_json::from_value(call["arguments"].clone()).expect("words");
        words.into_iter().filter(|word| !word.starts_with('-')).nth(1).unwrap_or_default()
    });
    words.filter(|verb| !verb.is_empty()).collect()
}

/// With the real smolvm: this is what is run in the emulated machine.
#[test]
fn two_bottles_are_branches_of_one_machine_and_have_nothing_in_common() {
    let yard = Yard::new();
    let env = &yard.stage.env;
    println!("first");
    let begun = Instant::now();
    start(&yard, NAME, &[]);
    println!("prepared and branched in {:?}", begun.elapsed());
    let begun = Instant::now();
    println!("second");
    start(&yard, OTHER, &[]);
    println!("branched in {:?}", begun.elapsed());
    if yard.machines.are_real() {
        let begun = Instant::now();
        assert_eq!(yard.run(&["--detach", "--name", "cold-kqzmb"], &["sleep", "100000"]).success(), "cold-kqzmb\n");
        println!("cold in {:?}", begun.elapsed());
        env.run(&["stop", "--grace", "0", "cold-kqzmb"]).success();
    }
    let [source] = &prepared(&yard)[..] else { panic!("one machine is prepared: {:?}", prepared(&yard)) };
    let exec = |name: &str, script: &str| env.run(&["exec", name, "--", "sh", "-c", script]).success().to_owned();
    println!("apart");
    for name in [NAME, OTHER] {
        exec(name, &format!("echo {name} >~/mine; echo {name} >/tmp/mine"));
    }
    let script = "cat ~/mine /tmp/mine; hostname; ls -A ~ | grep -c mine";
    for name in [NAME, OTHER] {
        assert_eq!(exec(name, script), format!("{name}\n{name}\n{name}\n1\n"));
    }
    let random = "head -c 16 /dev/urandom | od -An -tx1";
    assert_ne!(exec(NAME, random), exec(OTHER, random), "random numbers");
    if yard.machines.are_real() {
        let identity = "cat /proc/sys/kernel/random/boot_id";
        assert_ne!(exec(NAME, identity), exec(OTHER, identity), "what a boot is known by");
    }
    println!("reach");
    for name in [NAME, OTHER] {
        let said =
            exec(name, "curl -s -i https://up.test/echo-headers; curl -s -o /dev/null https://no.test/ || echo no");
        let seen = yard.stage.upstream.take_seen();
        let injected = |(name, value): &(String, String)| name == "authorization" && value.contains(TOKEN);
        assert!(seen.len() == 1 && seen[0].headers.iter().any(injected), "{seen:?} {said}");
        assert!(!said.contains(TOKEN) && said.ends_with("no\n"), "{said}");
    }
    println!("nothing of them is in what they come from");
    let files = Command::new("find").arg(source).args(["-name", "room.json", "-o", "-name", "mine"]).output();
    assert_eq!(String::from_utf8_lossy(&files.expect("find").stdout), "");
    println!("end");
    env.run(&["stop", "--grace", "0", NAME]).success();
    assert_eq!(exec(OTHER, "cat ~/mine"), format!("{OTHER}\n"), "the other goes on");
    env.run(&["cleanup", "--yes"]).success();
    assert_eq!(prepared(&yard).len(), 1, "a bottle runs in a branch of it");
    println!("resume");
    env.run(&["resume", "--detach", NAME]).success();
    assert_eq!(exec(NAME, "cat ~/mine"), format!("{NAME}\n"));
    println!("kill");
    kill_process(pid_of(&yard.stage, "keeper").expect("a keeper"), Signal::KILL).expect("our own keeper");
    wait_until("a bottle to be known as dead", SOON, || env.run(&["list"]).stdout.contains("failed"));
    env.run(&["cleanup", "--yes"]).success();
    for name in [NAME, OTHER] {
        env.run(&["stop", "--grace", "0", name]);
    }
    yard.nothing_is_left();
    assert!(prepared(&yard).is_empty());
}

#[test]
fn only_the_first_bottle_waits_for_a_machine_to_be_prepared() {
    let yard = Yard::of_stand_ins();
    start(&yard, NAME, &[]);
    let prepares = ["create", "start", "branch", "create", "start", "branch", "status"];
    assert_eq!(verbs(&yard), prepares, "what it can is asked first");
    start(&yard, OTHER, &[]);
    assert_eq!(verbs(&yard), ["create", "start", "branch", "branch", "status"]);
    yard.stage.env.run(&["stop", "--grace", "0", NAME]).success();
    assert_eq!(verbs(&yard), ["delete"]);
    // It outlives all that were branched from it.
    yard.stage.env.run(&["stop", "--grace", "0", OTHER]).success();
    start(&yard, "next-kqzmb", &[]);
    assert_eq!(verbs(&yard), ["delete", "create", "start", "branch", "branch", "status"]);
    // With one door more, which is one socket more.
    start(&yard, "third-kqzmb", &["--allow", "other.test:8443"]);
    assert_eq!(verbs(&yard), prepares);
    assert_eq!(prepared(&yard).len(), 2);
    yard.stage.env.run(&["stop", "--grace", "0", "next-kqzmb"]).success();
    yard.stage.env.run(&["cleanup", "--yes"]).success();
    assert_eq!(prepared(&yard).len(), 1, "the one that nobody runs in is gone");
    yard.stage.env.run(&["stop", "--grace", "0", "third-kqzmb"]).success();
    yard.nothing_is_left();
}

#[test]
fn a_keeper_that_is_killed_anywhere_leaves_no_branch_past_cleanup() {
    let yard = Yard::of_stand_ins();
    for point in ["room", "room.done", "agent.done", "remove"] {
        let flags = ["--limit", "cpus=1", "--limit", "memory=512MiB", "--warm", "--hold-at", point];
        let running = yard.stage.spawn(&flags, &["true"]);
        let keeper = held(&yard, point);
        kill_process(keeper, Signal::KILL).expect("our own keeper");
        running.wait(SOON).expect("the launcher ends");
        yard.nothing_is_left();
        assert!(prepared(&yard).is_empty(), "{point}");
    }
}

#[test]
fn a_machine_that_ended_is_prepared_anew_and_its_branches_go_on() {
    let yard = Yard::of_stand_ins();
    let env = &yard.stage.env;
    start(&yard, NAME, &[]);
    let [source] = &prepared(&yard)[..] else { panic!("one machine") };
    let is_source = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // What the name `source` is in smolvm's directories.
        String::from_utf8_lossy(&line).contains("/vms/41cf6794ba4200b8/")
    };
    let end_source = || {
        let pid = yard.machines().into_iter().find(is_source).expect("the prepared machine");
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::KILL).expect("our own machine");
        wait_until("it to be gone", SOON, || !yard.machines().iter().any(is_source));
    };
    end_source();
    yard.machines.take_calls();
    start(&yard, OTHER, &[]);
    let cold = ["create", "start", "branch", "create", "start", "status"];
    assert_eq!(verbs(&yard), cold, "another has its disks below it, so this one starts cold");
    assert_eq!(yard.exec("echo on"), "on\n");
    for name in [NAME, OTHER] {
        env.run(&["stop", "--grace", "0", name]).success();
    }
    env.run(&["resume", "--detach", NAME]).success();
    assert_eq!(yard.exec("echo on"), "on\n");
    assert!(source.is_dir(), "by the same name");
    env.run(&["stop", "--grace", "0", NAME]).success();
    yard.nothing_is_left();
}

/// Whatever is wrong with it, the bottle starts as any other, and nothing is left of the try.
#[test]
fn what_cannot_start_warm_starts_cold() {
    let yard = Yard::of_stand_ins();
    for how in [
        json!({ "version": "1.22.0" }),
        json!({ "branch": "fails" }),
        // Others than were asked for.
        json!({ "branch writes": { "network": true } }),
        json!({ "branch writes": { "published_sockets": [] } }),
        json!({ "branch writes": { "golden": "another" } }),
    ] {
        yard.machines.behave(&how);
        start(&yard, NAME, &[]);
        assert_eq!(yard.exec("echo up"), "up\n", "{how}");
        let ours: Vec<String> = yard.machines().iter().map(|pid| command_line(*pid)).collect();
        let cold = ours.iter().filter(|line| line.contains(NAME)).count();
        assert!(cold == 1 && ours.len() <= 2, "{how}: {ours:?}");
        yard.stage.env.run(&["stop", "--grace", "0", NAME]).success();
        yard.nothing_is_left();
    }
}

fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}

#[test]
fn a_branch_that_ends_at_once_shows_its_console() {
    let yard = Yard::of_stand_ins();
    start(&yard, OTHER, &[]);
    yard.machines.behave(&json!({ "boot": "ends" }));
    let ran = yard.run(&["--warm", "--allow", HOST, "--detach", "--name", NAME], &["true"]);
    assert!(ran.failure(4).contains("a machine that ends at once"), "{ran}");
    yard.machines.behave(&json!({}));
    yard.stage.env.run(&["stop", "--grace", "0", OTHER]).success();
    yard.nothing_is_left();
}

#[test]
fn the_preflight_says_that_a_bottle_starts_warm() {
    let yard = Yard::of_stand_ins();
    let env = &yard.stage.env;
    env.bottle("dev", "warm: true\n");
    env.agent("one", "bottle: dev\nprovider: command\ncommand: [\"true\"]");
    let shown = env.run(&["preflight", "one", "--workspace", "none"]);
    assert!(shown.success().contains("it starts as a branch of a prepared machine"), "{shown}");
    let shown = env.run(&["preflight", "one", "--workspace", "none", "--json"]);
    let plan: Value = serde_json::from_str(shown.success()).expect("a plan");
    assert_eq!(plan["machine"]["warm"], true);
}
