//! Messages that two parsers could read in two ways, byte by byte: none of them reaches the upstream, and the message
//! beside each, from which it differs by the trick alone, does.

use super::{
    harness::{Gate, LIMIT, Tls, setup},
    wire::{request, until_ended},
};
use bottle_testkit::{TlsUpstream, wait_until};
use serde_json::json;
use std::{
    io::{Read, Write},
    time::Duration,
};

/// The head of a request with these lines between `Host` and its end; `|` is a line break.
fn h1(first: &str, lines: &str, body: &str) -> Vec<u8> {
    format!("{first}\r\n{lines}\r\n\r\n{body}").replace('|', "\r\n").into_bytes()
}

const POST: &str = "POST /echo HTTP/1.1|Host: api.test";
const GET: &str = "GET /echo HTTP/1.1|Host: api.test";

/// What differs by the trick: a bad request and a good one, each as first line with `Host`, further lines, body.
type Case = (&'static str, (&'static str, &'static str, &'static str), (&'static str, &'static str, &'static str));

/// One chunk of three bytes.
const CHUNKS: &str = "3|abc|0||";
const CHUNKED: (&str, &str, &str) = (POST, "Transfer-Encoding: chunked", CHUNKS);
const SIZED: (&str, &str, &str) = (POST, "Content-Length: 3", "abc");
const PLAIN: (&str, &str, &str) = (GET, "X-Note: a", "");

const H1: &[Case] = &[
    ("length and chunks", (POST, "Content-Length: 3|Transfer-Encoding: chunked", CHUNKS), CHUNKED),
    ("chunks and length", (POST, "Transfer-Encoding: chunked|Content-Length: 3", CHUNKS), CHUNKED),
    ("two lengths", (POST, "Content-Length: 3|Content-Length: 3", "abc"), SIZED),
    ("a list of lengths", (POST, "Content-Length: 3, 3", "abc"), SIZED),
    ("a length with a plus", (POST, "Content-Length: +3", "abc"), SIZED),
    ("a negative length", (POST, "Content-Length: -3", "abc"), SIZED),
    ("a length in hex", (POST, "Content-Length: 0x3", "abc"), SIZED),
    ("a length with a fraction", (POST, "Content-Length: 3.0", "abc"), SIZED),
    ("a length beyond numbers", (POST, "Content-Length: 18446744073709551619", "abc"), SIZED),
    ("a length without digits", (POST, "Content-Length: ", "abc"), SIZED),
    ("a length spelled with _", (POST, "Content-Length: 3|Content_Length: 0", "abc"), SIZED),
    ("space before the colon of a length", (POST, "Content-Length : 3", "abc"), SIZED),
    ("space before the colon of an encoding", (POST, "Transfer-Encoding : chunked", CHUNKS), CHUNKED),
    ("two encodings", (POST, "Transfer-Encoding: chunked|Transfer-Encoding: chunked", CHUNKS), CHUNKED),
    ("a list of encodings", (POST, "Transfer-Encoding: gzip, chunked", CHUNKS), CHUNKED),
    ("chunked not last", (POST, "Transfer-Encoding: chunked, identity", CHUNKS), CHUNKED),
    ("identity", (POST, "Transfer-Encoding: identity", "abc"), CHUNKED),
    ("an encoding with a parameter", (POST, "Transfer-Encoding: chunked;q=1", CHUNKS), CHUNKED),
    ("a quoted encoding", (POST, "Transfer-Encoding: \"chunked\"", CHUNKS), CHUNKED),
    ("an encoding behind a vertical tab", (POST, "Transfer-Encoding:\x0bchunked", CHUNKS), CHUNKED),
    ("an encoding of no name", (POST, "Transfer-Encoding: xchunked", CHUNKS), CHUNKED),
    ("an encoding spelled with _", (POST, "Transfer_Encoding: chunked|Content-Length: 3", "abc"), SIZED),
    ("chunks in HTTP/1.0", ("POST /echo HTTP/1.0|Host: api.test", "Transfer-Encoding: chunked", CHUNKS), CHUNKED),
    ("a chunk's extension", (POST, "Transfer-Encoding: chunked", "3;a=b|abc|0||"), CHUNKED),
    ("a chunk's size with a space", (POST, "Transfer-Encoding: chunked", "3 |abc|0||"), CHUNKED),
    ("a chunk's size with a sign", (POST, "Transfer-Encoding: chunked", "+3|abc|0||"), CHUNKED),
    ("a chunk's size in 0x", (POST, "Transfer-Encoding: chunked", "0x3|abc|0||"), CHUNKED),
    ("a chunk's size beyond numbers", (POST, "Transfer-Encoding: chunked", "10000000000000003|abc|0||"), CHUNKED),
    ("a chunk's size that wraps", (POST, "Transfer-Encoding: chunked", "ffffffffffffffff|abc|0||"), CHUNKED),
    ("a chunk's size ended by LF", (POST, "Transfer-Encoding: chunked", "3\nabc|0||"), CHUNKED),
    ("a chunk longer than it says", (POST, "Transfer-Encoding: chunked", "3|abcd|0||"), CHUNKED),
    ("a length among the trailers", (POST, "Transfer-Encoding: chunked", "3|abc|0|Content-Length: 9||"), CHUNKED),
    ("a host among the trailers", (POST, "Transfer-Encoding: chunked", "3|abc|0|Host: other.test||"), CHUNKED),
    ("a folded line", (GET, "X-Note: a|  b", ""), PLAIN),
    ("a folded first line", ("GET /echo HTTP/1.1| Host: api.test", "X: y", ""), PLAIN),
    ("a line ended by LF", (GET, "X-Note: a\nX-More: b", ""), PLAIN),
    ("a line ended by CR", (GET, "X-Note: a\rX-More: b", ""), PLAIN),
    ("a NUL in a value", (GET, "X-Note: a\0b", ""), PLAIN),
    ("a NUL in a name", (GET, "X-No\0te: a", ""), PLAIN),
    ("a space in a name", (GET, "X Note: a", ""), PLAIN),
    ("a line without a colon", (GET, "X-Note", ""), PLAIN),
    ("an empty name", (GET, ": a", ""), PLAIN),
    ("two hosts", (GET, "Host: api.test", ""), PLAIN),
    ("no host", ("GET /echo HTTP/1.1", "X: y", ""), PLAIN),
    ("another host", ("GET /echo HTTP/1.1|Host: other.test", "X: y", ""), PLAIN),
    ("a host with a user", ("GET /echo HTTP/1.1|Host: api.test@other.test", "X: y", ""), PLAIN),
    ("a host with a path", ("GET /echo HTTP/1.1|Host: api.test/", "X: y", ""), PLAIN),
    ("a host with two ports", ("GET /echo HTTP/1.1|Host: api.test:443:80", "X: y", ""), PLAIN),
    ("a host with a signed port", ("GET /echo HTTP/1.1|Host: api.test:+443", "X: y", ""), PLAIN),
    ("a host with a port and a zero", ("GET /echo HTTP/1.1|Host: api.test:0443", "X: y", ""), PLAIN),
    ("another port", ("GET /echo HTTP/1.1|Host: api.test:80", "X: y", ""), PLAIN),
    ("absolute form of another host", ("GET https://other.test/echo HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("absolute form of another scheme", ("GET http://api.test/echo HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("absolute form with a user", ("GET https://a@api.test/echo HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("authority form", ("GET api.test:443 HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("a target without a slash", ("GET echo HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("a target with a space", ("GET /echo x HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("two spaces", ("GET  /echo HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("a tab for a space", ("GET\t/echo HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("a line before the first", ("|GET /echo HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("HTTP/0.9", ("GET /echo", "", ""), PLAIN),
    ("HTTP/1.2", ("GET /echo HTTP/1.2|Host: api.test", "X: y", ""), PLAIN),
    ("HTTP/2.0 in words", ("GET /echo HTTP/2.0|Host: api.test", "X: y", ""), PLAIN),
    ("http in small letters", ("GET /echo http/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("the preface of HTTP/2", ("PRI * HTTP/2.0||SM", "", ""), PLAIN),
    ("CONNECT in a tunnel", ("CONNECT other.test:443 HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("h2c", (GET, "Connection: upgrade|Upgrade: h2c", ""), PLAIN),
    ("h2c by its settings", (GET, "HTTP2-Settings: AAMAAABkAAQAAP__", ""), PLAIN),
    ("two upgrades", (GET, "Connection: upgrade|Upgrade: websocket, h2c", ""), PLAIN),
    ("an upgrade of a POST", (POST, "Connection: upgrade|Upgrade: websocket|Content-Length: 3", "abc"), SIZED),
    ("the host named by Connection", (GET, "Connection: close, host", ""), PLAIN),
    ("the length named by Connection", (POST, "Connection: content-length|Content-Length: 3", "abc"), SIZED),
    (
        "the encoding named by Connection",
        (POST, "Connection: Transfer-Encoding|Transfer-Encoding: chunked", CHUNKS),
        CHUNKED,
    ),
    ("an odd expectation", (POST, "Expect: 200-ok|Content-Length: 3", "abc"), SIZED),
    ("two expectations", (POST, "Expect: 100-continue|Expect: 100-continue|Content-Length: 3", "abc"), SIZED),
    ("TRACE", ("TRACE /echo HTTP/1.1|Host: api.test", "Max-Forwards: 0", ""), PLAIN),
    ("track", ("track /echo HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("a backslash", ("GET /echo/..\\admin HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("a line break in the path", ("GET /echo/%0d%0aX HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
    ("a NUL in the path", ("GET /echo/%00 HTTP/1.1|Host: api.test", "X: y", ""), PLAIN),
];

/// Reads for as long as something comes.
fn answered(tls: &mut Tls) -> String {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = tls.read(&mut piece) {
        all.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&all);
        if text.contains("\r\n\r\n") && !text.contains("100 Continue\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn gate(upstream: &TlsUpstream) -> Gate {
    setup(upstream, json!([{ "host": "api.test" }, { "host": "other.test" }])).start()
}

#[test]
fn no_request_with_two_readings_arrives_and_its_neighbour_does() {
    let upstream = TlsUpstream::start(&["api.test", "other.test"]);
    let gate = gate(&upstream);
    for (name, bad, good) in H1 {
        let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
        tls.sock.set_read_timeout(Some(LIMIT)).unwrap();
        let denials = gate.denials().len();
        tls.write_all(&h1(bad.0, bad.1, bad.2)).unwrap();
        let answer = answered(&mut tls);
        assert!(!answer.contains(" 200 "), "{name}: {answer}");
        wait_until(&format!("a denial: {name}"), LIMIT, || gate.denials().len() > denials);
        assert!(upstream.take_seen().is_empty(), "{name} arrived");

        let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
        tls.write_all(&h1(good.0, good.1, good.2)).unwrap();
        let answer = answered(&mut tls);
        assert!(answer.starts_with("HTTP/1.1 200"), "beside {name}: {answer}");
        assert_eq!(upstream.take_seen().len(), 1, "beside {name}");
    }
}

/// A name, the fields of a request, and its body.
type Fields = (&'static str, Vec<(&'static str, &'static str)>, &'static str);

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const HOST: (&str, &str) = (":authority", "api.test");
const PATH: (&str, &str) = (":path", "/echo");

#[test]
fn no_http2_request_with_two_readings_arrives_and_its_neighbour_does() {
    let upstream = TlsUpstream::start(&["api.test", "other.test"]);
    let gate = gate(&upstream);
    let good = [METHOD, SCHEME, HOST, PATH, ("x-note", "a")];
    let with = |field| [&good[..], &[field]].concat();
    let instead = |index: usize, field| {
        let mut fields = good.to_vec();
        fields[index] = field;
        fields
    };
    let cases: Vec<Fields> = vec![
        ("two authorities", [&[HOST], &good[..]].concat(), ""),
        ("another authority", instead(2, (":authority", "other.test")), ""),
        ("an authority with a user", instead(2, (":authority", "a@api.test")), ""),
        ("another port", instead(2, (":authority", "api.test:80")), ""),
        ("an authority and another host", with(("host", "other.test")), ""),
        ("two hosts", [&with(("host", "api.test"))[..], &[("host", "api.test")]].concat(), ""),
        ("no authority and no host", vec![METHOD, SCHEME, PATH], ""),
        ("a path without a slash", instead(3, (":path", "echo")), ""),
        ("an empty path", instead(3, (":path", "")), ""),
        ("an absolute path", instead(3, (":path", "https://other.test/echo")), ""),
        ("two paths", [&[PATH], &good[..]].concat(), ""),
        ("two methods", [&[METHOD], &good[..]].concat(), ""),
        ("no method", vec![SCHEME, HOST, PATH], ""),
        ("a method with a space", instead(0, (":method", "GET /x")), ""),
        ("no path", vec![METHOD, SCHEME, HOST], ""),
        ("another scheme", instead(1, (":scheme", "http")), ""),
        ("a pseudo-header of a response", [&[(":status", "200")], &good[..]].concat(), ""),
        ("an unknown pseudo-header", [&[(":path2", "/x")], &good[..]].concat(), ""),
        ("a pseudo-header after others", vec![METHOD, SCHEME, ("x-note", "a"), HOST, PATH], ""),
        ("capitals in a name", with(("X-More", "b")), ""),
        ("a line break in a value", with(("x-more", "b\r\nx: y")), ""),
        ("a NUL in a value", with(("x-more", "b\0")), ""),
        ("a colon in a name", with(("x-more: b\r\nx", "y")), ""),
        ("connection", with(("connection", "close")), ""),
        ("keep-alive", with(("keep-alive", "1")), ""),
        ("proxy-connection", with(("proxy-connection", "close")), ""),
        ("transfer-encoding", with(("transfer-encoding", "chunked")), "abc"),
        ("upgrade", with(("upgrade", "websocket")), ""),
        ("te", with(("te", "gzip")), ""),
        ("a wrong length", with(("content-length", "5")), "abc"),
        ("two lengths", [&with(("content-length", "3"))[..], &[("content-length", "4")]].concat(), "abc"),
        ("a signed length", with(("content-length", "+3")), "abc"),
        ("a length spelled with _", with(("content_length", "3")), ""),
        ("an odd expectation", with(("expect", "200-ok")), ""),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "other.test:443")], ""),
        ("CONNECT to a WebSocket", [&[(":method", "CONNECT"), (":protocol", "websocket")], &good[1..4]].concat(), ""),
        ("TRACE", instead(0, (":method", "TRACE")), ""),
        ("a backslash", instead(3, (":path", "/echo\\..\\x")), ""),
        ("a line break in the path", instead(3, (":path", "/echo%0d%0a")), ""),
    ];
    for (name, fields, body) in cases {
        let ask = |bytes: &[u8]| {
            let mut tls = gate.tls_with(gate.connect("api.test:443"), "api.test", &[b"h2"]).unwrap();
            tls.sock.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
            tls.write_all(bytes).unwrap();
            tls
        };
        let mut bad = ask(&request(&fields, body));
        // Until the stream or the connection ends, or an answer begins: what would arrive has arrived by then.
        let ended = until_ended(&mut bad);
        let seen = upstream.take_seen();
        assert!(seen.iter().all(|seen| name == "a wrong length" && seen.body.len() < 5), "{name} arrived: {seen:?}");
        assert!(ended, "{name} was left open");
        let neighbour = ask(&request(&good, ""));
        wait_until(&format!("the neighbour of {name}"), LIMIT, || upstream.seen().len() == 1);
        drop((bad, neighbour));
        upstream.take_seen();
    }
}
