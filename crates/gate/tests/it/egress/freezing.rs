//! The kill switch, as the gate does it: what is under way breaks off at once, and no order that is too old thaws.

use super::harness::{Gate, LIMIT, head, setup};
use bottle_spec::{event::FrozenBy, gate_link::GateToKeeper};
use bottle_testkit::{TlsUpstream, wait_until};
use serde_json::json;
use std::{
    io::{self, Read, Write},
    thread,
};

fn open(upstream: &TlsUpstream) -> Gate {
    setup(upstream, json!([{ "host": "api.test" }, { "host": "cdn.test", "tls": "passthrough" }])).start()
}

#[test]
fn what_is_under_way_breaks_off_at_once() {
    let upstream = TlsUpstream::start(&["api.test", "cdn.test"]);
    let gate = open(&upstream);
    let mut websocket = gate.tunnel("api.test:443", "api.test").unwrap();
    websocket
        .write_all(
            b"GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    assert!(head(&mut websocket).starts_with("HTTP/1.1 101"));
    let file = gate.path("upload");
    std::fs::write(&file, vec![b'u'; 200_000]).unwrap();
    let data = format!("@{}", file.display());
    let upload = ["-H", "Expect:", "--limit-rate", "5K", "--data-binary", &data];
    let (gate, upstream) = (&gate, &upstream);
    thread::scope(|scope| {
        let curls: Vec<_> = ["hang", "stall", "drip/1000000", "sink"]
            .into_iter()
            .flat_map(|path| [("--http1.1", path), ("--http2", path)])
            .map(|(version, path)| {
                let url = format!("https://api.test/{path}");
                let more = if path == "sink" { &upload[..] } else { &[] };
                (path, scope.spawn(move || gate.curl(&[&[version, &url], more].concat())))
            })
            .collect();
        let ca = gate.path("upstream.pem");
        std::fs::write(&ca, upstream.authority().pem()).unwrap();
        let tunnel =
            scope.spawn(move || gate.curl(&["--cacert", &ca.display().to_string(), "https://cdn.test/drip/1000000"]));
        // The WebSocket, and these nine.
        wait_until("all of them", LIMIT, || upstream.seen().len() == 10);
        // By now their answers have begun.
        assert_eq!(gate.curl(&["https://api.test/"]).status, 200);
        gate.egress.freeze(FrozenBy::Operator);
        for (path, curl) in curls {
            let answer = curl.join().unwrap();
            match path {
                "hang" | "sink" => assert_eq!((answer.status, answer.reason().as_str()), (503, "frozen"), "{answer:?}"),
                // Neither an end nor what curl itself makes of its patience.
                _ => assert!(!matches!(answer.exit, Some(0 | 28) | None), "{path} {answer:?}"),
            }
        }
        assert!(!matches!(tunnel.join().unwrap().exit, Some(0 | 28) | None));
    });
    let ended = websocket.read(&mut [0]);
    let silent = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    assert!(!ended.as_ref().is_err_and(silent) && !matches!(ended, Ok(1..)), "{ended:?}");
    assert_eq!(gate.curl(&["https://api.test/"]).connect, 503);
    gate.egress.thaw(0);
    assert_eq!(gate.curl(&["https://api.test/"]).status, 200);
}

const CANARY: &str = "wJalrXUtnFEMIK7MDENGbPxRfiCYcanarykey123";

#[test]
fn an_order_older_than_the_canary_does_not_thaw() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).canary("AWS secret access key", CANARY).start();
    for canaries in 1..=2 {
        assert_eq!(gate.curl(&["https://api.test/"]).status, 200);
        assert_eq!(gate.curl(&["-d", CANARY, "https://api.test/"]).reason(), "finding");
        assert!(matches!(gate.questions.lock().unwrap().try_recv(), Ok(GateToKeeper::CanaryLeft)));
        gate.egress.thaw(canaries - 1);
        assert_eq!(gate.curl(&["http://api.test/"]).reason(), "frozen");
        gate.egress.thaw(canaries);
    }
    assert_eq!(gate.curl(&["https://api.test/"]).status, 200);
}
