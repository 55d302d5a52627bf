//! Pushes that the operator is asked about.

use super::GitStage;
use bottle_testkit::env::PATIENCE;

const ASK: [&str; 2] = ["--push", "app=refs/heads/agent/*"];
const PUSH: &str = "git push origin HEAD:refs/heads/agent/x";

#[test]
fn a_push_waits_for_the_operator_who_sees_commits_and_changes() {
    let stage = GitStage::new();
    let script =
        format!("printf 'a\\033[31mb\\n' > red; git add red; git commit -qm \"$(printf 'x\\033]0;y\\007z')\"; {PUSH}");
    let pushing = stage.env.spawn(&stage.arguments(&ASK, &GitStage::with_commit(&script)));
    let id = stage.waiting()["id"].as_str().expect("an id").to_owned();
    let listed = stage.env.run(&["requests"]);
    assert!(listed.success().contains("push to app: refs/heads/agent/x  2 commits"), "{listed}");
    let shown = stage.env.run(&["requests", &id]);
    let text = shown.success();
    for part in [
        "Agent <agent@example.test>: a new file",
        "+new",
        "+a\\u{1b}[31mb",
        "x\\u{1b}]0;y",
        "refs/heads/agent/x from nothing",
    ] {
        assert!(text.contains(part), "{part}: {shown}");
    }
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{shown}");
    assert_eq!(stage.upstream.upstream("refs/heads/agent/x"), None);
    // Nobody is there to see it.
    assert!(stage.env.run(&["approve", &id]).failure(2).contains("no terminal"));
    stage.env.run(&["approve", "--yes", &id]).success();
    let again = stage.env.run(&["deny", &id]).code;
    assert_eq!(again, Some(2), "the first answer counts");
    let ran = pushing.finish(PATIENCE);
    ran.success();
    assert!(ran.stderr.contains(&format!("waiting for the operator: request {id}")), "{ran}");
    assert!(stage.upstream.upstream("refs/heads/agent/x").is_some());
    assert!(stage.audited().iter().any(|line| line.ends_with("(approved by the operator)")), "{:?}", stage.audited());
    assert_eq!(stage.env.run(&["requests"]).success(), "");
}

#[test]
fn what_makes_a_machine_run_something_is_asked_about_even_where_pushes_are_not() {
    let stage = GitStage::new();
    let allow = ["--push", "app=refs/heads/agent/*:allow"];
    let workflow = "mkdir -p .github/workflows; echo 'on: push' > .github/workflows/ci.yml";
    let moved = "git mv new .gitattributes";
    let package = "echo '{\"scripts\": {\"postinstall\": \"id\"}}' > innocent.json";
    for (change, flag) in [
        (workflow, ".github/workflows/ci.yml: a CI workflow"),
        (moved, ".gitattributes: filters of git"),
        (package, "innocent.json: a script that installing a package runs"),
    ] {
        let script = format!("{change}; git add -A; git commit -qm x; git rm -qr .; git commit -qm gone; {PUSH}");
        let pushing = stage.env.spawn(&stage.arguments(&allow, &GitStage::with_commit(&script)));
        let waiting = stage.waiting();
        assert_eq!(waiting["flags"], serde_json::json!([flag]), "{waiting}");
        let id = waiting["id"].as_str().expect("an id");
        stage.env.run(&["deny", id, "--reason", "not today"]).success();
        let ran = pushing.finish(PATIENCE);
        assert!(ran.failure(1).contains("(the operator said no: not today)"), "{ran}");
    }
    assert_eq!(stage.upstream.upstream("refs/heads/agent/x"), None);
}

#[test]
fn a_submodule_that_would_run_a_program_is_refused() {
    let stage = GitStage::new();
    let allow = ["--push", "app=refs/heads/agent/*:allow"];
    for url in ["ext::sh -c id", "file:///etc", "/etc"] {
        let file = format!("[submodule \"x\"]\\n\\tpath = x\\n\\turl = {url}\\n");
        let script = format!("printf '{file}' > .gitmodules; git add -A; git commit -qm x; {PUSH}");
        let ran = stage.pushing(&allow, &script);
        assert!(ran.failure(1).contains("a submodule's address"), "{ran}");
    }
}

#[test]
fn a_request_ends_with_the_push_that_made_it() {
    let stage = GitStage::new();
    let script = format!("timeout 3 {PUSH} || echo left; cat");
    let pushing = stage.env.spawn(&stage.arguments(&ASK, &GitStage::with_commit(&script)));
    let id = stage.waiting()["id"].as_str().expect("an id").to_owned();
    let ran = pushing.finish(PATIENCE);
    assert_eq!(ran.success(), "left\n");
    assert!(stage.env.run(&["approve", "--yes", &id]).failure(2).contains("no request"), "{ran}");
    assert_eq!(stage.upstream.upstream("refs/heads/agent/x"), None);
}
