//! Whose files are in what a bottle of root's may write: an idmapped mount shows the agent, as its own, those of the
//! source's owner, and stores what the agent makes as that owner's. Runs in the keeper, as the host's root.
//!
//! Invariants: one uid and one gid are mapped, to the bottle's own; all other owners are nobody inside, whose files the
//! kernel lets no one write. Where it cannot be done the source keeps its owner, and the agent may do less, not more.
//! The agent cannot set the set-id bits of a file (see `REFUSE` of bottle-init), or it could leave a program on the
//! host that runs as the owner.

use super::{
    child, ids,
    layout::{Access, Entry, What},
    room::Unfinished,
    root::clone_tree,
    sys::{self, Cloned},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::CWD,
    mount::OpenTreeFlags,
};
use std::{error::Error, fs, io, os::unix::net::UnixStream, path::Path};

/// Why a source keeps its owner.
#[derive(Debug, thiserror::Error)]
enum OwnersError {
    #[error("opening it")]
    Open(#[source] io::Error),
    #[error("reading its owner")]
    Owner(#[source] io::Error),
    #[error("making a user namespace of its owner")]
    Namespace(#[source] io::Error),
    #[error("mapping the owners of its files (the file system may not support idmapped mounts)")]
    Map(#[source] io::Error),
}

/// The writable places whose owner is not the bottle's host uid and gid, as mounts on which it is. One for each
/// [`What::Bind`], in order; `None` is for the child to open as it is.
pub(super) fn mapped(layout: &[Entry], host_ids: Option<(u32, u32)>) -> Vec<Option<OwnedFd>> {
    let binds = layout.iter().filter_map(|entry| match &entry.what {
        What::Bind { source, access } => Some((source, access)),
        _ => None,
    });
    binds
        .map(|(source, access)| match (host_ids, access) {
            (Some(ids), Access::Writable) => map(source, ids).unwrap_or_else(|error| {
                let error: &dyn Error = &error;
                let source = source.display();
                tracing::warn!(error, %source, "a writable mount keeps its owner, who is not the agent");
                None
            }),
            _ => None,
        })
        .collect()
}

fn map(source: &Path, host_ids: (u32, u32)) -> Result<Option<OwnedFd>, OwnersError> {
    let mount = clone_tree(CWD, source, OpenTreeFlags::empty()).map_err(|error| OwnersError::Open(error.into()))?;
    // Of what was opened, not of the path: that may lead elsewhere by now.
    let stat = rustix::fs::fstat(&mount).map_err(|error| OwnersError::Owner(error.into()))?;
    let owner = (stat.st_uid, stat.st_gid);
    if owner == host_ids {
        return Ok(None);
    }
    let owners = namespace(owner, host_ids).map_err(OwnersError::Namespace)?;
    sys::map_mount_owners(mount.as_fd(), owners.as_fd()).map_err(OwnersError::Map)?;
    Ok(Some(mount))
}

/// A user namespace in which `owner` is `host_ids`. No process is left in it; a mount is all that it is for.
fn namespace(owner: (u32, u32), host_ids: (u32, u32)) -> io::Result<OwnedFd> {
    let (_ours, theirs) = UnixStream::pair()?;
    let (pid, pidfd) = match sys::clone_process(libc::CLONE_NEWUSER, None)? {
        Cloned::Child => child::hold(theirs.into()),
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    let _holder = Unfinished(Some(pidfd));
    ids::map_one(pid, owner, host_ids)?;
    Ok(fs::File::open(format!("/proc/{pid}/ns/user"))?.into())
}
