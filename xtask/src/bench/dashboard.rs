//! What the dashboard costs while twenty bottles are at work, and how soon a decision is in force.

use super::{
    rivals::{HOST, cpu, upstream},
    table::{Table, median, milliseconds, quantile},
};
use anyhow::{Context, Result, ensure};
use bottle_testkit::{Running, TestEnv, TlsUpstream, comes_within, wait_for};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const BOTTLES: usize = 20;
/// The dashboard is watched for so long.
const WATCHED: Duration = Duration::from_secs(30);
const LAUNCH: Duration = Duration::from_secs(120);
/// A bottle's agent asks for so much in a minute; the gate takes thirty.
const ASKERS: usize = 5;
const ASKED: usize = 24;

/// One request after the other, at most four a second, and for no longer than it takes to measure.
const LOOP: &str = "end=$(($(date +%s) + 150)); n=0; while [ $(date +%s) -lt $end ]; do \
                    curl -s -o /dev/null --max-time 5 https://bench.test/1k; n=$((n + 1)); sleep 0.25; done";

/// Asks for one path after the other, and tells when the first request to it was answered with 200.
const ASKER: &str = r#"
import http.client, json, os, ssl, sys, time, urllib.parse, urllib.request
URL = os.environ["BOT_BOTTLE_MCP_URL"]
proxy = urllib.parse.urlparse(os.environ["https_proxy"])
trusted = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])

def connect():
    connection = http.client.HTTPSConnection(proxy.hostname, proxy.port, context=trusted, timeout=30)
    connection.set_tunnel("bench.test", 443)
    return connection

def ask(path):
    wanted = {"host": "bench.test", "methods": ["GET"], "paths": [path], "reason": "to measure"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "request_egress", "arguments": wanted}}
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(urllib.request.Request(URL, json.dumps(call).encode(), headers), timeout=30).read()

connection = connect()
for number in range(int(sys.argv[1])):
    path = f"/1k/{number}"
    ask(path)
    while True:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
        except (http.client.HTTPException, OSError):
            connection = connect()
            continue
        if answer.status == 200:
            print(path, time.time_ns(), flush=True)
            break
        time.sleep(0.001)
"#;

pub(super) fn measure(program: &Path) -> Result<Vec<Table>> {
    Ok(vec![cost(program)?, effect(program)?])
}

fn flags(upstream: &TlsUpstream, ca: &Path) -> Vec<String> {
    let resolve = format!("{HOST}={}", upstream.address());
    let ca = ca.display().to_string();
    ["--resolve", &resolve, "--upstream-ca", &ca, "--workspace", "none"].map(str::to_owned).to_vec()
}

fn trusted(env: &TestEnv, upstream: &TlsUpstream) -> PathBuf {
    env.write("config/upstream-ca.pem", upstream.authority().pem())
}

fn cost(program: &Path) -> Result<Table> {
    let env = TestEnv::new(program);
    let upstream = upstream();
    let flags = flags(&upstream, &trusted(&env, &upstream));
    let mut table = Table::new(
        "The dashboard with twenty bottles, on a screen of 200 by 50",
        &["bottles", "requests each second, all bottles", "CPU, of a core", "RSS"],
    );
    for (name, script) in [("idle", "sleep 300"), ("at work", LOOP)] {
        let bottles = (0..BOTTLES).map(|n| format!("{}-{}", name.replace(' ', ""), letters(n))).collect::<Vec<_>>();
        for bottle in &bottles {
            let own = ["run", "--detach", "--allow", HOST, "--stop-after", "300s", "--name", bottle].map(str::to_owned);
            let command = ["--", "sh", "-c", script].map(str::to_owned);
            let ran = env.spawn(&[&own[..], &flags, &command].concat()).finish(LAUNCH);
            ensure!(ran.code == Some(0), "{ran}");
        }
        let screen = Screen::start(&env)?;
        screen.wait(&format!("bottles {BOTTLES}"))?;
        // The first seconds are a person's who just came.
        std::thread::sleep(Duration::from_secs(22));
        let (before, answered) = (cpu(screen.pid), upstream.seen().len());
        std::thread::sleep(WATCHED);
        let spent = cpu(screen.pid).saturating_sub(before);
        let answered = upstream.seen().len() - answered;
        table.row(vec![
            format!("{BOTTLES} {name}"),
            format!("{:.0}", answered as f64 / WATCHED.as_secs_f64()),
            format!("{:.2} %", 100.0 * spent.as_secs_f64() / WATCHED.as_secs_f64()),
            format!("{:.1} MiB", resident(screen.pid)? as f64 / 1024.0),
        ]);
        drop(screen);
        let stop = [&["stop", "--grace", "0"].map(str::to_owned)[..], &bottles].concat();
        ensure!(env.spawn(&stop).finish(LAUNCH).code == Some(0), "the bottles do not stop");
    }
    Ok(table)
}

/// The letters that a bottle's name ends with.
fn letters(number: usize) -> String {
    [number / 26, number % 26]
        .iter()
        .map(|n| char::from(b'a' + u8::try_from(*n).unwrap_or(0)))
        .chain("xyz".chars())
        .collect()
}

/// A tmux server with the dashboard in it.
struct Screen<'a> {
    env: &'a TestEnv,
    pid: u32,
}

impl<'a> Screen<'a> {
    fn start(env: &'a TestEnv) -> Result<Screen<'a>> {
        let mut screen = Screen { env, pid: 0 };
        let program = env.program().display().to_string();
        screen.tmux(&["new-session", "-d", "-x", "200", "-y", "50", &format!("exec '{program}' dashboard")])?;
        screen.pid = screen.tmux(&["display-message", "-p", "#{pane_pid}"])?.trim().parse()?;
        Ok(screen)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.env.program_of_host("tmux");
        command.env("SHELL", "/bin/sh").args(["-u", "-f", "/dev/null", "-S"]);
        command.arg(self.env.root().join("run/tmux.sock")).args(arguments);
        command
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output().context("tmux cannot be started; scripts/install-test-needs")?;
        ensure!(output.status.success(), "tmux: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn wait(&self, text: &str) -> Result<()> {
        let there = || self.tmux(&["capture-pane", "-p"]).ok().filter(|seen| seen.contains(text));
        comes_within(LAUNCH, there).map(drop).with_context(|| format!("{text} does not come on the screen"))
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let _ = self.command(&["send-keys", "q"]).output();
        let gone = || (!Path::new(&format!("/proc/{}", self.pid)).exists()).then_some(());
        comes_within(Duration::from_secs(10), gone);
        let _ = self.command(&["kill-server"]).output();
    }
}

/// In KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// When an answer was given, and when the command that gave it came back. Nanoseconds since the Unix epoch.
struct Answered {
    begun: u128,
    back: u128,
}

pub(super) fn effect(program: &Path) -> Result<Table> {
    let env = TestEnv::new(program);
    let upstream = upstream();
    let flags = flags(&upstream, &trusted(&env, &upstream));
    let agents: Vec<(String, Running)> = (0..ASKERS)
        .map(|n| {
            let bottle = format!("asks-{}", letters(n));
            let own = ["run", "--allow", "bench.test:GET/nothing", "--name", &bottle].map(str::to_owned);
            let command = ["--", "python3", "-c", ASKER, &ASKED.to_string()].map(str::to_owned);
            let running = env.spawn(&[&own[..], &flags, &command].concat());
            (bottle, running)
        })
        .collect();
    let mut answered: HashMap<(String, String), Answered> = HashMap::new();
    for _ in 0..ASKERS * ASKED {
        let request = wait_for("a request", LAUNCH, || waiting(&env));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, bottle, path) = (text(&request["id"]), text(&request["bottle"]), text(&request["paths"][0]));
        let begun = now();
        let ran = env.run(&["approve", "--yes", &id]);
        ensure!(ran.code == Some(0), "{ran}");
        answered.insert((bottle, path), Answered { begun, back: now() });
    }
    let (mut in_force, mut first) = (Vec::new(), Vec::new());
    for (bottle, agent) in agents {
        let ran = agent.finish(LAUNCH);
        ensure!(ran.code == Some(0), "{ran}");
        for line in ran.stdout.lines() {
            let (path, at) = line.split_once(' ').context("a path and a time")?;
            let Answered { begun, back } = answered.remove(&(bottle.clone(), path.to_owned())).context("an answer")?;
            in_force.push(between(begun, back));
            first.push(between(begun, at.parse()?));
        }
    }
    let mut table = Table::new(
        "From an answer to its effect",
        &["from the start of `bot-bottle approve`", "p50", "p99", "longest"],
    );
    for (what, samples) in [
        ("to the command's end: the gate goes by it", &in_force),
        ("to the end of the first request that it lets through", &first),
    ] {
        let figures = [median(samples), quantile(samples, 0.99), quantile(samples, 1.0)].map(milliseconds);
        table.row([vec![format!("{what} ({} answers)", samples.len())], figures.to_vec()].concat());
    }
    Ok(table)
}

fn waiting(env: &TestEnv) -> Option<Value> {
    let listed: Vec<Value> = serde_json::from_str(&env.run(&["requests", "--json"]).stdout).ok()?;
    listed.into_iter().next()
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

fn between(begun: u128, end: u128) -> Duration {
    Duration::from_nanos(u64::try_from(end.saturating_sub(begun)).unwrap_or(u64::MAX))
}
