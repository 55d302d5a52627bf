//! `bot-bottle notifier`, hidden: sends one notification; its keeper tells it of what over its standard input.

use super::gate::link;
use crate::{error::CliError, notify};
use bottle_runtime::process::name_self;
use std::process::ExitCode;

pub(crate) fn run() -> Result<ExitCode, CliError> {
    name_self(c"bottle-notify");
    super::keeper::log();
    notify::notifier(link()?).map_err(|error| CliError::host("nobody was notified").because(error))?;
    Ok(ExitCode::SUCCESS)
}
