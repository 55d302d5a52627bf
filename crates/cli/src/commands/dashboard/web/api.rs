//! What the page has done: answers to requests, and the kill switch.
//!
//! Invariant: an answer is to the very request that was on the page, by its digest; what it gives is computed anew from
//! what waits, and never taken from the page.

use super::super::super::requests;
use crate::{
    compose::Context,
    error::{CliError, in_a_line},
    terminal::told,
};
use bottle_runtime::client;
use bottle_tui::action::Reply;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    id: String,
    digest: String,
    reply: Reply,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Freeze {
    bottle: String,
    frozen: bool,
}

/// What to tell the person; an error is why it was not done.
pub(super) type Done = Result<String, String>;

pub(super) fn answer(asked: &Answer, context: &Context) -> Done {
    let Answer { id, digest, reply } = asked;
    requests::answer_shown(id, digest, reply, context).map_err(|error| in_a_line(&error))?;
    let how = if matches!(reply, Reply::Approve { .. }) { "approved" } else { "denied" };
    Ok(format!("{id} {how}"))
}

pub(super) fn freeze(asked: &Freeze, context: &Context) -> Done {
    let Freeze { bottle, frozen } = asked;
    let slug = bottle.parse().map_err(|_| "no bottle has such a name".to_owned())?;
    let done = client::freeze(&context.dirs, &slug, *frozen).map_err(told);
    done.map_err(|error: CliError| in_a_line(&error))?;
    Ok(format!("{slug} {}", if *frozen { "frozen" } else { "thawed" }))
}
