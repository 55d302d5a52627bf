//! The listeners of the egress door, and the limit on how many connections are served at once.
//!
//! Invariant: a connection over the limit is closed before a byte of it is read, and leaves a line in the audit log at
//! most once a second.

use super::{Egress, connect, denial::Facts, downstream::Downstream, tunnel};
use crate::door_listener::{Arrival, DoorListener};
use bottle_spec::verdict::Reason;
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::OwnedSemaphorePermit;

/// A connection's place among those served at once; shared by what goes on after its HTTP has ended.
pub(crate) type Place = Arc<OwnedSemaphorePermit>;

impl Egress {
    /// Serves the explicit proxy until drained. Connections go on when this future is dropped.
    pub async fn serve_proxy(self: &Arc<Self>, listener: impl Into<DoorListener>) -> io::Result<()> {
        self.accept(listener.into(), |egress, arrival, place| async move {
            connect::serve(egress, Downstream::new(arrival.stream), place).await;
        })
        .await
    }

    /// Serves connections to synthetic addresses on one port until drained; the address says which name was meant.
    pub async fn serve_transparent(self: &Arc<Self>, listener: impl Into<DoorListener>, port: u16) -> io::Result<()> {
        self.accept(listener.into(), move |egress, arrival, place| async move {
            let (address, stream) = arrival.destination().await;
            match address.and_then(|address| egress.names.name_of(address)) {
                Some(host) => tunnel::transparent(egress, Downstream::new(stream), host, port, place).await,
                None => egress.deny(&Facts::default(), Reason::IpLiteral),
            }
        })
        .await
    }

    async fn accept<F>(
        self: &Arc<Self>,
        listener: DoorListener,
        serve: impl Fn(Arc<Egress>, Arrival, Place) -> F,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut draining = self.draining.subscribe();
        let mut said: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // An error means that the door itself is gone.
                _ = draining.wait_for(|draining| *draining) => return Ok(()),
            };
            let arrival = match accepted {
                Ok(arrival) => arrival,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    // Descriptors have run out; they come back as connections end.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                if said.is_none_or(|said| said.elapsed() > Duration::from_secs(1)) {
                    said = Some(Instant::now());
                    self.deny(&Facts::default(), Reason::LimitExceeded);
                }
                continue;
            };
            // Fails only on a connection that is gone already.
            let _ = arrival.stream.set_nodelay(true);
            self.connected.notify_one();
            tokio::spawn(serve(Arc::clone(self), arrival, Arc::new(permit)));
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
