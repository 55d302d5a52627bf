//! The smolmachines backend: a room that is a machine with a kernel of its own, made by the `smolvm` program.
//!
//! [`create`] writes what the room is made of into a directory of the bottle's ([`staging`]), says as data what the
//! machine is ([`machine`]), has smolvm write that down, and reads back what it wrote ([`record`]): a flag that was
//! dropped in silence is an error. The machine starts with our init as its one workload, as the *porter*, which connects
//! to a socket of the keeper's through the machine's wall; [`carried`](super::carried) makes of its connections the link
//! and the descriptors that keeper and gate know from every other room. A bottle that is to start warm is a branch of a
//! machine that was prepared ([`warm`]).
//!
//! Invariants: a machine has no network device, no published port, no forwarded agent, and of the host no directory but
//! those of the room; nothing secret is in what smolvm is told. Its state is a directory of the bottle's own: no machine
//! is known to any other, and the directory and the process are all there is to take away; but for branches, which smolvm
//! knows of in the state of the machine that they come from. What comes out of a machine is the bytes of somebody hostile.

mod cli;
mod error;
#[cfg(feature = "registry")]
mod install;
mod machine;
mod prepared;
mod record;
mod room;
mod staging;
#[cfg(test)]
mod tests;
mod version;
mod warm;

pub use cli::Smolvm;
pub use error::{MachineError, SmolvmError};
#[cfg(feature = "registry")]
pub use install::{InstallError, PACKAGE, Wheel, install, installed};
pub use machine::{Branch, Machine, Prepared};
pub use room::{MachineSpec, create, machines};
pub use version::{Features, TESTED, Version};
