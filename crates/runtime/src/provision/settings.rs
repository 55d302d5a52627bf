//! The files that the provider wants in a new home, so that its client asks nobody anything.

use super::{Piece, at_home};
use bottle_spec::plan::Plan;

pub(super) fn pieces(plan: &Plan) -> Vec<Piece> {
    plan.files.iter().map(|file| Piece::private(at_home(&file.path), file.text.as_str())).collect()
}
