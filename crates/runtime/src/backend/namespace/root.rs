//! Makes the room's root out of a [`layout`](super::layout). Runs in the child, as the bottle's uid.
//!
//! Invariant: every path is walked from the new root with `openat2`, beneath it and through no symbolic link, so that
//! what an agent left in its home in an earlier run cannot lead a mount anywhere else.

use super::{
    error::{During, Failure, Step},
    layout::{Access, Entry, Kind, ROOT_BOUNDS, What},
    sys,
};
use crate::backend::room::Bounds;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags},
};
use std::{io, path::Path};

const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// The new root, mounted and still open to change.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

impl Root {
    /// Opens every place of the host that the layout shows, each as a mount of its own that is attached nowhere yet.
    /// One for each [`What::Bind`], in order, as are `mapped`, those that the keeper has opened already.
    pub(super) fn open_sources(layout: &[Entry], mapped: Vec<Option<OwnedFd>>) -> Result<Vec<OwnedFd>, Failure> {
        let sources = layout.iter().filter_map(|entry| match &entry.what {
            What::Bind { source, .. } => Some(source),
            _ => None,
        });
        sources
            .zip(mapped)
            .map(|(source, mapped)| match mapped {
                Some(mount) => Ok(mount),
                None => clone_tree(CWD, source, OpenTreeFlags::empty()).during(Step::OpenSource, source.display()),
            })
            .collect()
    }

    /// An empty root in memory, mounted over `place`.
    pub(super) fn make(place: &str) -> Result<Root, Failure> {
        let root = tmpfs(ROOT_BOUNDS, "0755", PLAIN).during(Step::MakeRoot, place)?;
        let onto = rustix::fs::open(place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .during(Step::MakeRoot, place)?;
        attach(root.as_fd(), onto.as_fd()).during(Step::MakeRoot, place)?;
        Ok(Root(root))
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Makes every entry, in order.
    pub(super) fn fill(&self, layout: &[Entry], sources: Vec<OwnedFd>) -> Result<(), Failure> {
        let mut sources = sources.into_iter();
        for Entry { target, what } in layout {
            let step = match what {
                What::Directory | What::File { .. } | What::Link(_) => Step::MakeEntry,
                What::Bind { .. } | What::Tmpfs(_) | What::Terminals => Step::Mount,
                What::Proc => Step::MountProc,
                What::Mask(_) | What::Freeze | What::Seal => Step::Mask,
                What::Hold { .. } => Step::Guard,
            };
            self.make_entry(target, what, &mut sources).during(step, format_args!("/{}", target.display()))?;
        }
        Ok(())
    }

    /// The root's own files can no longer be changed; what is mounted on it keeps its own mode.
    pub(super) fn seal(&self) -> Result<(), Failure> {
        sys::add_mount_attributes(self.directory(), MountAttrFlags::MOUNT_ATTR_RDONLY, false)
            .during(Step::SealRoot, "/")
    }

    fn make_entry(&self, target: &Path, what: &What, sources: &mut impl Iterator<Item = OwnedFd>) -> io::Result<()> {
        match what {
            What::Directory => self.place(target, Kind::Directory).map(drop),
            What::File { contents, mode } => self.write(target, contents, *mode),
            What::Link(to) => {
                let (parent, name) = self.parent(target)?;
                Ok(rustix::fs::symlinkat(to, parent, name)?)
            }
            What::Bind { access, .. } => {
                let source = sources.next().ok_or(Errno::NOENT)?;
                self.bind(target, source.as_fd(), *access)
            }
            What::Tmpfs(bounds) => {
                let mode = if target.starts_with("dev") && target != Path::new("dev/shm") { "0755" } else { "1777" };
                attach(tmpfs(*bounds, mode, PLAIN)?.as_fd(), self.place(target, Kind::Directory)?.as_fd())
            }
            What::Terminals => attach(terminals()?.as_fd(), self.place(target, Kind::Directory)?.as_fd()),
            What::Proc => attach(processes()?.as_fd(), self.place(target, Kind::Directory)?.as_fd()),
            What::Mask(kind) => self.if_there(target, |onto| self.mask(onto, *kind)),
            What::Seal => {
                sys::add_mount_attributes(self.open(target)?.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, false)
            }
            What::Freeze => self.if_there(target, |onto| hold(onto, true)),
            What::Hold { read_only } => hold(self.open(target)?.as_fd(), *read_only),
        }
    }

    fn bind(&self, target: &Path, source: BorrowedFd<'_>, access: Access) -> io::Result<()> {
        let kind = match FileType::from_raw_mode(rustix::fs::fstat(source)?.st_mode) {
            FileType::Directory => Kind::Directory,
            _ => Kind::File,
        };
        let attributes = match access {
            Access::ReadOnly => PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY,
            Access::Writable => PLAIN,
            Access::Device => MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        };
        // Before it is attached: there is no moment at which it can be reached and is not yet confined.
        sys::add_mount_attributes(source, attributes, true)?;
        attach(source, self.place(target, kind)?.as_fd())
    }

    fn mask(&self, onto: BorrowedFd<'_>, kind: Kind) -> io::Result<()> {
        let read_only = PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        match kind {
            Kind::File => attach(clone_tree(self.directory(), "dev/null", OpenTreeFlags::empty())?.as_fd(), onto),
            Kind::Directory => attach(tmpfs(Bounds { bytes: 4096, inodes: 1 }, "0555", read_only)?.as_fd(), onto),
        }
    }

    /// Runs `work` on a path that may not be there; then there is nothing to be done.
    fn if_there(&self, target: &Path, work: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        match self.open(target) {
            Ok(onto) => work(onto.as_fd()),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a path of the root to mount on, made if it is not there, with the directories on the way.
    fn place(&self, target: &Path, kind: Kind) -> io::Result<OwnedFd> {
        match self.open(target) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let (parent, name) = self.parent(target)?;
        match kind {
            Kind::Directory => rustix::fs::mkdirat(&parent, name, DIRECTORY_MODE)?,
            Kind::File => drop(create(parent.as_fd(), name, 0o644)?),
        }
        Ok(self.open(target)?)
    }

    fn write(&self, target: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = self.parent(target)?;
        let mut file = std::fs::File::from(create(parent.as_fd(), name, mode)?);
        io::Write::write_all(&mut file, contents)
    }

    /// The directory that holds `target`, made if it is not there, and the name in it.
    fn parent<'a>(&self, target: &'a Path) -> io::Result<(OwnedFd, &'a Path)> {
        let name = target.file_name().ok_or(Errno::INVAL)?;
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => self.place(parent, Kind::Directory)?,
            _ => self.open(Path::new("."))?,
        };
        Ok((parent, Path::new(name)))
    }

    fn open(&self, target: &Path) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(self.directory(), target, flags, Mode::empty(), resolve)
    }
}

fn create(parent: BorrowedFd<'_>, name: &Path, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(mode))?)
}

/// A copy of the mounts at and below a path, attached nowhere.
pub(super) fn clone_tree(
    at: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    more: OpenTreeFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(at, path.as_ref(), flags | more)
}

fn attach(mount: BorrowedFd<'_>, onto: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", onto, "", flags)?)
}

/// Mounts a place on itself. The owners that its mount maps its files to stay.
fn hold(place: BorrowedFd<'_>, read_only: bool) -> io::Result<()> {
    let tree = clone_tree(place, "", OpenTreeFlags::AT_EMPTY_PATH)?;
    if read_only {
        sys::add_mount_attributes(tree.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, true)?;
    }
    attach(tree.as_fd(), place)
}

fn tmpfs(bounds: Bounds, mode: &str, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "size", bounds.bytes.to_string())?;
    rustix::mount::fsconfig_set_string(&context, "nr_inodes", bounds.inodes.to_string())?;
    rustix::mount::fsconfig_set_string(&context, "mode", mode)?;
    finish(context.as_fd(), attributes)
}

/// An instance of its own, so that no terminal of the host can be opened by number.
fn terminals() -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "ptmxmode", "0666")?;
    rustix::mount::fsconfig_set_string(&context, "mode", "0620")?;
    finish(context.as_fd(), MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC)
}

/// Shows an agent its own processes only, and not init, which cannot be traced.
fn processes() -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "hidepid", "2")?;
    finish(context.as_fd(), PLAIN | MountAttrFlags::MOUNT_ATTR_NOEXEC)
}

fn finish(context: BorrowedFd<'_>, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    rustix::mount::fsconfig_create(context)?;
    Ok(rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}
