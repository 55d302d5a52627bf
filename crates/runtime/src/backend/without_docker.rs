//! What stands for the docker backend in a program that was built without it: everything is refused.

use super::room::{Room, RoomSpec};
use crate::journal::Container;
use bottle_spec::slug::Slug;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("this program was built without the docker backend; build it with the feature `docker`")]
pub struct EngineError;

pub type ContainerError = EngineError;

/// As the backend has it.
#[derive(Debug, Clone, Copy)]
pub struct ContainerSpec<'a> {
    pub room: RoomSpec<'a>,
    pub container: &'a Container,
    pub state: &'a Path,
    pub staging: &'a Path,
    pub runtime: &'a Path,
    pub program: &'a Path,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    pub id: String,
    pub env: BTreeMap<String, String>,
    pub controllers: BTreeSet<&'static str>,
    pub elsewhere: bool,
}

impl Container {
    pub fn of(engine: &Path, slug: &Slug, _state: &Path) -> Container {
        Container { engine: engine.to_owned(), name: slug.to_string() }
    }
}

pub async fn create(_spec: &ContainerSpec<'_>) -> Result<Room, ContainerError> {
    Err(EngineError)
}

pub async fn remove(_container: &Container) -> Result<bool, EngineError> {
    Err(EngineError)
}

pub fn remove_now(_container: &Container) -> Result<bool, EngineError> {
    Err(EngineError)
}

pub fn abandoned(_socket: &Path, _state: &Path) -> Result<Vec<(String, Container)>, EngineError> {
    Ok(Vec::new())
}

pub type ImageError = EngineError;

/// As the backend has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Reference(String),
    Dockerfile(PathBuf),
    DockerArchive(PathBuf),
    OciArchive(PathBuf),
    Directory(PathBuf),
    Installed { base: String, line: String },
}

/// As the backend has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    Begins(&'a str),
    Line(&'a str),
}

pub fn image(
    _socket: &Path,
    _source: &Source,
    _scratch: &Path,
    _told: &mut dyn FnMut(Told<'_>),
) -> Result<ImageFacts, ImageError> {
    Err(EngineError)
}

pub fn server(_socket: &Path) -> Result<String, EngineError> {
    Err(EngineError)
}
