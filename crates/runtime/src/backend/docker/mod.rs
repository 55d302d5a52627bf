//! The docker backend: a room that an engine makes, as a container without a network.
//!
//! [`create`] writes what the container needs into a directory of the bottle's ([`staging`]), says as data what the
//! container is ([`container`]), and lets the engine make and start it. Its only process is init. In the socket topology it
//! connects to a socket in that directory, which the keeper takes one connection of, from that very process; over it come
//! the listeners of the doors, made inside. From then on the keeper and the gate work as for any other room, and the
//! engine is asked for nothing until the end. In the stream topology the same goes over the container's standard streams
//! ([`stream`]). Where the engine does not see this machine's files, what they are is sent to it first, and comes back
//! at the end ([`sent`]).
//!
//! Invariants: a container has no network device but loopback, no capability, no set-id, no writable place but those of
//! [`RoomSpec::writable`](super::room::RoomSpec::writable), and never the engine's socket; nothing but init is ever
//! started by the engine (no command, entry point or health check of the image); nothing secret is in what the engine is
//! told. The root is read-only and its keeper takes the container away at the end: what is kept of a bottle is its
//! home and workspace, as on every backend. Which engine it is is asked of it; where Podman's takes something in another
//! way, [`podman`] says it in that.

mod attach;
mod container;
mod dial;
mod engine;
mod error;
mod image;
mod pack;
mod places;
mod podman;
mod put;
mod reach;
mod room;
mod sent;
mod staging;
mod stream;
mod volumes;

pub use container::ContainerSpec;
pub use engine::{abandoned, remove, remove_now, server};
pub use error::{ContainerError, EngineError};
pub use image::{ImageError, ImageFacts, Login, Made, Source, Told, fetched, image};
pub use put::put_into;
pub use room::create;
pub use sent::{Coming, Sending, SentError, fetch, send, sending};
pub use stream::{CarrierError, carry};
