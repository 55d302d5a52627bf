//! What passes between a keeper and a bottle that is a machine of its own, over a socket that leads into the machine.
//!
//! No descriptor can ride into a machine. So what [`crate::init_link`] hands over as one is here a connection of its own:
//! the *porter*, which is ours and runs in the machine beside init, connects to the same socket again and says in a
//! [`Head`] what the connection stands for. The link itself is the first connection: one
//! [`Opened`](crate::init_link::InitToKeeper::Opened) for each door, then the messages of [`crate::init_link`] both ways.
//! All connections are made from inside.
//!
//! A container whose engine leads no socket in has the same porter within init itself, and the same connections, all
//! over the two streams that the engine carries (`bottle_stream`); what the porter needs is the first that comes there.
//!
//! The host believes nothing of it: a head that names nothing that the keeper waits for closes its connection.

use crate::door::Door;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the machine finds what is mounted into it for the porter alone.
pub const ENTRY: &str = "/bot-bottle/entry";
pub const HOME: &str = "/bot-bottle/home";
pub const WORKSPACE: &str = "/bot-bottle/workspace";
/// Sources of further mounts are numbered below it.
pub const MOUNTS: &str = "/bot-bottle/mounts";
/// The sockets that lead out of the machine: the link, and one for each door, by [`socket_name`].
pub const SOCKETS: &str = "/bot-bottle/sockets";
pub const LINK: &str = "link";

/// What the porter makes a room of. It comes as a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineRoom {
    pub token: Token,
    pub host_name: String,
    /// Whom all that runs in the bottle runs as.
    pub uid: u32,
    pub gid: u32,
    /// Opened on loopback inside, and carried out by their sockets; questions at the resolver's UDP door go out by its
    /// TCP socket.
    pub doors: Vec<Door>,
    /// In this order, over what the image has there.
    pub places: Vec<Place>,
    /// How large what is kept in memory may grow, in bytes and in files.
    pub scratch: (u64, u64),
    /// Paths that show nothing, and such as cannot be changed; where they are at all.
    pub masked_files: Vec<String>,
    pub masked_directories: Vec<String>,
    pub frozen: Vec<String>,
}

/// What the porter in a container begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamStart {
    pub token: Token,
    pub doors: Vec<Door>,
}

/// Something that the room shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// In the machine, as it was mounted there.
    pub source: String,
    pub target: String,
    pub directory: bool,
    pub writable: bool,
}

/// What whoever connects must know. It never reaches a program of the bottle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(pub [u8; 16]);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// The first: frames.
    Link,
    /// Of the program with this number: what it reads, and what it writes.
    Input(u32),
    Output(u32),
    Error(u32),
    /// The program's terminal.
    Terminal(u32),
    /// A dialled port, by the number of the order.
    Dial(u32),
}

/// The first bytes of every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub token: Token,
    pub purpose: Purpose,
}

impl Head {
    pub const LENGTH: usize = 21;

    pub fn encode(self) -> [u8; Head::LENGTH] {
        let (kind, id) = match self.purpose {
            Purpose::Link => (0, 0),
            Purpose::Input(id) => (1, id),
            Purpose::Output(id) => (2, id),
            Purpose::Error(id) => (3, id),
            Purpose::Terminal(id) => (4, id),
            Purpose::Dial(id) => (5, id),
        };
        let mut bytes = [0; Head::LENGTH];
        for (to, from) in bytes.iter_mut().zip(self.token.0.into_iter().chain([kind]).chain(id.to_be_bytes())) {
            *to = from;
        }
        bytes
    }

    /// `None` for a purpose that there is not.
    pub fn decode(bytes: [u8; Head::LENGTH]) -> Option<Head> {
        let (token, rest) = bytes.split_first_chunk::<16>()?;
        let (kind, id) = rest.split_first()?;
        let id = u32::from_be_bytes(id.try_into().ok()?);
        let purpose = match kind {
            0 => Purpose::Link,
            1 => Purpose::Input(id),
            2 => Purpose::Output(id),
            3 => Purpose::Error(id),
            4 => Purpose::Terminal(id),
            5 => Purpose::Dial(id),
            _ => return None,
        };
        Some(Head { token: Token(*token), purpose })
    }
}

/// The porter's one argument.
pub const PORTER: &str = "machine";
/// The same, in a machine that others are branched from: it waits until there is a [`ROOM`], which only they get.
pub const PARKED: &str = "parked";
/// On the host: runs a program that sees other directories in the places of some. Pairs of paths, `--`, and the program.
pub const WITHIN: &str = "within";
/// The same for init in a container that has no socket.
pub const STREAM: &str = "stream";
/// Beneath [`ENTRY`]: the executable, and its [`MachineRoom`] in JSON.
pub const PROGRAM: &str = "init";
pub const ROOM: &str = "room.json";

/// The name of the socket that a door is carried by; `None` for one that goes by another's.
pub fn socket_name(door: Door) -> Option<String> {
    match door {
        Door::Proxy => Some("proxy".to_owned()),
        Door::Transparent { port } => Some(format!("port-{port}")),
        Door::ResolverUdp => None,
        Door::ResolverTcp => Some("resolver".to_owned()),
        Door::Git => Some("git".to_owned()),
        Door::Supervise => Some("supervise".to_owned()),
    }
}

/// The sockets of these doors, by name.
pub fn sockets(doors: &[Door]) -> BTreeMap<String, Door> {
    doors.iter().filter_map(|door| Some((socket_name(*door)?, *door))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_and_an_unknown_purpose_is_none() {
        let token = Token([7; 16]);
        for purpose in [
            Purpose::Link,
            Purpose::Input(1),
            Purpose::Output(u32::MAX),
            Purpose::Error(3),
            Purpose::Terminal(1 << 20),
            Purpose::Dial(9),
        ] {
            let head = Head { token, purpose };
            assert_eq!(Head::decode(head.encode()), Some(head));
        }
        let mut unknown = Head { token, purpose: Purpose::Link }.encode();
        unknown[16] = 6;
        assert_eq!(Head::decode(unknown), None);
    }

    #[test]
    fn every_door_but_the_datagrams_has_a_socket_of_its_own() {
        let doors = [
            Door::Proxy,
            Door::ResolverUdp,
            Door::ResolverTcp,
            Door::Git,
            Door::Supervise,
            Door::Transparent { port: 443 },
            Door::Transparent { port: 80 },
        ];
        assert_eq!(sockets(&doors).len(), doors.len() - 1);
    }
}
