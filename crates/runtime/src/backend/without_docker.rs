//! What stands for the docker backend in a program that was built without it: everything is refused.

use super::room::{Room, RoomSpec};
use crate::{engine_address::EngineAddress, journal::Container, workspace::Copied};
use bottle_spec::{slug::Slug, topology::Topology};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("this program was built without the docker backend; build it with the feature `docker`")]
pub struct EngineError;

impl EngineError {
    /// As the backend has it.
    pub fn is_absent(&self) -> bool {
        true
    }
}

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
    pub topology: Topology,
}

impl Container {
    pub fn of(engine: &EngineAddress, slug: &Slug, _state: &Path) -> Container {
        Container { engine: engine.clone(), name: slug.to_string(), sent: false }
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

pub fn abandoned(_engine: &EngineAddress, _state: &Path) -> Result<Vec<(String, Container)>, EngineError> {
    Ok(Vec::new())
}

pub type SentError = EngineError;

/// As the backend has it; there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Sending {}

/// As the backend has it; there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Coming {}

pub fn sending(_spec: &ContainerSpec<'_>) -> Result<(Sending, Coming), ContainerError> {
    Err(EngineError)
}

pub fn send(_sending: &Sending, _progress: &mut dyn FnMut(Copied)) -> Result<(), SentError> {
    Err(EngineError)
}

pub fn put_into(
    _coming: &Coming,
    _source: &Path,
    _inside: &Path,
    _progress: &mut dyn FnMut(Copied),
) -> Result<Copied, SentError> {
    Err(EngineError)
}

pub fn fetch(_coming: &Coming, _last: bool, _progress: &mut dyn FnMut(Copied)) -> Result<(), SentError> {
    Err(EngineError)
}

pub type ImageError = EngineError;

/// As the backend has it.
#[derive(Debug, Clone)]
pub enum Login {
    Password { user: String, password: String },
    Token(String),
}

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
    _engine: &EngineAddress,
    _source: &Source,
    _scratch: &Path,
    _limited: bool,
    _logins: &dyn Fn(&str) -> Option<Login>,
    _told: &mut dyn FnMut(Told<'_>),
) -> Result<ImageFacts, ImageError> {
    Err(EngineError)
}

/// As the backend has it.
#[derive(Debug)]
pub struct Made {
    pub id: String,
    pub env: BTreeMap<String, String>,
    pub archive: Option<File>,
}

pub fn fetched(
    _engine: &EngineAddress,
    _source: &Source,
    _scratch: &Path,
    _logins: &dyn Fn(&str) -> Option<Login>,
    _told: &mut dyn FnMut(Told<'_>),
    _is_there: &dyn Fn(&str) -> bool,
) -> Result<Made, ImageError> {
    Err(EngineError)
}

pub fn server(_engine: &EngineAddress) -> Result<String, EngineError> {
    Err(EngineError)
}
