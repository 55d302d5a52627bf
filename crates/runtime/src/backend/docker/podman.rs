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
    container::Scratch,
    engine::{Engine, refused},
    error::EngineError,
};
use crate::journal::Container;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, ResourcesUlimits, VolumeCreateRequest};
use rustix::process::{Resource, getrlimit};
use std::{collections::HashMap, fs};

/// Of the kernel, in bytes: what a `tmpfs` counts its blocks in. Podman takes `size` for a quota of its own.
const BLOCK: u64 = 4096;

/// Says the same of the container in Podman's words.
pub(super) fn translate(body: &mut ContainerCreateBody, name: &str, scratch: &[Scratch]) {
    let Some(host) = &mut body.host_config else { return };
    in_its_words(host);
    host.tmpfs = None;
    let mounts = host.mounts.get_or_insert_default();
    mounts.extend(scratch.iter().map(|place| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume(name, place)),
        target: Some(place.target.to_owned()),
        read_only: Some(false),
        ..Mount::default()
    }));
}

/// The same for one without root, which mounts no volume of the kernel's. Its memory file systems have a bound of bytes
/// and no owner: the places are everybody's, and there is nobody but the agent.
pub(super) fn translate_rootless(body: &mut ContainerCreateBody, scratch: &[Scratch]) {
    let Some(host) = &mut body.host_config else { return };
    in_its_words(host);
    let place =
        |place: &Scratch| (place.target.to_owned(), format!("rw,exec,nosuid,nodev,size={},mode=1777", place.bytes));
    host.tmpfs = Some(scratch.iter().map(place).collect());
    // It may have none to give, and cannot be given more than its user has.
    host.ulimits.get_or_insert_default().retain(|limit| limit.name.as_deref() == Some("core"));
}

fn in_its_words(host: &mut HostConfig) {
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
            let labels = labels.clone();
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRATCH: [Scratch; 2] = [
        Scratch { target: "/tmp", bytes: 8 << 20, inodes: 100, mode: "1777", owner: (7, 8) },
        Scratch { target: "/var/tmp", bytes: 8 << 20, inodes: 100, mode: "1777", owner: (7, 8) },
    ];

    fn translated() -> HostConfig {
        let texts = |texts: &[&str]| Some(texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        let own = Mount { target: Some("/home/agent".to_owned()), typ: Some(MountType::BIND), ..Mount::default() };
        let core = ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) };
        let host = HostConfig {
            tmpfs: Some(HashMap::from([("/tmp".to_owned(), "rw".to_owned())])),
            masked_paths: texts(&["/proc/kcore", "/sys"]),
            security_opt: texts(&["no-new-privileges:true"]),
            mounts: Some(vec![own]),
            ulimits: Some(vec![core]),
            ..HostConfig::default()
        };
        let mut body = ContainerCreateBody { host_config: Some(host), ..ContainerCreateBody::default() };
        translate(&mut body, "it", &SCRATCH);
        body.host_config.unwrap()
    }

    #[test]
    fn what_is_in_memory_is_a_volume_of_the_containers_own_and_nothing_else_is_lost() {
        let host = translated();
        assert_eq!(host.tmpfs, None, "it would have neither owner nor bound");
        let mounts = host.mounts.unwrap();
        let told = |mount: &Mount| (mount.typ, mount.source.clone(), mount.target.clone(), mount.read_only);
        let text = |text: &str| Some(text.to_owned());
        let volume = |source, target| (Some(MountType::VOLUME), text(source), text(target), Some(false));
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[0].target.as_deref(), Some("/home/agent"));
        assert_eq!(told(&mounts[1]), volume("it-tmp", "/tmp"));
        assert_eq!(told(&mounts[2]), volume("it-var-tmp", "/var/tmp"));
    }

    #[test]
    fn paths_are_masked_by_an_option_beside_those_that_were_there() {
        assert_eq!(translated().security_opt.unwrap(), ["no-new-privileges:true", "mask=/proc/kcore:/sys"]);
    }

    #[test]
    fn no_limit_is_more_than_this_program_has_and_that_of_cores_stays() {
        let limits = translated().ulimits.unwrap();
        let of = |name: &str| limits.iter().find(|limit| limit.name.as_deref() == Some(name)).unwrap();
        assert_eq!((of("core").soft, of("core").hard), (Some(0), Some(0)));
        for (name, resource) in [("nofile", Resource::Nofile), ("nproc", Resource::Nproc)] {
            let own = getrlimit(resource).maximum.and_then(|most| i64::try_from(most).ok());
            assert!(of(name).hard.is_some_and(|hard| hard > 0 && own.is_none_or(|own| hard <= own)), "{name}");
            assert_eq!(of(name).soft, of(name).hard, "{name}");
        }
    }
}
