//! After a crash: what a dead keeper left on this host is found by its journal and taken away.
//!
//! Invariant: nothing of a bottle whose lock is held is touched, and the lock is held here while its remains are. What
//! the agent owned is removed without following its links ([`crate::beneath`]).

use crate::{
    backend::{
        docker::{self, EngineError},
        smolmachines::{self, Prepared},
    },
    beneath, cgroup,
    engine_address::EngineAddress,
    guard, host_ids,
    journal::{self, Container, Thing},
    keeper::{chain, remove_state},
    process::ProcessId,
    store::{BottleDir, Listed, Lock, State, Store, StoreError},
};
use bottle_spec::slug::Slug;
use std::{fs, io, path::Path, time::Duration};

const PATIENCE: Duration = Duration::from_secs(10);

/// Which bottles to take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Those whose keeper died.
    Dead,
    /// Also those that have stopped in good order.
    All,
    /// These, dead or stopped.
    Named(Vec<Slug>),
}

/// What was taken away of one bottle, a phrase each; and what could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaped {
    pub name: String,
    pub what: Vec<String>,
    pub failures: Vec<String>,
}

/// The bottles that [`reap`] would take away, to be asked about. A name that is not there or runs is an error.
pub fn candidates(store: &Store, wanted: &Wanted) -> Result<Vec<Listed>, StoreError> {
    let listed = store.list()?;
    let Wanted::Named(names) = wanted else {
        let dead = |state: State| state == State::Failed || *wanted == Wanted::All && state == State::Stopped;
        return Ok(listed.into_iter().filter(|bottle| dead(bottle.state)).collect());
    };
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        match listed.iter().find(|bottle| bottle.slug == name.as_str()) {
            None => return Err(StoreError::Unknown(name.clone())),
            Some(bottle) if matches!(bottle.state, State::Creating | State::Running | State::Frozen) => {
                return Err(StoreError::Running(name.clone()));
            }
            Some(bottle) => found.push(bottle.clone()),
        }
    }
    Ok(found)
}

/// Takes away these bottles, and directories that never got or have lost their name.
pub fn reap(store: &Store, bottles: &[Listed]) -> Result<Vec<Reaped>, StoreError> {
    let mut all = Vec::new();
    for listed in bottles {
        let Ok(slug) = listed.slug.parse::<Slug>() else { continue };
        match store.take(&slug) {
            Ok((bottle, lock)) => all.push(one(store, &bottle, lock)),
            // Resumed, or taken away by another, since it was listed.
            Err(StoreError::Running(_) | StoreError::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
    }
    for path in store.nameless()? {
        all.extend(nameless(store, &path));
    }
    Ok(all)
}

fn one(store: &Store, bottle: &BottleDir, _lock: Lock) -> Reaped {
    let mut reaped = Reaped { name: bottle.slug.to_string(), what: Vec::new(), failures: Vec::new() };
    let entries = journal::read(&bottle.journal()).unwrap_or_default();
    let things = journal::remaining(&entries);
    // Processes first: whatever else is there may be in use by them.
    for thing in &things {
        if let Thing::Process { role, id } = thing {
            reaped.note(&format!("process {} ({role})", id.pid), id.kill(PATIENCE));
        }
    }
    for pid in inhabitants(&bottle.state) {
        reaped.note(&format!("process {} (left in the room)", pid.pid), pid.kill(PATIENCE));
    }
    for thing in &things {
        match thing {
            Thing::Cgroup(path) => {
                let there = path.exists();
                reaped.note(&format!("cgroup {}", path.display()), cgroup::remove(path).map(|()| there));
            }
            Thing::Directory(path) => reaped.directory(path),
            Thing::Container(container) => reaped.container(container),
            Thing::Machine(machine) => {
                let removed = machine.remove().map_err(io::Error::other);
                reaped.note("its machine", removed);
            }
            Thing::Process { .. } | Thing::HostId(_) => {}
        }
    }
    reaped.directory(&bottle.runtime);
    let guarded = bottle.guard().exists();
    reaped.note("guards of the workspace", guard::lift(bottle).map(|()| guarded).map_err(io::Error::other));
    // With something still running, the journal stays: it is how the next cleanup finds it.
    if reaped.failures.is_empty() {
        let state = &store.dirs().state;
        let path = bottle.state.display().to_string();
        let removed = remove_state(bottle, state, None).map(|()| true);
        reaped.note(&format!("state {path}"), removed.map_err(io::Error::other));
        reaped.host_ids(state, &bottle.slug);
    }
    reaped
}

/// Takes away containers of an engine whose bottle is gone, or is dead and was not written down. Of a bottle that is
/// listed [`reap`] takes care.
pub fn reap_containers(store: &Store, engine: &EngineAddress) -> Result<Vec<Reaped>, EngineError> {
    let containers = match docker::abandoned(engine, &store.dirs().state) {
        Ok(containers) => containers,
        // Most hosts have none at all, or none for this user.
        Err(error) if error.is_absent() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let gone = containers.into_iter().filter(|(slug, _)| match slug.parse::<Slug>() {
        Ok(slug) => !store.bottle(&slug).state.exists(),
        Err(_) => true,
    });
    let taken = gone.map(|(name, container)| {
        let mut reaped = Reaped { name, what: Vec::new(), failures: Vec::new() };
        let slug = reaped.name.parse::<Slug>();
        reaped.container(&container);
        // What else of it is not below its own directory.
        if let Ok(slug) = slug {
            reaped.directory(&store.bottle(&slug).runtime);
            reaped.host_ids(&store.dirs().state, &slug);
        }
        reaped
    });
    Ok(taken.collect())
}

/// Ends machines whose bottle is gone. Of a bottle that is listed [`reap`] takes care.
pub fn reap_machines(store: &Store) -> Vec<Reaped> {
    let gone = smolmachines::machines(store.dirs()).into_iter().filter_map(|(name, process)| {
        let slug = name.parse::<Slug>().ok().filter(|slug| !store.bottle(slug).state.exists())?;
        let mut reaped = Reaped { name, what: Vec::new(), failures: Vec::new() };
        reaped.note(&format!("machine {}", process.pid), process.kill(PATIENCE));
        reaped.directory(&store.bottle(&slug).runtime);
        Some(reaped)
    });
    gone.collect()
}

/// Ends prepared machines that no bottle runs in a branch of.
pub fn reap_prepared(store: &Store) -> Option<Reaped> {
    let mut reaped = Reaped { name: "warm".to_owned(), what: Vec::new(), failures: Vec::new() };
    match Prepared::of(store.dirs()).remove_unused() {
        Ok(keys) => reaped.what.extend(keys.iter().map(|key| format!("prepared machine {key}"))),
        Err(error) => reaped.failures.push(format!("prepared machines: {error}")),
    }
    (!reaped.what.is_empty() || !reaped.failures.is_empty()).then_some(reaped)
}

/// A directory that no list shows. `None` where it is in use or gone.
fn nameless(store: &Store, path: &Path) -> Option<Reaped> {
    let name = path.file_name()?.to_str()?;
    let mut reaped = Reaped { name: name.to_owned(), what: Vec::new(), failures: Vec::new() };
    let slug = match Store::going(name) {
        // Its keeper had ended everything else and may be removing it right now; that does no harm.
        Some(slug) => Some(slug),
        None => {
            Lock::take(path).ok().flatten()?;
            None
        }
    };
    reaped.directory(path);
    if let Some(slug) = slug {
        reaped.host_ids(&store.dirs().state, &slug);
    }
    Some(reaped)
}

impl Reaped {
    fn note(&mut self, what: &str, result: io::Result<bool>) {
        match result {
            Ok(true) => self.what.push(what.to_owned()),
            Ok(false) => {}
            Err(error) => self.failures.push(format!("{what}: {error}")),
        }
    }

    fn directory(&mut self, path: &Path) {
        let there = path.symlink_metadata().is_ok();
        self.note(&format!("directory {}", path.display()), beneath::remove_tree(path).map(|()| there));
    }

    fn container(&mut self, container: &Container) {
        let removed = docker::remove_now(container).map_err(|error| io::Error::other(chain(&error).join(": ")));
        self.note(&format!("container {}", container.name), removed);
    }

    fn host_ids(&mut self, state: &Path, slug: &Slug) {
        for id in host_ids::taken_by(state, slug) {
            self.note(&format!("host uid {id}"), host_ids::free(state, id).map(|()| true).map_err(io::Error::other));
        }
    }
}

/// Processes that see a directory of this bottle mounted. For a room whose init was made and not yet written down.
fn inhabitants(state: &Path) -> Vec<ProcessId> {
    let Some(mark) = Mark::of(state) else { return Vec::new() };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/mountinfo")).is_ok_and(|mounts| mark.is_in(&mounts)))
        .filter_map(|pid| ProcessId::of(pid).ok())
        .collect()
}

/// A bottle's directory as mountinfo (proc_pid_mountinfo(5)) shows it: by device, and by its path within that. Another
/// user's bottle may have the same name.
struct Mark {
    /// `major:minor`.
    device: String,
    state: String,
    /// `/bottles/NAME`.
    end: String,
}

impl Mark {
    fn of(state: &Path) -> Option<Mark> {
        let state = fs::canonicalize(state).ok()?;
        let device = rustix::fs::stat(&state).ok()?.st_dev;
        let end = format!("/bottles/{}", state.file_name()?.to_str()?);
        let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        // As the kernel writes what would end a field.
        let escapes = [('\\', "\\134"), (' ', "\\040"), ('\t', "\\011"), ('\n', "\\012")];
        let state = escapes.iter().fold(state.to_str()?.to_owned(), |text, (c, code)| text.replace(*c, code));
        Some(Mark { device, state, end })
    }

    fn is_in(&self, mounts: &str) -> bool {
        mounts.lines().any(|line| {
            let mut fields = line.split(' ').skip(2);
            let (Some(device), Some(root)) = (fields.next(), fields.next()) else { return false };
            // Of a subvolume, stat(2) gives another device than the mount has.
            let same = device == self.device || line.contains(" - btrfs ");
            let within = root.split_once(&format!("{}/", self.end)).map(|(above, _)| format!("{above}{}", self.end));
            same && within.is_some_and(|within| self.state.ends_with(&within))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dirs::Dirs,
        journal::{Journal, Step},
    };
    use std::process::Command;

    #[test]
    fn a_mark_is_of_one_bottle_and_not_of_all_of_its_name() {
        let state = "/home/a/.local/state/bot-bottle/bottles/x-abcde".to_owned();
        let mark = Mark { device: "254:0".to_owned(), state, end: "/bottles/x-abcde".to_owned() };
        let line = |device: &str, root: &str, kind: &str| {
            format!("36 35 {device} {root} /home/agent rw,nosuid shared:1 - {kind} /dev/vda rw\n")
        };
        let own = "/home/a/.local/state/bot-bottle/bottles/x-abcde/agent/home";
        // Where /home is a file system of its own, paths in it begin there.
        let relative = "/a/.local/state/bot-bottle/bottles/x-abcde/agent/home";
        assert!(mark.is_in(&line("254:0", own, "ext4")) && mark.is_in(&line("254:0", relative, "ext4")));
        assert!(mark.is_in(&line("0:45", relative, "btrfs")));
        for root in [
            "/home/b/.local/state/bot-bottle/bottles/x-abcde/agent/home",
            "/home/a/.local/state/bot-bottle/bottles/x-abcdef/agent/home",
            "/home/a/.local/state/bot-bottle/bottles/y-abcde/agent/home",
        ] {
            assert!(!mark.is_in(&line("254:0", root, "ext4")), "{root}");
        }
        assert!(!mark.is_in(&line("8:1", relative, "ext4")) && !mark.is_in("36 35\n\n"));
    }

    #[test]
    fn what_a_dead_keeper_left_goes_and_a_running_bottle_stays() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(Dirs::new(root.path(), None)).unwrap();
        let (dead, lock) = store.create("a", None).unwrap();
        let (alive, _held) = store.create("b", None).unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        let mut journal = Journal::open(&dead.journal(), None).unwrap();
        journal.make(Step::Runtime, vec![Thing::Directory(dead.runtime.clone())]).unwrap();
        journal.done(Step::Gate, vec![Thing::Process { role: "gate".to_owned(), id }]).unwrap();
        fs::create_dir_all(&dead.runtime).unwrap();
        let uid = host_ids::allocate(&store.dirs().state, &dead.slug).unwrap();
        fs::create_dir(store.dirs().bottles().join(".making-c-abcde.1")).unwrap();
        drop(lock);
        let found = candidates(&store, &Wanted::Dead).unwrap();
        assert_eq!(found.iter().map(|bottle| bottle.slug.as_str()).collect::<Vec<_>>(), [dead.slug.as_str()]);
        let reaped = reap(&store, &found).unwrap();
        child.wait().unwrap();
        assert_eq!(reaped.len(), 2);
        assert!(reaped.iter().all(|one| one.failures.is_empty()), "{reaped:?}");
        assert!(reaped[0].what.iter().any(|what| what.contains("(gate)")), "{reaped:?}");
        assert!(reaped[0].what.contains(&format!("host uid {uid}")), "{reaped:?}");
        assert!(!dead.state.exists() && !dead.runtime.exists() && alive.state.exists());
        assert_eq!(fs::read_dir(store.dirs().bottles()).unwrap().count(), 1);
        let named = Wanted::Named(vec![alive.slug.clone()]);
        assert!(matches!(candidates(&store, &named), Err(StoreError::Running(_))));
    }
}
