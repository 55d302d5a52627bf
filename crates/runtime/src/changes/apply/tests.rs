//! Directories on this machine, changed as a bottle and its user would.

use super::*;
use crate::changes::{Change, compare, given::Given};
use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _};

/// Path, inode and contents of everything.
fn all(root: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            if metadata.is_dir() {
                waiting.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                found.insert(path, (metadata.ino(), bytes));
            }
        }
    }
    found
}

/// The changes from one set of files to another, and a directory that holds the first.
fn changes(given: &[&str], after: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf, PathBuf, Vec<Change>) {
    let root = tempfile::tempdir().unwrap();
    let (host, bottle) = (root.path().join("host"), root.path().join("bottle"));
    for directory in [&host, &bottle] {
        fs::create_dir(directory).unwrap();
    }
    let write = |root: &Path, path: &str, text: &str| {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    };
    let mut known = Given::new();
    let tree = Tree::open(&host).unwrap();
    for path in given {
        write(&host, path, path);
        let what = look(&tree, Path::new(path), FileType::RegularFile, &mut |_| true).unwrap().unwrap();
        known.insert(path.into(), what);
    }
    for (path, text) in after {
        write(&bottle, path, text);
    }
    let list = compare(&bottle, &known).unwrap().list;
    (root, host, bottle, list)
}

/// What was met clean is different by the time its turn comes: everything goes back, to the very files.
#[test]
fn a_change_at_the_last_moment_takes_all_back() {
    let given = ["a", "b/c", "d", "e/f/g"];
    let after = [("a", "new"), ("d", "new"), ("n/e/w", "new"), ("z", "new")];
    for (touched, text) in
        [("a", Some("mine")), ("d", Some("mine")), ("d", None), ("z", Some("mine")), ("e/f/g", Some("m"))]
    {
        let (_root, host, bottle, list) = changes(&given, &after);
        let list: Vec<&Change> = list.iter().collect();
        assert_eq!(meet(&host, &list).unwrap(), vec![Meeting::Clean; list.len()]);
        match text {
            Some(text) => fs::write(host.join(touched), text).unwrap(),
            None => fs::remove_file(host.join(touched)).unwrap(),
        }
        let before = all(&host);
        let error = apply(&bottle, &host, &list).unwrap_err();
        assert!(matches!(&error, ApplyError::Changed(path) if path == Path::new(touched)), "{touched}: {error}");
        assert_eq!(all(&host), before, "{touched}");
        assert!(!host.join(BESIDE).exists() && !host.join("n").exists(), "{touched}");
    }
    let (_root, host, bottle, list) = changes(&given, &after);
    apply(&bottle, &host, &list.iter().collect::<Vec<_>>()).unwrap();
    let texts: Vec<_> = all(&host).into_values().map(|(_, bytes)| bytes).collect();
    assert_eq!(texts, vec![b"new".to_vec(); 4]);
    assert!(!host.join("b").exists() && !host.join("e").exists());
}

#[test]
fn what_the_agent_changes_while_it_is_copied_is_not_applied() {
    let (_root, host, bottle, list) = changes(&["a"], &[("a", "seen"), ("b", "seen")]);
    fs::write(bottle.join("b"), "evil").unwrap();
    let before = all(&host);
    let error = apply(&bottle, &host, &list.iter().collect::<Vec<_>>()).unwrap_err();
    assert!(matches!(&error, ApplyError::Moving(_)), "{error}");
    assert_eq!(all(&host), before);
}
