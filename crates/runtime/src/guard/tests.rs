//! Trees as users have them, and what the guard makes of them.

use super::{survey::survey, *};
use crate::{dirs::Dirs, store::Store};
use std::os::unix::fs::symlink;

fn paths(root: &Path, read_only: bool) -> Vec<String> {
    let survey = survey(&open(root).unwrap(), true).unwrap();
    let mounts = survey.mounts.into_iter().filter(|(_, it)| *it == read_only);
    mounts.map(|(path, _)| path.to_string_lossy().into_owned()).collect()
}

fn repository(at: &Path) {
    for name in ["hooks", "objects", "refs"] {
        fs::create_dir_all(at.join(name)).unwrap();
    }
    for name in ["HEAD", "config"] {
        fs::write(at.join(name), "").unwrap();
    }
}

#[test]
fn repositories_are_found_wherever_they_are_and_the_way_to_them_is_held() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    repository(&root.join(".git"));
    repository(&root.join(".git/modules/vendor/zlib"));
    fs::create_dir_all(root.join(".git/worktrees/other")).unwrap();
    fs::write(root.join(".git/worktrees/other/commondir"), "../..\n").unwrap();
    fs::write(root.join(".git/config"), "[core]\n\thooksPath = scripts/hooks\n").unwrap();
    repository(&root.join("a/nested/.git"));
    fs::create_dir_all(root.join("a/nested/.vscode")).unwrap();
    repository(&root.join("bare.git"));
    fs::create_dir_all(root.join("vendor/zlib")).unwrap();
    fs::write(root.join("vendor/zlib/.git"), "gitdir: ../../.git/modules/vendor/zlib\n").unwrap();
    fs::create_dir_all(root.join(".husky")).unwrap();
    let held = paths(root, true);
    for path in [
        ".git/hooks",
        ".git/config",
        ".git/commondir",
        ".git/info/attributes",
        ".git/modules/vendor/zlib/config",
        ".git/modules/vendor/zlib/hooks",
        ".git/worktrees/other/commondir",
        "a/nested/.git/config",
        "a/nested/.vscode",
        "bare.git/hooks",
        "vendor/zlib/.git",
        "scripts/hooks",
        ".vscode",
        ".claude",
        ".envrc",
        ".husky",
    ] {
        assert!(held.iter().any(|one| one == path), "{path} is not held: {held:#?}");
    }
    let on_the_way = paths(root, false);
    for path in [".git", ".git/info", ".git/modules", ".git/worktrees/other", "a", "a/nested/.git", "vendor", "scripts"]
    {
        assert!(on_the_way.iter().any(|one| one == path), "{path} can be renamed: {on_the_way:#?}");
    }
    assert!(!held.iter().any(|one| one == ".git" || one == ".direnv" || one == "a/nested/.idea"), "{held:#?}");
}

#[test]
fn a_directory_that_is_no_repository_does_not_become_one() {
    let root = tempfile::tempdir().unwrap();
    assert!(paths(root.path(), true).contains(&".git".to_owned()));
    symlink("elsewhere", root.path().join(".claude")).unwrap();
    assert_eq!(survey(&open(root.path()).unwrap(), true).unwrap().links, [PathBuf::from(".claude")]);
}

#[test]
fn what_was_put_there_goes_with_the_last_bottle_and_the_users_own_stays() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(Dirs::new(state.path(), None)).unwrap();
    let (first, _lock) = store.create("a", None).unwrap();
    let (second, _second_lock) = store.create("b", None).unwrap();
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    repository(&root.join(".git"));
    let project = Writable { source: root, target: Path::new("/workspace"), is_project: true };
    prepare(&first, &[project]).unwrap();
    assert!(root.join(".vscode").is_dir() && fs::read(root.join(".git/commondir")).unwrap() == b".\n");
    // The user goes on working meanwhile.
    fs::write(root.join(".idea/workspace.xml"), "").unwrap();
    fs::write(root.join(".git/info/attributes"), "*.bin -diff\n").unwrap();
    prepare(&second, &[project]).unwrap();
    lift(&first).unwrap();
    assert!(root.join(".vscode").is_dir() && root.join(".git/commondir").exists(), "the second needs it");
    lift(&second).unwrap();
    let left: BTreeSet<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, BTreeSet::from([".git".into(), ".idea".into()]));
    assert!(!root.join(".git/commondir").exists() && root.join(".git/info/attributes").exists());
    assert!(!first.guard().exists() && !second.guard().exists());
    lift(&second).unwrap();
}

#[test]
fn of_a_mount_that_is_no_project_repositories_are_held_and_nothing_is_put_at_its_top() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(Dirs::new(state.path(), None)).unwrap();
    let (bottle, _lock) = store.create("a", None).unwrap();
    let (root, project) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = root.path();
    repository(&root.join("sub/.git"));
    fs::create_dir(root.join(".vscode")).unwrap();
    let directories = [
        Writable { source: project.path(), target: Path::new("/workspace"), is_project: true },
        Writable { source: root, target: Path::new("/data"), is_project: false },
        Writable { source: &root.join("sub/.git/HEAD"), target: Path::new("/file"), is_project: false },
    ];
    let guards = prepare(&bottle, &directories).unwrap();
    let of_data =
        |path: &str| guards.mounts.iter().any(|one| one.target == Path::new("/data") && one.path == Path::new(path));
    assert!(of_data("sub/.git/config") && of_data("sub/.git/commondir") && of_data(".vscode") && !of_data(".idea"));
    assert!(root.join("sub/.git/commondir").exists() && !root.join(".idea").exists());
    assert!(project.path().join(".idea").exists());
    lift(&bottle).unwrap();
    assert!(!root.join("sub/.git/commondir").exists() && !project.path().join(".idea").exists());
}
