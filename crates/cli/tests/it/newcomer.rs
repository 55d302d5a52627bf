//! What a newcomer types first: the demo, the doctor, and looking at a bottle.

use crate::{
    screen::{SOON, Screen},
    stage::Stage,
};
use bottle_testkit::{TestEnv, wait_until};
use serde_json::Value;

const NAME: &str = "newcomer-kqzmb";

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn the_demo_allows_one_call_and_holds_the_rest() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        let ran = env.run(&["demo", "--json"]);
        let told = json(ran.success());
        assert_eq!(told["token_seen_inside"], false);
        let attempts = told["attempts"].as_array().expect("attempts");
        assert!(attempts.len() >= 9, "{ran}");
        for attempt in attempts {
            assert_eq!(attempt["succeeded"], attempt["name"] == "call the allowed API", "{attempt}");
        }
        let ran = env.run(&["demo"]);
        let table = ran.success();
        let starting = |word: &str| table.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!((starting("allowed "), starting("held ")), (1, attempts.len() - 1), "{ran}");
        assert!(table.ends_with("the agent never held it.\n") && ran.stderr.contains("--auth"), "{ran}");
        wait_until("nothing to be left", SOON, || env.leftovers().is_empty());
    });
}

#[test]
fn the_doctor_names_what_is_there_and_how_to_mend_what_is_not() {
    let mut env = TestEnv::ordinary(crate::stage::program());
    let checks = |env: &TestEnv| {
        let ran = env.run(&["doctor", "--json"]);
        let checks = json(&ran.stdout).as_array().cloned().expect("checks");
        (ran.code, move |name: &str| checks.iter().find(|it| it["name"] == name).cloned().expect("a check"))
    };
    let (code, check) = checks(&env);
    assert_eq!(code, Some(0));
    for name in ["kernel", "user namespaces", "landlock", "seccomp", "proc", "git", "state", "sockets"] {
        assert_eq!(check(name)["state"], "ok", "{}", check(name));
    }
    assert!(env.run(&["doctor"]).success().lines().any(|line| line.starts_with("ok       kernel")));
    env.set("PATH", "/nonexistent");
    env.set("XDG_STATE_HOME", "/proc/state");
    let (code, check) = checks(&env);
    assert_eq!(code, Some(4));
    assert_eq!((&check("git")["state"], &check("state")["state"]), (&"limited".into(), &"missing".into()));
    assert!(check("state")["mend"].to_string().contains("XDG_STATE_HOME"));
    assert!(env.run(&["doctor"]).failure(4).is_empty());
}

#[test]
fn a_bottle_is_listed_and_its_output_followed_to_its_end() {
    let env = TestEnv::new(crate::stage::program());
    assert_eq!(env.run(&["list"]).success(), "");
    assert_eq!(json(env.run(&["list", "--json"]).success()), Value::Array(Vec::new()));
    let script = "printf 'a\\033[31mb\\n'; while ! test -e ~/go; do sleep 0.05; done; echo last-words";
    env.run(&["run", "--detach", "--keep", "--name", NAME, "--", "sh", "-c", script]).success();
    let listed = json(env.run(&["list", "--json"]).success());
    assert_eq!((&listed[0]["slug"], &listed[0]["state"]), (&NAME.into(), &"running".into()), "{listed}");
    wait_until("output", SOON, || env.run(&["logs", NAME]).stdout.contains("31mb"));
    // As it was into a pipe, spelled out at a terminal.
    assert!(env.run(&["logs", NAME]).success().contains("a\u{1b}[31mb"));
    let screen = Screen::open(&env, &["logs", NAME]);
    screen.shows("a\\u{1b}[31mb");
    assert!(!screen.text().contains("\u{1b}[31m"), "{}", screen.text());
    assert_eq!(screen.ends(), Some(0));
    let following = env.spawn(&["logs", "--follow", NAME]);
    env.run(&["exec", NAME, "--", "touch", "/home/agent/go"]).success();
    assert!(following.finish(SOON).success().contains("last-words"));
    assert!(env.run(&["logs", "nobody-kqzmb"]).failure(2).contains("nobody-kqzmb"));
    env.run(&["cleanup", "--yes", NAME]).success();
    assert_eq!(env.run(&["list"]).success(), "");
}
