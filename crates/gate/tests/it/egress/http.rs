//! HTTP: every request is asked about, none can be read in two ways, and limits hold.

use super::harness::{Gate, LIMIT, bare, head, setup, until_closed};
use bottle_spec::event::FrozenBy;
use bottle_testkit::{ScriptedUpstream, TlsUpstream, wait_until};
use serde_json::json;
use std::io::{Read, Write};

fn open(upstream: &TlsUpstream) -> Gate {
    setup(upstream, json!([{ "host": "api.test" }])).start()
}

#[test]
fn every_request_of_a_tunnel_is_asked_about() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let routes = json!([{ "host": "api.test", "methods": ["GET"], "paths": ["/a/**"] }]);
    let gate = setup(&upstream, routes).start();
    let answer = gate.inside(
        b"GET /a/1 HTTP/1.1\r\nHost: api.test\r\n\r\nGET /b HTTP/1.1\r\nHost: api.test\r\n\r\n\
          DELETE /a/1 HTTP/1.1\r\nHost: api.test\r\n\r\nGET /a/2 HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n",
    );
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["200", "403", "403", "200"], "{answer}");
    assert_eq!(gate.denials(), ["path_not_allowed", "method_not_allowed"]);
    assert_eq!(upstream.seen().iter().map(|s| s.target.clone()).collect::<Vec<_>>(), ["/a/1", "/a/2"]);
}

#[test]
fn ambiguous_paths_and_method_overrides_are_refused_over_each_version() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let routes = json!([{ "host": "api.test", "methods": ["GET"], "paths": ["/a/**"] }]);
    for version in ["--http1.1", "--http2"] {
        for (path, header, reason) in [
            ("/a/../b", "x: y", "path_ambiguous"),
            ("/a/..;x/b", "x: y", "path_ambiguous"),
            ("/a/%2e%2e/b", "x: y", "path_ambiguous"),
            ("/a/%252e%252e/b", "x: y", "path_ambiguous"),
            ("/a/..%2fb", "x: y", "path_ambiguous"),
            ("/a//b", "x: y", "path_ambiguous"),
            ("/a/..%5cb", "x: y", "path_ambiguous"),
            ("/a%2fb%2f..", "x: y", "path_ambiguous"),
            ("/a/b%00", "x: y", "path_ambiguous"),
            ("/a/b", "X-HTTP-Method-Override: DELETE", "method_override"),
            ("/a/b", "x_method_override: DELETE", "method_override"),
            ("/a/b?_method=DELETE", "x: y", "method_override"),
        ] {
            let gate = setup(&upstream, routes.clone()).start();
            let url = format!("https://api.test{path}");
            let answer = gate.curl(&[version, "--path-as-is", "-H", header, &url]);
            assert_eq!((answer.status, answer.reason().as_str()), (403, reason), "{version} {path} {header}");
            gate.denied(reason);
        }
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn requests_with_two_readings_are_refused_and_never_reach_the_upstream() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n";
    for (case, reason) in [
        (
            "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "request_malformed",
        ),
        (
            "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "request_malformed",
        ),
        ("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", "request_malformed"),
        ("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", "request_malformed"),
        ("POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "request_malformed"),
        ("POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "request_malformed"),
        ("GET / HTTP/1.1\nHost: api.test\n\n", "request_malformed"),
        ("GET / HTTP/1.1\r\nHost: api.test\r\nX: a\r\n b\r\n\r\n", "request_malformed"),
        ("GET / HTTP/1.1\r\nHost: api.test\r\nHost: other.test\r\n\r\n", "host_mismatch"),
        ("GET / HTTP/1.1\r\nX: y\r\n\r\n", "host_mismatch"),
        ("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n", "host_mismatch"),
        ("GET / HTTP/1.1\r\nHost: api.test@other.test\r\n\r\n", "host_mismatch"),
        ("GET https://other.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "host_mismatch"),
        ("GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "host_mismatch"),
        ("GET https://good@other.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "host_mismatch"),
        ("CONNECT other.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n", "connect_nested"),
        ("GET / HTTP/1.1\r\nHost: api.test\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "upgrade_not_allowed"),
        ("GET / HTTP/1.1\r\nHost: api.test\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "upgrade_not_allowed"),
        (
            "POST / HTTP/1.1\r\nHost: api.test\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n",
            "upgrade_not_allowed",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "request_malformed"),
        ("REFUSED /no_route HTTP/1.1\r\nHost: api.test\r\n\r\n", "request_malformed"),
    ] {
        let upstream = TlsUpstream::start(&["api.test"]);
        let gate = setup(&upstream, json!([{ "host": "api.test" }, { "host": "other.test" }])).start();
        let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
        tls.sock.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
        tls.write_all(format!("{case}{smuggled}").as_bytes()).unwrap();
        let answer = until_closed(&mut tls);
        assert!(answer.contains(&format!("x-bot-bottle-reason: {reason}\r\n")), "{case:?}: {answer}");
        assert_eq!(gate.denials()[0], reason, "{case:?}");
        let stray = upstream.seen().into_iter().find(|seen| seen.target != "/smuggled");
        assert_eq!(stray, None, "{case:?}");
    }
}

#[test]
fn a_badly_framed_body_breaks_off_and_is_written_down() {
    for body in
        ["3;ext=1\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\nabc\n0\n\n", "0\r\nHost: other.test\r\n\r\n"]
    {
        let upstream = TlsUpstream::start(&["api.test"]);
        let gate = open(&upstream);
        let answer = gate.inside(
            format!("POST /x HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes(),
        );
        assert!(!answer.contains("HTTP/1.1 200"), "{body:?}: {answer}");
        wait_until("a denial", LIMIT, || gate.denials().contains(&"request_malformed"));
        assert!(
            upstream.seen().iter().all(|seen| seen.target == "/x" && seen.body.len() <= 3),
            "{:?}",
            upstream.seen()
        );
    }
}

#[test]
fn plain_http_has_the_same_policy() {
    let upstream = TlsUpstream::options(&["api.test"]).plain().start();
    let routes = json!([{ "host": "api.test", "methods": ["GET"], "paths": ["/a"] }]);
    let gate = setup(&upstream, routes).start();
    assert_eq!(gate.curl(&["http://api.test/a"]).status, 200);
    assert_eq!(gate.curl(&["http://api.test/b"]).reason(), "path_not_allowed");
    assert_eq!(gate.curl(&["-X", "PUT", "http://api.test/a"]).reason(), "method_not_allowed");
    assert_eq!(gate.curl(&["http://127.0.0.1/a"]).reason(), "ip_literal");
    let absolute = gate.raw(b"GET http://api.test/a HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n");
    assert!(absolute.contains("host_mismatch"), "{absolute}");
    let origin_form = gate.raw(b"GET /a HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
    assert!(origin_form.contains("request_malformed"), "{origin_form}");
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(upstream.seen()[0].target, "/a", "in origin form");
}

#[test]
fn heads_beyond_the_limit_are_refused() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let long = "x".repeat(70_000);
    let gate = open(&upstream);
    let answer = gate.inside(format!("GET / HTTP/1.1\r\nHost: api.test\r\nX: {long}\r\n\r\n").as_bytes());
    assert!(answer.contains("limit_exceeded"), "{answer}");
    gate.denied("limit_exceeded");
    let gate = open(&upstream);
    let answer = gate.raw(format!("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\nX: {long}\r\n\r\n").as_bytes());
    assert!(answer.contains("limit_exceeded"), "{answer}");
    gate.denied("limit_exceeded");
    assert!(upstream.seen().is_empty());
}

#[test]
fn bytes_after_the_head_of_a_connect_are_the_tunnels() {
    let gate = bare(json!([{ "host": "api.test" }])).start();
    let answer = gate.raw(
        b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\nGET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    gate.denied("not_tls");
    let with_body = gate.raw(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nhello");
    assert!(with_body.contains("request_malformed"), "{with_body}");
}

#[test]
fn a_hostile_response_is_one_response_or_none() {
    for (reply, expected) in [
        ("HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", None),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nraw bytes", None),
        ("SSH-2.0-server\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX-Split: 1\r\n\r\n", Some("ok")),
        (
            "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nAlt-Svc: h3=\":443\"\r\nContent-Length: 2\r\n\r\nok",
            Some("ok"),
        ),
    ] {
        let upstream = ScriptedUpstream::start(&["api.test"], reply.as_bytes());
        let resolve = json!({ "api.test": upstream.address().to_string() });
        let gate =
            bare(json!([{ "host": "api.test" }])).roots(upstream.authority().roots()).set("resolve", resolve).start();
        let answer = gate.curl(&["--http1.1", "https://api.test/"]);
        match expected {
            Some(body) => {
                assert_eq!((answer.status, answer.body.as_str()), (200, body), "{reply:?}");
                assert!(
                    !answer.head.contains("x-split")
                        && !answer.head.contains("x-hop")
                        && !answer.head.contains("alt-svc")
                );
            }
            None => assert_eq!(
                (answer.status, answer.reason().as_str()),
                (502, "upstream_protocol"),
                "{reply:?} {answer:?}"
            ),
        }
    }
}

#[test]
fn a_frozen_bottle_sends_nothing() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = open(&upstream);
    let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
    tls.write_all(b"POST /sink HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").unwrap();
    wait_until("the request", LIMIT, || gate.events().len() == 2);
    gate.egress.freeze(FrozenBy::Operator);
    tls.write_all(b"3\r\ndef\r\n0\r\n\r\n").unwrap();
    assert!(!head(&mut tls).starts_with("HTTP/1.1 200"));
    let answer = gate.curl(&["http://api.test/"]);
    assert_eq!((answer.status, answer.reason().as_str()), (503, "frozen"));
    assert_eq!(gate.curl(&["https://api.test/"]).connect, 503);
    gate.egress.thaw(0);
    assert_eq!(gate.curl(&["https://api.test/"]).status, 200);
}

#[test]
fn a_reload_counts_for_the_next_request_of_an_open_tunnel() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = open(&upstream);
    let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
    let mut ask = |expected: &str| {
        tls.write_all(b"GET /size/5 HTTP/1.1\r\nHost: api.test\r\n\r\n").unwrap();
        let head = head(&mut tls).to_lowercase();
        assert!(head.starts_with(&format!("http/1.1 {expected}")), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        tls.read_exact(&mut vec![0; length]).unwrap();
    };
    ask("200");
    let reload = |policy| gate.egress.reload(serde_json::from_value(policy).unwrap(), upstream.authority().roots());
    // An invalid policy keeps the last good one.
    assert!(reload(json!({ "routes": [{ "host": "api.test", "ports": [] }] })).is_err());
    ask("200");
    reload(json!({ "routes": [] })).unwrap();
    ask("403");
}

#[test]
fn what_cannot_be_written_down_is_denied() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).audit_full().start();
    assert_eq!(gate.curl(&["https://api.test/"]).connect, 403);
    assert_eq!(gate.curl(&["http://api.test/"]).reason(), "policy_error");
    assert!(upstream.seen().is_empty());
}

#[test]
fn what_a_route_answers_itself_goes_nowhere() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let routes = json!([{ "host": "api.test", "paths": ["/token"], "answer": "{\"token\":\"none\"}" }]);
    for version in ["--http1.1", "--http2"] {
        let gate = setup(&upstream, routes.clone()).start();
        let post = |body: &str| gate.curl(&[version, "--data-binary", body, "https://api.test/token"]);
        let answer = post("grant_type=refresh_token");
        assert_eq!((answer.status, answer.json()["token"].as_str()), (200, Some("none")), "{answer:?}");
        assert!(answer.head.contains("application/json"), "{answer:?}");
        assert_eq!(post("aws_access_key_id = AKIAQ3EGRJ5T6Y7UABCD").reason(), "finding", "it is searched as ever");
        assert_eq!(gate.curl(&[version, "https://api.test/other"]).reason(), "path_not_allowed");
        assert!(upstream.seen().is_empty());
    }
}
