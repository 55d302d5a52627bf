//! The normal end of a bottle: its processes, its gate, then what lay around.
//!
//! Each part is tried even where one before it failed; the first error is the one reported.

use super::{
    egress_gate::KeptGate,
    filling::Filling,
    git_gate::KeptGitGate,
    making::{MadeRoom, StepError, end_room, remove_container, remove_machine, remove_state},
    notices::KeptNotices,
    supervise::KeptSuperviseGate,
};
use crate::{
    away,
    backend::smolmachines::Machine,
    beneath, cgroup, guard,
    journal::{Container, Journal, Step},
    protocol::LaunchRequest,
    store::{BottleDir, Metadata},
    workspace::fill::Order,
};
use std::{path::PathBuf, time::Duration};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// Seconds for the gate to write down what it was doing. Nobody is left inside to do anything with it.
const DRAIN: u32 = 2;

/// What there is to take down.
pub(crate) struct Remains {
    pub(crate) room: MadeRoom,
    pub(crate) gate: KeptGate,
    pub(crate) git: Option<KeptGitGate>,
    pub(crate) supervise: Option<KeptSuperviseGate>,
    pub(crate) notices: KeptNotices,
    pub(crate) ports: Vec<JoinHandle<std::io::Result<()>>>,
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) container: Option<Contained>,
    pub(crate) machine: Option<Machine>,
    /// Whoever follows the sentinels does so until this goes.
    pub(crate) sentinels: oneshot::Sender<()>,
    pub(crate) runtime: PathBuf,
}

/// A container, and what its end takes.
pub(crate) struct Contained {
    pub(crate) container: Container,
    pub(crate) bottle: BottleDir,
    pub(crate) program: PathBuf,
    /// Whether what was sent is to come back.
    pub(crate) comes_back: bool,
}

impl Contained {
    /// What does not come back stays where it is, with the container.
    async fn end(self) -> Result<(), StepError> {
        let Contained { container, bottle, program, comes_back } = self;
        if let Some(coming) = away::noted(&bottle).map_err(StepError::Store)? {
            if comes_back {
                let fetched = match Filling::start(&program, &Order::Fetch(coming)).await {
                    Ok(fetching) => fetching.done().await,
                    Err(error) => Err(error),
                };
                let (engine, slug) = (container.engine.clone(), bottle.slug.clone());
                fetched.map_err(|source| StepError::Fetch { engine, slug, source })?;
            }
            away::forget(&bottle).map_err(StepError::Store)?;
        }
        remove_container(Some(container), &bottle.room()).await
    }
}

/// Takes it down, and tells the agent's exit code, where it has one.
pub(crate) async fn run(
    remains: Remains,
    mut exit: watch::Receiver<Option<u8>>,
    grace: u32,
    journal: &mut Journal,
) -> (Result<(), StepError>, Option<u8>) {
    let Remains { room, gate, git, supervise, notices, ports, cgroup, container, machine, sentinels, runtime } =
        remains;
    drop(sentinels);
    notices.end().await;
    for port in ports {
        port.abort();
    }
    // What cannot be written to a full disk any more is found by `cleanup` in the entries before.
    let _ = journal.make(Step::End, Vec::new());
    if grace > 0 {
        room.init.stop(grace);
        let agent = exit.wait_for(Option::is_some);
        let _ = timeout(Duration::from_secs(u64::from(grace) + 1), agent).await;
    }
    let code = *exit.borrow_and_update();
    let ended = end_room(&room.pidfd);
    drop(room);
    let _ = journal.done(Step::End, Vec::new());
    let _ = journal.make(Step::Drain, Vec::new());
    // First, for what it does is written down by the other.
    let git = match git {
        Some(git) => git.end().await.map_err(StepError::Gate),
        None => Ok(()),
    };
    let supervise = match supervise {
        Some(supervise) => supervise.end().await.map_err(StepError::Gate),
        None => Ok(()),
    };
    let git = git.and(supervise);
    let drained = gate.drain(DRAIN).await.map_err(StepError::Gate).and(git);
    let _ = journal.done(Step::Drain, Vec::new());
    let _ = journal.make(Step::Remove, Vec::new());
    let cgroup =
        cgroup.map_or(Ok(()), |path| cgroup::remove(&path).map_err(|source| StepError::Remove { path, source }));
    let container = match container {
        Some(contained) => contained.end().await,
        None => Ok(()),
    };
    let container = container.and(remove_machine(machine));
    let runtime = beneath::remove_tree(&runtime).map_err(|source| StepError::Remove { path: runtime, source });
    let _ = journal.done(Step::Remove, Vec::new());
    (ended.and(drained).and(cgroup).and(container).and(runtime), code)
}

/// What stays of a bottle that has ended in good order: nothing, or its state for `resume`.
pub(crate) fn settle(
    bottle: &BottleDir,
    metadata: &Metadata,
    request: &LaunchRequest,
    journal: &mut Journal,
) -> Result<(), StepError> {
    // Before its record goes with the state.
    guard::lift(bottle).map_err(StepError::Guard)?;
    if request.ephemeral {
        return remove_state(bottle, &request.dirs.state, metadata.host_id);
    }
    bottle.write_metadata(metadata).map_err(StepError::Store)?;
    for step in [Step::Runtime, Step::Cgroup, Step::Gate, Step::Room, Step::State] {
        let _ = journal.undone(step);
    }
    Ok(())
}
