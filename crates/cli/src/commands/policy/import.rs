//! `bot-bottle policy import`: another tool's policy as a bottle.

use super::give;
use crate::{
    compose::Context,
    error::{CliError, Kind},
};
use bottle_spec::{
    escape::Escaped,
    manifest::{Noted, bottle_of, pipelock},
    notation::Name,
};
use std::{fs::File, io::Read as _, path::PathBuf, process::ExitCode};

/// As for manifests.
const READ_MAX: u64 = 1 << 20;

/// Take over a pipelock.yaml: a strict allowlist, with what it says of TLS, scanning and private names; every other key
/// is refused by name
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    file: PathBuf,
    /// Leave these keys out
    #[arg(long, value_name = "KEY,..", value_delimiter = ',')]
    without: Vec<String>,
    /// Write it to bottles/NAME.yaml instead of printing it; never overwrites
    #[arg(long, value_name = "NAME")]
    write: Option<Name>,
}

pub(super) fn run(args: &ImportArgs, context: &Context) -> Result<ExitCode, CliError> {
    let mut text = String::new();
    let read = File::open(&args.file).and_then(|file| file.take(READ_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| {
        CliError::usage(format!("{} cannot be read", Escaped(&args.file.display().to_string()))).because(error)
    })?;
    let imported = pipelock::import(&args.file, &text, &args.without)
        .map_err(|mistakes| CliError::mistakes(&mistakes, Kind::Manifest))?;
    let routes: Vec<Noted> =
        imported.routes.into_iter().map(|route| Noted { route, notes: Vec::new(), left_out: false }).collect();
    let mut head = vec![format!("Taken over from {}.", args.file.display())];
    head.extend(imported.notes);
    give(&bottle_of(&head, &routes), args.write.as_ref(), context)?;
    Ok(ExitCode::SUCCESS)
}
