//! From a request to a launch: plan, secrets, and the request to a keeper. What `start` and `run` share.

use crate::{
    commands::diff,
    compose::Context,
    engine,
    error::{CliError, Kind},
    host, notify,
    secrets::{self, Use},
    smolvm, terminal,
};
use bottle_policy::{Fault, Rules};
use bottle_runtime::{
    changes::{self, Given},
    protocol::{Console, LaunchRequest, Lifetime, Origin},
    store::Store,
};
use bottle_spec::{
    escape::Escaped,
    gate_link::HeldSecret,
    manifest::{Mistake, Mistakes, Place, Placed},
    plan::{Plan, Workspace},
    request::{Overrides, Request},
    resolve::resolve,
    slug::Slug,
};
use std::{path::PathBuf, process::ExitCode, str::FromStr};

/// A secret shorter than this may stand in any text by chance.
const TELLING_LENGTH: usize = 8;

/// Flags that `start` and `run` have in common.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct LaunchArgs {
    /// How the working directory gets in, at /workspace: clone, copy, mount or none [default: clone in a git repository, else none]
    #[arg(long, value_name = "MODE")]
    workspace: Option<String>,
    /// What the agent sees as the system [env: BOT_BOTTLE_IMAGE] [default: host]
    #[arg(long)]
    image: Option<String>,
    /// What makes the room [env: BOT_BOTTLE_BACKEND] [default: namespace]
    #[arg(long)]
    backend: Option<String>,
    /// What a container shares with this machine: socket, stream or sent [env: BOT_BOTTLE_TOPOLOGY] [default: what the engine can do]
    #[arg(long, value_name = "KIND")]
    topology: Option<String>,
    /// The bottle's name, as reviewer-kqzmb, instead of a drawn one
    #[arg(long)]
    pub(crate) name: Option<Slug>,
    /// Leave the agent running in the background and print the bottle's name
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// End the bottle after this time, as 90s, 30m or 8h
    #[arg(long, value_name = "TIME")]
    stop_after: Option<StopAfter>,
    /// For this run, let everything through to any public host, searched but without a secret, to see what is needed:
    /// `policy learn` writes the manifest
    #[arg(long)]
    observe: bool,
    /// Ask nothing
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Stop the keeper at this step of the launch (crash tests)
    #[arg(long, hide = true)]
    hold_at: Option<String>,
}

/// Seconds, from a number with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StopAfter(u32);

impl FromStr for StopAfter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<StopAfter, &'static str> {
        let units = [('s', 1), ('m', 60), ('h', 3600)];
        let read = units.into_iter().find_map(|(unit, scale)| {
            let number = text.strip_suffix(unit)?;
            // `parse` would take a sign.
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse::<u32>().ok().filter(|_| digits)?.checked_mul(scale)
        });
        read.filter(|seconds| *seconds > 0).map(StopAfter).ok_or("a time is a number and s, m or h, as in 30m")
    }
}

impl LaunchArgs {
    /// Flags go before variables, and both before the manifest.
    pub(crate) fn overrides(&self, context: &Context) -> Overrides {
        let pick = |flag: &str, given: &Option<String>, variable: Option<&str>| {
            let by_flag = given.clone().map(|value| (Place::Flag(format!("--{flag} {value}")), value));
            let by_variable = || {
                let name = variable?;
                let value = context.environment.value(name)?;
                Some((Place::Variable(format!("{name}={value}")), value.to_owned()))
            };
            by_flag.or_else(by_variable).map(|(place, value)| Placed { value, place })
        };
        Overrides {
            backend: pick("backend", &self.backend, Some("BOT_BOTTLE_BACKEND")),
            topology: pick("topology", &self.topology, Some("BOT_BOTTLE_TOPOLOGY")),
            image: pick("image", &self.image, Some("BOT_BOTTLE_IMAGE")),
            workspace: pick("workspace", &self.workspace, None),
            task: None,
            skills_folder: pick("", &None, Some("BOT_BOTTLE_GUEST_SKILLS_DIR")),
            observe: self.observe,
        }
    }
}

/// The plan of a request on this host, its policy accepted by the policy's own rules.
pub(crate) fn plan(request: &Request, asked_by: Kind, context: &Context) -> Result<Plan, CliError> {
    let image = match engine::facts(request, context)? {
        #[cfg(feature = "registry")]
        None => crate::images::facts(request, context)?,
        asked => asked,
    };
    let facts = host::facts(context, request, image);
    let mut plan = resolve(request, &facts).map_err(|mistakes| CliError::mistakes(&mistakes, asked_by))?;
    let rules =
        Rules::new(plan.egress.clone()).map_err(|faults| CliError::mistakes(&misplaced(&faults, request), asked_by))?;
    let unknown = bottle_policy::git::unknown_rules(&plan.git);
    let mistakes = unknown.iter().map(|fault| Mistake::new(&request.place, fault.to_string())).collect();
    Mistakes::check((), mistakes).map_err(|mistakes| CliError::mistakes(&mistakes, asked_by))?;
    plan.notices.extend(bottle_policy::notices(rules.policy()));
    Ok(plan)
}

/// Faults that only the policy knows, at the request's place: they name their route themselves.
fn misplaced(faults: &[Fault], request: &Request) -> Mistakes {
    Mistakes::from(faults.iter().map(|fault| Mistake::new(&request.place, fault.to_string())).collect::<Vec<_>>())
}

/// Whether the bottle's state goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    Keep,
    Remove,
}

/// Who sits at the agent's terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    Person,
    /// It has its task: it gets no terminal and reads nothing.
    Nobody,
}

/// Reads the secrets and launches. In the foreground it stays until the agent ends, and gives its exit code.
pub(crate) fn launch(
    plan: Plan,
    name: Option<Slug>,
    afterwards: Afterwards,
    seat: Seat,
    args: &LaunchArgs,
    context: &Context,
) -> Result<ExitCode, CliError> {
    let request = request(plan, name, afterwards, args, context)?;
    if !args.detach {
        let watched = Watched::before(&request.plan.workspace);
        let ended = terminal::foreground(request, seat, &context.ui);
        watched.after(context);
        return ended;
    }
    let slug = terminal::detached(request, &context.ui)?;
    context.ui.result(&format!("{slug}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// What a keeper is asked for, with the secrets that were read for it.
pub(crate) fn request(
    plan: Plan,
    name: Option<Slug>,
    afterwards: Afterwards,
    args: &LaunchArgs,
    context: &Context,
) -> Result<LaunchRequest, CliError> {
    // Here rather than in the keeper: a state directory that cannot be written to should not cost a secret's reading.
    Store::open(context.dirs.clone()).map_err(|error| {
        CliError::host("bot-bottle's state cannot be kept")
            .because(error)
            .next(format!("make {} yours, or set XDG_STATE_HOME", context.short(&context.dirs.state)))
    })?;
    let engine = engine::of_backend(plan.backend, context)?;
    let smolvm = smolvm::of_backend(plan.backend, context);
    let secrets = read_secrets(&plan, context)?;
    refuse_secrets_inside(&plan, &secrets)?;
    Ok(LaunchRequest {
        dirs: context.dirs.clone(),
        origin: Origin::New { name },
        plan,
        secrets,
        notify: notify::targets(context)?,
        engine,
        smolvm,
        refresh_env: context.refresh_env(),
        console: Console::Pipes,
        lifetime: Lifetime::Foreground,
        ephemeral: afterwards == Afterwards::Remove,
        wall_seconds: args.stop_after.map(|time| time.0),
        hold_at: args.hold_at.clone(),
    })
}

/// A directory that is mounted, looked through before and after: what no mount could hold is told when the bottle ends.
pub(crate) struct Watched(Option<(PathBuf, Given)>);

impl Watched {
    pub(crate) fn before(workspace: &Workspace) -> Watched {
        let Workspace::Mount { source } = workspace else { return Watched(None) };
        // What cannot be read now is an error of the launch.
        Watched(changes::unguarded(source).ok().map(|given| (source.clone(), given)))
    }

    pub(crate) fn after(self, context: &Context) {
        let Some((source, before)) = self.0 else { return };
        let Ok(now) = changes::unguarded(&source) else { return };
        let made = changes::made(&before, &now);
        if !made.is_empty() {
            context.ui.say("warning: this host would run these, which were made or changed while the bottle ran:");
            for change in &made {
                context.ui.say(diff::warning(change, false).trim_end());
            }
        }
    }
}

/// Every secret of a plan, read where it is kept; also for `resume`.
pub(crate) fn read_secrets(plan: &Plan, context: &Context) -> Result<Vec<HeldSecret>, CliError> {
    let mut held = Vec::with_capacity(plan.secrets.len());
    for secret in &plan.secrets {
        let what_for = if secret.injected { Use::Sent } else { Use::LookedFor };
        let reading = secrets::read(&secret.source, what_for, context).map_err(|error| {
            let next = error.next_step();
            let source = Escaped(&secret.source.to_string()).to_string();
            CliError::host(format!("the secret {source} cannot be read")).because(error).next(next)
        })?;
        if let Some(warning) = reading.warning {
            context.ui.say(&format!("warning: {}", Escaped(&warning)));
        }
        held.push(HeldSecret {
            source: secret.source.clone(),
            value: reading.value,
            placeholder: secret.placeholder.clone(),
            until: reading.until,
        });
    }
    Ok(held)
}

/// A shell that expanded `$TOKEN` on the command line, or a variable passed on with `--env`, would carry the secret
/// into the bottle; that is never what someone who injects it wants.
fn refuse_secrets_inside(plan: &Plan, secrets: &[HeldSecret]) -> Result<(), CliError> {
    for secret in secrets {
        let value = secret.value.expose();
        if value.len() < TELLING_LENGTH {
            continue;
        }
        let in_command = plan.command.iter().any(|word| word.contains(value));
        let in_env = plan.env.iter().find(|(_, text)| text.contains(value)).map(|(name, _)| name);
        let place = match in_env {
            _ if in_command => "the command".to_owned(),
            Some(name) => format!("the variable {name}"),
            None => continue,
        };
        let source = Escaped(&secret.source.to_string()).to_string();
        return Err(CliError::usage(format!("{place} of the bottle would hold the secret {source}")).next(
            "leave it out: the gate puts the secret on the requests (quote `$NAME` so that no shell expands it)",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, seconds) in [("90s", Some(90)), ("30m", Some(1800)), ("8h", Some(28_800))] {
            assert_eq!(text.parse::<StopAfter>().ok().map(|time| time.0), seconds, "{text}");
        }
        for text in ["", "s", "0s", "30", "-1s", "+1s", "1 s", "1d", "1.5h", "2000000h", "99999999999s"] {
            assert!(text.parse::<StopAfter>().is_err(), "{text}");
        }
    }
}
