//! One bare mirror per upstream, in the user's cache, shared by all of their bottles.
//!
//! Invariants: a mirror is written under its lock only, appears whole or not at all, and never loses an object: the
//! bottles' repositories borrow from it. Nothing that a bottle pushes comes into it but by way of its upstream.

use super::{
    command::{GitFailure, Home, both, output},
    hooks::Update,
    mirrors::{self, Held},
    outcome::Outcome,
    repository::tidy,
    upstream::{Access, is_refusal},
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
/// Packs, one of each fetch that brought something, before they are made fewer.
const MANY_PACKS: usize = 40;

#[derive(Debug)]
pub(crate) struct Mirror {
    /// Holds the mirror itself, its lock and the mark of its last refresh.
    directory: PathBuf,
    access: Access,
    /// While this is there nobody removes the mirror.
    _held: Held,
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
    /// Makes the mirror's directory, before the process confines itself, which allows this one and no other.
    pub(crate) fn new(all: &Path, access: Access) -> io::Result<Mirror> {
        let directory = all.join(key(&access.upstream));
        fs::create_dir_all(&directory)?;
        let held = mirrors::hold(&directory)?;
        Ok(Mirror { directory, access, _held: held })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(mirrors::MIRROR)
    }

    pub(crate) fn is_there(&self) -> bool {
        self.path().join("HEAD").exists()
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
        let there = self.is_there();
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
        // What the client has packed goes on as it packed it; no better deltas are looked for.
        let arguments = ["-c", "pack.window=0", "push", "--porcelain", "--no-verify", "--no-follow-tags"];
        let mut arguments: Vec<String> = arguments
            .iter()
            .chain(&["--no-recurse-submodules", "--no-signed"])
            .map(|word| (*word).to_owned())
            .collect();
        if atomic {
            arguments.push("--atomic".to_owned());
        }
        if let Kind::Path(path) = self.access.upstream.kind() {
            // The hooks of a repository with a work tree are its user's, for their own work.
            let hooks = if path.join(".git").exists() { "-c core.hooksPath=/dev/null " } else { "" };
            let umask = self.access.umask & 0o777;
            arguments.push(format!(
                "--receive-pack=umask {umask:03o}; exec git {hooks}-c receive.autogc=false -c receive.denyCurrentBranch=refuse receive-pack"
            ));
        }
        for Update { reference, old, .. } in updates {
            arguments.push(format!("--force-with-lease={reference}:{}", old.as_deref().unwrap_or_default()));
        }
        arguments.extend(["--".to_owned(), self.access.url()]);
        for Update { reference, new, .. } in updates {
            arguments.push(format!("{}:{reference}", new.as_deref().unwrap_or_default()));
        }
        let generation = self.access.generation();
        let mut ran = self.push_once(home, repository, &arguments).await;
        let is_refused = ran.as_ref().is_ok_and(|(_, stderr)| is_refusal(&String::from_utf8_lossy(stderr)));
        if is_refused && self.access.renew(generation).await {
            ran = self.push_once(home, repository, &arguments).await;
        }
        match ran {
            Ok((stdout, stderr)) => Outcome::read(&stdout, &stderr, updates),
            Err(error) => Outcome::of_none(updates, &format!("git could not be started: {error}")),
        }
    }

    async fn push_once(&self, home: &Home, repository: &Path, arguments: &[String]) -> io::Result<(Vec<u8>, Vec<u8>)> {
        both(home.git_to(&self.access, Some(repository), arguments)?).await
    }

    /// Runs git; once more where the upstream refused the secret and there is another now.
    async fn ask(&self, home: &Home, mirror: Option<&Path>, arguments: &[&str]) -> Result<(), MirrorError> {
        let generation = self.access.generation();
        let command = || home.git_to(&self.access, mirror, arguments).map_err(MirrorError::Directory);
        let asked = output(command()?).await;
        let is_refused = matches!(&asked, Err(GitFailure::Said(said)) if is_refusal(said));
        let asked = if is_refused && self.access.renew(generation).await {
            if mirror.is_none() {
                // What the first attempt may have begun.
                let _ = fs::remove_dir_all(self.directory.join(mirrors::MAKING));
            }
            output(command()?).await
        } else {
            asked
        };
        asked.map(drop).map_err(MirrorError::Upstream)
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
        let making = self.directory.join(mirrors::MAKING);
        // What a gate that died left behind.
        match fs::remove_dir_all(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(MirrorError::Directory(error)),
            _ => {}
        }
        let target = making.display().to_string();
        let arguments =
            ["clone", "--quiet", "--bare", "--template=", "--no-hardlinks", "--", &self.access.url(), &target];
        self.ask(home, None, &arguments).await?;
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
            &self.access.url(),
            "+refs/heads/*:refs/heads/*",
            "+refs/tags/*:refs/tags/*",
        ];
        let path = self.path();
        // The lock is ours, so no other git writes here.
        tidy(&path);
        self.ask(home, Some(&path), &arguments).await?;
        if packs(&path) > MANY_PACKS {
            // Objects that nothing reaches any more stay: bottles may have them.
            let fewer = home.git_in(&path, &["repack", "--quiet", "--geometric=2", "-d"]);
            if let Err(error) = output(fewer).await {
                tracing::warn!(%error, "the packs of a mirror stay many");
            }
        }
        Ok(())
    }
}

fn packs(mirror: &Path) -> usize {
    let entries = fs::read_dir(mirror.join("objects/pack")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack")).count()
}

/// A directory's name: readable, and apart from every other upstream's.
fn key(upstream: &Upstream) -> String {
    let digest = Sha256::digest(upstream.as_str().as_bytes());
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let last = upstream.as_str().rsplit(['/', ':']).find(|part| !part.is_empty()).unwrap_or_default();
    let plain: String = last.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    format!("{plain}-{short}")
}
