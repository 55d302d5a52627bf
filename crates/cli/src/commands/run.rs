//! `bot-bottle run`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Run a program in a bottle that the flags describe
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {}

pub(crate) fn run(_args: RunArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`run` is not wired yet"))
}
