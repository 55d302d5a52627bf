//! What stands for the docker backend in a program that was built without it: everything is refused.

use super::room::{Room, RoomSpec};
use crate::journal::Container;
use bottle_spec::slug::Slug;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
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
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    pub id: String,
    pub env: BTreeMap<String, String>,
    pub controllers: BTreeSet<&'static str>,
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

pub fn image(_socket: &Path, _reference: &str) -> Result<ImageFacts, EngineError> {
    Err(EngineError)
}

pub fn server(_socket: &Path) -> Result<String, EngineError> {
    Err(EngineError)
}
