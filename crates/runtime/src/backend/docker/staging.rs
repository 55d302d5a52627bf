//! What a container is given as files: init, the files of `/etc` that every bottle has of its own, and what the
//! provisioners want outside of the home. Each is written on the host and mounted read-only, so any image will do, one
//! with a link or nothing at all in the place as well.

use super::{
    container::{ContainerSpec, ids},
    error::ContainerError,
};
use crate::{
    backend::etc,
    beneath,
    provision::{Piece, Put},
};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

/// Where what is.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// A directory with `init`, and the place for its socket.
    pub(super) entry: PathBuf,
    /// On the host, and in the container.
    pub(super) files: Vec<(PathBuf, PathBuf)>,
}

/// Writes everything anew: what an earlier run of the bottle left there goes first.
pub(super) fn stage(spec: &ContainerSpec<'_>) -> Result<Staged, ContainerError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ContainerError::Stage { path, source }
    };
    let staging = spec.staging;
    beneath::remove_tree(staging).map_err(failed(staging))?;
    let (entry, files) = (staging.join("entry"), staging.join("files"));
    // Nobody gets to them but by the mounts: what is above is the user's alone.
    for path in [staging, &entry, &files] {
        directory(path).map_err(failed(path))?;
    }
    let init = entry.join("init");
    write(&init, spec.room.init_image, 0o755, None).map_err(failed(&init))?;
    let mut staged = Staged { entry, files: Vec::new() };
    let shell = spec.room.plan.env.get("SHELL").map_or("/bin/sh", String::as_str);
    let of_etc = etc::files(&spec.room, ids(&spec.room), shell);
    let of_etc = of_etc.into_iter().map(|(name, bytes)| (Path::new("/etc").join(name), bytes, 0o644));
    let of_pieces = spec.room.pieces.iter().filter_map(|piece| match &piece.what {
        Put::File { bytes, mode } => Some((piece.target.clone(), bytes.clone(), *mode)),
        Put::Link(_) | Put::Tree(_) => None,
    });
    for (index, (target, bytes, mode)) in of_etc.chain(of_pieces).enumerate() {
        let path = files.join(index.to_string());
        write(&path, &bytes, mode, spec.room.host_ids).map_err(failed(&path))?;
        staged.files.push((path, target));
    }
    for Piece { target, what } in spec.room.pieces {
        let source = match what {
            Put::File { .. } => continue,
            Put::Tree(source) => source.clone(),
            // A link cannot be mounted; what it leads to can.
            Put::Link(to) => match staged.files.iter().find(|(_, target)| target == to) {
                Some((source, _)) => source.clone(),
                None => return Err(ContainerError::Link(target.clone())),
            },
        };
        staged.files.push((source, target.clone()));
    }
    Ok(staged)
}

fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)?;
    // Whatever the keeper's mask is.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// `owner` is the agent, where that is another user than this one.
fn write(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    match owner {
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}
