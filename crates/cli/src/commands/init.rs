//! `bot-bottle init`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Write a commented example: an agent and its bottle
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {}

pub(crate) fn run(_args: InitArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`init` is not wired yet"))
}
