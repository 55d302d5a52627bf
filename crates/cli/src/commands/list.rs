//! `bot-bottle list`.

use crate::{compose::Context, error::CliError, terminal::window_size};
use bottle_runtime::store::{Listed, State, Store, StoreError};
use bottle_spec::{escape::Escaped, plan::Plan, slug::Slug};
use bottle_tui::figures::age;
use serde::Serialize;
use std::{
    fmt::Write as _,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

/// Show the bottles there are: running, stopped, and those a crash left behind
///
/// REACHES are the hosts of a bottle's routes and its repositories, as its plan has them; `grants` shows what was
/// approved since. At a terminal as many as there is room for, and how many more.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: ListArgs, context: &Context) -> Result<ExitCode, CliError> {
    let listed = open(context)?.list().map_err(unreadable)?;
    let store = open(context)?;
    let plan = |slug: &str| store.bottle(&slug.parse::<Slug>().ok()?).plan().ok();
    let rows: Vec<Row> =
        listed.into_iter().map(|listed| Row { reaches: reaches(plan(&listed.slug).as_ref()), listed }).collect();
    if args.json {
        context.ui.json(&rows)?;
    } else {
        let columns = window_size().map_or(COLUMNS, |size| size.columns.into());
        let columns = if context.ui.stdout_is_terminal { columns } else { usize::MAX };
        context.ui.result(&table(&rows, now(), columns))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Of a terminal that does not say.
const COLUMNS: usize = 80;

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    listed: Listed,
    reaches: Vec<String>,
}

/// Hosts, then repositories as `git:NAME`, each once; empty where nothing leaves, or no plan tells.
fn reaches(plan: Option<&Plan>) -> Vec<String> {
    let Some(plan) = plan else { return Vec::new() };
    let hosts = plan.egress.routes.iter().map(|route| route.host.to_string());
    let all = hosts.chain(plan.git.iter().map(|repository| format!("git:{}", repository.name)));
    let mut each: Vec<String> = Vec::new();
    for name in all {
        if !each.contains(&name) {
            each.push(name);
        }
    }
    each
}

/// As many names as there is room for, at least one, and how many more there are.
fn within(names: &[String], columns: usize) -> String {
    for shown in (1..=names.len()).rev() {
        let (first, rest) = names.split_at(shown);
        let more = if rest.is_empty() { String::new() } else { format!(" +{}", rest.len()) };
        let text = format!("{}{more}", Escaped(&first.join(" ")));
        if text.chars().count() <= columns || shown == 1 {
            return text;
        }
    }
    "nothing".to_owned()
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

fn table(rows: &[Row], now: u64, columns: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!("{:<24} {:<9} {:<12} {:<4} {:<5} {}\n", "NAME", "STATE", "AGENT", "AGE", "PORTS", "REACHES");
    for Row { listed: Listed { slug, state, metadata }, reaches } in rows {
        let line = match metadata {
            None => format!("{slug:<24} {}", name(*state)),
            Some(metadata) => {
                let agent = Escaped(&metadata.agent).to_string();
                let age = age(now.saturating_sub(metadata.created));
                let ports = metadata.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
                let line = format!("{slug:<24} {:<9} {agent:<12} {age:<4} {ports:<5} ", name(*state));
                let room = columns.saturating_sub(line.chars().count());
                line + &within(reaches, room)
            }
        };
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
        let text = table(&[Row { listed: lost, reaches: Vec::new() }], 0, 80);
        assert!(text.contains("a-bcdef                  failed\n"), "{text}");
        assert_eq!([age(59_999), age(60_000), age(7_200_000), age(90_000_000)], ["59s", "1m", "2h", "1d"]);
    }

    #[test]
    fn names_go_as_far_as_there_is_room() {
        let names = ["api.a.test", "b.test", "git:app"].map(str::to_owned);
        for (columns, expected) in [
            (80, "api.a.test b.test git:app"),
            (24, "api.a.test b.test +1"),
            (15, "api.a.test +2"),
            (3, "api.a.test +2"),
        ] {
            assert_eq!(within(&names, columns), expected, "{columns}");
        }
        assert_eq!(within(&[], 80), "nothing");
    }
}
