//! What of a directory this host would run, listed: of a mounted workspace before and after, so that what no mount could
//! hold (a repository made deep in the tree, a file that the host replaced) is at least seen.

use super::{
    Change, Given, What,
    given::{ENTRIES, look, write},
    risk::{self, Risk, Weight},
};
use crate::{
    guard::table::GIT_DIRECTORY,
    store::{BottleDir, StoreError},
    tree::{Named, Tree},
};
use rustix::fs::FileType;
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

/// Directories that are looked into, the nearest first.
const DIRECTORIES: usize = 1 << 14;
/// What is longer is known by its size.
const LONGEST: u64 = 1 << 20;

/// Everything in `root` that runs without being asked for, as far as the look goes.
pub fn unguarded(root: &Path) -> io::Result<Given> {
    let tree = Tree::open(root)?;
    let mut looking = Looking { tree: &tree, found: Given::new(), waiting: VecDeque::from([(PathBuf::new(), false)]) };
    for _ in 0..DIRECTORIES {
        let Some((directory, all)) = looking.waiting.pop_front() else { break };
        let entries = match tree.entries(&directory, ENTRIES) {
            Ok(entries) => entries.unwrap_or_default(),
            // The agent may close its own.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            Err(error) => return Err(error),
        };
        looking.directory(&directory, all, entries)?;
    }
    Ok(looking.found)
}

/// The same, written down for a bottle that begins.
pub(crate) fn record(bottle: &BottleDir, root: &Path) -> Result<(), StoreError> {
    let found = unguarded(root).map_err(|source| StoreError::Read { path: root.to_owned(), source })?;
    write(bottle, found.iter())
}

/// What is there now and was not, or was different.
pub fn made(before: &Given, now: &Given) -> Vec<Change> {
    let changed = now.iter().filter(|(path, what)| before.get(*path) != Some(what));
    changed
        .map(|(path, after)| {
            let git = Risk { weight: Weight::Refuse, reason: "git runs what is in it, or what it names" };
            let risk = risk::of_path(path).filter(|risk| risk.weight == Weight::Hold).unwrap_or(git);
            Change {
                path: path.clone(),
                before: before.get(path).cloned(),
                after: Some(after.clone()),
                risk: Some(risk),
            }
        })
        .collect()
}

struct Looking<'a> {
    tree: &'a Tree,
    found: Given,
    /// With whether everything in it counts.
    waiting: VecDeque<(PathBuf, bool)>,
}

impl Looking<'_> {
    fn directory(&mut self, directory: &Path, all: bool, entries: Vec<Named>) -> io::Result<()> {
        let has = |name: &str| entries.iter().any(|entry| entry.name == name);
        if has("HEAD") && has("objects") && has("refs") {
            return self.repository(directory);
        }
        for Named { name, kind } in entries {
            let path = directory.join(&name);
            let git = risk::is_git(&name);
            let counts = all || git || risk::of_path(&path).is_some_and(|risk| risk.weight != Weight::Note);
            match kind {
                FileType::Directory if git => self.repository(&path)?,
                FileType::Directory => self.waiting.push_back((path, counts)),
                _ if counts => self.note(path, kind)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn repository(&mut self, directory: &Path) -> io::Result<()> {
        for one in GIT_DIRECTORY {
            let path = directory.join(one.name);
            match self.tree.stat(&path)?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                None => {}
                Some(FileType::Directory) => self.waiting.push_back((path, true)),
                Some(kind) => self.note(path, kind)?,
            }
        }
        // The repositories of submodules are found by what is in them.
        self.waiting.push_back((directory.join("modules"), false));
        Ok(())
    }

    fn note(&mut self, path: PathBuf, kind: FileType) -> io::Result<()> {
        let what = look(self.tree, &path, kind, &mut |size| size <= LONGEST);
        match what {
            // Nothing runs what is empty, and a dot means the directory itself: a guard may be in its place.
            Ok(Some(What::File { size: 0, .. })) => {}
            Ok(Some(What::File { size: 2, .. })) if self.tree.read(&path, 2)?.as_deref() == Some(b".\n") => {}
            Ok(Some(what)) => drop(self.found.insert(path, what)),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.found.insert(path, What::File { executable: false, size: 0, hash: None });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_was_made_deep_in_the_tree_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for path in [".git/config", ".git/hooks/x", ".git/objects/o", "src/main.rs", ".vscode/a/b.json"] {
            write(path, "given");
        }
        let before = unguarded(root.path()).unwrap();
        assert_eq!(before.len(), 3, "{before:?}");
        let new = [
            "a/b/c/.git/config",
            "a/b/c/.git/hooks/post-checkout",
            "bare/config",
            "x/.vscode/tasks.json",
            "y/.envrc",
            ".git/modules/m/config",
            "z/.git",
        ];
        for path in new.iter().chain(&["bare/HEAD", "bare/objects/o", "bare/refs/r", "src/lib.rs"]) {
            write(path, "new");
        }
        for path in [".git/modules/m/HEAD", ".git/modules/m/objects/o", ".git/modules/m/refs/r"] {
            write(path, "new");
        }
        write(".git/config", "replaced");
        let made = made(&before, &unguarded(root.path()).unwrap());
        let paths: Vec<_> = made.iter().map(|change| change.path.to_str().unwrap()).collect();
        let mut expected: Vec<_> = new.into_iter().chain([".git/config"]).collect();
        expected.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
        assert_eq!(paths, expected);
    }
}
