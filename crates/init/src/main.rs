//! PID 1 of a bottle. Confines itself, proves from inside that the room is tight, then runs programs as the keeper
//! asks and reaps what they leave.
//!
//! Invariants: the agent's whole confinement is on this process before it starts any other, so every process of the
//! bottle has it; orders come from the keeper's socket alone; when that closes this process ends, and with PID 1 ends
//! every process of the bottle. One thread, no name lookups, no files but those the keeper's messages name.

mod confine;
mod filter;
mod leader;
mod link;
mod probe;
mod reap;
mod serve;
mod spawn;
mod still;
mod sys;
mod syscalls;

use bottle_spec::init_link::{InitToKeeper, KeeperToInit};
use link::{Link, LinkError};
use std::{error::Error, process::ExitCode};

fn main() -> ExitCode {
    let mut link = match Link::adopt() {
        Ok(link) => link,
        Err(_) => return ExitCode::from(70),
    };
    match run(&mut link) {
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
    #[error("confining the bottle")]
    Confine(#[source] confine::ConfineError),
    #[error("running the self-probe")]
    Probe(#[source] std::io::Error),
    #[error("waiting for processes")]
    Reap(#[source] std::io::Error),
}

fn run(link: &mut Link) -> Result<(), InitError> {
    let KeeperToInit::Start(start) = link.receive().map_err(InitError::Link)? else {
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
