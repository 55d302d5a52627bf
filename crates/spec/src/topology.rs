//! What a container shares with this machine: how its doors get out, and how its files get in.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// By a socket of this machine's that is mounted into the container: the bottle's bytes arrive at the gate with no
    /// copy in between.
    #[default]
    Socket,
    /// By the two streams that the engine carries between a container and whoever is attached to it: for an engine that
    /// runs in a machine of its own, where no socket of this one's leads.
    Stream,
    /// As [`Topology::Stream`], and no file either: what the container is given is sent to the engine, and home and
    /// workspace come back at the end. For an engine that does not see this machine's files, or maps their owners.
    Sent,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a topology is socket, stream or sent")]
pub struct TopologyError;

impl Topology {
    pub const ALL: [(&str, Topology); 3] =
        [("socket", Topology::Socket), ("stream", Topology::Stream), ("sent", Topology::Sent)];

    pub fn as_str(self) -> &'static str {
        match self {
            Topology::Socket => "socket",
            Topology::Stream => "stream",
            Topology::Sent => "sent",
        }
    }

    /// For what is left out where it is the usual.
    pub fn is_socket(&self) -> bool {
        *self == Topology::Socket
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Topology {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Topology, TopologyError> {
        let found = Topology::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, topology)| topology).ok_or(TopologyError)
    }
}
