//! The embedded backend: a room of Linux namespaces, made with nothing but system calls.
//!
//! [`create`] runs in the keeper while that is still a single thread. It clones a child into new namespaces, the child
//! builds the room's file system and loopback ([`child`]) and becomes init; the keeper gets the listeners of the doors
//! and the socket to init.
//!
//! Invariants: a room without any one of its walls is an error, never a lesser room; when [`create`] fails nothing of
//! the room is left; nothing but init's socket crosses into the room.

mod child;
mod error;
mod facts;
mod ids;
mod layout;
mod net;
mod owners;
mod report;
mod requirements;
mod room;
mod root;
mod sys;

pub use error::{RoomError, Step};
pub use requirements::{Requirement, requirements};
pub use room::create;
