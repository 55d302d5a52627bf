//! `bot-bottle audit list`.

use super::logs::{self, Of};
use crate::{commands::list, compose::Context, error::CliError};
use bottle_runtime::audit_log::read_note;
use serde::Serialize;
use std::{fmt::Write as _, fs, process::ExitCode};

#[derive(Debug, Serialize)]
struct Listed {
    bottle: String,
    /// The bottle's state, or `gone`.
    state: &'static str,
    /// As far as they are signed.
    records: Option<u64>,
    bytes: u64,
    /// Milliseconds since the Unix epoch, of a bottle that is gone.
    ended: Option<u64>,
}

pub(super) fn run(json: bool, context: &Context) -> Result<ExitCode, CliError> {
    let listed: Vec<Listed> = logs::all(context)?
        .into_iter()
        .map(|log| Listed {
            bottle: log.slug.to_string(),
            state: match log.of {
                Of::Bottle(state) => list::name(state),
                Of::Gone(_) => "gone",
            },
            records: read_note(&log.directory).ok().map(|head| head.records),
            bytes: fs::metadata(log.path()).map_or(0, |metadata| metadata.len()),
            ended: match log.of {
                Of::Bottle(_) => None,
                Of::Gone(ended) => Some(ended),
            },
        })
        .collect();
    if json {
        context.ui.json(&listed)?;
    } else {
        context.ui.result(&table(&listed))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return String::new();
    }
    let mut text = format!("{:<24} {:<9} {:>9} {:>11} {}\n", "BOTTLE", "STATE", "RECORDS", "BYTES", "ENDED");
    for one in listed {
        let records = one.records.map_or_else(String::new, |records| records.to_string());
        let ended = one.ended.map_or_else(String::new, crate::time::rfc3339);
        let line = format!("{:<24} {:<9} {records:>9} {:>11} {ended}", one.bottle, one.state, one.bytes);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
