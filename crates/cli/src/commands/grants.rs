//! `bot-bottle grants` and `bot-bottle revoke`: what was approved and holds, and taking it back.

use super::{freeze::running, requests};
use crate::{compose::Context, error::CliError, terminal::told};
use bottle_runtime::client::{self, ClientError};
use bottle_spec::{
    escape::Escaped,
    operator::{Grant, is_id},
    slug::Slug,
};
use serde::Serialize;
use std::process::ExitCode;

/// Show what was approved for running bottles and still holds
#[derive(Debug, clap::Args)]
pub(crate) struct GrantsArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Take back what was approved; what it no longer allows is closed
#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    /// As `bot-bottle grants` names it
    id: String,
}

#[derive(Serialize)]
struct Listed {
    bottle: Slug,
    #[serde(flatten)]
    grant: Grant,
}

pub(crate) fn list(args: &GrantsArgs, context: &Context) -> Result<ExitCode, CliError> {
    let grants = all(context)?;
    if args.json {
        context.ui.json(&grants)?;
    } else {
        let lines = grants
            .iter()
            .map(|Listed { bottle, grant }| format!("{}  {bottle}  {}\n", grant.request, requests::grant(grant)));
        context.ui.result(&lines.collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn revoke(args: &RevokeArgs, context: &Context) -> Result<ExitCode, CliError> {
    let found = all(context)?.into_iter().find(|listed| is_id(&args.id) && listed.grant.request == args.id);
    let Some(Listed { bottle, .. }) = found else {
        return Err(CliError::usage(format!("no grant {} holds", Escaped(&args.id)))
            .next("`bot-bottle grants` shows those that do"));
    };
    client::revoke(&context.dirs, &bottle, &args.id).map_err(told)?;
    Ok(ExitCode::SUCCESS)
}

fn all(context: &Context) -> Result<Vec<Listed>, CliError> {
    let mut all = Vec::new();
    for bottle in running(context)? {
        match client::grants(&context.dirs, &bottle) {
            Ok(grants) => all.extend(grants.into_iter().map(|grant| Listed { bottle: bottle.clone(), grant })),
            // It has ended since it was listed.
            Err(ClientError::NotRunning(_)) => {}
            Err(error) => return Err(told(error)),
        }
    }
    Ok(all)
}
