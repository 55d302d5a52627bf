//! Makes a room, and leaves nothing of one that did not come to be.

use super::{
    child::{self, Descriptors},
    error::{Failure, RoomError},
    facts::HostFacts,
    ids,
    layout::layout,
    owners,
    report::{Listener, Outcome, Reporter},
    requirements::{forbidden_by, requirements},
    sys::{self, Cloned},
};
use crate::backend::room::{Room, RoomSpec, relative};
use bottle_spec::plan::Image;
use rustix::{
    fs::{MemfdFlags, Mode, OFlags, SealFlags},
    io::Errno,
    process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal},
};
use std::{
    fs,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

/// Makes a room and starts its init. The caller must be a process of one thread.
pub fn create(spec: &RoomSpec<'_>) -> Result<Room, RoomError> {
    check(spec)?;
    let facts = HostFacts::read().map_err(RoomError::Host)?;
    let layout = layout(spec, &facts);
    let image = sealed(spec.init_image).map_err(RoomError::InitImage)?;
    let (link, init_link) = pair()?;
    let (listener, reporter) = pair()?;
    let cgroup = spec.cgroup.map(open_cgroup).transpose()?;
    // Only the keeper, while it is the host's root, may say whose the files of a host's file system are.
    let mapped = owners::mapped(&layout, spec.host_ids);

    let (pid, pidfd) = match sys::clone_process(NAMESPACES, cgroup.as_ref().map(AsFd::as_fd)) {
        Err(source) => return Err(RoomError::Clone { hint: clone_hint(&source), source }),
        Ok(Cloned::Child) => {
            drop((link, listener));
            let descriptors = Descriptors { reporter: Reporter::new(reporter), link: init_link.into(), image, mapped };
            child::run(spec, &layout, descriptors)
        }
        Ok(Cloned::Parent { pid, pidfd }) => (pid, pidfd),
    };
    // The child's ends must exist in the child alone, or their closing would tell nothing.
    drop((init_link, reporter, mapped));
    let unfinished = Unfinished(Some(pidfd));
    ids::map(pid, spec.host_ids)?;
    let listener = Listener::new(listener);
    // A child that has died already shows as a silent outcome.
    let _ = listener.mapped();
    let listeners = match listener.outcome() {
        Outcome::Init(listeners) => listeners,
        Outcome::Failed(Failure { step, subject, source }) => return Err(RoomError::Build { step, subject, source }),
        Outcome::Silent(source) => return Err(RoomError::Silent(source)),
    };
    Ok(Room { pid, pidfd: unfinished.finish()?, link, listeners })
}

/// Time namespaces are left out: a bottle's clock is the host's.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

fn check(spec: &RoomSpec<'_>) -> Result<(), RoomError> {
    if let Some(missing) = requirements().into_iter().find(|requirement| !requirement.met) {
        return Err(RoomError::Requirement { name: missing.name, hint: missing.hint });
    }
    if spec.plan.image != Image::Host {
        return Err(RoomError::Image);
    }
    if let Some(mount) = spec.plan.mounts.iter().find(|mount| relative(&mount.target).is_none()) {
        return Err(RoomError::MountTarget(mount.target.clone()));
    }
    let root = rustix::process::geteuid().is_root();
    if root != spec.host_ids.is_some_and(|(uid, gid)| uid != 0 && gid != 0) {
        return Err(RoomError::HostIds);
    }
    let threads = fs::read_dir("/proc/self/task").map_err(RoomError::Host)?.count();
    if threads == 1 { Ok(()) } else { Err(RoomError::Threads) }
}

/// Init in memory that can no longer be changed: not by the agent, which runs as the uid that may open `/proc/1/exe`
/// on a kernel with other ideas, and not by a sibling (CVE-2019-5736).
fn sealed(image: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match rustix::fs::memfd_create("init", flags | MemfdFlags::EXEC) {
        // Before 6.3 there was no such flag, and every one was executable.
        Err(Errno::INVAL) => rustix::fs::memfd_create("init", flags)?,
        other => other?,
    };
    let mut file = fs::File::from(file);
    file.write_all(image)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    out_of_the_way(file.as_fd())
}

/// A socket pair that stays clear of the numbers that init expects.
fn pair() -> Result<(UnixStream, UnixStream), RoomError> {
    let (ours, theirs) = UnixStream::pair().map_err(RoomError::Socket)?;
    let theirs = out_of_the_way(theirs.as_fd()).map_err(RoomError::Socket)?;
    Ok((ours, UnixStream::from(theirs)))
}

fn out_of_the_way(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 10)?)
}

fn open_cgroup(path: &Path) -> Result<OwnedFd, RoomError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| RoomError::Cgroup { path: path.to_path_buf(), source: error.into() })
}

fn clone_hint(error: &io::Error) -> String {
    let root = rustix::process::geteuid().is_root();
    if let Some(hint) = forbidden_by(Path::new("/proc/sys"), root) {
        return hint;
    }
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EUSERS) => {
            "too many namespaces: stop some bottles, or raise user.max_user_namespaces, user.max_net_namespaces and \
             their kin with sysctl"
        }
        Some(libc::EAGAIN) => "too many processes: stop some, or raise `ulimit -u`",
        Some(libc::ENOSYS) => "clone3 is filtered: inside a container, allow it in its seccomp profile",
        _ => "inside a container or a sandbox, let it make user namespaces; else look into the kernel's log",
    }
    .to_owned()
}

/// Kills a room that did not come to be, and waits until nothing of it is left.
#[derive(Debug)]
pub(super) struct Unfinished(pub(super) Option<OwnedFd>);

impl Unfinished {
    fn finish(mut self) -> Result<OwnedFd, RoomError> {
        self.0.take().ok_or(RoomError::Silent(io::ErrorKind::NotFound.into()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(pidfd) = self.0.take() else { return };
        // Neither can fail in a way that leaves something: the child is ours, unreaped, and SIGKILL is final.
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}
