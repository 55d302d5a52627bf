//! What Podman's Docker-compatible service takes in another way than Docker's.
//!
//! It hears nothing of the paths to mask (they are a security option of its own), its memory file systems have neither
//! owner nor bound of files, it lays some of its own without any bound over a read-only root, and it asks for limits
//! that a machine may not have to give. So what is writable in memory is a volume of the kernel's `tmpfs`, with the same
//! options that Docker takes in the container's description; it is mounted while the container is, and goes with it.
//!
//! Sources: containers/podman, `pkg/api/handlers/compat/containers_create.go`, `cmd/podman/common/create_opts.go`
//! (what of a description is heard), `libpod/options.go` and `libpod/runtime_volume_linux.go` (options of a volume).

use super::{
    container::{SLUG, STATE, Scratch},
    engine::{Engine, refused},
    error::EngineError,
};
use crate::journal::Container;
use bollard::{
    models::{ContainerCreateBody, Mount, MountType, ResourcesUlimits, VolumeCreateRequest},
    query_parameters::{ListVolumesOptions, RemoveVolumeOptions},
};
use rustix::process::{Resource, getrlimit};
use std::{collections::HashMap, fs, path::Path};

/// On a volume: the container that it was made for.
const CONTAINER: &str = "bot-bottle.container";
/// Of the kernel, in bytes: what a `tmpfs` counts its blocks in. Podman takes `size` for a quota of its own.
const BLOCK: u64 = 4096;

/// Says the same of the container in Podman's words.
pub(super) fn translate(body: &mut ContainerCreateBody, name: &str, scratch: &[Scratch]) {
    let Some(host) = &mut body.host_config else { return };
    host.tmpfs = None;
    let mounts = host.mounts.get_or_insert_default();
    mounts.extend(scratch.iter().map(|place| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume(name, place)),
        target: Some(place.target.to_owned()),
        read_only: Some(false),
        ..Mount::default()
    }));
    let masked = host.masked_paths.as_deref().unwrap_or_default().join(":");
    host.security_opt.get_or_insert_default().push(format!("mask={masked}"));
    host.ulimits.get_or_insert_default().extend(ulimits());
}

/// This program's own limits: those of an engine of the same machine are no less.
fn ulimits() -> Vec<ResourcesUlimits> {
    let own = |resource| getrlimit(resource).maximum.unwrap_or(u64::MAX);
    // Podman lowers its own to the highest pid.
    let pids = fs::read_to_string("/proc/sys/kernel/pid_max").ok().and_then(|text| text.trim().parse().ok());
    let limits =
        [("nofile", own(Resource::Nofile).min(1 << 20)), ("nproc", own(Resource::Nproc).min(pids.unwrap_or(1 << 15)))];
    let limit = |(name, most): (&str, u64)| {
        let most = i64::try_from(most).ok();
        ResourcesUlimits { name: Some(name.to_owned()), soft: most, hard: most }
    };
    limits.into_iter().map(limit).collect()
}

fn volume(name: &str, place: &Scratch) -> String {
    format!("{name}{}", place.target.replace('/', "-"))
}

impl Engine {
    /// Makes the volumes that [`translate`] names. What of them is there when this fails goes with the container's name.
    pub(super) async fn make_volumes(
        &self,
        container: &Container,
        labels: &HashMap<String, String>,
        scratch: &[Scratch],
    ) -> Result<(), EngineError> {
        for place in scratch {
            let mut labels = labels.clone();
            labels.insert(CONTAINER.to_owned(), container.name.clone());
            let Scratch { bytes, inodes, mode, owner: (uid, gid), .. } = place;
            let blocks = bytes.div_ceil(BLOCK);
            let options =
                format!("rw,exec,nosuid,nodev,nr_blocks={blocks},nr_inodes={inodes},mode={mode},uid={uid},gid={gid}");
            let request = VolumeCreateRequest {
                name: Some(volume(&container.name, place)),
                driver: Some("local".to_owned()),
                driver_opts: Some(
                    [("type", "tmpfs"), ("device", "tmpfs"), ("o", &options)]
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .into(),
                ),
                labels: Some(labels),
                ..VolumeCreateRequest::default()
            };
            self.docker.create_volume(request).await.map_err(refused)?;
        }
        Ok(())
    }

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

    /// Of bottles of this state directory: each bottle's name, and the container that a volume is left of.
    pub(super) async fn abandoned_volumes(
        &self,
        socket: &Path,
        state: &str,
    ) -> Result<Vec<(String, Container)>, EngineError> {
        let found = self.volumes(&format!("{STATE}={state}")).await?;
        let mut left: Vec<(String, Container)> = found
            .into_iter()
            .filter_map(|(_, labels)| {
                let container = Container { engine: socket.to_owned(), name: labels.get(CONTAINER)?.clone() };
                Some((labels.get(SLUG)?.clone(), container))
            })
            .collect();
        left.dedup();
        Ok(left)
    }

    async fn volumes(&self, label: &str) -> Result<Vec<(String, HashMap<String, String>)>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let listed = self.docker.list_volumes(Some(ListVolumesOptions { filters: Some(filters) })).await;
        let listed = listed.map_err(refused)?.volumes.unwrap_or_default();
        Ok(listed.into_iter().map(|volume| (volume.name, volume.labels)).collect())
    }
}
