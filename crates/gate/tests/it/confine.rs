//! A confined gate can do its work and nothing else; the same program unconfined can do all of it.

use crate::child;
use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Command, Stdio},
};

/// What the probe reports: for each act, whether it was done, and the whole line.
fn probe(confine: &[&str]) -> BTreeMap<String, (bool, String)> {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let output = Command::new(child::program())
        .args(["probe", &port])
        .arg(dir.path())
        .args(confine)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the probe ended with {}", output.status);
    let lines = String::from_utf8(output.stdout).unwrap();
    let outcome = |line: &str| {
        let (act, outcome) = line.split_once(": ").unwrap();
        (act.to_owned(), (outcome == "done", line.to_owned()))
    };
    lines.lines().map(outcome).collect()
}

const NEEDED: [&str; 5] = ["dial over TCP", "ask over UDP", "write its log", "cut its log", "allocate"];

#[test]
fn a_confined_gate_can_do_its_work_and_nothing_else() {
    let control = probe(&[]);
    let (uid, gid) = child::SOMEBODY;
    let (uid, gid) = (uid.to_string(), gid.to_string());
    let confined = match child::run_as() {
        Some(_) => probe(&["confine", &uid, &gid]),
        None => probe(&["confine"]),
    };
    assert_eq!(control.keys().collect::<Vec<_>>(), confined.keys().collect::<Vec<_>>());
    assert!(control.len() > NEEDED.len() + 15, "the probe tried too little: {control:?}");
    let mut shown = 0;
    for (act, (done, line)) in &confined {
        let needed = NEEDED.contains(&act.as_str());
        assert_eq!(*done, needed, "confined: {line}");
        let (possible, control) = &control[act];
        shown += u32::from(*possible);
        if !possible {
            println!("SKIPPED({control}): shows nothing, the host refuses it to this user anyway");
        }
    }
    // Root can do all of them, a kernel without vsock apart; an ordinary user is refused root's sockets, a mount and
    // uid 0 anyway.
    let enough = if child::run_as().is_some() { control.len() - 1 } else { control.len() - 6 };
    assert!(shown as usize >= enough, "the control run could do only {shown}: {control:?}");
}

#[test]
fn root_without_a_user_to_run_as_is_no_start() {
    if child::run_as().is_none() {
        println!("SKIPPED(not root)");
        return;
    }
    let output = Command::new(child::program()).args(["probe", "1", "/tmp", "confine"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no user for it to run as"));
}
