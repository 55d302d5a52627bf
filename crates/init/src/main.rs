//! PID 1 of a bottle. Confines itself, proves from inside that the room is tight, then runs programs as the keeper
//! asks and reaps what they leave. In a bottle that is a machine of its own it is the process beside that as well
//! ([`machine`]), and where no socket leads out of a container, threads of PID 1 do that one's work.
//!
//! Invariants: the agent's whole confinement is on this process before it starts any other, so every process of the
//! bottle has it; orders come from the keeper's socket alone; when that closes this process ends, and with PID 1 ends
//! every process of the bottle. One thread of its own, no name lookups, no files but those the keeper's messages name.

mod confine;
mod doors;
mod filter;
mod leader;
mod link;
mod machine;
mod probe;
mod reap;
mod serve;
mod spawn;
mod still;
mod sys;
mod syscalls;
mod within;

use bottle_spec::{
    init_link::{InitToKeeper, KeeperToInit},
    machine_link,
};
use link::{Link, LinkError};
use std::{error::Error, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let argument = std::env::args_os().nth(1);
    if argument.as_deref() == Some(machine_link::PORTER.as_ref()) {
        return machine::run();
    }
    if argument.as_deref() == Some(machine_link::PARKED.as_ref()) {
        return machine::run_parked();
    }
    if argument.as_deref() == Some(machine_link::STREAM.as_ref()) {
        return machine::run_stream();
    }
    if argument.as_deref() == Some(machine_link::WITHIN.as_ref()) {
        return within::run();
    }
    // Whoever could not start this process with the link says where it is.
    let link = match argument {
        Some(path) => Link::connect(Path::new(&path)),
        None => Link::adopt(),
    };
    let Ok(mut link) = link else { return ExitCode::from(70) };
    be_init(&mut link)
}

/// PID 1, until the keeper is gone or has asked for the end.
fn be_init(link: &mut Link) -> ExitCode {
    match run(link) {
        // The keeper asked for it, or is gone.
        Ok(()) | Err(InitError::Link(LinkError::Closed)) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _ = link.send(&InitToKeeper::Failed { message: sentence(&error) }, None);
            ExitCode::from(70)
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("talking to the keeper")]
    Link(#[source] LinkError),
    #[error("the keeper's first message must be Start, and only the first")]
    Order,
    #[error("opening the door {0:?}; two doors or a published port may share its port")]
    Door(bottle_spec::door::Door, #[source] std::io::Error),
    #[error("confining the bottle")]
    Confine(#[source] confine::ConfineError),
    #[error("running the self-probe")]
    Probe(#[source] std::io::Error),
    #[error("waiting for processes")]
    Reap(#[source] std::io::Error),
}

fn run(link: &mut Link) -> Result<(), InitError> {
    let mut first = link.receive().map_err(InitError::Link)?;
    if let KeeperToInit::Open { doors } = first {
        link.move_over().map_err(InitError::Link)?;
        doors::open(&doors, link)?;
        first = link.receive().map_err(InitError::Link)?;
    }
    let KeeperToInit::Start(start) = first else {
        return Err(InitError::Order);
    };
    confine::confine(&start).map_err(InitError::Confine)?;
    let failures = probe::run(&start.probe).map_err(InitError::Probe)?;
    link.send(&InitToKeeper::Probed { failures }, None).map_err(InitError::Link)?;
    serve::serve(link)
}

/// An error and its causes in one line.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
