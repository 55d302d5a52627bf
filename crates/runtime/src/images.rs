//! Images without an engine: pulled from a registry once and kept by digest as OCI archives, and unpacked into
//! directories by the digest of their configuration.
//!
//! Invariants: an archive or a directory appears whole or not at all; every byte in it was verified against a digest that
//! leads from its name; nothing of it is run here. Whoever makes the same at the same time waits, and finds it there.

mod archive;
mod keep;
mod layer;
pub(crate) mod pack;
mod registry;
mod room;
mod unpack;

pub use archive::ReadError;
pub use registry::{Credentials, Pull, PullError, Pulled, pull};
pub use room::{Cache, hold};
pub use unpack::{UnpackError, Unpacked, root, unpack, unpack_pack};

use std::path::Path;

/// As images call this machine's.
pub(crate) fn architecture() -> &'static str {
    architecture_of(std::env::consts::ARCH)
}

fn architecture_of(processor: &'static str) -> &'static str {
    match processor {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The digits of a SHA-256, which become a file's name.
fn hex(digest: &str) -> Option<&str> {
    digest.strip_prefix("sha256:").filter(|hex| is_hex(hex))
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
}

fn named(digest: &[u8]) -> String {
    format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The digits by which a file or a directory here is called, whatever follows a dot.
fn hex_name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let (digits, _) = name.split_once('.').unwrap_or((name, ""));
    is_hex(digits).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::architecture_of;

    /// A machine has the processor of its host, on macOS as well, and runs Linux.
    #[test]
    fn processors_have_other_names_in_images() {
        for (processor, image) in [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")] {
            assert_eq!(architecture_of(processor), image);
        }
    }
}
