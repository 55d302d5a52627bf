//! A timer that is always due sooner than any other, while connections are served.
//!
//! tokio's loop on one thread wakes itself, by a write to its own eventfd and one more turn, whenever a timer is set
//! that is due before the one it last went to sleep for. Every request sets some (its head's time, its response's), so
//! without the pulse every request pays for that. The pulse is due, and closes idle connections to upstreams; a gate
//! without connections has none.

use super::Egress;
use crate::limits::{CONNECT_TIME, MAX_CONNECTIONS};
use std::{sync::Arc, time::Duration};

/// Shorter than every limit that a request or a connection sets.
const PULSE: Duration = Duration::from_secs(5);
const _: () = assert!(PULSE.as_secs() < CONNECT_TIME.as_secs());

impl Egress {
    /// Beats while there are connections, of either side. Ends never; to be dropped with the doors.
    pub async fn pulse(self: Arc<Self>) {
        loop {
            self.connected.notified().await;
            while self.live.load().upstream.reap() || self.connections.available_permits() < MAX_CONNECTIONS {
                tokio::time::sleep(PULSE).await;
            }
        }
    }
}
