//! The contenders of the proxy's figures: no proxy, a bottle's gate, and mitmproxy.

use super::load::{Load, Measured};
use anyhow::{Context, Result, ensure};
use bottle_testkit::{
    Running, TestEnv, TlsUpstream,
    env::leftovers,
    upstream::{Asked, routes::full},
    wait_for,
};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(60);
/// The name by which a bottle knows the upstream.
pub(super) const HOST: &str = "bench.test";
pub(super) const BIG: usize = 100 * 1000 * 1000;

/// Serves `/1k` and `/100m` from memory.
pub(super) fn upstream() -> TlsUpstream {
    let small = bottle_testkit::upstream::Bytes::from(vec![b'a'; 1024]);
    let big = bottle_testkit::upstream::Bytes::from(vec![b'a'; BIG]);
    let handler = move |asked: Asked| {
        let body = if asked.seen.path() == "/100m" { big.clone() } else { small.clone() };
        let answer: bottle_testkit::upstream::Answer =
            Box::pin(async move { bottle_testkit::upstream::Response::new(full(body)) });
        answer
    };
    TlsUpstream::options(&[HOST, "localhost"]).alpn(&["http/1.1"]).handler(Arc::new(handler)).start()
}

pub(super) trait Contender {
    fn name(&self) -> &'static str;
    /// Of which process the CPU time counts; `None` = of none.
    fn pid(&self) -> Option<u32>;
    /// Runs the load: `path`, `concurrency`, `requests` and `fresh` are given, the way there is the contender's.
    fn drive(&self, load: &Load) -> Result<Measured>;
}

pub(super) struct Direct {
    pub(super) address: SocketAddr,
    pub(super) ca: PathBuf,
}

impl Contender for Direct {
    fn name(&self) -> &'static str {
        "direct TLS"
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    fn drive(&self, load: &Load) -> Result<Measured> {
        apart(
            &Load {
                proxy: None,
                address: self.address,
                host: "localhost".to_owned(),
                ca: self.ca.clone(),
                ..load.clone()
            },
            self.ca.parent(),
        )
    }
}

/// On the host, in a process of its own, as in a bottle.
pub(super) fn apart(load: &Load, directory: Option<&Path>) -> Result<Measured> {
    let file = directory.context("a directory for the load")?.join("host-load.json");
    fs::write(&file, serde_json::to_vec(load)?)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("load").arg(file);
    let ran = Running::start(command).finish(SOON * 3);
    ensure!(ran.code == Some(0), "the load failed: {ran}");
    Ok(serde_json::from_str(&ran.stdout)?)
}

pub(super) struct Bottle {
    slug: String,
    gate: u32,
    field: PathBuf,
    _running: Running,
    /// Dropped last: by then the bottle is ended.
    env: TestEnv,
}

impl Bottle {
    pub(super) fn start(program: &Path, upstream: &TlsUpstream) -> Result<Bottle> {
        let mut env = TestEnv::new(program);
        env.set("BENCH_TOKEN", "token-of-the-benchmark");
        let ca = env.write("config/ca.pem", upstream.authority().pem());
        let field = env.root().join("field");
        fs::create_dir(&field)?;
        fs::copy(std::env::current_exe()?, field.join("xtask"))?;
        let (mount, resolve) = (format!("{}:/field", field.display()), format!("{HOST}={}", upstream.address()));
        let running = env.spawn(&[
            "run",
            "--mount",
            &mount,
            "--allow",
            HOST,
            "--auth",
            "bench.test=bearer:env:BENCH_TOKEN",
            "--resolve",
            &resolve,
            "--upstream-ca",
            &ca.display().to_string(),
            "--",
            "sleep",
            "900",
        ]);
        let root = env.root().to_string_lossy().into_owned();
        let slug = wait_for("the bottle's program", SOON, || {
            let ours = leftovers::processes(&root);
            ours.iter().any(|(_, line)| line.starts_with("sleep")).then(|| env.bottles().first().cloned()).flatten()
        });
        let ours = leftovers::processes(&root);
        let gate = ours.iter().find(|(_, line)| line.ends_with("gate")).context("no gate is running")?.0;
        Ok(Bottle { slug, gate, field, _running: running, env })
    }
}

impl Contender for Bottle {
    fn name(&self) -> &'static str {
        "bot-bottle"
    }

    fn pid(&self) -> Option<u32> {
        Some(self.gate)
    }

    fn drive(&self, load: &Load) -> Result<Measured> {
        let proxy = Some(([127, 0, 0, 1], 8888).into());
        let load =
            Load { proxy, host: HOST.to_owned(), port: 443, ca: "/etc/bot-bottle/ca.pem".into(), ..load.clone() };
        fs::write(self.field.join("load.json"), serde_json::to_vec(&load)?)?;
        let ran =
            self.env.spawn(&["exec", &self.slug, "--", "/field/xtask", "load", "/field/load.json"]).finish(SOON * 3);
        ensure!(ran.code == Some(0), "the load in the bottle failed: {ran}");
        Ok(serde_json::from_str(&ran.stdout)?)
    }
}

pub(super) struct Mitmproxy {
    running: Running,
    address: SocketAddr,
    upstream: SocketAddr,
    directory: tempfile::TempDir,
}

impl Mitmproxy {
    /// `None` where it is not installed.
    pub(super) fn start(upstream: &TlsUpstream) -> Result<Option<Mitmproxy>> {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cache = std::env::var_os("BOT_BOTTLE_TEST_CACHE").map(PathBuf::from);
        let program = cache.unwrap_or_else(|| home.join(".cache/bot-bottle-tests")).join("venv/bin/mitmdump");
        if !program.exists() {
            println!("SKIPPED(no mitmproxy): scripts/install-test-needs installs it");
            return Ok(None);
        }
        let directory = tempfile::tempdir()?;
        let ca = directory.path().join("upstream.pem");
        fs::write(&ca, upstream.authority().pem())?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(["--quiet", "--listen-host", "127.0.0.1", "--listen-port", &port.to_string()]);
        command.args(["--set", &format!("confdir={}", directory.path().display())]);
        command.args(["--set", &format!("ssl_verify_upstream_trusted_ca={}", ca.display())]);
        command.args(["--set", "modify_headers=/~q/authorization/Bearer token-of-the-benchmark"]);
        let running = Running::start(command);
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        wait_for("mitmproxy to listen", SOON, || TcpStream::connect(address).ok());
        Ok(Some(Mitmproxy { running, address, upstream: upstream.address(), directory }))
    }
}

impl Contender for Mitmproxy {
    fn name(&self) -> &'static str {
        "mitmproxy"
    }

    fn pid(&self) -> Option<u32> {
        Some(self.running.pid())
    }

    fn drive(&self, load: &Load) -> Result<Measured> {
        let ca = self.directory.path().join("mitmproxy-ca-cert.pem");
        let load = Load {
            proxy: Some(self.address),
            host: "localhost".to_owned(),
            port: self.upstream.port(),
            ca,
            ..load.clone()
        };
        apart(&load, Some(self.directory.path()))
    }
}

/// CPU time of all threads of a process so far.
pub(super) fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}
