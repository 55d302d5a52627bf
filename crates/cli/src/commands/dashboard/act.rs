//! What a key of the dashboard does on this host: the same as the command of that name.
//!
//! Invariants: nothing that may take its time is done on the dashboard's own thread, so that a keeper which does not
//! answer holds up nothing but its own answer; nothing but what the person joins writes to the terminal. What a
//! preflight showed is what is started, by the very plan.

use super::super::{preflight, requests, start};
use crate::{
    catalog,
    compose::Context,
    error::{CliError, in_a_line},
    launch::{self, Afterwards, LaunchArgs},
    terminal,
    ui::Ui,
};
use bottle_runtime::client;
use bottle_spec::{escape::Escaped, plan::Plan, slug::Slug};
use bottle_tui::{
    action::{Action, Reply},
    event::Event,
    runner::Outcome,
};
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
};

/// Seconds that a stopped bottle's programs have.
const GRACE: u32 = 10;
/// From so many columns on, an agent's pane fits beside the dashboard's.
const BESIDE: u16 = 160;

pub(super) struct Acts {
    /// With a terminal that nothing is written to.
    context: Arc<Context>,
    /// What the last preflight showed.
    prepared: Option<(String, Plan, Slug)>,
}

impl Acts {
    pub(super) fn new(context: Arc<Context>) -> Acts {
        let quiet = Context { ui: Ui::silent(), ..Context::clone(&context) };
        Acts { context: Arc::new(quiet), prepared: None }
    }

    pub(super) fn act(&mut self, action: Action) -> Outcome {
        match action {
            Action::Answer { id, digest, reply } => self.later(move |context| answer(&id, &digest, &reply, context)),
            Action::Freeze { bottle, frozen } => self.later(move |context| freeze(&bottle, frozen, context)),
            Action::Stop { bottle } => self.later(move |context| stop(&bottle, context)),
            Action::Resume { bottle } => self.later(move |context| resume(&bottle, context)),
            Action::Attach { bottle } => self.attach(bottle),
            Action::Agents => Outcome::Done(Event::Agents(catalog::agents(&self.context))),
            Action::Preflight { agent } => Outcome::Done(self.preflight(agent)),
            Action::Start { agent } => self.start(&agent),
            Action::Quit => Outcome::Done(Event::Said(String::new())),
        }
    }

    fn later(&self, work: impl FnOnce(&Context) -> Result<String, CliError> + Send + 'static) -> Outcome {
        let (told, outcome) = mpsc::channel();
        let context = Arc::clone(&self.context);
        thread::spawn(move || {
            let said = work(&context).unwrap_or_else(|error| in_a_line(&error));
            // Nobody hears it where the dashboard was left meanwhile.
            let _ = told.send(Event::Said(said));
        });
        Outcome::Later(outcome)
    }

    /// Beside the dashboard where it runs within tmux; else in its place, until the person leaves the agent.
    fn attach(&self, bottle: String) -> Outcome {
        let Ok(slug) = bottle.parse::<Slug>() else { return Outcome::Done(Event::Said(String::new())) };
        if self.context.environment.value("TMUX").is_some() {
            return self.later(move |context| in_tmux(&slug, context));
        }
        Outcome::Here(Box::new(move || {
            // A process of its own: one that waits for a key ends with it, and takes none of the dashboard's.
            let ran = Command::new(terminal::PROGRAM).args(["attach", slug.as_str()]).status();
            Event::Said(match ran {
                Ok(status) if status.success() => format!("back from {slug}"),
                Ok(status) => format!("the session with {slug} ended: {status}"),
                Err(error) => format!("{slug} could not be joined: {error}"),
            })
        }))
    }

    fn preflight(&mut self, agent: String) -> Event {
        let prepared = start::plan(&agent, None, &LaunchArgs::default(), &self.context).and_then(|(request, plan)| {
            let slug = start::draw(&plan.agent, &self.context)?;
            let lines =
                preflight::render(&plan, &request, std::slice::from_ref(&slug)).lines().map(str::to_owned).collect();
            self.prepared = Some((agent.clone(), plan, slug));
            Ok(lines)
        });
        match prepared {
            Ok(lines) => Event::Preflight { agent, lines },
            Err(error) => Event::Said(in_a_line(&error)),
        }
    }

    fn start(&mut self, agent: &str) -> Outcome {
        match self.prepared.take() {
            Some((prepared, plan, slug)) if prepared == agent => self.later(move |context| {
                let request = launch::request(plan, Some(slug), Afterwards::Keep, &LaunchArgs::default(), context)?;
                let (slug, mut keeper) = terminal::in_background(request, &context.ui)?;
                // Whoever lives longer than a keeper of its own takes note of its end.
                thread::spawn(move || drop(keeper.wait()));
                Ok(format!("{slug} runs"))
            }),
            _ => Outcome::Done(Event::Said("look at its preflight first".to_owned())),
        }
    }
}

fn answer(id: &str, digest: &str, reply: &Reply, context: &Context) -> Result<String, CliError> {
    requests::answer_shown(id, digest, reply, context)?;
    Ok(match reply {
        Reply::Approve { answer: Some(_), .. } => format!("{id} answered"),
        Reply::Approve { .. } => format!("{id} approved"),
        Reply::Deny { .. } => format!("{id} denied"),
    })
}

fn freeze(bottle: &str, frozen: bool, context: &Context) -> Result<String, CliError> {
    client::freeze(&context.dirs, &slug(bottle)?, frozen).map_err(terminal::told)?;
    Ok(format!("{bottle} {}", if frozen { "frozen" } else { "thawed" }))
}

fn stop(bottle: &str, context: &Context) -> Result<String, CliError> {
    client::stop(&context.dirs, &slug(bottle)?, GRACE).map_err(terminal::told)?;
    Ok(format!("{bottle} stopped"))
}

fn resume(bottle: &str, context: &Context) -> Result<String, CliError> {
    let slug = slug(bottle)?;
    run(Command::new(terminal::PROGRAM).args(["resume", "--detach", slug.as_str()]), context)?;
    Ok(format!("{bottle} runs again"))
}

fn in_tmux(slug: &Slug, context: &Context) -> Result<String, CliError> {
    let program = std::env::current_exe().map_err(|error| CliError::host("our own path is unknown").because(error))?;
    let wide = terminal::window_size().is_some_and(|size| size.columns >= BESIDE);
    let mut tmux = Command::new("tmux");
    if wide {
        tmux.args(["split-window", "-h"]);
    } else {
        tmux.args(["new-window", "-n", slug.as_str()]);
    }
    // A pane has the environment of tmux's server, not ours.
    for name in ["XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HOME"] {
        if let Some(value) = context.environment.value(name) {
            tmux.args(["-e", &format!("{name}={value}")]);
        }
    }
    tmux.arg("--").arg(program).args(["attach", slug.as_str()]);
    run(&mut tmux, context)?;
    Ok(format!("{slug} is in {} of tmux", if wide { "a pane" } else { "a window" }))
}

/// Runs a program that says nothing here; what it said on its way down is its error.
fn run(command: &mut Command, context: &Context) -> Result<(), CliError> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ran = command.stdin(Stdio::null()).current_dir(&context.cwd).output();
    let ran = ran.map_err(|error| CliError::host(format!("{name} could not be started")).because(error))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let first = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
    Err(CliError::host(if first.is_empty() {
        format!("it failed: {}", ran.status)
    } else {
        Escaped(first).to_string()
    }))
}

fn slug(bottle: &str) -> Result<Slug, CliError> {
    bottle.parse().map_err(|_| CliError::usage(format!("no bottle is named {}", Escaped(bottle))))
}
