//! `bot-bottle carrier`, hidden: a container's stream, for its keeper.

use crate::error::CliError;
use bottle_gate::confine;
use bottle_runtime::backend::docker;
use std::{path::Path, process::ExitCode};

pub(crate) fn run(directory: &Path) -> Result<ExitCode, CliError> {
    confine::confine_carrier().map_err(|error| CliError::host("the carrier cannot be confined").because(error))?;
    docker::carry(directory).map_err(|error| CliError::host("the container's stream ended").because(error))?;
    Ok(ExitCode::SUCCESS)
}
