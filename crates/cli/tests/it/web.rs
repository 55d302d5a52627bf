//! The page of `dashboard --web`, by its bytes and by a browser.

mod attack;
mod browser;

use crate::stage::Stage;
use bottle_testkit::{Running, TestEnv, wait_for};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(60);

/// A served page; dropping it ends it.
struct Served {
    child: Child,
    url: String,
    port: u16,
}

impl Served {
    fn start(env: &TestEnv) -> Served {
        let mut command = env.command(&["dashboard", "--web"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("a line");
        let url = url.trim().to_owned();
        let authority = url.strip_prefix("http://127.0.0.1:").expect("a URL of this host");
        let port = authority.split('/').next().and_then(|port| port.parse().ok()).expect("a port");
        Served { child, url, port }
    }

    fn token_target(&self) -> &str {
        self.url.find("/?token=").and_then(|at| self.url.get(at..)).expect("a token")
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends a request with these headers and nothing else, and reads the answer to its end.
    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head =
            format!("{method} {target} HTTP/1.1\r\n{lines}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the page's server");
        stream.set_read_timeout(Some(SOON)).expect("a socket");
        // It may answer before it has read everything.
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Answer::parse(&String::from_utf8_lossy(&bytes))
    }

    /// Goes in by the token.
    fn enter(&self) -> Entered<'_> {
        let answer = self.send("GET", self.token_target(), &[("host", &self.host())], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.header("set-cookie").expect("a cookie");
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
        let key = answer.body.split("name=\"key\" content=\"").nth(1).and_then(|rest| rest.split('"').next());
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        Entered { served: self, cookie, key: key.expect("a key").to_owned() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who has a session.
struct Entered<'a> {
    served: &'a Served,
    cookie: String,
    key: String,
}

impl Entered<'_> {
    /// As the page's script does it, with other headers (empty = left out).
    fn post(&self, target: &str, body: &str, otherwise: &[(&str, &str)]) -> Answer {
        let (host, origin) = (self.served.host(), format!("http://{}", self.served.host()));
        let mut headers = vec![
            ("host", host.as_str()),
            ("origin", origin.as_str()),
            ("cookie", self.cookie.as_str()),
            ("x-bot-bottle-key", self.key.as_str()),
            ("content-type", "application/json"),
        ];
        headers.retain(|(name, _)| !otherwise.iter().any(|(other, _)| other == name));
        headers.extend(otherwise.iter().filter(|(_, value)| !value.is_empty()));
        self.served.send("POST", target, &headers, body)
    }

    fn answer(&self, request: &Value, reply: &Value) -> Answer {
        let body = json!({"id": request["id"], "digest": request["digest"], "reply": reply}).to_string();
        self.post("/answer", &body, &[])
    }

    /// What the page is told, read until every one of these events has come with something in it.
    fn news(&self, name: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.served.port)).expect("the page's server");
        stream.set_read_timeout(Some(SOON)).expect("a socket");
        let head = format!(
            "GET /news HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\nx-bot-bottle-key: {}\r\n\r\n",
            self.served.host(),
            self.cookie,
            self.key
        );
        stream.write_all(head.as_bytes()).expect("a request");
        let event = format!("event: {name}");
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        loop {
            lines.find(|line| *line == event).expect("an event");
            let data = lines.next().expect("its data");
            let data: Value = serde_json::from_str(data.trim_start_matches("data: ")).expect("JSON");
            if data.as_array().is_none_or(|list| !list.is_empty()) {
                return data;
            }
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    /// Status 0 where there is none.
    fn parse(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Answer { status, headers: lines.filter_map(header).collect(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A bottle whose agent asks for this with nothing but curl, and tells what became of it.
fn asking(stage: &Stage, tool: &str, arguments: &Value) -> Running {
    let script = r#"
import json, os, sys, urllib.request
def call(tool, arguments):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    request = urllib.request.Request(os.environ["BOT_BOTTLE_MCP_URL"], body.encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    text = opener.open(request).read().decode()
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: {")] or [text]
    return json.loads(lines[-1])["result"]["structuredContent"]
asked = call(sys.argv[1], json.loads(sys.argv[2]))
while asked["status"] == "pending":
    asked = call("wait_for_decision", {"id": asked["id"], "seconds": 5})
print(asked["status"], asked.get("why"), asked.get("answer"), flush=True)
"#;
    stage.spawn(
        &["--workspace", "none", "--name", "web-kqzmb"],
        &["python3", "-c", script, tool, &arguments.to_string()],
    )
}

/// What waits, as the command line has it.
#[track_caller]
fn waiting(env: &TestEnv) -> Value {
    wait_for("a request", SOON, || {
        let listed: Value = serde_json::from_str(env.run(&["requests", "--json"]).success()).expect("a list");
        listed.as_array().and_then(|listed| listed.first().cloned())
    })
}
