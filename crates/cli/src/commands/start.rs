//! `bot-bottle start`: a described agent in its bottle, after the preflight.

mod all;

use super::preflight;
use crate::{
    catalog,
    compose::Context,
    error::{CliError, Kind},
    launch::{self, Afterwards, LaunchArgs, Seat},
};
use bottle_spec::{
    manifest::{Place, Placed},
    plan::Plan,
    request::{Overrides, Request},
    slug::Slug,
};
use std::process::ExitCode;

/// Start a described agent in its bottle, after showing what the bottle may do
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// The agent, as in agents/NAME.md
    #[arg(required_unless_present = "all_of", conflicts_with = "all_of")]
    agent: Option<String>,
    /// Several agents side by side, each in a bottle of its own: headless with --prompt, else in the background
    #[arg(long, value_name = "AGENT,..", value_delimiter = ',', conflicts_with = "name")]
    all_of: Vec<String>,
    /// With --all-of: what came of each, as JSON
    #[arg(long, requires = "all_of")]
    json: bool,
    /// Let the agent do this and end, with nobody at its terminal: its result goes to stdout
    #[arg(long, value_name = "TASK")]
    prompt: Option<String>,
    /// Show before asking also what would not fit on the screen
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    launch: LaunchArgs,
}

pub(crate) fn run(args: StartArgs, context: &Context) -> Result<ExitCode, CliError> {
    let Some(agent) = &args.agent else { return all::run(&args, context) };
    let (request, plan) = plan(agent, args.prompt.as_deref(), &args.launch, context)?;
    let slug = match &args.launch.name {
        Some(name) => name.clone(),
        None => draw(&plan.agent, context)?,
    };
    if !args.launch.yes {
        ask(&plan, &request, &slug, args.verbose, context)?;
    }
    let seat = if args.prompt.is_some() { Seat::Nobody } else { Seat::Person };
    launch::launch(plan, Some(slug), Afterwards::Keep, seat, &args.launch, context)
}

/// An agent's request and plan.
pub(crate) fn plan(
    agent: &str,
    task: Option<&str>,
    args: &LaunchArgs,
    context: &Context,
) -> Result<(Request, Plan), CliError> {
    let (agent, bottle) = catalog::agent_and_bottle(agent, context)?;
    let task = task.map(|task| Placed { value: task.to_owned(), place: Place::Flag("--prompt".to_owned()) });
    let request = Request::of_agent(agent, bottle, &Overrides { task, ..args.overrides(context) })
        .map_err(|mistakes| CliError::mistakes(&mistakes, Kind::Usage))?;
    let plan = launch::plan(&request, Kind::Manifest, context)?;
    Ok((request, plan))
}

fn ask(plan: &Plan, request: &Request, slug: &Slug, verbose: bool, context: &Context) -> Result<(), CliError> {
    if !context.ui.can_ask() {
        return Err(CliError::usage("nobody is at a terminal to be asked")
            .next(format!("look at `bot-bottle preflight {0}`, then `bot-bottle start --yes {0}`", plan.agent)));
    }
    let shown = if verbose { preflight::render } else { preflight::fitted };
    context.ui.say(shown(plan, request, std::slice::from_ref(slug)).trim_end());
    if context.ui.confirm("Start this bottle?")? {
        Ok(())
    } else {
        Err(CliError::denied("you said no; nothing was started"))
    }
}

/// A name that no bottle here has. Should one take it meanwhile, the launch says so.
pub(super) fn draw(agent: &str, context: &Context) -> Result<Slug, CliError> {
    loop {
        let mut random = [0; 5];
        getrandom::fill(&mut random)
            .map_err(|error| CliError::host("the system gave no random bytes").because(error.to_string()))?;
        let slug = Slug::new(agent, random);
        if !context.dirs.bottles().join(slug.as_str()).exists() {
            return Ok(slug);
        }
    }
}
