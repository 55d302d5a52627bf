//! Budgets: what goes over them is refused before it is sent, or stopped where it stands, and the agent is told when to
//! come back.

use super::harness::{Answer, Gate, LIMIT, Setup, Tls, setup, until_closed};
use bottle_spec::event::{AuditEvent, AuditRecord, EgressEnded};
use bottle_testkit::{TlsUpstream, wait_until};
use serde_json::{Value, json};
use std::io::{Read, Write};

/// A policy that lets everything through to `api.test` and below `cdn.test`, within these budgets.
fn within(upstream: &TlsUpstream, routes: Value, budgets: Value) -> Setup {
    let mut whole = json!({ "period": 3600, "bottle": {}, "host": {}, "hosts": null, "random": null });
    whole.as_object_mut().unwrap().extend(budgets.as_object().unwrap().clone());
    let mut setup = setup(upstream, routes).set("budgets", whole);
    for name in ["a.cdn.test", "b.cdn.test", "mzxw6ytboi5dq4dvmq.cdn.test"] {
        setup.policy["resolve"][name] = json!(upstream.address().to_string());
    }
    setup
}

fn api() -> Value {
    json!([{ "host": "api.test" }, { "host": "other.test" }])
}

fn start() -> TlsUpstream {
    TlsUpstream::start(&["api.test", "other.test", "a.cdn.test", "b.cdn.test", "mzxw6ytboi5dq4dvmq.cdn.test"])
}

#[track_caller]
fn refused(answer: &Answer, budget: &str) {
    assert_eq!((answer.status, answer.reason().as_str()), (429, "budget_exceeded"), "{answer:?}");
    assert_eq!(answer.json()["budget"], budget, "{answer:?}");
    let seconds = answer.head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap_or_default();
    assert!(seconds.parse::<u64>().is_ok_and(|seconds| (1..=3825).contains(&seconds)), "{answer:?}");
    assert!(answer.json()["next_step"].as_str().unwrap().contains(seconds), "{answer:?}");
}

fn ended(gate: &Gate) -> Vec<EgressEnded> {
    let log = std::fs::read_to_string(gate.path("audit")).unwrap();
    let records = log.lines().map(|line| serde_json::from_str::<AuditRecord>(line).unwrap().event);
    records.filter_map(|event| if let AuditEvent::EgressEnded(ended) = event { Some(ended) } else { None }).collect()
}

fn file(gate: &Gate, length: usize) -> String {
    let file = gate.path(&format!("body-{length}"));
    std::fs::write(&file, vec![b'u'; length]).unwrap();
    format!("@{}", file.display())
}

#[test]
fn requests_are_counted_for_each_host_and_for_all() {
    let upstream = start();
    for version in ["--http1.1", "--http2"] {
        let budgets = json!({ "bottle": { "requests": 3 }, "host": { "requests": 2 } });
        let gate = within(&upstream, api(), budgets).start();
        let get = |host: &str| gate.curl(&[version, &format!("https://{host}/echo")]);
        assert_eq!((get("api.test").status, get("api.test").status), (200, 200));
        let before = upstream.seen().len();
        refused(&get("api.test"), "per_host.requests");
        assert_eq!(upstream.seen().len(), before, "nothing arrived");
        assert_eq!(get("other.test").status, 200);
        refused(&get("other.test"), "requests");
        let denied = gate.events().into_iter().filter_map(|event| event.budget).collect::<Vec<_>>();
        assert_eq!(denied, ["per_host.requests", "requests"]);
        // Larger ones are in force at once, and what was spent stays spent.
        let policy = json!({
            "routes": [{ "host": "api.test", "ports": [443] }], "resolve": { "api.test": upstream.address().to_string() },
            "budgets": { "period": 3600, "bottle": { "requests": 4 }, "host": {}, "hosts": null, "random": null },
        });
        gate.egress.reload(serde_json::from_value(policy).unwrap(), upstream.authority().roots()).unwrap();
        assert_eq!(get("api.test").status, 200);
        refused(&get("api.test"), "requests");
    }
}

#[test]
fn a_body_that_would_go_over_is_refused_before_any_of_it_leaves() {
    let upstream = start();
    for (version, length) in [("--http1.1", 150_000), ("--http2", 150_000), ("--http1.1", 40_000), ("--http2", 40_000)]
    {
        let gate = within(&upstream, api(), json!({ "bottle": { "bytes": length - 1000 } })).start();
        let (data, before) = (file(&gate, length), upstream.seen().len());
        let post = |data: &str| gate.curl(&[version, "-H", "Expect:", "--data-binary", data, "https://api.test/sink"]);
        refused(&post(&data), "bytes");
        assert_eq!(upstream.seen().len(), before, "{version} {length}");
        assert_eq!(post(&file(&gate, length / 2)).status, 200, "what is refused is not spent");
        refused(&post(&file(&gate, length / 2)), "bytes");
    }
}

#[test]
fn a_body_of_unknown_length_is_stopped_where_the_budget_ends() {
    let upstream = start();
    let gate = within(&upstream, api(), json!({ "bottle": { "bytes": 200_000 } })).start();
    let data = file(&gate, 400_000);
    let chunked = ["-H", "Expect:", "-H", "Transfer-Encoding: chunked"];
    let answer = gate.curl(&[&["--http1.1", "--data-binary", &data, "https://api.test/echo"], &chunked[..]].concat());
    refused(&answer, "bytes");
    assert!(upstream.seen().iter().all(|seen| seen.body.len() <= 200_000), "an end was never seen");
    wait_until("the denial", LIMIT, || gate.denials() == ["budget_exceeded"]);
    // The same without the budget.
    let gate = within(&upstream, api(), json!({})).start();
    let answer = gate.curl(&[&["--http1.1", "--data-binary", &data, "https://api.test/sink"], &chunked[..]].concat());
    assert_eq!((answer.status, answer.json()["bytes"].as_u64()), (200, Some(400_000)), "{answer:?}");
}

#[test]
fn names_and_random_text_below_a_wildcard_are_budgeted() {
    let upstream = start();
    let routes = json!([{ "host": "*.cdn.test" }, { "host": "api.test" }]);
    let gate = within(&upstream, routes.clone(), json!({ "hosts": 1 })).start();
    assert_eq!(gate.curl(&["https://a.cdn.test/echo"]).status, 200);
    refused(&gate.curl(&["https://b.cdn.test/echo"]), "hosts");
    assert_eq!(
        (gate.curl(&["https://a.cdn.test/echo"]).status, gate.curl(&["https://api.test/echo"]).status),
        (200, 200)
    );

    let gate = within(&upstream, routes, json!({ "random": 50 })).start();
    let hash = |first: char| format!("/echo/{first}f86d081884c7d659a2feaa0c55ad015?id=17");
    let get = |url: &str| gate.curl(&[url]);
    for target in [hash('a'), hash('a'), "/echo/about/us?lang=en".to_owned()] {
        assert_eq!(get(&format!("https://a.cdn.test{target}")).status, 200, "{target}");
    }
    refused(&get(&format!("https://a.cdn.test{}", hash('b'))), "random");
    refused(&get(&format!("https://a.cdn.test/echo?d=b{}", &hash('c')[7..38])), "random");
    // 18 more fit, and 18 after them do not.
    assert_eq!(get("https://mzxw6ytboi5dq4dvmq.cdn.test/echo").status, 200);
    refused(&get("https://a.cdn.test/nbswy3dpo5xxe3dea2"), "random");
    assert_eq!(get(&format!("https://api.test{}", hash('d'))).status, 200, "the operator chose this host");
}

/// Frames of two bytes until it is closed; how many came back, and what else.
fn echoes(tls: &mut Tls) -> (usize, String) {
    for count in 0..1000 {
        let mut back = [0; 4];
        let sent = tls.write_all(b"\x81\x82\0\0\0\0ok");
        if sent.is_err() || tls.read_exact(&mut back).is_err() || back != *b"\x81\x02ok" {
            let rest = until_closed(tls);
            return (count, [&String::from_utf8_lossy(&back), rest.as_str()].concat());
        }
    }
    (1000, String::new())
}

#[test]
fn a_websocket_and_a_tunnel_end_where_the_budget_does() {
    let upstream = start();
    let gate = within(&upstream, api(), json!({ "host": { "bytes": 1500 } })).start();
    let (count, rest) = echoes(&mut gate.websocket());
    assert!((1..300).contains(&count) && rest.ends_with("budget_exceeded"), "{count} {rest:?}");
    wait_until("the denial", LIMIT, || gate.denials() == ["budget_exceeded"]);

    let passthrough = json!([{ "host": "api.test", "tls": "passthrough" }]);
    let gate = within(&upstream, passthrough.clone(), json!({ "host": { "bytes": 5000 } })).start();
    let (count, rest) = echoes(&mut gate.websocket());
    assert!((1..300).contains(&count) && !rest.contains("budget"), "what is in TLS is not ours to add to: {rest:?}");
    wait_until("the denial", LIMIT, || gate.denials() == ["budget_exceeded"]);

    let gate = within(&upstream, passthrough, json!({ "bottle": { "requests": 1 } })).start();
    assert_eq!(echoes(&mut gate.websocket()).0, 1000, "no budget of bytes");
    let answer = gate.raw(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("\r\nretry-after: "), "{answer}");
}

#[test]
fn the_log_says_how_requests_went() {
    let upstream = start();
    let gate = setup(&upstream, json!([{ "host": "api.test" }, { "host": "cdn.test", "tls": "passthrough" }])).start();
    let data = file(&gate, 100_000);
    assert_eq!(gate.curl(&["--data-binary", &data, "https://api.test/size/7000"]).status, 200);
    assert_eq!(gate.curl(&["https://api.test/status/404"]).status, 404);
    assert_eq!(gate.curl(&["--insecure", "https://cdn.test/size/9000"]).status, 200);
    gate.curl(&["https://api.test/echo"]);
    wait_until("the ends of the first three", LIMIT, || {
        gate.curl(&["https://api.test/echo"]);
        ended(&gate).len() >= 3
    });
    let (ended, log) = (ended(&gate), std::fs::read_to_string(gate.path("audit")).unwrap());
    let of = |seq: u64| {
        let line = log.lines().find(|line| line.starts_with(&format!("{{\"seq\":{seq},"))).unwrap();
        serde_json::from_str::<Value>(line).unwrap()
    };
    let told = |path: &str| ended.iter().find(|ended| of(ended.of)["path"] == path).unwrap();
    let (size, missing) = (told("/size/7000"), told("/status/404"));
    assert_eq!((size.status, size.sent, size.received), (Some(200), 100_000, 7000), "{size:?}");
    assert_eq!((missing.status, missing.sent), (Some(404), 0), "{missing:?}");
    let tunnel = ended.iter().find(|ended| of(ended.of)["host"] == "cdn.test").unwrap();
    assert!(tunnel.status.is_none() && tunnel.received > 9000 && tunnel.sent > 0, "{tunnel:?}");
}
