//! The kill switch while something is under way at the git door.

use super::{
    GitStage,
    attack::{git_gate, group, processes_of},
};
use bottle_testkit::{env::PATIENCE, wait_until};
use std::time::Duration;

const ALLOW: [&str; 4] = ["--push", "app=refs/heads/agent/*:allow", "--name", "kill-kqzmb"];
const REFERENCE: &str = "refs/heads/agent/x";
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_push_on_its_way_is_broken_off_and_none_begins() {
    let stage = GitStage::new();
    stage.upstream.hook("pre-receive", "#!/bin/sh\n: > objects/reached\nexec sleep 1000\n");
    let push = format!(
        "git push origin HEAD:{REFERENCE} && echo pushed; git push origin HEAD:{REFERENCE} && echo pushed; true"
    );
    let pushing = stage.env.spawn(&stage.arguments(&ALLOW, &GitStage::with_commit(&push)));
    let reached = stage.upstream.path().join("objects/reached");
    wait_until("the upstream to be reached", SOON, || reached.exists());
    let gate = git_gate(&stage);
    stage.env.run(&["freeze", "kill-kqzmb"]).success();
    wait_until("git to end", SOON, || processes_of(group(gate)) == [gate]);
    assert_eq!(stage.upstream.upstream(REFERENCE), None);
    stage.upstream.hook("pre-receive", "#!/bin/sh\nexit 1\n");
    stage.env.run(&["thaw", "kill-kqzmb"]).success();
    assert_eq!(pushing.finish(PATIENCE).success(), "");
    let audited = stage.audited();
    assert!(
        audited.iter().any(|line| line.starts_with("deny  git push to app") && line.ends_with("[frozen]")),
        "{audited:?}"
    );
}

#[test]
fn a_fetch_on_its_way_is_broken_off() {
    let stage = GitStage::new();
    // More than the buffers of a connection that nobody reads from.
    let noise: String =
        (0..1_500_000_u64).map(|n| format!("{:016x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    stage.upstream.commit("noise", &noise, "x");
    let script = "python3 -c 'import socket, time
s = socket.create_connection((\"127.0.0.1\", 9418))
line = lambda text: b\"%04x\" % (len(text) + 4) + text
s.sendall(line(b\"git-upload-pack /app\\0host=x\\0\"))
head = s.recv(1 << 16)[4:44]
s.sendall(line(b\"want \" + head + b\" no-progress side-band-64k\\n\") + b\"0000\" + line(b\"done\\n\"))
open(\"asked\", \"w\")
time.sleep(1000)'";
    let running = stage.env.spawn(&stage.arguments(&["--name", "kill-kqzmb"], script));
    let gate = bottle_testkit::wait_for("a fetch under way", SOON, || {
        let line = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let gate = super::attack::git_gates(&stage).first().copied()?;
        let packs = processes_of(group(gate)).iter().any(|pid| line(pid).contains("pack-objects"));
        packs.then_some(gate)
    });
    stage.env.run(&["freeze", "kill-kqzmb"]).success();
    wait_until("git to end", SOON, || processes_of(group(gate)) == [gate]);
    let socket = stage.env.root().join("run/bot-bottle/kill-kqzmb/metrics.sock");
    let counted = |line: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "--max-time", "10", "--unix-socket"]).arg(&socket).arg("http://localhost/metrics");
        String::from_utf8_lossy(&curl.output().expect("curl").stdout).lines().any(|it| it == line)
    };
    wait_until("it to be counted", SOON, || counted("bot_bottle_git_denials_total{reason=\"frozen\"} 1"));
    assert!(counted("bot_bottle_git_total{operation=\"fetch\",decision=\"allow\"} 1"));
    stage.env.run(&["stop", "--grace", "0", "kill-kqzmb"]).success();
    drop(running);
    assert!(stage.audited().iter().any(|line| line.ends_with("[frozen]")), "{:?}", stage.audited());
}
