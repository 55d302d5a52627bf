//! What can go wrong with a machine: one variant for each operation, each saying what to do next.

use super::{cli::SmolvmError, record::RecordError};
use crate::backend::carried::CarriedError;
use std::{io, path::PathBuf, time::Duration};

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("the plan names no image that a machine can be made of; `image: dir:PATH` is one")]
    NoImage,
    #[error(
        "the image {0} is no longer unpacked here; `bot-bottle cleanup` removes the bottle, and a new one unpacks it again"
    )]
    ImageGone(String),
    #[error("mount target {} is not inside the bottle's root or is one of its own places; choose another", .0.display())]
    MountTarget(PathBuf),
    #[error("what this host would run cannot be guarded in a machine; use `--workspace clone` or `copy`")]
    Guards,
    #[error(
        "root has no machine of its own kind yet: the process that is the machine gets no right of root's, and could not \
         reach the bottle's files; start the bottle as an ordinary user who may use /dev/kvm"
    )]
    Root,
    #[error("{} holds a character that smolvm takes for the end of a path", .0.display())]
    Path(PathBuf),
    #[error("{} cannot be written for the machine", path.display())]
    Stage {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} of the bottle leads nowhere", .0.display())]
    Link(PathBuf),
    #[error("listening for the machine")]
    Listen(#[source] io::Error),
    #[error("looking at smolvm")]
    Probe(#[source] SmolvmError),
    #[error("making the machine")]
    Make(#[source] SmolvmError),
    #[error("checking the machine")]
    Record(#[source] RecordError),
    #[error("starting the machine")]
    Start(#[source] SmolvmError),
    #[error("the machine ended before its init said anything{}", console(.0))]
    Ended(Option<String>),
    #[error("the machine's init did not connect within {} s{}", .0.as_secs(), console(.1))]
    Silent(Duration, Option<String>),
    #[error(transparent)]
    Carried(CarriedError),
    #[error("what is left of the machine cannot be taken away")]
    Remove(#[source] io::Error),
}

fn console(text: &Option<String>) -> String {
    text.as_ref().map(|text| format!("; the end of its console:\n{text}")).unwrap_or_default()
}
