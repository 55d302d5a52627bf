//! What runs inside a bottle and tries to get out, and the list of what it tries.
//!
//! Every attempt is one [`Case`]: data, so that the same list runs on the bare host, where it must succeed, and in a
//! bottle, where it must not. An attempt changes nothing that outlives it, is bounded in time and number, and on the
//! bare host sends nothing anywhere but loopback.

pub mod cases;
pub mod field;
mod sys;
mod wire;

pub use cases::{Case, Control, Outcome, Section};
pub use field::{Field, Limits};
use serde::{Deserialize, Serialize};

/// One line of the probe's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub name: String,
    pub section: Section,
    #[serde(flatten)]
    pub outcome: Outcome,
}
