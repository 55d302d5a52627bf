//! `bot-bottle policy`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Ask what the gate would answer, without sending anything
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {}

pub(crate) fn run(_args: PolicyArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`policy` is not wired yet"))
}
