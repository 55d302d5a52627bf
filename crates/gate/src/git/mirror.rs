//! One bare mirror per upstream, in the user's cache, shared by all of their bottles.
//!
//! Invariants: a mirror is written under its lock only, appears whole or not at all, and never loses an object: the
//! bottles' repositories borrow from it. Nothing that a bottle pushes comes into it but by way of its upstream.

use super::{
    command::{GitFailure, Home, both, output},
    hooks::Update,
    outcome::Outcome,
    repository::tidy,
    upstream::Access,
};
use bottle_spec::git::{Kind, Upstream};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A mirror that was brought up to date so lately is not asked about again.
const FRESH: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Mirror {
    /// Holds the mirror itself, its lock and the mark of its last refresh.
    directory: PathBuf,
    access: Access,
}

/// How up to date a mirror is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Freshness {
    Current,
    /// Its upstream could not be asked, and why.
    Stale(String),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MirrorError {
    #[error("the mirror's directory cannot be used")]
    Directory(#[source] io::Error),
    #[error("{0}")]
    Upstream(#[source] GitFailure),
}

impl Mirror {
    pub(crate) fn new(mirrors: &Path, access: Access) -> Mirror {
        Mirror { directory: mirrors.join(key(&access.upstream)), access }
    }

    /// To be made before the process confines itself, which allows this one and no other.
    pub(crate) fn make_directory(&self) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.directory)?;
        Ok(self.directory.clone())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("mirror.git")
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Asks the upstream, unless someone has just done so.
    pub(crate) async fn refresh(&self, home: &Home) -> Result<Freshness, MirrorError> {
        if self.is_fresh() {
            return Ok(Freshness::Current);
        }
        let _lock = self.lock().await.map_err(MirrorError::Directory)?;
        if self.is_fresh() {
            return Ok(Freshness::Current);
        }
        let there = self.path().join("HEAD").exists();
        let done = if there { self.fetch(home).await } else { self.clone_whole(home).await };
        match done {
            Ok(()) => {
                fs::write(self.mark(), "").map_err(MirrorError::Directory)?;
                Ok(Freshness::Current)
            }
            Err(MirrorError::Upstream(failure)) if there => Ok(Freshness::Stale(failure.to_string())),
            Err(error) => Err(error),
        }
    }

    /// The next refresh asks: something was pushed.
    pub(crate) fn outdate(&self) {
        // One that stays makes the mirror look current for a moment longer.
        let _ = fs::remove_file(self.mark());
    }

    /// Pushes objects that are in `repository`, each ref on condition that it is where `old` says.
    pub(crate) async fn push(&self, home: &Home, repository: &Path, updates: &[Update], atomic: bool) -> Outcome {
        let mut arguments: Vec<String> =
            ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-recurse-submodules", "--no-signed"]
                .map(str::to_owned)
                .into();
        if atomic {
            arguments.push("--atomic".to_owned());
        }
        if let Kind::Path(path) = self.access.upstream.kind() {
            // The hooks of a repository with a work tree are its user's, for their own work.
            let hooks = if path.join(".git").exists() { "-c core.hooksPath=/dev/null " } else { "" };
            arguments.push(format!(
                "--receive-pack=git {hooks}-c receive.autogc=false -c receive.denyCurrentBranch=refuse receive-pack"
            ));
        }
        for Update { reference, old, .. } in updates {
            arguments.push(format!("--force-with-lease={reference}:{}", old.as_deref().unwrap_or_default()));
        }
        arguments.extend(["--".to_owned(), self.access.upstream.as_str().to_owned()]);
        for Update { reference, new, .. } in updates {
            arguments.push(format!("{}:{reference}", new.as_deref().unwrap_or_default()));
        }
        let ran = match home.git_to(&self.access, Some(repository), &arguments) {
            Ok(command) => both(command).await,
            Err(error) => Err(error),
        };
        match ran {
            Ok((stdout, stderr)) => Outcome::read(&stdout, &stderr, updates),
            Err(error) => Outcome::of_none(updates, &format!("git could not be started: {error}")),
        }
    }

    fn mark(&self) -> PathBuf {
        self.directory.join("refreshed")
    }

    fn is_fresh(&self) -> bool {
        let changed = fs::metadata(self.mark()).and_then(|metadata| metadata.modified());
        changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < FRESH))
    }

    /// Shared with the git gates of other bottles. Waiting for it is another thread's.
    async fn lock(&self) -> io::Result<File> {
        let path = self.directory.join("lock");
        let locked = tokio::task::spawn_blocking(move || {
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        });
        locked.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    async fn clone_whole(&self, home: &Home) -> Result<(), MirrorError> {
        let making = self.directory.join("making.git");
        // What a gate that died left behind.
        match fs::remove_dir_all(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(MirrorError::Directory(error)),
            _ => {}
        }
        let target = making.display().to_string();
        let arguments = [
            "clone",
            "--quiet",
            "--bare",
            "--template=",
            "--no-hardlinks",
            "--",
            self.access.upstream.as_str(),
            &target,
        ];
        let command = home.git_to(&self.access, None, &arguments).map_err(MirrorError::Directory)?;
        output(command).await.map_err(MirrorError::Upstream)?;
        fs::rename(&making, self.path()).map_err(MirrorError::Directory)
    }

    async fn fetch(&self, home: &Home) -> Result<(), MirrorError> {
        let arguments = [
            "fetch",
            "--quiet",
            "--prune",
            "--force",
            "--no-auto-gc",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-tags",
            "--",
            self.access.upstream.as_str(),
            "+refs/heads/*:refs/heads/*",
            "+refs/tags/*:refs/tags/*",
        ];
        let path = self.path();
        // The lock is ours, so no other git writes here.
        tidy(&path);
        let command = home.git_to(&self.access, Some(&path), &arguments).map_err(MirrorError::Directory)?;
        output(command).await.map(drop).map_err(MirrorError::Upstream)
    }
}

/// A directory's name: readable, and apart from every other upstream's.
fn key(upstream: &Upstream) -> String {
    let digest = Sha256::digest(upstream.as_str().as_bytes());
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let last = upstream.as_str().rsplit(['/', ':']).find(|part| !part.is_empty()).unwrap_or_default();
    let plain: String = last.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    format!("{plain}-{short}")
}
