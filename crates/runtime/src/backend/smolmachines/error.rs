//! What can go wrong with a machine: one variant for each operation, each saying what to do next.

use super::{
    record::RecordError,
    version::{FLOOR, Version},
};
use crate::backend::carried::CarriedError;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Of running smolvm.
#[derive(Debug, thiserror::Error)]
pub enum SmolvmError {
    #[error("there is no smolvm at {}; `pip install smolmachines` has it, and `bot-bottle doctor` says where it is looked for", .0.display())]
    Missing(PathBuf),
    #[error("smolvm at {} cannot be run; see that it is a program for this machine, and yours to run", .0.display())]
    Run(PathBuf, #[source] io::Error),
    #[error(
        "`smolvm {command}` did not end within {} s; try again when this host has less to do, and see what `bot-bottle \
         doctor` says",
        patience.as_secs()
    )]
    Late { command: String, patience: Duration },
    #[error("`smolvm --version` says {0:?}, which is no version; name another smolvm in BOT_BOTTLE_SMOLVM")]
    Version(String),
    #[error("smolvm {0} is too old: {FLOOR} or newer is needed; `pip install --upgrade smolmachines` has it")]
    Old(Version),
    #[error("smolvm {version} knows no {}; is it a build of its own? `pip install --upgrade smolmachines` has one that does", missing.join(", "))]
    Lacks { version: Version, missing: Vec<&'static str> },
    #[error(
        "this machine has no /dev/kvm that you may use; load the module kvm_intel or kvm_amd, and join the group `kvm`"
    )]
    NoKvm,
    #[error("a machine of this name is there already; `bot-bottle cleanup` takes away what a crash left")]
    Exists,
    #[error("the machine is not running; `bot-bottle stop` and then `resume` make another for the bottle")]
    NotRunning,
    #[error("smolvm knows no such machine; `bot-bottle cleanup` takes away what is left of the bottle")]
    NotFound,
    #[error(
        "this host's disk is full; `bot-bottle cleanup` takes away what ended bottles left, and images are in the cache: {0}"
    )]
    DiskFull(String),
    #[error(
        "the machine did not come up in the time that smolvm gives it; try again when this host has less to do, or give the \
         machine more memory; the end of its console:\n{0}"
    )]
    Boot(String),
    #[error(
        "the machine's process ended before it came up; `bot-bottle doctor` says what is missing, and its last words \
         were:\n{0}"
    )]
    Died(String),
    #[error(
        "`smolvm {command}` failed with {code}; `bot-bottle doctor` looks at smolvm and at this host; it said: {message}"
    )]
    Failed { command: String, code: i32, message: String },
}

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
    #[error("smolvm {0} cannot branch machines; `pip install --upgrade smolmachines` has one that does")]
    NoBranch(Version),
    #[error(
        "bottles run in branches of a prepared machine that has ended; `bot-bottle cleanup` after them makes room for another"
    )]
    Used,
    #[error("preparing a machine")]
    Prepare(#[source] Box<MachineError>),
    #[error("looking at smolvm")]
    Probe(#[source] SmolvmError),
    #[error("making the machine")]
    Make(#[source] SmolvmError),
    #[error("checking the machine")]
    Record(#[source] RecordError),
    #[error("starting the machine")]
    Start(#[source] SmolvmError),
    #[error(
        "the machine ended before its init said anything; try again, and see what `bot-bottle doctor` says of this host{}",
        console(.0)
    )]
    Ended(Option<String>),
    #[error(
        "the machine's init did not connect within {} s; try again when this host has less to do, or give the machine more \
         memory{}",
        .0.as_secs(),
        console(.1)
    )]
    Silent(Duration, Option<String>),
    #[error(transparent)]
    Carried(CarriedError),
    #[error("what is left of the machine cannot be taken away")]
    Remove(#[source] io::Error),
}

impl MachineError {
    /// Of what happened at a path.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> MachineError + use<> {
        let path = path.to_owned();
        move |source| MachineError::Stage { path, source }
    }
}

fn console(text: &Option<String>) -> String {
    text.as_ref().map(|text| format!("; the end of its console:\n{text}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::version::TESTED, *};

    /// Each says it in the imperative, before whatever smolvm or a machine said.
    #[test]
    fn every_error_says_what_to_do_next() {
        let said = || "of smolvm".to_owned();
        let command = || "machine start".to_owned();
        let version = TESTED;
        let io = || io::Error::from(io::ErrorKind::PermissionDenied);
        for (error, next) in [
            (SmolvmError::Missing("/x".into()), "`pip install smolmachines`"),
            (SmolvmError::Run("/x".into(), io()), "see that it is a program for this machine"),
            (
                SmolvmError::Late { command: command(), patience: Duration::from_secs(60) },
                "try again when this host has less to do",
            ),
            (SmolvmError::Version(said()), "BOT_BOTTLE_SMOLVM"),
            (SmolvmError::Old(version), "`pip install --upgrade smolmachines`"),
            (SmolvmError::Lacks { version, missing: vec!["--x"] }, "`pip install --upgrade smolmachines`"),
            (SmolvmError::NoKvm, "join the group `kvm`"),
            (SmolvmError::Exists, "`bot-bottle cleanup`"),
            (SmolvmError::NotRunning, "`bot-bottle stop` and then `resume`"),
            (SmolvmError::NotFound, "`bot-bottle cleanup`"),
            (SmolvmError::DiskFull(said()), "`bot-bottle cleanup`"),
            (SmolvmError::Boot(said()), "give the machine more memory"),
            (SmolvmError::Died(said()), "`bot-bottle doctor`"),
            (SmolvmError::Failed { command: command(), code: 1, message: said() }, "`bot-bottle doctor`"),
        ] {
            let text = error.to_string();
            let (at, theirs) = (text.find(next), text.find("of smolvm").unwrap_or(text.len()));
            assert!(at.is_some_and(|at| at < theirs || matches!(error, SmolvmError::Version(_))), "{text}");
        }
        let console = || Some("a kernel".to_owned());
        for (error, next) in [
            (MachineError::Ended(console()), "see what `bot-bottle doctor` says"),
            (MachineError::Silent(Duration::from_secs(30), console()), "give the machine more memory"),
        ] {
            let text = error.to_string();
            assert!(text.find(next) < text.find("; the end of its console:\na kernel"), "{text}");
            assert!(text.contains(next), "{text}");
        }
    }
}
