//! The host side of a bottle's doors: the only process that parses what the agent sends and that holds its secrets.
//!
//! **The path of a request.** A connection comes in at a listener that the keeper opened inside the bottle
//! ([`bottle_spec::door`]): the proxy, or a transparent door behind an address that the [`resolver`] door made up
//! ([`synthetic`]). The [`egress`] door finds out which host is meant, ends its TLS with a leaf of the bottle's own
//! authority ([`ca`]), asks the policy, writes the decision to the [`audit`] log, puts the secret in ([`vault`]), looks
//! the host up, vets its addresses ([`address`]) and dials one of them. The response goes back the same way.
//!
//! **The process.** [`serve`] reads what it needs from the host, gives up everything else ([`confine`]) and only then
//! serves. One thread, one event loop: a task for the keeper's link, one per door, one per connection. One channel,
//! from the vault to the link (secrets to be read anew); settings that change while serving (policy, freeze) are
//! swapped, not sent.
//!
//! Invariants: any error in policy, audit or confinement is a denial; every queue, buffer and wait is bounded
//! ([`limits`]); no peer can make the process panic; it reads no file and starts no process while it serves.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used))]

pub mod address;
pub mod audit;
pub mod ca;
pub mod confine;
pub mod decoys;
pub mod door_listener;
pub mod egress;
#[doc(hidden)]
pub mod fuzzing;
pub mod git;
mod host_files;
pub mod limits;
mod link;
pub mod resolver;
mod serve;
pub mod supervise;
pub mod synthetic;
mod tls;
pub mod vault;

pub use host_files::HostFileError;
pub use link::LinkError;
pub use serve::{GateError, serve};
