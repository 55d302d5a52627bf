//! `control.sock`, `metrics.sock` and the link of a container, reached through a descriptor of its directory: a path of any length fits in `sun_path`'s 108 bytes.

use rustix::fs::{Mode, OFlags, open};
use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

const NAME: &str = "control.sock";
const METRICS: &str = "metrics.sock";
#[cfg(feature = "docker")]
const LINK: &str = "link";

/// Listens in `directory`, which is 0700 and the user's own; the socket itself is 0600.
pub(crate) fn bind(directory: &Path) -> io::Result<UnixListener> {
    listen(directory, NAME)
}

/// The same, for scrapers of the gate's metrics.
pub(crate) fn bind_metrics(directory: &Path) -> io::Result<UnixListener> {
    listen(directory, METRICS)
}

/// The same, for a container's init.
#[cfg(feature = "docker")]
pub(crate) fn bind_link(directory: &Path) -> io::Result<UnixListener> {
    listen(directory, LINK)
}

fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let held = hold(directory)?;
    let listener = UnixListener::bind(short(&held, name))?;
    rustix::fs::chmodat(&held, name, Mode::RUSR | Mode::WUSR, rustix::fs::AtFlags::empty())?;
    Ok(listener)
}

pub(crate) fn connect(directory: &Path) -> io::Result<UnixStream> {
    let held = hold(directory)?;
    UnixStream::connect(short(&held, NAME))
}

fn hold(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(directory, flags, Mode::empty())?)
}

fn short(directory: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}
