//! `bot-bottle doctor`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Say what this machine can and cannot do, and how to mend it
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {}

pub(crate) fn run(_args: DoctorArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`doctor` is not wired yet"))
}
