//! The screen: what must not leave does not, wherever it stands and however late it comes.

use super::{
    floods::encoded,
    harness::{Gate, LIMIT, Setup, head, setup, until_closed},
};
use bottle_spec::{
    event::{AuditEvent, AuditRecord, FindingAction, FindingEvent},
    gate_link::GateToKeeper,
};
use bottle_testkit::{TlsUpstream, wait_until};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use std::io::{Read, Write};
use tokio::io::AsyncWriteExt;

pub(super) const SECRET: &str = "correct-horse-battery-staple";

pub(super) fn protected(upstream: &TlsUpstream, route: serde_json::Value) -> Setup {
    let mut route = route;
    route.as_object_mut().unwrap().entry("host").or_insert(json!("api.test"));
    setup(upstream, json!([route, { "host": "other.test" }])).secret("env:HORSE", SECRET)
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

fn packed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    encoded(coding, async |encoder| encoder.write_all(bytes).await.unwrap())
}

/// Text in which nothing repeats, so that it stays long when it is compressed.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"abcdefghijklmnop q"[(state >> 24) as usize % 18]
    };
    (0..length).map(|_| next()).collect()
}

pub(super) fn findings(gate: &Gate) -> Vec<FindingEvent> {
    let log = std::fs::read_to_string(gate.path("audit")).unwrap();
    assert!(!log.contains(SECRET), "{log}");
    let records = log.lines().map(|line| serde_json::from_str::<AuditRecord>(line).unwrap().event);
    records.filter_map(|event| if let AuditEvent::Finding(finding) = event { Some(finding) } else { None }).collect()
}

#[test]
fn a_secret_is_refused_wherever_it_stands() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = protected(&upstream, json!({})).start();
    let body = gate.path("body");
    std::fs::write(&body, format!("{{\"a\":\"{SECRET}\"}}")).unwrap();
    let body = format!("@{}", body.display());
    let header = format!("X-Note: {SECRET}");
    let packed = CODINGS.map(|coding| {
        let file = gate.path(coding);
        std::fs::write(&file, packed(coding, format!("say {SECRET}").as_bytes())).unwrap();
        (format!("Content-Encoding: {coding}"), format!("@{}", file.display()))
    });
    let packed = packed.each_ref().map(|(coding, data)| ["-H", coding, "--data-binary", data, "https://api.test/echo"]);
    let cases: [(&[&str], &str); 6] = [
        (&[&format!("https://api.test/echo/{SECRET}/x")], "path"),
        (&[&format!("https://api.test/echo?q={SECRET}")], "query"),
        (&["-H", &header, "https://api.test/echo"], "header"),
        (&["--data-binary", &body, "https://api.test/echo"], "body"),
        (&["-H", "Transfer-Encoding: chunked", "--data-binary", &body, "https://api.test/echo"], "body"),
        (&["-X", SECRET, "https://api.test/echo"], "method"),
    ];
    for version in ["--http1.1", "--http2"] {
        let packed = packed.iter().map(|args| (&args[..], "body"));
        for (args, place) in cases.iter().copied().chain(packed) {
            if version == "--http2" && args.contains(&"Transfer-Encoding: chunked") {
                continue;
            }
            let answer = gate.curl(&[&[version], args].concat());
            assert_eq!((answer.status, answer.reason().as_str()), (403, "finding"), "{version} {place} {answer:?}");
            let shown = &answer.json()["finding"];
            assert_eq!(shown["rule"], "known-secret", "{answer:?}");
            assert!(!answer.body.contains(SECRET) && answer.body.contains("corr… (28 bytes)"), "{answer:?}");
            assert!(!answer.body.contains("env:HORSE"), "how the host keeps its secrets is not told");
            let event = findings(&gate).pop().unwrap();
            assert_eq!((event.action, event.name.as_deref()), (FindingAction::Block, Some("env:HORSE")), "{event:?}");
        }
    }
    assert_eq!(upstream.seen(), [], "nothing went upstream");
    assert_eq!(gate.curl(&["https://api.test/echo"]).status, 200);
}

#[test]
fn a_secret_as_the_name_of_a_host_that_is_handed_on_is_refused() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let route = json!({ "host": "*.api.test", "tls": "passthrough" });
    for name in ["correct-horse-battery-staple.api.test", "correct.horse.battery.staple.api.test"] {
        let mut setup = protected(&upstream, route.clone());
        setup.policy["resolve"][name] = json!(upstream.address().to_string());
        let gate = setup.start();
        let answer = gate.raw(format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("\"finding\""), "{answer}");
        assert!(
            !answer.contains("battery") && !std::fs::read_to_string(gate.path("audit")).unwrap().contains("battery")
        );
        assert_eq!(findings(&gate)[0].place, "host");
    }
    let gate = protected(&upstream, json!({ "tls": "passthrough" })).start();
    drop(gate.connect("api.test:443"));
}

#[test]
fn a_secret_as_the_name_of_a_host_whose_requests_are_read_is_refused() {
    let upstream = TlsUpstream::start(&["api.test"]);
    for name in ["correct-horse-battery-staple.api.test", "correct.horse.battery.staple.api.test"] {
        let mut setup = protected(&upstream, json!({ "host": "*.api.test" }));
        setup.policy["resolve"][name] = json!(upstream.address().to_string());
        let gate = setup.start();
        for args in [
            ["--http1.1", &format!("https://{name}/echo")],
            ["--http2", &format!("https://{name}/echo")],
            ["--http1.1", &format!("http://{name}/echo")],
        ] {
            let answer = gate.curl(&args);
            assert_eq!((answer.status, answer.reason().as_str()), (403, "finding"), "{args:?} {answer:?}");
            assert!(!answer.body.contains("battery"), "{answer:?}");
            let place = findings(&gate).pop().unwrap().place;
            assert!(["host", "header host"].contains(&place.as_str()), "{args:?} {place}");
        }
        let log = std::fs::read_to_string(gate.path("audit")).unwrap();
        assert!(!log.contains("battery"), "{log}");
        assert_eq!(gate.denials(), ["finding"; 3]);
    }
    assert_eq!(upstream.seen(), []);
}

#[test]
fn a_secret_in_trailers_is_refused() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = protected(&upstream, json!({})).start();
    let answer = gate.inside(
        format!(
            "POST /echo HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nTrailer: x-note\r\n\
             Connection: close\r\n\r\n2\r\nhi\r\n0\r\nx-note: {SECRET}\r\n\r\n"
        )
        .as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("\"finding\""), "{answer}");
    assert_eq!(findings(&gate)[0].place, "trailers");
    assert_eq!(upstream.seen(), []);
}

#[test]
fn what_is_found_late_stops_the_body() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = protected(&upstream, json!({})).start();
    let late = [&noise(600_000)[..], SECRET.as_bytes(), b" and more"].concat();
    for (name, bytes, coding) in
        [("plain", late.clone(), None), ("packed", gzip(&late), Some("Content-Encoding: gzip"))]
    {
        let file = gate.path(name);
        std::fs::write(&file, bytes).unwrap();
        let data = format!("@{}", file.display());
        for version in ["--http1.1", "--http2"] {
            let mut args = vec![version, "-H", "Expect:", "--data-binary", &data, "https://api.test/echo"];
            args.extend(coding.into_iter().flat_map(|coding| ["-H", coding]));
            let answer = gate.curl(&args);
            assert_eq!((answer.status, answer.reason().as_str()), (403, "finding"), "{name} {version} {answer:?}");
        }
    }
    // `/echo` answers when it has all of the body, which it never had.
    assert!(upstream.seen().iter().all(|seen| !seen.body.windows(SECRET.len()).any(|w| w == SECRET.as_bytes())));
    assert!(upstream.seen().iter().all(|seen| seen.body.len() < 600_000), "{}", upstream.seen().len());
    // Without the secret it goes through, whole.
    let (clean, packed) = (gate.path("clean"), gate.path("packed"));
    std::fs::write(&clean, noise(600_000)).unwrap();
    std::fs::write(&packed, gzip(&noise(600_000))).unwrap();
    for version in ["--http1.1", "--http2"] {
        let data = format!("@{}", clean.display());
        let answer = gate.curl(&[version, "-H", "Expect:", "--data-binary", &data, "https://api.test/sink"]);
        assert_eq!(answer.json()["bytes"], 600_000, "{answer:?}");
        let length = std::fs::metadata(&packed).unwrap().len();
        let data = format!("@{}", packed.display());
        let coding = "Content-Encoding: gzip";
        let answer = gate.curl(&[version, "-H", coding, "--data-binary", &data, "https://api.test/sink"]);
        assert_eq!(answer.json()["bytes"], length, "{answer:?}");
    }
}

#[test]
fn a_route_says_what_a_finding_does() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let body = format!("say {SECRET} twice");
    let header = format!("X-Note: {SECRET}");
    let ask = |gate: &Gate| gate.curl(&["-H", &header, "--data-binary", &body, "https://api.test/echo"]);

    let gate = protected(&upstream, json!({ "on_finding": "log" })).start();
    assert_eq!(ask(&gate).status, 200);
    assert_eq!(upstream.take_seen()[0].body, body.as_bytes());
    assert_eq!(findings(&gate).iter().map(|event| event.action).collect::<Vec<_>>(), [FindingAction::Log; 2]);

    let gate = protected(&upstream, json!({ "on_finding": "redact" })).start();
    assert_eq!(ask(&gate).status, 200);
    let seen = upstream.take_seen().pop().unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.body), "say [redacted:known-secret] twice");
    assert_eq!(seen.header("x-note"), Some("[redacted:known-secret]"));
    assert_eq!(findings(&gate).iter().map(|event| event.action).collect::<Vec<_>>(), [FindingAction::Redact; 2]);
    // What cannot be replaced where it stands is refused.
    let answer = gate.curl(&[&format!("https://api.test/echo?q={SECRET}")]);
    assert_eq!(answer.reason(), "finding");

    let gate = protected(&upstream, json!({ "exempt": ["known-secret"] })).start();
    assert_eq!(ask(&gate).status, 200);
    assert_eq!(findings(&gate), []);
    let elsewhere = gate.curl(&["--data-binary", &body, "https://other.test/echo"]);
    assert_eq!(elsewhere.reason(), "finding", "an exemption is its route's alone");
}

#[test]
fn a_credential_that_ours_replaces_is_none() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let auth = json!({ "carrier": "bearer", "secret": "env:TOKEN" });
    let gate = protected(&upstream, json!({ "auth": auth })).secret("env:TOKEN", "sk-live-4242-abcdef").start();
    let own = format!("Authorization: Bearer {SECRET}");
    assert_eq!(gate.curl(&["-H", &own, "https://api.test/echo"]).status, 200);
    assert_eq!(upstream.seen()[0].header("authorization"), Some("Bearer sk-live-4242-abcdef"));
    let elsewhere = gate.curl(&["-H", &own, "https://other.test/echo"]);
    assert_eq!(elsewhere.reason(), "finding");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = protected(&upstream, json!({})).start();
    let mut cases = vec![
        ("an unknown coding".to_owned(), "rot13", b"hello".to_vec()),
        ("several codings".to_owned(), "gzip, gzip", gzip(&gzip(b"hello"))),
        ("two of them".to_owned(), "br, gzip", gzip(&packed("br", b"hello"))),
    ];
    for coding in CODINGS {
        let bomb = packed(coding, &vec![0; 3 << 20]);
        assert!(bomb.len() < 6_000, "{coding}: it is judged before anything goes upstream");
        let mut cut = packed(coding, &noise(3_000));
        cut.truncate(cut.len() / 2);
        let trailing = [packed(coding, b"hello"), SECRET.as_bytes().to_vec()].concat();
        let bodies = [("a bomb", bomb), ("what goes on after its end", trailing), ("half of one", cut)];
        cases.extend(bodies.map(|(name, body)| (format!("{coding}: {name}"), coding, body)));
        cases.push((format!("{coding}: none"), coding, b"hello, this is plain text".to_vec()));
    }
    for (name, coding, bytes) in cases {
        let file = gate.path("body");
        std::fs::write(&file, bytes).unwrap();
        let (coding, data) = (format!("Content-Encoding: {coding}"), format!("@{}", file.display()));
        let answer = gate.curl(&["-H", &coding, "--data-binary", &data, "https://api.test/echo"]);
        assert_eq!(answer.exit, Some(0), "{name} {answer:?}");
        assert_eq!((answer.status, answer.reason().as_str()), (403, "body_unscannable"), "{name} {answer:?}");
    }
    assert_eq!(upstream.seen(), []);
    for coding in CODINGS {
        let file = gate.path("body");
        std::fs::write(&file, packed(coding, b"hello")).unwrap();
        let (coding, data) = (format!("Content-Encoding: {coding}"), format!("@{}", file.display()));
        let answer = gate.curl(&["-H", &coding, "--data-binary", &data, "https://api.test/echo"]);
        assert_eq!(answer.status, 200, "{coding} {answer:?}");
    }
}

pub(super) fn websocket(gate: &Gate) -> super::harness::Tls {
    let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
    tls.write_all(
        b"GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Extensions: permessage-deflate\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .unwrap();
    let head = head(&mut tls);
    assert!(head.starts_with("HTTP/1.1 101") && !head.contains("deflate"), "{head}");
    tls
}

/// A frame as a client sends it.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 1, 250, 66];
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    [&[first, 0x80 | payload.len() as u8][..], &mask].concat().into_iter().chain(masked).collect()
}

#[test]
fn messages_of_a_websocket_are_searched_in_fragments_and_one_by_one() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let (start, end) = SECRET.as_bytes().split_at(10);
    let cases = [
        vec![frame(0x81, SECRET.as_bytes())],
        vec![frame(0x01, start), frame(0x80, end)],
        vec![frame(0x81, start), frame(0x81, end)],
        vec![frame(0x01, start), frame(0x89, b"ping"), frame(0x80, end)],
        vec![frame(0x89, SECRET.as_bytes())],
        vec![frame(0xc1, b"reserved bits")],
        vec![b"\x81\x02hi".to_vec()],
        vec![frame(0x80, b"continues nothing")],
        vec![frame(0x83, b"no such type")],
    ];
    for (index, frames) in cases.iter().enumerate() {
        let gate = protected(&upstream, json!({})).start();
        let mut tls = websocket(&gate);
        tls.write_all(&frame(0x82, b"hello")).unwrap();
        let mut back = [0; 7];
        tls.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"\x82\x05hello");
        for frame in frames {
            // It may be closed by now.
            let _ = tls.write_all(frame);
        }
        let rest = until_closed(&mut tls);
        let expected = if index < 5 { "finding" } else { "request_malformed" };
        assert!(rest.ends_with(expected), "case {index}: {rest:?}");
        wait_until("the denial", LIMIT, || gate.denials() == [expected]);
        assert_eq!(findings(&gate).len(), usize::from(index < 5), "case {index}");
    }
}

#[test]
fn a_long_message_passes_whole() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = protected(&upstream, json!({})).start();
    let mut tls = websocket(&gate);
    let payload = noise(200_000);
    let mask = [9, 8, 7, 6];
    let masked: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    let head = [&[0x82, 0x80 | 127][..], &200_000u64.to_be_bytes(), &mask].concat();
    tls.write_all(&head).unwrap();
    tls.write_all(&masked).unwrap();
    // The upstream sends each message back when it has all of it, in one frame.
    let (mut seen, mut last) = (Vec::new(), false);
    while !last {
        let mut head = [0; 2];
        tls.read_exact(&mut head).unwrap();
        last = head[0] & 0x80 != 0;
        let extended = match head[1] {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mut length = vec![0; extended];
        tls.read_exact(&mut length).unwrap();
        let length = match extended {
            0 => usize::from(head[1]),
            _ => length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        };
        let mut piece = vec![0; length];
        tls.read_exact(&mut piece).unwrap();
        seen.extend_from_slice(&piece);
    }
    assert!(seen == payload, "{} bytes came back", seen.len());
}

#[test]
fn a_canary_that_leaves_stops_everything() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let route = json!({ "on_finding": "log", "exempt": ["canary"] });
    let gate =
        protected(&upstream, route).canary("AWS secret access key", "wJalrXUtnFEMIK7MDENGbPxRfiCYcanarykey123").start();
    assert_eq!(gate.curl(&["https://api.test/echo"]).status, 200);
    let answer = gate.curl(&["-d", "key=wJalrXUtnFEMIK7MDENGbPxRfiCYcanarykey123", "https://api.test/echo"]);
    assert_eq!((answer.status, answer.reason().as_str()), (403, "finding"), "{answer:?}");
    assert_eq!(gate.curl(&["https://api.test/echo"]).connect, 503);
    assert_eq!(upstream.seen().len(), 1);
    let question = gate.questions.lock().unwrap().try_recv();
    assert!(matches!(question, Ok(GateToKeeper::CanaryLeft)), "{question:?}");
    assert_eq!(findings(&gate)[0].rule, "canary");
    let log = std::fs::read_to_string(gate.path("audit")).unwrap();
    assert!(log.contains(r#""event":"frozen","frozen":true,"by":"canary""#), "{log}");
}

#[test]
fn a_renewed_secret_is_known_and_so_is_its_former_value() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = protected(&upstream, json!({})).start();
    let send = |text: &str| gate.curl(&["-d", text, "https://api.test/echo"]).status;
    assert_eq!((send(SECRET), send("a-brand-new-pony-in-town")), (403, 200));
    let renewed = bottle_spec::secret::Secret::new("a-brand-new-pony-in-town".to_owned());
    gate.vault.deliver(&"env:HORSE".parse().unwrap(), Ok(renewed));
    assert_eq!((send(SECRET), send("a-brand-new-pony-in-town")), (403, 403));
}
