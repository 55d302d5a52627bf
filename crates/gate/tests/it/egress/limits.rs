//! What a hostile peer can make the gate hold or wait for, and that others are served meanwhile.

use super::harness::{LIMIT, Tls, bare, setup, until_closed};
use async_compression::tokio::write::GzipEncoder;
use bottle_gate::limits::{HEAD_TIME, MAX_CONNECTIONS};
use bottle_testkit::{ScriptedUpstream, TlsUpstream, wait_until};
use serde_json::json;
use std::io::{Read, Write};
use tokio::io::AsyncWriteExt;

#[test]
fn connections_over_the_limit_are_closed_and_room_comes_back() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    let held: Vec<_> = (0..MAX_CONNECTIONS).map(|_| gate.stream()).collect();
    let mut over = gate.stream();
    assert_eq!(until_closed(&mut over), "");
    gate.denied("limit_exceeded");
    drop(held);
    wait_until("room", LIMIT, || gate.curl(&["https://api.test/"]).status == 200);
}

#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
    let mut connect = gate.stream();
    tls.write_all(b"GET / HTTP/1.1\r\nHost: api.test\r\nX: ").unwrap();
    connect.write_all(b"CONNECT api.test:443 HTTP/1.1\r\nX: ").unwrap();
    assert_eq!(gate.curl(&["https://api.test/"]).status, 200, "others are served");
    wait_until("both denials", 2 * HEAD_TIME, || gate.denials().len() == 2);
    assert_eq!(gate.denials(), ["limit_exceeded", "limit_exceeded"]);
    assert!(until_closed(&mut connect).contains("limit_exceeded"));
    until_closed(&mut tls);
}

/// `GET /hang` on a stream, and its reset.
fn opened_and_reset(stream: u32) -> Vec<u8> {
    let block = [&[0x82, 0x87, 0x41, 8][..], b"api.test", &[0x04, 5], b"/hang"].concat();
    let headers = [&[0, 0, block.len() as u8, 1, 5][..], &stream.to_be_bytes(), &block].concat();
    [&headers[..], &[0, 0, 4, 3, 0], &stream.to_be_bytes(), &[0, 0, 0, 8]].concat()
}

/// All that the gate said, also where it closed before it was told all: then nothing more can be written.
fn said(tls: &mut Tls) -> Vec<u8> {
    let mut answer = Vec::new();
    while tls.conn.read_tls(&mut tls.sock).is_ok_and(|amount| amount > 0) && tls.conn.process_new_packets().is_ok() {
        let _ = tls.conn.reader().read_to_end(&mut answer);
    }
    answer
}

#[test]
fn streams_opened_and_reset_at_once_end_the_connection() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    let mut tls = gate.tls_with(gate.connect("api.test:443"), "api.test", &[b"h2"]).unwrap();
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let flood: Vec<u8> = (0..5_000u32).flat_map(|i| opened_and_reset(2 * i + 1)).collect();
    // The gate may close before it has read all of it.
    let _ = tls.write_all(&flood);
    let answer = said(&mut tls);
    assert!(upstream.seen().len() < 1_000, "{} requests went out", upstream.seen().len());
    // GOAWAY, ENHANCE_YOUR_CALM.
    assert!(answer.windows(4).any(|w| w == [0, 0, 0, 11]), "{answer:?}");
    assert_eq!(gate.curl(&["https://api.test/"]).status, 200);
    wait_until("the denial", LIMIT, || gate.denials().contains(&"request_malformed"));
}

#[test]
fn a_decompression_bomb_ends_its_own_response() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bomb = runtime.block_on(async {
        let mut encoder = GzipEncoder::new(Vec::new());
        for _ in 0..100 {
            encoder.write_all(&vec![0; 1 << 20]).await.unwrap();
        }
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    });
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
    let upstream = ScriptedUpstream::start(&["api.test"], &[head.as_bytes(), &bomb].concat());
    let resolve = json!({ "api.test": upstream.address().to_string() });
    let auth = json!([{ "host": "api.test", "auth": { "carrier": "bearer", "secret": "env:TOKEN" } }]);
    let door =
        bare(auth).roots(upstream.authority().roots()).set("resolve", resolve).secret("env:TOKEN", "sk-live-4242");
    let gate = door.start();
    let answer = gate.curl(&["--http1.1", "https://api.test/"]);
    assert_ne!(answer.exit, Some(0));
    assert!(answer.body.len() < 40 << 20, "{} bytes came through", answer.body.len());
}
