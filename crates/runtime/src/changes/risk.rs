//! What it would mean for a change to come to the host: names that git takes for its own, and what runs there without
//! being asked for.
//!
//! Invariant: names are compared as the most tolerant file system would: without case, without what HFS+ ignores,
//! without the dots, spaces and streams that NTFS drops. What is taken for dangerous and is not costs a question; the
//! other way round costs more.

use crate::guard::table;
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path},
};

/// How a change is dealt with, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Never applied.
    Refuse,
    /// Applied only where it is named.
    Hold,
    /// Applied, and pointed out.
    Note,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Risk {
    pub weight: Weight,
    pub reason: &'static str,
}

/// Names besides those that a mounted workspace guards; without case, by whole path component.
const HELD: &[(&str, &str)] = &[
    (".gitmodules", "names repositories that git fetches, and where it puts them"),
    (".lfsconfig", "says where git-lfs sends and fetches"),
    (".gitconfig", "git reads it where an include names it"),
    (".vim", "vim looks for scripts there where it is told to"),
    (".fleet", "Fleet runs what its settings name"),
    (".direnvrc", "direnv runs it"),
    (".screenrc", "screen runs it"),
    (".bazelrc", "bazel takes options and programs from it"),
    (".cargo", "cargo, and editors through it, run the wrappers and linkers that it names"),
    (".pypirc", "says where packages and tokens are sent"),
    (".lefthook.yml", "the hooks that lefthook installed run what it names"),
    (".overcommit.yml", "the hooks that overcommit installed run what it names"),
    (".tool-versions", "asdf and mise choose programs by it"),
    (".windsurf", "Windsurf runs what its settings name"),
    (".opencode", "opencode starts what its settings name"),
    ("opencode.json", "opencode starts the servers that it names"),
    (".aider.conf.yml", "aider runs the commands that it names"),
    (".sublime-project", "Sublime Text runs the build systems that it names"),
];
/// By the end of a name.
const HELD_ENDINGS: &[(&str, &str)] = &[
    (".code-workspace", "VS Code runs tasks, and programs that settings name"),
    (".sublime-project", "Sublime Text runs the build systems that it names"),
    (".desktop", "file managers run it"),
];
/// Of paths from the top.
const NOTED: &[(&str, &str)] = &[
    (".github/workflows", "runs in CI once it is pushed"),
    (".gitlab-ci.yml", "runs in CI once it is pushed"),
    (".circleci", "runs in CI once it is pushed"),
    ("jenkinsfile", "runs in CI once it is pushed"),
    ("agents.md", "gives orders to agents on this host"),
    ("claude.md", "gives orders to agents on this host"),
];

/// By its path alone.
pub(super) fn of_path(path: &Path) -> Option<Risk> {
    let refuse = |reason| Some(Risk { weight: Weight::Refuse, reason });
    let hold = |reason| Some(Risk { weight: Weight::Hold, reason });
    for part in path.components() {
        let Component::Normal(name) = part else { return refuse("is no plain path") };
        if is_git(name) {
            return refuse("git on this host would take it for its own");
        }
    }
    for name in path.iter() {
        let plain = plain(name);
        let guarded = table::WORK_TREE.iter().find(|one| one.name == plain).map(|one| one.reason);
        let held = || HELD.iter().find(|(held, _)| *held == plain).map(|(_, reason)| *reason);
        let ending = || HELD_ENDINGS.iter().find(|(ending, _)| plain.ends_with(ending)).map(|(_, reason)| *reason);
        if let Some(reason) = guarded.or_else(held).or_else(ending) {
            return hold(reason);
        }
        if name.as_bytes().iter().any(|byte| byte.is_ascii_control()) || name.to_str().is_none() {
            return hold("its name is not plain text");
        }
    }
    let whole = path.to_string_lossy().to_ascii_lowercase();
    let noted =
        NOTED.iter().find(|(noted, _)| Path::new(&whole).starts_with(noted) || whole.ends_with(&format!("/{noted}")));
    noted.map(|(_, reason)| Risk { weight: Weight::Note, reason })
}

/// A link that could lead out of the directory, by itself or together with others: anything but upwards first and then
/// down by plain names.
pub(super) fn of_link(path: &Path, target: &Path) -> Option<Risk> {
    let refuse = |reason| Some(Risk { weight: Weight::Refuse, reason });
    let depth = path.components().count().saturating_sub(1);
    let (mut up, mut down) = (0, false);
    for part in target.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if !down && up < depth => up += 1,
            Component::Normal(name) if is_git(name) => return refuse("leads into a repository's own directory"),
            Component::Normal(_) => down = true,
            _ => return refuse("leads out of the directory"),
        }
    }
    None
}

/// Attributes that send files through a program of the configuration.
pub(super) fn of_attributes(path: &Path, contents: &[u8]) -> Option<Risk> {
    let named = path.file_name().is_some_and(|name| plain(name) == ".gitattributes");
    let text = String::from_utf8_lossy(contents);
    let drives = ["filter", "diff=", "merge="].iter().any(|word| text.contains(word));
    (named && drives).then_some(Risk {
        weight: Weight::Hold,
        reason: "sends files through filters that your git configuration names",
    })
}

/// Whether some file system would open `.git` by this name.
pub(super) fn is_git(name: &OsStr) -> bool {
    let plain = plain(name);
    plain == ".git" || plain.strip_prefix("git~").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn plain(name: &OsStr) -> String {
    let text = name.to_string_lossy();
    // NTFS: a stream of the file before the colon. HFS+: TN1150, "ignorable" characters.
    let text = text.split(':').next().unwrap_or_default();
    let ignored = |c: &char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let kept: String = text.chars().filter(|c| !ignored(c)).flat_map(char::to_lowercase).collect();
    // U+0131 and U+017F fold to `i` and `s` on some.
    kept.trim_end_matches(['.', ' ']).replace('ı', "i").replace('ſ', "s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_git_is_git() {
        for name in [
            ".git",
            ".GIT",
            ".Git ",
            ".git.",
            ".git. .",
            "git~1",
            "GIT~2",
            ".g\u{200c}it",
            ".gıt",
            ".git::$INDEX_ALLOCATION",
        ] {
            assert!(is_git(OsStr::new(name)), "{name}");
            assert_eq!(
                of_path(&Path::new("a").join(name).join("config")).map(|risk| risk.weight),
                Some(Weight::Refuse)
            );
        }
        for name in [".gitignore", "git", "x.git", "git~x"] {
            assert!(!is_git(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_runs_unasked_is_held_at_any_depth_and_in_any_case() {
        for path in [
            ".envrc",
            "a/.envrc",
            ".VSCode/tasks.json",
            ".claude/settings.json",
            "x/.Idea/y",
            ".gitmodules",
            "z.code-workspace",
            "a\nb",
            ".mcp.json",
            ".npmrc",
            ".devcontainer/x",
            ".husky/pre-commit",
            ".bot-bottle/agents/x.md",
        ] {
            assert_eq!(of_path(Path::new(path)).map(|risk| risk.weight), Some(Weight::Hold), "{path}");
        }
        for path in ["src/main.rs", ".gitignore", "envrc", "vscode/x"] {
            assert_eq!(of_path(Path::new(path)), None, "{path}");
        }
        assert_eq!(of_path(Path::new(".github/workflows/x.yml")).map(|risk| risk.weight), Some(Weight::Note));
    }

    #[test]
    fn links_that_could_lead_out_are_refused() {
        for (path, target) in [
            ("l", "/etc"),
            ("l", "../x"),
            ("a/l", "../../x"),
            ("a/b/l", "g/../../.."),
            ("l", ".git/hooks"),
            ("l", "a/.."),
            ("a/b/l", "g/../x"),
        ] {
            assert!(of_link(Path::new(path), Path::new(target)).is_some(), "{path} -> {target}");
        }
        for (path, target) in [("l", "x"), ("a/l", "../x/y"), ("a/b/l", "../../c"), ("l", "./x")] {
            assert_eq!(of_link(Path::new(path), Path::new(target)), None, "{path} -> {target}");
        }
    }
}
