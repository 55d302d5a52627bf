//! Removing and opening what an agent owned, beneath a directory of ours.
//!
//! Invariant: no symbolic link is followed and nothing outside of the directory is touched, even while someone swaps
//! names around. No recursion and two descriptors: depth is the agent's to choose.

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, openat, renameat, unlinkat},
    io::Errno,
};
use std::{
    ffi::{CStr, CString, OsStr},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// Names that stood in the way when all was said to be gone, at most so often.
const ROUNDS: usize = 16;

/// Removes a directory and all beneath it. One that is not there is fine.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = match openat(CWD, parent, directory, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    for _ in 0..ROUNDS {
        match remove_in(&parent, name) {
            // Someone put something back meanwhile.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            other => return other,
        }
    }
    Err(io::ErrorKind::DirectoryNotEmpty.into())
}

fn remove_in(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR) => return Ok(unlinkat(parent, name, AtFlags::empty())?),
        Err(_) => {}
    }
    let top = enter(parent.as_fd(), name)?;
    let mut moved = 0_u64;
    let mut waiting: Vec<CString> = Vec::new();
    empty(&top, &top, &mut waiting, &mut moved)?;
    while let Some(next) = waiting.pop() {
        match enter(top.as_fd(), OsStr::from_bytes(next.as_bytes())) {
            Ok(directory) => empty(&directory, &top, &mut waiting, &mut moved)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        match unlinkat(&top, &next, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory that may have mode 000, never through a link.
fn enter(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = openat(parent, name, OFlags::PATH | flags, Mode::empty())?;
    // `chmod` takes no descriptor opened by `O_PATH`; its name in /proc leads to this very directory.
    let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
    match openat(&held, ".", OFlags::RDONLY | flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmod(itself.as_str(), Mode::RWXU)?;
            Ok(openat(&held, ".", OFlags::RDONLY | flags, Mode::empty())?)
        }
        Ok(directory) => {
            // Its entries cannot be removed without this. Whoever may not change the mode fails at the removal.
            let _ = fchmod(&directory, Mode::RWXU);
            Ok(directory)
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes what is in `directory`; directories that are not empty are moved up to `top` and wait there.
fn empty(directory: &OwnedFd, top: &OwnedFd, waiting: &mut Vec<CString>, moved: &mut u64) -> io::Result<()> {
    let entries = names(directory)?;
    let at_top = directory.as_raw_fd() == top.as_raw_fd();
    for (name, is_directory) in entries {
        if !is_directory && unlinkat(directory, &name, AtFlags::empty()).is_ok() {
            continue;
        }
        match unlinkat(directory, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::NOTDIR) => unlinkat(directory, &name, AtFlags::empty())?,
            Err(Errno::NOTEMPTY | Errno::EXIST) if at_top => waiting.push(name),
            Err(Errno::NOTEMPTY | Errno::EXIST) => waiting.push(move_up(directory, &name, top, moved)?),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn move_up(directory: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> io::Result<CString> {
    // Moving a directory writes to it.
    drop(enter(directory.as_fd(), OsStr::from_bytes(name.to_bytes()))?);
    loop {
        *moved += 1;
        let new = CString::new(format!(".reaped-{moved}")).map_err(io::Error::other)?;
        match renameat(directory, name, top, &new) {
            Ok(()) => return Ok(new),
            // The name is taken by the agent: by a file, or by a directory that is not empty.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<(CString, bool)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type() == FileType::Directory));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    #[test]
    fn a_hostile_tree_goes_and_what_it_points_at_stays() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        let tree = root.path().join("tree");
        let mut deep = tree.clone();
        for _ in 0..300 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir_all(tree.join(".reaped-1/x")).unwrap();
        fs::write(tree.join(".reaped-2"), "").unwrap();
        symlink(&outside, deep.join("link")).unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        fs::write(tree.join("a\nb\u{1b}"), "").unwrap();
        rustix::fs::mknodat(CWD, tree.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        fs::create_dir_all(tree.join("locked/inner")).unwrap();
        fs::set_permissions(tree.join("locked"), fs::Permissions::from_mode(0o0)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && outside.join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_the_tree_is_removed_and_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("outside")).unwrap();
        fs::write(root.path().join("outside/kept"), "").unwrap();
        symlink(root.path().join("outside"), root.path().join("tree")).unwrap();
        remove_tree(&root.path().join("tree")).unwrap();
        assert!(root.path().join("outside/kept").exists() && !root.path().join("tree").is_symlink());
    }

    /// What a swap between looking and entering comes to.
    #[test]
    fn a_directory_that_became_a_link_is_not_entered() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("outside")).unwrap();
        symlink("outside", root.path().join("link")).unwrap();
        let held = openat(CWD, root.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert!(enter(held.as_fd(), OsStr::new("link")).is_err());
        assert!(enter(held.as_fd(), OsStr::new("outside")).is_ok());
    }
}
