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
