//! Images without an engine: pulled from a registry once, and kept by digest as OCI archives.
//!
//! Invariants: an archive appears whole or not at all, under the digest of the manifest for this machine's platform;
//! every byte in it was verified against a digest that leads from that one; nothing of it is unpacked or run here.

mod archive;
mod registry;

pub use registry::{Credentials, Pull, PullError, Pulled, pull};
