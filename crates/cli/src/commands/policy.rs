//! `bot-bottle policy`: what a bottle may send, asked, learnt and taken over from elsewhere.
//!
//! Invariant: nothing here sends anything, and nothing that a bottle or another tool's file says becomes a bottle's
//! policy by itself: what is written is a text for its person, to the terminal or to a file that was not there.

mod check;
mod import;
mod learn;

use crate::{compose::Context, error::CliError};
use bottle_spec::{escape::Escaped, notation::Name};
use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    process::ExitCode,
};

/// Ask what may leave, learn what is needed, take over another tool's policy
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one value in the life of a process")]
enum Verb {
    Check(check::CheckArgs),
    Learn(learn::LearnArgs),
    Import(import::ImportArgs),
}

pub(crate) fn run(args: PolicyArgs, context: &Context) -> Result<ExitCode, CliError> {
    match args.verb {
        Verb::Check(args) => check::run(args, context),
        Verb::Learn(args) => learn::run(&args, context),
        Verb::Import(args) => import::run(&args, context),
    }
}

/// Prints a manifest, or writes it as a new bottle.
fn give(text: &str, write: Option<&Name>, context: &Context) -> Result<(), CliError> {
    let Some(name) = write else { return context.ui.result(text) };
    let path = context.bottles().join(format!("{}.yaml", name.0));
    let shown = context.short(&path);
    let written = path
        .parent()
        .map_or(Ok(()), |folder| DirBuilder::new().recursive(true).mode(0o700).create(folder))
        // Exclusive, so that neither a file nor a link that leads elsewhere is written through.
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path))
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CliError::usage(format!("{shown} is there already"))
            .next("choose another name, or leave --write out and take over what you want by hand"),
        _ => CliError::host(format!("{shown} could not be written")).because(error),
    })?;
    context
        .ui
        .say(&format!("wrote {shown}; look it over, then name it in an agent with `bottle: {}`", Escaped(&name.0)));
    Ok(())
}
