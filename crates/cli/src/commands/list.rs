//! `bot-bottle list`.

use crate::{compose::Context, error::CliError};
use bottle_runtime::store::{Listed, State, Store, StoreError};
use bottle_spec::escape::Escaped;
use bottle_tui::figures::age;
use std::{
    fmt::Write as _,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

/// Show the bottles there are: running, stopped, and those a crash left behind
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: ListArgs, context: &Context) -> Result<ExitCode, CliError> {
    let listed = open(context)?.list().map_err(unreadable)?;
    if args.json {
        context.ui.json(&listed)?;
    } else {
        context.ui.result(&table(&listed, now()))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn open(context: &Context) -> Result<Store, CliError> {
    Store::open(context.dirs.clone()).map_err(unreadable)
}

pub(crate) fn unreadable(error: StoreError) -> CliError {
    match error {
        StoreError::Unknown(_) | StoreError::Running(_) | StoreError::NameTaken(_) => {
            CliError::usage(error.to_string())
        }
        other => CliError::host("the bottles of this host cannot be read").because(other),
    }
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn table(listed: &[Listed], now: u64) -> String {
    if listed.is_empty() {
        return String::new();
    }
    let mut text = format!("{:<24} {:<9} {:<16} {:<8} {}\n", "NAME", "STATE", "AGENT", "AGE", "PORTS");
    for Listed { slug, state, metadata } in listed {
        let agent = metadata.as_ref().map_or_else(String::new, |metadata| Escaped(&metadata.agent).to_string());
        let age = metadata.as_ref().map_or_else(String::new, |metadata| age(now.saturating_sub(metadata.created)));
        let ports = metadata.as_ref().map_or_else(String::new, |metadata| {
            metadata.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
        });
        let line = format!("{slug:<24} {:<9} {agent:<16} {age:<8} {ports}", name(*state));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

pub(crate) fn name(state: State) -> &'static str {
    match state {
        State::Creating => "creating",
        State::Running => "running",
        State::Frozen => "frozen",
        State::Stopped => "stopped",
        State::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bottle_without_metadata_is_shown_too() {
        let lost = Listed { slug: "a-bcdef".to_owned(), state: State::Failed, metadata: None };
        let text = table(&[lost], 0);
        assert!(text.contains("a-bcdef                  failed\n"), "{text}");
        assert_eq!([age(59_999), age(60_000), age(7_200_000), age(90_000_000)], ["59s", "1m", "2h", "1d"]);
    }
}
