//! The doors: the only ways out of a bottle, each a loopback listener whose other end the gate serves.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Where programs inside look for the proxy (`HTTP_PROXY` and its kin).
pub const PROXY_PORT: u16 = 8888;
/// Where the resolver door answers, over UDP and TCP. It looks nothing up.
pub const RESOLVER_PORT: u16 = 53;
/// The supervise door, as MCP clients name it.
pub const MCP_URL: &str = "http://127.0.0.1:9100/mcp";
/// The first address and prefix length of the synthetic addresses (RFC 2544 benchmarking range).
pub const SYNTHETIC_NET: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);
/// The same where nobody may add a route: all of 127.0.0.0/8 is local by itself. As large as the other.
pub const LOOPBACK_NET: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 64, 0, 0), 15);

/// One listener in the bottle's network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Door {
    /// `127.0.0.1:8888`, TCP: the explicit HTTP proxy.
    Proxy,
    /// `0.0.0.0:port`, TCP: takes connections to synthetic addresses on a port that some route allows. The
    /// destination is read back from the accepted socket's local address.
    Transparent { port: u16 },
    /// `127.0.0.1:53`, UDP: answers every name with a synthetic address.
    ResolverUdp,
    /// `127.0.0.1:53`, TCP: the same.
    ResolverTcp,
    /// `127.0.0.1:9418`, TCP: git.
    Git,
    /// `127.0.0.1:9100`, TCP: MCP.
    Supervise,
}

impl Door {
    /// The address to bind inside the bottle's network namespace.
    pub fn address(self) -> SocketAddrV4 {
        let loopback = Ipv4Addr::LOCALHOST;
        match self {
            Door::Proxy => SocketAddrV4::new(loopback, PROXY_PORT),
            Door::Transparent { port } => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port),
            Door::ResolverUdp | Door::ResolverTcp => SocketAddrV4::new(loopback, RESOLVER_PORT),
            Door::Git => SocketAddrV4::new(loopback, 9418),
            Door::Supervise => SocketAddrV4::new(loopback, 9100),
        }
    }

    /// Whether the door takes datagrams instead of connections.
    pub fn is_datagram(self) -> bool {
        self == Door::ResolverUdp
    }
}
