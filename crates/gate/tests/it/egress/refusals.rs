//! A refusal is heard, also by a client that is still sending: what it sends after the verdict is read and dropped, for a
//! while.

use super::harness::{Gate, LIMIT, Tls, setup, until_closed};
use bottle_testkit::{TlsUpstream, wait_until};
use serde_json::json;
use std::{
    io::{Read, Write, pipe},
    process::{Command, Stdio},
};

fn gate(upstream: &TlsUpstream) -> Gate {
    setup(upstream, json!([{ "host": "api.test", "methods": ["GET"] }])).start()
}

#[test]
fn curl_hears_it_whatever_the_length_of_its_body() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = gate(&upstream);
    for length in [1, 1_000, 100_000, 3_000_000, 30_000_000] {
        let file = gate.path("upload");
        std::fs::write(&file, vec![b'u'; length]).unwrap();
        let data = format!("@{}", file.display());
        for version in ["--http2", "--http1.1"] {
            for more in ["Expect:", "Expect: 100-continue", "Transfer-Encoding: chunked"] {
                let answer = gate.curl(&[version, "-H", more, "--data-binary", &data, "https://api.test/sink"]);
                assert_eq!((answer.status, answer.exit), (403, Some(0)), "{version} {length} {more:?}: {answer:?}");
                assert_eq!(answer.reason(), "method_not_allowed");
            }
        }
    }
    assert!(upstream.seen().is_empty());
}

/// curl is held between its head and its body, by a log that nobody reads.
#[test]
fn curl_hears_it_between_head_and_body() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = gate(&upstream);
    for (version, number) in [("--http2", 1), ("--http1.1", 2)] {
        let (mut log, mut full) = pipe().unwrap();
        full.write_all(&[b'.'; 56 << 10]).unwrap();
        let curl = Command::new("curl")
            .args(["--verbose", "--max-time", "20", "--noproxy", "", "--proxy", &format!("http://{}", gate.proxy)])
            .arg("--cacert")
            .arg(gate.path("ca.pem"))
            .args([version, "-H", "Expect:", "-H", &format!("X-Long: {}", "l".repeat(16 << 10))])
            .args(["--data-binary", "short", "https://api.test/sink"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(full)
            .spawn()
            .expect("curl is installed");
        wait_until("the denial", LIMIT, || gate.denials().len() == number);
        // By now the gate has sent what it had to say.
        assert_eq!(gate.curl(&["https://api.test/"]).status, 200);
        let mut told = String::new();
        log.read_to_string(&mut told).unwrap();
        let ended = curl.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        let told = told.trim_start_matches('.');
        assert_eq!(ended.status.code(), Some(0), "{version}: {said} {told}");
        assert!(said.contains("method_not_allowed"), "{version}: {said} {told}");
    }
}

/// It sends all of its body, and only then looks for an answer.
#[test]
fn a_client_that_reads_last_hears_it() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = gate(&upstream);
    let body = vec![b'u'; 8_000_000];
    let post = "POST /sink HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n";
    for (head, reason) in [
        (format!("{post}Content-Length: {}\r\n\r\n", body.len()), "method_not_allowed"),
        (format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), "request_malformed"),
    ] {
        let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
        tls.write_all(head.as_bytes()).unwrap();
        let sent = tls.write_all(&body);
        let answer = until_closed(&mut tls);
        assert!(sent.is_ok() && answer.contains(reason), "{sent:?} {answer}");
    }
}

/// HEADERS of `POST /sink` for this stream of HTTP/2, without an end.
fn post(stream: u8) -> Vec<u8> {
    let block = [&[0x83, 0x87, 0x41, 8][..], b"api.test", &[0x04, 5], b"/sink"].concat();
    [&[0, 0, block.len() as u8, 1, 4, 0, 0, 0, stream][..], &block].concat()
}

/// The next frame that is about a stream: its type and payload.
fn frame(tls: &mut Tls, stream: u8) -> (u8, Vec<u8>) {
    loop {
        let mut head = [0; 9];
        tls.read_exact(&mut head).unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        tls.read_exact(&mut payload).unwrap();
        if head[8] == stream {
            return (head[3], payload);
        }
    }
}

#[test]
fn a_stream_is_not_reset_while_its_short_body_comes() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const PING: u8 = 6;
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = gate(&upstream);
    let mut tls = gate.tls_with(gate.connect("api.test:443"), "api.test", &[b"h2"]).unwrap();
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    tls.write_all(&post(1)).unwrap();
    assert_eq!(frame(&mut tls, 1).0, HEADERS);
    let (kind, json) = frame(&mut tls, 1);
    assert!(kind == DATA && json.starts_with(b"{\"error\":\"method_not_allowed\""), "{kind} {json:?}");
    // Its end comes after the answer; then a ping, whose answer is the last that is looked at.
    tls.write_all(&[0, 0, 3, 0, 1, 0, 0, 0, 1, b'a', b'b', b'c']).unwrap();
    tls.write_all(&[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&PING) {
        let mut head = [0; 9];
        tls.read_exact(&mut head).unwrap();
        tls.read_exact(&mut vec![0; usize::from(head[1]) << 8 | usize::from(head[2])]).unwrap();
        kinds.push(head[3]);
    }
    assert!(!kinds.contains(&RST_STREAM), "{kinds:?}");
}
