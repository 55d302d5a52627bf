//! Going around the doors by address: the host's loopback under all its names, and what lies beyond.

use super::{
    Case,
    Control::{Depends, Escapes, NotOnHost},
    Outcome,
    Section::{FailClosed, GoingAround},
};
use crate::{Field, wire};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    time::Duration,
};

macro_rules! case {
    ($name:literal, $control:expr, $attempt:expr) => {
        Case { name: $name, section: GoingAround, control: $control, attempt: $attempt }
    };
}

pub(super) const CASES: &[Case] = &[
    case!("host loopback 127.0.0.1", Escapes, |field| reach(field, "127.0.0.1")),
    case!("host loopback 127.1 (short)", Escapes, |field| reach(field, "127.1")),
    case!("host loopback 2130706433 (decimal)", Escapes, |field| reach(field, "2130706433")),
    case!("host loopback 0x7f000001 (hex)", Escapes, |field| reach(field, "0x7f000001")),
    case!("host loopback 0177.0.0.1 (octal)", Escapes, |field| reach(field, "0177.0.0.1")),
    case!("host loopback 0.0.0.0", Escapes, |field| reach(field, "0.0.0.0")),
    case!("host loopback ::ffff:127.0.0.1", Depends, |field| reach(field, "::ffff:127.0.0.1")),
    case!("host loopback ::1", Depends, loopback6),
    case!("host loopback over UDP", Escapes, |field| datagram(field, field.canary_udp)),
    case!("host loopback ::1 over UDP", Depends, datagram6),
    case!("host loopback :: (any)", Depends, any6),
    case!("upstream's own address, proxy variables ignored", Escapes, straight_to_upstream),
    case!("sibling bottle's listener", Escapes, sibling),
    case!("interfaces besides loopback", Depends, interfaces),
    case!("routes besides loopback", Depends, routes),
    case!("IPv6 routes besides loopback", Depends, routes6),
    case!("IPv6 addresses besides ::1", Depends, addresses6),
    case!("metadata 169.254.169.254", NotOnHost, |_| beyond("169.254.169.254:80")),
    case!("metadata fd00:ec2::254", NotOnHost, |_| beyond("[fd00:ec2::254]:80")),
    case!("carrier-grade NAT 100.64.0.1", NotOnHost, |_| beyond("100.64.0.1:80")),
    case!("gateway 10.0.2.2", NotOnHost, |_| beyond("10.0.2.2:80")),
    case!("gateway of a machine, 100.96.0.1", NotOnHost, |field| reach(field, "100.96.0.1")),
    case!("gateway of a machine, host.smolvm.internal", NotOnHost, |field| reach(field, "host.smolvm.internal")),
    case!("documentation address 192.0.2.1", NotOnHost, |_| beyond("192.0.2.1:443")),
    case!("IPv6 documentation address 2001:db8::1", NotOnHost, |_| beyond("[2001:db8::1]:443")),
    case!("IPv6 private address fd12::1", NotOnHost, |_| beyond("[fd12::1]:80")),
    case!("IPv6 link-local fe80::1", NotOnHost, |_| beyond("[fe80::1%1]:80")),
    case!("metadata ::ffff:169.254.169.254", NotOnHost, |_| beyond("[::ffff:169.254.169.254]:80")),
    case!("metadata by NAT64", NotOnHost, |_| beyond("[64:ff9b::a9fe:a9fe]:80")),
    case!("metadata by 6to4", NotOnHost, |_| beyond("[2002:a9fe:a9fe::1]:80")),
    case!("UDP to 192.0.2.1:443 (QUIC)", NotOnHost, |field| sends(field, "192.0.2.1:443")),
    case!("UDP to [2001:db8::1]:443 (QUIC)", NotOnHost, |field| sends(field, "[2001:db8::1]:443")),
    case!("UDP to an allowed host's synthetic address (QUIC)", NotOnHost, quic_by_name),
    case!("UDP to 169.254.169.254:80", NotOnHost, |field| sends(field, "169.254.169.254:80")),
    case!("UDP to 192.0.2.1:123 (NTP)", NotOnHost, |field| sends(field, "192.0.2.1:123")),
    case!("UDP to 192.0.2.1:3478 (STUN)", NotOnHost, |field| sends(field, "192.0.2.1:3478")),
    case!("broadcast 255.255.255.255:67 (DHCP)", NotOnHost, |field| sends(field, "255.255.255.255:67")),
    case!("multicast 224.0.0.251:5353 (mDNS)", NotOnHost, |field| sends(field, "224.0.0.251:5353")),
    case!("multicast 224.0.0.252:5355 (LLMNR)", NotOnHost, |field| sends(field, "224.0.0.252:5355")),
    case!("multicast ff02::fb:5353 (mDNS)", NotOnHost, |field| sends(field, "[ff02::fb]:5353")),
    case!("multicast ff02::1:3:5355 (LLMNR)", NotOnHost, |field| sends(field, "[ff02::1:3]:5355")),
    case!("multicast 239.255.255.250:1900 (SSDP)", NotOnHost, |field| sends(field, "239.255.255.250:1900")),
    Case { name: "synthetic address that no name has", section: FailClosed, control: NotOnHost, attempt: unnamed },
];

/// Dials the canary by another spelling of loopback.
fn reach(field: &Field, host: &str) -> Outcome {
    let addresses = match (host, field.canary_tcp.port()).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Outcome::Held(error.to_string()),
    };
    let mut held = "no address".to_owned();
    for address in addresses {
        match heard(field, address) {
            Outcome::Held(reason) => held = reason,
            escaped => return escaped,
        }
    }
    Outcome::Held(held)
}

fn heard(field: &Field, address: SocketAddr) -> Outcome {
    match wire::ask(address, b"\n") {
        Ok(answer) if field.holds_nonce(&answer) => Outcome::Escaped(format!("the canary at {address} answered")),
        Ok(answer) => Outcome::Held(format!("something else answered ({} bytes)", answer.len())),
        Err(error) => Outcome::Held(error.to_string()),
    }
}

fn loopback6(field: &Field) -> Outcome {
    match field.canary_tcp6 {
        Some(address) => heard(field, address),
        None => Outcome::NotApplicable("the host has no IPv6 loopback".to_owned()),
    }
}

fn straight_to_upstream(field: &Field) -> Outcome {
    let stream = match wire::connect(field.upstream) {
        Ok(stream) => stream,
        Err(error) => return Outcome::Held(error.to_string()),
    };
    Outcome::of(wire::tls(stream, &field.denied_host), "a handshake with the upstream, around the proxy")
}

fn sibling(field: &Field) -> Outcome {
    match wire::ask(([127, 0, 0, 1], field.sibling_port).into(), b"\n") {
        Ok(answer) if answer == b"sibling" => Outcome::Escaped("the sibling answered".to_owned()),
        Ok(_) => Outcome::Held("something else answered".to_owned()),
        Err(error) => Outcome::Held(error.to_string()),
    }
}

/// The canary on `::1`, by the address that stands for all of a machine's.
fn any6(field: &Field) -> Outcome {
    match field.canary_tcp6 {
        Some(address) => heard(field, (Ipv6Addr::UNSPECIFIED, address.port()).into()),
        None => Outcome::NotApplicable("the host has no IPv6 loopback".to_owned()),
    }
}

fn datagram6(field: &Field) -> Outcome {
    match field.canary_udp6 {
        Some(address) => datagram(field, address),
        None => Outcome::NotApplicable("the host has no IPv6 loopback".to_owned()),
    }
}

fn sends(field: &Field, to: &str) -> Outcome {
    datagram(field, to.parse().expect("written in this file"))
}

/// A datagram reaches the bottle's own loopback and nobody there: HTTP/3 has no door.
fn quic_by_name(field: &Field) -> Outcome {
    let asked = wire::resolve(&field.allowed_host);
    let Some(address) = asked else { return Outcome::Held("no address".to_owned()) };
    let answer = UdpSocket::bind(("0.0.0.0", 0)).and_then(|socket| {
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.connect((address, 443))?;
        // A long header of a version that nobody has: whoever speaks QUIC answers it (RFC 9000, section 6).
        let mut initial = [0; 1200];
        initial[..6].copy_from_slice(&[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8]);
        socket.send(&initial)?;
        socket.recv(&mut initial)
    });
    Outcome::of(answer, "somebody speaks QUIC")
}

fn datagram(field: &Field, to: SocketAddr) -> Outcome {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let sent = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.set_broadcast(true)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.send_to(b"?", to)?;
        Ok(socket)
    });
    let socket = match sent {
        Ok(socket) => socket,
        Err(error) => return Outcome::Held(error.to_string()),
    };
    let mut answer = [0; 512];
    match socket.recv(&mut answer) {
        Ok(length) if field.holds_nonce(&answer[..length]) => Outcome::Escaped("the canary answered".to_owned()),
        Ok(_) => Outcome::Held("something else answered".to_owned()),
        // Loopback takes the datagram and has nobody to give it to; any other address would be a way out.
        Err(error) if to.ip().is_loopback() => Outcome::Held(error.to_string()),
        Err(_) => Outcome::Escaped(format!("a datagram to {to} left")),
    }
}

fn beyond(address: &str) -> Outcome {
    // A scope is the number of an interface: 1 is loopback, the one there is.
    let address = address.parse().expect("written in this file");
    Outcome::of(wire::connect(address), "connected")
}

fn unnamed(field: &Field) -> Outcome {
    let [a, b, ..] = field.synthetic.octets();
    let answered = wire::connect(([a, b, 200, 200], 443).into()).and_then(|s| wire::tls(s, &field.denied_host));
    Outcome::of(answered, "a handshake")
}

fn interfaces(_: &Field) -> Outcome {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
    Outcome::none_of(names.filter(|name| name != "lo").collect(), "lo alone")
}

fn routes(_: &Field) -> Outcome {
    let text = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    Outcome::none_of(names.filter(|name| name != "lo").collect(), "none")
}

/// Destination, its prefix, source, its prefix, next hop, metric, references, uses, flags, device (proc(5)).
fn routes6(_: &Field) -> Outcome {
    let text = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned);
    Outcome::none_of(names.filter(|name| name != "lo").collect(), "none")
}

fn addresses6(_: &Field) -> Outcome {
    let text = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let addresses = text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    Outcome::none_of(addresses.filter(|it| *it != format!("{:032x}", 1)).collect(), "none")
}
