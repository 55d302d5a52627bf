//! What must not leave, found in bytes: detectors over text, and what carries text to them.
//!
//! Invariant: sans-I/O, bounded memory, no panic and no quadratic time on any input.

pub mod detect;
pub mod rules;

pub use detect::{Detectors, Hit, MAX_MATCH};
pub use rules::{Rule, Severity};
