//! The container engine of this machine: where it is, and what it says of an image before there is a plan.

use crate::{compose::Context, error::CliError};
use bottle_runtime::backend::docker::{self, EngineError};
use bottle_spec::{
    escape::Escaped,
    facts::EngineFacts,
    plan::{Backend, Image},
    request::Request,
};
use std::path::PathBuf;

/// Where an engine listens that nobody has moved.
const SOCKET: &str = "/var/run/docker.sock";
const VARIABLE: &str = "DOCKER_HOST";

/// The engine's socket: what `DOCKER_HOST` names, else Docker's own.
pub(crate) fn socket(context: &Context) -> Result<PathBuf, CliError> {
    let Some(host) = context.environment.value(VARIABLE) else { return Ok(SOCKET.into()) };
    match host.strip_prefix("unix://").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(path) => Ok(path),
        None => Err(CliError::host(format!("{VARIABLE} names no socket of this machine: {}", Escaped(host)))
            .next("set it to unix:///PATH, or unset it: bottles run beside their gate, on this machine")),
    }
}

/// The same, where the backend has an engine.
pub(crate) fn of_backend(backend: Backend, context: &Context) -> Result<Option<PathBuf>, CliError> {
    if backend == Backend::Docker { socket(context).map(Some) } else { Ok(None) }
}

/// What a plan goes by; `None` where the backend has no engine, or the image cannot be the engine's.
pub(crate) fn facts(request: &Request, context: &Context) -> Result<Option<EngineFacts>, CliError> {
    let Image::Reference(reference) = &request.image.value else { return Ok(None) };
    if request.backend.value != Backend::Docker {
        return Ok(None);
    }
    let socket = socket(context)?;
    let found = docker::image(&socket, reference).map_err(failed)?;
    Ok(Some(EngineFacts {
        image_id: found.id,
        image_env: found.env,
        controllers: found.controllers.into_iter().map(str::to_owned).collect(),
    }))
}

fn failed(error: EngineError) -> CliError {
    CliError::host("the image cannot be had").because(error)
}
