//! An agent that asks, by the official Python SDK in a bottle, and an operator who answers by the command line.

mod answers;
mod attack;
mod git;
mod life;
mod manifest;

use crate::{
    stage::{HOST, Stage},
    tools,
};
use bottle_testkit::{Running, TestEnv, wait_for};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const AGENT: &str = include_str!("supervise/agent.py");
/// What the agent may do before it asks.
pub(crate) const LITTLE: [&str; 2] = ["--allow", "up.test:GET/size/**"];

/// Whether the agent's SDK is there.
pub(crate) fn has_sdk() -> bool {
    let there = tools::cache().is_some_and(|cache| cache.join("mcp/mcp").is_dir());
    if !there {
        println!("SKIPPED(no MCP SDK): see scripts/install-test-needs");
    }
    there
}

/// The agent, with the test's own part.
pub(crate) fn script(main: &str) -> String {
    format!("{AGENT}{main}\nasyncio.run(main())\n")
}

#[track_caller]
pub(crate) fn agent(stage: &Stage, flags: &[&str], main: &str) -> Running {
    let mount = format!("{}:/tools", tools::cache().expect("asked before").display());
    let flags = [&["--mount", &mount, "--workspace", "none"], flags].concat();
    stage.spawn(&flags, &["python3", "-c", &script(main)])
}

pub(crate) fn listed(env: &TestEnv) -> Vec<Value> {
    serde_json::from_str(env.run(&["requests", "--json"]).success()).expect("a list")
}

/// The first request that waits, when it does.
#[track_caller]
fn waiting(env: &TestEnv) -> Value {
    wait_for("a request", SOON, || listed(env).first().cloned())
}

/// The same, of this kind.
#[track_caller]
fn waiting_for(env: &TestEnv, kind: &str) -> Value {
    wait_for(kind, SOON, || listed(env).into_iter().find(|request| request["kind"] == kind))
}

#[track_caller]
fn id(request: &Value) -> String {
    request["id"].as_str().expect("an id").to_owned()
}

/// Says yes to the request that waits, and gives its id.
#[track_caller]
fn approve(env: &TestEnv, how: &[&str]) -> String {
    let id = id(&waiting(env));
    env.run(&[&["approve", "--yes", &id], how].concat()).success();
    id
}

/// The audit log of the last bottle, verified, as lines for people.
#[track_caller]
pub(crate) fn audited(env: &TestEnv) -> String {
    let listed: Value = serde_json::from_str(env.run(&["audit", "list", "--json"]).success()).expect("a list of logs");
    let last = listed.as_array().and_then(|logs| logs.last()).expect("a log");
    let bottle = last["bottle"].as_str().expect("a bottle's name");
    env.run(&["audit", "verify", bottle]).success();
    env.run(&["audit", "show", bottle]).success().to_owned()
}
