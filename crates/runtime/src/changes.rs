//! What a bottle changed in its own copy of a working directory, and bringing it to the directory itself.
//!
//! Invariants: no program is run, git least of all, and nothing is believed that the agent wrote about its work; the
//! agent's side is only read, and through no link ([`crate::tree`]); what would run on the host is refused or held back
//! ([`risk`]).

pub mod apply;
mod given;
mod risk;
mod unguarded;

pub(crate) use given::record;
pub use given::{Given, Hash, What, load};
pub use risk::{Risk, Weight};
pub(crate) use unguarded::record as record_unguarded;
pub use unguarded::{made, unguarded};

use crate::tree::Tree;
use given::{ENTRIES, look};
use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use rustix::fs::FileType;
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// A longer ignore file is not followed, and attributes longer than this are held back.
const RULES: u64 = 1 << 16;
/// Bytes of ignore files in all: each line costs memory, and they are the agent's.
const ALL_RULES: usize = 1 << 20;
/// Bytes of what is new that one comparison reads.
const READS: u64 = 4 << 30;
/// Directories that are looked into.
const DIRECTORIES: usize = 1 << 18;

#[derive(Debug, thiserror::Error)]
#[error("{} of the bottle cannot be read", path.display())]
pub struct CompareError {
    path: PathBuf,
    source: io::Error,
}

/// One file or link that is not as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Relative to the workspace.
    pub path: PathBuf,
    pub before: Option<What>,
    pub after: Option<What>,
    pub risk: Option<Risk>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// By path.
    pub list: Vec<Change>,
    /// What can be no change of the directory, with the reason: repositories of the bottle's own, devices, and so on.
    pub left_out: Vec<(PathBuf, &'static str)>,
}

/// Compares the bottle's `workspace` with what was given.
pub fn compare(workspace: &Path, given: &Given) -> Result<Changes, CompareError> {
    let failed = |path: &Path, source| CompareError { path: path.to_owned(), source };
    let tree = Tree::open(workspace).map_err(|error| failed(workspace, error))?;
    let mut comparing = Comparing {
        tree: &tree,
        given,
        seen: BTreeSet::new(),
        reads: READS,
        rules: ALL_RULES,
        changes: Changes::default(),
    };
    let root = Rules { path: PathBuf::new(), above: Vec::new() };
    let mut waiting = vec![root];
    let mut looked = 0;
    while let Some(rules) = waiting.pop() {
        looked += 1;
        if looked > DIRECTORIES {
            comparing.changes.left_out.push((rules.path, "there are too many directories"));
            break;
        }
        waiting.extend(comparing.directory(rules)?);
    }
    let Comparing { seen, mut changes, .. } = comparing;
    let gone = given.iter().filter(|(path, _)| !seen.contains(*path));
    changes.list.extend(gone.map(|(path, before)| Change {
        path: path.clone(),
        before: Some(before.clone()),
        after: None,
        risk: risk::of_path(path),
    }));
    changes.list.sort_by(|a, b| a.path.cmp(&b.path));
    changes.left_out.sort();
    Ok(changes)
}

/// A directory that waits, with the ignore files that hold in it, the nearest last.
struct Rules {
    path: PathBuf,
    above: Vec<std::rc::Rc<Gitignore>>,
}

struct Comparing<'a> {
    tree: &'a Tree,
    given: &'a Given,
    seen: BTreeSet<PathBuf>,
    reads: u64,
    rules: usize,
    changes: Changes,
}

impl Comparing<'_> {
    fn directory(&mut self, rules: Rules) -> Result<Vec<Rules>, CompareError> {
        let Rules { path: directory, mut above } = rules;
        let failed = |source| CompareError { path: directory.clone(), source };
        let entries = match self.tree.entries(&directory, ENTRIES) {
            // The agent may close its own directories, and make them deeper than a path is long.
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidFilename) => {
                self.changes.left_out.push((directory, "it cannot be read"));
                return Ok(Vec::new());
            }
            other => other.map_err(failed)?.unwrap_or_default(),
        };
        above.extend(self.rules(&directory).map(std::rc::Rc::new));
        let mut waiting = Vec::new();
        for entry in entries {
            let path = directory.join(&entry.name);
            if risk::is_git(&entry.name) {
                // The one at the top was given; its commits are its own.
                if path != Path::new(".git") {
                    self.changes.left_out.push((path, "git on this host would take it for its own"));
                }
            } else if entry.kind == FileType::Directory {
                let holds_given =
                    self.given.range(path.join("")..).next().is_some_and(|(one, _)| one.starts_with(&path));
                if holds_given || !is_ignored(&above, &path, true) {
                    waiting.push(Rules { path, above: above.clone() });
                }
            } else {
                let given = self.given.get(&path);
                if given.is_some() || !is_ignored(&above, &path, false) {
                    self.entry(path, entry.kind, given)?;
                }
            }
        }
        Ok(waiting)
    }

    fn entry(&mut self, path: PathBuf, kind: FileType, before: Option<&What>) -> Result<(), CompareError> {
        let reads = &mut self.reads;
        let mut reads = |size: u64| {
            if matches!(before, Some(What::File { size: given, .. }) if *given == size) {
                return true;
            }
            let left = reads.checked_sub(size);
            *reads = left.unwrap_or(*reads);
            left.is_some()
        };
        let after = match look(self.tree, &path, kind, &mut reads) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.seen.insert(path.clone());
                self.changes.left_out.push((path, "it cannot be read"));
                return Ok(());
            }
            other => other.map_err(|source| CompareError { path: path.clone(), source })?,
        };
        let Some(after) = after else {
            self.changes.left_out.push((path, "it is neither file, directory nor link"));
            return Ok(());
        };
        self.seen.insert(path.clone());
        if before != Some(&after) {
            let risk = self.risk(&path, &after)?;
            self.changes.list.push(Change { path, before: before.cloned(), after: Some(after), risk });
        }
        Ok(())
    }

    fn risk(&self, path: &Path, after: &What) -> Result<Option<Risk>, CompareError> {
        let of_path = risk::of_path(path);
        let of_content = match after {
            What::Link { target } => risk::of_link(path, target),
            What::File { .. } if path.file_name().is_some_and(|name| name.eq_ignore_ascii_case(".gitattributes")) => {
                let contents = self.tree.read(path, RULES);
                let contents = contents.map_err(|source| CompareError { path: path.to_owned(), source })?;
                // What is too long to be looked through is taken for the worst.
                risk::of_attributes(path, contents.as_deref().unwrap_or(b"filter"))
            }
            What::File { hash: None, .. } => Some(Risk { weight: Weight::Hold, reason: "is too large to be read" }),
            What::File { .. } => None,
        };
        Ok(of_path.into_iter().chain(of_content).min_by_key(|risk| risk.weight))
    }

    /// The ignore files of one directory. They are the agent's: all they can do is to leave out what is new.
    fn rules(&mut self, directory: &Path) -> Option<Gitignore> {
        let mut builder = GitignoreBuilder::new(directory);
        let mut any = false;
        let exclude = (directory == Path::new("")).then_some(".git/info/exclude");
        for name in exclude.into_iter().chain([".gitignore", ".ignore"]) {
            let Ok(Some(text)) = self.tree.read(&directory.join(name), RULES) else { continue };
            let Some(left) = self.rules.checked_sub(text.len()) else { continue };
            self.rules = left;
            for line in String::from_utf8_lossy(&text).lines() {
                any |= builder.add_line(None, line).is_ok();
            }
        }
        any.then(|| builder.build().ok()).flatten()
    }
}

fn is_ignored(above: &[std::rc::Rc<Gitignore>], path: &Path, is_directory: bool) -> bool {
    for rules in above.iter().rev() {
        match rules.matched(path, is_directory) {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => {}
        }
    }
    false
}
