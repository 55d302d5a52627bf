//! Many connections over one pair of byte streams, where no socket can lead from a bottle to its host.
//!
//! One side *opens*: it names a socket and hands over the descriptor to be carried ([`Opener`]). The other side *answers*:
//! it connects to the socket of that name and carries what comes. Both run the same loop ([`Carrier`]), on one thread.
//! Which bytes go over the stream says [`frame`]. Connections do not wait for each other: what may be on its way of each
//! is bounded ([`frame::WINDOW`]), and whoever receives says what more may come.
//!
//! Invariants: neither side believes the other. A frame that cannot be read, that is out of turn or that is more than was
//! allowed ends the stream, and with it every connection; what is kept for a connection is bounded by the window, and
//! the number of connections by [`frame::CHANNELS`].

mod carry;
mod channel;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod opener;

pub use carry::{Carrier, CarryError, Wire, answering, opening};
pub use opener::Opener;
