//! `bot-bottle diff`, and what `apply` shares with it: finding the bottle and comparing.

use super::list::{open, unreadable};
use crate::{
    away::brought,
    compose::Context,
    error::CliError,
    patch::{self, Count, LONGEST, Side},
};
use bottle_runtime::{
    changes::{
        self, Change, Changes, What,
        apply::{Meeting, meet},
    },
    store::{BottleDir, StoreError},
    tree::Tree,
};
use bottle_spec::{escape::Escaped, plan::Workspace, slug::Slug};
use serde::Serialize;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Show what a bottle changed in its copy of the working directory
///
/// Of a bottle that writes to the directory itself (`--workspace mount`), what this host would run and was not there
/// before. Compared is with what the bottle was given; nothing of git is run, and commits within the bottle do not matter. The
/// patch is one that `git apply` reads.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The bottle; without it, the only one that has a copy of this directory
    bottle: Option<Slug>,
    /// How many lines of which files, no patch
    #[arg(long, conflicts_with_all = ["name_only", "json"])]
    stat: bool,
    /// The names alone
    #[arg(long, conflicts_with = "json")]
    name_only: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: DiffArgs, context: &Context) -> Result<ExitCode, CliError> {
    if let Some(mounted) = Mounted::of(args.bottle.as_ref(), context)? {
        let lines = mounted.list.iter().map(|change| (change, Meeting::Done, None)).collect::<Vec<_>>();
        if args.json {
            context.ui.json(&mounted.report(&lines))?;
        } else {
            context
                .ui
                .result(&mounted.list.iter().map(|change| warning(change, args.name_only)).collect::<String>())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let compared = Compared::of(args.bottle.as_ref(), context)?;
    let mut text = Vec::new();
    let mut stat = Vec::new();
    for (change, meeting) in compared.changes.list.iter().zip(&compared.meetings) {
        let (before, after) = compared.sides(change, *meeting)?;
        stat.push((change, *meeting, patch::write(&mut text, change, &before, &after)));
    }
    if args.json {
        context.ui.json(&compared.report(&stat))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.name_only {
        let lines = compared.changes.list.iter().map(|change| format!("{}\n", shown(&change.path)));
        context.ui.result(&lines.collect::<String>())?;
    } else if args.stat {
        context.ui.result(&table(&stat))?;
    } else if context.ui.stdout_is_terminal {
        context.ui.result(&patch::harmless(&text))?;
    } else {
        context.ui.bytes(&text)?;
    }
    compared.remarks(context);
    Ok(ExitCode::SUCCESS)
}

/// What this host would run of a directory that a bottle writes to itself, and that was not there when it began.
struct Mounted {
    slug: Slug,
    directory: PathBuf,
    list: Vec<Change>,
}

impl Mounted {
    fn of(slug: Option<&Slug>, context: &Context) -> Result<Option<Mounted>, CliError> {
        let Some(slug) = slug else { return Ok(None) };
        let bottle = open(context)?.bottle(slug);
        let Ok(Workspace::Mount { source: directory }) = bottle.plan().map(|plan| plan.workspace) else {
            return Ok(None);
        };
        let Some(before) = changes::load(&bottle).map_err(unreadable)? else { return Ok(None) };
        let now = changes::unguarded(&directory).map_err(|error| {
            CliError::host(format!("{} cannot be looked through", context.short(&directory))).because(error)
        })?;
        Ok(Some(Mounted { slug: slug.clone(), directory, list: changes::made(&before, &now) }))
    }

    fn report(&self, lines: &[(&Change, Meeting, Option<Count>)]) -> Report {
        let changes = lines.iter().map(|(change, meeting, count)| Line::of(change, *meeting, *count)).collect();
        Report { bottle: self.slug.to_string(), directory: self.directory.clone(), changes, left_out: Vec::new() }
    }
}

/// One line about a change in a directory that the bottle wrote to.
pub(crate) fn warning(change: &Change, name_only: bool) -> String {
    match change.risk.filter(|_| !name_only) {
        Some(risk) => format!("{:<9} {} ({})\n", verb(change), shown(&change.path), risk.reason),
        None => format!("{}\n", shown(&change.path)),
    }
}

/// A bottle's changes, and how each meets the user's directory.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) slug: Slug,
    pub(crate) workspace: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) changes: Changes,
    pub(crate) meetings: Vec<Meeting>,
}

impl Compared {
    pub(crate) fn of(slug: Option<&Slug>, context: &Context) -> Result<Compared, CliError> {
        let (bottle, directory) = chosen(slug, context)?;
        brought(&bottle, context)?;
        let given = changes::load(&bottle).map_err(unreadable)?.ok_or_else(|| {
            CliError::usage(format!("what {} was given is not known", bottle.slug))
                .next("compare by hand what `bot-bottle cp` copies out: this bottle was made before there was `diff`")
        })?;
        let workspace = bottle.workspace();
        let failed =
            |error: changes::CompareError| CliError::host("the bottle's copy cannot be compared").because(error);
        let changes = changes::compare(&workspace, &given).map_err(failed)?;
        let meetings = meet(&directory, &changes.list.iter().collect::<Vec<_>>()).map_err(|error| {
            CliError::host(format!("{} cannot be compared", context.short(&directory))).because(error)
        })?;
        Ok(Compared { slug: bottle.slug, workspace, directory, changes, meetings })
    }

    /// Both sides of a change. What was given is not kept: it is at hand as long as the user's file is still that.
    fn sides(&self, change: &Change, meeting: Meeting) -> Result<(Side, Side), CliError> {
        let failed = |error| CliError::host("a file that is to be compared cannot be read").because(error);
        let (host, bottle) = (Tree::open(&self.directory), Tree::open(&self.workspace));
        let (host, bottle) = (host.map_err(failed)?, bottle.map_err(failed)?);
        let before = match meeting {
            Meeting::Clean => side(&host, change.before.as_ref(), &change.path),
            Meeting::Done | Meeting::Conflict if change.before.is_none() => Ok(Side::Nothing),
            Meeting::Done | Meeting::Conflict => Ok(Side::Unread),
        };
        let after = side(&bottle, change.after.as_ref(), &change.path);
        Ok((before.map_err(failed)?, after.map_err(failed)?))
    }

    fn report(&self, stat: &[(&Change, Meeting, Option<Count>)]) -> Report {
        let left_out = self.changes.left_out.iter();
        Report {
            bottle: self.slug.to_string(),
            directory: self.directory.clone(),
            changes: stat.iter().map(|(change, meeting, count)| Line::of(change, *meeting, *count)).collect(),
            left_out: left_out.map(|(path, reason)| LeftOut { path: name(path), reason }).collect(),
        }
    }

    /// What a person should know besides the patch, on stderr.
    fn remarks(&self, context: &Context) {
        for (change, meeting) in self.changes.list.iter().zip(&self.meetings) {
            if let Some(risk) = change.risk {
                context.ui.say(&format!("{}: {} ({})", weight(risk.weight), shown(&change.path), risk.reason));
            }
            if *meeting == Meeting::Conflict {
                context.ui.say(&format!("changed on this host as well: {}", shown(&change.path)));
            }
        }
        for (path, reason) in &self.changes.left_out {
            context.ui.say(&format!("left out: {} ({reason})", shown(path)));
        }
    }
}

fn side(tree: &Tree, what: Option<&What>, path: &Path) -> std::io::Result<Side> {
    Ok(match what {
        None => Side::Nothing,
        Some(What::Link { target }) => Side::Bytes(std::os::unix::ffi::OsStrExt::as_bytes(target.as_os_str()).to_vec()),
        Some(What::File { .. }) => tree.read(path, LONGEST)?.map_or(Side::Unread, Side::Bytes),
    })
}

/// The bottle, and the directory that it has a copy of.
fn chosen(slug: Option<&Slug>, context: &Context) -> Result<(BottleDir, PathBuf), CliError> {
    let store = open(context)?;
    if let Some(slug) = slug {
        let bottle = store.bottle(slug);
        if !bottle.state.is_dir() {
            return Err(unreadable(StoreError::Unknown(slug.clone())));
        }
        return match bottle.plan().map_err(unreadable)?.workspace {
            Workspace::Copy { source } | Workspace::Clone { source } => Ok((bottle, source)),
            Workspace::Mount { source } => {
                Err(CliError::usage(format!("{slug} has no copy: it writes to {} itself", context.short(&source)))
                    .next("compare there, after a look at what docs/workspace.md says a mount does not hold"))
            }
            Workspace::None => Err(CliError::usage(format!("{slug} has no workspace"))
                .next("give it one at the start: `--workspace copy`")),
        };
    }
    let mut found: Vec<BottleDir> = Vec::new();
    for listed in store.list().map_err(unreadable)? {
        let Ok(slug) = listed.slug.parse::<Slug>() else { continue };
        let bottle = store.bottle(&slug);
        let Ok(plan) = bottle.plan() else { continue };
        if let Workspace::Copy { source } | Workspace::Clone { source } = plan.workspace
            && source == context.cwd
        {
            found.push(bottle);
        }
    }
    match found.len() {
        0 => Err(CliError::usage("no bottle has a copy of this directory")
            .next("name the bottle; `bot-bottle list` shows which there are")),
        1 => Ok((found.remove(0), context.cwd.clone())),
        _ => {
            let names: Vec<String> = found.iter().map(|bottle| bottle.slug.to_string()).collect();
            Err(CliError::usage(format!("{} have a copy of this directory", names.join(", "))).next("name one"))
        }
    }
}

pub(crate) fn shown(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(crate) fn weight(weight: changes::Weight) -> &'static str {
    match weight {
        changes::Weight::Refuse => "refused",
        changes::Weight::Hold => "held back",
        changes::Weight::Note => "note",
    }
}

/// What happened to a file, in a word.
pub(crate) fn verb(change: &Change) -> &'static str {
    match (&change.before, &change.after) {
        (None, _) => "added",
        (_, None) => "deleted",
        _ => "modified",
    }
}

/// Whether the change makes a file one that can be executed.
pub(crate) fn becomes_executable(change: &Change) -> bool {
    let executable = |what: &Option<What>| matches!(what, Some(What::File { executable: true, .. }));
    executable(&change.after) && !executable(&change.before)
}

fn table(stat: &[(&Change, Meeting, Option<Count>)]) -> String {
    let mut text = String::new();
    let (mut insertions, mut deletions) = (0, 0);
    for (change, _, count) in stat {
        let lines =
            count.map_or("not compared".to_owned(), |count| format!("+{} -{}", count.insertions, count.deletions));
        let executable = if becomes_executable(change) { " (executable now)" } else { "" };
        let _ = writeln!(text, "{:<9} {:<14} {}{executable}", verb(change), lines, shown(&change.path));
        let count = count.unwrap_or_default();
        insertions += count.insertions;
        deletions += count.deletions;
    }
    let _ = writeln!(text, "{} changed, {insertions} lines added, {deletions} removed", stat.len());
    text
}

#[derive(Debug, Serialize)]
struct Report {
    bottle: String,
    directory: PathBuf,
    changes: Vec<Line>,
    left_out: Vec<LeftOut>,
}

#[derive(Debug, Serialize)]
struct Line {
    path: String,
    change: &'static str,
    kind: &'static str,
    executable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    insertions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletions: Option<usize>,
    /// `clean`: as it was given; `done`: as the bottle has it; `conflict`: neither.
    on_host: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    risk: Option<LineRisk>,
}

#[derive(Debug, Serialize)]
struct LineRisk {
    weight: &'static str,
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct LeftOut {
    path: String,
    reason: &'static str,
}

impl Line {
    fn of(change: &Change, meeting: Meeting, count: Option<Count>) -> Line {
        let what = change.after.as_ref().or(change.before.as_ref());
        Line {
            path: name(&change.path),
            change: verb(change),
            kind: if matches!(what, Some(What::Link { .. })) { "link" } else { "file" },
            executable: matches!(what, Some(What::File { executable: true, .. })),
            insertions: count.map(|count| count.insertions),
            deletions: count.map(|count| count.deletions),
            on_host: match meeting {
                Meeting::Clean => "clean",
                Meeting::Done => "done",
                Meeting::Conflict => "conflict",
            },
            risk: change.risk.map(|risk| LineRisk {
                weight: match risk.weight {
                    changes::Weight::Refuse => "refuse",
                    changes::Weight::Hold => "hold",
                    changes::Weight::Note => "note",
                },
                reason: risk.reason,
            }),
        }
    }
}
