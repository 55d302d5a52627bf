//! One file per verb: its `Args`, whose doc comment is the help, and one function `run`.

pub(crate) mod apply;
pub(crate) mod attach;
pub(crate) mod audit;
#[cfg(feature = "docker")]
pub(crate) mod carrier;
pub(crate) mod cleanup;
pub(crate) mod completions;
pub(crate) mod cp;
pub(crate) mod dashboard;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod fill;
pub(crate) mod freeze;
pub(crate) mod gate;
pub(crate) mod grants;
pub(crate) mod init;
pub(crate) mod keeper;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod notifier;
pub(crate) mod policy;
pub(crate) mod preflight;
#[cfg(feature = "registry")]
pub(crate) mod pull;
pub(crate) mod requests;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod start;
pub(crate) mod stop;

use crate::{
    args::{Args, Command, Verb},
    compose::Context,
    error::{self, CliError},
};
use clap::Parser as _;
use std::process::ExitCode;

pub(crate) fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => run(args.command).unwrap_or_else(|error| error::report(&error)),
        Err(error) => error::report_clap(&error),
    }
}

fn run(command: Command) -> Result<ExitCode, CliError> {
    match command {
        // These are started with an empty environment: there are no directories to find and nobody to talk to.
        Command::Keeper => keeper::run(),
        Command::Gate => gate::run(),
        Command::GitGate => gate::run_git(),
        Command::SuperviseGate => gate::run_supervise(),
        #[cfg(feature = "docker")]
        Command::Carrier { directory } => carrier::run(&directory),
        Command::Notifier => notifier::run(),
        Command::Fill => fill::run(),
        Command::LoginToken(args) => login::token(&args, &Context::gather()?),
        Command::DemoAgent(args) => demo::agent(&args),
        Command::Verb(verb) => perform(verb, &Context::gather()?),
    }
}

fn perform(verb: Verb, context: &Context) -> Result<ExitCode, CliError> {
    match verb {
        Verb::Init(args) => init::run(args, context),
        Verb::Start(args) => start::run(args, context),
        Verb::Run(args) => run::run(args, context),
        Verb::Preflight(args) => preflight::run(args, context),
        Verb::Requests(args) => requests::list(args, context),
        Verb::Approve(args) => requests::approve(&args, context),
        Verb::Deny(args) => requests::deny(&args, context),
        Verb::Dashboard(args) => dashboard::run(&args, context),
        Verb::Grants(args) => grants::list(&args, context),
        Verb::Revoke(args) => grants::revoke(&args, context),
        Verb::Resume(args) => resume::run(args, context),
        Verb::Attach(args) => attach::run(args, context),
        Verb::Exec(args) => exec::run(args, context),
        Verb::Cp(args) => cp::run(args, context),
        Verb::Diff(args) => diff::run(args, context),
        Verb::Apply(args) => apply::run(args, context),
        Verb::List(args) => list::run(args, context),
        Verb::Logs(args) => logs::run(args, context),
        #[cfg(feature = "registry")]
        Verb::Pull(args) => pull::run(&args, context),
        Verb::Login(args) => login::run(&args, context),
        Verb::Stop(args) => stop::run(args, context),
        Verb::Freeze(args) => freeze::freeze(&args, context),
        Verb::Thaw(args) => freeze::thaw(&args, context),
        Verb::Cleanup(args) => cleanup::run(args, context),
        Verb::Audit(args) => audit::run(args, context),
        Verb::Policy(args) => policy::run(args, context),
        Verb::Schema(args) => schema::run(args, context),
        Verb::Demo(args) => demo::run(&args, context),
        Verb::Doctor(args) => doctor::run(args, context),
        Verb::Completions(args) => completions::run(args, context),
        Verb::Man(args) => man::run(args, context),
    }
}
