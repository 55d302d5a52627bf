//! What a machine is given as files: init, what it makes the room of, the files of `/etc` that every bottle has of its
//! own, and what the provisioners want outside of the home. All of it lies in one directory, which only the porter sees.

use super::{error::MachineError, machine::mounted};
use crate::{
    backend::{
        carried, etc,
        room::{FROZEN, HOME, MASKED_DIRECTORIES, MASKED_FILES, RoomSpec, relative, scratch_bounds},
    },
    beneath,
    provision::{Piece, Put},
};
use bottle_spec::{
    machine_link::{self, MachineRoom, Place},
    plan::Workspace,
};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Writes everything anew but what the porter makes the room of, which [`admit`] does.
pub(super) fn stage(room: &RoomSpec<'_>, ids: (u32, u32), entry: &Path) -> Result<MachineRoom, MachineError> {
    beneath::remove_tree(entry).map_err(MachineError::at(entry))?;
    DirBuilder::new().mode(0o700).recursive(true).create(entry).map_err(MachineError::at(entry))?;
    let init = entry.join(machine_link::PROGRAM);
    write(&init, room.init_image, 0o755).map_err(MachineError::at(&init))?;
    let mut places = own_places(room)?;
    let mut files = Vec::new();
    let shell = room.plan.env.get("SHELL").map_or("/bin/sh", String::as_str);
    let of_etc = etc::files(room, ids, shell);
    let of_etc = of_etc.into_iter().map(|(name, bytes)| (Path::new("/etc").join(name), bytes, 0o644));
    let of_pieces = room.pieces.iter().filter_map(|piece| match &piece.what {
        Put::File { bytes, mode } => Some((piece.target.clone(), bytes.clone(), *mode)),
        Put::Link(_) | Put::Tree(_) => None,
    });
    for (index, (target, bytes, mode)) in of_etc.chain(of_pieces).enumerate() {
        let name = format!("file-{index}");
        let path = entry.join(&name);
        write(&path, &bytes, mode).map_err(MachineError::at(&path))?;
        files.push((name, target));
    }
    places.extend(files.iter().map(|(name, target)| file(name, target)));
    for (index, Piece { target, what }) in room.pieces.iter().enumerate() {
        match what {
            Put::File { .. } => {}
            Put::Tree(source) => {
                let name = format!("tree-{index}");
                copy(source, &entry.join(&name)).map_err(MachineError::at(source))?;
                places.push(Place { directory: source.is_dir(), ..file(&name, target) });
            }
            Put::Link(to) => match files.iter().find(|(_, target)| target == to) {
                Some((name, _)) => places.push(file(name, target)),
                None => return Err(MachineError::Link(target.clone())),
            },
        }
    }
    for (index, mount) in room.plan.mounts.iter().enumerate().filter(|(_, mount)| mount.source.is_file()) {
        let name = format!("mount-{index}");
        copy(&mount.source, &entry.join(&name)).map_err(MachineError::at(&mount.source))?;
        places.push(file(&name, &mount.target));
    }
    let token = carried::token().map_err(MachineError::Carried)?;
    let scratch = scratch_bounds(room.plan.limits);
    Ok(MachineRoom {
        token,
        host_name: room.slug.to_string(),
        uid: ids.0,
        gid: ids.1,
        doors: room.doors.to_vec(),
        places,
        scratch: (scratch.bytes, scratch.inodes),
        masked_files: MASKED_FILES.iter().map(|name| format!("/proc/{name}")).collect(),
        masked_directories: MASKED_DIRECTORIES.iter().map(|name| format!("/proc/{name}")).collect(),
        frozen: FROZEN.iter().map(|name| format!("/proc/{name}")).collect(),
    })
}

/// Has the porter make the room: now, where it waits for it.
pub(super) fn admit(room: &MachineRoom, entry: &Path) -> Result<(), MachineError> {
    let path = entry.join(machine_link::ROOM);
    let beside = path.with_extension("new");
    let written = serde_json::to_vec(room).map_err(io::Error::from).and_then(|bytes| write(&beside, &bytes, 0o600));
    written.and_then(|()| fs::rename(&beside, &path)).map_err(MachineError::at(&path))
}

/// Home, workspace, and the directories that the plan mounts.
fn own_places(room: &RoomSpec<'_>) -> Result<Vec<Place>, MachineError> {
    let place =
        |source: String, target: &str, writable| Place { source, target: target.to_owned(), directory: true, writable };
    let mut places = vec![place(machine_link::HOME.to_owned(), HOME, true)];
    if room.workspace.is_some() {
        places.push(place(machine_link::WORKSPACE.to_owned(), Workspace::TARGET, true));
    }
    for mount in &room.plan.mounts {
        relative(&mount.target).ok_or_else(|| MachineError::MountTarget(mount.target.clone()))?;
    }
    for (index, _) in mounted(room) {
        if let Some(mount) = room.plan.mounts.get(index) {
            let source = format!("{}/{index}", machine_link::MOUNTS);
            places.push(place(source, &mount.target.to_string_lossy(), false));
        }
    }
    Ok(places)
}

fn file(name: &str, target: &Path) -> Place {
    Place {
        source: format!("{}/{name}", machine_link::ENTRY),
        target: target.to_string_lossy().into_owned(),
        directory: false,
        writable: false,
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// A file, or a directory with all in it; links are followed, as the user's own are.
fn copy(source: &Path, target: &Path) -> io::Result<()> {
    if !source.is_dir() {
        return fs::copy(source, target).map(drop);
    }
    DirBuilder::new().mode(0o755).create(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        copy(&entry.path(), &target.join(entry.file_name()))?;
    }
    Ok(())
}

/// What smolvm would take apart at the wrong place.
pub(super) fn path_that_can_be_told(path: &Path) -> Result<(), MachineError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let plain = path.is_absolute() && bytes.iter().all(|byte| *byte != b':' && !byte.is_ascii_control());
    if plain { Ok(()) } else { Err(MachineError::Path(PathBuf::from(path))) }
}
