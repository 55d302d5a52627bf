//! `bot-bottle completions`.

use crate::{args::Args, compose::Context, error::CliError};
use clap::CommandFactory as _;
use std::process::ExitCode;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: CompletionsArgs, context: &Context) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "bot-bottle", &mut script);
    context.ui.result(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
