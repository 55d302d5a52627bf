//! The dashboard as a person has it: in a real terminal (tmux), by keys, on real bottles.

use crate::{
    stage::Stage,
    supervise,
    tmux::{Tmux, has_tmux},
};
use bottle_testkit::wait_until;
use std::{fs, time::Duration};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn requests_are_approved_narrowed_denied_and_answered_by_keys() {
    if !has_tmux() || !supervise::has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    status, refusal = fetch("/echo/a")
    say("before", status)
    told, _ = await ask(refusal)
    say("approved", told["status"], fetch("/echo/a")[0])
    asked = {"host": "up.test", "methods": ["GET", "POST", "DELETE"], "reason": "to do \x1b[31mmore\u202e"}
    told, _ = await decision((await call("request_egress", asked))[0]["id"])
    say("narrowed", told["status"], fetch("/echo/b")[0], fetch("/echo/b", "-X", "DELETE")[0])
    asked = {"host": "evil.test", "reason": "just because"}
    told, _ = await decision((await call("request_egress", asked))[0]["id"])
    say("denied", told["status"], told["why"])
    told, _ = await decision((await call("ask_operator", {"question": "Which?", "choices": ["this", "that"]}))[0]["id"])
    say("answered", told["status"], told["answer"])
"#;
    let running = supervise::agent(&stage, &supervise::LITTLE, main);
    let screen = Tmux::start(&stage.env, 80, 24, &["dashboard"]);
    let seen = screen.wait("requests: 1");
    assert!(seen.contains("send to up.test:443  GET on /echo/a"), "{seen}");
    screen.keys(&["a"]);
    let seen = screen.wait("approve this, as it stands here? y/n");
    assert!(seen.contains("reason     to do my work") && seen.contains("risk "), "{seen}");
    screen.keys(&["y"]);
    screen.wait("approved");

    screen.wait("GET,POST,DELETE");
    screen.keys(&["n", "C-u"]);
    screen.text("get");
    let seen = screen.wait("methods  get");
    assert!(seen.contains(r"to do \u{1b}[31mmore\u{202e}"), "{seen}");
    screen.keys(&["Tab", "Tab"]);
    screen.text("5m");
    screen.keys(&["Enter"]);
    screen.wait("approve only GET for 5 minutes? y/n");
    screen.keys(&["y"]);

    screen.wait("evil.test");
    screen.keys(&["d"]);
    screen.text("use the mirror");
    screen.wait("use the mirror");
    screen.keys(&["Enter"]);

    screen.wait("asks: Which?");
    screen.keys(&["a", "Down"]);
    screen.wait("> 2 that");
    screen.keys(&["Enter"]);
    let ran = running.finish(SOON);
    let expected = "before 403\napproved approved 200\nnarrowed approved 200 403\ndenied denied use the mirror\n\
                    answered approved that\n";
    assert_eq!(ran.success(), expected, "{ran}");

    // What was decided is seen, of all and of one verdict.
    screen.keys(&["3"]);
    let seen = screen.wait("deny  DELETE up.test:443/echo/b");
    assert!(seen.contains("allow GET up.test:443/echo/"), "{seen}");
    screen.keys(&["v"]);
    let seen = screen.wait("decisions, denied");
    assert!(!seen.contains("allow GET"), "{seen}");
    screen.keys(&["q"]);
    screen.wait_end();
}

/// A bottle whose agent has a terminal, and is found by what it says.
fn talking(stage: &Stage, name: &str) {
    let script = "echo hello from inside; (while :; do echo tick; sleep 1; done) & \
                  while read -r line; do echo \"heard $line\"; done; sleep 600";
    let run = ["run", "--detach", "--keep", "--workspace", "none", "--name", name, "--", "sh", "-c", script];
    stage.env.run(&run).success();
}

#[test]
fn a_bottle_is_joined_beside_the_dashboard_or_in_its_place_and_then_frozen_and_stopped() {
    if !has_tmux() {
        return;
    }
    let stage = Stage::new();
    talking(&stage, "talk-kqzmb");
    let screen = Tmux::start(&stage.env, 80, 24, &["dashboard"]);
    screen.wait("talk-kqzmb");
    screen.keys(&["4"]);
    screen.wait("hello from inside");
    screen.keys(&["1", "t"]);
    // tmux goes to the new window. What is typed before the session has the terminal would be the shell's.
    screen.wait_state("window talk-kqzmb");
    screen.wait("tick");
    screen.text("you there\n");
    screen.wait("heard you there");
    screen.keys(&["C-p", "C-q"]);
    screen.wait("is in a window of tmux");
    screen.keys(&["f"]);
    screen.wait("frozen");
    screen.keys(&["f"]);
    screen.wait("thawed");
    screen.keys(&["x"]);
    screen.wait("stop talk-kqzmb?");
    screen.keys(&["y"]);
    screen.wait("talk-kqzmb stopped");
    screen.keys(&["r", "y"]);
    screen.wait("talk-kqzmb runs again");
    screen.keys(&["q"]);
    screen.wait_end();

    // Where there is no tmux, in the dashboard's own place.
    let screen = Tmux::start(&stage.env, 100, 30, &["dashboard", "without TMUX"]);
    screen.wait("talk-kqzmb");
    screen.keys(&["1", "t"]);
    screen.wait_state("alternate 0");
    screen.wait("tick");
    screen.text("and now\n");
    screen.wait("heard and now");
    screen.keys(&["C-p", "C-q"]);
    screen.wait("back from talk-kqzmb");
    screen.resize(200, 50);
    let seen = screen.wait("log of talk-kqzmb");
    assert!(seen.lines().any(|line| line.chars().count() == 200), "{seen}");
    screen.keys(&["q"]);
    screen.wait_end();
    stage.env.run(&["stop", "talk-kqzmb"]).success();
}

#[test]
fn an_agent_is_started_after_its_preflight() {
    if !has_tmux() {
        return;
    }
    let stage = Stage::new();
    stage.env.bottle("small", "env: { LANG: C.UTF-8 }\n");
    stage.env.agent("sleeper", "bottle: small\nprovider: command\ncommand: [sh, -c, 'echo awake; sleep 600']");
    let screen = Tmux::start(&stage.env, 80, 24, &["dashboard"]);
    screen.wait("requests: 0");
    screen.keys(&["1", "s"]);
    screen.wait("> 1 sleeper");
    screen.keys(&["Enter"]);
    let seen = screen.wait("start this bottle? y/n");
    assert!(seen.contains("routes     (none)"), "{seen}");
    assert!(stage.env.bottles().is_empty(), "nothing is started before the yes");
    screen.keys(&["y"]);
    screen.wait("running");
    screen.keys(&["4"]);
    screen.wait("awake");
    let name = stage.env.bottles().pop().expect("a bottle");
    stage.env.run(&["stop", &name]).success();
    screen.keys(&["1"]);
    screen.wait("stopped");
    screen.keys(&["q"]);
    screen.wait_end();
}

#[test]
fn a_terminal_that_goes_away_takes_the_dashboard_with_it() {
    if !has_tmux() {
        return;
    }
    let stage = Stage::new();
    let screen = Tmux::start(&stage.env, 80, 24, &["dashboard"]);
    screen.wait("requests: 0");
    drop(screen);
    wait_until("the dashboard to end", SOON, || stage.env.leftovers().processes.is_empty());
}

#[test]
fn the_terminal_is_put_back_also_where_a_signal_ends_it() {
    if !has_tmux() {
        return;
    }
    let stage = Stage::new();
    let record = stage.env.work().join("events.jsonl");
    let screen = Tmux::start(&stage.env, 80, 24, &["dashboard", "--record", &record.display().to_string()]);
    screen.wait("requests: 0");
    screen.keys(&["?"]);
    screen.wait("where y answers");
    screen.signal("TERM");
    screen.wait_end();
    let seen = screen.seen();
    assert!(!seen.contains("requests"), "the screen before is back: {seen}");
    screen.wait_state("mouse 0 alternate 0");
    let events = fs::read_to_string(&record).expect("a recording");
    assert!(events.lines().any(|line| line == r#"{"key":{"char":"?"}}"#), "{events}");
    wait_until("nothing is left of it", SOON, || screen.processes() == 1);
}
