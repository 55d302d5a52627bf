//! What smolvm packs an image into, `FILE.smolmachine`, read as an archive of layers. smolvm's own way to make a machine of
//! one drops flags in silence and takes what the pack says for the machine; here nothing of it counts but its layers.
//!
//! A footer of 64 bytes says where a manifest in JSON is, and a tar file under zstd, in which each layer is a tar file of its
//! own. Invariants: as of archives: what is parsed is bounded, and what a layer unpacks to is checked against the digest that
//! the manifest has for it. The manifest's own digest is the image's id.
//!
//! Source: smolvm's `crates/smolvm-pack/src/format.rs`, and packs that 1.32.2 made.

use super::archive::ReadError;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::Path,
};

const FOOTER: usize = 64;
const MAGIC: &[u8] = b"SMOLPACK";
/// 1.32.2 writes the first and reads all.
const VERSIONS: std::ops::RangeInclusive<u64> = 1..=3;
const LONGEST_MANIFEST: u64 = 4 << 20;
const MOST_LAYERS: usize = 1024;
/// What the parts that are no layer take is little, and a layer has a bound of its own.
const MOST_ENTRIES: usize = 1 << 20;

/// A pack whose manifest was read.
#[derive(Debug)]
pub(super) struct Pack {
    file: File,
    /// The tar file under zstd.
    assets: (u64, u64),
    /// `sha256:…` of the manifest.
    pub(super) id: String,
    pub(super) architecture: String,
    pub(super) os: String,
    pub(super) env: BTreeMap<String, String>,
    pub(super) layers: Vec<PackedLayer>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PackedLayer {
    /// `sha256:…` of the tar file.
    pub(super) digest: String,
    path: String,
    pub(super) size: u64,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    mode: Mode,
    /// As `linux/amd64`.
    platform: String,
    #[serde(default)]
    env: Vec<String>,
    assets: Assets,
}

#[derive(Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Container,
    /// A machine's disk, and no layers.
    Vm,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Assets {
    layers: Vec<PackedLayer>,
}

impl Pack {
    pub(super) fn open(path: &Path) -> Result<Pack, ReadError> {
        let mut file = File::open(path).map_err(ReadError::Tar)?;
        let mut footer = [0; FOOTER];
        let end = file.seek(SeekFrom::End(0)).map_err(ReadError::Tar)?;
        let before = end.checked_sub(FOOTER as u64).ok_or(ReadError::NoPack("it is too short"))?;
        file.seek(SeekFrom::Start(before)).map_err(ReadError::Tar)?;
        file.read_exact(&mut footer).map_err(ReadError::Tar)?;
        if !footer.starts_with(MAGIC) {
            return Err(ReadError::NoPack("it does not end as one"));
        }
        if !VERSIONS.contains(&number(&footer, 8, 4)) {
            return Err(ReadError::NoPack("its format is newer than those of smolvm up to 1.32"));
        }
        let part = |at| {
            let (from, length) = (number(&footer, at, 8), number(&footer, at + 8, 8));
            let inside = from.checked_add(length).is_some_and(|end| end <= before);
            inside.then_some((from, length)).ok_or(ReadError::NoPack("a part of it is beyond its end"))
        };
        let (assets, (at, size)) = (part(20)?, part(36)?);
        if size > LONGEST_MANIFEST {
            return Err(ReadError::Long("the manifest".to_owned()));
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at)).map_err(ReadError::Tar)?;
        (&file).take(size).read_to_end(&mut bytes).map_err(ReadError::Tar)?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|source| ReadError::Json { name: "the manifest".to_owned(), source })?;
        if manifest.mode != Mode::Container {
            return Err(ReadError::NoPack("it holds a machine's disk and no image; pack the image, with `--image`"));
        }
        if manifest.assets.layers.len() > MOST_LAYERS {
            return Err(ReadError::Many);
        }
        if manifest.assets.layers.is_empty() {
            return Err(ReadError::NoPack("it has no layer"));
        }
        let (os, architecture) = manifest.platform.split_once('/').ok_or(ReadError::Platform)?;
        let env = manifest.env.iter().filter_map(|pair| pair.split_once('='));
        Ok(Pack {
            assets,
            id: super::named(&Sha256::digest(&bytes)),
            os: os.to_owned(),
            // After another slash comes a variant.
            architecture: architecture.split('/').next().unwrap_or_default().to_owned(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            layers: manifest.assets.layers,
            file,
        })
    }

    /// Gives the bytes of a layer to `take`. Each time the pack is read from its beginning: it has one layer nearly always.
    pub(super) fn layer<T>(
        &self,
        layer: &PackedLayer,
        take: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(self.assets.0))?;
        let plain = zstd::stream::read::Decoder::new(file.take(self.assets.1))?;
        let mut archive = tar::Archive::new(plain);
        for entry in archive.entries()?.take(MOST_ENTRIES) {
            let mut entry = entry?;
            let is_it = entry.header().entry_type() == tar::EntryType::Regular
                && named(&entry.path_bytes()) == layer.path.as_bytes();
            if is_it {
                return take(&mut entry);
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("the pack has no {}", layer.path)))
    }
}

fn named(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"./").unwrap_or(path)
}

/// The lowest byte first.
fn number(footer: &[u8; FOOTER], at: usize, length: usize) -> u64 {
    let bytes = footer.get(at..at + length).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::fs;

    /// As `smolvm pack create` writes one: layers by the names that the manifest has for them, in a tar file under zstd.
    pub(crate) fn pack(layers: &[Vec<u8>], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        // smolvm unpacks it, so it is a tar file, and here an empty one.
        add("./agent-rootfs.tar", &[0; 1024]);
        let mut named = Vec::new();
        for layer in layers {
            let digest = crate::images::named(&Sha256::digest(layer));
            let path = format!("layers/{}.tar", &digest[7..19]);
            named.push(json!({ "digest": digest, "path": path, "size": layer.len() }));
        }
        // Their order in the file is not the manifest's.
        for (layer, named) in layers.iter().zip(&named).rev() {
            add(&format!("./{}", named["path"].as_str().unwrap()), layer);
        }
        let assets = zstd::stream::encode_all(&tar.into_inner().unwrap()[..], 1).unwrap();
        let mut manifest = json!({
            "mode": "container", "image": "x:1", "digest": "sha256:0", "cpus": 4, "mem": 8192,
            "platform": format!("linux/{}", crate::images::architecture()),
            "env": ["PATH=/opt/bin:/bin", "A=b=c"], "entrypoint": ["/evil"], "cmd": ["--now"],
            "assets": { "libraries": [], "agent_rootfs": { "path": "agent-rootfs.tar", "size": 1024 }, "layers": named },
        });
        edit(&mut manifest);
        let manifest = manifest.to_string().into_bytes();
        let mut crc = flate2::Crc::new();
        crc.update(&assets);
        crc.update(&manifest);
        let mut bytes = [assets.clone(), manifest.clone()].concat();
        bytes.extend(MAGIC);
        bytes.extend(1u32.to_le_bytes());
        for number in [0, 0, assets.len(), assets.len(), manifest.len()] {
            bytes.extend((number as u64).to_le_bytes());
        }
        bytes.extend(crc.sum().to_le_bytes());
        bytes.extend([0; 8]);
        bytes
    }

    fn opened(bytes: &[u8]) -> Result<Pack, ReadError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.smolmachine");
        fs::write(&path, bytes).unwrap();
        Pack::open(&path)
    }

    #[test]
    fn a_pack_says_what_is_in_it() {
        let pack = opened(&pack(&[b"one".to_vec(), b"two".to_vec()], |_| {})).unwrap();
        assert_eq!((pack.os.as_str(), pack.architecture.as_str()), ("linux", crate::images::architecture()));
        assert_eq!((pack.env["A"].as_str(), pack.layers.len()), ("b=c", 2));
        assert!(pack.id.starts_with("sha256:"));
        for (layer, expected) in pack.layers.iter().zip(["one", "two"]) {
            let mut text = String::new();
            pack.layer(layer, |bytes| bytes.read_to_string(&mut text)).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn what_is_no_pack_of_an_image_is_refused_with_its_reason() {
        let good = pack(&[b"one".to_vec()], |_| {});
        let end = good.len() - FOOTER;
        let spoilt = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[end + at] = byte;
            opened(&bytes).unwrap_err().to_string()
        };
        assert!(opened(&good).is_ok());
        let mut third = good.clone();
        third[end + 8] = 3;
        assert!(opened(&third).is_ok());
        assert!(opened(b"short").unwrap_err().to_string().contains("too short"));
        assert!(spoilt(0, b'X').contains("does not end as one"));
        assert!(spoilt(8, 9).contains("format is newer"));
        for at in [27, 35, 43, 51] {
            // The highest byte of a place or a length: it is not even looked for.
            assert!(spoilt(at, 0xff).contains("beyond its end"), "{at}");
        }
        let edited = |edit: fn(&mut Value)| opened(&pack(&[b"one".to_vec()], edit)).unwrap_err().to_string();
        assert!(edited(|manifest| manifest["mode"] = "vm".into()).contains("a machine's disk"));
        assert!(edited(|manifest| manifest["mode"] = "later".into()).contains("a machine's disk"));
        assert!(edited(|manifest| manifest["assets"]["layers"] = json!([])).contains("no layer"));
        assert!(edited(|manifest| *manifest = json!([])).contains("cannot be understood"));
        let many = |manifest: &mut Value| {
            let layer = manifest["assets"]["layers"][0].clone();
            manifest["assets"]["layers"] = vec![layer; MOST_LAYERS + 1].into();
        };
        assert!(opened(&pack(&[b"one".to_vec()], many)).is_err());
    }
}
