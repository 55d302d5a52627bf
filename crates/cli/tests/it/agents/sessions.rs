//! Conversations that go on, and agents that nobody sits at.

use super::{AgentStage, CLAUDE, PATIENCE};
use bottle_testkit::{model_api::Step, wait_for};

fn script() -> Vec<Step> {
    vec![Step::Shell("expr 40 + 2 | sed s/^/bottle-/".to_owned())]
}

#[test]
fn resume_goes_on_with_the_conversation() {
    let Some(stage) = AgentStage::new(CLAUDE, script()) else { return };
    stage.start(&["--name", "keeper-aaaaa", "--prompt", "The word is Ostrava"]).success();
    let before = stage.api.said().len();
    let again = stage.env.spawn(&["resume", "keeper-aaaaa", "--prompt", "What was the word?"]).finish(PATIENCE);
    assert!(again.success().contains("The tools said:"), "{again}");
    let said: Vec<String> = stage.api.said().iter().skip(before).map(ToString::to_string).collect();
    let goes_on = |request: &String| request.contains("The word is Ostrava") && request.contains("What was the word?");
    assert!(said.iter().any(goes_on), "{said:?}");
}

#[test]
fn a_detached_agent_works_on_and_its_words_are_in_the_log() {
    let Some(stage) = AgentStage::new(CLAUDE, script()) else { return };
    let started = stage.start(&["--detach", "--name", "keeper-aaaaa", "--prompt", "Do it"]);
    assert_eq!(started.success(), "keeper-aaaaa\n");
    let log = stage.env.spawn(&["logs", "-f", "keeper-aaaaa"]).finish(PATIENCE);
    assert!(log.success().contains("bottle-42"), "{log}");
    wait_for("its end", PATIENCE, || stage.env.run(&["list"]).success().contains("stopped").then_some(()));
}

#[test]
fn a_task_needs_an_agent_that_takes_one() {
    let env = bottle_testkit::TestEnv::new(crate::stage::program());
    env.bottle("dev", "");
    env.agent("mine", "bottle: dev\ncommand: [cat]");
    let ran = env.run(&["start", "mine", "--yes", "--prompt", "x"]);
    assert!(ran.failure(3).contains("takes no `--prompt`"), "{ran}");
}

#[test]
fn a_transcript_is_followed_and_made_readable() {
    let Some(stage) = AgentStage::new(CLAUDE, script()) else { return };
    // Its home is the agent's: links lead nowhere, a pipe holds nothing up.
    let started = stage.start(&["--detach", "--name", "keeper-aaaaa", "--prompt", "Do it"]);
    started.success();
    let home = stage.env.state().join("bottles/keeper-aaaaa/agent/home/.claude/projects/-home-agent");
    let log = stage.env.spawn(&["logs", "-f", "keeper-aaaaa"]).finish(PATIENCE);
    let told = log.success();
    assert!(told.starts_with("you: Do it\n"), "{log}");
    assert!(told.contains("calls Bash: expr 40 + 2") && told.contains("\ngets: bottle-42\n"), "{log}");
    assert!(told.contains("agent: The tools said: bottle-42") && !told.contains("sessionId"), "{log}");

    std::os::unix::fs::symlink("/etc/passwd", home.join("link.jsonl")).expect("a link");
    std::fs::write(home.join("evil.jsonl"), "\u{1b}]0;pwned\u{7}\n").expect("a file");
    let again = stage.env.run(&["logs", "keeper-aaaaa"]);
    assert!(again.success().contains(r"\u{1b}]0;pwned\u{7}") && !again.stdout.contains("root:"), "{again}");
    let raw = stage.env.run(&["logs", "--raw", "keeper-aaaaa"]);
    let lines: Vec<&str> = raw.success().lines().filter(|line| line.starts_with('{')).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    let terminal = stage.env.run(&["logs", "--terminal", "keeper-aaaaa"]);
    assert!(terminal.success().contains("bottle-42") && !terminal.stdout.contains("calls Bash"), "{terminal}");
}

#[test]
fn without_a_transcript_the_terminal_is_shown() {
    let env = bottle_testkit::TestEnv::new(crate::stage::program());
    env.run(&["run", "--keep", "--detach", "--name", "a-bcdef", "--", "echo", "hello"]).success();
    wait_for("its end", PATIENCE, || env.run(&["list"]).success().contains("stopped").then_some(()));
    assert_eq!(env.run(&["logs", "a-bcdef"]).success(), "hello\r\n");
    assert!(env.run(&["logs", "--transcript", "a-bcdef"]).failure(2).contains("has no transcript"));
}
