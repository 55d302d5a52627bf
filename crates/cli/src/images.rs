//! Images that no engine has: pulled, and unpacked for the backend that shows them as directories.

use crate::{compose::Context, engine, error::CliError};
use bottle_runtime::{
    backend::docker::Login,
    images::{self, Cache, Credentials, Pull, PullError, Pulled, UnpackError},
};
use bottle_spec::{
    escape::Escaped,
    facts::{EngineFacts, absolute},
    notation::Size,
    plan::{Backend, Image},
    request::{Request, base},
};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use std::{os::fd::AsRawFd as _, path::Path};

/// What all images together may take, as `10GiB`.
const LIMIT: &str = "BOT_BOTTLE_IMAGES_LIMIT";

/// What a plan goes by; `None` where another backend is asked for, the image is a directory already, or the plan will be
/// refused to root whatever the image is.
pub(crate) fn facts(request: &Request, context: &Context) -> Result<Option<EngineFacts>, CliError> {
    if request.backend.value != Backend::Smolmachines || rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let of_request = |path: &Path| absolute(path, base(&request.image.place, &context.cwd), &context.home);
    let directory = context.dirs.images();
    let mut pack = false;
    // An archive of ours stays until it is unpacked.
    let mut held = None;
    let archive = match &request.image.value {
        Image::Reference(reference) => {
            let pulled = pulled(reference, context)?;
            if !pulled.was_there {
                context.ui.say(&format!("pulled {}: {}", Escaped(&pulled.name), pulled.digest));
            }
            held = Some(pulled.held);
            pulled.archive
        }
        Image::OciArchive(path) | Image::DockerArchive(path) => of_request(path),
        Image::Smolmachine(path) => {
            pack = true;
            of_request(path)
        }
        Image::Dockerfile(_) | Image::Provider(_) => {
            let made = engine::made(request, context, &|id| is_unpacked(id, context))?;
            let Some(archive) = made.archive else {
                return Ok(Some(EngineFacts { image_id: made.id, image_env: made.env, ..EngineFacts::default() }));
            };
            let open = format!("/proc/self/fd/{}", archive.as_raw_fd());
            held = Some(archive);
            open.into()
        }
        Image::Host | Image::Dir(_) => return Ok(None),
    };
    let mut told = |read: u64, total: u64| {
        if context.ui.stderr_is_terminal {
            context.ui.say(&format!("unpacking the image: {} of {} MiB", read >> 20, total.div_ceil(1 << 20)));
        }
    };
    let unpack = if pack { images::unpack_pack } else { images::unpack };
    let cache = Cache { directory: &directory, most: most(context)? };
    let unpacked = unpack(&archive, cache, &mut told).map_err(|error| not_unpacked(error, pack))?;
    drop(held);
    context.held.hold(&unpacked.id, unpacked.held);
    Ok(Some(EngineFacts { image_id: unpacked.id, image_env: unpacked.env, ..EngineFacts::default() }))
}

/// Whether it is there; where it is, it stays until the bottle has it.
fn is_unpacked(id: &str, context: &Context) -> bool {
    let directory = context.dirs.images();
    let Ok(held) = images::hold(&directory, id) else { return false };
    let is_there = images::root(&directory, id).is_some();
    if is_there {
        context.held.hold(id, held);
    }
    is_there
}

fn most(context: &Context) -> Result<u64, CliError> {
    let Some(text) = context.environment.value(LIMIT) else { return Ok(Cache::MOST) };
    let size: Size = text.parse().map_err(|error| {
        CliError::usage(format!("{LIMIT} is no size: {}", Escaped(text)))
            .because(error)
            .next("set it as 10GiB, or unset it")
    })?;
    Ok(size.0)
}

/// From its registry, where it is not kept yet.
pub(crate) fn pulled(image: &str, context: &Context) -> Result<Pulled, CliError> {
    // The process has one; that it was set before is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let credentials = credentials(image, context)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::host("the event loop cannot be started").because(error))?;
    let directory = context.dirs.images();
    let cache = Cache { directory: &directory, most: most(context)? };
    let wanted = Pull { reference: image, cache, credentials };
    let mut told = |come: u64, total: u64| {
        if context.ui.stderr_is_terminal {
            context.ui.say(&format!("pulling: {} of {} MiB", come >> 20, total.div_ceil(1 << 20)));
        }
    };
    runtime.block_on(async {
        tokio::select! {
            pulled = images::pull(wanted, &mut told) => pulled.map_err(not_pulled),
            _ = tokio::signal::ctrl_c() => Err(CliError::denied("nothing was pulled")),
        }
    })
}

/// Those that `docker login` has kept for the registry, where there are any.
fn credentials(image: &str, context: &Context) -> Result<Credentials, CliError> {
    let registry = Pull::registry(image).map_err(not_pulled)?;
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

/// The same for an engine that pulls.
pub(crate) fn login(image: &str, context: &Context) -> Option<Login> {
    match credentials(image, context).ok()? {
        Credentials::Password { user, password } => Some(Login::Password { user, password }),
        Credentials::Token(token) => Some(Login::Token(token)),
        Credentials::None => None,
    }
}

fn not_pulled(error: PullError) -> CliError {
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

fn not_unpacked(error: UnpackError, pack: bool) -> CliError {
    let failed = CliError::host("the image cannot be unpacked");
    match error {
        error @ UnpackError::Read(..) if pack => failed
            .because(error)
            .next("make it anew with `smolvm pack create --image`, and name the file that ends in .smolmachine"),
        error @ UnpackError::Read(..) => failed.because(error).next("make the archive anew with `docker save`"),
        error => failed.because(error),
    }
}
