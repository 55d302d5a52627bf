//! A real agent: Claude Code, headless in a bottle, completes a tool call against a fake Messages API that takes the
//! injected key alone.

use crate::{stage, tools::cache};
use bottle_testkit::{FakeMessagesApi, TestEnv, messages_api};
use std::time::Duration;

const KEY: &str = "sk-ant-that-stays-outside-51c0";

#[test]
fn claude_code_completes_a_tool_call_through_the_gate() {
    let Some(tools) = cache().filter(|cache| cache.join("npm/node_modules/.bin/claude").exists()) else {
        println!("SKIPPED(no Claude Code: run scripts/install-test-needs)");
        return;
    };
    let api = FakeMessagesApi::start(KEY);
    let mut env = TestEnv::new(stage::program());
    env.set("CLAUDE_KEY", KEY);
    let ca = env.write("config/upstream-ca.pem", api.upstream().authority().pem());
    env.bottle(
        "claude",
        &format!(
            "image: host\nmounts: [\"{}:/tools\"]\n\
             env: {{ ANTHROPIC_AUTH_TOKEN: placeholder, CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: \"1\", IS_SANDBOX: \"1\" }}\n\
             egress:\n  routes:\n    - host: {host}\n      methods: [POST]\n      paths: [/v1/messages]\n      \
             auth: {{ scheme: bearer, secret: env:CLAUDE_KEY }}\n  upstream_ca: {ca}\n  resolve: {{ {host}: \"{address}\" }}\n",
            tools.display(),
            host = messages_api::HOST,
            ca = ca.display(),
            address = api.upstream().address(),
        ),
    );
    let argv = r#"["/tools/npm/node_modules/.bin/claude", "-p", "Add two numbers", "--dangerously-skip-permissions"]"#;
    env.agent("claude", &format!("bottle: claude\nprovider: command\ncommand: {argv}"));
    let ran = env.spawn(&["start", "claude", "--yes"]).finish(Duration::from_secs(120));
    assert!(ran.success().contains(&format!("The tool said: {}", messages_api::RESULT)), "{ran}");
    assert!(api.round_trips() >= 1);
    assert_eq!(api.contacted(), [format!("{}/v1/messages", messages_api::HOST)]);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(KEY));
}
