//! `bot-bottle run`: a program in a bottle that the flags describe.

use super::preflight;
use crate::{
    compose::Context,
    error::{CliError, Kind},
    launch::{self, Afterwards, LaunchArgs, Seat},
};
use bottle_spec::{
    escape::Escaped,
    plan::{Plan, Workspace},
    request::{Flags, Request},
};
use std::{path::PathBuf, process::ExitCode};

/// Run a program in a bottle that the flags describe; nothing leaves but what they allow
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: bot-bottle run --allow 'api.github.com:GET/repos/acme/**' \\\n           \
                        --auth api.github.com=bearer:env:GITHUB_TOKEN -- curl https://api.github.com/repos/acme/app")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
    /// Set a variable inside
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Show a file or directory of the host inside, read-only unless `:rw`
    #[arg(long, value_name = "SOURCE:TARGET[:rw]")]
    mount: Vec<String>,
    /// Publish a port of the bottle on 127.0.0.1
    #[arg(long, short, value_name = "PORT")]
    port: Vec<String>,
    /// Limit what the bottle may use: cpus, memory, pids or disk
    #[arg(long, value_name = "NAME=VALUE")]
    limit: Vec<String>,
    /// Serve a repository at the git door: ssh, https or a path
    #[arg(long, value_name = "NAME=UPSTREAM")]
    git: Vec<String>,
    /// Let these refs be pushed, each after you said yes; with `:allow`, without asking
    #[arg(long, value_name = "NAME=REF[:allow]")]
    push: Vec<String>,
    /// Leave no false credentials in the bottle's home
    #[arg(long)]
    no_canaries: bool,
    /// Start as a branch of a machine that was prepared for this image; with --backend smolmachines
    #[arg(long)]
    warm: bool,
    #[command(flatten)]
    launch: LaunchArgs,
    /// Keep the bottle's home and logs when the program ends, for `resume`
    #[arg(long)]
    keep: bool,
    /// Print what would be launched, as `start` shows it, and launch nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: the plan as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// The flags that say what may leave.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct PolicyFlags {
    /// Let requests to a host leave; `*.example.com` is every name below it
    #[arg(long, value_name = "HOST[:PORT][:METHOD,..][/path]")]
    allow: Vec<String>,
    /// Send a secret along; SCHEME is bearer, basic, header.NAME or query.NAME, SOURCE is env:, file:, command: or keyring:
    #[arg(long, value_name = "HOST=SCHEME:SOURCE")]
    auth: Vec<String>,
    /// Reach a host at this address and look nothing up
    #[arg(long, value_name = "HOST=IP:PORT")]
    resolve: Vec<String>,
    /// Trust the certificates in this PEM file for upstreams, besides the system's
    #[arg(long, value_name = "FILE")]
    upstream_ca: Vec<PathBuf>,
    /// Know this secret too, so that it does not leave; nothing injects it
    #[arg(long, value_name = "SOURCE")]
    protect: Vec<String>,
    /// What a secret found in a request to this host does: block, redact, ask or log
    #[arg(long, value_name = "HOST=ACTION")]
    on_finding: Vec<String>,
    /// Let these rules find nothing in requests to this host
    #[arg(long, value_name = "HOST=RULE,..")]
    exempt: Vec<String>,
    /// Let no more than this leave: bytes, requests, per_host.bytes, per_host.requests, hosts, random; in a period
    #[arg(long, value_name = "NAME=VALUE")]
    budget: Vec<String>,
}

impl PolicyFlags {
    pub(crate) fn flags(&self) -> Flags {
        Flags {
            allow: self.allow.clone(),
            auth: self.auth.clone(),
            resolve: self.resolve.clone(),
            upstream_ca: self.upstream_ca.clone(),
            protect: self.protect.clone(),
            on_finding: self.on_finding.clone(),
            exempt: self.exempt.clone(),
            budgets: self.budget.clone(),
            ..Flags::default()
        }
    }
}

pub(crate) fn run(args: RunArgs, context: &Context) -> Result<ExitCode, CliError> {
    let request = args.request(context)?;
    let plan = launch::plan(&request, Kind::Usage, context)?;
    if args.dry_run {
        preflight::show(&plan, &request, args.launch.name.as_ref(), args.json, context)?;
        return Ok(ExitCode::SUCCESS);
    }
    if context.ui.stderr_is_terminal {
        context.ui.say(&summary(&plan, args.keep));
    }
    let afterwards = if args.keep { Afterwards::Keep } else { Afterwards::Remove };
    launch::launch(plan, args.launch.name.clone(), afterwards, Seat::Person, &args.launch, context)
}

impl RunArgs {
    fn request(&self, context: &Context) -> Result<Request, CliError> {
        let flags = Flags {
            env: self.env.clone(),
            mounts: self.mount.clone(),
            ports: self.port.clone(),
            limits: self.limit.clone(),
            git: self.git.clone(),
            push: self.push.clone(),
            no_canaries: self.no_canaries,
            warm: self.warm,
            overrides: self.launch.overrides(context),
            command: self.command.clone(),
            ..self.policy.flags()
        };
        flags.request().map_err(|mistakes| CliError::mistakes(&mistakes, Kind::Usage))
    }
}

/// One line: there is no manifest to show, and the flags stand just above.
fn summary(plan: &Plan, keep: bool) -> String {
    let hosts = match plan.egress.routes.len() {
        0 => "nothing may leave".to_owned(),
        1 => "one route out".to_owned(),
        count => format!("{count} routes out"),
    };
    let mut line = format!("bottle: {}, {hosts}", plan.backend.as_str());
    if matches!(plan.workspace, Workspace::Clone { .. } | Workspace::Copy { .. }) && !keep {
        line.push_str(
            "\nnote: what the agent leaves at /workspace goes with the bottle, but for what it pushes; --keep keeps it",
        );
    }
    for notice in &plan.notices {
        line.push_str(&format!("\nnote: {}", Escaped(notice)));
    }
    line
}
