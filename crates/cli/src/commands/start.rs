//! `bot-bottle start`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Start a described agent in its bottle
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {}

pub(crate) fn run(_args: StartArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`start` is not wired yet"))
}
