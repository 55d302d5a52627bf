//! The command line as a tree. Each verb's own options live with the verb, in `commands/<verb>.rs`.

#[cfg(feature = "registry")]
use crate::commands::pull::PullArgs;
use crate::commands::{
    apply::ApplyArgs,
    attach::AttachArgs,
    audit::AuditArgs,
    cleanup::CleanupArgs,
    completions::CompletionsArgs,
    cp::CpArgs,
    dashboard::DashboardArgs,
    demo::{DemoArgs, agent::DemoAgentArgs},
    diff::DiffArgs,
    doctor::DoctorArgs,
    exec::ExecArgs,
    freeze::{FreezeArgs, ThawArgs},
    grants::{GrantsArgs, RevokeArgs},
    init::InitArgs,
    list::ListArgs,
    login::{LoginArgs, TokenArgs},
    logs::LogsArgs,
    man::ManArgs,
    policy::PolicyArgs,
    preflight::PreflightArgs,
    requests::{ApproveArgs, DenyArgs, RequestsArgs},
    resume::ResumeArgs,
    run::RunArgs,
    schema::SchemaArgs,
    start::StartArgs,
    stop::StopArgs,
};
use clap::{Parser, Subcommand};

/// Runs AI coding agents in bottles: rooms with no network, no host files but those given, and no secret.
///
/// What leaves a bottle goes through its gate, which holds the secrets, applies the policy and writes it all down.
#[derive(Debug, Parser)]
#[command(name = "bot-bottle", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: the agent's own for start, run and exec; else 2 usage, 3 manifest, 4 the host \
                        cannot, 5 denied, 70 a bug.")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one value in the life of a process")]
pub(crate) enum Command {
    #[command(flatten)]
    Verb(Verb),
    /// One bottle's owner; started by `start` and `run`, which speak to it over its standard input.
    #[command(hide = true)]
    Keeper,
    /// The host side of one bottle's doors; started by its keeper.
    #[command(hide = true)]
    Gate,
    /// The host side of one bottle's git door; started by its keeper.
    #[command(hide = true)]
    GitGate,
    /// The host side of one bottle's supervise door; started by its keeper when somebody knocks.
    #[command(hide = true)]
    SuperviseGate,
    /// Carries what passes between a container and its gate; started by a keeper.
    #[cfg(feature = "docker")]
    #[command(hide = true)]
    Carrier { directory: std::path::PathBuf },
    /// Tells the operator that something waits; started by a keeper, and ends.
    #[command(hide = true)]
    Notifier,
    /// Fills one bottle's workspace; started by its keeper.
    #[command(hide = true)]
    Fill,
    /// Renews a login for a keeper.
    #[command(hide = true)]
    LoginToken(TokenArgs),
    /// The agent of `demo`; runs inside the bottle.
    #[command(hide = true)]
    DemoAgent(DemoAgentArgs),
}

/// What people type.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one value in the life of a process")]
pub(crate) enum Verb {
    Init(InitArgs),
    Start(StartArgs),
    Run(RunArgs),
    Preflight(PreflightArgs),
    Resume(ResumeArgs),
    Attach(AttachArgs),
    Exec(ExecArgs),
    Cp(CpArgs),
    Diff(DiffArgs),
    Apply(ApplyArgs),
    List(ListArgs),
    Logs(LogsArgs),
    #[cfg(feature = "registry")]
    Pull(PullArgs),
    Login(LoginArgs),
    Stop(StopArgs),
    Requests(RequestsArgs),
    Approve(ApproveArgs),
    Deny(DenyArgs),
    Grants(GrantsArgs),
    Dashboard(DashboardArgs),
    Revoke(RevokeArgs),
    Freeze(FreezeArgs),
    Thaw(ThawArgs),
    Cleanup(CleanupArgs),
    Policy(PolicyArgs),
    Audit(AuditArgs),
    Schema(SchemaArgs),
    Doctor(DoctorArgs),
    Demo(DemoArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}
