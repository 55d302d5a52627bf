//! What an engine has of a bottle besides its container: volumes, and the image that was made of what was sent. Each has
//! the container's name on a label, by which it goes with it, and that of the bottle's state, by which `cleanup` finds it
//! when all else is gone.

use super::{
    container::{CONTAINER, SLUG, STATE},
    engine::{Engine, Listed, encoded, refused},
    error::EngineError,
};
use crate::journal::Container;
use bollard::query_parameters::{ListVolumesOptions, RemoveImageOptions, RemoveVolumeOptions};
use std::collections::HashMap;

type Labels = HashMap<String, String>;

impl Engine {
    /// Whether there were any. The container is gone by now.
    pub(super) async fn remove_volumes(&self, name: &str) -> Result<bool, EngineError> {
        let mut any = false;
        for (volume, labels) in self.volumes(&format!("{CONTAINER}={name}")).await? {
            // A label that another has put on what is not ours.
            if labels.get(CONTAINER).is_none_or(|of| of != name) {
                continue;
            }
            // Podman takes a container out of its list before it lets go of what that had.
            let options = RemoveVolumeOptions { force: true };
            any |= self.until_gone(|| self.docker.remove_volume(&volume, Some(options.clone()))).await?;
        }
        Ok(any)
    }

    /// As [`Engine::remove_volumes`].
    pub(super) async fn remove_images(&self, name: &str) -> Result<bool, EngineError> {
        let mut any = false;
        for (image, labels) in self.images(&format!("{CONTAINER}={name}")).await? {
            if labels.get(CONTAINER).is_none_or(|of| of != name) {
                continue;
            }
            // What it was made of stays, also where that has no name.
            let options = RemoveImageOptions { force: true, noprune: true, ..RemoveImageOptions::default() };
            let remove = || async { self.docker.remove_image(&image, Some(options.clone()), None).await.map(drop) };
            any |= self.until_gone(remove).await?;
        }
        Ok(any)
    }

    /// Of bottles of this state directory: each bottle's name, and the container that something is left of.
    pub(super) async fn abandoned_belongings(&self, state: &str) -> Result<Vec<(String, Container)>, EngineError> {
        let label = format!("{STATE}={state}");
        let volumes = self.volumes(&label).await?.into_iter();
        let found = volumes.chain(self.images(&label).await?);
        let container = |labels: &Labels| {
            Some(Container { engine: self.address.clone(), name: labels.get(CONTAINER)?.clone(), sent: true })
        };
        let mut left: Vec<(String, Container)> = Vec::new();
        for (_, labels) in found {
            if let Some(one) = labels.get(SLUG).cloned().zip(container(&labels))
                && !left.contains(&one)
            {
                left.push(one);
            }
        }
        Ok(left)
    }

    async fn images(&self, label: &str) -> Result<Vec<(String, Labels)>, EngineError> {
        let filters = serde_json::json!({ "label": [label] }).to_string();
        let listed: Vec<Listed> = self.read(&format!("/images/json?filters={}", encoded(&filters))).await?;
        Ok(listed.into_iter().map(|image| (image.id, image.labels.unwrap_or_default())).collect())
    }

    async fn volumes(&self, label: &str) -> Result<Vec<(String, Labels)>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let listed = self.docker.list_volumes(Some(ListVolumesOptions { filters: Some(filters) })).await;
        let listed = listed.map_err(refused)?.volumes.unwrap_or_default();
        Ok(listed.into_iter().map(|volume| (volume.name, volume.labels)).collect())
    }
}
