//! Images without an engine: pulled from a registry once and kept by digest as OCI archives, and unpacked into
//! directories by the digest of their configuration.
//!
//! Invariants: an archive or a directory appears whole or not at all; every byte in it was verified against a digest that
//! leads from its name; nothing of it is run here.

mod archive;
mod keep;
mod layer;
mod registry;
mod unpack;

pub use archive::ReadError;
pub use registry::{Credentials, Pull, PullError, Pulled, pull};
pub use unpack::{UnpackError, Unpacked, root, unpack};

use rustix::fs::{FlockOperation, flock};
use std::{fs::File, io, path::Path};

/// As images call this machine's.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The digits of a SHA-256, which become a file's name.
fn hex(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64)?;
    hex.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it)).then_some(hex)
}

fn named(digest: &[u8]) -> String {
    format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Whoever makes the same at the same time waits, and finds it there.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}
