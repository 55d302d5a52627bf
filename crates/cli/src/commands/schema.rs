//! `bot-bottle schema`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Print the JSON Schema of agents or bottles, for editors
#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {}

pub(crate) fn run(_args: SchemaArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`schema` is not wired yet"))
}
