//! From a plan to a running bottle, and from a running or dead bottle to nothing left on the host.
//!
//! Invariants: nothing here reads the environment or the user's home (paths come in [`dirs::Dirs`]), prints, or
//! imports the gate; whatever exists on the host is in the bottle's journal before it is made; nothing of what the
//! agent writes is parsed.

pub mod audit_log;
pub mod away;
pub mod backend;
pub mod cgroup;
pub mod changes;
pub mod client;
pub mod dirs;
pub mod engine_address;
pub mod guard;
#[cfg(feature = "registry")]
pub mod images;
pub mod journal;
pub mod keeper;
pub mod process;
pub mod protocol;
pub mod provision;
pub mod reap;
pub mod socket;
pub mod store;
pub mod transcript;
pub mod transfer;
pub mod tree;
pub mod workspace;

mod beneath;
mod control_socket;
mod host_ids;
mod launch;
mod sys;
mod trust;
#[cfg(any(feature = "docker", feature = "registry"))]
mod untar;
