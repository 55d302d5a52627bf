//! A warm start: the machine is a branch of one that was prepared, with its kernel up and a porter that waits.
//!
//! A prepared machine is made for no bottle: its directories are empty, its sockets lead nowhere, and its porter waits for
//! a room that never comes. It stands still. A branch has its memory, and by its record its paths: so the process that is
//! the branch starts where those paths lead to one bottle's own directories and sockets ([`Launcher`]). smolvm gives it a
//! name, an id and random numbers of its own. Its record is read back like any other, and then its porter gets the room.
//!
//! Invariant: nothing of a bottle is in a prepared machine's memory, its directories or its record; what a branch sees of
//! this host is its own bottle's.

use super::{
    cli::Launcher,
    error::MachineError,
    machine::{Branch, Machine, Order, Prepared},
    prepared::SOURCE,
    record,
    room::{Making, fits, make, start as start_machine},
    staging::admit,
    version::Version,
};
use crate::backend::system::System;
use bottle_spec::machine_link::{ENTRY, PARKED, PROGRAM};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink},
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// One that nobody used for as long goes when another is prepared.
const UNUSED: Duration = Duration::from_secs(24 * 60 * 60);
/// In its directory, where a branch sees the bottle's sockets.
const SOCKETS: &str = "sockets";

/// Makes the machine of a bottle as a branch; gives the process that is it.
pub(super) fn start(making: &Making, branch: &Branch, version: Version) -> Result<Option<i32>, MachineError> {
    if !making.machine.smolvm.branches().map_err(MachineError::Probe)? {
        return Err(MachineError::NoBranch(version));
    }
    let _lock = branch.prepared.lock()?;
    let init = making.entry.join(PROGRAM);
    let init = fs::read(&init).map_err(MachineError::at(&init))?;
    let source = Source::of(&branch.prepared, making, key(&making.order, version, &init)?);
    source.ready(&init).map_err(|error| MachineError::Prepare(Box::new(error)))?;
    source.branch(making, &branch.name)
}

/// What two bottles must have in common to be branches of one machine.
fn key(order: &Order, version: Version, init: &[u8]) -> Result<String, MachineError> {
    let image = fs::metadata(&order.image).map_err(MachineError::at(&order.image))?;
    // An image that was unpacked anew is another directory at the same path.
    let image = (&order.image, image.dev(), image.ino());
    let volumes: Vec<_> = order.volumes.iter().map(|(_, inside, writable)| (inside, writable)).collect();
    let sockets: Vec<_> = order.sockets.iter().map(|(_, inside)| inside).collect();
    let all = format!("{version} {image:?} {} {} {volumes:?} {sockets:?}", order.cpus, order.memory_mib);
    let digest = Sha256::new().chain_update(all).chain_update(init).finalize();
    Ok(digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

/// A prepared machine.
struct Source<'a> {
    prepared: &'a Prepared,
    key: String,
    machine: Machine,
    order: Order,
}

impl Source<'_> {
    fn of<'a>(prepared: &'a Prepared, making: &Making, key: String) -> Source<'a> {
        let machine = prepared.machine(&making.machine.smolvm, &key, SOURCE);
        let volumes = making.order.volumes.iter();
        let volumes = volumes.map(|(_, inside, writable)| (place(&machine, inside), inside.clone(), *writable));
        // By the short path.
        let sockets = making.order.sockets.iter().filter_map(|(host, inside)| {
            let host = machine.state.join(SOCKETS).join(host.file_name()?);
            Some((host, inside.clone()))
        });
        let order = Order {
            name: SOURCE.to_owned(),
            volumes: volumes.collect(),
            sockets: sockets.collect(),
            labels: BTreeMap::new(),
            command: vec![format!("{ENTRY}/{PROGRAM}"), PARKED.to_owned()],
            ..making.order.clone()
        };
        Source { prepared, key, machine, order }
    }

    /// Sees to it that it is there.
    fn ready(&self, init: &[u8]) -> Result<(), MachineError> {
        let (own, branches) = self.prepared.running(&self.key);
        if own.len() == 1 && record::verify(&self.machine, &self.order).is_ok() {
            return Ok(());
        }
        if !branches.is_empty() {
            return Err(MachineError::Used);
        }
        let long_ago = |used: SystemTime| SystemTime::now().duration_since(used).is_ok_and(|since| since > UNUSED);
        self.prepared.sweep(|used| used.is_none_or(long_ago)).map_err(MachineError::Remove)?;
        self.prepared.remove(&self.key).map_err(MachineError::Remove)?;
        let made = self.prepare(init);
        if made.is_err() {
            // What stays goes the next time.
            let _ = self.prepared.remove(&self.key);
        }
        made
    }

    fn prepare(&self, init: &[u8]) -> Result<(), MachineError> {
        let Machine { state, staging, .. } = &self.machine;
        fits(System::HERE, state)?;
        for directory in self.order.volumes.iter().map(|(host, ..)| host).chain([&staging.join(SOCKETS)]) {
            DirBuilder::new().mode(0o700).recursive(true).create(directory).map_err(MachineError::at(directory))?;
        }
        let program = place(&self.machine, ENTRY).join(PROGRAM);
        let written = File::options().write(true).create_new(true).mode(0o755).open(&program);
        written.and_then(|mut file| file.write_all(init)).map_err(MachineError::at(&program))?;
        symlink(staging, state).map_err(MachineError::at(state))?;
        make(&self.machine, &self.order)?;
        start_machine(&self.machine, Machine::start_branchable)
    }

    /// The bottle's machine, where this one was.
    fn branch(&self, making: &Making, name: &str) -> Result<Option<i32>, MachineError> {
        let machine = Machine { name: name.to_owned(), ..self.machine.clone() };
        let order = Order { name: name.to_owned(), labels: making.order.labels.clone(), ..self.order.clone() };
        let seen = making.order.volumes.iter().zip(&self.order.volumes);
        let places = seen.map(|((source, ..), (place, ..))| (source.clone(), place.clone()));
        let sockets = (making.sockets.clone(), machine.staging.join(SOCKETS));
        let launcher = Launcher { program: &making.entry.join(PROGRAM), places: places.chain([sockets]).collect() };
        machine.branch_from(SOURCE, &order.labels, &launcher).map_err(MachineError::Start)?;
        // By this it is found when it is to end.
        if !self.prepared.running(&self.key).1.iter().any(|it| it.id == Machine::id(name)) {
            machine.delete().map_err(MachineError::Start)?;
            return Err(MachineError::Ended(machine.console()));
        }
        record::verify_branch(&machine, &order, SOURCE).map_err(MachineError::Record)?;
        // When it was last used.
        let _ = File::open(&machine.staging).and_then(|directory| directory.set_modified(SystemTime::now()));
        admit(&making.staged, &making.entry)?;
        machine.pid().map_err(MachineError::Start)
    }
}

/// In a prepared machine's directory, where a branch sees what it finds there.
fn place(machine: &Machine, inside: &str) -> PathBuf {
    machine.staging.join(inside.trim_start_matches('/'))
}
