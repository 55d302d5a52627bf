//! A push that was refused, and the rule that the agent asks for.

use super::{SOON, approve, has_sdk, id, script, waiting, waiting_for};
use crate::{git::GitStage, tools};

#[test]
fn a_refused_ref_is_asked_for_and_then_the_same_push_is_put_before_the_operator() {
    if !has_sdk() {
        return;
    }
    let stage = GitStage::new();
    let main = r#"
import re
PUSH = ["git", "push", "origin", "HEAD:refs/heads/other/x"]

async def main():
    ran = subprocess.run(PUSH, capture_output=True, text=True)
    said = re.search(r"call (\S+) of (\S+) with (\{.*?\})", ran.stderr)
    say("before", ran.returncode != 0, bool(said) and said[1])
    request, _ = await call(said[1], {**json.loads(said[3]), "reason": "x"})
    told, text = await decision(request["id"])
    say("told", told["status"], told["granted"]["gives"])
    ran = subprocess.run(PUSH, capture_output=True, text=True)
    say("after", ran.returncode)
"#;
    let mount = format!("{}:/tools", tools::cache().expect("asked before").display());
    let shell = format!("cat > $HOME/agent.py <<'EOF'\n{}\nEOF\nexec python3 $HOME/agent.py", script(main));
    let flags = ["--push", "app=refs/heads/agent/*", "--mount", &mount];
    let running = stage.env.spawn(&stage.arguments(&flags, &GitStage::with_commit(&shell)));
    let request = waiting(&stage.env);
    assert_eq!(request["refs"], serde_json::json!(["refs/heads/other/x"]), "{request}");
    let rule = approve(&stage.env, &[]);
    let push = waiting_for(&stage.env, "push");
    assert_ne!(id(&push), rule);
    assert_eq!(stage.upstream.upstream("refs/heads/other/x"), None);
    stage.env.run(&["approve", "--yes", &id(&push)]).success();
    let ran = running.finish(SOON);
    let gives = "{'refs': ['refs/heads/other/x'], 'repository': 'app'}";
    assert!(ran.success().ends_with(&format!("before True request_git\ntold approved {gives}\nafter 0\n")), "{ran}");
    assert!(stage.upstream.upstream("refs/heads/other/x").is_some());
}
