//! From the start of a real Claude Code, headless, to its first call of its model: on this host, and in a bottle.
//!
//! Each round has a home as new as a bottle's, with the settings that `providers/claude.yaml` seeds; the model is a fake
//! on loopback that is asked by TLS in both. What a bottle adds is its launch, the gate, and the client's own waiting
//! for the MCP server at the supervise door, which is why a bottle without that door has a row, too.

use super::table::{Table, median, milliseconds, quantile};
use anyhow::{Context, Result, bail, ensure};
use bottle_testkit::{FakeModelApi, TestEnv, model_api::Dialect};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const ROUNDS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the fake is asked whether it was called.
const STEP: Duration = Duration::from_micros(200);
const KEY: &str = "sk-ant-of-the-bench-that-is-no-key-0001";
const TASK: &str = "Say ok";
/// What a bottle may add to the median.
const ALLOWED: Duration = Duration::from_millis(150);

/// In turns.
pub(super) fn measure(program: &Path) -> Result<Table> {
    let client = client()?;
    let api = FakeModelApi::start(Dialect::Messages, KEY, Vec::new());
    let stage = Stage::new(program, &client, &api);
    let kinds = ["on this host", "in a bottle without a supervise door", "in a bottle"];
    let mut samples = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        // There and back: what one leaves running for a moment slows down whichever comes next.
        let turn = |step: usize| if round % 2 == 0 { step } else { kinds.len() - 1 - step };
        for kind in (0..kinds.len()).map(turn) {
            let samples = &mut samples[kind];
            let command = match kind {
                0 => stage.bare(round)?,
                1 => stage.bottle("alone", round),
                _ => stage.bottle("asking", round),
            };
            let took = until_called(command, &api)?;
            // The first round fills the caches.
            if round > 0 {
                samples.push(took);
            }
        }
    }
    let base = median(&samples[0]);
    let title = "From the start of Claude Code to its first call of its model";
    let mut table = Table::new(title, &["what", "p50", "longest", "against the host"]);
    for (name, samples) in kinds.iter().zip(&samples) {
        let middle = median(samples);
        let added = if middle >= base { format!("+{}", milliseconds(middle - base)) } else { "none".to_owned() };
        table.row(vec![(*name).to_owned(), milliseconds(middle), milliseconds(quantile(samples, 1.0)), added]);
    }
    let met = median(&samples[2]) <= base + ALLOWED;
    println!("at most +{} is asked for: {}", milliseconds(ALLOWED), if met { "met" } else { "NOT met" });
    Ok(table)
}

/// The folder of the client, where `scripts/install-test-needs` puts it.
fn client() -> Result<PathBuf> {
    let named = env::var_os("BOT_BOTTLE_TEST_CACHE").map(PathBuf::from);
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    let cache = named.or_else(|| Some(cache?.join("bot-bottle-tests"))).context("there is no home")?;
    let folder = cache.join("npm/node_modules/.bin");
    if !folder.join("claude").exists() {
        bail!("no Claude Code: scripts/install-test-needs installs it");
    }
    Ok(folder)
}

struct Stage {
    env: TestEnv,
    client: PathBuf,
    ca: PathBuf,
    base_url: String,
}

impl Stage {
    fn new(program: &Path, client: &Path, api: &FakeModelApi) -> Stage {
        let mut env = TestEnv::new(program);
        env.set("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", client.display()));
        env.set("ANTHROPIC_API_KEY", KEY);
        let ca = env.write("config/upstream-ca.pem", api.upstream().authority().pem());
        let address = api.upstream().address();
        for (name, supervise) in [("alone", false), ("asking", true)] {
            let egress = format!("upstream_ca: {}\n  resolve: {{ api.anthropic.com: \"{address}\" }}", ca.display());
            env.bottle(name, &format!("egress:\n  {egress}\nsupervise: {supervise}\n"));
            env.agent(name, &format!("bottle: {name}\nprovider: claude"));
        }
        let base_url = format!("https://localhost:{}", address.port());
        Stage { env, client: client.to_owned(), ca, base_url }
    }

    fn bottle(&self, agent: &str, round: usize) -> Command {
        // A name is letters: one for each round.
        let letter = char::from(b'a'.saturating_add(u8::try_from(round).unwrap_or(0)));
        let name = format!("{agent}-benc{letter}");
        self.env.command(&["start", agent, "--yes", "--workspace", "none", "--name", &name, "--prompt", TASK])
    }

    /// With the settings, variables and arguments of the provider.
    fn bare(&self, round: usize) -> Result<Command> {
        let home = self.env.root().join(format!("work/home-{round}"));
        fs::create_dir_all(home.join(".claude"))?;
        let approved: String = KEY.chars().skip(KEY.chars().count() - 20).collect();
        let settings = serde_json::json!({
            "hasCompletedOnboarding": true,
            "bypassPermissionsModeAccepted": true,
            "customApiKeyResponses": { "approved": [approved], "rejected": [] },
            "projects": { home.display().to_string(): { "hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true } },
        });
        fs::write(home.join(".claude.json"), settings.to_string())?;
        let more = r#"{ "theme": "dark", "skipDangerousModePermissionPrompt": true, "includeCoAuthoredBy": false }"#;
        fs::write(home.join(".claude/settings.json"), more)?;
        let mut command = self.env.program_of_host(self.client.join("claude"));
        command.args(["--dangerously-skip-permissions", "-p", "--", TASK]).current_dir(&home).env("HOME", &home);
        command.env("ANTHROPIC_BASE_URL", &self.base_url).env("NODE_EXTRA_CA_CERTS", &self.ca);
        for name in ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL"]
        {
            command.env(name, "1");
        }
        command.env("IS_SANDBOX", "1").env("DISABLE_AUTOUPDATER", "1").env("MCP_CONNECTION_NONBLOCKING", "0");
        command.env("ENABLE_TOOL_SEARCH", "false");
        for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"] {
            command.env_remove(name);
        }
        Ok(command)
    }
}

/// From the start of the command to the first request that the model reads; waits for the end of the command.
fn until_called(mut command: Command, api: &FakeModelApi) -> Result<Duration> {
    let before = api.said().len();
    let begun = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut called = None;
    while called.is_none() && begun.elapsed() < PATIENCE {
        if api.said().len() > before {
            called = Some(begun.elapsed());
        } else {
            std::thread::sleep(STEP);
        }
    }
    let output = child.wait_with_output()?;
    let said = || String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "the client failed: {}", said());
    called.with_context(|| format!("the model was not called: {}", said()))
}
