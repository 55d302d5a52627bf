//! `bot-bottle demo`: a scripted agent tries to get out of a real bottle, and a table tells what became of it.
//!
//! Nothing is staged: the bottle is started by `bot-bottle run`, as anyone would, and the agent's tries are real. Needs
//! no network and no account: the allowed API is a TLS server on this machine's loopback.

pub(crate) mod agent;
mod upstream;

use crate::{compose::Context, error::CliError};
use agent::Attempt;
use bottle_spec::escape::Escaped;
use std::{
    fs::{self, DirBuilder},
    io,
    net::TcpListener,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};
use upstream::Upstream;

const HOST: &str = "api.demo.test";
/// Where the agent's program stands in the bottle: this very executable.
const AGENT: &str = "/demo/bot-bottle";

/// Watch a scripted agent try to get out of a bottle
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Print what happened as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &DemoArgs, context: &Context) -> Result<ExitCode, CliError> {
    let stage = Stage::set(context).map_err(|error| CliError::host("the demo cannot be set up").because(error))?;
    let mut command = stage.command(context).map_err(|error| CliError::host("no path to myself").because(error))?;
    if !args.json {
        context.ui.say(&format!("An API waits on {}, and this runs the agent:\n", stage.address));
        context.ui.say(&format!("  {}\n", shown(&command)));
    }
    let output = command
        .env("DEMO_TOKEN", &stage.token)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| CliError::host("the bottle could not be started").because(error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let attempts: Vec<Attempt> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if attempts.is_empty() {
        // What went wrong was said by the command itself, with its exit code.
        let code = output.status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
        return code.map(ExitCode::from).ok_or_else(|| CliError::bug("the agent reported nothing"));
    }
    let leaked = text.contains(&stage.token);
    if args.json {
        context.ui.json(&serde_json::json!({ "attempts": attempts, "token_seen_inside": leaked }))?;
    } else {
        context.ui.result(&table(&attempts, leaked))?;
    }
    let held = !leaked && attempts.iter().all(|attempt| attempt.succeeded == is_allowed(attempt));
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The agent itself, inside the bottle.
pub(crate) fn agent(args: &agent::DemoAgentArgs) -> Result<ExitCode, CliError> {
    agent::run(args).map_err(|error| CliError::host("the agent could not report").because(error))?;
    Ok(ExitCode::SUCCESS)
}

/// The one thing that the agent is meant to manage.
fn is_allowed(attempt: &Attempt) -> bool {
    attempt.name == agent::ALLOWED_CALL
}

/// What the demo keeps on the host while the agent runs.
struct Stage {
    directory: PathBuf,
    token: String,
    address: std::net::SocketAddr,
    /// Something on the host's loopback that the agent must not reach.
    canary: TcpListener,
}

impl Stage {
    fn set(context: &Context) -> io::Result<Stage> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = format!("demo-secret-{hex}");
        let upstream = Upstream::bind(HOST, &token)?;
        let directory = context.dirs.runtime.join(format!("demo-{hex}"));
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let stage = Stage { directory, token, address: upstream.address, canary: TcpListener::bind("127.0.0.1:0")? };
        fs::write(stage.authority(), &upstream.authority_pem)?;
        upstream.serve()?;
        Ok(stage)
    }

    fn authority(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The command that anyone would type, with the agent's program at its end.
    fn command(&self, context: &Context) -> io::Result<Command> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(&program);
        command
            .arg("run")
            .args(["--allow", &format!("{HOST}:GET/v1/**")])
            .args(["--auth", &format!("{HOST}=bearer:env:DEMO_TOKEN")])
            .args(["--resolve", &format!("{HOST}={}", self.address)])
            .arg("--upstream-ca")
            .arg(self.authority())
            .arg("--mount")
            .arg(format!("{}:{AGENT}", program.display()))
            .args(["--limit", "pids=64", "--", AGENT, "demo-agent", "--allowed", HOST])
            .args(["--canary", &self.canary.local_addr()?.port().to_string()])
            .args(["--home", &context.home.display().to_string()]);
        Ok(command)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, "the demo's directory could not be removed");
        }
    }
}

/// The command as a shell would take it, over several lines.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = command.get_args().map(|word| {
        let word = word.to_string_lossy();
        let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=,".contains(&b));
        if plain { word.into_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    words.fold(program, |line, word| {
        let separator = if word.starts_with("--") { " \\\n      " } else { " " };
        format!("{line}{separator}{word}")
    })
}

fn table(attempts: &[Attempt], leaked: bool) -> String {
    let width = attempts.iter().map(|attempt| attempt.name.len()).max().unwrap_or_default();
    let mut text = format!("{:<8} {:<width$}  what it saw\n", "", "the agent tried to");
    for attempt in attempts {
        let outcome = match (is_allowed(attempt), attempt.succeeded) {
            (true, true) => "allowed",
            (true, false) => "FAILED",
            (false, false) => "held",
            (false, true) => "ESCAPED",
        };
        let saw: String = attempt.saw.chars().take(100).collect();
        text.push_str(&format!("{outcome:<8} {:<width$}  {}\n", attempt.name, Escaped(&saw)));
    }
    text.push_str(if leaked {
        "\nThe real token was seen inside the bottle.\n"
    } else {
        "\nThe API was called with the real token; the agent never held it.\n"
    });
    text
}
