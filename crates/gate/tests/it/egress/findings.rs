//! What a route says of findings, where it cannot be done: nothing is replaced or asked about that is not at hand.

use super::{
    cuts::Noting,
    harness::{Gate, LIMIT, until_closed},
    screening::{SECRET, findings, frame, gzip, noise, protected, websocket},
    wire,
};
use bottle_spec::event::FindingAction;
use bottle_testkit::{TlsUpstream, wait_until};
use serde_json::json;
use std::io::{Read, Write};

fn actions(gate: &Gate) -> Vec<FindingAction> {
    findings(gate).iter().map(|found| found.action).collect()
}

/// A file with these bytes, as curl takes it.
fn file(gate: &Gate, bytes: &[u8]) -> String {
    let file = gate.path("body");
    std::fs::write(&file, bytes).unwrap();
    format!("@{}", file.display())
}

#[test]
fn a_long_body_is_redacted_on_its_way_and_a_packed_one_is_refused() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = protected(&upstream, json!({ "on_finding": "redact" })).start();
    let body = |secret: &str| [&noise(300_000)[..], b" say ", secret.as_bytes(), b" now ", &noise(200)].concat();
    let long = file(&gate, &body(SECRET));
    for version in ["--http1.1", "--http2"] {
        let answer = gate.curl(&[version, "-H", "Expect:", "--data-binary", &long, "https://api.test/echo"]);
        assert_eq!(answer.status, 200, "{version}");
        let seen = upstream.take_seen().pop().unwrap();
        assert!(seen.body == body("[redacted:known-secret]"), "{version}: {} bytes", seen.body.len());
    }
    assert_eq!(actions(&gate), [FindingAction::Redact; 2]);
    for packed in [gzip(SECRET.as_bytes()), gzip(&body(SECRET))] {
        let data = file(&gate, &packed);
        let args = ["-H", "Content-Encoding: gzip", "-H", "Expect:", "--data-binary", &data, "https://api.test/echo"];
        let answer = gate.curl(&args);
        assert_eq!((answer.status, answer.reason().as_str()), (403, "finding"), "{answer:?}");
        assert_eq!(actions(&gate).pop(), Some(FindingAction::Block));
    }
    assert!(upstream.seen().iter().all(|seen| seen.body.len() < 1_000), "no packed body arrived whole");
}

#[test]
fn a_message_of_a_websocket_is_redacted_and_a_ping_is_not() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = protected(&upstream, json!({ "on_finding": "redact" })).start();
    let mut tls = websocket(&gate);
    let (start, end) = SECRET.split_at(10);
    let text = b"say [redacted:known-secret] now";
    for message in [
        frame(0x81, format!("say {SECRET} now").as_bytes()),
        [frame(0x01, format!("say {start}").as_bytes()), frame(0x80, format!("{end} now").as_bytes())].concat(),
    ] {
        tls.write_all(&message).unwrap();
        let (mut back, mut last) = (Vec::new(), false);
        while !last {
            let mut head = [0; 2];
            tls.read_exact(&mut head).unwrap();
            last = head[0] & 0x80 != 0;
            let mut piece = vec![0; usize::from(head[1])];
            tls.read_exact(&mut piece).unwrap();
            back.extend(piece);
        }
        assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(text));
    }
    assert_eq!(actions(&gate), [FindingAction::Redact; 2]);
    tls.write_all(&frame(0x89, SECRET.as_bytes())).unwrap();
    let rest = until_closed(&mut tls);
    assert!(rest.ends_with("finding"), "{rest:?}");
    wait_until("the denial", LIMIT, || gate.denials() == ["finding"]);
}

#[test]
fn where_nobody_can_be_asked_in_time_a_finding_is_refused() {
    let noting = Noting::start(&["h2", "http/1.1"]);
    let asking = |upstream: &TlsUpstream| protected(upstream, json!({ "on_finding": "ask" })).start();
    let nobody_was_asked = |gate: &Gate| {
        let asked = gate.questions.lock().unwrap().try_recv();
        assert!(asked.is_err(), "{asked:?}");
        assert_eq!(actions(gate), [FindingAction::Block]);
        assert_eq!(gate.denials(), ["finding"]);
    };
    // More than is held.
    let gate = asking(&noting.upstream);
    let long = file(&gate, &[&noise(400_000)[..], SECRET.as_bytes()].concat());
    let answer = gate.curl(&["-H", "Expect:", "--data-binary", &long, "https://api.test/sink"]);
    assert_eq!(answer.reason(), "finding");
    nobody_was_asked(&gate);
    let came = std::mem::take(&mut *noting.came());
    assert!(!came.whole && !came.data.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    // A body of unknown length, found when its beginning is on its way.
    let gate = asking(&noting.upstream);
    let mut tls = wire::h2(&gate, &[wire::post("/sink"), wire::frame(wire::DATA, 0, b"hello ")].concat());
    wait_until("the beginning", LIMIT, || noting.came().data == b"hello ");
    tls.write_all(&wire::frame(wire::DATA, wire::END_STREAM, SECRET.as_bytes())).unwrap();
    let (answer, _) = wire::answered(&mut tls);
    assert!(answer.contains("\"finding\""), "{answer}");
    nobody_was_asked(&gate);
    assert_eq!(noting.came().data, b"hello ");
    // A message.
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = asking(&upstream);
    let mut tls = websocket(&gate);
    tls.write_all(&frame(0x81, SECRET.as_bytes())).unwrap();
    let rest = until_closed(&mut tls);
    assert!(rest.ends_with("finding"), "{rest:?}");
    wait_until("the denial", LIMIT, || !gate.denials().is_empty());
    nobody_was_asked(&gate);
}

#[test]
fn a_rule_that_is_exempt_lets_source_code_pass_and_no_other_finding() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let code = |more: &str| {
        format!(
            "//! Signs requests.\nuse std::env;\n\n/// For the tests alone.\nconst KEY: &str = \"{}{}\";\n\n\
             fn key() -> String {{\n    env::var(\"KEY\").unwrap_or_else(|_| KEY.to_owned()) // {more}\n}}\n",
            "AKIA", "Q3EGRJ5T6Y7UABCD"
        )
    };
    let route = json!({ "exempt": ["aws-access-key-id"] });
    let gate = protected(&upstream, route).start();
    let send = |host: &str, body: &str| {
        let data = file(&gate, body.as_bytes());
        gate.curl(&["-H", "Content-Type: text/x-rust", "--data-binary", &data, &format!("https://{host}/echo")])
    };
    let whole = code("as it is");
    assert_eq!(send("api.test", &whole).status, 200);
    assert_eq!(upstream.take_seen().pop().unwrap().body, whole.as_bytes());
    assert_eq!(findings(&gate), []);
    let elsewhere = send("other.test", &whole);
    assert_eq!(
        (elsewhere.reason().as_str(), &elsewhere.json()["finding"]["rule"]),
        ("finding", &json!("aws-access-key-id"))
    );
    let other = send("api.test", &code(SECRET));
    assert_eq!((other.reason().as_str(), &other.json()["finding"]["rule"]), ("finding", &json!("known-secret")));
    assert_eq!(upstream.seen(), []);
}
