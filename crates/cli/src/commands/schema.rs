//! `bot-bottle schema`: the JSON Schemas that editors check manifests by.

use crate::{compose::Context, error::CliError};
use bottle_spec::manifest::{AGENT_SCHEMA, BOTTLE_SCHEMA};
use std::process::ExitCode;

/// Print the JSON Schema of agents or bottles, for editors
#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    of: Of,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Of {
    /// The front matter of agents/NAME.md
    Agent,
    /// bottles/NAME.yaml
    Bottle,
}

pub(crate) fn run(args: SchemaArgs, context: &Context) -> Result<ExitCode, CliError> {
    context.ui.result(match args.of {
        Of::Agent => AGENT_SCHEMA,
        Of::Bottle => BOTTLE_SCHEMA,
    })?;
    Ok(ExitCode::SUCCESS)
}
