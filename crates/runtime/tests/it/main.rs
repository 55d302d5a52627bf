//! What the runtime does to a real host: rooms.

mod bench;
mod mounts;
mod room;
