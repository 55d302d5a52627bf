//! Where a bottle's life begins and is written down: its directory, locked, with a journal.
//!
//! Invariant: the keeper is in the journal before anything else of the bottle is made.

use super::KeeperError;
use crate::{
    journal::{Journal, Step, Thing},
    process::ProcessId,
    protocol::{LaunchRequest, Origin},
    store::{BottleDir, Lock, Metadata, State, Store},
};
use std::{
    fs::File,
    io,
    os::unix::fs::OpenOptionsExt as _,
    time::{SystemTime, UNIX_EPOCH},
};

/// A bottle's directory, locked, with its journal begun.
pub(super) struct House {
    pub(super) bottle: BottleDir,
    pub(super) lock: Lock,
    pub(super) metadata: Metadata,
    pub(super) journal: Journal,
}

impl House {
    pub(super) fn open(request: &LaunchRequest) -> Result<House, KeeperError> {
        let store = Store::open(request.dirs.clone()).map_err(KeeperError::Store)?;
        let keeper = ProcessId::own().map_err(KeeperError::Setup)?;
        let (bottle, lock, before) = match &request.origin {
            Origin::New { name } => {
                let (bottle, lock) = store.create(&request.plan.agent, name.as_ref()).map_err(KeeperError::Store)?;
                (bottle, lock, None)
            }
            Origin::Resume { slug } => {
                let (bottle, lock) = store.take(slug).map_err(KeeperError::Store)?;
                let before = bottle.metadata().map_err(KeeperError::Store)?;
                (bottle, lock, Some(before))
            }
        };
        let mut journal = Journal::open(&bottle.journal(), request.hold_at.clone()).map_err(KeeperError::Journal)?;
        let own = Thing::Process { role: "keeper".to_owned(), id: keeper };
        journal.make(Step::State, vec![own.clone()]).map_err(KeeperError::Journal)?;
        log_to(&bottle).map_err(KeeperError::Setup)?;
        let metadata = Metadata {
            slug: bottle.slug.clone(),
            agent: request.plan.agent.clone(),
            bottle: request.plan.bottle.clone(),
            backend: request.plan.backend,
            created: before.as_ref().map_or_else(now, |before| before.created),
            state: State::Creating,
            keeper,
            ephemeral: request.ephemeral,
            wall_seconds: request.wall_seconds,
            host_id: before.and_then(|before| before.host_id),
            exit_code: None,
            ports: request.plan.ports.clone(),
        };
        bottle.write_metadata(&metadata).map_err(KeeperError::Store)?;
        bottle.write_plan(&request.plan).map_err(KeeperError::Store)?;
        journal.done(Step::State, vec![own]).map_err(KeeperError::Journal)?;
        Ok(House { bottle, lock, metadata, journal })
    }
}

/// Last words (a panic's, too) go to the bottle's own log.
fn log_to(bottle: &BottleDir) -> io::Result<()> {
    let log = File::options().create(true).append(true).mode(0o600).open(bottle.keeper_log())?;
    Ok(rustix::stdio::dup2_stderr(&log)?)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
