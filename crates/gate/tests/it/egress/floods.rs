//! Much of what is allowed once: connections, frames, and bytes that grow.

use super::harness::{Gate, LIMIT, PLACEHOLDER, Tls, bare, setup, until_closed};
use async_compression::{
    Level,
    tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder},
    zstd::CParameter,
};
use bottle_gate::limits::{MAX_CONNECTIONS, MAX_DECODERS};
use bottle_testkit::{ScriptedUpstream, TlsUpstream, wait_until};
use serde_json::json;
use std::{io::Write, time::Duration};
use tokio::io::{AsyncWrite, AsyncWriteExt};

const SECRET: &str = "sk-live-4242abcdef";

/// The pages of this process, which the gate is a thread of, in MiB.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() / 256
}

#[test]
fn ten_thousand_connections_leave_room_for_the_next() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    let held: Vec<_> = (0..MAX_CONNECTIONS).map(|_| gate.stream()).collect();
    let wave = || {
        let wave: Vec<_> = (0..450).map(|_| gate.stream()).collect();
        for mut stream in wave {
            assert_eq!(until_closed(&mut stream), "", "over the limit, and closed");
        }
    };
    // Those held are all served, and what they take is taken, when later ones have been closed.
    wave();
    let before = resident();
    (0..20).for_each(|_| wave());
    assert!(resident() < before + 8, "{before} MiB grew to {}", resident());
    drop(held);
    wait_until("room", LIMIT, || gate.curl(&["https://api.test/"]).status == 200);
}

fn h2(gate: &Gate) -> Tls {
    let mut tls = gate.tls_with(gate.connect("api.test:443"), "api.test", &[b"h2"]).unwrap();
    assert_eq!(tls.conn.alpn_protocol(), Some(&b"h2"[..]));
    tls.sock.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    tls
}

/// Each of these wants an answer, and the one who asks reads none.
#[test]
fn floods_of_pings_and_settings_are_held_back_and_hurt_nobody_else() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    assert_eq!(gate.curl(&["https://api.test/"]).status, 200);
    let before = resident();
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], b"pingping"].concat();
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
    let held: Vec<Tls> = [&ping[..], &settings[..]]
        .map(|frame| {
            let mut tls = h2(&gate);
            let many = frame.repeat(1_000);
            // Until the gate takes no more, or has closed; 16 MB are far more than sockets hold.
            let _ = (0..1_000).try_for_each(|_| tls.write_all(&many));
            tls
        })
        .into();
    assert_eq!(gate.curl(&["--http2", "https://api.test/"]).status, 200);
    assert!(resident() < before + 16, "{before} MiB grew to {}", resident());
    drop(held);
}

#[test]
fn a_head_in_endless_continuations_ends_the_connection() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    let mut tls = h2(&gate);
    // HEADERS without END_HEADERS, then CONTINUATION frames of literals.
    tls.write_all(&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82]).unwrap();
    let literal = [&[0x00, 1, b'x', 0x7f, 0x81, 0x7f][..], &[b'v'; 256]].concat();
    let frame = [&[0, 0x01, 0x06, 9, 0, 0, 0, 0, 1][..], &literal].concat();
    let sent = (0..20_000).take_while(|_| tls.write_all(&frame).is_ok()).count();
    assert!(sent < 20_000, "all of it was taken");
    assert_eq!(gate.curl(&["https://api.test/"]).status, 200);
    wait_until("the denial", LIMIT, || gate.denials().contains(&"request_malformed"));
}

/// What `fill` writes, in a coding.
pub(super) fn encoded(coding: &str, fill: impl AsyncFn(&mut (dyn AsyncWrite + Unpin))) -> Vec<u8> {
    macro_rules! with {
        ($encoder:expr) => {{
            let mut encoder = $encoder;
            fill(&mut encoder).await;
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        match coding {
            "gzip" => with!(GzipEncoder::new(Vec::new())),
            "deflate" => with!(ZlibEncoder::new(Vec::new())),
            "br" => with!(BrotliEncoder::with_quality(Vec::new(), Level::Fastest)),
            "zstd" => with!(ZstdEncoder::new(Vec::new())),
            // More than RFC 9659 lets a decoder be asked to remember.
            "zstd of a large window" => {
                let window = [CParameter::window_log(27)];
                with!(ZstdEncoder::with_quality_and_params(Vec::new(), Level::Default, &window))
            }
            _ => panic!("{coding} is no coding"),
        }
    })
}

/// A gate that injects [`SECRET`], before an upstream that answers with this body.
fn injecting(coding: &str, body: &[u8]) -> (ScriptedUpstream, Gate) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", body.len());
    let upstream = ScriptedUpstream::start(&["api.test"], &[head.as_bytes(), body].concat());
    let resolve = json!({ "api.test": upstream.address().to_string() });
    let auth = json!([{ "host": "api.test", "auth": { "carrier": "bearer", "secret": "env:TOKEN" } }]);
    let door = bare(auth).roots(upstream.authority().roots()).set("resolve", resolve).secret("env:TOKEN", SECRET);
    let gate = door.start();
    (upstream, gate)
}

#[test]
fn an_echo_is_scrubbed_in_every_coding() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let body = encoded(coding, async |encoder| {
            encoder.write_all(format!("you sent {SECRET}, thank you").as_bytes()).await.unwrap();
        });
        let (_upstream, gate) = injecting(coding, &body);
        let answer = gate.curl(&["--http1.1", "https://api.test/"]);
        assert_eq!(answer.body, format!("you sent {PLACEHOLDER}, thank you"), "{coding}");
        assert!(!answer.head.contains("content-encoding"), "{coding}: {}", answer.head);
    }
}

#[test]
fn a_coding_that_cannot_be_read_is_not_passed_on() {
    for coding in ["compress", "gzip,br", "gzip,gzip"] {
        let (_upstream, gate) = injecting(coding, SECRET.as_bytes());
        assert_eq!(gate.curl(&["--http1.1", "https://api.test/"]).reason(), "upstream_protocol", "{coding}");
    }
}

#[test]
fn a_bomb_ends_its_own_response_in_every_coding() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let body = encoded(coding, async |encoder| {
            let zeros = vec![0; 1 << 20];
            for _ in 0..64 {
                encoder.write_all(&zeros).await.unwrap();
            }
        });
        let (_upstream, gate) = injecting(coding, &body);
        let answer = gate.curl(&["--http1.1", "https://api.test/"]);
        assert!(!matches!(answer.exit, Some(0 | 28) | None), "{coding}: {:?}", answer.exit);
        assert!(answer.body.len() < 20 << 20, "{coding}: {} bytes came through", answer.body.len());
    }
}

#[test]
fn a_decoder_remembers_no_more_than_the_rfc_lets_it_be_asked_to() {
    let body = encoded("zstd of a large window", async |encoder| encoder.write_all(b"short").await.unwrap());
    let (_upstream, gate) = injecting("zstd", &body);
    let answer = gate.curl(&["--http1.1", "https://api.test/"]);
    assert!(answer.body.is_empty() && answer.exit != Some(0), "{answer:?}");
}

/// Brotli streams that announce the largest window and never end.
#[test]
fn decoders_share_a_budget_and_one_more_is_refused() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    let greedy = || {
        let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
        let head =
            "POST /pipe HTTP/1.1\r\nHost: api.test\r\nContent-Encoding: br\r\nTransfer-Encoding: chunked\r\n\r\n";
        tls.write_all(format!("{head}1\r\n\u{f}\r\n").as_bytes()).unwrap();
        tls
    };
    let held: Vec<Tls> = (0..MAX_DECODERS / (18 << 20)).map(|_| greedy()).collect();
    wait_until("all of them", LIMIT, || upstream.seen().len() == held.len());
    assert!(until_closed(&mut greedy()).contains("limit_exceeded"));
    assert_eq!(gate.curl(&["-d", "plain", "https://api.test/"]).status, 200);
    drop(held);
    let body = encoded("br", async |encoder| encoder.write_all(b"hello").await.unwrap());
    let file = gate.path("body");
    std::fs::write(&file, body).unwrap();
    let data = format!("@{}", file.display());
    let answer = gate.curl(&["-H", "Content-Encoding: br", "--data-binary", &data, "https://api.test/"]);
    assert_eq!(answer.status, 200, "{answer:?}");
}
