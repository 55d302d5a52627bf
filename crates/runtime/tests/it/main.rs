//! What the runtime does to a real host: rooms.

mod room;
