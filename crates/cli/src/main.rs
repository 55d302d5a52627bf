//! The executable `bot-bottle`. Everything is composed below; nothing is decided here.

mod args;
mod away;
mod catalog;
mod commands;
mod compose;
mod engine;
mod error;
mod host;
mod https;
#[cfg(feature = "registry")]
mod images;
mod launch;
mod login;
mod notify;
mod patch;
mod secrets;
mod smolvm;
mod terminal;
mod time;
mod ui;

fn main() -> std::process::ExitCode {
    commands::main()
}
