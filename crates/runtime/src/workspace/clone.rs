//! The user's repository, given to a bottle as a clone: what is committed, and on top of it one commit of what is not.
//!
//! The commit is made in the user's repository, where what the agent pushes will need it, as
//! `refs/heads/bottle/SLUG/given`; besides that ref and objects nothing of the repository is written: an index of our own
//! is used. The work tree is copied from the user's, so files are as they are there, and a new repository is put into it.
//!
//! Invariants: what is ignored, or only in a stash, reflog or loose object, does not get in; the user's configuration,
//! hooks and credentials neither; no git of the host runs in the copy once the agent has it.

use super::{
    Copied, WorkspaceError,
    git::{Git, GitError, parts, zeros},
    give_all, listed,
};
use crate::store::{BottleDir, StoreError, read_json, write_json};
use bottle_spec::slug::Slug;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// A larger file that git does not know yet stays outside.
const LARGEST: u64 = 64 << 20;
const REMOTE: &str = "origin";
/// The branch, where HEAD is on none.
const BRANCH: &str = "work";

#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    #[error("{} is not the top of a repository's work tree; start there, or use `--workspace copy`", .0.display())]
    NotTop(PathBuf),
    #[error("the repository cannot be given to the bottle")]
    Git(#[source] GitError),
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("what was put into the repository cannot be written down")]
    Record(#[source] StoreError),
}

impl From<GitError> for CloneError {
    fn from(error: GitError) -> CloneError {
        CloneError::Git(error)
    }
}

/// What is in the user's repository because of a bottle: `clone.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    git: Git,
    reference: String,
    commit: String,
}

/// What to make a clone of, and for whom.
#[derive(Debug)]
pub(crate) struct Cloning<'a> {
    pub(crate) bottle: &'a BottleDir,
    pub(crate) source: &'a Path,
    pub(crate) target: &'a Path,
    pub(crate) owner: Option<u32>,
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// Where the bottle fetches from and pushes to.
    pub(crate) url: &'a str,
}

/// The refs that a bottle may push to.
pub(crate) fn namespace(slug: &Slug) -> String {
    format!("refs/heads/bottle/{slug}/")
}

impl Cloning<'_> {
    /// Makes it; gives what was left out. `fetching` is told when what takes long in a large repository begins.
    pub(crate) fn make(
        &self,
        progress: &mut dyn FnMut(Copied),
        fetching: &mut dyn FnMut(),
    ) -> Result<Vec<String>, WorkspaceError> {
        let user = Git::of_user(self.source, self.environment).map_err(CloneError::Git)?;
        self.check(&user)?;
        let mut left_out = Vec::new();
        let index = self.bottle.state.join("clone.index");
        let given = self.given(&user, &index, &mut left_out)?;
        let with_index = user.with_index(&index);
        let files = files(&with_index)?;
        listed(self.source, self.target, &files, progress)?;
        fetching();
        self.repository(&user, &given, &files)?;
        fs::remove_file(&index).map_err(|source| CloneError::Read { path: index, source })?;
        if let Some(owner) = self.owner {
            give_all(self.target, owner)
                .map_err(|source| WorkspaceError::Copy { path: self.target.to_owned(), source })?;
        }
        Ok(left_out)
    }

    fn check(&self, user: &Git) -> Result<(), CloneError> {
        let top = user.says(&["rev-parse", "--show-toplevel"])?;
        let same = |path: &Path| path.canonicalize().ok();
        if same(Path::new(&top)) == same(self.source) {
            Ok(())
        } else {
            Err(CloneError::NotTop(self.source.to_owned()))
        }
    }

    /// The commit that the bottle begins with.
    fn given(&self, user: &Git, index: &Path, left_out: &mut Vec<String>) -> Result<Given, CloneError> {
        let own = self.source.join(user.says(&["rev-parse", "--git-path", "index"])?);
        match fs::copy(&own, index) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => drop(other.map_err(|source| CloneError::Read { path: own, source })?),
        }
        let git = user.with_index(index);
        let changed = git.gives(&["ls-files", "-z", "--modified", "--deleted"], None)?;
        let untracked = git.gives(&["ls-files", "-z", "--others", "--exclude-standard"], None)?;
        let mut paths: Vec<PathBuf> = parts(&changed).map(PathBuf::from).collect();
        for path in parts(&untracked).map(PathBuf::from) {
            let metadata = self.source.join(&path).symlink_metadata();
            match metadata {
                // A repository within: its files are not this one's.
                Ok(metadata) if metadata.is_dir() => left_out.push(format!("{}: a repository", path.display())),
                Ok(metadata) if metadata.len() > LARGEST => {
                    left_out.push(format!("{}: larger than {} MiB and not committed", path.display(), LARGEST >> 20));
                }
                Ok(_) => paths.push(path),
                // Gone since it was listed.
                Err(_) => {}
            }
        }
        let stdin = zeros(paths.iter().map(PathBuf::as_path));
        git.gives(&["update-index", "--add", "--remove", "-z", "--stdin"], Some(&stdin))?;
        let tree = git.says(&["write-tree"])?;
        let head = user.asks(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"])?;
        let head_tree = user.asks(&["rev-parse", "--quiet", "--verify", "HEAD^{tree}"])?;
        let commit = match &head {
            Some(head) if head_tree.as_deref() == Some(&tree) => head.clone(),
            _ => self.commit(&git, &tree, head.as_deref())?,
        };
        let reference = format!("{}given", namespace(&self.bottle.slug));
        let record = Record { git: user.clone(), reference: reference.clone(), commit: commit.clone() };
        write_json(&self.bottle.clone_record(), &record).map_err(CloneError::Record)?;
        // An empty old value: it must not be there.
        user.says(&["update-ref", "-m", "bot-bottle: given", &reference, &commit, ""])?;
        let branch = user.asks(&["symbolic-ref", "--quiet", "--short", "HEAD"])?;
        Ok(Given { commit, reference, branch: branch.unwrap_or_else(|| BRANCH.to_owned()) })
    }

    fn commit(&self, git: &Git, tree: &str, head: Option<&str>) -> Result<String, CloneError> {
        let message = format!("Not committed when {} was given this repository", self.bottle.slug);
        let mut arguments = vec!["commit-tree", tree, "-m", &message];
        if let Some(head) = head {
            arguments.extend(["-p", head]);
        }
        let mut git = git.clone();
        for who in ["AUTHOR", "COMMITTER"] {
            git = git
                .with(&format!("GIT_{who}_NAME"), "bot-bottle")
                .with(&format!("GIT_{who}_EMAIL"), "bot-bottle@localhost");
        }
        Ok(git.says(&arguments)?)
    }

    /// A repository in the copied work tree.
    fn repository(&self, user: &Git, given: &Given, files: &[Listed]) -> Result<(), CloneError> {
        let format = user.says(&["rev-parse", "--show-object-format"])?;
        let ours = user.of_ours(self.target);
        let format = format!("--object-format={format}");
        let branch = format!("--initial-branch={}", given.branch);
        ours.says(&["init", "--quiet", "--template=", &format, &branch])?;
        // As a URL, so that only what refs reach comes over.
        let from = format!("file://{}", self.source.display());
        let fetch = ["fetch", "--quiet", "--no-write-fetch-head", "--no-tags", "--update-shallow", &from];
        let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*", "^refs/heads/bottle/*"];
        ours.says(&[&fetch[..], &all].concat())?;
        let head = format!("refs/heads/{}", given.branch);
        // By its name there, here as the branch.
        let one = format!("+{}:{REMOTE_GIVEN}", given.reference);
        ours.says(&[&fetch[..], &[one.as_str()]].concat())?;
        ours.says(&["update-ref", &head, &given.commit])?;
        ours.says(&["update-ref", "-d", REMOTE_GIVEN])?;
        ours.says(&["read-tree", &given.commit])?;
        let absent =
            files.iter().filter(|file| !file.is_gitlink && self.target.join(&file.path).symlink_metadata().is_err());
        let absent = zeros(absent.map(|file| file.path.as_path()));
        ours.gives(&["update-index", "--skip-worktree", "-z", "--stdin"], Some(&absent))?;
        // Says which files differ, of which there are some where filters are in use: no failure.
        let _ = ours.asks(&["update-index", "-q", "--refresh"])?;
        let namespace = namespace(&self.bottle.slug);
        let push = format!("refs/heads/*:{namespace}*");
        for (name, value) in [
            ("remote.origin.url", self.url),
            ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
            // So that a plain push goes where pushes may go.
            ("remote.origin.push", &push),
            (&format!("branch.{}.remote", given.branch), REMOTE),
            (&format!("branch.{}.merge", given.branch), &head),
        ] {
            ours.says(&["config", name, value])?;
        }
        // Where the user has none, the agent is to be able to commit all the same.
        for (name, otherwise) in [("user.name", "agent"), ("user.email", "agent@localhost")] {
            let value = user.asks(&["config", name])?;
            ours.says(&["config", name, value.as_deref().unwrap_or(otherwise)])?;
        }
        Ok(())
    }
}

const REMOTE_GIVEN: &str = "refs/bot-bottle/given";

struct Given {
    commit: String,
    reference: String,
    branch: String,
}

/// An entry of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    pub(crate) is_gitlink: bool,
}

fn files(git: &Git) -> Result<Vec<Listed>, CloneError> {
    let all = git.gives(&["ls-files", "-z", "--stage"], None)?;
    let entries = all.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            // `MODE OBJECT STAGE\tPATH`
            let tab = entry.iter().position(|byte| *byte == b'\t');
            let at = tab.ok_or_else(|| GitError::Answer(String::from_utf8_lossy(entry).into_owned()))?;
            let path = parts(entry.get(at + 1..).unwrap_or_default()).next().unwrap_or_default();
            Ok(Listed { path: path.into(), is_gitlink: entry.starts_with(b"160000") })
        })
        .collect()
}

/// Takes the ref of [`Cloning::make`] out of the user's repository. What the agent pushed stays.
pub(crate) fn release(bottle: &BottleDir) -> Result<(), CloneError> {
    let path = bottle.clone_record();
    if !path.exists() {
        return Ok(());
    }
    let Record { git, reference, commit } = read_json(&path).map_err(CloneError::Record)?;
    // A repository that is gone, or a ref that the agent has moved, needs nothing more.
    let _ = git.asks(&["update-ref", "-d", &reference, &commit]);
    fs::remove_file(&path).map_err(|source| CloneError::Read { path, source })
}
