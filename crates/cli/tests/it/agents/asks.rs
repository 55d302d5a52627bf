//! An agent that is refused, asks by its own client for MCP, and goes on when its operator has said yes.

use super::{AgentStage, CLAUDE, KEY, PATIENCE};
use bottle_testkit::{model_api::Step, wait_for};
use serde_json::Value;

#[test]
fn claude_code_is_refused_asks_and_does_it_again() {
    // Whatever answers is the model's own server, which knows the injected key and no such path.
    let fetch = || Step::Shell("curl -s -w ' ended-%{http_code}' https://api.anthropic.com/news".to_owned());
    let Some(stage) = AgentStage::new(CLAUDE, vec![fetch(), Step::Ask, Step::Await, fetch()]) else { return };
    let running = stage.env.spawn(&["start", "keeper", "--yes", "--prompt", "Read the news"]);
    let request = wait_for("the agent's request", PATIENCE, || {
        let listed = stage.env.run(&["requests", "--json"]);
        serde_json::from_str::<Vec<Value>>(&listed.stdout).ok()?.into_iter().next()
    });
    assert_eq!(request["reason"], "to do as I am told", "{request}");
    assert_eq!(request["paths"], serde_json::json!(["/news"]), "{request}");
    stage.env.run(&["approve", "--yes", request["id"].as_str().expect("an id")]).success();
    let ran = running.finish(PATIENCE);
    let told = ran.success();
    let ended = |code: &str| told.find(&format!("ended-{code}"));
    assert!(ended("403").zip(ended("404")).is_some_and(|(refused, answered)| refused < answered), "{ran}");
    assert!(told.contains("approved") && !told.contains(KEY), "{ran}");
}
