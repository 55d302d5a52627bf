//! Home and workspace of a bottle whose engine has them: brought to this machine before anything looks at them there.

use crate::{compose::Context, error::CliError};
use bottle_runtime::{
    away,
    store::{BottleDir, State},
};

/// Has both directories be here as they are now.
pub(crate) fn brought(bottle: &BottleDir, context: &Context) -> Result<(), CliError> {
    let mut progress = |copied: bottle_runtime::workspace::Copied| {
        if context.ui.stderr_is_terminal && copied.files > 0 {
            context.ui.say(&format!("fetching: {} files, {} MiB", copied.files, copied.bytes >> 20));
        }
    };
    let fetched = away::bring(bottle, !runs(bottle), &mut progress);
    fetched.map(drop).map_err(|error| {
        CliError::host(format!("the files of {} cannot be had", bottle.slug))
            .because(error)
            .next("start the engine that made the bottle, and try again")
    })
}

/// What of it is not on this machine, for it runs.
pub(crate) fn is_elsewhere(bottle: &BottleDir) -> bool {
    away::is_away(bottle) && runs(bottle)
}

fn runs(bottle: &BottleDir) -> bool {
    let metadata = bottle.metadata().ok();
    matches!(bottle.state_now(metadata.as_ref()), State::Creating | State::Running | State::Frozen)
}
