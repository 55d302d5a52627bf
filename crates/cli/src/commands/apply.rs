//! `bot-bottle apply`.

use super::diff::{Compared, becomes_executable, shown, verb, weight};
use crate::{
    compose::Context,
    error::{CliError, Kind},
};
use bottle_runtime::changes::{
    Change, Weight,
    apply::{ApplyError, BESIDE, Meeting, apply},
};
use bottle_spec::slug::Slug;
use std::{path::PathBuf, process::ExitCode};

/// Bring what a bottle changed in its copy to the working directory itself
///
/// All of it or nothing: where a file has changed on this host meanwhile, nothing is applied. What this host would run
/// without being asked (hooks, configuration of editors and agents, filters) is held back until it is named with --take;
/// repositories and links that lead out of the directory are refused. Commits within the bottle are not taken over.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 applied, 4 a conflict (nothing was applied), 5 applied but for what was held back \
                        or refused. With --check the same, and nothing is applied."
)]
pub(crate) struct ApplyArgs {
    /// The bottle; without it, the only one that has a copy of this directory
    bottle: Option<Slug>,
    /// Apply also what is held back at PATH or beneath it
    #[arg(long, value_name = "PATH")]
    take: Vec<PathBuf>,
    /// Leave out what is at PATH or beneath it
    #[arg(long, value_name = "PATH")]
    leave: Vec<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    check: bool,
    /// Ask nothing
    #[arg(long, short)]
    yes: bool,
}

pub(crate) fn run(args: ApplyArgs, context: &Context) -> Result<ExitCode, CliError> {
    let compared = Compared::of(args.bottle.as_ref(), context)?;
    let sorted = Sorted::of(&compared, &args)?;
    sorted.show(&compared, context);
    if !sorted.conflicts.is_empty() {
        return Err(conflict(&sorted, &compared, context));
    }
    if sorted.wanted.is_empty() {
        context.ui.say("nothing to apply");
        return Ok(sorted.code());
    }
    if args.check {
        return Ok(sorted.code());
    }
    if !args.yes && !agreed(&sorted, &compared, context)? {
        return Err(CliError::denied("nothing was applied"));
    }
    let directory = context.short(&compared.directory);
    apply(&compared.workspace, &compared.directory, &sorted.wanted).map_err(|error| {
        let next = match &error {
            ApplyError::Half { .. } => {
                format!("look into {directory}/{BESIDE}: what was replaced is there")
            }
            ApplyError::Beside(_) => format!("see that no other apply runs, then remove {directory}/{BESIDE}"),
            _ => "apply again".to_owned(),
        };
        CliError::host(format!("the changes could not be applied to {directory}")).because(error).next(next)
    })?;
    context.ui.result(&format!("{} applied to {directory}\n", count(sorted.wanted.len())))?;
    Ok(sorted.code())
}

/// What becomes of each change.
struct Sorted<'a> {
    wanted: Vec<&'a Change>,
    conflicts: Vec<&'a Change>,
    kept_back: Vec<&'a Change>,
}

impl<'a> Sorted<'a> {
    fn of(compared: &'a Compared, args: &ApplyArgs) -> Result<Sorted<'a>, CliError> {
        let mut sorted = Sorted { wanted: Vec::new(), conflicts: Vec::new(), kept_back: Vec::new() };
        let list = &compared.changes.list;
        let unused =
            args.take.iter().chain(&args.leave).find(|path| !list.iter().any(|one| one.path.starts_with(path)));
        if let Some(path) = unused {
            return Err(CliError::usage(format!("nothing has changed at {}", shown(path)))
                .next("name paths as `bot-bottle diff --name-only` does"));
        }
        let named = |paths: &[PathBuf], change: &Change| paths.iter().any(|path| change.path.starts_with(path));
        for (change, meeting) in list.iter().zip(&compared.meetings) {
            if *meeting == Meeting::Done || named(&args.leave, change) {
                continue;
            }
            match change.risk.map(|risk| risk.weight) {
                Some(Weight::Refuse) => sorted.kept_back.push(change),
                Some(Weight::Hold) if !named(&args.take, change) => sorted.kept_back.push(change),
                _ if *meeting == Meeting::Conflict => sorted.conflicts.push(change),
                _ => sorted.wanted.push(change),
            }
        }
        Ok(sorted)
    }

    fn show(&self, compared: &Compared, context: &Context) {
        for change in &self.wanted {
            let executable = if becomes_executable(change) { " (executable now)" } else { "" };
            let risk = change.risk.map_or_else(String::new, |risk| format!(" ({})", risk.reason));
            context.ui.say(&format!("{:<9} {}{executable}{risk}", verb(change), shown(&change.path)));
        }
        for change in &self.kept_back {
            if let Some(risk) = change.risk {
                context.ui.say(&format!("{:<9} {} ({})", weight(risk.weight), shown(&change.path), risk.reason));
            }
        }
        for (path, reason) in &compared.changes.left_out {
            context.ui.say(&format!("left out  {} ({reason})", shown(path)));
        }
        if self.kept_back.iter().any(|change| change.risk.is_some_and(|risk| risk.weight == Weight::Hold)) {
            context.ui.say("what is held back is applied with --take PATH, after you have read it");
        }
    }

    fn code(&self) -> ExitCode {
        if self.kept_back.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Kind::Denied as u8) }
    }
}

fn conflict(sorted: &Sorted<'_>, compared: &Compared, context: &Context) -> CliError {
    let paths: Vec<String> = sorted.conflicts.iter().map(|change| shown(&change.path)).collect();
    let (slug, directory) = (&compared.slug, context.short(&compared.directory));
    CliError::host(format!("in {directory} these have changed since the bottle got its copy: {}", paths.join(", "))).next(
        format!(
            "nothing was applied; leave them out with --leave PATH, or take your own changes back, apply, and make them \
             again (`bot-bottle cp {slug}:/workspace/PATH .` gets the bottle's file)"
        ),
    )
}

fn agreed(sorted: &Sorted<'_>, compared: &Compared, context: &Context) -> Result<bool, CliError> {
    if !context.ui.can_ask() {
        return Err(CliError::usage("nobody can be asked here whether to apply this").next("pass --yes"));
    }
    let question = format!("Apply {} to {}?", count(sorted.wanted.len()), context.short(&compared.directory));
    context.ui.confirm(&question)
}

fn count(changes: usize) -> String {
    match changes {
        1 => "1 change".to_owned(),
        more => format!("{more} changes"),
    }
}
