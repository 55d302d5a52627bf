//! `bot-bottle exec`.

use crate::{compose::Context, error::CliError, terminal};
use bottle_spec::slug::Slug;
use std::process::ExitCode;

/// Run another program in a running bottle, beside its agent and no less confined
#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    /// Give it a terminal
    #[arg(long, short)]
    tty: bool,
    /// Where it starts, inside [default: where the agent did]
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<String>,
    /// The bottle, as `bot-bottle list` names it
    #[arg(value_name = "BOTTLE")]
    slug: Slug,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) fn run(args: ExecArgs, context: &Context) -> Result<ExitCode, CliError> {
    let ui = &context.ui;
    if args.tty && !(ui.stdin_is_terminal && ui.stdout_is_terminal) {
        return Err(CliError::usage("--tty needs a terminal on both stdin and stdout").next("leave out --tty"));
    }
    terminal::exec(&context.dirs, &args.slug, args.command, args.workdir, args.tty, ui)
}
