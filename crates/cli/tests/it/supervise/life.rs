//! The supervise gate's death, and its absence where nobody asks.

use super::{LITTLE, SOON, agent, approve, has_sdk, id, waiting};
use crate::{gate::pid_of, stage::Stage};
use bottle_testkit::{wait_for, wait_until};
use rustix::process::{Signal, kill_process};

#[test]
fn an_agent_that_waits_gets_its_answer_although_the_gate_was_killed() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    told, text = await ask(fetch("/echo/a")[1])
    say(told["status"], fetch("/echo/a")[0])
"#;
    let name = "wait-kqzmb";
    let running = agent(&stage, &[&LITTLE[..], &["--name", name]].concat(), main);
    waiting(&stage.env);
    let mut waits = String::new();
    for _ in 0..2 {
        // Between two waits nobody would miss it.
        waits = wait_for("the agent's next wait", SOON, || {
            let last = stage.env.run(&["exec", name, "sh", "-c", "ls -t /tmp/waits-* | head -n 1"]).stdout;
            (!last.is_empty() && last != waits).then_some(last)
        });
        let first = pid_of(&stage, "supervise-gate").expect("a supervise gate");
        kill_process(first, Signal::KILL).expect("our own gate");
        wait_until("another one", SOON, || pid_of(&stage, "supervise-gate").is_some_and(|pid| pid != first));
    }
    approve(&stage.env, &[]);
    let ran = running.finish(SOON);
    assert!(ran.success().ends_with("approved 200\n") && ran.stdout.starts_with("again "), "{ran}");
}

#[test]
fn a_grant_outlives_the_gate_that_goes_by_it() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    await ask(fetch("/echo/a")[1])
    say("granted", fetch("/echo/a")[0])
    gone = False
    while not os.path.exists("/tmp/on"):
        status = fetch("/echo/a")[0]
        assert status in (0, 200, 502, 503), status
        await asyncio.sleep(0.02)
    say("after", fetch("/echo/a")[0], fetch("/echo/b")[0])
"#;
    let running = agent(&stage, &[&LITTLE[..], &["--name", "kill-kqzmb"]].concat(), main);
    approve(&stage.env, &[]);
    wait_until("the grant to be used", SOON, || stage.upstream.seen().iter().any(|seen| seen.path() == "/echo/a"));
    let before = pid_of(&stage, " gate").expect("a gate");
    kill_process(before, Signal::KILL).expect("our own gate");
    wait_until("another gate", SOON, || pid_of(&stage, " gate").is_some_and(|pid| pid != before));
    stage.env.run(&["exec", "kill-kqzmb", "touch", "/tmp/on"]).success();
    let ran = running.finish(SOON);
    assert_eq!(ran.success(), "granted 200\nafter 200 403\n", "{ran}");
}

#[test]
fn what_was_asked_survives_that_everything_is_killed_and_nobody_says_yes_to_it_any_more() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    await ask(fetch("/echo/a")[1])
"#;
    let name = "dead-kqzmb";
    let running = agent(&stage, &[&LITTLE[..], &["--name", name, "--keep"]].concat(), main);
    let id = id(&waiting(&stage.env));
    stage.env.leftovers().kill();
    let ran = running.finish(SOON);
    assert_ne!(ran.code, Some(0), "{ran}");
    let file = |ending: &str| stage.env.root().join(format!("state/bot-bottle/bottles/{name}/supervise/{id}.{ending}"));
    let request: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file("request.json")).expect("the request")).expect("a whole file");
    assert_eq!(request["id"], id.as_str());
    let late = stage.env.run(&["approve", "--yes", &id]);
    assert_ne!(late.code, Some(0), "nobody is there to hear it: {late}");
    assert_eq!(super::listed(&stage.env), Vec::<serde_json::Value>::new(), "nothing waits any more");
    assert!(!file("decision.json").exists(), "and it was no yes");
    stage.env.run(&["cleanup", "--yes", name]).success();
}

#[test]
fn a_bottle_whose_agent_asks_nothing_has_no_process_for_it() {
    let stage = Stage::new();
    let name = "calm-kqzmb";
    let running = stage.spawn(&["--workspace", "none", "--name", name], &["sleep", "60"]);
    wait_until("the bottle to run", SOON, || stage.env.run(&["exec", name, "true"]).code == Some(0));
    assert_eq!(pid_of(&stage, "supervise-gate"), None);
    let line = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9100/mcp";
    assert_eq!(stage.env.run(&["exec", name, "sh", "-c", line]).success(), "405");
    assert!(pid_of(&stage, "supervise-gate").is_some());
    stage.env.run(&["stop", name]).success();
    assert_eq!(pid_of(&stage, "supervise-gate"), None);
    drop(running);
}
