//! `bot-bottle pull`.

use crate::{compose::Context, error::CliError};
use bottle_runtime::images::{self, Credentials, Pull, PullError, Pulled};
use bottle_spec::escape::Escaped;
use docker_credential::{CredentialRetrievalError, DockerCredential};
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
    // The process has one; that it was set before is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let credentials = credentials(&args.image, context)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::host("the event loop cannot be started").because(error))?;
    let wanted = Pull { reference: &args.image, images: &context.dirs.images(), credentials };
    let mut told = |come: u64, total: u64| {
        if context.ui.stderr_is_terminal {
            context.ui.say(&format!("pulling: {} of {} MiB", come >> 20, total.div_ceil(1 << 20)));
        }
    };
    let pulled = runtime.block_on(async {
        tokio::select! {
            pulled = images::pull(wanted, &mut told) => pulled.map_err(failed),
            _ = tokio::signal::ctrl_c() => Err(CliError::denied("nothing was pulled")),
        }
    })?;
    show(&pulled, args.json, context)?;
    Ok(ExitCode::SUCCESS)
}

fn show(pulled: &Pulled, as_json: bool, context: &Context) -> Result<(), CliError> {
    let Pulled { name, digest, archive, size, was_there } = pulled;
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

/// Those that `docker login` has kept for the registry, where there are any.
fn credentials(image: &str, context: &Context) -> Result<Credentials, CliError> {
    let registry = Pull::registry(image).map_err(failed)?;
    // Docker keeps its own registry's under an address of old.
    let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { &registry };
    match docker_credential::get_credential(server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Credentials::Password { user, password }),
        Ok(DockerCredential::IdentityToken(token)) => Ok(Credentials::Token(token)),
        Err(CredentialRetrievalError::ConfigNotFound | CredentialRetrievalError::NoCredentialConfigured) => {
            Ok(Credentials::None)
        }
        // What a helper said could hold a secret.
        Err(_) => {
            let registry = Escaped(&registry);
            context
                .ui
                .say(&format!("note: the credentials of `docker login` for {registry} cannot be had; without them"));
            Ok(Credentials::None)
        }
    }
}

fn failed(error: PullError) -> CliError {
    match error {
        error @ PullError::Name(..) => CliError::usage("that image cannot be pulled")
            .because(error)
            .next("write it as debian:bookworm or registry.example/team/image:tag"),
        error @ PullError::Registry { .. } => CliError::host("the image cannot be pulled")
            .because(error)
            .next("see that the name is right and the registry can be reached; `docker login` keeps credentials"),
        error => CliError::host("the image cannot be pulled").because(error),
    }
}
