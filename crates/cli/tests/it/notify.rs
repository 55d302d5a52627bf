//! Who is told that a request waits: the terminal, the desktop, webhooks.

use crate::{git::GitStage, stage::Stage, tools};
use bottle_testkit::{Running, Seen, TestEnv, TlsUpstream, wait_for, wait_until};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(60);
const NAME: &str = "note-kqzmb";
const TOKEN: &str = "tk-of-the-topic-6d1c";

/// What an agent without any SDK sends.
fn call(tool: &str, arguments: &Value) -> String {
    let message =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    format!(
        "curl -sS -o /dev/null -H 'accept: application/json, text/event-stream' -H 'content-type: application/json' \
         -d '{message}' http://127.0.0.1:9100/mcp; "
    )
}

fn host(name: &str) -> String {
    call("request_egress", &json!({"host": name, "reason": "I want it"}))
}

/// A bottle that asks and then waits to be stopped.
fn asking(stage: &Stage, asks: &str) -> Running {
    let script = format!("{asks} sleep 300");
    stage.spawn(&["--workspace", "none", "--name", NAME], &["sh", "-c", &script])
}

fn log(env: &TestEnv) -> String {
    let file = env.state().join(format!("bottles/{NAME}/egress/notifier.log"));
    std::fs::read_to_string(file).unwrap_or_default()
}

fn posts(upstream: &TlsUpstream, path: &str) -> Vec<Seen> {
    upstream.seen().into_iter().filter(|seen| seen.path() == path).collect()
}

#[test]
fn webhooks_are_told_each_in_its_own_way_and_what_comes_at_once_is_told_together() {
    let mut stage = Stage::new();
    let hooks = TlsUpstream::options(&["localhost"]).start();
    let plain = TlsUpstream::options(&["localhost"]).plain().start();
    let ca = stage.env.write("config/hooks.pem", hooks.authority().pem());
    let (tls, here) = (hooks.address().port(), plain.address());
    stage.env.set("SLACK_HOOK", &format!("http://{here}/echo/slack"));
    stage.env.set("TOPIC_TOKEN", TOKEN);
    let config = format!(
        "notify:\n  ca: {}\n  webhooks:\n    - {{ ntfy: \"https://localhost:{tls}/echo/topic\", token: env:TOPIC_TOKEN }}\n    \
         - slack: env:SLACK_HOOK\n    - json: \"https://localhost:{tls}/echo/json\"\n",
        ca.display()
    );
    stage.env.write("config/bot-bottle/config.yaml", config);
    let more: String = (0..7).map(|n| host(&format!("h{n}.test"))).collect();
    let running = asking(&stage, &format!("{}{more}", host("first.test")));
    wait_until("the first notification", SOON, || !posts(&hooks, "/echo/topic").is_empty());
    let topic = posts(&hooks, "/echo/topic").remove(0);
    assert_eq!(topic.header("title"), Some("bot-bottle: note-kqzmb asks"));
    assert_eq!(topic.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    let said = String::from_utf8(topic.body).expect("text");
    assert!(
        said.contains("send to first.test:443  every method on every path") && !said.contains("I want it"),
        "{said}"
    );
    wait_until("the others", SOON, || {
        !posts(&plain, "/echo/slack").is_empty() && !posts(&hooks, "/echo/json").is_empty()
    });
    let slack: Value = serde_json::from_slice(&posts(&plain, "/echo/slack")[0].body).expect("JSON");
    assert!(slack["text"].as_str().expect("a text").starts_with("bot-bottle: note-kqzmb asks\n"), "{slack}");
    let told: Value = serde_json::from_slice(&posts(&hooks, "/echo/json")[0].body).expect("JSON");
    assert_eq!((&told["event"], &told["requests"][0]["kind"]), (&json!("requests_wait"), &json!("egress")), "{told}");
    // Eight requests, of which one notification tells five at most, and there is no third for ten seconds.
    let all = wait_for("the others together", SOON, || {
        let told = posts(&hooks, "/echo/json")
            .iter()
            .map(|seen| serde_json::from_slice::<Value>(&seen.body).expect("JSON"))
            .map(|told| {
                told["requests"].as_array().map_or(0, Vec::len)
                    + usize::try_from(told["more"].as_u64().expect("a number")).expect("small")
            })
            .collect::<Vec<usize>>();
        (told.iter().sum::<usize>() == 8).then_some(told)
    });
    assert!(all.len() <= 3, "{all:?}");
    stage.env.run(&["stop", NAME]).success();
    drop(running);
    assert_eq!(log(&stage.env), "");
}

#[test]
fn a_webhook_that_fails_holds_nothing_up_and_its_address_is_in_no_log() {
    let mut stage = Stage::new();
    let hooks = TlsUpstream::options(&["localhost"]).plain().start();
    let here = hooks.address();
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    stage.env.set("HOOK", &format!("http://{closed}/sesame"));
    let config = format!(
        "notify:\n  webhooks:\n    - json: env:HOOK\n    - json: http://{here}/redirect?to=http://{here}/echo/sesame\n    \
         - json: http://{here}/status/500\n    - json: https://{here}/echo/sesame\n    - json: http://{here}/hang\n    \
         - json: env:NOWHERE\n    - ntfy: http://{here}/echo/well\n"
    );
    stage.env.write("config/bot-bottle/config.yaml", config);
    let running = asking(&stage, &host("first.test"));
    wait_until("the one that works", SOON, || !posts(&hooks, "/echo/well").is_empty());
    let listed: Value = serde_json::from_str(stage.env.run(&["requests", "--json"]).success()).expect("a list");
    let id = listed[0]["id"].as_str().expect("an id");
    // While one still hangs.
    stage.env.run(&["approve", "--yes", id]).success();
    wait_until("the log", SOON, || log(&stage.env).lines().count() >= 5);
    let log = log(&stage.env);
    for part in
        ["it cannot be connected to", "it answered 302", "it answered 500", "TLS with it failed", "it took too long"]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains("sesame"), "{log}");
    assert!(posts(&hooks, "/echo/sesame").is_empty(), "a redirect was followed");
    stage.env.run(&["stop", NAME]).success();
    let ran = running.finish(SOON);
    assert!(ran.stderr.contains("a webhook is left out") && ran.stderr.contains("NOWHERE"), "{ran}");
}

#[test]
fn a_push_that_waits_is_told_without_what_is_pushed() {
    let stage = GitStage::new();
    let hooks = TlsUpstream::options(&["localhost"]).plain().start();
    let config = format!("notify:\n  webhooks:\n    - json: http://{}/echo/json\n", hooks.address());
    stage.env.write("config/bot-bottle/config.yaml", config);
    let push = GitStage::with_commit("git push origin HEAD:refs/heads/agent/x");
    let pushing = stage.env.spawn(&stage.arguments(&["--push", "app=refs/heads/agent/*"], &push));
    wait_until("the notification", SOON, || !posts(&hooks, "/echo/json").is_empty());
    let told: Value = serde_json::from_slice(&posts(&hooks, "/echo/json")[0].body).expect("JSON");
    let request = &told["requests"][0];
    assert_eq!((&request["kind"], &told["more"]), (&json!("push"), &json!(0)), "{told}");
    let summary = request["summary"].as_str().expect("a summary");
    assert!(summary.starts_with("push to app: refs/heads/agent/x") && !summary.contains("a new file"), "{told}");
    stage.env.run(&["deny", request["id"].as_str().expect("an id")]).success();
    pushing.finish(SOON).failure(1);
}

#[test]
fn a_configuration_with_mistakes_starts_nothing() {
    let stage = Stage::new();
    stage.env.write("config/bot-bottle/config.yaml", "notify:\n  webhook: []\n");
    let ran = stage.run(&["--workspace", "none"], &["true"]);
    assert!(ran.failure(3).contains("config.yaml:2:3: unknown key `webhook` in `notify`"), "{ran}");
    assert!(ran.stderr.contains("did you mean `webhooks`?"), "{ran}");
    let schema: Value = serde_json::from_str(stage.env.run(&["schema", "config"]).success()).expect("a schema");
    assert!(schema["properties"]["notify"].is_object());
}

/// A session's bus; dropping it ends it.
struct Bus {
    child: Child,
    address: String,
}

impl Bus {
    fn start(env: &TestEnv) -> Option<Bus> {
        let socket = env.root().join("run/session-bus");
        let mut command = Command::new("dbus-daemon");
        command.args(["--session", "--nofork", "--nosyslog", "--print-address=1"]);
        command.arg(format!("--address=unix:path={}", socket.display()));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take()?).read_line(&mut address).ok()?;
        Some(Bus { child, address: address.trim().to_owned() })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A notification service of its own, by another implementation of D-Bus (jeepney); a line for each call.
const SERVICE: &str = r#"
import json, sys
from jeepney import DBusAddress, MessageType, new_method_call, new_method_return
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection("SESSION")
daemon = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
bus.send_and_get_reply(new_method_call(daemon, "RequestName", "su", ("org.freedesktop.Notifications", 0)))
print("ready", flush=True)
while True:
    message = bus.receive()
    if message.header.message_type == MessageType.method_call:
        app, _, _, title, body, actions, hints, expire = message.body
        print(json.dumps([app, title, body, actions, expire]), flush=True)
        bus.send(new_method_return(message, "u", (1,)))
"#;

#[test]
fn the_desktop_is_told_where_there_is_a_session() {
    let Some(python) = tools::cache().map(|cache| cache.join("python")).filter(|path| path.join("jeepney").is_dir())
    else {
        println!("SKIPPED(no jeepney): see scripts/install-test-needs");
        return;
    };
    let mut stage = Stage::new();
    let Some(bus) = Bus::start(&stage.env) else {
        println!("SKIPPED(no dbus-daemon): see scripts/install-test-needs");
        return;
    };
    stage.env.set("DBUS_SESSION_BUS_ADDRESS", &bus.address);
    let mut service = Command::new("/usr/bin/python3");
    service.args(["-c", SERVICE]).env("PYTHONPATH", python).env("DBUS_SESSION_BUS_ADDRESS", &bus.address);
    let mut service = service.stdout(Stdio::piped()).spawn().expect("python");
    let mut said = BufReader::new(service.stdout.take().expect("piped")).lines();
    assert_eq!(said.next().expect("a line").expect("text"), "ready");
    let asks = call("request_egress", &json!({"host": "a.test", "paths": ["/<b>x</b>\u{202e}"], "reason": "x"}));
    let running = asking(&stage, &asks);
    // Ends with the service, should nothing come.
    let told: Value = serde_json::from_str(&said.next().expect("a line").expect("text")).expect("JSON");
    assert_eq!((&told[0], &told[1]), (&json!("bot-bottle"), &json!("bot-bottle: note-kqzmb asks")), "{told}");
    let body = told[2].as_str().expect("a body");
    assert!(body.contains("send to a.test:443  every method on /&lt;b&gt;x&lt;/b&gt;\\u{202e}"), "{body}");
    let _ = (service.kill(), service.wait());
    stage.env.run(&["stop", NAME]).success();
    drop(running);
    assert_eq!(log(&stage.env), "");
}

#[test]
fn a_terminal_rings_and_the_agents_output_is_left_as_it_is() {
    let stage = Stage::new();
    let script = format!("stty -echo; echo one; {} sleep 1; echo two", host("a.test"));
    let run = |config: &str| {
        stage.env.write("config/bot-bottle/config.yaml", config);
        let arguments = stage.arguments(&["--workspace", "none"], &["sh", "-c", &script]);
        // A terminal of its own.
        let mut command = stage.env.program_of_host("/usr/bin/python3");
        command.args(["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"]).arg(stage.env.program());
        Running::start({
            command.args(arguments);
            command
        })
        .finish(SOON)
    };
    let ran = run("");
    assert!(ran.success().contains('\u{7}') && ran.stdout.contains("two"), "{ran}");
    assert_eq!(ran.stdout.matches('\u{7}').count(), 1, "{ran}");
    let ran = run("notify: { bell: false }\n");
    assert!(!ran.success().contains('\u{7}') && ran.stdout.contains("two"), "{ran}");
}
