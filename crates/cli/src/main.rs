//! The executable `bot-bottle`. Everything is composed below; nothing is decided here.

mod args;
mod catalog;
mod commands;
mod compose;
mod engine;
mod error;
mod host;
mod launch;
mod notify;
mod patch;
mod secrets;
mod terminal;
mod ui;

fn main() -> std::process::ExitCode {
    commands::main()
}
