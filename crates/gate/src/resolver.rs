//! The resolver door: serves [`answer`] over UDP and TCP.
//!
//! One task for the UDP socket, one for the TCP listener, one per TCP connection. Invariant: no socket is opened here,
//! and a bottle that floods the door costs the gate [`DNS_RATE`] answers a second at most.

mod answer;

use crate::{
    door_listener::DoorListener,
    limits::{DNS_IDLE_TIME, DNS_RATE, MAX_DNS_CONNECTIONS, MAX_DNS_MESSAGE},
    synthetic::Names,
};
pub use answer::answer;
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::Semaphore,
    time::{Instant, timeout},
};

/// After an error that concerns the socket itself (out of descriptors or memory).
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Serves both kinds of socket of one bottle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Resolver {
    names: Names,
    allowance: Arc<Mutex<Allowance>>,
    connections: Arc<Semaphore>,
}

impl Resolver {
    pub fn new(names: Names) -> Resolver {
        Resolver {
            names,
            allowance: Arc::new(Mutex::new(Allowance::new(Instant::now()))),
            connections: Arc::new(Semaphore::new(MAX_DNS_CONNECTIONS)),
        }
    }

    /// Answers datagrams for as long as the task lives. What is over the limits is dropped; clients ask again.
    pub async fn serve_udp(self, socket: UdpSocket) {
        // One byte more than is answered, so that a longer datagram shows.
        let mut buffer = [0; MAX_DNS_MESSAGE + 1];
        loop {
            let (length, peer) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(err) => {
                    // An earlier answer to a closed port comes back here as an error; a lasting one must not spin.
                    tracing::debug!(%err, "resolver socket");
                    tokio::time::sleep(ERROR_PAUSE).await;
                    continue;
                }
            };
            if !self.admit() {
                continue;
            }
            if let Some(reply) = buffer.get(..length).and_then(|message| answer(message, &self.names)) {
                // A bottle that does not read its answers loses them.
                let _ = socket.try_send_to(&reply, peer);
            }
        }
    }

    /// Accepts connections for as long as the task lives.
    pub async fn serve_tcp(self, listener: impl Into<DoorListener>) {
        let listener = listener.into();
        loop {
            let stream = match listener.accept().await {
                Ok(arrival) => arrival.stream,
                Err(err) => {
                    tracing::debug!(%err, "resolver listener");
                    tokio::time::sleep(ERROR_PAUSE).await;
                    continue;
                }
            };
            // Over the limit the connection is closed at once.
            if let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() {
                let resolver = self.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    let _ = resolver.converse(stream).await;
                });
            }
        }
    }

    /// Questions and answers on one connection (RFC 7766), until it ends, idles or breaks a limit.
    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = [0; MAX_DNS_MESSAGE];
        loop {
            let length = usize::from(timeout(DNS_IDLE_TIME, stream.read_u16()).await??);
            let Some(message) = buffer.get_mut(..length) else {
                return Ok(());
            };
            timeout(DNS_IDLE_TIME, stream.read_exact(message)).await??;
            let reply = if self.admit() { answer(message, &self.names) } else { None };
            let Some(reply) = reply else {
                return Ok(());
            };
            let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
            let framed = [&length.to_be_bytes(), reply.as_slice()].concat();
            timeout(DNS_IDLE_TIME, stream.write_all(&framed)).await??;
        }
    }

    fn admit(&self) -> bool {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

/// A bucket of answers, filled at [`DNS_RATE`] and holding one second's worth.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Allowance {
        Allowance { left: f64::from(DNS_RATE), at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let rate = f64::from(DNS_RATE);
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        self.at = now;
        self.left = (self.left + gained).min(rate);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_the_rate_and_no_more() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let answered = |allowance: &mut Allowance, now| (0..10 * DNS_RATE).filter(|_| allowance.take(now)).count();
        assert_eq!(answered(&mut allowance, start), DNS_RATE as usize);
        let later = start + Duration::from_millis(500);
        assert_eq!(answered(&mut allowance, later), DNS_RATE as usize / 2);
        let much_later = later + Duration::from_secs(60);
        assert_eq!(answered(&mut allowance, much_later), DNS_RATE as usize);
    }
}
