//! `bot-bottle resume`.

use super::list::{open, unreadable};
use crate::{
    compose::Context,
    engine,
    error::CliError,
    launch::{Seat, read_secrets},
    notify, smolvm, terminal,
};
use bottle_runtime::{
    protocol::{Console, LaunchRequest, Lifetime, Origin},
    store::{State, StoreError},
};
use bottle_spec::{plan::Plan, slug::Slug};
use std::process::ExitCode;

/// Start a stopped bottle again, with its home and workspace as they were left
///
/// It runs by the plan it was started with, an agent that can goes on with its last conversation, and its secrets are
/// read anew.
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// Leave the agent running in the background
    #[arg(long, short)]
    detach: bool,
    /// Let the agent do this as well and end, with nobody at its terminal
    #[arg(long, value_name = "TASK")]
    prompt: Option<String>,
    /// The bottle, as `bot-bottle list` names it
    #[arg(value_name = "BOTTLE")]
    slug: Slug,
    /// Stop the keeper at this step of the launch (crash tests)
    #[arg(long, hide = true)]
    hold_at: Option<String>,
}

pub(crate) fn run(args: ResumeArgs, context: &Context) -> Result<ExitCode, CliError> {
    let bottle = open(context)?.bottle(&args.slug);
    if !bottle.state.is_dir() {
        return Err(unreadable(StoreError::Unknown(args.slug)));
    }
    let metadata = bottle.metadata().map_err(unreadable)?;
    match bottle.state_now(Some(&metadata)) {
        State::Stopped => {}
        State::Creating | State::Running | State::Frozen => return Err(unreadable(StoreError::Running(args.slug))),
        State::Failed => {
            return Err(CliError::host(format!("{} did not end in good order", args.slug)).next(format!(
                "copy out what you need with `bot-bottle cp {0}:PATH .`, then `bot-bottle cleanup {0}`",
                args.slug
            )));
        }
    }
    let mut plan = bottle.plan().map_err(unreadable)?;
    plan.command = command(&plan, args.prompt.as_deref())?;
    let engine = engine::of_backend(plan.backend, context)?;
    let smolvm = smolvm::of_backend(plan.backend, context);
    let secrets = read_secrets(&plan, context)?;
    let request = LaunchRequest {
        dirs: context.dirs.clone(),
        origin: Origin::Resume { slug: args.slug },
        plan,
        secrets,
        notify: notify::targets(context)?,
        engine,
        smolvm,
        refresh_env: context.refresh_env(),
        console: Console::Pipes,
        lifetime: Lifetime::Foreground,
        ephemeral: metadata.ephemeral,
        wall_seconds: metadata.wall_seconds,
        hold_at: args.hold_at,
    };
    if !args.detach {
        let seat = if args.prompt.is_some() { Seat::Nobody } else { Seat::Person };
        return terminal::foreground(request, seat, &context.ui);
    }
    let slug = terminal::detached(request, &context.ui)?;
    context.ui.result(&format!("{slug}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// What goes on with the conversation; where the provider has no way to, the command again.
fn command(plan: &Plan, task: Option<&str>) -> Result<Vec<String>, CliError> {
    let provider = &plan.provider;
    match (task, &provider.resume_task, &provider.resume) {
        (Some(task), Some(waiting), _) => Ok(waiting.with(task)),
        (Some(_), None, _) => Err(CliError::usage(format!("{} takes no task on its command line", provider.name))
            .next("resume it without --prompt")),
        (None, _, Some(command)) => Ok(command.clone()),
        (None, _, None) => Ok(plan.command.clone()),
    }
}
