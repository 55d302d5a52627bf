//! The git door: what a bottle clones, fetches and pushes goes through here, by the host's own `git` on repositories
//! that this process keeps.
//!
//! **The path of a fetch.** The [`door`] reads which repository is meant; the [`record`] of it goes to the audit log;
//! the shared [`mirror`] is brought up to date from its upstream, the bottle's own [`repository`] from the mirror, whose
//! objects it borrows; then `git upload-pack` has the connection.
//!
//! **The path of a push.** `git receive-pack` has the connection; what its [`hooks`] hear is decided in [`push`].
//!
//! **The process.** A second gate of the bottle, since the first may start no program. [`serve`] makes what it needs,
//! confines itself ([`confine`]) and with that every git and ssh that it starts, and only then serves. One thread with
//! an event loop, and short-lived ones for what would hold it up.
//!
//! Invariants: every git runs with an environment and a configuration of ours ([`command`]); no path of a request and
//! no text of the bottle is ever an argument that is not a ref or an object that was checked; what cannot be written to
//! the audit log is not done.

mod approve;
mod command;
mod confine;
mod door;
mod hooks;
mod http;
mod known;
mod mirror;
mod mirrors;
mod outcome;
mod push;
mod record;
mod relay;
mod repository;
mod screen;
mod serve;
mod shown;
mod upstream;

pub use confine::GitConfineError;
pub use serve::{GitGateError, serve};
