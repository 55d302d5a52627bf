//! What of this machine's an engine can be given: sockets, or only files, or nothing but what is sent to it.

use super::{
    engine::{Engine, Make, refused, status},
    error::EngineError,
};
use crate::{engine_address::EngineAddress, store::private_directory};
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bottle_spec::topology::Topology;
use std::{fs, io, path::Path};

/// No engine has it, and none looks for it before it has looked for what is to be mounted.
const NO_IMAGE: &str = "bot-bottle-image:of-nothing";

/// `scratch` is a directory of ours, in which something is made for the engine to look for.
pub(super) async fn topology(engine: &Engine, scratch: &Path) -> Result<Topology, EngineError> {
    // Also one that is forwarded may be of this machine; files that are sent do there as well.
    if engine.address.is_far() || maps_owners(engine).await? || !sees(engine, scratch).await? {
        return Ok(Topology::Sent);
    }
    if cfg!(not(target_os = "linux")) || is_desktop(engine).await? {
        return Ok(Topology::Stream);
    }
    Ok(Topology::Socket)
}

/// Files of the bottle's uid would be another's to it.
async fn maps_owners(engine: &Engine) -> Result<bool, EngineError> {
    match (&engine.address, engine.make) {
        // It takes a third of a second to say it, and its socket knows whose it is.
        (EngineAddress::Socket(path), Make::Podman) => {
            let stream = tokio::net::UnixStream::connect(path).await;
            let owner = stream.and_then(|stream| stream.peer_cred());
            let owner = owner.map_err(|error| EngineError::Gone(engine.address.clone(), error))?;
            Ok(owner.uid() != 0)
        }
        _ => {
            let maps = |it: &String| it.starts_with("name=rootless") || it.starts_with("name=userns");
            Ok(engine.security().await?.iter().any(maps))
        }
    }
}

/// Has it look for a directory that was made just now, for a container of an image that there is not.
async fn sees(engine: &Engine, scratch: &Path) -> Result<bool, EngineError> {
    if engine.make == Make::Podman {
        // On Linux it runs beside those who ask it.
        return Ok(true);
    }
    let mut random = [0; 8];
    let drawn = getrandom::fill(&mut random).map_err(io::Error::other);
    let place = scratch.join(format!(".seen-{:016x}", u64::from_le_bytes(random)));
    let made = drawn.and_then(|()| private_directory(scratch).map_err(io::Error::other));
    made.and_then(|()| fs::create_dir(&place)).map_err(EngineError::Ask)?;
    let mount = Mount {
        typ: Some(MountType::BIND),
        source: Some(place.to_string_lossy().into_owned()),
        target: Some("/seen".to_owned()),
        read_only: Some(true),
        ..Mount::default()
    };
    let host = HostConfig { mounts: Some(vec![mount]), ..HostConfig::default() };
    let body = ContainerCreateBody {
        image: Some(NO_IMAGE.to_owned()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    let asked = engine.docker.create_container(None, body).await;
    fs::remove_dir(&place).map_err(EngineError::Ask)?;
    match asked {
        Err(error) if status(&error) == Some(404) => Ok(true),
        Err(error) => match refused(error) {
            EngineError::Refused(why) if why.contains("bind source path does not exist") => Ok(false),
            EngineError::Refused(_) => Ok(true),
            other => Err(other),
        },
        Ok(made) => {
            engine.remove_container(&made.id).await?;
            Ok(true)
        }
    }
}

/// Docker Desktop, which has its engine in a machine of its own, says so where it tells its version.
async fn is_desktop(engine: &Engine) -> Result<bool, EngineError> {
    match engine.make {
        Make::Docker => {
            let platform = engine.docker.version().await.map_err(refused)?.platform;
            Ok(platform.is_some_and(|platform| names_desktop(&platform.name)))
        }
        Make::Podman => Ok(false),
    }
}

/// `Docker Desktop 4.27.2 (137060)`; others are `Docker Engine - Community` or have no name.
fn names_desktop(platform: &str) -> bool {
    platform.starts_with("Docker Desktop")
}

#[cfg(test)]
mod tests {
    use super::names_desktop;

    /// What each says of itself, as its release notes show it.
    #[test]
    fn an_engine_in_a_machine_of_its_own_is_told_from_one_of_this_machine() {
        assert!(names_desktop("Docker Desktop 4.27.2 (137060)"));
        assert!(!names_desktop("Docker Engine - Community") && !names_desktop(""));
    }
}
