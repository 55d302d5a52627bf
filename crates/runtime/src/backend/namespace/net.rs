//! The room's network: loopback and the doors, and nothing else. Runs inside the new network namespace.
//!
//! There is no route to anywhere but loopback, so there is nothing to filter. The synthetic addresses of the resolver
//! door are local ones (an AnyIP route): a connection to any of them reaches a listener on the wildcard address.

use super::{
    error::{During, Failure, Step},
    sys,
};
use bottle_spec::door::{Door, SYNTHETIC_NET};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, OwnedFd},
};

/// Connections that may wait at a door while the gate is busy or being restarted.
const BACKLOG: i32 = 4096;

/// Brings up loopback (127.0.0.1 and ::1) and makes the synthetic addresses local.
pub(super) fn raise_loopback() -> Result<(), Failure> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .during(Step::LoopbackUp, "lo")?;
    sys::interface_up(socket.as_fd(), c"lo").during(Step::LoopbackUp, "lo")?;
    // The room has one user; that its programs may bind port 80, as in a container, gives them nothing over others.
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").during(Step::LowPorts, "0")?;
    let index = rustix::net::netdevice::name_to_index(&socket, "lo").during(Step::SyntheticRoute, "lo")?;
    let (address, length) = SYNTHETIC_NET;
    add_local_route(address, length, index).during(Step::SyntheticRoute, format_args!("{address}/{length}"))
}

/// Binds a door, and listens where it takes connections.
pub(super) fn open_door(door: Door) -> Result<OwnedFd, Failure> {
    let address = door.address();
    listener(address, door.is_datagram()).during(Step::OpenDoor, address)
}

fn listener(address: SocketAddrV4, datagram: bool) -> io::Result<OwnedFd> {
    let kind = if datagram { SocketType::DGRAM } else { SocketType::STREAM };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
    if !datagram {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if !datagram {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// `ip route add local ADDRESS/LENGTH dev INDEX`.
fn add_local_route(address: Ipv4Addr, length: u8, index: u32) -> io::Result<()> {
    // No protocol is protocol 0, which of netlink is NETLINK_ROUTE.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &local_route_request(address, length, index), rustix::net::SendFlags::empty())?;
    let mut answer = [0; 256];
    let (count, _) = rustix::net::recv(&socket, &mut answer, rustix::net::RecvFlags::empty())?;
    acknowledged(answer.get(..count).unwrap_or_default())
}

/// An `RTM_NEWROUTE` request with acknowledgement (rtnetlink(7)).
fn local_route_request(address: Ipv4Addr, length: u8, index: u32) -> Vec<u8> {
    const RTM_NEWROUTE: u16 = 24;
    /// NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL.
    const FLAGS: u16 = 0x1 | 0x4 | 0x400 | 0x200;
    const AF_INET: u8 = 2;
    const RT_TABLE_LOCAL: u8 = 255;
    const RTPROT_STATIC: u8 = 4;
    const RT_SCOPE_HOST: u8 = 254;
    const RTN_LOCAL: u8 = 2;
    const RTA_DST: u16 = 1;
    const RTA_OIF: u16 = 4;

    let mut body = vec![AF_INET, length, 0, 0, RT_TABLE_LOCAL, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL];
    body.extend(0_u32.to_ne_bytes());
    attribute(&mut body, RTA_DST, &address.octets());
    attribute(&mut body, RTA_OIF, &index.to_ne_bytes());
    message(RTM_NEWROUTE, FLAGS, &body)
}

/// A netlink message of sequence 1, to the kernel.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    const HEADER: u32 = 16;
    let length = HEADER.saturating_add(u32::try_from(body.len()).unwrap_or(u32::MAX));
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    message
}

/// One attribute of four bytes, which needs no padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8; 4]) {
    body.extend(8_u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// Reads the kernel's acknowledgement: an `NLMSG_ERROR` whose first word is 0 or a negated errno.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    const NLMSG_ERROR: u16 = 2;
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against what `strace ip route add local 198.18.0.0/15 dev lo` sends, on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn the_route_request_is_what_iproute_sends() {
        let expected: [u8; 44] = [
            44, 0, 0, 0, 24, 0, 0x05, 0x06, 1, 0, 0, 0, 0, 0, 0, 0, // header
            2, 15, 0, 0, 255, 4, 254, 2, 0, 0, 0, 0, // rtmsg
            8, 0, 1, 0, 198, 18, 0, 0, // destination
            8, 0, 4, 0, 1, 0, 0, 0, // interface
        ];
        assert_eq!(local_route_request(Ipv4Addr::new(198, 18, 0, 0), 15, 1), expected);
    }

    #[test]
    fn a_refusal_is_an_error_and_so_is_anything_unknown() {
        let answer = |kind: u16, code: i32| {
            let mut bytes = message(kind, 0, &code.to_ne_bytes());
            bytes.extend([0; 16]);
            acknowledged(&bytes)
        };
        assert!(answer(2, 0).is_ok());
        assert_eq!(answer(2, -libc::EEXIST).unwrap_err().raw_os_error(), Some(libc::EEXIST));
        assert!(answer(3, 0).is_err());
        assert!(acknowledged(&[]).is_err());
    }
}
