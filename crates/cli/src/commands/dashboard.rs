//! `bot-bottle dashboard`: bottles and requests on one screen.

mod look;

use super::requests;
use crate::{
    compose::Context,
    error::{CliError, in_a_line},
    terminal::told,
};
use bottle_runtime::client;
use bottle_tui::{
    action::{Action, Reply},
    event::Look,
    runner::{self, Operator, RunError},
};
use look::Looks;
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
    runner::run(&mut Host { context, looks: Looks::default() }, record).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// This host's bottles.
struct Host<'a> {
    context: &'a Context,
    looks: Looks,
}

impl Operator for Host<'_> {
    fn look(&mut self) -> Look {
        self.looks.look(None, self.context)
    }

    fn act(&mut self, action: Action) -> String {
        let done = match &action {
            Action::Answer { id, digest, reply } => requests::answer_shown(id, digest, reply, self.context),
            Action::Freeze { bottle, frozen } => match bottle.parse() {
                Ok(slug) => client::freeze(&self.context.dirs, &slug, *frozen).map(drop).map_err(told),
                Err(_) => Ok(()),
            },
            _ => Ok(()),
        };
        match (done, action) {
            (Err(error), _) => in_a_line(&error),
            (Ok(()), Action::Answer { id, reply: Reply::Approve { .. }, .. }) => format!("{id} approved"),
            (Ok(()), Action::Answer { id, .. }) => format!("{id} denied"),
            (Ok(()), Action::Freeze { bottle, frozen: true }) => format!("{bottle} frozen"),
            (Ok(()), Action::Freeze { bottle, .. }) => format!("{bottle} thawed"),
            (Ok(()), _) => String::new(),
        }
    }
}
