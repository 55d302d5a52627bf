//! Yes, less, once, for a while, no more, no.

use super::{HOST, LITTLE, SOON, agent, approve, audited, has_sdk, id, manifest, waiting, waiting_for};
use crate::stage::Stage;
use bottle_testkit::{wait_for, wait_until};
use std::fs;

#[test]
fn what_was_denied_is_asked_for_and_then_the_same_request_succeeds() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    status, refusal = fetch("/echo/a")
    say("before", status)
    told, text = await ask(refusal)
    say("told", told["status"], told["granted"]["gives"]["host"], told["why"])
    say("after", fetch("/echo/a")[0], fetch("/echo/b")[0], fetch("/echo/a", "-X", "POST")[0])
    policy, words = await call("policy", {})
    say("policy", len(policy["routes"]), "(granted)" in words)
"#;
    let running = agent(&stage, &LITTLE, main);
    let request = waiting(&stage.env);
    assert_eq!((&request["kind"], &request["host"]), (&"egress".into(), &HOST.into()), "{request}");
    assert_eq!(request["methods"], serde_json::json!(["GET"]));
    assert_eq!(request["paths"], serde_json::json!(["/echo/a"]));
    assert!(request["risks"].to_string().contains("private address"), "{request}");
    let id = id(&request);
    let shown = stage.env.run(&["requests", &id]);
    assert!(shown.success().contains("up.test:443  GET on /echo/a"), "{shown}");
    assert!(shown.success().contains("reason     to do my work"), "{shown}");
    // Nobody is there to see it.
    assert!(stage.env.run(&["approve", &id]).failure(2).contains("no terminal"));
    stage.env.run(&["approve", "--yes", &id, "--reason", "be quick"]).success();
    assert_eq!(stage.env.run(&["deny", &id]).code, Some(2), "the first answer counts");
    let ran = running.finish(SOON);
    let expected = "before 403\ntold approved up.test be quick\nafter 200 403 403\npolicy 2 True\n";
    assert_eq!(ran.success(), expected, "{ran}");
    let log = audited(&stage.env);
    assert!(log.contains(&format!("request {id} (egress) approved: up.test:443  GET on /echo/a")), "{log}");
}

#[test]
fn a_host_that_no_route_names_is_asked_for_with_the_tunnel_alone() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    say("before", fetch("/echo/a")[0])
    request, _ = await call("request_egress", {"host": "up.test", "reason": "x", "minutes": 5})
    same, _ = await call("request_egress", {"host": "UP.test.", "reason": "in other words", "minutes": 5})
    say("same", same["id"] == request["id"])
    seen = []
    async def progress(done, total, message):
        if not seen:
            seen.append(message)
            await call("ask_operator", {"question": "Do you see me wait?"})
    async with Client(URL) as client:
        answer = await client.call_tool(
            "wait_for_decision", {"id": request["id"], "seconds": 60}, progress_callback=progress)
    say("told", answer.structured_content["status"], bool(seen))
    say("after", fetch("/echo/a")[0])
    again, _ = await call("request_status", {"id": request["id"]})
    everything, _ = await call("request_status", {})
    say("status", again["status"], len(everything["requests"]))
"#;
    let running = agent(&stage, &[], main);
    let request = waiting(&stage.env);
    assert!(request["risks"].to_string().contains("could not reach before"), "{request}");
    waiting_for(&stage.env, "question");
    stage.env.run(&["approve", "--yes", &id(&request)]).success();
    let ran = running.finish(SOON);
    assert_eq!(ran.success(), "before 403\nsame True\ntold approved True\nafter 200\nstatus approved 2\n", "{ran}");
}

#[test]
fn a_no_comes_with_a_word_and_gives_nothing() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    told, text = await ask(fetch("/echo/a")[1])
    say(told["status"], told["why"], told["granted"])
    say("after", fetch("/echo/a")[0])
    answer, _ = await call("ask_operator", {"question": "Which colour?", "choices": ["red", "blue"]})
    told, text = await decision(answer["id"])
    say(told["status"], told["answer"])
"#;
    let running = agent(&stage, &LITTLE, main);
    let first = id(&waiting(&stage.env));
    stage.env.run(&["deny", &first, "--reason", "use the mirror"]).success();
    let id = id(&waiting_for(&stage.env, "question"));
    assert!(stage.env.run(&["approve", "--yes", &id]).failure(2).contains("takes an answer"));
    assert!(stage.env.run(&["approve", "--yes", &id, "--answer", "green"]).failure(2).contains("red; blue"));
    stage.env.run(&["approve", "--yes", &id, "--answer", "blue"]).success();
    let ran = running.finish(SOON);
    assert_eq!(ran.success(), "denied use the mirror None\nafter 403\napproved blue\n", "{ran}");
    let log = audited(&stage.env);
    assert!(log.contains(&format!("request {first} (egress) denied")), "{log}");
}

#[test]
fn no_answer_in_time_is_a_no() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    manifest::manifest(&stage, "supervise: { wait: 2s }\n");
    let main = r#"
async def main():
    told, text = await ask(fetch("/echo/a")[1])
    say(told["status"], "did not answer in time" in text)
    say("after", fetch("/echo/a")[0])
"#;
    let running = manifest::start(&stage, main);
    let request = waiting(&stage.env);
    let ran = running.finish(SOON);
    assert_eq!(ran.success(), "denied True\nafter 403\n", "{ran}");
    let late = stage.env.run(&["approve", "--yes", &id(&request)]);
    assert!(late.code != Some(0), "its time is over: {late}");
    let log = audited(&stage.env);
    assert!(log.contains(&format!("request {} (egress) not answered in time", id(&request))), "{log}");
}

#[test]
fn less_than_was_asked_for_is_given_and_no_more() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    request, _ = await call("request_egress", {"host": "up.test", "methods": ["GET", "POST"], "reason": "x"})
    told, text = await decision(request["id"])
    say(told["status"], told["granted"]["gives"]["methods"], told["granted"]["gives"]["paths"])
    say(fetch("/echo/a")[0], fetch("/echo/a", "-X", "POST")[0], fetch("/slow/1")[0])
"#;
    let running = agent(&stage, &LITTLE, main);
    let id = id(&waiting(&stage.env));
    let wider = stage.env.run(&["approve", "--yes", &id, "--method", "DELETE"]);
    assert!(wider.failure(2).contains("not among what was asked for"), "{wider}");
    approve(&stage.env, &["--method", "get", "--path", "/echo/**"]);
    let ran = running.finish(SOON);
    assert_eq!(ran.success(), "approved ['GET'] ['/echo/**']\n200 403 403\n", "{ran}");
}

#[test]
fn once_is_once_and_a_while_has_an_end() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    await ask(fetch("/echo/a")[1])
    say("once", fetch("/echo/a")[0], fetch("/echo/a")[0])
    await ask(fetch("/echo/b")[1])
    say("while", fetch("/echo/b")[0])
    while fetch("/echo/b")[0] == 200:
        await asyncio.sleep(0.05)
    say("over")
"#;
    let running = agent(&stage, &LITTLE, main);
    let once = approve(&stage.env, &["--once"]);
    let short = wait_for("the next request", SOON, || Some(id(&waiting(&stage.env))).filter(|id| *id != once));
    stage.env.run(&["approve", "--yes", &short, "--for", "3s"]).success();
    let ran = running.finish(SOON);
    assert_eq!(ran.success(), "once 200 403\nwhile 200\nover\n", "{ran}");
    let log = audited(&stage.env);
    for line in [format!("grant {once} ended: used"), format!("grant {short} ended: its time is over")] {
        assert!(log.contains(&line), "{line}: {log}");
    }
}

#[test]
fn a_revoked_grant_ends_the_response_that_is_under_way() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    own = subprocess.Popen(["curl", "-sS", "-o", "/tmp/own", "https://up.test/size/1/drip"])
    await ask(fetch("/drip/100000")[1])
    ran = subprocess.run(["curl", "-sS", "-o", "/tmp/out", "https://up.test/drip/100000"], capture_output=True, text=True)
    say("ended", ran.returncode != 0, 0 < os.path.getsize("/tmp/out") < 100000)
    say("after", fetch("/drip/100000")[0], fetch("/size/3")[1], own.wait())
"#;
    let running = agent(&stage, &LITTLE, main);
    let id = approve(&stage.env, &[]);
    wait_until("the response to begin", SOON, || {
        stage.upstream.seen().iter().any(|seen| seen.path() == "/drip/100000")
    });
    let grants = stage.env.run(&["grants"]);
    assert!(grants.success().contains(&format!("{id}  ")) && grants.stdout.contains("up.test:443"), "{grants}");
    stage.env.run(&["revoke", &id]).success();
    assert_eq!(stage.env.run(&["grants", "--json"]).success().trim(), "[]");
    assert!(stage.env.run(&["revoke", &id]).failure(2).contains("no grant"));
    let ran = running.finish(SOON);
    assert_eq!(ran.success(), "ended True True\nafter 403 abc 0\n", "{ran}");
    let log = audited(&stage.env);
    assert!(log.contains(&format!("grant {id} ended: revoked")), "{log}");
}

#[test]
fn a_resumed_bottle_has_none_of_what_was_granted() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    if os.path.exists("second"):
        say("resumed", fetch("/echo/a")[0], len((await call("request_status", {}))[0]["requests"]))
        return
    open("second", "w").close()
    await ask(fetch("/echo/a")[1])
    say("first", fetch("/echo/a")[0])
"#;
    let name = "ask-kqzmb";
    let running = agent(&stage, &[&LITTLE[..], &["--name", name, "--keep"]].concat(), main);
    let id = approve(&stage.env, &["--bottle"]);
    let ran = running.finish(SOON);
    assert_eq!(ran.success(), "first 200\n", "{ran}");
    let resumed = stage.env.run(&["resume", name]);
    assert_eq!(resumed.success(), "resumed 403 0\n", "{resumed}");
    // What was decided is still to be read.
    let decided = stage.env.root().join(format!("state/bot-bottle/bottles/{name}/supervise/{id}.decision.json"));
    assert!(fs::read_to_string(decided).expect("the decision").contains("\"allow\": true"));
}

#[test]
fn a_secret_for_another_host_is_asked_for_by_its_placeholder_and_never_seen() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    secret = os.environ["UP_TOKEN"]
    said = await call("request_secret_route", {"host": "up.test", "secret": "none-such", "reason": "x"})
    say(said[0], "`policy`" in said[1])
    request, _ = await call("request_secret_route", {"host": "up.test", "secret": secret, "methods": ["GET"], "reason": "x"})
    say((await decision(request["id"]))[0]["status"])
    status, body = fetch("/echo/a", "-H", f"authorization: Bearer {secret}")
    say(status, secret in body, fetch("/echo/a", "-X", "POST")[0])
"#;
    let flags = ["--allow", "elsewhere.test", "--auth", "elsewhere.test=bearer:env:UP_TOKEN"];
    let running = agent(&stage, &flags, main);
    let request = waiting_for(&stage.env, "secret_route");
    let risks = request["risks"].to_string();
    assert!(risks.contains("a credential goes to a host"), "{request}");
    stage.env.run(&["approve", "--yes", &id(&request)]).success();
    let ran = running.finish(SOON);
    // What the upstream echoes comes back as the placeholder.
    assert_eq!(ran.success(), "None True\napproved\n200 True 403\n", "{ran}");
    let seen = stage.upstream.seen();
    let seen = seen.iter().find(|seen| seen.path() == "/echo/a").expect("a request");
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {}", crate::stage::TOKEN).as_str()));
    assert!(!format!("{ran}{}", audited(&stage.env)).contains(crate::stage::TOKEN));
}
