//! What was arranged around the probe: where the traps are, and what an escape looks like.

use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// Written as JSON by whoever starts the probe. It must not hold the secret as such, or the probe would find its own
/// instructions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// On the bare host, where escapes are expected and only loopback may be spoken to.
    pub bare: bool,
    /// Which of how many parts of the suite is run; all of it where none is named.
    #[serde(default)]
    pub part: Option<(usize, usize)>,
    /// A container engine made the mounts. It is told neither `nosuid` nor `nodev`; what stands for them is tried.
    pub by_engine: bool,
    /// Where the addresses begin that the resolver makes up: a /15.
    pub synthetic: Ipv4Addr,
    /// Allowed: `GET` and `POST` below `/public/`.
    pub allowed_host: String,
    /// No route; the same upstream would answer for it.
    pub denied_host: String,
    /// Where the upstream really listens.
    pub upstream: SocketAddr,
    /// Listeners on the host's loopback that answer with the nonce.
    pub canary_tcp: SocketAddr,
    pub canary_tcp6: Option<SocketAddr>,
    pub canary_udp: SocketAddr,
    pub canary_udp6: Option<SocketAddr>,
    pub proxy: SocketAddr,
    /// Whoever reads this in an answer has reached what it should not. Never part of a question.
    pub nonce: String,
    /// The injected secret, backwards.
    pub secret_reversed: String,
    /// Files of the host.
    pub planted: Vec<PathBuf>,
    pub unix_socket: PathBuf,
    pub abstract_socket: String,
    pub host_process: u32,
    /// A port on which a sibling bottle listens within itself.
    pub sibling_port: u16,
    pub limits: Limits,
}

/// What the bottle was given.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Limits {
    pub pids: u32,
    pub memory: u64,
    /// Whether this machine can hold a bottle to `memory` at all.
    pub memory_enforced: bool,
    pub disk: u64,
}

impl Field {
    pub fn secret(&self) -> String {
        self.secret_reversed.chars().rev().collect()
    }

    pub(crate) fn is_synthetic(&self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ u32::from(self.synthetic)).leading_zeros() >= 15
    }

    pub fn holds_secret(&self, bytes: &[u8]) -> bool {
        contains(bytes, self.secret().as_bytes())
    }

    pub fn holds_nonce(&self, bytes: &[u8]) -> bool {
        contains(bytes, self.nonce.as_bytes())
    }
}

pub(crate) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle)
}
