//! `bot-bottle audit`: what a bottle's gate decided, whether the record of it is whole, and the same for other tools.
//!
//! Invariant: logs are read and never written here. Of bottles that are gone, too, as long as their logs are kept.

mod export;
mod list;
pub(super) mod logs;
pub(super) mod show;
mod verify;

use crate::{compose::Context, error::CliError};
use bottle_runtime::audit_log::key;
use bottle_spec::{escape::Escaped, secret::Secret, slug::Slug};
use export::ExportArgs;
use std::process::ExitCode;
use verify::VerifyArgs;

/// Show, verify or export what a bottle's gate decided
#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the logs there are, of bottles that are gone too
    List {
        #[arg(long)]
        json: bool,
    },
    /// Print every decision, oldest first
    Show {
        bottle: Slug,
        /// Print the records as they are, one JSON object a line
        #[arg(long)]
        json: bool,
        /// Only what was refused
        #[arg(long)]
        denied: bool,
    },
    Verify(VerifyArgs),
    Export(ExportArgs),
    /// Print the public key that your audit logs are signed with
    Key,
}

pub(crate) fn run(args: AuditArgs, context: &Context) -> Result<ExitCode, CliError> {
    match args.verb {
        Verb::List { json } => list::run(json, context),
        Verb::Show { bottle, json, denied } => show::run(&bottle, json, denied, context),
        Verb::Verify(args) => verify::run(&args, context),
        Verb::Export(args) => export::run(&args, context),
        Verb::Key => {
            let public = public_key(&user_key(context)?.ok_or_else(no_key)?)?;
            context.ui.result(&format!("{public}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The user's signing key, once a bottle has been started.
fn user_key(context: &Context) -> Result<Option<Secret>, CliError> {
    key::read(&context.dirs.state)
        .map_err(|error| CliError::host("the key that signs audit logs cannot be read").because(error))
}

fn public_key(key: &Secret) -> Result<String, CliError> {
    bottle_gate::audit::sign::public_key(key)
        .map_err(|error| CliError::host("the key that signs audit logs cannot be used").because(error))
}

fn no_key() -> CliError {
    CliError::host("there is no key that signs audit logs yet").next("the first bottle that you start makes it")
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CliError {
    CliError::host("the audit log cannot be read").because(error)
}

fn escaped(text: &str) -> String {
    Escaped(text).to_string()
}
