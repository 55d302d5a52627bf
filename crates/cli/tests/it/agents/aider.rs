//! aider, which calls no tools: it edits what the model says and commits it, and runs what its person says.

use super::{AgentStage, CLAUDE, KEY, Kind, PATIENCE, PROMPT};
use bottle_testkit::{Ran, Running, model_api::Step};
use serde_json::Value;

const AIDER: Kind = Kind { name: "aider", mcp: false, ..CLAUDE };
const NAME: &str = "keeper-aaaaa";

/// Runs the program in the user's own clone of the repository, which the agent gets a clone of.
#[track_caller]
fn in_clone(stage: &AgentStage, arguments: &[&str]) -> Ran {
    let mut command = stage.env.command(arguments);
    command.current_dir(stage.env.work().join("app-work"));
    Running::start(command).finish(PATIENCE)
}

/// Hosts that the bottle asked for, without those of the self-probe.
#[track_caller]
fn hosts(stage: &AgentStage) -> Vec<String> {
    let shown = stage.env.run(&["audit", "show", "--json", NAME]);
    let records = shown.success().lines().map(|line| serde_json::from_str::<Value>(line).expect("a record"));
    let hosts = records.filter_map(|record| record["host"].as_str().map(str::to_owned));
    let mut hosts: Vec<String> =
        hosts.filter(|host| !host.ends_with(".invalid") && host.contains(char::is_alphabetic)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

#[test]
fn aider_edits_and_commits_and_runs_what_its_person_says() {
    let script = vec![Step::Edit("tide.txt", "high at noon\n")];
    let Some(stage) = AgentStage::new(AIDER, script) else { return };
    let ran = in_clone(&stage, &["start", "keeper", "--yes", "--name", NAME, "--prompt", "Write down the tide"]);
    assert!(ran.success().contains("Applied edit to tide.txt"), "{ran}");
    let said = stage.said();
    assert!(said.contains(PROMPT) && said.contains("Write down the tide"), "the model heard its prompt");

    // It commits by itself and does nothing more: the push and the refused request are its person's.
    let line = "/run git status --short; git push -q $GIT_GATE_URL/app HEAD:refs/heads/agent/one \
                && expr 40 + 2 | sed s/^/bottle-/; curl -s https://api.anthropic.com/refused";
    let again = in_clone(&stage, &["resume", NAME, "--prompt", line]);
    let told = again.success();
    assert!(told.contains("bottle-42") && told.contains("method_not_allowed"), "{again}");
    assert!(!told.contains("?? ") && !told.contains(" M "), "all that it did is committed: {again}");
    let pushed = stage.upstream.upstream("refs/heads/agent/one").expect("the push went upstream");
    let file = ["--git-dir", &stage.upstream.path().display().to_string(), "show", &format!("{pushed}:tide.txt")];
    assert_eq!(stage.upstream.git(&file), "high at noon");

    assert_eq!(hosts(&stage), ["api.anthropic.com"], "neither prices, nor updates, nor reports");
    let log = stage.env.run(&["logs", NAME]);
    for text in [&ran.stdout, &again.stdout, &said, &log.stdout] {
        assert!(!text.contains(KEY), "the key stays outside");
    }
}
