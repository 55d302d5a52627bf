//! `bot-bottle audit export`: a log in the words of other tools.
//!
//! Invariant: an export says no more than the log does. Records of kinds that this version does not know are exported,
//! too, as far as the format can. Receipts are signed anew, so they are made of a log that verifies and of no other.

mod ocsf;
mod otlp;
mod post;
mod receipts;

use super::{logs, no_key, public_key, user_key, verify};
use crate::{compose::Context, error::CliError};
use bottle_runtime::{audit_log::read_note, store::Store};
use bottle_spec::slug::Slug;
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    process::ExitCode,
    thread,
    time::Duration,
};

/// Longer lines are in no log.
const LINE_MAX: u64 = 64 << 10;
/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Records in one OTLP request.
const BATCH: usize = 512;

/// Print a log in the format of another tool
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    bottle: Slug,
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Begin with the record of this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    since: u64,
    /// Go on until the bottle ends
    #[arg(long, short)]
    follow: bool,
    /// Send OTLP to this collector, as http://127.0.0.1:4318/v1/logs, instead of printing it
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The records as they are
    Jsonl,
    /// OCSF 1.3.0 events, one JSON object a line
    Ocsf,
    /// Pipelock's action receipts, signed with your key; `pipelock-verify` reads them
    Receipts,
    /// OpenTelemetry logs: one OTLP/JSON request a line
    Otlp,
}

pub(super) fn run(args: &ExportArgs, context: &Context) -> Result<ExitCode, CliError> {
    let log = logs::named(&args.bottle, context)?;
    if args.otlp_endpoint.is_some() && args.format != Format::Otlp {
        return Err(CliError::usage("only OTLP can be sent").next("pass --format otlp, too"));
    }
    let endpoint = args.otlp_endpoint.as_deref().map(post::Endpoint::parse).transpose()?;
    let mut records = Records::open(&log, args.follow, context)?;
    match args.format {
        Format::Jsonl => {
            while let Some((line, _)) = records.since(args.since)? {
                context.ui.result(&format!("{line}\n"))?;
            }
        }
        Format::Ocsf => {
            while let Some((_, record)) = records.since(args.since)? {
                context.ui.result(&format!("{}\n", ocsf::event(&record)))?;
            }
        }
        Format::Receipts => receipts(args, &log, records, context)?,
        Format::Otlp => otlp(args, records, endpoint.as_ref(), context)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn receipts(args: &ExportArgs, log: &logs::Log, mut records: Records, context: &Context) -> Result<(), CliError> {
    if args.since > 0 || args.follow {
        return Err(CliError::usage("receipts are one chain, of a whole log").next("leave --since and --follow out"));
    }
    let key = user_key(context)?.ok_or_else(no_key)?;
    let against = verify::against(&log.directory, Some(args.bottle.to_string()), Some(public_key(&key)?), false)?;
    // What the gate writes meanwhile is in the next export.
    let whole = verify::checked(&log.path(), &against)?.records;
    let mut chain = receipts::Receipts::new(key)?;
    while let Some((_, record)) = records.since(0)? {
        if record.get("seq").and_then(Value::as_u64).is_none_or(|seq| seq >= whole) {
            break;
        }
        if let Some(receipt) = chain.receipt(&record)? {
            context.ui.result(&format!("{receipt}\n"))?;
        }
    }
    Ok(())
}

fn otlp(
    args: &ExportArgs,
    mut records: Records,
    endpoint: Option<&post::Endpoint>,
    context: &Context,
) -> Result<(), CliError> {
    let mut batch = Vec::new();
    let mut next = args.since;
    loop {
        let record = records.ready(args.since)?;
        let ended = matches!(record, Ready::End);
        if let Ready::Record(_, record) = record {
            batch.push(record);
            if batch.len() < BATCH {
                continue;
            }
        }
        if !batch.is_empty() {
            let request = otlp::request(&batch);
            match endpoint {
                Some(endpoint) => endpoint
                    .post(&request)
                    .map_err(|error| error.next(format!("once it takes logs again, go on with --since {next}")))?,
                None => context.ui.result(&format!("{request}\n"))?,
            }
            next = batch.last().and_then(|record| record.get("seq")?.as_u64()).map_or(next, |seq| seq + 1);
            batch.clear();
        } else if !ended {
            thread::sleep(LOOK);
        }
        if ended {
            return Ok(());
        }
    }
}

/// What reading a log comes to.
enum Ready {
    Record(String, Value),
    /// Nothing now.
    Later,
    End,
}

/// A log, record by record; whole lines alone.
struct Records {
    file: BufReader<File>,
    /// A line whose end has not come yet.
    held: Vec<u8>,
    follow: Option<(Store, Slug)>,
    /// Nothing is written any more; what is there is the last.
    last: bool,
}

impl Records {
    fn open(log: &logs::Log, follow: bool, context: &Context) -> Result<Records, CliError> {
        // A log that was never begun has no note either.
        let _ = read_note(&log.directory);
        let file = BufReader::new(File::open(log.path()).map_err(super::unreadable)?);
        let follow = follow && log.is_written_to();
        let follow = follow.then(|| crate::commands::list::open(context)).transpose()?;
        Ok(Records { file, held: Vec::new(), follow: follow.map(|store| (store, log.slug.clone())), last: false })
    }

    /// The next record from this one on; waits for it where the log is followed.
    fn since(&mut self, seq: u64) -> Result<Option<(String, Value)>, CliError> {
        loop {
            match self.ready(seq)? {
                Ready::Record(line, record) => return Ok(Some((line, record))),
                Ready::Later => thread::sleep(LOOK),
                Ready::End => return Ok(None),
            }
        }
    }

    fn ready(&mut self, seq: u64) -> Result<Ready, CliError> {
        loop {
            let Some(line) = self.line()? else {
                match &self.follow {
                    Some((store, slug)) if !self.last => {
                        let bottle = store.bottle(slug);
                        let state = bottle.state_now(bottle.metadata().ok().as_ref());
                        use bottle_runtime::store::State::{Creating, Running};
                        // Looked at before the file is read once more, so that the last records are not missed.
                        self.last = !matches!(state, Running | Creating);
                        return Ok(Ready::Later);
                    }
                    _ => return Ok(Ready::End),
                }
            };
            let record: Value = serde_json::from_str(&line).map_err(|error| {
                CliError::denied("a line of the audit log is no record")
                    .because(error)
                    .next("`bot-bottle audit verify` says more")
            })?;
            if record.get("seq").and_then(Value::as_u64).is_some_and(|at| at >= seq) {
                return Ok(Ready::Record(line, record));
            }
        }
    }

    fn line(&mut self) -> Result<Option<String>, CliError> {
        let room = LINE_MAX.saturating_sub(self.held.len() as u64) + 1;
        self.file.by_ref().take(room).read_until(b'\n', &mut self.held).map_err(super::unreadable)?;
        if self.held.last() == Some(&b'\n') {
            self.held.pop();
            let line = String::from_utf8(std::mem::take(&mut self.held)).map_err(super::unreadable)?;
            return Ok(Some(line));
        }
        if self.held.len() as u64 > LINE_MAX {
            return Err(super::unreadable("a line is longer than any that a gate writes"));
        }
        Ok(None)
    }
}

/// A text field of a record.
fn text<'a>(record: &'a Value, field: &str) -> Option<&'a str> {
    record.get(field)?.as_str()
}

fn number(record: &Value, field: &str) -> Option<u64> {
    record.get(field)?.as_u64()
}
