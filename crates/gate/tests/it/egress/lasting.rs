//! A reload that takes a route away ends what was let through by it, and nothing else.

use super::harness::{Gate, LIMIT, Tls, head, setup};
use bottle_testkit::TlsUpstream;
use serde_json::{Value, json};
use std::io::{Read, Write};

fn reload(gate: &Gate, upstream: &TlsUpstream, routes: Value) {
    let mut routes = routes;
    for route in routes.as_array_mut().unwrap() {
        route["ports"] = json!([443]);
    }
    let policy = serde_json::from_value(json!({ "routes": routes })).unwrap();
    gate.egress.reload(policy, upstream.authority().roots()).unwrap();
}

/// One frame there and back.
fn echoes(tls: &mut Tls) -> bool {
    let frame = [&[0x81, 0x82, 0, 0, 0, 0], &b"ok"[..]].concat();
    let mut back = [0; 4];
    tls.write_all(&frame).is_ok() && tls.read_exact(&mut back).is_ok() && back == [0x81, 2, b'o', b'k']
}

fn websocket(gate: &Gate) -> Tls {
    let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
    tls.sock.set_read_timeout(Some(LIMIT)).unwrap();
    tls.write_all(
        b"GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .unwrap();
    let head = head(&mut tls);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    tls
}

/// The peer has closed: no byte, and no waiting for one.
#[track_caller]
fn ended(tls: &mut Tls) {
    match tls.read(&mut [0]) {
        Ok(0) => {}
        Ok(_) => panic!("it goes on"),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it was left open"),
    }
}

#[test]
fn a_websocket_ends_with_its_route() {
    let upstream = TlsUpstream::start(&["api.test", "other.test"]);
    for (routes, reason) in [
        (json!([]), "no_route"),
        (json!([{ "host": "other.test" }]), "no_route"),
        (json!([{ "host": "api.test", "methods": ["POST"] }]), "method_not_allowed"),
        (json!([{ "host": "api.test", "paths": ["/other/**"] }]), "path_not_allowed"),
    ] {
        let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
        let mut tls = websocket(&gate);
        reload(&gate, &upstream, json!([{ "host": "api.test", "methods": ["GET"], "paths": ["/ws"] }]));
        assert!(echoes(&mut tls), "a policy that allows it lets it be");
        reload(&gate, &upstream, routes);
        ended(&mut tls);
        gate.denied(reason);
    }
}

#[test]
fn a_tunnel_that_is_handed_on_ends_with_its_route() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let passthrough = json!([{ "host": "api.test", "tls": "passthrough" }]);
    for routes in [json!([]), json!([{ "host": "api.test" }])] {
        let gate = setup(&upstream, passthrough.clone()).start();
        let mut tls = websocket(&gate);
        reload(&gate, &upstream, passthrough.clone());
        assert!(echoes(&mut tls), "a policy that allows it lets it be");
        reload(&gate, &upstream, routes);
        ended(&mut tls);
        gate.denied("no_route");
    }
}
