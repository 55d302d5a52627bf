//! What is in an archive of an image: an OCI layout (image-spec, `image-layout.md`), or what `docker save` writes.
//!
//! Invariants: only plain files of the archive are read, by place and length; what is parsed is bounded; every blob of
//! a layout is checked against the digest that names it, and every layer against the configuration's `diff_ids`.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::Path,
};

/// Of manifests and configurations.
const LONGEST: u64 = 4 << 20;
const MOST_ENTRIES: usize = 100_000;
const MOST_LAYERS: usize = 1024;
/// Indexes within each other.
const MOST_INDEXES: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it is no tar file, or a broken one")]
    Tar(#[source] io::Error),
    #[error("it is compressed; unpack it first (`gzip -d`, `zstd -d`)")]
    Compressed,
    #[error("it has neither an `index.json` nor a `manifest.json`")]
    NoImage,
    #[error("it is no pack of smolvm's: {0}")]
    NoPack(&'static str),
    #[error("`{0}` is not in it")]
    Missing(String),
    #[error("`{0}` in it is too long")]
    Long(String),
    #[error("`{name}` in it cannot be understood")]
    Json { name: String, source: serde_json::Error },
    #[error("`{0}` in it is not what its digest says")]
    Digest(String),
    #[error("it holds {0} images; `docker save` one, or name one by its platform")]
    Several(usize),
    #[error("it holds no image for this machine's platform")]
    Platform,
    #[error("its configuration names {named} layers, and it has {there}")]
    Layers { named: usize, there: usize },
    #[error("it has more layers than any image needs")]
    Many,
}

/// An image as its archive has it.
#[derive(Debug)]
pub(super) struct Archived {
    /// `sha256:…` of the configuration.
    pub(super) id: String,
    pub(super) architecture: String,
    pub(super) os: String,
    pub(super) env: BTreeMap<String, String>,
    pub(super) layers: Vec<Layer>,
}

/// One layer, where it lies.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) diff_id: String,
    at: u64,
    pub(super) size: u64,
}

pub(super) struct Source {
    file: File,
    /// Plain files by name.
    files: HashMap<String, (u64, u64)>,
    /// Links, which old archives have in the place of a layer that is there already.
    links: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    digest: String,
    #[serde(default, rename = "mediaType")]
    media_type: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Described,
    layers: Vec<Described>,
}

/// An entry of Docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Configuration {
    architecture: String,
    os: String,
    #[serde(default)]
    config: Settings,
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Settings {
    env: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Source, ReadError> {
        let mut file = File::open(path).map_err(ReadError::Tar)?;
        let mut magic = [0; 4];
        let _ = file.read(&mut magic).map_err(ReadError::Tar)?;
        if magic.starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(ReadError::Compressed);
        }
        file.seek(SeekFrom::Start(0)).map_err(ReadError::Tar)?;
        let (mut files, mut links) = (HashMap::new(), HashMap::new());
        let mut archive = tar::Archive::new(file.try_clone().map_err(ReadError::Tar)?);
        for entry in archive.entries_with_seek().map_err(ReadError::Tar)?.take(MOST_ENTRIES) {
            let entry = entry.map_err(ReadError::Tar)?;
            let Ok(name) = String::from_utf8(entry.path_bytes().into_owned()) else { continue };
            let name = name.trim_start_matches("./").to_owned();
            match entry.header().entry_type() {
                tar::EntryType::Regular => drop(files.insert(name, (entry.raw_file_position(), entry.size()))),
                tar::EntryType::Symlink => {
                    if let Some(to) = entry.link_name_bytes().and_then(|it| String::from_utf8(it.into_owned()).ok()) {
                        links.insert(name, to);
                    }
                }
                _ => {}
            }
        }
        Ok(Source { file, files, links })
    }

    pub(super) fn image(&mut self) -> Result<Archived, ReadError> {
        if self.files.contains_key("index.json") {
            return self.of_layout();
        }
        if self.files.contains_key("manifest.json") {
            return self.saved();
        }
        Err(ReadError::NoImage)
    }

    fn of_layout(&mut self) -> Result<Archived, ReadError> {
        let mut index: Index = parsed("index.json", &self.read("index.json")?)?;
        for _ in 0..MOST_INDEXES {
            let chosen = chosen(index)?;
            let name = blob(&chosen.digest)?;
            let bytes = self.verified(&name, &chosen.digest)?;
            if chosen.media_type.contains("index") || chosen.media_type.contains("manifest.list") {
                index = parsed(&name, &bytes)?;
                continue;
            }
            let manifest: Manifest = parsed(&name, &bytes)?;
            let config = self.verified(&blob(&manifest.config.digest)?, &manifest.config.digest)?;
            let layers = manifest.layers.iter().map(|layer| blob(&layer.digest)).collect::<Result<Vec<_>, _>>()?;
            return self.configured(&config, &layers);
        }
        Err(ReadError::Platform)
    }

    fn saved(&mut self) -> Result<Archived, ReadError> {
        let saved: Vec<Saved> = parsed("manifest.json", &self.read("manifest.json")?)?;
        let count = saved.len();
        let [saved] = <[Saved; 1]>::try_from(saved).map_err(|_| ReadError::Several(count))?;
        let config = self.read(&saved.config)?;
        self.configured(&config, &saved.layers)
    }

    fn configured(&self, config: &[u8], layers: &[String]) -> Result<Archived, ReadError> {
        let id = digest(config);
        let Configuration { architecture, os, config, rootfs } = parsed("the configuration", config)?;
        let (named, there) = (rootfs.diff_ids.len(), layers.len());
        if named > MOST_LAYERS {
            return Err(ReadError::Many);
        }
        if named != there {
            return Err(ReadError::Layers { named, there });
        }
        let layers = rootfs.diff_ids.into_iter().zip(layers).map(|(diff_id, name)| {
            let (at, size) = self.place(name)?;
            Ok(Layer { diff_id, at, size })
        });
        let env = config.env.unwrap_or_default();
        let env = env.iter().filter_map(|pair| pair.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned()));
        Ok(Archived { id, architecture, os, env: env.collect(), layers: layers.collect::<Result<_, ReadError>>()? })
    }

    /// A layer's bytes, as they lie in the archive.
    pub(super) fn layer(&self, layer: &Layer) -> io::Result<impl Read + use<>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(layer.at))?;
        Ok(io::BufReader::with_capacity(256 << 10, file.take(layer.size)))
    }

    /// Where a plain file lies; through one link, which old archives have.
    fn place(&self, name: &str) -> Result<(u64, u64), ReadError> {
        let missing = || ReadError::Missing(name.to_owned());
        if let Some(place) = self.files.get(name) {
            return Ok(*place);
        }
        let to = self.links.get(name).ok_or_else(missing)?;
        let beside = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        let named = match to.strip_prefix("../") {
            Some(rest) => match beside.rsplit_once('/') {
                Some((above, _)) => format!("{above}/{rest}"),
                None => rest.to_owned(),
            },
            None => format!("{beside}/{to}"),
        };
        self.files.get(&named).copied().ok_or_else(missing)
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, ReadError> {
        let (at, size) = self.place(name)?;
        if size > LONGEST {
            return Err(ReadError::Long(name.to_owned()));
        }
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(at)).map_err(ReadError::Tar)?;
        (&self.file).take(size).read_to_end(&mut bytes).map_err(ReadError::Tar)?;
        Ok(bytes)
    }

    fn verified(&mut self, name: &str, wanted: &str) -> Result<Vec<u8>, ReadError> {
        let bytes = self.read(name)?;
        if digest(&bytes) == wanted { Ok(bytes) } else { Err(ReadError::Digest(name.to_owned())) }
    }
}

/// The only one, or the one for this machine.
fn chosen(index: Index) -> Result<Described, ReadError> {
    let count = index.manifests.len();
    let is_ours = |it: &Described| {
        it.platform.as_ref().is_some_and(|it| it.os == "linux" && it.architecture == super::architecture())
    };
    let mut manifests = index.manifests;
    if count == 1 {
        return manifests.pop().ok_or(ReadError::Platform);
    }
    let has_platforms = manifests.iter().any(|it| it.platform.is_some());
    match manifests.into_iter().find(is_ours) {
        Some(found) => Ok(found),
        None if has_platforms || count == 0 => Err(ReadError::Platform),
        None => Err(ReadError::Several(count)),
    }
}

fn blob(digest: &str) -> Result<String, ReadError> {
    super::hex(digest).map(|hex| format!("blobs/sha256/{hex}")).ok_or_else(|| ReadError::Digest(digest.to_owned()))
}

fn digest(bytes: &[u8]) -> String {
    super::named(&Sha256::digest(bytes))
}

fn parsed<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(bytes).map_err(|source| ReadError::Json { name: name.to_owned(), source })
}
