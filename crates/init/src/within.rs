//! On the host: runs a program that sees other directories in the places of some, which nobody else notices.
//!
//! A machine that is branched from another has the paths of that one's directories and sockets written down. The process
//! that is the branch is started by way of this program, in a mount namespace where those paths lead to its own bottle's.
//! It works for an ordinary user, whom it leaves what they are, without a right that they had not before: the capabilities
//! over the new namespaces go with the execution (capabilities(7)), for the user is not root in them.

use crate::{sentence, sys};
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};
use std::{
    convert::Infallible,
    ffi::{CString, OsString},
    fs, io,
    io::Write as _,
    os::unix::ffi::OsStringExt as _,
    path::PathBuf,
    process::ExitCode,
};

#[derive(Debug, thiserror::Error)]
enum WithinError {
    #[error("pairs of paths, `--` and a program are wanted")]
    Usage,
    #[error("root has no need of it")]
    Root,
    #[error("new namespaces; `bot-bottle doctor` says whether this host allows them")]
    Namespaces(#[source] io::Error),
    #[error("showing {} at {}", .0.display(), .1.display())]
    Show(PathBuf, PathBuf, #[source] io::Error),
    #[error("executing the program")]
    Execute(#[source] io::Error),
}

pub(crate) fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    match enter(&arguments) {
        Ok(never) => match never {},
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _ = io::stderr().write_all(format!("bot-bottle: {}\n", sentence(&error)).as_bytes());
            ExitCode::from(70)
        }
    }
}

fn enter(arguments: &[OsString]) -> Result<Infallible, WithinError> {
    let end = arguments.iter().position(|it| it == "--").ok_or(WithinError::Usage)?;
    let (places, command) = arguments.split_at(end);
    let command: Vec<CString> = command.iter().skip(1).map(|word| text(word.clone())).collect::<Result<_, _>>()?;
    let program = command.first().ok_or(WithinError::Usage)?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if uid.is_root() {
        return Err(WithinError::Root);
    }
    sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).map_err(WithinError::Namespaces)?;
    let same = |id: u32| format!("{id} {id} 1");
    for (file, content) in
        [("setgroups", "deny".to_owned()), ("uid_map", same(uid.as_raw())), ("gid_map", same(gid.as_raw()))]
    {
        fs::write(format!("/proc/self/{file}"), content).map_err(WithinError::Namespaces)?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|error| WithinError::Namespaces(error.into()))?;
    let (pairs, rest) = places.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(WithinError::Usage);
    }
    for [source, place] in pairs {
        mount_bind_recursive(source, place)
            .map_err(|error| WithinError::Show(source.into(), place.into(), error.into()))?;
    }
    Err(WithinError::Execute(sys::execute_as_it_is(program, &command)))
}

fn text(word: OsString) -> Result<CString, WithinError> {
    CString::new(word.into_vec()).map_err(|_| WithinError::Usage)
}
