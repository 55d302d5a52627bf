//! What a hostile agent does at the supervise door.

use super::{LITTLE, SOON, agent, has_sdk, id, listed, waiting};
use crate::stage::Stage;
use bottle_testkit::{env::PATIENCE, wait_until};
use std::fs;

#[test]
fn nothing_of_a_request_reaches_the_terminal_raw() {
    if !has_sdk() {
        return;
    }
    let stage = Stage::new();
    let main = r#"
async def main():
    reason = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe \u200b\u2066 \r\nrisk       none at all"
    request, _ = await call("request_egress", {"host": "up.test", "paths": ["/a\x1b[31m"], "reason": reason})
    say((await decision(request["id"]))[0]["status"])
"#;
    let running = agent(&stage, &LITTLE, main);
    let id = id(&waiting(&stage.env));
    for shown in [stage.env.run(&["requests"]), stage.env.run(&["requests", &id])] {
        let text = shown.success();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains(['\u{202e}', '\u{200b}', '\u{2066}']), "{text:?}");
        assert!(!text.lines().any(|line| line == "risk       none at all"), "{text}");
        assert!(text.contains("/a\\u{1b}[31m"), "{text}");
    }
    stage.env.run(&["deny", &id]).success();
    running.finish(SOON).success();
}

#[test]
fn ten_thousand_requests_fill_nothing_and_hold_nobody_up() {
    let stage = Stage::new();
    let main = r#"
import http.client, json, socket
def post(connection, message):
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    connection.request("POST", "/mcp", json.dumps(message), headers)
    return connection.getresponse().read().decode()
def flood(first):
    connection = http.client.HTTPConnection("127.0.0.1", 9100)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    refused = 0
    for n in range(first, 10000, 8):
        arguments = {"host": f"h{n}.test", "reason": "x" * 500}
        answer = post(connection, {"jsonrpc": "2.0", "id": n, "method": "tools/call",
                                   "params": {"name": "request_egress", "arguments": arguments}})
        refused += "requests wait for the operator already" in answer or "were made within a minute" in answer
    return refused
import subprocess, concurrent.futures
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print("refused", sum(pool.map(flood, range(8))), flush=True)
print(subprocess.run(["curl", "-sS", "https://up.test/size/3"], capture_output=True, text=True).stdout)
"#;
    let running = stage
        .spawn(&[&LITTLE[..], &["--workspace", "none", "--name", "flood-kqzmb"]].concat(), &["python3", "-c", main]);
    wait_until("the queue to fill", SOON, || listed(&stage.env).len() == 16);
    let directory = stage.env.root().join("state/bot-bottle/bottles/flood-kqzmb/supervise");
    assert_eq!(fs::read_dir(&directory).expect("the queue").count(), 16);
    // The operator is not held up either.
    stage.env.run(&["deny", &id(&waiting(&stage.env))]).success();
    let ran = running.finish(3 * PATIENCE);
    let (first, last) = ran.success().split_once('\n').expect("two lines");
    let refused: usize = first.trim_start_matches("refused ").parse().expect("a number");
    assert!((9_950..=9_984).contains(&refused), "{ran}");
    assert_eq!(last.trim(), "abc", "{ran}");
}

#[test]
fn what_is_no_call_is_refused_and_the_door_goes_on() {
    let stage = Stage::new();
    let script = r#"
post() { curl -sS -o /dev/null -w '%{http_code}\n' -m 20 -H 'accept: application/json, text/event-stream' "$@" http://127.0.0.1:9100/mcp; }
head -c 200000 /dev/zero | tr '\0' x > big
post -H 'content-type: application/json' --data-binary @big
post -H 'content-type: application/json' -d '{'
post -H 'content-type: text/plain' -d '{}'
post -H 'content-type: application/json' -H 'origin: http://evil.test' -d '{}'
post -H 'content-type: application/json' -H 'host: evil.test' -d '{}'
post -X GET
post -X DELETE
printf 'GET / HTTP/1.1\r\nx: %200000d\r\n' 0 | timeout 5 nc -w 2 127.0.0.1 9100 >/dev/null 2>&1 || true
curl -sS -m 20 -H 'accept: application/json, text/event-stream' -H 'content-type: application/json' \
  -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"approve","arguments":{"id":"abcdef"}}}' http://127.0.0.1:9100/mcp | grep -c 'no such tool'
"#;
    let ran = stage.run(&["--workspace", "none"], &["sh", "-c", script]);
    assert_eq!(ran.success(), "413\n415\n415\n403\n403\n405\n405\n1\n", "{ran}");
}
