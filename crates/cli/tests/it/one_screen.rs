//! What a person reads before they say yes, and what `list` tells, on the smallest of screens.

use crate::{
    stage,
    tmux::{Tmux, has_tmux},
};
use bottle_testkit::TestEnv;
use serde_json::Value;

/// A bottle of some size.
fn env() -> TestEnv {
    let mut env = TestEnv::new(stage::program());
    env.set("GITHUB_TOKEN", "a-token-that-is-not-one");
    env.bottle(
        "dev",
        "egress:\n  routes:\n    - { host: api.github.com, methods: [GET, POST], paths: [/repos/acme/app/**, /repos/acme/tools/**, /search/**], \
         auth: { scheme: bearer, secret: env:GITHUB_TOKEN } }\n    - { host: '*.pythonhosted.org', methods: [GET] }\n    \
         - { host: registry.test, methods: [GET] }\n    - { host: docs.test, ask: true }\n    - { host: status.test, on_finding: log }\n\
         git:\n  - { name: app, upstream: 'https://github.test/acme/app.git', push: { refs: ['refs/heads/agent/*'], approval: ask } }\n  \
         - { name: tools, upstream: 'https://github.test/acme/tools.git' }\n\
         env: { LANG: C.UTF-8, COLUMNS: '100' }\nlimits: { pids: 512 }\nsupervise: true\n",
    );
    env.write("config/bot-bottle/skills/tide/SKILL.md", "---\nname: tide\ndescription: x\n---\n");
    env.agent("reviewer", "bottle: dev\nskills: [tide]\ncommand: [sh, -c, 'sleep 600']");
    env
}

#[test]
fn the_preflight_and_its_question_are_on_it_whole() {
    if !has_tmux() {
        return;
    }
    let env = env();
    let ran = env.run(&["preflight", "reviewer", "--workspace", "none"]);
    let whole = ran.success();
    assert!(whole.contains("status.test:443,80  all methods  all paths  findings logged only"), "{whole}");
    let screen = Tmux::start(&env, 80, 24, &["start", "reviewer", "--workspace", "none"]);
    let seen = screen.wait("Start this bottle? [y/N]");
    for text in [
        "backend    namespace",
        "bottle     dev",
        "app is https://github.test/acme/app.git",
        "api.github.com:443",
        "docs.test:443",
        "pids 512",
    ] {
        assert!(seen.contains(text), "{text}: {seen}");
    }
    assert!(seen.contains("status.test:443") && seen.contains("shortened; --verbose shows all"), "{seen}");
    screen.text("n\n");
    screen.wait("it ended: 5");
    drop(screen);
    let screen = Tmux::start(&env, 80, 60, &["start", "reviewer", "--workspace", "none", "--verbose"]);
    let seen = screen.wait("Start this bottle? [y/N]").replace('\n', "");
    assert!(seen.contains("/repos/acme/app/** /repos/acme/tools/** /search/**"), "{seen}");
    screen.text("n\n");
    screen.wait("it ended: 5");
}

#[test]
fn list_tells_what_each_may_reach() {
    if !has_tmux() {
        return;
    }
    let env = env();
    let name = "reviewer-abcde";
    env.run(&["start", "reviewer", "--yes", "--detach", "--workspace", "none", "--name", name]).success();
    env.run(&["run", "--detach", "--keep", "--workspace", "none", "--name", "shut-abcde", "--", "sleep", "600"])
        .success();
    let ran = env.run(&["list"]);
    let all = "api.github.com *.pythonhosted.org registry.test docs.test status.test git:app git:tools";
    assert!(ran.success().lines().any(|line| line.starts_with(name) && line.ends_with(all)), "{ran}");
    assert!(ran.stdout.lines().any(|line| line.starts_with("shut-abcde") && line.ends_with(" nothing")), "{ran}");
    let listed: Vec<Value> = serde_json::from_str(&env.run(&["list", "--json"]).stdout).expect("JSON");
    assert_eq!(listed[0]["reaches"].as_array().map(Vec::len), Some(7), "{listed:?}");
    assert_eq!((&listed[0]["slug"], &listed[0]["state"]), (&name.into(), &"running".into()), "{listed:?}");

    let screen = Tmux::start(&env, 80, 24, &["list"]);
    screen.wait_end();
    let seen = screen.seen();
    let line = seen.lines().find(|line| line.starts_with(name)).expect("its line");
    assert!(line.ends_with("api.github.com +6") && line.chars().count() <= 80, "{seen}");
    env.run(&["stop", name, "shut-abcde"]).success();
}
