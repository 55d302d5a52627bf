//! May this be fetched, may this be pushed? The parsers of what a git client sends first, and the rules for refs.
//!
//! Invariant: a name that is not exactly a listed repository's leads nowhere; a ref that no pattern names is refused.

pub mod flagged;
pub mod pkt;
pub mod refs;
pub mod request;

pub use refs::{Change, Refusal, judge};
pub use request::{Asked, Request, RequestError, Service};
