//! An archive's layers, one over the other, as a directory: the root file system of a bottle that no engine makes.
//!
//! Kept by the digest of the image's configuration, which names each layer by what it unpacks to (image-spec,
//! `config.md`), so nothing in the directory comes from bytes that were not checked against it.

use super::{
    archive::{ReadError, Source},
    layer::Layers,
    pack::Pack,
    room::{self, Cache},
};
use crate::{beneath, store::private_directory};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Between making an image and holding it others may remove it.
const TRIES: u32 = 5;
/// Of an image that is unpacked, beside its root.
pub(super) const FACTS: &str = "facts.json";
const ROOT: &str = "root";

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("{} cannot be read as an image", .0.display())]
    Read(PathBuf, #[source] ReadError),
    #[error("the image is for {found}, and this machine is {here}", here = super::architecture())]
    Architecture { found: String },
    #[error("a layer of the image cannot be unpacked")]
    Layer(#[source] io::Error),
    #[error("{} cannot be written", .0.display())]
    Keep(PathBuf, #[source] io::Error),
    #[error("other processes remove the image as soon as it is unpacked; give images more room, or try again")]
    Taken,
}

/// An image that is there as a directory.
#[derive(Debug)]
pub struct Unpacked {
    /// `sha256:…` of its configuration, as engines call an image.
    pub id: String,
    /// What its configuration sets.
    pub env: BTreeMap<String, String>,
    pub root: PathBuf,
    pub was_there: bool,
    /// As long as this is there the image stays; whoever shows it to a bottle holds it likewise ([`hold`](super::hold)).
    pub held: File,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    id: String,
    env: BTreeMap<String, String>,
    /// What the layers unpack to.
    pub(super) bytes: u64,
}

/// Where the root of the image of this id is, once it is unpacked.
pub fn root(images: &Path, id: &str) -> Option<PathBuf> {
    let hex = super::hex(id)?;
    let root = images.join(hex).join(ROOT);
    root.is_dir().then_some(root)
}

/// What an image says of itself.
struct Said<'a> {
    id: &'a str,
    architecture: &'a str,
    os: &'a str,
    env: &'a BTreeMap<String, String>,
}

/// Puts the layers of an image over each other, and tells how many bytes of it each had.
type Fill<'a> = &'a mut dyn FnMut(&mut Layers, &mut dyn FnMut(u64)) -> io::Result<()>;

/// Unpacks what is not there yet. `told` hears how many bytes of how many of the archive have been read.
pub fn unpack(archive: &Path, cache: Cache<'_>, told: &mut dyn FnMut(u64, u64)) -> Result<Unpacked, UnpackError> {
    let read = |error| UnpackError::Read(archive.to_owned(), error);
    let mut source = Source::open(archive).map_err(read)?;
    let image = source.image().map_err(read)?;
    let said = Said { id: &image.id, architecture: &image.architecture, os: &image.os, env: &image.env };
    let total = image.layers.iter().map(|layer| layer.size).sum();
    let mut fill = |layers: &mut Layers, done: &mut dyn FnMut(u64)| {
        for layer in &image.layers {
            layers.add(source.layer(layer)?, &layer.diff_id)?;
            done(layer.size);
        }
        Ok(())
    };
    put(&said, cache, total, told, &mut fill)
}

/// The same of what smolvm has packed.
pub fn unpack_pack(path: &Path, cache: Cache<'_>, told: &mut dyn FnMut(u64, u64)) -> Result<Unpacked, UnpackError> {
    let pack = Pack::open(path).map_err(|error| UnpackError::Read(path.to_owned(), error))?;
    let said = Said { id: &pack.id, architecture: &pack.architecture, os: &pack.os, env: &pack.env };
    let total = pack.layers.iter().map(|layer| layer.size).sum();
    let mut fill = |layers: &mut Layers, done: &mut dyn FnMut(u64)| {
        for layer in &pack.layers {
            pack.layer(layer, |bytes| layers.add(bytes, &layer.digest))?;
            done(layer.size);
        }
        Ok(())
    };
    put(&said, cache, total, told, &mut fill)
}

fn put(
    image: &Said<'_>,
    cache: Cache<'_>,
    total: u64,
    told: &mut dyn FnMut(u64, u64),
    fill: Fill<'_>,
) -> Result<Unpacked, UnpackError> {
    let images = cache.directory;
    let keep = |error| UnpackError::Keep(images.to_owned(), error);
    if image.architecture != super::architecture() || image.os != "linux" {
        return Err(UnpackError::Architecture { found: format!("{} on {}", image.architecture, image.os) });
    }
    private_directory(images).map_err(|error| keep(io::Error::other(error)))?;
    room::sweep(images);
    let hex = super::hex(image.id).unwrap_or_default().to_owned();
    let (whole, part) = (images.join(&hex), images.join(format!("{hex}.part")));
    let mut was_there = true;
    for _ in 0..TRIES {
        // Bottles that have it hold it likewise.
        let held = room::lock(images, &hex, FlockOperation::LockShared).map_err(keep)?;
        if kept(&whole).is_some() {
            let (id, env) = (image.id.to_owned(), image.env.clone());
            return Ok(Unpacked { id, env, root: whole.join(ROOT), was_there, held });
        }
        drop(held);
        let _lock = room::lock(images, &hex, FlockOperation::LockExclusive).map_err(keep)?;
        if kept(&whole).is_some() {
            continue;
        }
        for left in [&whole, &part] {
            beneath::remove_tree(left).map_err(keep)?;
        }
        fs::create_dir_all(part.join(ROOT)).map_err(keep)?;
        let mut read = 0;
        let mut done = |size| {
            read += size;
            told(read, total);
        };
        let made = filled(image, &part, &mut done, fill);
        let made = made.and_then(|()| fs::rename(&part, &whole).map_err(keep));
        if made.is_err() {
            let _ = beneath::remove_tree(&part);
        }
        room::make(cache);
        made?;
        was_there = false;
    }
    Err(UnpackError::Taken)
}

fn kept(whole: &Path) -> Option<Facts> {
    serde_json::from_slice(&fs::read(whole.join(FACTS)).ok()?).ok()
}

fn filled(image: &Said<'_>, part: &Path, done: &mut dyn FnMut(u64), fill: Fill<'_>) -> Result<(), UnpackError> {
    let keep = |error| UnpackError::Keep(part.to_owned(), error);
    let mut layers = Layers::onto(&part.join(ROOT)).map_err(keep)?;
    fill(&mut layers, done).map_err(UnpackError::Layer)?;
    let facts = Facts { id: image.id.to_owned(), env: image.env.clone(), bytes: layers.bytes() };
    let facts = serde_json::to_vec(&facts).map_err(io::Error::from).map_err(keep)?;
    fs::write(part.join(FACTS), facts).map_err(keep)
}

#[cfg(test)]
mod tests {
    use super::{super::pack::tests::pack, *};
    use serde_json::json;
    use sha2::{Digest as _, Sha256};
    use std::{
        io::Write as _,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    };
    use tar::EntryType;

    /// Entries of one layer: kind, name, what it leads to or holds, mode.
    type Entry<'a> = (EntryType, &'a str, &'a str, u32);
    const FILE: EntryType = EntryType::Regular;
    const DIRECTORY: EntryType = EntryType::Directory;
    const LINK: EntryType = EntryType::Symlink;

    fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, name, rest, mode) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_mtime(1_000_000_000);
            header.set_uid(0);
            header.set_gid(0);
            // Also what a builder would refuse.
            let field = header.as_old_mut();
            field.name[..name.len()].copy_from_slice(name.as_bytes());
            if matches!(*kind, EntryType::Symlink | EntryType::Link) {
                field.linkname[..rest.len()].copy_from_slice(rest.as_bytes());
                header.set_size(0);
                header.set_cksum();
                tar.append(&header, io::empty()).unwrap();
            } else {
                header.set_size(rest.len() as u64);
                header.set_cksum();
                tar.append(&header, rest.as_bytes()).unwrap();
            }
        }
        tar.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn digest(bytes: &[u8]) -> String {
        super::super::named(&Sha256::digest(bytes))
    }

    fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn config(layers: &[Vec<u8>]) -> Vec<u8> {
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        json!({
            "architecture": super::super::architecture(), "os": "linux",
            "config": { "Env": ["PATH=/opt/bin:/bin", "A=b=c"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string()
        .into_bytes()
    }

    /// As `docker save` writes it.
    fn saved(layers: &[Vec<u8>]) -> Vec<u8> {
        let config = config(layers);
        let names: Vec<String> = (0..layers.len()).map(|at| format!("{at}/layer.tar")).collect();
        let manifest = json!([{ "Config": "config.json", "RepoTags": ["x:1"], "Layers": names }]).to_string();
        let mut files = vec![("manifest.json".to_owned(), manifest.into_bytes()), ("config.json".to_owned(), config)];
        files.extend(names.into_iter().zip(layers.iter().cloned()));
        archive(&files)
    }

    /// An OCI layout, its layers compressed.
    fn layout(layers: &[Vec<u8>]) -> Vec<u8> {
        let config = config(layers);
        let blobs: Vec<Vec<u8>> = layers.iter().map(|layer| gzip(layer)).collect();
        let descriptor = |bytes: &[u8]| json!({ "digest": digest(bytes), "size": bytes.len() });
        let manifest = json!({ "config": descriptor(&config), "layers": blobs.iter().map(|it| descriptor(it)).collect::<Vec<_>>() });
        let manifest = manifest.to_string().into_bytes();
        let index = json!({ "manifests": [descriptor(&manifest)] }).to_string().into_bytes();
        let mut files = vec![("index.json".to_owned(), index)];
        for blob in blobs.iter().chain([&config, &manifest]) {
            files.push((format!("blobs/sha256/{}", super::super::hex(&digest(blob)).unwrap()), blob.clone()));
        }
        archive(&files)
    }

    fn cache(directory: &Path) -> Cache<'_> {
        Cache { directory, most: Cache::MOST }
    }

    struct Stage(tempfile::TempDir);

    impl Stage {
        fn new() -> Stage {
            Stage(tempfile::tempdir().unwrap())
        }

        fn unpack(&self, archive: &[u8]) -> Result<Unpacked, UnpackError> {
            let path = self.0.path().join("archive.tar");
            fs::write(&path, archive).unwrap();
            unpack(&path, cache(&self.0.path().join("images")), &mut |_, _| {})
        }
    }

    fn base() -> Vec<u8> {
        layer(&[
            (DIRECTORY, "./", "", 0o755),
            (DIRECTORY, "usr/lib/", "", 0o755),
            (LINK, "lib", "usr/lib", 0o777),
            (FILE, "lib/one", "1", 0o4755),
            (FILE, "etc/gone", "old", 0o644),
            (FILE, "etc/kept", "kept", 0o400),
            (FILE, "var/cache/a", "a", 0o644),
            (FILE, "var/cache/b/c", "c", 0o644),
            (EntryType::Char, "dev/mem", "", 0o666),
            (EntryType::Link, "usr/two", "lib/one", 0),
        ])
    }

    #[test]
    fn layers_lie_over_each_other() {
        let second = layer(&[
            (FILE, "etc/.wh.gone", "", 0),
            (FILE, "var/cache/.wh..wh..opq", "", 0),
            (FILE, "var/cache/new", "n", 0o600),
            (DIRECTORY, "usr/lib/", "", 0o500),
            (FILE, "lib/one", "2", 0o644),
            (LINK, "etc/kept", "/etc/passwd", 0o777),
        ]);
        let stage = Stage::new();
        for bytes in [saved(&[base(), second.clone()]), layout(&[base(), second.clone()])] {
            let unpacked = stage.unpack(&bytes).unwrap();
            let at = |name: &str| unpacked.root.join(name);
            let text = |name: &str| fs::read_to_string(at(name)).unwrap();
            assert_eq!((text("usr/lib/one").as_str(), text("usr/two").as_str()), ("2", "1"));
            assert_eq!(fs::read_link(at("lib")).unwrap(), Path::new("usr/lib"));
            assert_eq!(fs::read_link(at("etc/kept")).unwrap(), Path::new("/etc/passwd"));
            let left: Vec<_> = fs::read_dir(at("var/cache")).unwrap().map(|it| it.unwrap().file_name()).collect();
            assert_eq!(left, ["new"]);
            for gone in ["etc/gone", "dev/mem", "etc/.wh.gone"] {
                assert!(at(gone).symlink_metadata().is_err(), "{gone}");
            }
            let of = fs::metadata(at("usr/two")).unwrap();
            assert_eq!((of.permissions().mode() & 0o7777, of.mtime()), (0o755, 1_000_000_000), "no set-id bit");
            assert_eq!(unpacked.env["A"], "b=c");
            assert_eq!(root(&stage.0.path().join("images"), &unpacked.id), Some(unpacked.root.clone()));
        }
        assert!(stage.unpack(&layout(&[base(), second])).unwrap().was_there, "both are the same image");
    }

    #[test]
    fn what_was_unpacked_stays_for_as_long_as_it_is_held() {
        let stage = Stage::new();
        let unpacked = stage.unpack(&saved(&[base()])).unwrap();
        let images = stage.0.path().join("images");
        let none = Cache { directory: &images, most: 0 };
        room::make(none);
        assert!(unpacked.root.is_dir());
        let again = stage.unpack(&saved(&[base()])).unwrap();
        drop(unpacked);
        room::make(none);
        assert!(again.was_there && again.root.is_dir());
        let keeper = room::hold(&images, &again.id).unwrap();
        drop(again.held);
        room::make(none);
        assert!(again.root.is_dir(), "taken over without a moment between");
        drop(keeper);
        room::make(none);
        assert!(!again.root.exists() && root(&images, &again.id).is_none());
    }

    #[test]
    fn a_pack_is_unpacked_by_what_its_manifest_says_of_its_layers_and_nothing_else() {
        let stage = Stage::new();
        let path = stage.0.path().join("x.smolmachine");
        let second = layer(&[(FILE, "etc/.wh.gone", "", 0), (FILE, "etc/new", "new", 0o644)]);
        let layers = [base(), second];
        let unpack = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            unpack_pack(&path, cache(&stage.0.path().join("images")), &mut |_, _| {})
        };
        let good = pack(&layers, |_| {});
        let unpacked = unpack(&good).unwrap();
        assert!(!unpacked.root.join("etc/gone").exists() && unpacked.root.join("etc/new").exists());
        assert_eq!((unpacked.env["A"].as_str(), unpacked.was_there), ("b=c", false));
        assert!(unpack(&good).unwrap().was_there);
        // Each is another image, and none of them is kept.
        let zero = format!("sha256:{}", "0".repeat(64));
        let digest = pack(&layers, |manifest| manifest["assets"]["layers"][1]["digest"] = zero.into());
        assert!(matches!(unpack(&digest), Err(UnpackError::Layer(_))));
        let missing = pack(&layers, |manifest| manifest["assets"]["layers"][1]["path"] = "agent-rootfs".into());
        assert!(matches!(unpack(&missing), Err(UnpackError::Layer(_))));
        let foreign = pack(&layers, |manifest| manifest["platform"] = "linux/s390x".into());
        assert!(matches!(unpack(&foreign), Err(UnpackError::Architecture { .. })));
        let mut spoilt = pack(&layers, |manifest| manifest["cpus"] = 1.into());
        spoilt[40] ^= 1;
        assert!(matches!(unpack(&spoilt), Err(UnpackError::Layer(_))));
        let images = fs::read_dir(stage.0.path().join("images")).unwrap();
        assert_eq!(images.flatten().filter(|it| it.path().is_dir()).count(), 1);
    }

    #[test]
    fn nothing_is_written_outside() {
        let outside = tempfile::tempdir().unwrap();
        let there = outside.path().display().to_string();
        let attacks: [&[Entry<'_>]; 5] = [
            &[(LINK, "out", &there, 0), (FILE, "out/x", "x", 0o644)],
            &[(LINK, "a", "../../../../../..", 0), (FILE, "a/tmp/x-of-a-layer", "x", 0o644)],
            &[(FILE, "../x", "x", 0o644)],
            &[(LINK, "etc", &there, 0), (FILE, "etc/.wh..wh..opq", "", 0)],
            &[(EntryType::Link, "passwd", "../../../../etc/passwd", 0)],
        ];
        fs::write(outside.path().join("mine"), "").unwrap();
        for attack in attacks {
            let stage = Stage::new();
            // Refused, or inside.
            let _ = stage.unpack(&saved(&[layer(attack)]));
            let left: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
            assert_eq!(left, ["mine"], "{attack:?}");
            assert!(!Path::new("/tmp/x-of-a-layer").exists());
        }
    }

    #[test]
    fn what_is_not_as_its_digests_say_is_not_kept() {
        let stage = Stage::new();
        let mut bytes = saved(&[base()]);
        // What a file holds: of a name the tar file has a sum of its own.
        let at = bytes.windows(4).position(|it| it == b"old\0").unwrap();
        bytes[at..at + 3].copy_from_slice(b"new");
        assert!(stage.unpack(&bytes).is_err());
        let left: Vec<_> = fs::read_dir(stage.0.path().join("images")).unwrap().map(|it| it.unwrap().path()).collect();
        assert!(left.iter().all(|it| it.extension().is_some_and(|it| it == "lock")), "{left:?}");
        assert!(stage.unpack(b"no archive at all").is_err());
        assert!(matches!(stage.unpack(&gzip(&saved(&[base()]))), Err(UnpackError::Read(_, ReadError::Compressed))));
    }
}
