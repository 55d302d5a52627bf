//! One file per verb: its `Args`, whose doc comment is the help, and one function `run`.

pub(crate) mod attach;
pub(crate) mod audit;
pub(crate) mod cleanup;
pub(crate) mod completions;
pub(crate) mod cp;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod gate;
pub(crate) mod init;
pub(crate) mod keeper;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod policy;
pub(crate) mod preflight;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod start;
pub(crate) mod stop;

use crate::{
    args::{Args, Command},
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
    // Keeper and gate start with an empty environment: there are no directories to find and nobody to talk to.
    let command = match command {
        Command::Keeper => return keeper::run(),
        Command::Gate => return gate::run(),
        Command::DemoAgent(args) => return demo::agent(&args),
        other => other,
    };
    let context = Context::gather()?;
    match command {
        Command::Init(args) => init::run(args, &context),
        Command::Start(args) => start::run(args, &context),
        Command::Run(args) => run::run(args, &context),
        Command::Preflight(args) => preflight::run(args, &context),
        Command::Resume(args) => resume::run(args, &context),
        Command::Attach(args) => attach::run(args, &context),
        Command::Exec(args) => exec::run(args, &context),
        Command::Cp(args) => cp::run(args, &context),
        Command::List(args) => list::run(args, &context),
        Command::Logs(args) => logs::run(args, &context),
        Command::Stop(args) => stop::run(args, &context),
        Command::Cleanup(args) => cleanup::run(args, &context),
        Command::Audit(args) => audit::run(args, &context),
        Command::Policy(args) => policy::run(args, &context),
        Command::Schema(args) => schema::run(args, &context),
        Command::Demo(args) => demo::run(&args, &context),
        Command::Doctor(args) => doctor::run(args, &context),
        Command::Completions(args) => completions::run(args, &context),
        Command::Man(args) => man::run(args, &context),
        Command::Keeper => keeper::run(),
        Command::Gate => gate::run(),
        Command::DemoAgent(args) => demo::agent(&args),
    }
}
