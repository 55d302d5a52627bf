//! `bot-bottle gate`, `git-gate` and `supervise-gate`, hidden: they speak over their standard input.

use crate::error::CliError;
use std::{io, os::unix::net::UnixStream, process::ExitCode};

pub(crate) fn run() -> Result<ExitCode, CliError> {
    bottle_runtime::process::name_self(c"bottle-gate");
    bottle_gate::serve(link()?).map_err(|error| CliError::host("the gate ended").because(error))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run_git() -> Result<ExitCode, CliError> {
    bottle_runtime::process::name_self(c"bottle-git-gate");
    super::keeper::log();
    bottle_gate::git::serve(link()?).map_err(|error| CliError::host("the git gate ended").because(error))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run_supervise() -> Result<ExitCode, CliError> {
    bottle_runtime::process::name_self(c"bottle-ask-gate");
    super::keeper::log();
    bottle_gate::supervise::serve(link()?)
        .map_err(|error| CliError::host("the supervise gate ended").because(error))?;
    Ok(ExitCode::SUCCESS)
}

/// Standard input, as the socket that our parent made it. A copy, so that the number stays taken.
pub(crate) fn link() -> Result<UnixStream, CliError> {
    let stdin = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).map_err(|error| {
        CliError::usage("this is started by bot-bottle itself, with a socket for its standard input").because(error)
    })?;
    Ok(UnixStream::from(stdin))
}
