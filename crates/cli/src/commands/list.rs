//! `bot-bottle list`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// List bottles
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {}

pub(crate) fn run(_args: ListArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`list` is not wired yet"))
}
