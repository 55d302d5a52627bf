//! What stands behind a body is judged as what stands before it.

use super::{
    cuts::Noting,
    harness::{Gate, LIMIT, Setup},
    screening::{SECRET, findings, noise, protected},
    wire::{self, END_STREAM, answered, frame, h2, headers, post},
};
use bottle_testkit::{TlsUpstream, wait_until};
use serde_json::json;
use std::io::Write;

/// A gate whose secret goes as `x-mine`, before this upstream.
fn injecting(upstream: &TlsUpstream) -> Setup {
    let auth = json!({ "carrier": { "header": "x-mine" }, "secret": "env:TOKEN" });
    protected(upstream, json!({ "auth": auth })).secret("env:TOKEN", "sk-live-4242-abcdef")
}

/// A POST with a short body and these trailers, over HTTP/2; what is answered.
fn send(gate: &Gate, trailers: &[(&str, &str)]) -> String {
    let bytes = [post("/echo"), frame(wire::DATA, 0, b"hello"), headers(END_STREAM, trailers)].concat();
    answered(&mut h2(gate, &bytes)).0
}

#[test]
fn a_trailer_of_http2_that_may_not_pass_is_refused_and_its_neighbour_arrives() {
    let upstream = TlsUpstream::options(&["api.test"]).alpn(&["h2"]).start();
    let gate = injecting(&upstream).start();
    let long = "x".repeat(2_000);
    let cases = [
        (vec![("x-note", SECRET)], "finding"),
        (vec![("x-note", "correct-horse-"), ("x-more", "battery-staple")], "finding"),
        (vec![("authorization", "Bearer the-agents-own")], "request_malformed"),
        (vec![("x-checksum", "42"), ("x-api-key", "the-agents-own")], "request_malformed"),
        (vec![("x_api_key", "the-agents-own")], "request_malformed"),
        (vec![("cookie", "session=the-agents-own")], "request_malformed"),
        (vec![("x-mine", "the-agents-own")], "request_malformed"),
        (vec![("x_mine", "the-agents-own")], "request_malformed"),
        (vec![("host", "other.test")], "request_malformed"),
        (vec![("content-length", "0")], "request_malformed"),
        (vec![("content-type", "text/html")], "request_malformed"),
        (vec![("x-http-method-override", "DELETE")], "request_malformed"),
        (vec![("trailer", "x-note")], "request_malformed"),
        (vec![("x-note", "a"); 129], "limit_exceeded"),
        (vec![("x-note", &long); 9], "limit_exceeded"),
        // Of which the HTTP/2 library keeps a part.
        (vec![("x-note", &long); 40], "limit_exceeded"),
    ];
    for (trailers, reason) in cases {
        let name = trailers[0].0;
        let denials = gate.denials().len();
        let answer = send(&gate, &trailers);
        assert!(answer.contains(&format!("\"error\":\"{reason}\"")), "{name}: {answer}");
        assert!(!answer.contains(SECRET), "{answer}");
        assert_eq!(gate.denials()[denials..], [reason], "{name}");
        assert_eq!(upstream.take_seen(), [], "{name} arrived");
    }
    assert!(findings(&gate).iter().all(|found| found.place == "trailers"));
    send(&gate, &[("x-checksum", "42"), ("x-mine-too", "a")]);
    let seen = upstream.take_seen().pop().unwrap();
    let passed = [("x-checksum", "42"), ("x-mine-too", "a")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!((seen.trailers.as_slice(), seen.body.as_slice()), (&passed[..], &b"hello"[..]));
    assert_eq!(seen.header("x-mine"), Some("sk-live-4242-abcdef"));
}

#[test]
fn a_trailer_that_may_not_pass_stops_a_body_that_is_on_its_way() {
    let noting = Noting::start(&["h2"]);
    for (trailer, reason) in
        [(("x-note", SECRET), "finding"), (("x-api-key", "mine"), "request_malformed"), (("x-note", "a"), "")]
    {
        let gate = injecting(&noting.upstream).start();
        let mut tls = h2(&gate, &[post("/sink"), frame(wire::DATA, 0, b"hello")].concat());
        wait_until("the body", LIMIT, || noting.came().data == b"hello");
        tls.write_all(&headers(END_STREAM, &[trailer])).unwrap();
        let (answer, _) = answered(&mut tls);
        let came = std::mem::take(&mut *noting.came());
        if reason.is_empty() {
            assert!(came.whole && came.trailers.unwrap()["x-note"] == "a", "{answer}");
            continue;
        }
        assert!(answer.contains(reason), "{trailer:?}: {answer}");
        assert!(!came.whole && came.trailers.is_none(), "{trailer:?}: {came:?}");
        assert_eq!(gate.denials(), [reason]);
    }
}

#[test]
fn a_trailer_that_is_refused_when_the_answer_has_begun_is_written_down() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = injecting(&upstream).start();
    let mut tls = h2(&gate, &[post("/pipe"), frame(wire::DATA, 0, b"hello")].concat());
    while wire::next(&mut tls).unwrap().2 != b"hello" {}
    tls.write_all(&headers(END_STREAM, &[("authorization", "Bearer the-agents-own")])).unwrap();
    let (answer, whole) = answered(&mut tls);
    assert!(!whole, "{answer}");
    drop(tls);
    gate.denied("request_malformed");
}

#[test]
fn trailers_go_with_a_body_that_is_held_for_the_operator() {
    let upstream = TlsUpstream::options(&["api.test"]).alpn(&["h2"]).start();
    let gate = protected(&upstream, json!({ "on_finding": "ask" })).start();
    let body = noise(6 * (16 << 10));
    let length = body.len().to_string();
    let fields = [(":method", "POST"), (":scheme", "https"), (":authority", "api.test"), (":path", "/echo")];
    let fields = [&fields[..], &[("content-length", &length)]].concat();
    let mut connection = h2(&gate, &wire::opening());
    // More may be sent at once than by default, once that has been agreed to.
    while wire::next(&mut connection).unwrap().0 != wire::SETTINGS {}
    let mut bytes = [&[0, 0, 0, wire::SETTINGS, 1, 0, 0, 0, 0][..], &headers(0, &fields)].concat();
    bytes.extend(body.chunks(16 << 10).flat_map(|piece| frame(wire::DATA, 0, piece)));
    bytes.extend(headers(END_STREAM, &[("x-checksum", "42")]));
    connection.write_all(&bytes).unwrap();
    wait_until("the request", LIMIT, || !upstream.seen().is_empty());
    let seen = upstream.take_seen().pop().unwrap();
    assert!(seen.body == body, "{} bytes", seen.body.len());
    assert_eq!(seen.trailers, [("x-checksum".to_owned(), "42".to_owned())]);
}

#[test]
fn a_trailer_of_chunks_that_may_not_pass_is_refused() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let head = "POST /echo HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n";
    for name in ["Authorization", "X-Api-Key", "x_api_key", "Cookie", "X-Mine", "X_Mine", "Content-Type", "TE"] {
        let gate = injecting(&upstream).start();
        let body = format!("Trailer: {name}\r\n\r\n2\r\nhi\r\n0\r\n{name}: the-agents-own\r\n\r\n");
        let answer = gate.inside(format!("{head}{body}").as_bytes());
        assert!(!answer.contains("HTTP/1.1 200"), "{name}: {answer}");
        wait_until(&format!("a denial: {name}"), LIMIT, || gate.denials().contains(&"request_malformed"));
        assert_eq!(upstream.seen(), [], "{name}");
    }
}

#[test]
fn a_secret_in_pieces_over_the_trailers_of_several_requests_is_refused() {
    let upstream = TlsUpstream::options(&["api.test"]).alpn(&["h2"]).start();
    let gate = protected(&upstream, json!({})).start();
    let pieces: Vec<&str> = SECRET.as_bytes().chunks(5).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
    // One by one, to the first that is refused.
    let refused = |send: &dyn Fn(&str) -> String| {
        let answer = pieces.iter().map(|piece| send(piece)).find(|answer| answer.contains("\"error\""));
        assert!(answer.is_some_and(|answer| answer.contains("\"place\":\"several requests\"")));
    };
    refused(&|piece| send(&gate, &[("x-note", piece)]));
    let arrived: String = upstream.take_seen().iter().map(|seen| seen.trailers[0].1.as_str()).collect();
    assert!(SECRET.starts_with(&arrived) && arrived.len() < SECRET.len(), "{arrived}");
    // Nor does a body get by because trailers follow it.
    let gate = protected(&upstream, json!({})).start();
    refused(&|piece| {
        let body = frame(wire::DATA, 0, piece.as_bytes());
        answered(&mut h2(&gate, &[post("/echo"), body, headers(END_STREAM, &[("x-sum", "1")])].concat())).0
    });
    let arrived: String =
        upstream.take_seen().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
    assert!(SECRET.starts_with(&arrived) && arrived.len() < SECRET.len(), "{arrived}");
}
