//! Places for mounts that lie in the agent's home or workspace.
//!
//! Invariant: what an agent left there in an earlier run cannot lead a mount anywhere else. An engine follows links
//! within the container's root when it looks for the place of a mount; so every place is walked here first, through no
//! link, and made where it is missing, while nothing of the bottle runs.

use super::error::ContainerError;
use crate::backend::room::{HOME, RoomSpec};
use bottle_spec::plan::Workspace;
use rustix::{
    fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, mkdirat, openat2},
    io::Errno,
};
use std::{io, os::fd::OwnedFd, path::Path};

/// Makes each place, as the agent's, or finds that it is one.
pub(super) fn prepare(room: &RoomSpec<'_>) -> Result<(), ContainerError> {
    let workspace = room.workspace.map(|source| (source, Workspace::TARGET));
    for mount in &room.plan.mounts {
        let grounds = [Some((room.home, HOME)), workspace].into_iter().flatten();
        for (source, target) in grounds {
            let Ok(below) = mount.target.strip_prefix(target) else { continue };
            place(source, below, mount.source.is_dir(), room.host_ids)
                .map_err(|error| ContainerError::Place(mount.target.clone(), error))?;
        }
    }
    Ok(())
}

fn place(ground: &Path, below: &Path, directory: bool, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut at = open(None, ground, OFlags::PATH | OFlags::DIRECTORY)?;
    let mut parts = below.components().peekable();
    while let Some(part) = parts.next() {
        let name = Path::new(part.as_os_str());
        if parts.peek().is_none() && !directory {
            let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = open(Some(&at), name, flags)?;
            if !rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            return own(&file, owner);
        }
        let made = match mkdirat(&at, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        at = open(Some(&at), name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        if made {
            own(&at, owner)?;
        }
    }
    Ok(())
}

/// Through no link at all.
fn open(at: Option<&OwnedFd>, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
    let flags = flags | OFlags::CLOEXEC;
    let opened = match at {
        Some(at) => openat2(at, name, flags, mode, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS),
        // The user's own path.
        None => rustix::fs::openat(CWD, name, flags, mode),
    };
    Ok(opened?)
}

fn own(made: &OwnedFd, owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    Ok(fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn a_place_is_made_through_directories_alone() {
        let root = tempfile::tempdir().unwrap();
        let (home, outside) = (root.path().join("home"), root.path().join("outside"));
        fs::create_dir_all(&home).unwrap();
        fs::create_dir(&outside).unwrap();
        place(&home, Path::new("a/b/c"), true, None).unwrap();
        place(&home, Path::new("a/b/file"), false, None).unwrap();
        place(&home, Path::new("a/b/c"), true, None).unwrap();
        assert!(home.join("a/b/c").is_dir() && home.join("a/b/file").is_file());
        symlink(&outside, home.join("led")).unwrap();
        symlink(&outside, home.join("a/led")).unwrap();
        symlink(outside.join("made"), home.join("a/f")).unwrap();
        for (below, directory) in
            [("led", true), ("led/in", true), ("a/led/in", false), ("a/f", false), ("a/b/file", true)]
        {
            assert!(place(&home, Path::new(below), directory, None).is_err(), "{below}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made elsewhere");
        assert!(place(&home, Path::new("a/b"), false, None).is_err(), "a directory is no file");
    }
}
