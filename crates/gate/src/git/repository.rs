//! One bottle's own repository: refs as its upstream has them, objects borrowed from the mirror, and what was pushed.
//!
//! Invariant: nothing of it reaches another bottle; its refs are those of the mirror, as they were at the last fetch or
//! push, and no command of the agent moves them otherwise.

use super::{
    command::{GitFailure, Home, output, output_of},
    hooks::Update,
    mirror::{Freshness, Mirror, MirrorError},
};
use bottle_spec::git::{PushRules, RefPattern};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::PoisonError,
};
use tokio::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Repository {
    rules: Option<PushRules>,
    /// Refs that the operator granted besides.
    granted: std::sync::Mutex<Vec<RefPattern>>,
    pub(crate) mirror: Mirror,
    path: PathBuf,
    /// The refs of the mirror that were taken over last.
    synchronised: Mutex<Option<Vec<u8>>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RepositoryError {
    #[error("{0}")]
    Mirror(#[source] MirrorError),
    #[error("the bottle's repository cannot be made")]
    Make(#[source] io::Error),
    #[error("the bottle's repository cannot be brought up to date: {0}")]
    Git(#[source] GitFailure),
}

const LIST: [&str; 3] = ["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads"];

impl Repository {
    pub(crate) fn new(name: &str, mirror: Mirror, rules: Option<PushRules>, home: &Home) -> Repository {
        let path = home.repositories().join(format!("{name}.git"));
        tidy(&path);
        Repository { rules, granted: std::sync::Mutex::default(), mirror, path, synchronised: Mutex::default() }
    }

    /// As they are now.
    pub(crate) fn rules(&self) -> Option<PushRules> {
        let mut rules = self.rules.clone()?;
        rules.refs.extend(self.granted.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        Some(rules)
    }

    pub(crate) fn grant(&self, refs: Vec<RefPattern>) {
        *self.granted.lock().unwrap_or_else(PoisonError::into_inner) = refs;
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What a push needs to begin: that the repository is there. The refs that its pusher sees may be old, for upstream
    /// takes a ref only from where its pusher thinks it is, and who is refused for that fetches.
    pub(crate) async fn ready(&self, home: &Home) -> Result<Freshness, RepositoryError> {
        if self.path.join("HEAD").exists() {
            return Ok(Freshness::Current);
        }
        self.refresh(home).await
    }

    /// Brings mirror and repository up to date. An upstream that cannot be reached makes what there is stale, not gone.
    pub(crate) async fn refresh(&self, home: &Home) -> Result<Freshness, RepositoryError> {
        let freshness = self.mirror.refresh(home).await.map_err(RepositoryError::Mirror)?;
        let mut synchronised = self.synchronised.lock().await;
        let mirror = self.mirror.path();
        let listed = list(home, &mirror).await?;
        if synchronised.as_ref() == Some(&listed) {
            return Ok(freshness);
        }
        if !self.path.join("HEAD").exists() {
            self.make(home, &mirror).await?;
        }
        let before = list(home, &self.path).await?;
        for commands in changes(&before, &listed).into_iter().filter(|commands| !commands.is_empty()) {
            let command = home.git_in(&self.path, &["update-ref", "--no-deref", "--stdin"]);
            output_of(command, commands).await.map_err(RepositoryError::Git)?;
        }
        let head = output(home.git_in(&mirror, &["symbolic-ref", "HEAD"])).await;
        // One that is detached has none; then ours stays as it is.
        if let Some(head) = head.ok().and_then(|head| String::from_utf8(head).ok()) {
            let command = home.git_in(&self.path, &["symbolic-ref", "HEAD", head.trim()]);
            output(command).await.map_err(RepositoryError::Git)?;
        }
        *synchronised = Some(listed);
        Ok(freshness)
    }

    /// Takes over what upstream took. What cannot be is so at the next fetch.
    pub(crate) async fn moved(&self, home: &Home, updates: &[Update]) {
        self.mirror.outdate();
        let mut synchronised = self.synchronised.lock().await;
        *synchronised = None;
        let mut commands = String::new();
        for Update { reference, new, .. } in updates {
            commands.push_str(&match new {
                Some(new) => format!("update {reference} {new}\n"),
                None => format!("delete {reference}\n"),
            });
        }
        let command = home.git_in(&self.path, &["update-ref", "--no-deref", "--stdin"]);
        if let Err(error) = output_of(command, commands.into_bytes()).await {
            tracing::warn!(%error, "refs that upstream took are not moved here");
        }
    }

    async fn make(&self, home: &Home, mirror: &Path) -> Result<(), RepositoryError> {
        let making = self.path.with_extension("making");
        match fs::remove_dir_all(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(RepositoryError::Make(error)),
            _ => {}
        }
        let format = output(home.git_in(mirror, &["rev-parse", "--show-object-format"])).await;
        let format = format.map_err(RepositoryError::Git)?;
        let format = format!("--object-format={}", String::from_utf8_lossy(&format).trim());
        let target = making.display().to_string();
        let command = home.git(&["init", "--quiet", "--bare", "--template=", &format, "--", &target]);
        output(command).await.map_err(RepositoryError::Git)?;
        let info = making.join("objects/info");
        fs::create_dir_all(&info).map_err(RepositoryError::Make)?;
        let alternates = format!("{}\n", mirror.join("objects").display());
        fs::write(info.join("alternates"), alternates).map_err(RepositoryError::Make)?;
        fs::rename(&making, &self.path).map_err(RepositoryError::Make)
    }
}

/// Takes away what a git that was killed leaves in the way of the next: locks, objects in quarantine, and marks of packs
/// that were being received. To be called while no git is at work there.
pub(super) fn tidy(repository: &Path) {
    let is_lock = |name: &str| name.ends_with(".lock");
    let is_left = |name: &str| name.starts_with("tmp_objdir-") || is_lock(name);
    let is_mark = |name: &str| name.ends_with(".keep") || name.starts_with("tmp_") || is_lock(name);
    remove(repository, is_lock);
    remove(&repository.join("objects"), is_left);
    remove(&repository.join("objects/pack"), is_mark);
    below(&repository.join("refs"), &is_lock);
}

fn below(directory: &Path, wanted: &impl Fn(&str) -> bool) {
    remove(directory, wanted);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), wanted);
        }
    }
}

/// What cannot be removed is in the way, and git says so.
fn remove(directory: &Path, wanted: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&wanted) {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

async fn list(home: &Home, repository: &Path) -> Result<Vec<u8>, RepositoryError> {
    let arguments = [&LIST[..], &["refs/tags"]].concat();
    output(home.git_in(repository, &arguments)).await.map_err(RepositoryError::Git)
}

/// What `update-ref --stdin` must do so that the refs of `before` become those of `wanted`: first what goes, for `a` must
/// go before `a/b` can come.
fn changes(before: &[u8], wanted: &[u8]) -> [Vec<u8>; 2] {
    let (before, wanted) = (refs(before), refs(wanted));
    let gone = before.keys().filter(|name| !wanted.contains_key(*name));
    let gone = gone.flat_map(|name| [b"delete ", *name, b"\n"].concat()).collect();
    let moved = wanted.iter().filter(|(name, object)| before.get(*name) != Some(object));
    let moved = moved.flat_map(|(name, object)| [b"update ", *name, b" ", *object, b"\n"].concat()).collect();
    [gone, moved]
}

/// By name, which is git's own: any bytes but white space.
fn refs(listed: &[u8]) -> BTreeMap<&[u8], &[u8]> {
    let lines = listed.split(|byte| *byte == b'\n');
    let pair = |line: &'_ [u8]| line.iter().position(|byte| *byte == b' ');
    lines
        .filter_map(|line| {
            let (object, name) = line.split_at_checked(pair(line)?)?;
            Some((name.get(1..)?, object))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_git_left_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let gone = ["HEAD.lock", "refs/heads/a/b.lock", "objects/tmp_objdir-incoming-x/1", "objects/pack/pack-1.keep"];
        let kept = ["HEAD", "refs/heads/a/b", "objects/ab/cd", "objects/pack/pack-1.pack"];
        for path in gone.iter().chain(&kept) {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        tidy(dir.path());
        assert!(gone.iter().all(|path| !dir.path().join(path).exists()));
        assert!(kept.iter().all(|path| dir.path().join(path).exists()));
    }

    #[test]
    fn only_what_differs_is_changed() {
        let before = b"1 refs/heads/a\n2 refs/heads/b\n3 refs/heads/c\n";
        let wanted = b"1 refs/heads/a\n9 refs/heads/b\n4 refs/heads/c/\xff\n";
        let [gone, moved] = changes(before, wanted);
        assert_eq!(gone, b"delete refs/heads/c\n");
        assert_eq!(moved, b"update refs/heads/b 9\nupdate refs/heads/c/\xff 4\n");
        assert!(changes(before, before).iter().all(Vec::is_empty));
    }
}
