//! `bot-bottle schema`: the JSON Schemas that editors check manifests by, and that readers of audit logs build on.

use crate::{compose::Context, error::CliError};
use bottle_spec::{
    event::AUDIT_SCHEMA,
    manifest::{AGENT_SCHEMA, BOTTLE_SCHEMA, CONFIG_SCHEMA, PROVIDER_SCHEMA},
};
use std::process::ExitCode;

/// Print the JSON Schema of agents, bottles, providers or the configuration, for editors, or of audit records
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
    /// config.yaml
    Config,
    /// providers/NAME.yaml
    Provider,
    /// A line of an audit log
    Audit,
}

pub(crate) fn run(args: SchemaArgs, context: &Context) -> Result<ExitCode, CliError> {
    context.ui.result(match args.of {
        Of::Agent => AGENT_SCHEMA,
        Of::Bottle => BOTTLE_SCHEMA,
        Of::Config => CONFIG_SCHEMA,
        Of::Provider => PROVIDER_SCHEMA,
        Of::Audit => AUDIT_SCHEMA,
    })?;
    Ok(ExitCode::SUCCESS)
}
