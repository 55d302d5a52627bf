//! The keeper: the host process that owns one bottle's life.
//!
//! One thread, one event loop. Tasks: the launch link's session, one per client of `control.sock`, the agent's
//! terminal, the gate's attendant, init's reader and writer, one per published port. Channels: stops (many to the main
//! loop), `ended` and `code` (the main loop to all), orders to init, chunks of a terminal to each viewer.
//!
//! Invariants: nothing of a bottle exists before its journal says so; the lock is held as long as the keeper lives;
//! the keeper parses nothing that the agent wrote; secrets are in its memory, which cannot be dumped, and nowhere else.

mod bottle;
mod control;
mod decoys;
mod egress_gate;
mod filling;
mod freeze;
mod gate;
mod git_gate;
mod house;
mod init;
mod kept;
mod making;
mod notices;
pub mod output;
mod ports;
mod queue;
mod renewal;
mod running;
mod session;
mod supervise;
mod teardown;
mod terminal;

pub(crate) use making::remove_state;
pub use renewal::{Fresh, Refresh};

use crate::{
    journal::JournalError,
    launch::{Cause, LaunchError, launch},
    protocol::{FailureKind, LaunchEvent, LaunchFailure, LaunchRequest, Lifetime, Origin},
    socket::{AsyncLink, SocketError},
    store::{BottleDir, Lock, Metadata, State, StoreError},
    sys,
    workspace::clone,
};
use bottle::{Bottle, Ended};
use bottle_spec::{
    gate_link::{AuditKey, Authority, Decoy},
    git::{Approval, PushRules},
    plan::{Plan, Workspace},
    secret::Secret,
    slug::Slug,
};
use house::House;
use making::{Making, StepError};
use running::{Made, Running};
use rustix::process::{Resource, Rlimit, setrlimit, setsid};
use session::Left;
use std::{
    error::Error,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{LocalSet, spawn_local},
    time::sleep,
};

/// How long the agent has to end when its keeper is told to.
const GRACE: u32 = 5;
/// How long clients have to hear of the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// A bottle that runs for so long runs on.
const SETTLED: Duration = Duration::from_secs(1);
/// The agent's exit code where it was ended with its bottle.
const KILLED: u8 = 137;

/// What the keeper needs of the crates that it must not import.
pub struct KeeperParts {
    /// The static executable that becomes PID 1 of the room.
    pub init_image: &'static [u8],
    /// The gate is `program gate`.
    pub program: PathBuf,
    pub authority: fn(&Slug) -> Result<Authority, String>,
    /// A key for a run's audit log, vouched for by the user's.
    pub certify: fn(&Secret, &Slug) -> Result<AuditKey, String>,
    /// False credentials for a new home.
    pub decoys: fn() -> Result<Vec<Decoy>, String>,
    /// May block; runs on a thread of its own.
    pub refresh: Refresh,
}

impl std::fmt::Debug for KeeperParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeeperParts").field("program", &self.program).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("the keeper cannot set itself up")]
    Setup(#[source] io::Error),
    #[error("the launch request did not come")]
    Request(#[source] SocketError),
    #[error("the bottle's directory cannot be had")]
    Store(#[source] StoreError),
    #[error("the journal failed")]
    Journal(#[source] JournalError),
    #[error("the launch failed")]
    Launch(#[source] LaunchError<StepError>),
    #[error("the bottle could not be taken down whole; `bot-bottle cleanup` tries again")]
    Teardown(#[source] StepError),
}

/// Runs a bottle from the request on `link` to its end. What goes wrong is told over the link, too.
pub fn run(link: UnixStream, parts: &KeeperParts) -> Result<(), KeeperError> {
    // Fails only for a leader of a process group, which the cli does not make us.
    let _ = setsid();
    let umask = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO).bits();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|error| KeeperError::Setup(error.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(KeeperError::Setup)?;
    let result = LocalSet::new().block_on(&runtime, keep(link, parts, umask));
    // A secret's command may still run; nobody waits for it.
    runtime.shutdown_background();
    result
}

/// `umask` is the user's.
async fn keep(link: UnixStream, parts: &KeeperParts, umask: u32) -> Result<(), KeeperError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(KeeperError::Setup)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(KeeperError::Setup)?;
    let mut link = AsyncLink::new(link).map_err(KeeperError::Setup)?;
    let mut request: LaunchRequest = link.receive().await.map_err(KeeperError::Request)?;
    let pipes: Vec<OwnedFd> = std::iter::from_fn(|| link.descriptor()).collect();
    let housed = match House::open(&request) {
        Ok(house) => house,
        Err(error) => {
            tell_failure(&link, &error, Vec::new()).await;
            return Err(error);
        }
    };
    let House { bottle, lock, mut metadata, mut journal } = housed;
    grant(&mut request.plan, &bottle.slug);
    let _ = link.sender().send(&LaunchEvent::Named { slug: bottle.slug.clone() }, &[]).await;
    let mut making = Making::new(parts, &request, &bottle, &mut metadata, &link, pipes);
    making.umask = umask;
    if let Err(error) = launch(&mut making, &mut journal).await {
        drop(making);
        return Err(give_up(error, &link, &request, &bottle, &mut metadata, lock).await);
    }
    let made = match Made::take(making) {
        Ok(made) => made,
        Err(error) => {
            tell_failure(&link, &error, Vec::new()).await;
            return Err(error);
        }
    };
    metadata.state = State::Running;
    bottle.write_metadata(&metadata).map_err(KeeperError::Store)?;
    let _ = link.sender().send(&LaunchEvent::Ready, &[]).await;

    let (ended, hear_ended) = watch::channel(None);
    let (code, hear_code) = watch::channel(None);
    let (stops, mut stopped) = mpsc::channel(1);
    let running = Running::start(made, &request, parts, &bottle, stops, hear_ended, hear_code, &journal);
    let Running { remains, shared, mut exit, clients } = running.map_err(KeeperError::Setup)?;
    let client = spawn_local(at_launch_link(link, Rc::clone(&shared), request.lifetime));
    let resting = spawn_local(rest());

    let wall = async {
        match request.wall_seconds {
            Some(seconds) => sleep(Duration::from_secs(seconds.into())).await,
            None => std::future::pending().await,
        }
    };
    let grace = tokio::select! {
        _ = exit.wait_for(Option::is_some) => 0,
        grace = stopped.recv() => grace.unwrap_or(0),
        _ = terminate.recv() => GRACE,
        _ = interrupt.recv() => GRACE,
        () = wall => GRACE,
    };
    resting.abort();
    let (result, exit_code) = teardown::run(remains, exit, grace, &mut journal).await;
    let result = result.and_then(|()| {
        metadata.state = State::Stopped;
        metadata.exit_code = exit_code;
        teardown::settle(&bottle, &metadata, &request, &mut journal)
    });
    // Only now may others take the bottle; those who are told of its end find it so.
    drop(lock);
    let last = exit_code.unwrap_or(KILLED);
    let left = result.as_ref().err().map(|error| chain(error)).unwrap_or_default();
    let _ = (code.send(Some(last)), ended.send(Some(Ended { code: last, left })));
    let _ = tokio::time::timeout(FAREWELL, async { tokio::join!(client, clients) }).await;
    result.map_err(KeeperError::Teardown)
}

/// A keeper mostly waits, for which it needs little of the code that a launch took.
async fn rest() {
    sleep(SETTLED).await;
    if let Err(error) = sys::let_go_of_code() {
        tracing::warn!(%error, "the code of the launch stays in memory");
    }
}

/// A bottle may push to its own branches of the repository that it has a clone of. Only now has it a name.
fn grant(plan: &mut Plan, slug: &Slug) {
    if !matches!(plan.workspace, Workspace::Clone { .. }) {
        return;
    }
    // Its own alone, so rewriting them harms nobody.
    let refs = format!("{}*", clone::namespace(slug)).parse().into_iter().collect();
    let rules = PushRules { refs, approval: Approval::Allow, delete: false, force: true, exempt: Vec::new() };
    for repository in plan.git.iter_mut().filter(|repository| repository.name == Workspace::REPOSITORY) {
        repository.push = Some(rules.clone());
    }
}

/// The launcher's own session. When it goes away without detaching, a foreground bottle goes with it.
async fn at_launch_link(link: AsyncLink, bottle: Rc<Bottle>, lifetime: Lifetime) {
    if lifetime == Lifetime::Detached {
        return;
    }
    let seat = bottle.seat();
    if session::serve(link, seat).await == Left::Closed {
        bottle.stop(1);
    }
}

/// The undo of [`Step::State`], and the launcher's answer.
async fn give_up(
    error: LaunchError<StepError>,
    link: &AsyncLink,
    request: &LaunchRequest,
    bottle: &BottleDir,
    metadata: &mut Metadata,
    lock: Lock,
) -> KeeperError {
    let mut left_behind: Vec<String> =
        error.left_behind.iter().map(|(step, error)| format!("{step}: {}", chain(error).join(": "))).collect();
    // A bottle that was there before goes back to where it was; of a new one nothing stays, unless something does.
    if matches!(request.origin, Origin::Resume { .. }) {
        metadata.state = State::Stopped;
        left_behind.extend(bottle.write_metadata(metadata).err().map(|error| chain(&error).join(": ")));
    } else if left_behind.is_empty() {
        let removed = remove_state(bottle, &request.dirs.state, metadata.host_id);
        left_behind.extend(removed.err().map(|error| chain(&error).join(": ")));
    }
    drop(lock);
    let error = KeeperError::Launch(error);
    tell_failure(link, &error, left_behind).await;
    error
}

async fn tell_failure(link: &AsyncLink, error: &KeeperError, left_behind: Vec<String>) {
    let kind = match error {
        KeeperError::Launch(LaunchError { cause: Cause::Host(error), .. }) => error.kind(),
        KeeperError::Store(
            StoreError::NameTaken(_) | StoreError::Unknown(_) | StoreError::Running(_) | StoreError::NoFreeName,
        ) => FailureKind::Usage,
        _ => FailureKind::Host,
    };
    let causes = match error {
        // The outermost says no more than that there was a launch.
        KeeperError::Launch(LaunchError { cause: Cause::Host(error), .. }) => chain(error),
        KeeperError::Store(error) => chain(error),
        other => chain(other),
    };
    let _ = link.sender().send(&LaunchEvent::Failed(LaunchFailure { kind, causes, left_behind }), &[]).await;
}

pub(crate) fn chain(error: &dyn Error) -> Vec<String> {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        causes.push(error.to_string());
        source = error.source();
    }
    causes
}
