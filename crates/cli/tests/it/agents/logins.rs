//! Real agents under a subscription's login that the host owns: they work with placeholders, and what they would renew
//! themselves the gate answers.

use super::{AgentStage, CLAUDE, KEY, Kind};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bottle_testkit::model_api::{Dialect, Step};
use serde_json::json;

const ACCOUNT: &str = "acct-of-the-user-51";
/// Never used: the token holds long enough.
const REFRESH: &str = "refresh-that-stays-outside-90ab";

/// Logs in with what the client keeps in `file`, and has the agent do one thing.
fn works(kind: Kind, file: &str, text: &str) -> Option<AgentStage> {
    let stage = AgentStage::new(
        kind,
        vec![Step::Shell("expr 40 + 2 | sed s/^/bottle-/; grep refresh ~/.codex/auth.json; true".to_owned())],
    )?;
    stage.env.write(&format!("home/{file}"), text);
    stage.env.run(&["login", kind.name]).success();
    let ran = stage.start(&["--prompt", "Do as you are told", "--name", "keeper-aaaaa"]);
    let said = stage.said();
    assert!(ran.success().contains("bottle-42"), "{ran}");
    let contacted = stage.api.contacted();
    assert!(!contacted.is_empty() && contacted.iter().all(|asked| asked.starts_with(kind.asks)), "{contacted:?}");
    for text in [&ran.stdout, &ran.stderr, &said] {
        assert!(!text.contains(KEY) && !text.contains(REFRESH), "the tokens stay outside");
    }
    Some(stage)
}

#[test]
fn claude_code_under_a_subscription() {
    let kind = Kind { key: "NO_KEY", ..CLAUDE };
    let text = json!({ "claudeAiOauth": {
        "accessToken": KEY, "refreshToken": REFRESH, "expiresAt": 4_102_444_800_000_u64,
        "scopes": ["user:inference", "user:profile"], "subscriptionType": "max",
    } });
    let Some(stage) = works(kind, ".claude/.credentials.json", &text.to_string()) else { return };

    // A client that renews by itself hears that nothing has changed, and the server hears nothing.
    stage.env.write(
        "config/bot-bottle/agents/renewer.md",
        "---\nbottle: dev\nprovider: claude\ncommand: [sh, -c, \"curl -s -w '%{http_code}' -d \
         '{\\\"grant_type\\\":\\\"refresh_token\\\",\\\"refresh_token\\\":\\\"x\\\"}' https://platform.claude.com/v1/oauth/token; \
         curl -s -o /dev/null -w ' %{http_code}' https://platform.claude.com/v1/oauth/authorize\"]\n---\n",
    );
    let ran = stage.env.run(&["start", "renewer", "--yes"]);
    let told = ran.success();
    assert!(told.contains("\"access_token\":\"bot-bottle-placeholder-login-claude\""), "{told}");
    assert!(told.contains("}200 403"), "{told}");
}

#[test]
fn codex_under_chatgpt() {
    let asks = "chatgpt.com/backend-api/";
    let kind = Kind { name: "codex", dialect: Dialect::ChatGpt, key: "NO_KEY", mcp: true, transcript: true, asks };
    let claims = json!({ "exp": 4_102_444_800_u64, "email": "u@example.test", "https://api.openai.com/auth": {
        "chatgpt_plan_type": "pro", "chatgpt_account_id": ACCOUNT, "chatgpt_user_id": "u" } });
    let jwt = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let text = json!({ "auth_mode": "chatgpt", "tokens": {
        "id_token": jwt, "access_token": KEY, "refresh_token": REFRESH, "account_id": ACCOUNT,
    }, "last_refresh": "2026-11-01T00:00:00Z" });
    let Some(stage) = works(kind, ".codex/auth.json", &text.to_string()) else { return };
    assert!(stage.said().contains("bot-bottle-placeholder-login-codex"), "the agent sees a placeholder");
    let account = stage.api.upstream().seen().iter().all(|seen| seen.header("chatgpt-account-id") == Some(ACCOUNT));
    assert!(account, "the account is the user's");
}
