//! Bodies that flow: nothing waits for an end that does not come, both ways, and sizes are kept.

use super::harness::{LIMIT, head, setup, until_closed};
use bottle_testkit::{TlsUpstream, wait_until};
use serde_json::json;
use std::{
    io::{Read, Write},
    time::Duration,
};

fn routes(auth: bool) -> serde_json::Value {
    let secret = json!({ "carrier": "bearer", "secret": "env:TOKEN" });
    if auth { json!([{ "host": "api.test", "auth": secret }]) } else { json!([{ "host": "api.test" }]) }
}

#[test]
fn a_piece_comes_back_before_the_next_is_sent() {
    let upstream = TlsUpstream::start(&["api.test"]);
    for auth in [false, true] {
        let gate = setup(&upstream, routes(auth)).secret("env:TOKEN", "sk-live-4242").start();
        let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
        tls.write_all(b"POST /pipe HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .unwrap();
        assert!(head(&mut tls).starts_with("HTTP/1.1 200"));
        let mut piece = [0; 10];
        tls.read_exact(&mut piece).unwrap();
        assert_eq!(&piece, b"5\r\nfirst\r\n");
        tls.write_all(b"6\r\nsecond\r\n0\r\n\r\n").unwrap();
        let mut piece = [0; 11];
        tls.read_exact(&mut piece).unwrap();
        assert_eq!(&piece, b"6\r\nsecond\r\n");
    }
}

#[test]
fn lengths_and_contents_are_kept() {
    let upstream = TlsUpstream::start(&["api.test"]);
    for auth in [false, true] {
        let gate = setup(&upstream, routes(auth)).secret("env:TOKEN", "sk-live-4242").start();
        for version in ["--http1.1", "--http2"] {
            for path in ["/size/3000000", "/stream/3000000"] {
                let answer = gate.curl(&[version, &format!("https://api.test{path}")]);
                assert_eq!((answer.status, answer.body.len()), (200, 3_000_000), "{version} {path} {auth}");
            }
            let events = gate.curl(&[version, "https://api.test/sse/3"]);
            assert!(events.body.contains("data: 0") || events.body.contains("data: 1"), "{events:?}");
            let trailers = gate.curl(&[version, "--raw", "-H", "TE: trailers", "https://api.test/chunked"]);
            assert_eq!(trailers.status, 200, "{version} {auth} {trailers:?}");
            let head = gate.curl(&[version, "-I", "https://api.test/size/7"]);
            assert!(head.status == 200 && head.head.contains("content-length: 7\r\n"), "{version} {auth} {head:?}");
            assert_eq!(gate.curl(&[version, "https://api.test/status/204"]).status, 204);
        }
    }
}

#[test]
fn an_upload_is_streamed_after_100_continue() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, routes(false)).start();
    let file = gate.path("upload");
    std::fs::write(&file, vec![b'u'; 2_000_000]).unwrap();
    let data = format!("@{}", file.display());
    for version in ["--http1.1", "--http2"] {
        let answer =
            gate.curl(&[version, "-H", "Expect: 100-continue", "--data-binary", &data, "https://api.test/sink"]);
        assert_eq!(answer.json()["bytes"], 2_000_000, "{answer:?}");
    }
}

#[test]
fn a_body_that_breaks_off_upstream_breaks_off_here() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, routes(false)).start();
    for version in ["--http1.1", "--http2"] {
        assert_ne!(gate.curl(&[version, "https://api.test/cut"]).exit, Some(0));
    }
}

#[test]
fn a_websocket_passes_and_its_echo_of_the_secret_is_masked() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let mut routes = routes(true);
    routes[0]["on_finding"] = json!("log");
    let gate = setup(&upstream, routes).secret("env:TOKEN", "sk-live-4242").start();
    let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
    tls.write_all(
        b"GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .unwrap();
    let head = head(&mut tls);
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    for (message, expected) in [(&b"hello"[..], &b"hello"[..]), (b"x sk-live-4242 y", b"x ************ y")] {
        // A final text frame, masked with zeros.
        let frame = [&[0x81, 0x80 | message.len() as u8, 0, 0, 0, 0], message].concat();
        tls.write_all(&frame).unwrap();
        let mut back = vec![0; 2 + message.len()];
        tls.read_exact(&mut back).unwrap();
        assert_eq!((&back[..2], &back[2..]), (&[0x81, message.len() as u8][..], expected));
    }
    assert_eq!(gate.events().len(), 2);
}

#[test]
fn draining_waits_for_what_is_under_way() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, routes(false)).start();
    let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
    tls.write_all(b"GET /slow/300 HTTP/1.1\r\nHost: api.test\r\n\r\n").unwrap();
    wait_until("the request", LIMIT, || gate.events().len() == 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(gate.egress.drain(Duration::from_secs(5)));
    assert!(until_closed(&mut tls).contains("slow"));
    let late = std::net::TcpStream::connect(gate.proxy).map(|mut stream| {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let _ = stream.write_all(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n");
        until_closed(&mut stream)
    });
    assert!(late.is_err() || late.is_ok_and(|answer| answer.is_empty()));
}
