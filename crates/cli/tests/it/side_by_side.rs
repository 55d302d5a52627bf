//! `start --all-of`: several agents at once, after one question.

use crate::{
    stage,
    tmux::{Tmux, has_tmux},
};
use bottle_testkit::{TestEnv, wait_until};
use serde_json::Value;
use std::{process::Command, time::Duration};

const SOON: Duration = Duration::from_secs(60);

/// Two agents whose task is a line of shell, in bottles that tell them who they are.
fn env() -> TestEnv {
    let env = TestEnv::new(stage::program());
    env.write(
        "config/bot-bottle/providers/worker.yaml",
        "program: sh\nheadless: { args: [-c, '${TASK}'] }\ninteractive: { args: [-c, 'echo here; cat'] }\n",
    );
    for (name, code) in [("one", 0), ("two", 3)] {
        env.bottle(name, &format!("env: {{ WHO: {name}, CODE: '{code}' }}\n"));
        env.agent(name, &format!("bottle: {name}\nprovider: worker"));
    }
    env
}

const START: [&str; 4] = ["start", "--yes", "--workspace", "none"];

#[test]
fn each_result_is_told_in_order_and_the_first_failure_gives_the_code() {
    let env = env();
    let task = "echo \"$WHO says\" >&2; printf 'busy \\033[31m\\n' >&2; echo \"result of $WHO\"; exit $CODE";
    let ran = env.run(&[&START[..], &["--all-of", "one,two,one", "--prompt", task]].concat());
    assert_eq!(ran.code, Some(3), "{ran}");
    let told: Vec<&str> = ran.stdout.lines().collect();
    let [first, one, second, two, third, again] = told[..] else { panic!("{ran}") };
    assert!(first.starts_with("one-") && first.ends_with(": exit 0") && one == "result of one", "{ran}");
    assert!(second.starts_with("two-") && second.ends_with(": exit 3") && two == "result of two", "{ran}");
    assert!(third.starts_with("one-") && third != first && again == "result of one", "{ran}");
    let slug = second.trim_end_matches(": exit 3");
    for line in ["started", "two says", r"busy \u{1b}[31m", "ended, exit 3"] {
        assert!(ran.stderr.contains(&format!("{slug}: {line}\n")), "{line}: {ran}");
    }
    assert_eq!(env.run(&["list"]).success().matches("stopped").count(), 3);

    let ran = env.run(&[&START[..], &["--all-of", "two,one", "--json", "--prompt", task]].concat());
    let all: Vec<Value> = serde_json::from_str(&ran.stdout).expect("JSON");
    let shown: Vec<_> = all.iter().map(|it| (&it["agent"], &it["state"], &it["exit_code"], &it["result"])).collect();
    assert_eq!(ran.code, Some(3), "{ran}");
    assert_eq!(shown[0], (&"two".into(), &"ended".into(), &3.into(), &"result of two\n".into()), "{ran}");
    assert_eq!(shown[1], (&"one".into(), &"ended".into(), &0.into(), &"result of one\n".into()), "{ran}");
}

#[test]
fn an_interrupt_stops_all_of_them() {
    let env = env();
    let mut arguments = START.to_vec();
    arguments.extend(["--all-of", "one,two", "--prompt", "echo working >&2; sleep 600"]);
    let running = env.spawn(&arguments);
    let working = || env.run(&["list"]).success().matches("running").count() == 2;
    wait_until("both to run", SOON, working);
    assert!(Command::new("kill").args(["-s", "INT", &running.pid().to_string()]).status().expect("kill").success());
    let ran = running.finish(SOON);
    assert!(ran.code.is_some_and(|code| code != 0) && ran.stderr.contains("stopping all of them"), "{ran}");
    assert_eq!(ran.stderr.matches(": working\n").count(), 2, "{ran}");
    assert_eq!(env.run(&["list"]).success().matches("stopped").count(), 2, "{ran}");
}

#[test]
fn without_a_task_they_run_in_the_background() {
    let env = env();
    let ran = env.run(&[&START[..], &["--all-of", "one,one"]].concat());
    let slugs: Vec<&str> = ran.success().lines().collect();
    assert!(slugs.len() == 2 && slugs[0] != slugs[1], "{ran}");
    assert_eq!(env.run(&["list"]).success().matches("running").count(), 2);
    env.run(&[&["stop"], &slugs[..]].concat()).success();
}

#[test]
fn one_that_cannot_be_planned_starts_none() {
    let env = env();
    let ran = env.run(&[&START[..], &["--all-of", "one,three", "--prompt", "true"]].concat());
    assert!(ran.failure(3).contains("there is no agent `three`"), "{ran}");
    assert_eq!(env.bottles(), Vec::<String>::new());
    env.run(&[&START[..], &["one", "--all-of", "two"]].concat()).failure(2);
    env.run(&["start", "--yes"]).failure(2);
}

#[test]
fn all_are_shown_and_asked_about_once() {
    if !has_tmux() {
        return;
    }
    let env = env();
    let screen = Tmux::start(&env, 100, 60, &["start", "--workspace", "none", "--all-of", "one,two,one"]);
    let seen = screen.wait("Start these 3 bottles? [y/N]");
    assert_eq!(seen.lines().filter(|line| line.starts_with("backend ")).count(), 2, "{seen}");
    let slugs = seen.lines().find(|line| line.starts_with("slug ")).expect("a slug");
    assert_eq!(slugs.matches("one-").count(), 2, "{seen}");
    screen.text("n\n");
    screen.wait("it ended: 5");
    assert_eq!(env.bottles(), Vec::<String>::new());
}
