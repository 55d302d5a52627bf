//! The executable `bot-bottle`. Everything is composed below; nothing is decided here.

mod args;
mod commands;
mod compose;
mod error;
mod secrets;
mod terminal;
mod ui;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return error::report_clap(&error),
    };
    commands::run(args.command).unwrap_or_else(|error| error::report(&error))
}
