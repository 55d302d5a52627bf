//! `bot-bottle keeper`, hidden: speaks over its standard input.

use crate::error::CliError;
use std::process::ExitCode;

pub(crate) fn run() -> Result<ExitCode, CliError> {
    Err(CliError::bug("`keeper` is not wired yet"))
}
