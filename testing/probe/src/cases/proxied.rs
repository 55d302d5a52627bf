//! Tricks on the proxy port: names, spellings and forms that should make it go where no route leads.
//!
//! On the bare host the proxy is one that obeys everybody, so each of these that is well formed must succeed there.

use super::{
    Case,
    Control::{self, Depends, Escapes, NotOnHost},
    Outcome,
    Section::{self, FailClosed, GoingAround, Http, NamesAndTls},
};
use crate::{Field, wire};
use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
};

const fn case(name: &'static str, section: Section, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section, control, attempt }
}

pub(super) const CASES: &[Case] = &[
    case("plain HTTP to a denied host", FailClosed, Escapes, |field| {
        plain(field, "GET http://{D}/ HTTP/1.1\r\nHost: {D}\r\n\r\n")
    }),
    case("plain HTTP to a denied path", FailClosed, Escapes, |field| {
        plain(field, "GET http://{A}/forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n")
    }),
    case("CONNECT to a denied host", FailClosed, Escapes, |field| tunnelled(field, "{D}:443", "{D}", "{D}")),
    case("CONNECT to a denied host, Host of an allowed one", NamesAndTls, Escapes, |field| {
        plain_then_tls(field, "CONNECT {D}:443 HTTP/1.1\r\nHost: {A}:443\r\n\r\n", "{D}", "{D}")
    }),
    case("absolute form of a denied host, Host of an allowed one", NamesAndTls, Escapes, |field| {
        plain(field, "GET http://{D}/ HTTP/1.1\r\nHost: {A}\r\n\r\n")
    }),
    case("absolute form of an allowed host, Host of a denied one", NamesAndTls, Escapes, |field| {
        plain(field, "GET http://{A}/public/ HTTP/1.1\r\nHost: {D}\r\n\r\n")
    }),
    case("userinfo", NamesAndTls, Depends, |field| plain(field, "GET http://{A}@{D}/ HTTP/1.1\r\nHost: {D}\r\n\r\n")),
    case("userinfo in CONNECT", NamesAndTls, Depends, |field| tunnelled(field, "{A}:443@{D}:443", "{D}", "{D}")),
    case("backslash before a denied host", NamesAndTls, Depends, |field| {
        plain(field, "GET http://{A}\\@{D}/ HTTP/1.1\r\nHost: {A}\r\n\r\n")
    }),
    case("fragment before a denied host", NamesAndTls, Depends, |field| {
        plain(field, "GET http://{A}#@{D}/ HTTP/1.1\r\nHost: {A}\r\n\r\n")
    }),
    case("trailing dot", NamesAndTls, Depends, |field| tunnelled(field, "{D}.:443", "{D}", "{D}")),
    case("upper case", NamesAndTls, Depends, |field| tunnelled(field, "DENIED.TEST:443", "{D}", "{D}")),
    case("allowed name as a prefix", NamesAndTls, Depends, |field| tunnelled(field, "{A}.{D}:443", "{D}", "{D}")),
    case("%00 in the name", NamesAndTls, Depends, |field| tunnelled(field, "{D}%00.{A}:443", "{D}", "{D}")),
    case("NUL in the name", NamesAndTls, Depends, |field| tunnelled(field, "{D}\0.{A}:443", "{D}", "{D}")),
    case("line break in the name", NamesAndTls, Depends, |field| {
        plain(field, "GET http://{A}/public/\r\nX: y HTTP/1.1\r\nHost: {D}\r\n\r\n")
    }),
    case("space in the name", NamesAndTls, Depends, |field| tunnelled(field, "{A}:443 {D}:443", "{D}", "{D}")),
    case("tab in the name", NamesAndTls, Depends, |field| tunnelled(field, "{A}\t.{D}:443", "{D}", "{D}")),
    case("a port without a route", GoingAround, Escapes, |field| to_canary(field, "{A}")),
    case("loopback by address", GoingAround, Escapes, |field| to_canary(field, "127.0.0.1")),
    case("loopback by name", GoingAround, Escapes, |field| to_canary(field, "localhost")),
    case("loopback by a name below localhost", GoingAround, Depends, |field| to_canary(field, "a.localhost")),
    case("loopback in decimal", GoingAround, Escapes, |field| to_canary(field, "2130706433")),
    case("loopback in hex", GoingAround, Escapes, |field| to_canary(field, "0x7f000001")),
    case("loopback in octal", GoingAround, Escapes, |field| to_canary(field, "0177.0.0.1")),
    case("loopback in short", GoingAround, Escapes, |field| to_canary(field, "127.1")),
    case("any address", GoingAround, Escapes, |field| to_canary(field, "0.0.0.0")),
    case("any IPv6 address", GoingAround, Depends, |field| to_canary(field, "[::]")),
    case("IPv4 inside IPv6", GoingAround, Depends, |field| to_canary(field, "[::ffff:127.0.0.1]")),
    case("IPv4 inside IPv6, in hex", GoingAround, Depends, |field| to_canary(field, "[::ffff:7f00:1]")),
    case("NAT64 of loopback", GoingAround, NotOnHost, |field| to_canary(field, "[64:ff9b::7f00:1]")),
    case("6to4 of loopback", GoingAround, NotOnHost, |field| to_canary(field, "[2002:7f00:1::]")),
    case("metadata through the proxy", GoingAround, NotOnHost, |field| connects(field, "169.254.169.254:80")),
    case("IPv6 metadata through the proxy", GoingAround, NotOnHost, |field| connects(field, "[fd00:ec2::254]:80")),
    case("the proxy's own port through the proxy", GoingAround, NotOnHost, |field| connects(field, "127.0.0.1:8888")),
    case("a relay inside that issues CONNECT for others", GoingAround, Escapes, relay),
    case("second request on a kept connection", Http, Escapes, |field| {
        plain(
            field,
            "GET http://{A}/public/1 HTTP/1.1\r\nHost: {A}\r\n\r\nGET http://{D}/ HTTP/1.1\r\nHost: {D}\r\n\r\n",
        )
    }),
    case("origin form on the proxy port", Http, Depends, |field| {
        plain(field, "GET /forbidden HTTP/1.1\r\nHost: {D}\r\n\r\n")
    }),
    case("HTTP/1.0 without Host", Http, Escapes, |field| plain(field, "GET http://{D}/ HTTP/1.0\r\n\r\n")),
    case("HTTP/0.9", Http, Depends, |field| plain(field, "GET http://{D}/\r\n")),
    case("h2c upgrade", Http, Escapes, |field| {
        plain(
            field,
            "GET http://{D}/ HTTP/1.1\r\nHost: {D}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        )
    }),
    case("h2 without TLS on the proxy port", Http, Depends, |field| {
        plain(field, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
    }),
    case("Content-Length and Transfer-Encoding", Http, Depends, |field| {
        plain(
            field,
            "POST http://{A}/public/ HTTP/1.1\r\nHost: {A}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET http://{D}/ HTTP/1.1\r\nHost: {D}\r\n\r\n",
        )
    }),
    case("two lengths", Http, Depends, |field| {
        plain(
            field,
            "POST http://{A}/public/ HTTP/1.1\r\nHost: {A}\r\nContent-Length: 0\r\nContent-Length: 60\r\n\r\nGET http://{D}/ HTTP/1.1\r\nHost: {D}\r\n\r\n",
        )
    }),
    case("bytes after the CONNECT head", Http, Depends, |field| {
        plain(field, "CONNECT {A}:443 HTTP/1.1\r\nHost: {A}:443\r\n\r\nGET /forbidden HTTP/1.1\r\nHost: {D}\r\n\r\n")
    }),
    case("denied name at its synthetic address", FailClosed, NotOnHost, |field| {
        transparent(field, &field.denied_host, &field.denied_host, &field.denied_host)
    }),
    case("allowed synthetic address, denied server name", NamesAndTls, NotOnHost, |field| {
        transparent(field, &field.allowed_host, &field.denied_host, &field.denied_host)
    }),
    case("denied synthetic address, allowed server name", NamesAndTls, NotOnHost, |field| {
        transparent(field, &field.denied_host, &field.allowed_host, &field.denied_host)
    }),
    case("allowed synthetic address, no server name", NamesAndTls, NotOnHost, |field| {
        transparent(field, &field.allowed_host, "", &field.denied_host)
    }),
];

fn fill(field: &Field, text: &str) -> String {
    text.replace("{A}", &field.allowed_host).replace("{D}", &field.denied_host)
}

fn judged(field: &Field, answer: &[u8]) -> Outcome {
    if field.holds_nonce(answer) {
        return Outcome::Escaped("the upstream's forbidden answer came back".to_owned());
    }
    let text = String::from_utf8_lossy(answer);
    Outcome::Held(text.lines().next().unwrap_or("no answer").to_owned())
}

/// Sends the bytes as they stand.
fn plain(field: &Field, question: &str) -> Outcome {
    match wire::ask(field.proxy, fill(field, question).as_bytes()) {
        Ok(answer) => judged(field, &answer),
        Err(error) => Outcome::Held(error.to_string()),
    }
}

fn tunnelled(field: &Field, target: &str, sni: &str, host: &str) -> Outcome {
    plain_then_tls(field, &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"), sni, host)
}

/// Opens a tunnel with that head and asks for `/` of `host` over TLS with that server name.
pub(super) fn plain_then_tls(field: &Field, head: &str, sni: &str, host: &str) -> Outcome {
    let stream = match wire::tunnel(field.proxy, &fill(field, head)) {
        Ok(stream) => stream,
        Err(status) => return Outcome::Held(format!("CONNECT: {status}")),
    };
    over_tls(field, stream, &fill(field, sni), &fill(field, host))
}

fn over_tls(field: &Field, stream: std::net::TcpStream, sni: &str, host: &str) -> Outcome {
    let asked = wire::tls(stream, sni).and_then(|mut stream| {
        write!(stream, "GET /forbidden HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        Ok(wire::rest(stream))
    });
    match asked {
        Ok(answer) => judged(field, &answer),
        Err(error) => Outcome::Held(error.to_string()),
    }
}

/// Whether a tunnel opens at all.
fn connects(field: &Field, target: &str) -> Outcome {
    match wire::tunnel(field.proxy, &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")) {
        Ok(mut stream) => {
            // A 200 is no tunnel yet: what counts is whether anything answers through it.
            let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
            judged(field, &wire::rest(stream))
        }
        Err(status) => Outcome::Held(format!("CONNECT: {status}")),
    }
}

/// A tunnel to the canary's port at `host`, and the same as a plain request.
fn to_canary(field: &Field, host: &str) -> Outcome {
    let target = format!("{}:{}", fill(field, host), field.canary_tcp.port());
    match connects(field, &target) {
        Outcome::Held(_) => plain(field, &format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n")),
        escaped => escaped,
    }
}

/// Asks a listener of our own, which hands everything on to the proxy.
fn relay(field: &Field) -> Outcome {
    let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { return Outcome::Held("no listener".to_owned()) };
    let Ok(address) = listener.local_addr() else { return Outcome::Held("no listener".to_owned()) };
    let proxy = field.proxy;
    std::thread::spawn(move || hand_on(&listener, proxy));
    plain(&Field { proxy: address, ..field.clone() }, "GET http://{D}/ HTTP/1.1\r\nHost: {D}\r\n\r\n")
}

fn hand_on(listener: &TcpListener, proxy: SocketAddr) -> std::io::Result<u64> {
    let (mut inner, _) = listener.accept()?;
    let mut outer = wire::connect(proxy)?;
    let (mut back, mut answer) = (inner.try_clone()?, outer.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut answer, &mut back));
    std::io::copy(&mut inner, &mut outer)
}

/// Asks the bottle's resolver for `looked_up` and dials what it says.
fn transparent(field: &Field, looked_up: &str, sni: &str, host: &str) -> Outcome {
    match wire::resolve(looked_up) {
        Some(address) => match wire::connect((address, 443).into()) {
            Ok(stream) => over_tls(field, stream, sni, host),
            Err(error) => Outcome::Held(error.to_string()),
        },
        None => Outcome::Held("no address".to_owned()),
    }
}
