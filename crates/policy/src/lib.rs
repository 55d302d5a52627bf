//! May this happen? Pure decisions over the policy of `bottle-spec`: no I/O, no clock, no global state.
//!
//! Invariant: what may pass is expressed by [`Permitted`], which nothing outside this crate can make. Routes only ever
//! allow; taking one away can therefore never let more out, and no route is an empty allowlist: nothing leaves.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used))]

pub mod budget;
pub mod egress;
pub mod fragments;
#[doc(hidden)]
pub mod fuzzing;
pub mod git;
pub mod grant;
pub mod inbound;
pub mod learn;
mod path;
mod random;
pub mod scan;
mod validate;

pub use egress::{Permitted, Question, Refused, Rules, Subject};
pub use validate::{Fault, notices};
