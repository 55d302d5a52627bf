//! Requests that wait for the operator, and refusals that say how to ask.

use super::harness::{Gate, Setup, setup};
use bottle_gate::limits::MAX_ASKED;
use bottle_spec::{
    gate_link::GateToKeeper,
    operator::{HeldRequest, OperatorDecision, OperatorRequest, Requested},
};
use bottle_testkit::{TlsUpstream, wait_for, wait_until};
use serde_json::{Value, json};
use std::{thread, time::Duration};

const SECRET: &str = "correct-horse-battery-staple";
const SOON: Duration = Duration::from_secs(30);

fn asking(upstream: &TlsUpstream, route: Value) -> Setup {
    let mut route = route;
    route["host"] = json!("api.test");
    setup(upstream, json!([route])).secret("env:HORSE", SECRET)
}

/// What the keeper is told next, but for what it need not answer.
fn told(gate: &Gate) -> GateToKeeper {
    wait_for("word to the keeper", SOON, || gate.questions.lock().unwrap().try_recv().ok())
}

fn question(gate: &Gate) -> (String, HeldRequest) {
    match told(gate) {
        GateToKeeper::Ask { id, kind, request, expires } => {
            let request: OperatorRequest = serde_json::from_str(&request).unwrap();
            assert_eq!((&request.id, request.expires, kind.as_str()), (&id, expires, "held"));
            let Requested::Held(held) = request.what else { panic!("{request:?}") };
            (id, held)
        }
        other => panic!("{other:?}"),
    }
}

fn answer(gate: &Gate, id: &str, allow: bool) {
    gate.operator.decided(&OperatorDecision { allow, why: None, ..OperatorDecision::no(id, String::new(), "") });
}

#[test]
fn a_request_with_a_finding_waits_and_a_yes_lets_this_one_go() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = asking(&upstream, json!({ "on_finding": "ask" })).start();
    let body = format!("say {SECRET}");
    let send = || gate.curl(&["--data-binary", &body, "https://api.test/echo?q=1"]);
    for (allow, status) in [(true, 200), (false, 403)] {
        thread::scope(|scope| {
            let sending = scope.spawn(send);
            let (id, held) = question(&gate);
            assert_eq!((held.method.as_str(), held.host.as_str(), held.path.as_str()), ("POST", "api.test", "/echo"));
            let shown = held.findings.join("\n");
            assert!(shown.contains("known-secret env:HORSE in body") && !shown.contains(SECRET), "{shown}");
            assert!(upstream.seen().len() <= usize::from(!allow), "something left before the answer");
            answer(&gate, &id, allow);
            assert_eq!(sending.join().unwrap().status, status);
        });
    }
    assert_eq!(upstream.take_seen().len(), 1);
    gate.denied("not_approved");
    // A clean request waits for nobody.
    assert_eq!(gate.curl(&["https://api.test/echo"]).status, 200);
    // What is found in a head is not shown where it stands.
    let url = format!("https://api.test/{SECRET}");
    thread::scope(|scope| {
        let sending = scope.spawn(|| gate.curl(&[&url]));
        let (id, held) = question(&gate);
        assert_eq!(held.path, "");
        answer(&gate, &id, false);
        assert_eq!(sending.join().unwrap().reason(), "not_approved");
    });
}

#[test]
fn a_route_can_ask_about_each_request_and_a_client_that_leaves_takes_its_own_back() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = asking(&upstream, json!({ "ask": true })).start();
    thread::scope(|scope| {
        let sending = scope.spawn(|| gate.curl(&["https://api.test/echo"]));
        let (id, held) = question(&gate);
        assert_eq!(held.findings, [] as [String; 0]);
        answer(&gate, &id, true);
        assert_eq!(sending.join().unwrap().status, 200);
    });
    gate.curl(&["-m", "1", "https://api.test/echo"]);
    let (id, _) = question(&gate);
    assert!(matches!(told(&gate), GateToKeeper::Withdraw { id: back } if back == id));
    // An answer that comes too late is for nobody.
    answer(&gate, &id, true);
    assert_eq!(upstream.take_seen().len(), 1);
}

#[test]
fn a_client_that_reads_events_hears_that_its_request_waits() {
    const NEWS: &str = ": waiting for the operator\n\n";
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = asking(&upstream, json!({ "ask": true })).start();
    let field = tempfile::tempdir().unwrap();
    let table = [
        ("sse/2", true, "data: 0\n\ndata: 1\n\n"),
        ("echo", true, "event: error\ndata: {\"body\":"),
        ("sse/2", false, "event: error\ndata: {\"body\":{\"error\":\"not_approved\""),
    ];
    for (number, (path, allow, rest)) in table.into_iter().enumerate() {
        let (file, url) = (field.path().join(number.to_string()), format!("https://api.test/{path}"));
        let shown = file.display().to_string();
        let read = || std::fs::read_to_string(&file).unwrap_or_default();
        thread::scope(|scope| {
            let arguments = ["--compressed", "--no-buffer", "-o", &shown, "-H", "accept: text/event-stream", &url];
            let gate = &gate;
            let sending = scope.spawn(move || gate.curl(&arguments));
            let (id, _) = question(gate);
            wait_until("word that it waits", SOON, || read().contains(NEWS));
            answer(gate, &id, allow);
            assert_eq!(sending.join().unwrap().status, 200);
        });
        let said = read();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: text/event-stream"), "{said}");
        assert!(body.replace(NEWS, "").starts_with(rest), "{said}");
    }
    assert_eq!(upstream.take_seen().len(), 2);
    // One that is answered before that sees nothing of it.
    let arguments = ["-H", "accept: text/event-stream", "https://api.test/sse/2"];
    thread::scope(|scope| {
        let sending = scope.spawn(|| gate.curl(&arguments));
        answer(&gate, &question(&gate).0, false);
        assert_eq!(sending.join().unwrap().reason(), "not_approved");
    });
}

#[test]
fn no_answer_is_a_no_and_few_wait_at_once() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = asking(&upstream, json!({ "ask": true })).start();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..MAX_ASKED)
            .map(|_| scope.spawn(|| gate.curl(&["--http1.1", "-m", "600", "https://api.test/echo"])))
            .collect();
        let ids: Vec<String> = (0..MAX_ASKED).map(|_| question(&gate).0).collect();
        assert_eq!(gate.curl(&["https://api.test/echo"]).reason(), "limit_exceeded");
        // What the keeper does not put before anybody is a no.
        gate.operator.asked(&ids[0], Err("too many".to_owned()));
        wait_until("the refusal", SOON, || waiting.iter().any(|sending| sending.is_finished()));
        gate.hurried(|| {
            for sending in waiting {
                assert_eq!(sending.join().unwrap().reason(), "not_approved");
            }
        });
    });
    assert_eq!(upstream.take_seen().len(), 0);
}

#[test]
fn a_refusal_names_the_tool_where_there_is_one() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let route = json!({ "methods": ["GET"], "paths": ["/echo/**"] });
    let gate = asking(&upstream, route.clone()).supervised().start();
    let refused = gate.curl(&["-X", "POST", "https://api.test/echo/a?q=1"]).json();
    let arguments = json!({ "host": "api.test", "reason": "", "methods": ["POST"], "paths": ["/echo/a"] });
    let ask = json!({ "server": "http://127.0.0.1:9100/mcp", "tool": "request_egress", "arguments": arguments });
    assert_eq!(refused["ask"], ask, "{refused}");
    let refused = gate.curl(&["http://other.test/x"]).json();
    assert_eq!(refused["ask"]["arguments"]["port"], 80, "{refused}");
    let gate = asking(&upstream, route).start();
    let refused = gate.curl(&["-X", "POST", "https://api.test/echo/a"]).json();
    assert_eq!(refused["ask"], Value::Null, "{refused}");
}
