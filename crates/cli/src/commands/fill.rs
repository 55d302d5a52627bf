//! `bot-bottle fill`, hidden: fills one bottle's workspace; speaks over its standard input and output.

use crate::error::CliError;
use bottle_runtime::{process::name_self, workspace};
use std::{io, process::ExitCode};

pub(crate) fn run() -> Result<ExitCode, CliError> {
    name_self(c"bottle-fill");
    workspace::fill::run(io::stdin().lock(), io::stdout().lock())
        .map_err(|error| CliError::usage("this is started by bot-bottle itself").because(error))?;
    Ok(ExitCode::SUCCESS)
}
