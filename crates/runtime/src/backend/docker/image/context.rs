//! Directories as archives: what a build may see, and a whole root.
//!
//! Links are packed as links; nothing is followed, and what is mounted below a root is another file system's and left
//! out, as is a socket, and from a build's context pipes and devices. Everything goes in by its name's order, so that the same tree has the same digest.

use super::{
    error::ImageError,
    packed::{Packed, Packer},
};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};
use tar::{Builder, EntryType, Header, HeaderMode};

/// What is beside a Dockerfile, but for what `.dockerignore` names; without owners and times, as Docker's own client
/// sends it.
pub(super) fn of_build(directory: &Path, dockerfile: &str, scratch: &Path) -> Result<Packed, ImageError> {
    let left_out = LeftOut::of(directory)?;
    let always = [dockerfile, ".dockerignore"].map(Path::new);
    pack(directory, scratch, HeaderMode::Deterministic, &|path, is_directory| {
        if always.contains(&path) { Take::All } else { left_out.take(path, is_directory) }
    })
}

/// A root as it lies there, with owners, modes and times.
pub(super) fn of_root(directory: &Path, scratch: &Path) -> Result<Packed, ImageError> {
    pack(directory, scratch, HeaderMode::Complete, &|_, _| Take::All)
}

/// One file.
pub(super) fn of_text(name: &str, text: &str, scratch: &Path) -> Result<Packed, ImageError> {
    let mut builder = Builder::new(Packer::new(scratch)?);
    let mut header = Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    let packed = builder
        .append_data(&mut header, name, text.as_bytes())
        .and_then(|()| builder.into_inner())
        .and_then(Packer::finish);
    packed.map_err(|source| ImageError::Pack { path: scratch.to_owned(), source })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Take {
    All,
    /// Not itself, and maybe something below it.
    Below,
    Nothing,
}

fn pack(
    root: &Path,
    scratch: &Path,
    mode: HeaderMode,
    take: &dyn Fn(&Path, bool) -> Take,
) -> Result<Packed, ImageError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| ImageError::Read { path, source }
    };
    let device = fs::metadata(root).and_then(|metadata| {
        if metadata.is_dir() { Ok(metadata.dev()) } else { Err(io::ErrorKind::NotADirectory.into()) }
    });
    let device = device.map_err(read(root))?;
    let mut builder = Builder::new(Packer::new(scratch)?);
    builder.follow_symlinks(false);
    builder.mode(mode);
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let listed = fs::read_dir(&directory).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut entries = listed.map_err(read(&directory))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for path in entries.into_iter().map(|entry| entry.path()) {
            let metadata = fs::symlink_metadata(&path).map_err(read(&path))?;
            let below = path.strip_prefix(root).unwrap_or(&path).to_owned();
            if metadata.dev() != device || metadata.file_type().is_socket() {
                continue;
            }
            let taken = take(&below, metadata.is_dir());
            let kind = metadata.file_type();
            if taken == Take::All && (kind.is_file() || kind.is_dir() || kind.is_symlink()) {
                builder.append_path_with_name(&path, &below).map_err(read(&path))?;
            } else if taken == Take::All && mode == HeaderMode::Complete {
                builder.append_data(&mut special(&metadata), &below, io::empty()).map_err(read(&path))?;
            }
            if metadata.is_dir() && taken != Take::Nothing {
                waiting.push(path);
            }
        }
    }
    let packed = builder.into_inner().and_then(Packer::finish);
    packed.map_err(|source| ImageError::Pack { path: scratch.to_owned(), source })
}

/// A pipe or a device.
fn special(metadata: &fs::Metadata) -> Header {
    let kind = metadata.file_type();
    let mut header = Header::new_gnu();
    header.set_metadata_in_mode(metadata, HeaderMode::Complete);
    header.set_size(0);
    header.set_entry_type(match () {
        () if kind.is_char_device() => EntryType::Char,
        () if kind.is_block_device() => EntryType::Block,
        () => EntryType::Fifo,
    });
    if !kind.is_fifo() {
        // The format has room for them, so neither can fail.
        let _ = header.set_device_major(rustix::fs::major(metadata.rdev()));
        let _ = header.set_device_minor(rustix::fs::minor(metadata.rdev()));
    }
    header
}

/// `.dockerignore`: patterns from the context's root, the last that fits decides.
struct LeftOut {
    patterns: Gitignore,
    excepts: bool,
}

impl LeftOut {
    fn of(directory: &Path) -> Result<LeftOut, ImageError> {
        let path = directory.join(".dockerignore");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ImageError::Read { path, source }),
        };
        let mut builder = GitignoreBuilder::new(directory);
        let mut excepts = false;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (mark, pattern) = line.strip_prefix('!').map_or(("", line), |pattern| ("!", pattern.trim()));
            excepts |= mark == "!";
            let pattern = pattern.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
            if builder.add_line(None, &format!("{mark}/{pattern}")).is_err() {
                let source = io::Error::new(io::ErrorKind::InvalidData, format!("no pattern: {line}"));
                return Err(ImageError::Read { path, source });
            }
        }
        let patterns = builder.build().map_err(|error| ImageError::Read { path, source: io::Error::other(error) })?;
        Ok(LeftOut { patterns, excepts })
    }

    fn take(&self, below: &Path, is_directory: bool) -> Take {
        match self.patterns.matched_path_or_any_parents(below, is_directory).is_ignore() {
            false => Take::All,
            true if self.excepts => Take::Below,
            true => Take::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(packed: &Packed) -> Vec<String> {
        let mut archive = tar::Archive::new(packed.reader().unwrap());
        let entries = archive.entries().unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| entry.path().unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_context_is_what_is_not_left_out_and_the_same_each_time() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // Made by whoever packs: nobody else may look into it.
        let scratch = cache.path().join("images");
        let write = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for path in ["Dockerfile", "kept", "secret.key", "deep/secret.key", "out/kept", "out/gone", "deep/a/b.log"] {
            write(path);
        }
        fs::write(root.path().join(".dockerignore"), "# ours\n*.key\nout\n!out/kept\n**/*.log\nDockerfile\n").unwrap();
        symlink("/etc/passwd", root.path().join("link")).unwrap();
        let packed = of_build(root.path(), "Dockerfile", &scratch).unwrap();
        let mut found = names(&packed);
        found.sort();
        let expected =
            [".dockerignore", "Dockerfile", "deep/", "deep/a/", "deep/secret.key", "kept", "link", "out/kept"];
        assert_eq!(
            found.iter().map(|name| name.trim_end_matches('/')).collect::<Vec<_>>(),
            expected.map(|it| it.trim_end_matches('/'))
        );
        let again = of_build(root.path(), "Dockerfile", &scratch).unwrap();
        assert_eq!(packed.digest(), again.digest());
        write("more");
        assert_ne!(packed.digest(), of_build(root.path(), "Dockerfile", &scratch).unwrap().digest());
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "something was left");
    }
}
