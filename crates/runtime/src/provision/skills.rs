//! The agent's skills: folders of the host, copied where its client looks for them.

use super::{Piece, ProvisionError, Put};
use bottle_spec::plan::Plan;

/// One that is not there ends the launch, by name.
pub(super) fn pieces(plan: &Plan) -> Result<Vec<Piece>, ProvisionError> {
    let piece = |skill: &bottle_spec::plan::PlannedSkill| {
        if !skill.source.join("SKILL.md").is_file() {
            return Err(ProvisionError::NoSkill { name: skill.name.clone(), source_path: skill.source.clone() });
        }
        Ok(Piece { target: plan.provider.skills.join(&skill.name), what: Put::Tree(skill.source.clone()) })
    };
    plan.skills.iter().map(piece).collect()
}
