//! A machine as data: what smolvm is told to make, and where all of it is. Pure.

use super::{cli::Smolvm, version::Flags};
use crate::{backend::room::RoomSpec, dirs::Dirs};
use bottle_spec::machine_link;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The name that a machine has in its own state, where there is no other.
const NAME: &str = "bottle";
/// Whose bottle it is, for whoever looks at it with smolvm.
pub(super) const SLUG: &str = "bot-bottle.slug";
/// Where a plan says nothing of it. Memory is taken as it is used.
const MEMORY_MIB: u64 = 4096;
const LEAST_MEMORY_MIB: u64 = 256;
const CPUS: u32 = 2;

/// The machine of a bottle, as the journal names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub smolvm: Smolvm,
    /// A directory of this machine's alone: what smolvm knows of it, its disks and its logs. A link, for the sockets in
    /// it need a short path.
    pub state: PathBuf,
    /// Where that leads, among what else makes the room.
    pub staging: PathBuf,
    pub name: String,
    /// Where its bottle is to start warm: the branch that it may be in the place of all that.
    #[serde(default)]
    pub branch: Option<Branch>,
}

/// A machine that was branched from a prepared one, in the state of which smolvm knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    pub prepared: Prepared,
    /// The bottle's: in the state of a prepared machine are as many as were branched from it.
    pub name: String,
}

/// Where prepared machines are, each by the name of what makes it different from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// A directory for each: smolvm's state, the disks, and the places that a branch sees its bottle's directories in.
    pub directory: PathBuf,
    /// The same by short paths, a link each.
    pub links: PathBuf,
}

impl Prepared {
    pub fn of(dirs: &Dirs) -> Prepared {
        Prepared { directory: dirs.prepared(), links: dirs.runtime.join("warm") }
    }
}

impl Machine {
    /// `runtime` is the bottle's directory of sockets, `staging` that for what makes its room.
    pub fn of(smolvm: &Smolvm, runtime: &Path, staging: &Path) -> Machine {
        Machine {
            smolvm: smolvm.clone(),
            state: runtime.join("vm"),
            staging: staging.to_owned(),
            name: NAME.to_owned(),
            branch: None,
        }
    }

    /// Where smolvm keeps what it has of a machine with this name, below the directory of its cache.
    pub(super) fn id(name: &str) -> String {
        Sha256::digest(name).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What is told to `machine create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) name: String,
    pub(super) image: PathBuf,
    pub(super) cpus: u32,
    pub(super) memory_mib: u64,
    /// On the host, in the machine, and whether it may be written to.
    pub(super) volumes: Vec<(PathBuf, String, bool)>,
    pub(super) sockets: Vec<(PathBuf, String)>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) command: Vec<String>,
    /// What this smolvm knows besides; labels are empty where it knows none.
    pub(super) flags: Flags,
}

impl Order {
    /// `entry` is on the host what the porter finds as [`machine_link::ENTRY`], `sockets` what the keeper listens in.
    pub(super) fn new(
        room: &RoomSpec<'_>,
        machine: &Machine,
        image: &Path,
        (entry, sockets): (&Path, &Path),
        flags: Flags,
    ) -> Order {
        let mut volumes = vec![
            (entry.to_owned(), machine_link::ENTRY.to_owned(), false),
            (room.home.to_owned(), machine_link::HOME.to_owned(), true),
        ];
        if let Some(workspace) = room.workspace {
            volumes.push((workspace.to_owned(), machine_link::WORKSPACE.to_owned(), true));
        }
        volumes
            .extend(mounted(room).map(|(index, source)| (source, format!("{}/{index}", machine_link::MOUNTS), false)));
        let names = machine_link::sockets(room.doors).into_keys().chain([machine_link::LINK.to_owned()]);
        let limits = room.plan.limits;
        Order {
            name: machine.name.clone(),
            image: image.to_owned(),
            cpus: limits.cpu_millis.map_or(CPUS, |millis| millis.div_ceil(1000).max(1)),
            memory_mib: limits.memory.map_or(MEMORY_MIB, |bytes| (bytes >> 20).max(LEAST_MEMORY_MIB)),
            volumes,
            sockets: names.map(|name| (sockets.join(&name), format!("{}/{name}", machine_link::SOCKETS))).collect(),
            labels: flags.label.then(|| (SLUG.to_owned(), room.slug.to_string())).into_iter().collect(),
            command: vec![
                format!("{}/{}", machine_link::ENTRY, machine_link::PROGRAM),
                machine_link::PORTER.to_owned(),
            ],
            flags,
        }
    }
}

/// The plan's own mounts, by number. Of files smolvm knows nothing; those are put into the entry's directory.
pub(super) fn mounted(room: &RoomSpec<'_>) -> impl Iterator<Item = (usize, PathBuf)> {
    room.plan
        .mounts
        .iter()
        .enumerate()
        .filter(|(_, mount)| mount.source.is_dir())
        .map(|(index, mount)| (index, mount.source.clone()))
}
