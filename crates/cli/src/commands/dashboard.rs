//! `bot-bottle dashboard`: bottles and requests on one screen.

use super::{
    list::{self, open},
    requests,
};
use crate::{
    compose::Context,
    error::{CliError, in_a_line},
    terminal::told,
};
use bottle_policy::grant::Narrowing;
use bottle_runtime::{
    client,
    store::{Listed, State},
};
use bottle_spec::operator;
use bottle_tui::{
    action::{Action, Term},
    event::{Bottle, Snapshot},
    runner::{self, Operator, RunError},
};
use std::{fs::File, io::Write, os::unix::fs::OpenOptionsExt as _, path::PathBuf, process::ExitCode};

/// See bottles and what their agents ask for, and answer
#[derive(Debug, clap::Args)]
pub(crate) struct DashboardArgs {
    /// Write every event down, a line of JSON each
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

pub(crate) fn run(args: &DashboardArgs, context: &Context) -> Result<ExitCode, CliError> {
    if !context.ui.can_ask() {
        let hint = "`bot-bottle requests`, `approve` and `deny` do the same without one";
        return Err(CliError::usage("the dashboard needs a terminal").next(hint));
    }
    let failed = |error: RunError| CliError::host("the dashboard ended").because(error);
    let mut record = None;
    if let Some(path) = &args.record {
        let file = File::options().create_new(true).write(true).mode(0o600).open(path);
        record = Some(file.map_err(|error| failed(RunError::Record(error)))?);
    }
    let record = record.as_mut().map(|file| file as &mut dyn Write);
    runner::run(&mut Host { context }, record).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// This host's bottles.
struct Host<'a> {
    context: &'a Context,
}

impl Operator for Host<'_> {
    fn look(&mut self) -> Snapshot {
        // What cannot be read now may be by the next look.
        let bottles = open(self.context).ok().and_then(|store| store.list().ok()).unwrap_or_default();
        let requests = requests::snapshot(self.context).unwrap_or_default();
        Snapshot { bottles: bottles.into_iter().map(bottle).collect(), requests }
    }

    fn act(&mut self, action: Action) -> String {
        let done = match &action {
            Action::Approve { id, digest, term } => {
                let term = match term {
                    Term::AsAsked => None,
                    Term::Once => Some(operator::Term::Once),
                    Term::TenMinutes => Some(operator::Term::Seconds(600)),
                };
                let narrowing = Narrowing { term, ..Narrowing::default() };
                requests::answer_shown(id, digest, Some(&narrowing), self.context)
            }
            Action::Deny { id, digest } => requests::answer_shown(id, digest, None, self.context),
            Action::Freeze { bottle, frozen } => match bottle.parse() {
                Ok(slug) => client::freeze(&self.context.dirs, &slug, *frozen).map(drop).map_err(told),
                Err(_) => Ok(()),
            },
            Action::Quit => Ok(()),
        };
        match (done, action) {
            (Err(error), _) => in_a_line(&error),
            (Ok(()), Action::Approve { id, .. }) => format!("{id} approved"),
            (Ok(()), Action::Deny { id, .. }) => format!("{id} denied"),
            (Ok(()), Action::Freeze { bottle, frozen: true }) => format!("{bottle} frozen"),
            (Ok(()), Action::Freeze { bottle, .. }) => format!("{bottle} thawed"),
            (Ok(()), Action::Quit) => String::new(),
        }
    }
}

fn bottle(listed: Listed) -> Bottle {
    let Listed { slug, state, metadata } = listed;
    let agent = metadata.as_ref().map(|metadata| metadata.agent.clone()).unwrap_or_default();
    let age = metadata.map(|metadata| list::age(list::now().saturating_sub(metadata.created))).unwrap_or_default();
    Bottle { name: slug, agent, state: list::name(state).to_owned(), frozen: state == State::Frozen, age }
}
