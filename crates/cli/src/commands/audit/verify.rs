//! `bot-bottle audit verify`: whether a log is whole, whose it is, and how far it is vouched for.

use super::{logs, public_key, user_key};
use crate::{compose::Context, error::CliError};
use bottle_gate::audit::{Against, Summary, VerifyError, verify};
use bottle_runtime::audit_log::{note_path, read_note};
use bottle_spec::slug::Slug;
use serde::Serialize;
use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Check a log: its chain, its signatures, and that its end is not missing
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// A bottle of this host, running or gone
    #[arg(required_unless_present = "log")]
    bottle: Option<Slug>,
    /// This file instead; what is noted of it is looked for beside it, under the name `head`
    #[arg(long, value_name = "FILE", conflicts_with = "bottle")]
    log: Option<PathBuf>,
    /// The public key that must have signed it [default: yours]
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Verified {
    bottle: Option<String>,
    records: u64,
    head: Option<String>,
    /// So many of the records are vouched for by a checkpoint.
    signed_records: u64,
    /// Milliseconds since the Unix epoch.
    signed_at: Option<u64>,
    signer: Option<String>,
    /// Records that the note beside the log speaks of; null where there is no note.
    noted_records: Option<u64>,
    torn_bytes: u64,
}

pub(super) fn run(args: &VerifyArgs, context: &Context) -> Result<ExitCode, CliError> {
    let (path, directory, bottle) = match (&args.bottle, &args.log) {
        (Some(bottle), _) => {
            let log = logs::named(bottle, context)?;
            (log.path(), log.directory, Some(bottle.to_string()))
        }
        (None, Some(path)) => (path.clone(), logs::beside(path).to_owned(), None),
        (None, None) => return Err(CliError::usage("name a bottle or a file")),
    };
    let signer = match &args.key {
        Some(key) => Some(key.to_ascii_lowercase()),
        None => user_key(context)?.as_ref().map(public_key).transpose()?,
    };
    let against = against(&directory, bottle, signer, args.log.is_some())?;
    let noted_records = against.head.as_ref().map(|head| head.records);
    let summary = checked(&path, &against)?;
    if args.json {
        let (signed_at, signer) = summary.signed.as_ref().map(|signed| (signed.time, signed.signer.clone())).unzip();
        context.ui.json(&Verified {
            bottle: summary.bottle,
            records: summary.records,
            head: summary.head,
            signed_records: summary.signed.map_or(0, |signed| signed.records),
            signed_at,
            signer,
            noted_records,
            torn_bytes: summary.torn,
        })?;
    } else {
        context.ui.result(&told(&summary, noted_records))?;
        if against.signer.is_none() {
            context.ui.say("warning: whose signature it is was not checked: pass --key");
        }
        if noted_records.is_none() {
            context.ui.say("warning: nothing is noted of this log here, so its end may be missing");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the log in `directory` must agree with. A log of this host has a note; a copy may have none.
pub(super) fn against(
    directory: &Path,
    bottle: Option<String>,
    signer: Option<String>,
    is_copy: bool,
) -> Result<Against, CliError> {
    let head = match read_note(directory) {
        Ok(head) => Some(head),
        Err(error) if is_copy && error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(CliError::denied("what was noted of the audit log is missing or damaged")
                .because(error)
                .next(format!("find out who wrote to {}", note_path(directory).display())));
        }
    };
    Ok(Against { bottle, signer, head })
}

/// Reads the log through.
pub(super) fn checked(path: &Path, against: &Against) -> Result<Summary, CliError> {
    let file = File::open(path).map_err(super::unreadable)?;
    verify(BufReader::new(file), against).map_err(|error| match error {
        VerifyError::Read(error) => super::unreadable(error),
        broken => CliError::denied("the audit log does not verify")
            .because(broken)
            .next(format!("keep {} as it is and find out who wrote to it", path.display())),
    })
}

fn told(summary: &Summary, noted: Option<u64>) -> String {
    let bottle = summary.bottle.as_deref().map_or_else(|| "(empty)".to_owned(), super::escaped);
    let mut text = format!("{bottle}: {} records, unbroken\n", summary.records);
    match &summary.signed {
        Some(signed) => {
            let at = crate::time::rfc3339(signed.time);
            text.push_str(&format!("signed up to record {} at {at} by {}\n", signed.records, signed.signer));
        }
        None => text.push_str("not signed\n"),
    }
    if let Some(noted) = noted {
        text.push_str(&format!("holds the {noted} records that were noted beside it\n"));
    }
    if summary.torn > 0 {
        text.push_str(&format!("{} bytes of an unfinished record at its end\n", summary.torn));
    }
    text.push_str(&format!("head {}\n", summary.head.as_deref().unwrap_or("(none)")));
    text
}
