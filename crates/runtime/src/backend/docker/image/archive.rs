//! Images in files.
//!
//! Engines of all ages load an archive that has Docker's `manifest.json`; an OCI archive holds the same blobs and says it
//! otherwise. So it is sent as it is, with that one file after the last of its own. What the index and the manifest say
//! is checked against their digests; a layer's is the engine's to check.
//!
//! Sources: OCI image-spec 1.1, `image-layout.md`, `image-index.md`, `manifest.md`; moby, `image/tarexport/load.go`.

use super::{error::ImageError, packed::Packed};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::Path,
};
use tar::{Archive, Builder, EntryType, Header};

/// No index, manifest or configuration is larger.
const MOST: u64 = 4 << 20;
/// Kept in memory while an archive is read: what is small enough to be one of those.
const KEPT: usize = 256;
const KIND: &str = "OCI archive";

pub(super) fn docker(path: &Path) -> Result<Packed, ImageError> {
    let read = |source| ImageError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    let length = file.metadata().map_err(read)?.len();
    Packed::of_file(file, length, Vec::new()).map_err(read)
}

/// The name, or names, in what an engine says when it has loaded something.
pub(super) fn loaded(line: &str) -> Vec<String> {
    let names = line.strip_prefix("Loaded image: ").or_else(|| line.strip_prefix("Loaded image ID: "));
    names.into_iter().flat_map(|names| names.split(',')).map(|name| name.trim().to_owned()).collect()
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

pub(super) fn oci(path: &Path) -> Result<Packed, ImageError> {
    let read = |source| ImageError::Read { path: path.to_owned(), source };
    let no = |why| ImageError::Archive { path: path.to_owned(), kind: KIND, why };
    let file = File::open(path).map_err(read)?;
    let read_whole = small_files(&file).map_err(|_| no("it cannot be read as a tar; decompress it first"))?;
    // It says both, as Docker's own do.
    let Some((small, end)) = read_whole else { return docker(path) };
    let blob = |digest: &str| -> Result<&Vec<u8>, ImageError> {
        let bytes = small.get(&place(digest).ok_or_else(|| no("a digest is none"))?);
        let bytes = bytes.ok_or_else(|| no("a blob that it names is missing"))?;
        let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if digest.strip_prefix("sha256:") == Some(&found) { Ok(bytes) } else { Err(no("a blob has another digest")) }
    };
    let index = small.get("index.json").ok_or_else(|| no("it has no index.json"))?;
    let mut chosen = choose(parse(index).ok_or_else(|| no("its index cannot be read"))?)
        .ok_or_else(|| no("it holds none or several images for this machine"))?;
    if chosen.media_type.contains("index") || chosen.media_type.contains("manifest.list") {
        let inner = parse(blob(&chosen.digest)?).ok_or_else(|| no("its index cannot be read"))?;
        chosen = choose(inner).ok_or_else(|| no("it holds none or several images for this machine"))?;
    }
    let manifest: Manifest =
        serde_json::from_slice(blob(&chosen.digest)?).map_err(|_| no("its manifest cannot be read"))?;
    blob(&manifest.config.digest)?;
    let layers: Option<Vec<String>> = manifest.layers.iter().map(|layer| place(&layer.digest)).collect();
    let layers = layers.ok_or_else(|| no("a digest is none"))?;
    let config = place(&manifest.config.digest).ok_or_else(|| no("a digest is none"))?;
    let said = serde_json::json!([{ "Config": config, "RepoTags": null, "Layers": layers }]).to_string();
    let after = entry("manifest.json", said.as_bytes()).map_err(read)?;
    Packed::of_file(file, end, after).map_err(read)
}

fn parse(bytes: &[u8]) -> Option<Index> {
    serde_json::from_slice(bytes).ok()
}

/// The one for this machine; one that says nothing of machines is for all.
fn choose(index: Index) -> Option<Descriptor> {
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits = |it: &Descriptor| it.platform.as_ref().is_none_or(|it| it.os == "linux" && it.architecture == own);
    let mut fitting = index.manifests.into_iter().filter(fits);
    let first = fitting.next()?;
    fitting.next().is_none().then_some(first)
}

/// Where a blob lies. Digests of other kinds are in no archive that engines load.
fn place(digest: &str) -> Option<String> {
    let hex = digest.strip_prefix("sha256:")?;
    let sound = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    sound.then(|| format!("blobs/sha256/{hex}"))
}

/// By their names.
type Files = BTreeMap<String, Vec<u8>>;

/// The small files of an archive, and where its last entry ends. `None` where Docker's manifest is among them.
fn small_files(file: &File) -> io::Result<Option<(Files, u64)>> {
    let (mut small, mut end) = (Files::new(), 0);
    let mut archive = Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        end = entry.raw_file_position() + entry.size().next_multiple_of(512);
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        if name == "manifest.json" {
            return Ok(None);
        }
        let kept = entry.header().entry_type() == EntryType::Regular && entry.size() <= MOST && small.len() < KEPT;
        // Of what is no text at all only the beginning is read.
        if kept {
            let mut bytes = vec![0; 1];
            let count = entry.read(&mut bytes)?;
            if count == 1 && bytes == b"{" {
                entry.read_to_end(&mut bytes)?;
                small.insert(name, bytes);
            }
        }
    }
    Ok(Some((small, end)))
}

/// One file and the end of an archive.
fn entry(name: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    let mut builder = Builder::new(Vec::new());
    builder.append_data(&mut header, name, bytes)?;
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write as _};

    fn blob(bytes: &[u8]) -> (String, Vec<u8>) {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        (format!("sha256:{hex}"), bytes.to_vec())
    }

    fn archive(path: &Path, files: &[(&str, &[u8])]) {
        let mut builder = Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        fs::File::create(path).unwrap().write_all(&builder.into_inner().unwrap()).unwrap();
    }

    #[test]
    fn an_oci_archive_is_sent_with_dockers_manifest_after_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("image.tar");
        let (config, config_bytes) = blob(b"{\"architecture\":\"amd64\"}");
        let (layer, layer_bytes) = blob(b"no text");
        let text = format!("{{\"config\":{{\"digest\":\"{config}\"}},\"layers\":[{{\"digest\":\"{layer}\"}}]}}");
        let (manifest, manifest_bytes) = blob(text.as_bytes());
        let index = format!("{{\"manifests\":[{{\"digest\":\"{manifest}\"}}]}}");
        let at = |digest: &str| place(digest).unwrap();
        let (config_at, layer_at, manifest_at) = (at(&config), at(&layer), at(&manifest));
        let all = [
            ("index.json", index.as_bytes()),
            (config_at.as_str(), config_bytes.as_slice()),
            (layer_at.as_str(), layer_bytes.as_slice()),
            (manifest_at.as_str(), manifest_bytes.as_slice()),
        ];
        archive(&path, &all);
        let packed = oci(&path).unwrap();
        let mut sent = Archive::new(packed.reader().unwrap());
        let names: Vec<String> =
            sent.entries().unwrap().map(|it| it.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names.len(), 5);
        assert_eq!(names.last().map(String::as_str), Some("manifest.json"));

        // What does not fit together is refused.
        let why = |files: &[(&str, &[u8])]| {
            archive(&path, files);
            oci(&path).unwrap_err().to_string()
        };
        assert!(why(&all[1..]).contains("no index.json"));
        assert!(why(&all[..3]).contains("missing"));
        let forged = [all[0], all[1], all[2], (manifest_at.as_str(), b"{}".as_slice())];
        assert!(why(&forged).contains("another digest"));
        archive(&path, &[&all[..], &[("manifest.json", b"[]".as_slice())]].concat());
        let mut both = Archive::new(oci(&path).unwrap().reader().unwrap());
        assert_eq!(both.entries().unwrap().count(), 5, "it is sent as it is");
        let evil = b"{\"manifests\":[{\"digest\":\"sha256:../../x\"}]}".as_slice();
        assert!(why(&[("index.json", evil)]).contains("a digest is none"));
        fs::write(&path, "no tar").unwrap();
        assert!(oci(&path).is_err());
    }

    #[test]
    fn what_was_loaded_is_read_from_the_engines_words() {
        assert_eq!(loaded("Loaded image: localhost/a:1,localhost/b:1"), ["localhost/a:1", "localhost/b:1"]);
        assert_eq!(loaded("Loaded image ID: sha256:00"), ["sha256:00"]);
        assert!(loaded("Loading layer").is_empty());
    }
}
