//! Makes the machine, starts it, and waits for its init.

use super::{
    error::{MachineError, SmolvmError},
    machine::{Machine, Order, Prepared},
    record,
    staging::{admit, path_that_can_be_told, stage},
    version::{TESTED, Version},
    warm,
};
use crate::{
    backend::{
        carried::{self, CarriedError},
        relay::Switchboard,
        room::{Room, RoomSpec},
        system::System,
    },
    beneath,
    dirs::Dirs,
    process::ProcessId,
    socket::AsyncLink,
    sys,
};
use bottle_spec::{
    machine_link::{MachineRoom, Purpose},
    plan::Image,
};
use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{fs::DirBuilderExt as _, fs::symlink, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{io::Interest, task::spawn_blocking, time::timeout};

/// Init connects when the machine is up, which smolvm has waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const END_PATIENCE: Duration = Duration::from_secs(10);
/// What smolvm puts below the directory of its cache, sockets among it.
const BELOW: usize = "/vms/0123456789abcdef/port-forward.sock".len();

/// What a machine is made of, besides its room.
#[derive(Debug, Clone, Copy)]
pub struct MachineSpec<'a> {
    pub room: RoomSpec<'a>,
    pub machine: &'a Machine,
    /// Where images are unpacked.
    pub images: &'a Path,
    /// The bottle's directory of sockets, with a short path.
    pub runtime: &'a Path,
}

/// Makes a machine and starts it. Whatever of it is there when this fails goes by [`Machine::remove`].
pub async fn create(spec: &MachineSpec<'_>) -> Result<Room, MachineError> {
    let image = check(spec)?;
    let room = &spec.room;
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (entry, doors) = (spec.machine.staging.join("entry"), spec.runtime.join("doors"));
    let staged = stage(room, ids, &entry)?;
    let smolvm = spec.machine.smolvm.clone();
    let features = blocking(move || smolvm.probe().map_err(MachineError::Probe)).await?;
    if features.version.is_newer_than_tested() {
        tracing::warn!(version = %features.version, tested = %TESTED, "smolvm is newer than any that was tested");
    }
    let order = Order::new(room, spec.machine, &image, (&entry, &doors), features.flags);
    for path in order.volumes.iter().map(|(host, ..)| host).chain([&image]) {
        path_that_can_be_told(path)?;
    }
    let sockets = carried::listen(&doors, room.doors).map_err(MachineError::Carried)?;
    let board = Switchboard::new(staged.token);
    let connected = board.expect(Purpose::Link);
    let serving = tokio::task::spawn_local(std::rc::Rc::clone(&board).serve(sockets.link));
    let making = Making { machine: spec.machine.clone(), order, staged, entry, sockets: doors };
    let opened = match blocking(move || making.start(features.version)).await {
        Ok(pid) => open(spec, pid, connected).await,
        Err(error) => Err(error),
    };
    match opened {
        Ok((pid, pidfd, machine)) => {
            let link = carried::relayed(board, machine).map_err(MachineError::Carried)?;
            Ok(Room { pid, pidfd, link, listeners: sockets.doors })
        }
        Err(error) => {
            serving.abort();
            Err(error)
        }
    }
}

/// All that a machine is started with, for a thread that may wait.
pub(super) struct Making {
    pub(super) machine: Machine,
    pub(super) order: Order,
    pub(super) staged: MachineRoom,
    pub(super) entry: PathBuf,
    /// What the keeper listens in.
    pub(super) sockets: PathBuf,
}

impl Making {
    /// Warm where that is wanted and can be had, else cold; gives the process that is the machine.
    fn start(&self, version: Version) -> Result<Option<i32>, MachineError> {
        if let Some(branch) = &self.machine.branch {
            match warm::start(self, branch, version) {
                Ok(pid) => return Ok(pid),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the bottle starts cold");
                    self.machine.end().map_err(MachineError::Remove)?;
                }
            }
        }
        state(&self.machine)?;
        admit(&self.staged, &self.entry)?;
        make(&self.machine, &self.order)?;
        start(&self.machine, Machine::start)?;
        self.machine.pid().map_err(MachineError::Start)
    }
}

/// Has smolvm write down the machine, and looks at what it wrote.
pub(super) fn make(machine: &Machine, order: &Order) -> Result<(), MachineError> {
    machine.create(order).map_err(MachineError::Make)?;
    record::verify(machine, order).map_err(MachineError::Record)
}

/// Waits until the room of a machine that was started is made.
async fn open(
    spec: &MachineSpec<'_>,
    pid: Option<i32>,
    connected: tokio::sync::oneshot::Receiver<UnixStream>,
) -> Result<(i32, OwnedFd, AsyncLink), MachineError> {
    let console = || spec.machine.console();
    let held = pid.and_then(|pid| Some((pid, carried::held(pid)?)));
    let (pid, pidfd) = held.ok_or_else(|| MachineError::Ended(console()))?;
    let ends = sys::watch(pidfd, Interest::READABLE).map_err(MachineError::Listen)?;
    let opening = carried::opened(connected, pid, spec.room.doors);
    let link = tokio::select! {
        opened = timeout(PATIENCE, opening) => match opened {
            Ok(Err(CarriedError::Nothing)) => Err(MachineError::Ended(console())),
            Ok(opened) => opened.map_err(MachineError::Carried),
            Err(_) => Err(MachineError::Silent(PATIENCE, console())),
        },
        _ = ends.readable() => Err(MachineError::Ended(console())),
    }?;
    Ok((pid, ends.into_inner(), link))
}

/// smolvm gives every machine the same time to come up, which a busy host may miss: one that did not gets a second try.
pub(super) fn start(machine: &Machine, how: impl Fn(&Machine) -> Result<(), SmolvmError>) -> Result<(), MachineError> {
    match how(machine) {
        Err(error @ SmolvmError::Boot(_)) => {
            tracing::warn!(%error, "the machine gets a second try");
            machine.end().map_err(MachineError::Remove)?;
            how(machine).map_err(MachineError::Start)
        }
        started => started.map_err(MachineError::Start),
    }
}

fn check(spec: &MachineSpec<'_>) -> Result<PathBuf, MachineError> {
    if rustix::process::geteuid().is_root() || spec.room.host_ids.is_some() {
        return Err(MachineError::Root);
    }
    if !spec.room.guards.is_empty() {
        return Err(MachineError::Guards);
    }
    let plan = spec.room.plan;
    match (&plan.image, &plan.image_id) {
        (Image::Dir(path), _) => Ok(path.clone()),
        (_, Some(id)) => unpacked(spec.images, id).ok_or_else(|| MachineError::ImageGone(id.clone())),
        _ => Err(MachineError::NoImage),
    }
}

#[cfg(feature = "registry")]
fn unpacked(images: &Path, id: &str) -> Option<PathBuf> {
    let held = crate::images::hold(images, id).ok()?;
    let root = crate::images::root(images, id)?;
    // As long as there is this keeper.
    tokio::task::spawn_local(async move {
        std::future::pending::<()>().await;
        drop(held);
    });
    Some(root)
}

#[cfg(not(feature = "registry"))]
fn unpacked(_: &Path, _: &str) -> Option<PathBuf> {
    None
}

/// The directory of the machine's state, by a path that is short enough for the sockets that smolvm puts there: its own
/// is a link in the directory of sockets.
fn state(machine: &Machine) -> Result<(), MachineError> {
    let path = &machine.state;
    fits(System::HERE, path)?;
    let disks = machine.staging.join("vm");
    beneath::remove_tree(&disks).map_err(MachineError::at(&disks))?;
    fs::DirBuilder::new().mode(0o700).recursive(true).create(&disks).map_err(MachineError::at(&disks))?;
    symlink(&disks, path).map_err(MachineError::at(path))
}

/// Whether smolvm's sockets can be below the directory of a state.
pub(super) fn fits(system: System, state: &Path) -> Result<(), MachineError> {
    let longest = state.join(system.cache()).as_os_str().len() + BELOW;
    if longest > system.longest_socket() {
        return Err(MachineError::Carried(CarriedError::Long(state.to_owned())));
    }
    Ok(())
}

/// smolvm is waited for by a thread of its own; the keeper's loop goes on.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MachineError> + Send + 'static,
) -> Result<T, MachineError> {
    spawn_blocking(work).await.map_err(|error| MachineError::Listen(io::Error::other(error)))?
}

impl Machine {
    /// Ends the process that is the machine, whether or not smolvm knows of it, and takes away all that it had; whether
    /// there was anything.
    pub fn remove(&self) -> Result<bool, MachineError> {
        let mut there = self.end().map_err(MachineError::Remove)?;
        if let Some(branch) = &self.branch {
            there |= branch.forget(&self.smolvm).map_err(MachineError::Remove)?;
        }
        there |= self.staging.symlink_metadata().is_ok();
        beneath::remove_tree(&self.staging).map_err(MachineError::Remove)?;
        Ok(there)
    }

    /// The process that is the machine, and nothing else; whether there was one.
    pub(super) fn end(&self) -> io::Result<bool> {
        let mut there = false;
        for process in running().filter(|it| self.is(it)) {
            there |= process.end()?;
        }
        Ok(there)
    }

    fn is(&self, running: &Running) -> bool {
        running.state == self.state || self.branch.as_ref().is_some_and(|branch| branch.is(running))
    }
}

/// A process that is a machine, with the directory of its state, and what it is called there.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) state: PathBuf,
    pub(super) id: String,
    process: ProcessId,
}

impl Running {
    pub(super) fn end(&self) -> io::Result<bool> {
        self.process.kill(END_PATIENCE)
    }

    /// What smolvm has of it.
    pub(super) fn directory(&self) -> PathBuf {
        self.state.join(System::HERE.cache()).join("vms").join(&self.id)
    }
}

/// All there are, by their command lines, `… _boot-vm STATE/…/vms/ID/…`: a machine is one process, which smolvm has let go
/// of.
pub(super) fn running() -> impl Iterator<Item = Running> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let below = format!("/{}/", System::HERE.cache());
    pids.filter_map(move |pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let path = line.split(|byte| *byte == 0).skip_while(|word| *word != b"_boot-vm").nth(1)?;
        let (state, rest) = std::str::from_utf8(path).ok()?.split_once(&below)?;
        let id = rest.strip_prefix("vms/")?.split('/').next()?.to_owned();
        Some(Running { state: state.into(), id, process: ProcessId::of(pid).ok()? })
    })
}

/// Machines of bottles that have their files in these directories, each with its bottle's name. Also such whose bottle
/// is gone.
pub fn machines(dirs: &Dirs) -> Vec<(String, ProcessId)> {
    let prepared = Prepared::of(dirs);
    let of = |it: &Running| match prepared.branch_name(it) {
        Some(name) => Some(name),
        None => Some(it.state.strip_prefix(&dirs.runtime).ok()?.parent()?.to_str()?.to_owned()),
    };
    running().filter_map(|it| Some((of(&it)?, it.process))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_refused_where_a_socket_of_smolvms_would_not_fit() {
        for (system, most) in [(System::Linux, 107), (System::Mac, 103)] {
            let below = format!("/{}{}", system.cache(), "x".repeat(BELOW));
            let state = |length: usize| PathBuf::from(format!("/{}", "s".repeat(length - 1)));
            let longest = most - below.len();
            assert!(fits(system, &state(longest)).is_ok(), "{system:?}");
            let error = fits(system, &state(longest + 1)).unwrap_err().to_string();
            assert!(error.contains("XDG_RUNTIME_DIR"), "{system:?}: {error}");
        }
    }
}
