//! The container engine: where it is, and what it says of an image before there is a plan.

use crate::{compose::Context, error::CliError};
#[cfg(feature = "registry")]
use bottle_runtime::backend::docker::Made;
use bottle_runtime::{
    backend::docker::{self, ImageError, Login, Source, Told},
    engine_address::EngineAddress,
};
use bottle_spec::{
    escape::Escaped,
    facts::{EngineFacts, absolute},
    plan::{Backend, Image, Limits},
    request::{Request, base},
};
use std::path::Path;

/// Where an engine listens that nobody has moved.
const SOCKET: &str = "/var/run/docker.sock";
const VARIABLE: &str = "DOCKER_HOST";
const TLS: &str = "DOCKER_TLS_VERIFY";

/// The engine: what `DOCKER_HOST` names, else Docker's own socket.
pub(crate) fn address(context: &Context) -> Result<EngineAddress, CliError> {
    let Some(host) = context.environment.value(VARIABLE) else { return Ok(EngineAddress::Socket(SOCKET.into())) };
    let named = if host.contains("://") { host.parse::<EngineAddress>().ok() } else { None };
    let Some(address) = named else {
        return Err(CliError::host(format!("{VARIABLE} names no engine: {}", Escaped(host)))
            .next("set it to unix:///PATH, ssh://USER@HOST or tcp://HOST:PORT, or unset it"));
    };
    let verified = context.environment.value(TLS).is_some();
    if verified && matches!(address, EngineAddress::Tcp(_)) {
        return Err(CliError::host(format!("{TLS} is set, and an engine is not spoken to by TLS"))
            .next("set DOCKER_HOST to ssh://USER@HOST, or forward the engine's socket to this machine"));
    }
    Ok(address)
}

/// The same, where the backend has an engine.
pub(crate) fn of_backend(backend: Backend, context: &Context) -> Result<Option<EngineAddress>, CliError> {
    if backend == Backend::Docker { address(context).map(Some) } else { Ok(None) }
}

/// What a plan goes by; `None` where the backend has no engine, or the image cannot be the engine's. An image that is to
/// be made is made here: the plan holds its id.
pub(crate) fn facts(request: &Request, context: &Context) -> Result<Option<EngineFacts>, CliError> {
    if request.backend.value != Backend::Docker {
        return Ok(None);
    }
    let Some(source) = source(request, context)? else { return Ok(None) };
    let address = address(context)?;
    let scratch = context.dirs.images();
    let limited = request.limits != Limits::default();
    let mut told = |what: Told<'_>| say(context, what);
    let found = docker::image(&address, &source, &scratch, limited, &|image| login(image, context), &mut told)
        .map_err(failed)?;
    Ok(Some(EngineFacts {
        image_id: found.id,
        image_env: found.env,
        controllers: found.controllers.into_iter().map(str::to_owned).collect(),
        topology: found.topology,
    }))
}

/// An image that an engine makes, for a backend without one: as an archive, where `is_there` does not say of its id that it
/// was unpacked before.
#[cfg(feature = "registry")]
pub(crate) fn made(request: &Request, context: &Context, is_there: &dyn Fn(&str) -> bool) -> Result<Made, CliError> {
    let source = source(request, context)?.ok_or_else(|| CliError::usage("there is nothing to make an image of"))?;
    let (address, scratch) = (address(context)?, context.dirs.images());
    let mut told = |what: Told<'_>| say(context, what);
    docker::fetched(&address, &source, &scratch, &|image| login(image, context), &mut told, is_there).map_err(failed)
}

fn say(context: &Context, told: Told<'_>) {
    let ui = &context.ui;
    match told {
        Told::Begins(what) => ui.say(&Escaped(what).to_string()),
        Told::Line(line) if ui.stderr_is_terminal => ui.say(&format!("  {}", Escaped(line))),
        Told::Line(_) => {}
    }
}

/// What `docker login` has kept for the registry of an image.
#[cfg(feature = "registry")]
fn login(image: &str, context: &Context) -> Option<Login> {
    crate::images::login(image, context)
}

#[cfg(not(feature = "registry"))]
fn login(_image: &str, _context: &Context) -> Option<Login> {
    None
}

/// With every path absolute, as the plan will have it.
fn source(request: &Request, context: &Context) -> Result<Option<Source>, CliError> {
    let image = &request.image;
    let path = |path: &Path| absolute(path, base(&image.place, &context.cwd), &context.home);
    Ok(Some(match &image.value {
        // What is wrong with it the plan says.
        Image::Host | Image::Smolmachine(_) => return Ok(None),
        Image::Reference(reference) => Source::Reference(reference.clone()),
        Image::Dockerfile(file) => Source::Dockerfile(path(file)),
        Image::DockerArchive(file) => Source::DockerArchive(path(file)),
        Image::OciArchive(file) => Source::OciArchive(path(file)),
        Image::Dir(directory) => Source::Directory(path(directory)),
        Image::Provider(base) => {
            let provider = &request.provider.value;
            let line = provider.install.clone().ok_or_else(|| {
                CliError::usage(format!("nothing is known that installs the client of {}", provider.name))
                    .next("name an image that has it, or say `install:` in a provider of your own")
            })?;
            Source::Installed { base: base.clone(), line }
        }
    }))
}

fn failed(error: ImageError) -> CliError {
    CliError::host("the image cannot be had").because(error)
}
