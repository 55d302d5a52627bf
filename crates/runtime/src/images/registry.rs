//! Pulls by the OCI distribution specification.

use super::{
    keep::{Archive, Indexed},
    room::{self, Cache},
};
use crate::store::private_directory;
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::{OciDescriptor, OciImageManifest},
    secrets::RegistryAuth,
};
use rustix::fs::FlockOperation;
use std::{
    fs::{self, File},
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

/// What an image may take, compressed as it is in the registry.
const LARGEST: u64 = 64 << 30;
const MOST_LAYERS: usize = 1024;
const CONNECT: Duration = Duration::from_secs(20);
/// Nothing comes for so long.
const SILENCE: Duration = Duration::from_secs(60);
/// Between two words about how far it is.
const STEP: u64 = 4 << 20;
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("`{0}` names no image")]
    Name(String, #[source] oci_client::ParseError),
    #[error("the image cannot be had from {registry}")]
    Registry { registry: String, source: OciDistributionError },
    #[error("the manifest of the image cannot be used: {0}")]
    Manifest(&'static str),
    #[error("{} cannot be written", path.display())]
    Keep { path: PathBuf, source: io::Error },
}

/// What is shown to the registry.
#[derive(Clone)]
pub enum Credentials {
    None,
    Password { user: String, password: String },
    Token(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Credentials::None) { "None" } else { "Some" })
    }
}

/// What is pulled, and where it is kept.
#[derive(Debug)]
pub struct Pull<'a> {
    /// As `debian:bookworm` or `registry.example/team/image@sha256:…`; without a registry Docker's.
    pub reference: &'a str,
    /// All archives are kept there.
    pub cache: Cache<'a>,
    pub credentials: Credentials,
}

/// An image that is kept.
#[derive(Debug)]
pub struct Pulled {
    /// The reference with all that it left out.
    pub name: String,
    /// `sha256:…` of the manifest for this machine's platform.
    pub digest: String,
    pub archive: PathBuf,
    pub size: u64,
    /// It was kept already.
    pub was_there: bool,
    /// As long as this is there the archive stays.
    pub held: File,
}

impl Pull<'_> {
    /// The host that is asked, for whoever has its credentials.
    pub fn registry(reference: &str) -> Result<String, PullError> {
        parsed(reference).map(|reference| reference.registry().to_owned())
    }
}

fn parsed(reference: &str) -> Result<Reference, PullError> {
    reference.parse().map_err(|source| PullError::Name(reference.to_owned(), source))
}

/// Asks what the reference stands for, and gets what is not kept. `told` hears how many bytes of how many have come.
pub async fn pull(wanted: Pull<'_>, told: &mut dyn FnMut(u64, u64)) -> Result<Pulled, PullError> {
    let reference = parsed(wanted.reference)?;
    let images = wanted.cache.directory;
    room::sweep(images);
    if let Some(kept) = kept(&reference, images) {
        return Ok(kept);
    }
    let client = client(reference.registry());
    let auth = match wanted.credentials {
        Credentials::None => RegistryAuth::Anonymous,
        Credentials::Password { user, password } => RegistryAuth::Basic(user, password),
        Credentials::Token(token) => RegistryAuth::Bearer(token),
    };
    let registry = |source| PullError::Registry { registry: reference.registry().to_owned(), source };
    client.auth(&reference, &auth, RegistryOperation::Pull).await.map_err(registry)?;
    let (_, digest) = client.pull_image_manifest(&reference, &auth).await.map_err(registry)?;
    let hex = hex_of(&digest)?.to_owned();
    let keep = |source| PullError::Keep { path: images.to_owned(), source };
    private_directory(images).map_err(|error| keep(io::Error::other(error)))?;
    let (directory, digits) = (images.to_owned(), hex.clone());
    let locking = move || room::lock(&directory, &digits, FlockOperation::LockExclusive);
    let locked = tokio::task::spawn_blocking(locking).await;
    let lock = locked.map_err(io::Error::other).and_then(|locked| locked).map_err(keep)?;
    let archive = images.join(format!("{hex}.tar"));
    let pulled = |size, was_there, held| Pulled {
        name: reference.whole(),
        digest: digest.clone(),
        archive: archive.clone(),
        size,
        was_there,
        held,
    };
    if let Ok(metadata) = fs::metadata(&archive) {
        return Ok(pulled(metadata.len(), true, lock));
    }
    let pinned = reference.clone_with_digest(digest.clone());
    let (raw, _) = client.pull_manifest_raw(&pinned, &auth, &MANIFESTS).await.map_err(registry)?;
    let manifest: OciImageManifest =
        serde_json::from_slice(&raw).map_err(|_| PullError::Manifest("it is no image's"))?;
    let blobs = blobs(&manifest)?;
    let total = blobs.iter().map(|(_, _, size)| size).sum();
    // Taken away again unless all of it is there.
    let unfinished = Unfinished(images.join(format!("{hex}.part")));
    let mut tar = Archive::create(&unfinished.0).map_err(keep)?;
    tar.blob(&hex, &raw).map_err(keep)?;
    let (mut come, mut last) = (0, 0);
    for (blob, hex, size) in &blobs {
        let mut tell = |more| {
            come += more;
            if come - last >= STEP || come == total {
                last = come;
                told(come, total);
            }
        };
        let mut incoming = tar.begin(hex, *size, &mut tell).map_err(keep)?;
        client.pull_blob(&pinned, *blob, &mut incoming).await.map_err(registry)?;
        incoming.end().map_err(keep)?;
    }
    let media_type = manifest.media_type.as_deref().unwrap_or(MANIFESTS[0]);
    let indexed = Indexed { media_type, digest: &digest, size: raw.len(), name: &reference.whole() };
    tar.finish(&indexed).map_err(keep)?;
    fs::rename(&unfinished.0, &archive).map_err(keep)?;
    let size = fs::metadata(&archive).map_err(keep)?.len();
    room::make(wanted.cache);
    Ok(pulled(size, false, lock))
}

/// What is named by the digest that it is kept under: nobody needs to be asked for it.
fn kept(reference: &Reference, images: &Path) -> Option<Pulled> {
    let digest = reference.digest()?;
    let hex = super::hex(digest)?;
    let archive = images.join(format!("{hex}.tar"));
    if !archive.exists() {
        return None;
    }
    let held = room::lock(images, hex, FlockOperation::LockShared).ok()?;
    let size = fs::metadata(&archive).ok()?.len();
    Some(Pulled { name: reference.whole(), digest: digest.to_owned(), archive, size, was_there: true, held })
}

/// One of this machine is spoken to in the clear, as engines do.
fn client(registry: &str) -> Client {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let here = host == "localhost" || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback());
    Client::new(ClientConfig {
        protocol: ClientProtocol::HttpsExcept(if here { vec![registry.to_owned()] } else { Vec::new() }),
        connect_timeout: Some(CONNECT),
        read_timeout: Some(SILENCE),
        user_agent: concat!("bot-bottle/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
}

/// Configuration and layers, each once.
fn blobs(manifest: &OciImageManifest) -> Result<Vec<(&OciDescriptor, String, u64)>, PullError> {
    if manifest.layers.len() > MOST_LAYERS {
        return Err(PullError::Manifest("it has more layers than any image needs"));
    }
    let mut blobs: Vec<(&OciDescriptor, String, u64)> = Vec::new();
    let mut total = 0u64;
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        let hex = hex_of(&blob.digest)?.to_owned();
        let size = u64::try_from(blob.size).map_err(|_| PullError::Manifest("a size in it is none"))?;
        if blobs.iter().any(|(_, other, _)| *other == hex) {
            continue;
        }
        total = total.saturating_add(size);
        blobs.push((blob, hex, size));
    }
    if total > LARGEST {
        return Err(PullError::Manifest("the image is larger than 64 GiB"));
    }
    Ok(blobs)
}

fn hex_of(digest: &str) -> Result<&str, PullError> {
    super::hex(digest).ok_or(PullError::Manifest("a digest in it is no SHA-256"))
}

struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where it was finished it has another name.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_completed_and_a_digest_is_a_files_name() {
        assert_eq!(Pull::registry("debian:bookworm").unwrap(), "docker.io");
        assert_eq!(parsed("debian").unwrap().whole(), "docker.io/library/debian:latest");
        assert_eq!(Pull::registry("127.0.0.1:5000/a/b:1").unwrap(), "127.0.0.1:5000");
        assert!(matches!(Pull::registry("No Image"), Err(PullError::Name(..))));
        assert!(hex_of(&format!("sha256:{}", "a0".repeat(32))).is_ok());
        for digest in ["sha256:../../x", "sha512:00", "", &format!("sha256:{}", "A0".repeat(32))] {
            assert!(hex_of(digest).is_err(), "{digest}");
        }
    }

    #[test]
    fn a_manifest_is_bounded() {
        let layer = |size: i64, digit: u8| OciDescriptor {
            digest: format!("sha256:{}", format!("{digit:02x}").repeat(32)),
            size,
            ..OciDescriptor::default()
        };
        let manifest =
            |layers: Vec<OciDescriptor>| OciImageManifest { config: layer(9, 0), layers, ..Default::default() };
        let sizes = |layers| blobs(&manifest(layers)).map(|it| it.iter().map(|(_, _, size)| *size).collect::<Vec<_>>());
        assert_eq!(sizes(vec![layer(1, 1), layer(2, 2), layer(1, 1)]).unwrap(), [9, 1, 2], "each once");
        assert!(sizes(vec![layer(-1, 1)]).is_err());
        assert!(sizes(vec![layer(i64::MAX, 1), layer(i64::MAX, 2), layer(i64::MAX, 3)]).is_err());
        assert!(sizes(vec![layer(1, 1); MOST_LAYERS + 1]).is_err());
    }
}
