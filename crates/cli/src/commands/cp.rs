//! `bot-bottle cp`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Copy files into or out of a bottle
#[derive(Debug, clap::Args)]
pub(crate) struct CpArgs {}

pub(crate) fn run(_args: CpArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`cp` is not wired yet"))
}
