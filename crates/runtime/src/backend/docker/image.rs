//! Images: what a user names, as an image that the engine has, by its id.
//!
//! What is built, loaded or imported gets a name of ours that is a digest of all that went into it: the same again is
//! found by it and nothing is done. A name that a user gives is looked up, and pulled where it says its registry and the
//! engine has not got it.
//!
//! Invariant: a build runs what its Dockerfile says in the engine, with the engine's network; it is not in a bottle, and
//! so it is begun by the user's own configuration and flags alone. What an engine says while it works is somebody else's
//! text: it is handed on as it is, and whoever shows it escapes it.

mod archive;
mod context;
mod dockerfile;
mod error;
mod packed;
mod pull;

pub use error::ImageError;
pub use pull::Login;

use super::{
    engine::{Engine, refused, status},
    error::EngineError,
    reach,
};
use crate::engine_address::EngineAddress;
use bollard::{
    body_try_stream,
    errors::Error,
    models::ErrorDetail,
    query_parameters::{BuildImageOptions, CreateImageOptions, ImportImageOptions, TagImageOptions},
};
use bottle_spec::topology::Topology;
use futures_util::StreamExt as _;
use packed::Packed;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// All images that are made here have it.
const REPOSITORY: &str = "bot-bottle-image";
/// An engine may work for so long before it says its first word: it is sent gigabytes, maybe.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// Of what a build said, what a failure shows.
const LAST_LINES: usize = 20;

/// What an image is made of. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A name or an id that the engine has, or a name that says from which registry it gets it.
    Reference(String),
    /// A Dockerfile, or a directory that holds one; what is beside it is its context.
    Dockerfile(PathBuf),
    DockerArchive(PathBuf),
    OciArchive(PathBuf),
    /// A root, with its owners and modes.
    Directory(PathBuf),
    /// An image that the engine has, and a line of shell that is run in it.
    Installed {
        base: String,
        line: String,
    },
}

/// What is heard while an image is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// What is begun, and takes a while.
    Begins(&'a str),
    /// A line of the engine's.
    Line(&'a str),
}

/// What a plan must know of an image and of the engine that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// `sha256:…`: what the name stands for now.
    pub id: String,
    /// The image's own environment.
    pub env: BTreeMap<String, String>,
    /// Of `cpu`, `memory` and `pids`, what the engine can limit; empty where nothing is to be limited.
    pub controllers: BTreeSet<&'static str>,
    /// What of this machine's it can be given.
    pub topology: Topology,
}

/// Has the engine have it. `scratch` is a directory for what is packed on the way; nothing is left there. `limited` tells
/// whether something of the bottle's is.
pub fn image(
    address: &EngineAddress,
    source: &Source,
    scratch: &Path,
    limited: bool,
    logins: &dyn Fn(&str) -> Option<Login>,
    told: &mut dyn FnMut(Told<'_>),
) -> Result<ImageFacts, ImageError> {
    super::engine::blocking(async {
        let engine = Engine::connect_for(address, LONG).await?;
        let reference = Maker { engine: &engine, scratch, logins, told }.have(source).await?;
        let Found { id, env } = find(&engine, &reference).await?;
        // Podman takes a third of a second for it.
        let controllers = if limited { controllers(&engine).await? } else { BTreeSet::new() };
        let topology = reach::topology(&engine, scratch).await?;
        Ok(ImageFacts { id, env, controllers, topology })
    })
}

/// An image that an engine has, for a backend that shows directories.
#[derive(Debug)]
pub struct Made {
    pub id: String,
    pub env: BTreeMap<String, String>,
    /// As `docker save` writes it, in a file without a name; `None` where it was not wanted.
    pub archive: Option<File>,
}

/// Has the engine have it, and fetches it, unless `is_there` says of its id that this was done before.
pub fn fetched(
    address: &EngineAddress,
    source: &Source,
    scratch: &Path,
    logins: &dyn Fn(&str) -> Option<Login>,
    told: &mut dyn FnMut(Told<'_>),
    is_there: &dyn Fn(&str) -> bool,
) -> Result<Made, ImageError> {
    super::engine::blocking(async {
        let engine = Engine::connect_for(address, LONG).await?;
        let mut maker = Maker { engine: &engine, scratch, logins, told };
        let reference = maker.have(source).await?;
        let Found { id, env } = find(&engine, &reference).await?;
        let archive = if is_there(&id) { None } else { Some(maker.fetch(&reference).await?) };
        Ok(Made { id, env, archive })
    })
}

/// An image that the engine has.
struct Found {
    id: String,
    env: BTreeMap<String, String>,
}

async fn find(engine: &Engine, reference: &str) -> Result<Found, EngineError> {
    let found = engine.docker.inspect_image(reference).await.map_err(|error| match status(&error) {
        Some(404) => EngineError::NoImage(reference.to_owned()),
        _ => refused(error),
    })?;
    let variables = found.config.and_then(|config| config.env).unwrap_or_default();
    let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(Found {
        id: found.id.ok_or(EngineError::Answer("the image's id"))?,
        env: variables.iter().filter_map(pair).collect(),
    })
}

async fn controllers(engine: &Engine) -> Result<BTreeSet<&'static str>, EngineError> {
    let info = engine.docker.info().await.map_err(refused)?;
    let limits = [("cpu", info.cpu_cfs_quota), ("memory", info.memory_limit), ("pids", info.pids_limit)];
    Ok(limits.into_iter().filter(|(_, can)| *can == Some(true)).map(|(name, _)| name).collect())
}

struct Maker<'a> {
    engine: &'a Engine,
    scratch: &'a Path,
    /// What there is for the registry of an image.
    logins: &'a dyn Fn(&str) -> Option<Login>,
    told: &'a mut dyn FnMut(Told<'_>),
}

impl Maker<'_> {
    /// Gives a name that the engine has it by.
    async fn have(&mut self, source: &Source) -> Result<String, ImageError> {
        match source {
            Source::Reference(reference) => self.named(reference).await,
            Source::Dockerfile(path) => self.built(path).await,
            Source::DockerArchive(path) => self.loaded(path, archive::docker(path)?).await,
            Source::OciArchive(path) => self.loaded(path, archive::oci(path)?).await,
            Source::Directory(path) => self.imported(path).await,
            Source::Installed { base, line } => self.installed(base, line).await,
        }
    }

    async fn fetch(&mut self, reference: &str) -> Result<File, ImageError> {
        (self.told)(Told::Begins("fetching the image from the engine"));
        let mut file = packed::unnamed(self.scratch)?;
        let mut stream = std::pin::pin!(self.engine.docker.export_image(reference));
        while let Some(piece) = stream.next().await {
            let written = file.write_all(&piece.map_err(refused)?);
            written.map_err(|source| ImageError::Pack { path: self.scratch.to_owned(), source })?;
        }
        Ok(file)
    }

    async fn built(&mut self, path: &Path) -> Result<String, ImageError> {
        let (directory, name) = dockerfile::place(path)?;
        let text = dockerfile::read(&directory.join(&name))?;
        let packed = context::of_build(&directory, &name, self.scratch)?;
        let what = format!("building the image of {}", directory.join(&name).display());
        self.build(packed, &name, &text, &what).await
    }

    async fn installed(&mut self, base: &str, line: &str) -> Result<String, ImageError> {
        // Has it be there: nothing is pulled, as nothing is for a name alone.
        find(self.engine, base).await?;
        let text = dockerfile::installed(base, line);
        let packed = context::of_text("Dockerfile", &text, self.scratch)?;
        self.build(packed, "Dockerfile", &text, &format!("installing in {base}: {line}")).await
    }

    /// A base that is another image by now makes another image.
    async fn build(&mut self, packed: Packed, name: &str, text: &str, what: &str) -> Result<String, ImageError> {
        let bases = dockerfile::bases(text);
        let before = self.key(&packed, name, bases.as_deref()).await?;
        if let Some(reference) = self.known(before.as_deref()).await? {
            return Ok(reference);
        }
        (self.told)(Told::Begins(what));
        let unknown = format!("{REPOSITORY}:building-{}", packed.digest());
        let reference = before.map_or(unknown, |key| format!("{REPOSITORY}:{key}"));
        let options = BuildImageOptions {
            dockerfile: name.to_owned(),
            t: Some(reference.clone()),
            rm: true,
            forcerm: true,
            ..BuildImageOptions::default()
        };
        let mut last = VecDeque::new();
        let mut stream = self.engine.docker.build_image(options, None, Some(body_try_stream(packed.pieces()?)));
        while let Some(answer) = stream.next().await {
            let failed = |why: String, last: &VecDeque<String>| ImageError::Build {
                what: what.to_owned(),
                why,
                said: said(last),
            };
            let info = answer.map_err(|error| failed(words(error), &last))?;
            if let Some(why) = info.error_detail.and_then(|detail: ErrorDetail| detail.message) {
                return Err(failed(why, &last));
            }
            for line in
                info.stream.or(info.status).iter().flat_map(|text| text.lines()).filter(|it| !it.trim().is_empty())
            {
                (self.told)(Told::Line(line));
                last.push_back(line.to_owned());
                if last.len() > LAST_LINES {
                    last.pop_front();
                }
            }
        }
        drop(stream);
        // A base that the build pulled has an id only now.
        if let Some(key) = self.key(&packed, name, bases.as_deref()).await? {
            self.name(&reference, &key).await?;
        }
        Ok(reference)
    }

    async fn loaded(&mut self, path: &Path, archive: Packed) -> Result<String, ImageError> {
        let key = digest(&["archive", archive.digest()]);
        if let Some(reference) = self.known(Some(&key)).await? {
            return Ok(reference);
        }
        (self.told)(Told::Begins(&format!("loading the image of {}", path.display())));
        let options = ImportImageOptions::default();
        let mut names = Vec::new();
        let mut stream =
            std::pin::pin!(self.engine.docker.import_image(options, body_try_stream(archive.pieces()?), None));
        while let Some(answer) = stream.next().await {
            let info = answer.map_err(|error| ImageError::Load { path: path.to_owned(), why: words(error) })?;
            if let Some(why) = info.error_detail.and_then(|detail| detail.message) {
                return Err(ImageError::Load { path: path.to_owned(), why });
            }
            for line in info.stream.iter().flat_map(|text| text.lines()) {
                (self.told)(Told::Line(line));
                names.extend(archive::loaded(line));
            }
        }
        let mut ids = BTreeSet::new();
        for name in names {
            ids.insert(find(self.engine, &name).await?.id);
        }
        match ids.into_iter().collect::<Vec<_>>().as_slice() {
            [id] => self.name(id, &key).await,
            _ => Err(ImageError::Several(path.to_owned())),
        }
    }

    async fn imported(&mut self, path: &Path) -> Result<String, ImageError> {
        (self.told)(Told::Begins(&format!("packing {}", path.display())));
        let packed = context::of_root(path, self.scratch)?;
        let key = digest(&["root", packed.digest()]);
        if let Some(reference) = self.known(Some(&key)).await? {
            return Ok(reference);
        }
        (self.told)(Told::Begins(&format!("importing {}", path.display())));
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            // With its tag, which Podman does not hear elsewhere.
            repo: Some(format!("{REPOSITORY}:{key}")),
            ..CreateImageOptions::default()
        };
        let mut stream = std::pin::pin!(self.engine.docker.create_image(
            Some(options),
            Some(body_try_stream(packed.pieces()?)),
            None
        ));
        while let Some(answer) = stream.next().await {
            let info = answer.map_err(|error| ImageError::Load { path: path.to_owned(), why: words(error) })?;
            if let Some(why) = info.error_detail.and_then(|detail| detail.message) {
                return Err(ImageError::Load { path: path.to_owned(), why });
            }
        }
        Ok(format!("{REPOSITORY}:{key}"))
    }

    /// `None` where something that goes into it cannot be told beforehand.
    async fn key(&self, packed: &Packed, name: &str, bases: Option<&[String]>) -> Result<Option<String>, EngineError> {
        let Some(bases) = bases else { return Ok(None) };
        let mut parts = vec!["build".to_owned(), name.to_owned(), packed.digest().to_owned()];
        for base in bases {
            match find(self.engine, base).await {
                Ok(found) => parts.push(found.id),
                Err(EngineError::NoImage(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(digest(&parts.iter().map(String::as_str).collect::<Vec<_>>())))
    }

    /// The image's name, where it was made before.
    async fn known(&self, key: Option<&str>) -> Result<Option<String>, EngineError> {
        let Some(key) = key else { return Ok(None) };
        let reference = format!("{REPOSITORY}:{key}");
        match find(self.engine, &reference).await {
            Ok(_) => Ok(Some(reference)),
            Err(EngineError::NoImage(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn name(&self, image: &str, key: &str) -> Result<String, ImageError> {
        let options = TagImageOptions { repo: Some(REPOSITORY.to_owned()), tag: Some(key.to_owned()) };
        self.engine.docker.tag_image(image, Some(options)).await.map_err(refused)?;
        Ok(format!("{REPOSITORY}:{key}"))
    }
}

/// Of all that goes into an image; as much of it as a tag takes with ease.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn words(error: Error) -> String {
    match error {
        Error::DockerStreamError { error } => error,
        Error::DockerResponseServerError { message, .. } => message,
        other => other.to_string(),
    }
}

fn said(lines: &VecDeque<String>) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}
