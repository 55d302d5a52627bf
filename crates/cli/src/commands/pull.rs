//! `bot-bottle pull`.

use crate::{compose::Context, error::CliError, images};
use bottle_runtime::images::Pulled;
use bottle_spec::escape::Escaped;
use serde_json::json;
use std::process::ExitCode;

/// Pull an image from a registry, without an engine
///
/// Says which digest the name stands for, and keeps the image of this machine's platform as an OCI archive, by that
/// digest. Credentials are those of `docker login`.
#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// As `debian:bookworm` or `registry.example/team/image@sha256:…`
    #[arg(value_name = "IMAGE")]
    image: String,
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &PullArgs, context: &Context) -> Result<ExitCode, CliError> {
    show(&images::pulled(&args.image, context)?, args.json, context)?;
    Ok(ExitCode::SUCCESS)
}

fn show(pulled: &Pulled, as_json: bool, context: &Context) -> Result<(), CliError> {
    let Pulled { name, digest, archive, size, was_there, held: _ } = pulled;
    if as_json {
        return context.ui.json(&json!({
            "name": name, "digest": digest, "archive": archive, "bytes": size, "was_there": was_there,
        }));
    }
    let kept = if *was_there { "is kept already" } else { "is kept now" };
    context.ui.result(&format!(
        "{} is {digest}\nit {kept}: oci-archive:{} ({} MiB)\n",
        Escaped(name),
        Escaped(&archive.display().to_string()),
        size.div_ceil(1 << 20)
    ))
}
