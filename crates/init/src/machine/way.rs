//! How the porter gets out: by sockets that are mounted into a machine, or by the stream of a container.

use super::carry;
use bottle_spec::machine_link::SOCKETS;
use bottle_stream::Opener;
use rustix::fd::OwnedFd;
use std::{io, io::Write as _, os::unix::net::UnixStream, path::Path};

#[derive(Debug, Clone)]
pub(super) enum Way {
    Sockets,
    Stream(Opener),
}

impl Way {
    /// A connection to the socket of this name.
    pub(super) fn connect(&self, name: &str) -> io::Result<UnixStream> {
        match self {
            Way::Sockets => UnixStream::connect(Path::new(SOCKETS).join(name)),
            Way::Stream(opener) => opener.connect(name),
        }
    }

    /// Carries `connection` to the socket of this name, after `first`; `held` goes with it.
    pub(super) fn carry(
        &self,
        name: &str,
        connection: OwnedFd,
        first: &[u8],
        held: impl Send + Sync + 'static,
    ) -> io::Result<()> {
        match self {
            Way::Sockets => {
                let mut out = self.connect(name)?;
                out.write_all(first)?;
                carry::both(connection, out.into(), held)
            }
            Way::Stream(opener) => opener.carry(name, connection, first, held),
        }
    }

    /// Nothing more is to come: what there is goes out.
    pub(super) fn finish(&self) {
        if let Way::Stream(opener) = self {
            // Only a loop that has ended cannot be told.
            let _ = opener.finish();
        }
    }

    /// A machine may be killed right after a program's end: what that wrote is the host's by then. What a container's
    /// programs write, the host's kernel has.
    pub(super) fn sync(&self) {
        if let Way::Sockets = self {
            rustix::fs::sync();
        }
    }
}
