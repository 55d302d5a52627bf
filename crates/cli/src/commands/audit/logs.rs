//! Where the logs are: in the directory of a bottle that is there, or kept of one that is gone.

use crate::{commands::list, compose::Context, error::CliError};
use bottle_runtime::{audit_log::kept, store::State};
use bottle_spec::slug::Slug;
use std::path::{Path, PathBuf};

/// A log and its note, in a directory of their own.
#[derive(Debug, Clone)]
pub(in crate::commands) struct Log {
    pub(super) slug: Slug,
    pub(super) directory: PathBuf,
    pub(super) of: Of,
}

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Bottle(State),
    /// Gone, at so many milliseconds since the Unix epoch.
    Gone(u64),
}

impl Log {
    pub(in crate::commands) fn path(&self) -> PathBuf {
        self.directory.join("audit.jsonl")
    }

    pub(super) fn is_written_to(&self) -> bool {
        matches!(self.of, Of::Bottle(State::Running | State::Creating))
    }
}

/// Every log: of bottles by name, then of those that are gone, the newest first.
pub(super) fn all(context: &Context) -> Result<Vec<Log>, CliError> {
    let store = list::open(context)?;
    let mut logs = Vec::new();
    for listed in store.list().map_err(list::unreadable)? {
        let Ok(slug) = listed.slug.parse::<Slug>() else { continue };
        let directory = store.bottle(&slug).audit();
        logs.push(Log { slug, directory, of: Of::Bottle(listed.state) });
    }
    let kept = kept::all(&context.dirs.state).map_err(list::unreadable)?;
    logs.extend(kept.into_iter().map(|kept| Log {
        slug: kept.slug,
        of: Of::Gone(kept.ended),
        directory: kept.directory,
    }));
    logs.retain(|log| log.path().is_file());
    Ok(logs)
}

/// The log of this name: of the bottle that is there, else of the one that went last.
pub(in crate::commands) fn named(slug: &Slug, context: &Context) -> Result<Log, CliError> {
    let found = all(context)?.into_iter().find(|log| log.slug == *slug);
    found.ok_or_else(|| {
        CliError::usage(format!("there is no audit log of {slug}"))
            .next("`bot-bottle audit list` shows those there are")
    })
}

/// A copy of a log that someone has, its note beside it if at all.
pub(super) fn beside(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
