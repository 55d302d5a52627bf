//! The page in headless Chromium (Debian's, driven by playwright-core), at the size of a desk and of a telephone.

use super::{SOON, Served};
use crate::{git::GitStage, supervise, tools};
use bottle_testkit::{wait_for, wait_until};
use serde_json::Value;
use std::{path::Path, process::Command, time::Duration};

const CHROMIUM: &str = "/usr/bin/chromium";
const DRIVER: &str = include_str!("drive.js");

#[test]
fn a_person_answers_in_a_browser_at_both_sizes_and_another_page_does_not() {
    let modules = tools::cache().map(|cache| cache.join("npm/node_modules"));
    let Some(modules) = modules.filter(|it| it.join("playwright-core").is_dir() && Path::new(CHROMIUM).exists()) else {
        println!("SKIPPED(no Chromium or no playwright-core): see scripts/install-test-needs");
        return;
    };
    if !supervise::has_sdk() {
        return;
    }
    let stage = GitStage::new();
    let main = r#"
async def main():
    push = subprocess.Popen(["git", "push", "-q", "origin", "HEAD:refs/heads/agent/retry"], stderr=subprocess.DEVNULL)
    reason = "<img src=x onerror=\"document.title='owned'\"> The release notes link there."
    egress, _ = await call("request_egress", {"host": "*.github.io", "methods": ["GET", "POST"], "reason": reason, "minutes": 30})
    question, _ = await call("ask_operator", {"question": "Which of the two branches is the one to mend?", "choices": ["main", "next"]})
    fetch("/", host="denied.example.com")
    for request in (egress, question):
        told, _ = await decision(request["id"])
        say(told["status"], told.get("why"), told.get("answer"), (told.get("granted") or {}).get("term"))
    say("push", push.wait())
"#;
    let change = "printf 'pub fn retry(times: u32) {\\n    // Twice at the most.\\n}\\n' > retry.rs; git add retry.rs; git commit -qm 'retry: give up after two'";
    let shell = format!(
        "{change}\ncat > $HOME/agent.py <<'EOF'\n{}\nEOF\nexec python3 $HOME/agent.py",
        supervise::script(main)
    );
    let mount = format!("{}:/tools", tools::cache().expect("asked before").display());
    let flags = ["--push", "app=refs/heads/agent/*", "--mount", &mount, "--name", "reviewer-kqzmb"];
    let running = stage.env.spawn(&stage.arguments(&flags, &GitStage::with_commit(&shell)));
    wait_until("the requests", SOON, || supervise::listed(&stage.env).len() == 3);
    let served = Served::start(&stage.env);
    let pictures =
        std::env::var_os("BOT_BOTTLE_PICTURES").map(Into::into).unwrap_or_else(|| stage.env.root().join("pictures"));
    std::fs::create_dir_all(&pictures).expect("a directory");
    let driver = stage.env.write("drive.js", DRIVER);
    let profile = stage.env.root().join("profile");
    let mut node = Command::new("node");
    node.arg(driver).arg(&served.url).arg(&pictures).arg(&profile).env("NODE_PATH", &modules);
    let drove = bottle_testkit::Running::start(node).finish(Duration::from_secs(180));
    let seen: Value = serde_json::from_str(drove.success().lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {drove}"));
    for (what, expected) in [
        ("markup", Value::from(0)),
        ("title", "(3) bot-bottle".into()),
        ("overflow", Value::from(0)),
        ("foreign", serde_json::json!([0, 403])),
        ("afterForeign", Value::from(3)),
        ("frozen", true.into()),
        ("reloaded", true.into()),
        ("violations", serde_json::json!([])),
        ("left", Value::from(0)),
    ] {
        assert_eq!(seen[what], expected, "{what}: {drove}");
    }
    let ran = running.finish(SOON);
    let expected = "approved None None {'seconds': 600}\napproved None next None\npush 0\n";
    assert!(ran.success().ends_with(expected), "{ran}");
    assert!(stage.upstream.upstream("refs/heads/agent/retry").is_some());
    let frozen = wait_for("the log", SOON, || {
        let log = supervise::audited(&stage.env);
        log.contains("(egress) approved").then_some(log)
    });
    assert!(frozen.contains("*.github.io:443  GET on /docs/**"), "{frozen}");
}
