//! What was approved, written into the bottle's manifest.

use super::{HOST, SOON, has_sdk, id, script, waiting, waiting_for};
use crate::{screen::Screen, stage::Stage, tools};
use bottle_testkit::Running;
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

/// What of the user's own text must stay.
const HEAD: &str = "# mine\negress:   # little\n  routes:\n    - host: 'up.test'  # the sizes\n      paths: [/size/**]\n  # the office's\n";

/// A manifest that is a link into a directory of the user's, as those who keep their configuration in git have it.
pub(super) fn manifest(stage: &Stage, more: &str) -> PathBuf {
    let tools = tools::cache().expect("asked before");
    let (tools, ca) = (tools.display(), stage.env.root().join("config/upstream-ca.pem"));
    let tail = format!(
        "  upstream_ca: {}\n  resolve: {{ {HOST}: \"{}\" }}\nmounts:\n  - \"{tools}:/tools\"\n{more}",
        ca.display(),
        stage.upstream.address()
    );
    let real = stage.env.write("dotfiles/dev.yaml", format!("{HEAD}{tail}"));
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("a file of ours");
    let link = stage.env.bottle("dev", "");
    fs::remove_file(&link).expect("the test's own");
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    real
}

pub(super) fn start(stage: &Stage, main: &str) -> Running {
    let command = serde_json::to_string(&["python3", "-c", &script(main)]).expect("a list");
    stage.env.agent("asker", &format!("bottle: dev\nprovider: command\ncommand: {command}"));
    stage.env.spawn(&["start", "asker", "--yes", "--workspace", "none"])
}

#[test]
fn what_was_approved_stands_in_the_manifest_and_the_next_bottle_has_it() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let real = manifest(&stage, "");
    let before = fs::read_to_string(&real).expect("the manifest");
    let main = r#"
async def main():
    if fetch("/echo/a")[0] == 200:
        return say("had it", fetch("/echo/b")[0], fetch("/echo/a", "-X", "POST")[0])
    request, _ = await call("request_egress", {"host": "up.test", "methods": ["GET", "POST"], "paths": ["/echo/**"], "reason": "x"})
    say((await decision(request["id"]))[0]["status"], fetch("/echo/a")[0])
    answer, _ = await call("ask_operator", {"question": "Is it in there?"})
    await decision(answer["id"])
"#;
    let running = start(&stage, main);
    let first = id(&waiting(&stage.env));
    assert!(stage.env.run(&["approve", &first, "--manifest", "--once", "--yes"]).failure(2).contains("cannot be used"));
    let approved = stage.env.run(&["approve", "--yes", &first, "--manifest", "--method", "GET", "--path", "/echo/a"]);
    approved.success();
    let added = "    - host: \"up.test:443\"\n      methods: [GET]\n      paths:\n        - /echo/a\n";
    for line in added.lines().map(|line| format!("+{line}")).chain(["written into ".to_owned()]) {
        assert!(approved.stderr.contains(&line), "{line}: {approved}");
    }
    let after = fs::read_to_string(&real).expect("the manifest");
    let (head, tail) = before.split_at(HEAD.find("  # the office's").expect("a comment"));
    assert_eq!(after, format!("{head}{added}{tail}"));
    assert_eq!(fs::metadata(&real).expect("the manifest").permissions().mode() & 0o777, 0o640);
    assert!(stage.env.root().join("config/bot-bottle/bottles/dev.yaml").is_symlink());
    assert_eq!(fs::read_dir(real.parent().expect("a directory")).expect("it").count(), 1, "nothing stays beside it");
    let question = id(&waiting_for(&stage.env, "question"));
    let refused = stage.env.run(&["approve", &question, "--manifest", "--answer", "yes", "--yes"]);
    assert!(refused.failure(2).contains("no manifest can hold it"), "{refused}");
    stage.env.run(&["approve", &question, "--answer", "yes", "--yes"]).success();
    assert_eq!(running.finish(SOON).success(), "approved 200\n");
    let ran = start(&stage, main).finish(SOON);
    assert_eq!(ran.success(), "had it 403 403\n", "{ran}");
}

#[test]
fn at_a_terminal_the_diff_is_shown_before_the_question_and_only_a_yes_writes() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let real = manifest(&stage, "");
    let before = fs::read_to_string(&real).expect("the manifest");
    let main = r#"
async def main():
    request, _ = await call("request_egress", {"host": "up.test", "methods": ["GET"], "paths": ["/echo/a"], "reason": "x"})
    say((await decision(request["id"]))[0]["status"])
"#;
    let running = start(&stage, main);
    let first = id(&waiting(&stage.env));
    for (answer, code) in [("n\r", 5), ("y\r", 0)] {
        assert_eq!(fs::read_to_string(&real).expect("the manifest"), before);
        let mut screen = Screen::open(&stage.env, &["approve", &first, "--manifest"]);
        screen.shows("Approve this, as it stands here? [y/N]");
        assert!(screen.text().contains("+      paths:"), "the diff comes first: {}", screen.text());
        screen.types(answer);
        assert_eq!(screen.ends(), Some(code), "{answer:?}");
    }
    assert_eq!(running.finish(SOON).success(), "approved\n");
    assert!(fs::read_to_string(&real).expect("the manifest").contains("- /echo/a"));
}

#[test]
fn a_manifest_is_not_written_where_it_is_none_or_where_the_bottle_could_write_it() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let real = manifest(&stage, &format!("  - \"{}:/dotfiles:rw\"\n", stage.env.root().join("dotfiles").display()));
    let before = fs::read_to_string(&real).expect("the manifest");
    let main = r#"
async def main():
    request, _ = await call("request_egress", {"host": "other.test", "reason": "x"})
    say((await decision(request["id"]))[0]["status"])
"#;
    let running = start(&stage, main);
    let first = id(&waiting(&stage.env));
    let refused = stage.env.run(&["approve", "--yes", &first, "--manifest"]);
    assert!(refused.failure(5).contains("can write"), "{refused}");
    assert_eq!(fs::read_to_string(&real).expect("the manifest"), before);
    stage.env.run(&["deny", &first]).success();
    assert_eq!(running.finish(SOON).success(), "denied\n");
    // Of `run` there is none.
    let running = super::agent(&stage, &[], main);
    let second = id(&waiting(&stage.env));
    let refused = stage.env.run(&["approve", "--yes", &second, "--manifest"]);
    assert!(refused.failure(2).contains("has no manifest") && refused.stderr.contains("policy learn"), "{refused}");
    stage.env.run(&["deny", &second]).success();
    running.finish(SOON).success();
}
