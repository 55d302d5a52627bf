//! `bot-bottle dashboard`: bottles, requests, decisions and logs on one screen.

mod act;
mod bell;
mod look;
mod web;

use crate::{compose::Context, error::CliError};
use act::Acts;
use bell::Bell;
use bottle_tui::{
    action::Action,
    draw::Colours,
    event::Look,
    runner::{self, Operator, Outcome, RunError},
};
use look::Looks;
use std::{fs::File, io::Write, os::unix::fs::OpenOptionsExt as _, path::PathBuf, process::ExitCode, sync::Arc};

/// See bottles and what their agents ask for, and answer
#[derive(Debug, clap::Args)]
#[command(after_help = "`?` shows every key. NO_COLOR=1 leaves colours out.")]
pub(crate) struct DashboardArgs {
    /// Write every event down, a line of JSON each
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// As a page for a browser on this machine, whose address is printed
    #[arg(long, conflicts_with = "record")]
    web: bool,
    /// The page's port [default: one that is free]
    #[arg(long, requires = "web", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

pub(crate) fn run(args: &DashboardArgs, context: &Context) -> Result<ExitCode, CliError> {
    if args.web {
        return web::run(args.port, context.clone());
    }
    if !context.ui.can_ask() || !context.ui.stdout_is_terminal {
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
    let plain = context.environment.value("NO_COLOR").is_some() || context.environment.value("TERM") == Some("dumb");
    let colours = if plain { Colours::None } else { Colours::Sixteen };
    let bell = Bell::configured(context)?;
    let context = Arc::new(context.clone());
    let mut host = Host { acts: Acts::new(Arc::clone(&context)), context, looks: Looks::default(), bell };
    runner::run(&mut host, colours, record).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// This host's bottles.
struct Host {
    context: Arc<Context>,
    looks: Looks,
    acts: Acts,
    bell: Bell,
}

impl Operator for Host {
    fn look(&mut self, log_of: Option<&str>) -> Look {
        let look = self.looks.look(log_of, &self.context);
        self.bell.heed(&look.requests);
        look
    }

    fn act(&mut self, action: Action) -> Outcome {
        self.acts.act(action)
    }
}
