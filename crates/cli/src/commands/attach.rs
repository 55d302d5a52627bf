//! `bot-bottle attach`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Join a bottle's terminal; ctrl-p ctrl-q leaves it running
#[derive(Debug, clap::Args)]
pub(crate) struct AttachArgs {}

pub(crate) fn run(_args: AttachArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`attach` is not wired yet"))
}
