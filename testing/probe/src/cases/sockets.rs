//! Sockets other than TCP and UDP, and sockets of the host that are not addresses.

use super::{
    Case,
    Control::{self, Depends, Escapes, EscapesAsRoot},
    Outcome,
    Section::GoingAround,
};
use crate::{Field, sys};
use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    path::Path,
};

const fn case(name: &'static str, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section: GoingAround, control, attempt }
}

pub(super) const CASES: &[Case] = &[
    case("raw socket (ICMP)", EscapesAsRoot, |_| opens(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
    case("raw socket (any protocol)", EscapesAsRoot, |_| opens(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)),
    case("raw socket (IPv6)", Depends, |_| opens(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)),
    case("ping socket", Depends, |_| opens(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)),
    case("packet socket", EscapesAsRoot, |_| opens(libc::AF_PACKET, libc::SOCK_RAW, 0x0300)),
    case("packet socket (ARP)", EscapesAsRoot, |_| opens(libc::AF_PACKET, libc::SOCK_DGRAM, 0x0608)),
    case("SCTP socket", Depends, |_| opens(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)),
    case("DCCP, MPTCP and UDP-Lite sockets", Depends, other_transports),
    case("vsock socket", Depends, |_| opens(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
    case("kernel crypto socket (AF_ALG)", Depends, |_| opens(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
    case("netlink: socket diagnosis", Escapes, |_| opens(libc::AF_NETLINK, libc::SOCK_RAW, 4)),
    case("netlink: netfilter", Depends, |_| opens(libc::AF_NETLINK, libc::SOCK_RAW, 12)),
    case("netlink: audit", Depends, |_| opens(libc::AF_NETLINK, libc::SOCK_RAW, 9)),
    case("netlink: kernel events", Escapes, |_| opens(libc::AF_NETLINK, libc::SOCK_RAW, 15)),
    case("other socket families", Depends, other_families),
    case("unix socket of the host by path (ssh-agent, docker, D-Bus)", Escapes, |field| by_path(&field.unix_socket)),
    case("abstract socket of the host", Escapes, by_abstract_name),
    case("docker and containerd sockets", Depends, |_| known_sockets(&CONTAINER_SOCKETS)),
    case("D-Bus, X11 and Wayland sockets", Depends, |_| known_sockets(&DESKTOP_SOCKETS)),
    case("abstract X11 socket", Depends, |_| abstract_name("/tmp/.X11-unix/X0")),
    case("agent sockets named in the environment", Depends, named_in_environment),
];

const CONTAINER_SOCKETS: [&str; 5] = [
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
];
const DESKTOP_SOCKETS: [&str; 5] = [
    "/run/dbus/system_bus_socket",
    "/var/run/dbus/system_bus_socket",
    "/tmp/.X11-unix/X0",
    "/tmp/.X11-unix/X1",
    "/run/systemd/private",
];

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<usize> {
    let number = |value: i32| usize::try_from(value).unwrap_or_default();
    // The process ends with the case and closes what it opened.
    sys::call(libc::SYS_socket, [number(family), number(kind), number(protocol), 0, 0, 0])
}

fn opens(family: i32, kind: i32, protocol: i32) -> Outcome {
    Outcome::of(socket(family, kind, protocol), "the socket opened")
}

fn other_transports(_: &Field) -> Outcome {
    let kinds = [("DCCP", libc::SOCK_DCCP, 33), ("MPTCP", libc::SOCK_STREAM, 262), ("UDP-Lite", libc::SOCK_DGRAM, 136)];
    let families = [libc::AF_INET, libc::AF_INET6];
    let opened = |(_, kind, protocol): &&(&str, i32, i32)| {
        families.iter().any(|family| socket(*family, *kind, *protocol).is_ok())
    };
    Outcome::none_of(kinds.iter().filter(opened).map(|(name, ..)| (*name).to_owned()).collect(), "none opened")
}

/// AX.25, IPX, AppleTalk, X.25, key, RDS, IRDA, LLC, TIPC, Bluetooth, CAIF, NFC, KCM, Qualcomm, SMC, XDP.
fn other_families(_: &Field) -> Outcome {
    let kinds = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET];
    let families = [3, 4, 5, 9, 15, 21, 23, 26, 30, 31, 37, 39, 41, 42, 43, 44];
    let opened = families.iter().filter(|family| kinds.iter().any(|kind| socket(**family, *kind, 0).is_ok()));
    Outcome::none_of(opened.map(|family| format!("family {family}")).collect(), "none opened")
}

fn by_path(path: &Path) -> Outcome {
    Outcome::of(UnixStream::connect(path), "connected")
}

fn by_abstract_name(field: &Field) -> Outcome {
    abstract_name(&field.abstract_socket)
}

fn abstract_name(name: &str) -> Outcome {
    let connected = SocketAddr::from_abstract_name(name).and_then(|address| UnixStream::connect_addr(&address));
    Outcome::of(connected, "connected")
}

fn known_sockets(paths: &[&str]) -> Outcome {
    let open = paths.iter().filter(|path| UnixStream::connect(path).is_ok());
    Outcome::none_of(open.map(|path| (*path).to_owned()).collect(), "none there")
}

fn named_in_environment(_: &Field) -> Outcome {
    let names =
        ["SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "WAYLAND_DISPLAY", "DISPLAY", "DOCKER_HOST", "GPG_AGENT_INFO"];
    Outcome::none_of(
        names.iter().filter(|name| std::env::var_os(name).is_some()).map(|n| (*n).to_owned()).collect(),
        "none",
    )
}
