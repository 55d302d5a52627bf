//! The supervise gate's life: start, confine, serve, obey the keeper, end.
//!
//! Invariant: it is confined before it reads the first byte from the bottle, and ends when its keeper does.

use super::{desk::Desk, door};
use crate::{
    confine::{ConfineError, confine},
    door_listener::DoorListener,
    link::{self, Link, LinkError},
};
use bottle_spec::{
    gate_link::{GateToKeeper, KeeperToGate},
    wire::Decoder,
};
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
};
use tokio::sync::mpsc;

#[derive(Debug, thiserror::Error)]
pub enum SuperviseGateError {
    #[error("the link to the keeper failed")]
    Link(#[source] LinkError),
    #[error("a supervise gate has one door, and {0} descriptors came")]
    Descriptors(usize),
    #[error("the supervise gate could not confine itself")]
    Confine(#[source] ConfineError),
    #[error("could not start the event loop")]
    EventLoop(#[source] io::Error),
    #[error("could not take over the supervise door")]
    Door(#[source] io::Error),
    #[error("the supervise door's task ended")]
    DoorEnded,
}

/// Serves one bottle's supervise door until the keeper goes. Confines the process for good; to be called by a process
/// of one thread that does nothing else.
pub fn serve(link: UnixStream) -> Result<(), SuperviseGateError> {
    let ready = link::receive_supervise_start(&link).map_err(SuperviseGateError::Link).and_then(|received| {
        let count = received.descriptors.len();
        let [listener] =
            <[OwnedFd; 1]>::try_from(received.descriptors).map_err(|_| SuperviseGateError::Descriptors(count))?;
        let run_as = received.start.run_as;
        let (keeper, outgoing) = mpsc::unbounded_channel();
        let desk = Desk::new(received.start, keeper);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(SuperviseGateError::EventLoop)?;
        confine(run_as).map_err(SuperviseGateError::Confine)?;
        Ok((Prepared { desk, listener, outgoing, decoder: received.decoder }, runtime))
    });
    match ready {
        Ok((prepared, runtime)) => runtime.block_on(prepared.run(link)),
        Err(err) => {
            link::send_failed(&link, crate::serve::chain(&err));
            Err(err)
        }
    }
}

struct Prepared {
    desk: Arc<Desk>,
    listener: OwnedFd,
    outgoing: mpsc::UnboundedReceiver<GateToKeeper>,
    decoder: Decoder,
}

impl Prepared {
    async fn run(self, link: UnixStream) -> Result<(), SuperviseGateError> {
        let Prepared { desk, listener, mut outgoing, decoder } = self;
        let mut link = Link::new(link, decoder).map_err(SuperviseGateError::Link)?;
        let listener = DoorListener::adopt(listener).map_err(SuperviseGateError::Door)?;
        let mut serving = tokio::spawn(door::serve(listener, Arc::clone(&desk)));
        link.send(&GateToKeeper::Ready).await.map_err(SuperviseGateError::Link)?;
        loop {
            let message = tokio::select! {
                message = link.next() => message,
                Some(said) = outgoing.recv() => {
                    link.send(&said).await.map_err(SuperviseGateError::Link)?;
                    continue;
                }
                _ = &mut serving => return Err(SuperviseGateError::DoorEnded),
            };
            match message {
                Err(LinkError::Closed) | Ok(KeeperToGate::Drain { .. }) => {
                    serving.abort();
                    return Ok(());
                }
                Err(err) => return Err(SuperviseGateError::Link(err)),
                Ok(KeeperToGate::Asked { id, result }) => desk.placed(&id, result),
                Ok(KeeperToGate::Decided(decision)) => desk.decided(*decision),
                Ok(KeeperToGate::Policy(policy)) => desk.follow(*policy),
                Ok(KeeperToGate::Freeze { .. } | KeeperToGate::Granted(_)) => {}
                Ok(
                    KeeperToGate::Start(_)
                    | KeeperToGate::StartGit(_)
                    | KeeperToGate::StartSupervise(_)
                    | KeeperToGate::Notify(_)
                    | KeeperToGate::Record { .. }
                    | KeeperToGate::Recorded { .. }
                    | KeeperToGate::Secret { .. },
                ) => return Err(SuperviseGateError::Link(LinkError::StartedTwice)),
            }
        }
    }
}
