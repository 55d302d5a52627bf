//! `bot-bottle cp`.

use super::list::{open, unreadable};
use crate::{
    away::{brought, is_elsewhere},
    compose::Context,
    error::CliError,
};
use bottle_runtime::{
    away,
    store::{BottleDir, StoreError},
    transfer::{Owner, TransferError, Transferred, copy_in, copy_out, locate},
};
use bottle_spec::{escape::Escaped, slug::Slug};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// How often a copy says how far it is, at a terminal.
const EVERY: Duration = Duration::from_millis(500);

/// Copy files and directories between this host and a bottle's home and workspace
///
/// One of the two is BOTTLE:PATH, beneath /home/agent or /workspace; the bottle may run or not. Out of a bottle come
/// no links that lead elsewhere, no devices, no pipes.
#[derive(Debug, clap::Args)]
pub(crate) struct CpArgs {
    /// PATH or BOTTLE:PATH
    source: String,
    /// PATH or BOTTLE:PATH
    target: String,
}

pub(crate) fn run(args: CpArgs, context: &Context) -> Result<ExitCode, CliError> {
    let mut last = Instant::now();
    let mut progress = |so_far: &Transferred| {
        if context.ui.stderr_is_terminal && last.elapsed() > EVERY {
            last = Instant::now();
            context.ui.say(&format!("copying: {} files, {} MiB", so_far.files, so_far.bytes >> 20));
        }
    };
    let done = match (Place::parse(&args.source), Place::parse(&args.target)) {
        (Place::Inside(slug, path), Place::Host(target)) => {
            let (root, below, _) = find(&slug, &path, context)?;
            copy_out(&root, &below, &context.cwd.join(target), &mut progress)
        }
        (Place::Host(source), Place::Inside(slug, path)) => {
            let bottle = open(context)?.bottle(&slug);
            if is_elsewhere(&bottle) {
                return send(&bottle, &context.cwd.join(source), &path);
            }
            let (root, below, owner) = find(&slug, &path, context)?;
            copy_in(&context.cwd.join(source), &root, &below, owner, &mut progress)
        }
        _ => return Err(CliError::usage("one of the two must be BOTTLE:PATH, the other a path of this host")),
    };
    let Transferred { left_out, .. } = done.map_err(failed)?;
    for line in left_out {
        context.ui.say(&format!("left out {}", Escaped(&line)));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Host(PathBuf),
    Inside(Slug, PathBuf),
}

impl Place {
    /// What is before a colon counts as a bottle only where it can be one's name; `./a-bcdef:x` is a path.
    fn parse(text: &str) -> Place {
        match text.split_once(':') {
            Some((name, path)) if let Ok(slug) = name.parse::<Slug>() => Place::Inside(slug, PathBuf::from(path)),
            _ => Place::Host(PathBuf::from(text)),
        }
    }
}

/// Into a bottle whose files are with its engine.
fn send(bottle: &BottleDir, source: &Path, inside: &Path) -> Result<ExitCode, CliError> {
    let plan = bottle.plan().map_err(unreadable)?;
    // As everywhere: nothing but home and workspace.
    locate(bottle, &plan, inside).map_err(failed)?;
    let source = source.canonicalize().map_err(|error| CliError::host("the copy failed").because(error))?;
    let put = away::put(bottle, &source, inside, &mut |_| {});
    put.map(|_| ExitCode::SUCCESS).map_err(|error| CliError::host("the copy failed").because(error))
}

/// The directory on this host, the way beneath it, and who owns what is put there.
fn find(slug: &Slug, path: &Path, context: &Context) -> Result<(PathBuf, PathBuf, Option<Owner>), CliError> {
    let bottle: BottleDir = open(context)?.bottle(slug);
    if !bottle.state.is_dir() {
        return Err(unreadable(StoreError::Unknown(slug.clone())));
    }
    let metadata = bottle.metadata().map_err(unreadable)?;
    let plan = bottle.plan().map_err(unreadable)?;
    brought(&bottle, context)?;
    let (root, below) = locate(&bottle, &plan, path).map_err(failed)?;
    let owner = metadata
        .host_id
        .map(|_| Owner::of(&root))
        .transpose()
        .map_err(|error| CliError::host(format!("{} cannot be read", context.short(&root))).because(error))?;
    Ok((root, below, owner))
}

fn failed(error: TransferError) -> CliError {
    match error {
        TransferError::NotShared(_) => CliError::usage(Escaped(&error.to_string()).to_string()),
        other => CliError::host("the copy failed").because(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_before_a_colon_is_a_bottle() {
        let slug = "a-bcdef".parse().unwrap();
        assert_eq!(Place::parse("a-bcdef:/workspace/x"), Place::Inside(slug, "/workspace/x".into()));
        for path in ["./a-bcdef:/x", "C:x", "x", "/a:b"] {
            assert_eq!(Place::parse(path), Place::Host(path.into()));
        }
    }
}
