//! Bottles as directories: `bottles/<slug>/{metadata.json,plan.json,journal,lock,agent/{home,workspace},egress/,git-gate/,
//! supervise/,audit/}`.
//!
//! Invariant: a keeper lives exactly as long as the lock on `lock` is held. A bottle's directory appears under its
//! name with the lock already held, so nobody ever sees one that is being made and takes it for a dead one.

use crate::{dirs::Dirs, process::ProcessId};
use bottle_spec::{
    plan::{Backend, Plan},
    slug::Slug,
};
use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, renameat_with},
    io::Errno,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} cannot be made or used; set XDG_STATE_HOME and XDG_RUNTIME_DIR to directories of your own", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("{} belongs to another user or is open to others; make it yours alone (chmod 700)", .0.display())]
    NotPrivate(PathBuf),
    #[error("a bottle named {0} exists; take another name, or remove it with `bot-bottle cleanup {0}`")]
    NameTaken(Slug),
    #[error("no free name was found; `bot-bottle cleanup` removes the bottles that have ended")]
    NoFreeName,
    #[error("no bottle is named {0}; `bot-bottle list` shows those there are")]
    Unknown(Slug),
    #[error("{0} is running; `bot-bottle stop {0}` ends it")]
    Running(Slug),
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("no random numbers could be had")]
    Random(#[source] io::Error),
}

/// A bottle's life as the list shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Creating,
    Running,
    /// Running, with everything in it stopped by the kill switch.
    Frozen,
    /// Ended in good order: its state is kept, and `resume` runs it again.
    Stopped,
    /// Its launch failed or its keeper died: `cleanup` reaps what is left.
    Failed,
}

/// `metadata.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub slug: Slug,
    pub agent: String,
    pub bottle: Option<String>,
    pub backend: Backend,
    /// Milliseconds since the Unix epoch.
    pub created: u64,
    /// What the keeper wrote last; the truth is this and the lock together.
    pub state: State,
    pub keeper: ProcessId,
    pub ephemeral: bool,
    pub wall_seconds: Option<u32>,
    /// The host uid and gid of the agent's processes, where root started the bottle; the gate's is the next.
    pub host_id: Option<u32>,
    /// The agent's exit code, once it has one.
    pub exit_code: Option<u8>,
    pub ports: Vec<u16>,
}

/// One line of `list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub slug: String,
    pub state: State,
    pub metadata: Option<Metadata>,
}

#[derive(Debug, Clone)]
pub struct Store {
    dirs: Dirs,
}

impl Store {
    /// Makes the directories where they are missing, and refuses those that are not the user's alone.
    pub fn open(dirs: Dirs) -> Result<Store, StoreError> {
        for path in [&dirs.state, &dirs.bottles(), &dirs.runtime] {
            private_directory(path)?;
        }
        Ok(Store { dirs })
    }

    pub fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    /// The paths of a bottle, whether it is there or not.
    pub fn bottle(&self, slug: &Slug) -> BottleDir {
        BottleDir {
            state: self.dirs.bottles().join(slug.as_str()),
            runtime: self.dirs.runtime.join(slug.as_str()),
            slug: slug.clone(),
        }
    }

    /// Makes a new bottle's directory under the name asked for, or under a free one.
    pub fn create(&self, agent: &str, name: Option<&Slug>) -> Result<(BottleDir, Lock), StoreError> {
        const TRIES: usize = 64;
        for _ in 0..TRIES {
            let slug = match name {
                Some(slug) => slug.clone(),
                None => Slug::new(agent, random()?),
            };
            match (self.try_create(&slug)?, name) {
                (Some(lock), _) => return Ok((self.bottle(&slug), lock)),
                (None, Some(taken)) => return Err(StoreError::NameTaken(taken.clone())),
                (None, None) => {}
            }
        }
        Err(StoreError::NoFreeName)
    }

    /// `None` where the name is taken.
    fn try_create(&self, slug: &Slug) -> Result<Option<Lock>, StoreError> {
        let bottle = self.bottle(slug);
        if bottle.state.exists() {
            return Ok(None);
        }
        let making = self.dirs.bottles().join(format!("{MAKING}{slug}.{}", rustix::process::getpid()));
        let failed = |source| StoreError::Directory { path: making.clone(), source };
        fs::DirBuilder::new().mode(0o700).create(&making).map_err(failed)?;
        let named = Lock::take(&making).and_then(|lock| {
            let lock = lock.ok_or_else(|| failed(io::ErrorKind::WouldBlock.into()))?;
            match renameat_with(CWD, &making, CWD, &bottle.state, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(Some(lock)),
                Err(Errno::EXIST) => Ok(None),
                Err(error) => Err(failed(error.into())),
            }
        });
        if !matches!(named, Ok(Some(_))) {
            // Holds nothing but the lock file. What cannot be removed now is found by `cleanup`.
            let _ = fs::remove_file(making.join(LOCK));
            let _ = fs::remove_dir(&making);
        }
        named
    }

    /// Takes a bottle that does not run, to resume or to remove it.
    pub fn take(&self, slug: &Slug) -> Result<(BottleDir, Lock), StoreError> {
        let bottle = self.bottle(slug);
        if !bottle.state.is_dir() {
            return Err(StoreError::Unknown(slug.clone()));
        }
        let lock = Lock::take(&bottle.state)?.ok_or_else(|| StoreError::Running(slug.clone()))?;
        Ok((bottle, lock))
    }

    /// Every bottle, by name. A directory whose metadata cannot be read is listed as failed, never left out.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let path = self.dirs.bottles();
        let entries = fs::read_dir(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| StoreError::Read { path: path.clone(), source })?;
            let Some(slug) = entry.file_name().to_str().and_then(|name| name.parse::<Slug>().ok()) else { continue };
            let bottle = self.bottle(&slug);
            let metadata = bottle.metadata().ok();
            let state = bottle.state_now(metadata.as_ref());
            listed.push(Listed { slug: slug.to_string(), state, metadata });
        }
        listed.sort_by(|a, b| a.slug.cmp(&b.slug));
        Ok(listed)
    }

    /// The bottle that a directory's name says is being removed.
    pub(crate) fn going(name: &str) -> Option<Slug> {
        name.strip_prefix(GOING)?.parse().ok()
    }

    /// Directories of bottles whose keeper may have died before they had a name, or while they were being removed.
    pub(crate) fn nameless(&self) -> Result<Vec<PathBuf>, StoreError> {
        let path = self.dirs.bottles();
        let entries = fs::read_dir(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
        Ok(entries
            .filter_map(Result::ok)
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(MAKING) || name.starts_with(GOING)
            })
            .map(|entry| entry.path())
            .collect())
    }
}

const MAKING: &str = ".making-";
const GOING: &str = ".going-";
const LOCK: &str = "lock";

/// Where everything of one bottle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BottleDir {
    pub slug: Slug,
    pub state: PathBuf,
    /// Sockets.
    pub runtime: PathBuf,
}

impl BottleDir {
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal")
    }

    /// The agent writes here: whatever is beneath is hostile.
    pub fn agent(&self) -> PathBuf {
        self.state.join("agent")
    }

    pub fn home(&self) -> PathBuf {
        self.agent().join("home")
    }

    pub fn workspace(&self) -> PathBuf {
        self.agent().join("workspace")
    }

    /// The name of its directory while it is being removed.
    pub(crate) fn going(&self) -> PathBuf {
        self.state.with_file_name(format!("{GOING}{}", self.slug))
    }

    /// What the agent's terminal showed; outside of `agent/home`, so the agent cannot write it.
    pub fn output(&self) -> PathBuf {
        self.agent().join("output.log")
    }

    /// What a container is given as files.
    pub(crate) fn room(&self) -> PathBuf {
        self.state.join("room")
    }

    pub fn keeper_log(&self) -> PathBuf {
        self.state.join("keeper.log")
    }

    pub fn gate_log(&self) -> PathBuf {
        self.state.join("egress").join("gate.log")
    }

    /// What the git gate keeps.
    pub fn git_gate(&self) -> PathBuf {
        self.state.join("git-gate")
    }

    pub fn git_gate_log(&self) -> PathBuf {
        self.state.join("egress").join("git-gate.log")
    }

    pub fn supervise_log(&self) -> PathBuf {
        self.state.join("egress").join("supervise-gate.log")
    }

    pub fn notifier_log(&self) -> PathBuf {
        self.state.join("egress").join("notifier.log")
    }

    /// Requests to the operator, and the answers.
    pub fn requests(&self) -> PathBuf {
        self.state.join("supervise")
    }

    pub fn audit(&self) -> PathBuf {
        self.state.join("audit")
    }

    pub fn audit_log(&self) -> PathBuf {
        self.audit().join("audit.jsonl")
    }

    /// What the workspace held when the agent got it.
    pub(crate) fn given(&self) -> PathBuf {
        self.state.join("given.jsonl")
    }

    /// What is in the user's repository because of this bottle.
    pub(crate) fn clone_record(&self) -> PathBuf {
        self.state.join("clone.json")
    }

    /// What guards a mounted workspace.
    pub(crate) fn guard(&self) -> PathBuf {
        self.state.join("guard.json")
    }

    /// Whether its keeper, or who takes it away, is at work.
    pub(crate) fn is_held(&self) -> bool {
        Lock::is_held(&self.state)
    }

    /// What is planted in the home, and watched.
    pub(crate) fn canaries(&self) -> PathBuf {
        self.state.join("canaries.json")
    }

    pub(crate) fn frozen_mark(&self) -> PathBuf {
        self.runtime.join("frozen")
    }

    pub fn metadata(&self) -> Result<Metadata, StoreError> {
        read_json(&self.state.join("metadata.json"))
    }

    pub fn plan(&self) -> Result<Plan, StoreError> {
        read_json(&self.state.join("plan.json"))
    }

    pub fn write_metadata(&self, metadata: &Metadata) -> Result<(), StoreError> {
        write_json(&self.state.join("metadata.json"), metadata)
    }

    pub(crate) fn write_plan(&self, plan: &Plan) -> Result<(), StoreError> {
        write_json(&self.state.join("plan.json"), plan)
    }

    /// By the lock first: what a dead keeper wrote about itself does not count.
    pub fn state_now(&self, metadata: Option<&Metadata>) -> State {
        let said = metadata.map_or(State::Creating, |metadata| metadata.state);
        match (Lock::is_held(&self.state), said) {
            (true, State::Stopped | State::Failed | State::Creating) => State::Creating,
            (true, State::Running | State::Frozen) if self.frozen_mark().exists() => State::Frozen,
            (true, State::Running | State::Frozen) => State::Running,
            (false, State::Stopped) => State::Stopped,
            (false, _) => State::Failed,
        }
    }
}

/// Held by the keeper for as long as it lives; the kernel lets go of it when the keeper dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _held: OwnedFd,
}

impl Lock {
    /// `None` where another holds it.
    pub(crate) fn take(directory: &Path) -> Result<Option<Lock>, StoreError> {
        Lock::try_take(directory, FlockOperation::NonBlockingLockExclusive)
    }

    /// Waits until nobody holds it.
    pub(crate) fn wait(directory: &Path) -> Result<Lock, StoreError> {
        loop {
            // A signal may come in between.
            if let Some(lock) = Lock::try_take(directory, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    fn try_take(directory: &Path, how: FlockOperation) -> Result<Option<Lock>, StoreError> {
        let path = directory.join(LOCK);
        let failed = |error: Errno| StoreError::Write { path: path.clone(), source: error.into() };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        match flock(&held, how) {
            Ok(()) => Ok(Some(Lock { _held: held })),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Asks with a shared lock, so that two who ask at once do not take each other for a keeper.
    fn is_held(directory: &Path) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(directory.join(LOCK), flags, Mode::empty()) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }
}

pub(crate) fn private_directory(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Directory { path: path.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || !own || metadata.mode() & 0o077 != 0 {
        return Err(StoreError::NotPrivate(path.to_owned()));
    }
    Ok(())
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let bytes = fs::read(path).map_err(|source| StoreError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| StoreError::Damaged { path: path.to_owned(), source })
}

/// Whole or not at all: written beside, then renamed over.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let failed = |source| StoreError::Write { path: path.to_owned(), source };
    let beside = path.with_extension("json.new");
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    let mut file = File::create(&beside).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

fn random() -> Result<[u8; 5], StoreError> {
    let mut bytes = [0; 5];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Random(io::Error::other(error.to_string())))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(Dirs::new(root.path(), None)).unwrap();
        (root, store)
    }

    #[test]
    fn a_bottle_is_creating_while_its_lock_is_held_and_failed_after() {
        let (_root, store) = store();
        let (bottle, lock) = store.create("a", None).unwrap();
        assert_eq!(bottle.state_now(None), State::Creating);
        assert!(matches!(store.take(&bottle.slug), Err(StoreError::Running(_))));
        drop(lock);
        assert_eq!(bottle.state_now(None), State::Failed);
        assert_eq!(store.list().unwrap().len(), 1);
        store.take(&bottle.slug).unwrap();
    }

    #[test]
    fn a_name_is_given_once_and_nothing_else_is_left() {
        let (_root, store) = store();
        let name: Slug = "a-bcdef".parse().unwrap();
        let _first = store.create("a", Some(&name)).unwrap();
        assert!(matches!(store.create("a", Some(&name)), Err(StoreError::NameTaken(_))));
        assert!(store.nameless().unwrap().is_empty());
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let (_root, store) = store();
        let bottles = store.dirs().bottles();
        fs::set_permissions(&bottles, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Store::open(store.dirs().clone()), Err(StoreError::NotPrivate(path)) if path == bottles));
    }
}
