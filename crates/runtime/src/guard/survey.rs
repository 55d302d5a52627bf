//! A look through a directory of the user's that is to be mounted: which of the guard's names are in it, and which are
//! to be put there.
//!
//! Invariant: no link is followed, and the look is bounded. Repositories that it does not reach are not guarded, and
//! that is said.

use super::table::{Absent, GIT_DIRECTORY, Guarded, LINKED_WORK_TREE, REPOSITORY, WORK_TREE};
use crate::tree::{Named, Tree};
use rustix::fs::FileType;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

/// Directories that are looked into, the nearest first.
const DIRECTORIES: usize = 4096;
const DEPTH: usize = 12;
/// Of one directory; more are not looked at.
const ENTRIES: usize = 100_000;
/// A longer configuration is not searched for where hooks are.
const CONFIG: u64 = 1 << 20;

/// What is to be mounted on itself, relative to the workspace, and what must be made for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// `true` = read-only; else a directory on the way to one, which must not be renamed. Ancestors come first.
    pub(super) mounts: BTreeMap<PathBuf, bool>,
    /// In the order in which they can be made.
    pub(super) placeholders: Vec<(PathBuf, Absent)>,
    /// Guarded names that are links, which no mount can hold in their place.
    pub(super) links: Vec<PathBuf>,
    /// Whether a bound was reached.
    pub(super) cut_short: bool,
}

#[derive(Debug)]
struct Looking<'a> {
    tree: &'a Tree,
    survey: Survey,
    made: BTreeSet<PathBuf>,
}

/// Looks through `root`; of a project, names at the top are held also where they are not there.
pub(super) fn survey(root: &OwnedFd, is_project: bool) -> io::Result<Survey> {
    let tree = Tree::of(root)?;
    let mut looking = Looking { tree: &tree, survey: Survey::default(), made: BTreeSet::new() };
    for one in WORK_TREE {
        looking.guard(Path::new(""), one, if is_project { one.absent } else { Absent::Leave })?;
    }
    if is_project && looking.kind(Path::new(REPOSITORY.name))?.is_none() {
        looking.guard(Path::new(""), &REPOSITORY, REPOSITORY.absent)?;
    }
    let mut waiting = VecDeque::from([PathBuf::new()]);
    let mut seen = 0;
    while let Some(directory) = waiting.pop_front() {
        seen += 1;
        if seen > DIRECTORIES {
            looking.survey.cut_short = true;
            break;
        }
        let depth = directory.components().count();
        for below in looking.directory(&directory)? {
            if depth < DEPTH {
                waiting.push_back(below);
            } else {
                looking.survey.cut_short = true;
            }
        }
    }
    Ok(looking.survey)
}

impl Looking<'_> {
    /// Guards what is there of repositories; gives the directories beneath.
    fn directory(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let Some(entries) = self.entries(directory)? else { return Ok(Vec::new()) };
        let has = |name: &str| entries.iter().any(|entry| entry.name == name);
        if has("HEAD") && has("objects") && has("refs") {
            self.git_directory(directory)?;
            return Ok(Vec::new());
        }
        match entries.iter().find(|entry| entry.name == REPOSITORY.name).map(|entry| entry.kind) {
            None => {}
            Some(FileType::Directory) if self.made.contains(&directory.join(REPOSITORY.name)) => {}
            Some(FileType::Directory) => {
                self.git_directory(&directory.join(REPOSITORY.name))?;
                self.hooks_path(directory)?;
                self.work_tree(directory)?;
            }
            // A pointer elsewhere, or a link: `guard` knows what to do.
            Some(_) => {
                self.guard(directory, &REPOSITORY, Absent::Leave)?;
                self.work_tree(directory)?;
            }
        }
        let beneath = entries.into_iter().filter(|entry| entry.kind == FileType::Directory && entry.name != ".git");
        Ok(beneath.map(|entry| directory.join(entry.name)).collect())
    }

    fn work_tree(&mut self, directory: &Path) -> io::Result<()> {
        for one in WORK_TREE {
            self.guard(directory, one, Absent::Leave)?;
        }
        Ok(())
    }

    fn git_directory(&mut self, directory: &Path) -> io::Result<()> {
        for one in GIT_DIRECTORY {
            self.guard(directory, one, one.absent)?;
        }
        let worktrees = directory.join("worktrees");
        for Named { name, kind } in self.entries(&worktrees)?.unwrap_or_default() {
            if kind == FileType::Directory {
                for one in LINKED_WORK_TREE {
                    self.guard(&worktrees.join(&name), one, one.absent)?;
                }
            }
        }
        // A submodule's name may have slashes: `modules/vendor/zlib` is one repository, two levels down.
        let mut waiting = vec![directory.join("modules")];
        while let Some(below) = waiting.pop() {
            let entries = self.entries(&below)?.unwrap_or_default();
            if below.components().count() > DEPTH + directory.components().count() {
                self.survey.cut_short = true;
            } else if entries.iter().any(|entry| entry.name == "HEAD") {
                self.git_directory(&below)?;
            } else {
                let directories = entries.into_iter().filter(|entry| entry.kind == FileType::Directory);
                waiting.extend(directories.map(|entry| below.join(entry.name)));
            }
        }
        Ok(())
    }

    /// Where the repository's own configuration says that its hooks are, if that is in the workspace.
    fn hooks_path(&mut self, work_tree: &Path) -> io::Result<()> {
        let looked = self.tree.file(&work_tree.join(".git/config"));
        let Some((config, _)) = self.readable(looked)? else { return Ok(()) };
        let mut text = Vec::new();
        config.take(CONFIG).read_to_end(&mut text)?;
        for path in hooks_paths(&text) {
            let path = work_tree.join(path);
            let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            let path: PathBuf = path.components().filter(|part| !matches!(part, Component::CurDir)).collect();
            if plain && path != work_tree && !self.survey.mounts.contains_key(&path) {
                match self.kind(&path)? {
                    Some(FileType::Symlink) => self.survey.links.push(path),
                    Some(_) => self.hold(path),
                    None => {
                        self.place(&path, Absent::Directory)?;
                        self.hold(path);
                    }
                }
            }
        }
        Ok(())
    }

    fn guard(&mut self, directory: &Path, one: &Guarded, absent: Absent) -> io::Result<()> {
        let path = directory.join(one.name);
        if self.survey.mounts.get(&path) == Some(&true) {
            return Ok(());
        }
        match (self.kind(&path)?, absent) {
            (Some(FileType::Symlink), _) => self.survey.links.push(path),
            (Some(_), _) => self.hold(path),
            (None, Absent::Leave) => {}
            (None, _) => {
                self.place(&path, absent)?;
                self.hold(path);
            }
        }
        Ok(())
    }

    fn hold(&mut self, path: PathBuf) {
        let ancestors = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        for above in ancestors {
            self.survey.mounts.entry(above.to_owned()).or_insert(false);
        }
        self.survey.mounts.insert(path, true);
    }

    fn place(&mut self, path: &Path, absent: Absent) -> io::Result<()> {
        let mut missing: Vec<&Path> = Vec::new();
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            if self.made.contains(above) || self.kind(above)?.is_some() {
                break;
            }
            missing.push(above);
        }
        let missing: Vec<PathBuf> = missing.into_iter().rev().map(Path::to_owned).collect();
        for above in missing {
            self.made.insert(above.clone());
            self.survey.placeholders.push((above, Absent::Directory));
        }
        if self.made.insert(path.to_owned()) {
            self.survey.placeholders.push((path.to_owned(), absent));
        }
        Ok(())
    }

    /// Of the entry itself; `None` where there is none, or none that may be looked at.
    fn kind(&mut self, path: &Path) -> io::Result<Option<FileType>> {
        let looked = self.tree.stat(path);
        Ok(self.readable(looked)?.map(|stat| FileType::from_raw_mode(stat.st_mode)))
    }

    fn entries(&mut self, directory: &Path) -> io::Result<Option<Vec<Named>>> {
        let looked = self.tree.entries(directory, ENTRIES);
        self.readable(looked)
    }

    /// What may not be read is not guarded, and that is said: its owner can open it later.
    fn readable<T>(&mut self, looked: io::Result<Option<T>>) -> io::Result<Option<T>> {
        match looked {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.survey.cut_short = true;
                Ok(None)
            }
            other => other,
        }
    }
}

/// The values of `core.hooksPath` in a git configuration. Lines that only look like one cost a mount and no more.
fn hooks_paths(config: &[u8]) -> impl Iterator<Item = PathBuf> {
    let text = String::from_utf8_lossy(config).into_owned();
    let values: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(']').map_or(line, |(_, rest)| rest).split_once('=')?;
            name.trim().eq_ignore_ascii_case("hooksPath").then(|| PathBuf::from(value.trim().trim_matches('"')))
        })
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    values.into_iter()
}
