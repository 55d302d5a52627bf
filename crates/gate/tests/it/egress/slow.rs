//! Peers that take their time: each wait has an end, and nobody else waits meanwhile.

use super::harness::{Gate, LIMIT, Tls, setup};
use bottle_testkit::{TlsUpstream, wait_until};
use serde_json::json;
use std::io::{Read, Write};

/// Over HTTP/1.1, for over HTTP/2 the gate's own pings would find out sooner.
fn upstream() -> TlsUpstream {
    TlsUpstream::options(&["api.test"]).alpn(&["http/1.1"]).start()
}

fn open(upstream: &TlsUpstream) -> Gate {
    setup(upstream, json!([{ "host": "api.test" }])).start()
}

/// The gate has closed, and it was not the test that was tired of waiting.
#[track_caller]
fn given_up(tls: &mut Tls) {
    let mut answer = Vec::new();
    let error = tls.read_to_end(&mut answer).err().map(|error| error.kind());
    assert_ne!(error, Some(std::io::ErrorKind::WouldBlock), "it was left open");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 504"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn an_upstream_that_does_not_answer_is_given_up() {
    let upstream = upstream();
    let gate = open(&upstream);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| gate.curl(&["--http1.1", "https://api.test/hang"]));
        wait_until("the request", LIMIT, || upstream.seen().len() == 1);
        assert_eq!(gate.curl(&["https://api.test/"]).status, 200, "others are served");
        let answer = gate.hurried(|| waiting.join().unwrap());
        assert_eq!((answer.status, answer.reason().as_str()), (504, "upstream_timeout"));
    });
    gate.denied("upstream_timeout");
}

#[test]
fn a_body_that_stops_is_given_up() {
    for version in ["--http1.1", "--http2"] {
        let upstream = upstream();
        let gate = open(&upstream);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.curl(&[version, "https://api.test/stall"]));
            wait_until("the request", LIMIT, || upstream.seen().len() == 1);
            assert_eq!(gate.curl(&["https://api.test/"]).status, 200, "others are served");
            let answer = gate.hurried(|| waiting.join().unwrap());
            // 28 is curl's own patience.
            assert!(!matches!(answer.exit, Some(0 | 28) | None), "{version}: {answer:?}");
        });
    }
}

#[test]
fn an_agent_that_never_ends_its_body_is_given_up() {
    // A short body is waited for before anything goes upstream; a long one is sent on as it comes.
    for (length, upstream_hears) in [(100, false), (1_000_000, true)] {
        let upstream = upstream();
        let gate = open(&upstream);
        let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
        write!(tls, "POST /sink HTTP/1.1\r\nHost: api.test\r\nContent-Length: {length}\r\n\r\nabc").unwrap();
        if upstream_hears {
            wait_until("the request", LIMIT, || upstream.seen().len() == 1);
        }
        gate.hurried(|| given_up(&mut tls));
        assert_eq!(upstream.seen().len(), usize::from(upstream_hears));
    }
}

#[test]
fn a_websocket_on_which_nothing_moves_is_given_up() {
    let upstream = upstream();
    let gate = open(&upstream);
    let mut tls = gate.websocket();
    gate.hurried(|| given_up(&mut tls));
}
