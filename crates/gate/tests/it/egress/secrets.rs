//! Secrets: put in for the right host alone, never seen inside.

use super::harness::{LIMIT, PLACEHOLDER, setup};
use bottle_spec::{gate_link::GateToKeeper, secret::Secret};
use bottle_testkit::TlsUpstream;
use serde_json::{Value, json};
use std::time::Instant;

const SECRET: &str = "sk-live/4242+abc=\"x";

fn routes(carrier: Value, source: &str) -> Value {
    json!([{ "host": "api.test", "auth": { "carrier": carrier, "secret": source } }, { "host": "other.test" }])
}

#[test]
fn each_carrier_replaces_what_the_agent_sent() {
    for (carrier, value, header, sent, target) in [
        (json!("bearer"), SECRET, "authorization", format!("Bearer {SECRET}"), "/echo"),
        (json!("basic"), "user:pass-word", "authorization", "Basic dXNlcjpwYXNzLXdvcmQ=".to_owned(), "/echo"),
        (json!({ "header": "x-api-key" }), SECRET, "x-api-key", SECRET.to_owned(), "/echo"),
        (json!({ "query": "key" }), SECRET, "", String::new(), "/echo?key=sk-live%2F4242%2Babc%3D%22x"),
    ] {
        let upstream = TlsUpstream::start(&["api.test", "other.test"]);
        let gate = setup(&upstream, routes(carrier.clone(), "env:TOKEN")).secret("env:TOKEN", value).start();
        for version in ["--http1.1", "--http2"] {
            let own = [
                version,
                "-H",
                "Authorization: Bearer mine",
                "-H",
                "X-Api-Key: mine",
                "-H",
                "x_api_key: mine",
                "https://api.test/echo?key=mine&KEY=mine&%6bey=mine",
            ];
            let answer = gate.curl(&own);
            assert_eq!(answer.status, 200, "{answer:?}");
            let seen = upstream.take_seen().pop().unwrap();
            if !header.is_empty() {
                assert_eq!(seen.header(header), Some(sent.as_str()), "{carrier}");
                assert_eq!(seen.headers.iter().filter(|(name, _)| name == header).count(), 1);
            } else {
                assert_eq!(seen.target, target);
            }
            assert!(!seen.headers.iter().any(|(_, value)| value.contains("mine")), "{:?}", seen.headers);
            // The upstream echoes all of it.
            assert!(!answer.body.contains("sk-live") && !answer.body.contains("dXNlcj"), "{}", answer.body);
            assert!(answer.body.contains(PLACEHOLDER), "{}", answer.body);
        }
        assert!(
            gate.events().iter().filter(|event| event.method.as_deref() == Some("GET")).all(|event| event.injected)
        );
        assert!(!std::fs::read_to_string(gate.path("audit")).unwrap().contains("sk-live"));
    }
}

#[test]
fn an_echo_is_scrubbed_wherever_it_stands() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, routes(json!("bearer"), "env:TOKEN")).secret("env:TOKEN", "sk-live-4242abcdef").start();
    for version in ["--http1.1", "--http2"] {
        for path in ["/echo", "/split", "/gzip", "/echo-headers"] {
            let answer = gate.curl(&[version, "--raw", "-H", "TE: trailers", &format!("https://api.test{path}")]);
            assert_eq!(answer.status, 200, "{answer:?}");
            let all = format!("{}{}", answer.head, answer.body).to_lowercase();
            assert!(!all.contains("sk-live-4242abcdef"), "{version} {path}: {all}");
            assert!(all.contains(PLACEHOLDER), "{version} {path}: {all}");
        }
    }
    // The control: where the secret is not ours to hide, the same echo passes untouched.
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    let answer = gate.curl(&["-H", "Authorization: Bearer sk-live-4242abcdef", "https://api.test/split"]);
    assert!(answer.body.contains("sk-live-4242abcdef"));
}

#[test]
fn a_placeholder_is_never_substituted() {
    let upstream = TlsUpstream::start(&["api.test", "other.test"]);
    let gate = setup(&upstream, routes(json!("bearer"), "env:TOKEN")).secret("env:TOKEN", SECRET).start();
    let bearer = format!("Authorization: Bearer {PLACEHOLDER}");
    for host in ["api.test", "other.test"] {
        let url = format!("https://{host}/echo?token={PLACEHOLDER}");
        gate.curl(&["-H", &bearer, "-H", &format!("X-Other: {PLACEHOLDER}"), "-d", PLACEHOLDER, &url]);
        let seen = upstream.take_seen().pop().unwrap();
        assert_eq!(seen.target, format!("/echo?token={PLACEHOLDER}"));
        assert_eq!((seen.body.as_slice(), seen.header("x-other")), (PLACEHOLDER.as_bytes(), Some(PLACEHOLDER)));
        let injected = seen.header("authorization").unwrap().contains(SECRET);
        assert_eq!(injected, host == "api.test", "{host}");
    }
}

#[test]
fn no_secret_goes_over_plain_http() {
    let upstream = TlsUpstream::options(&["api.test"]).plain().start();
    let gate = setup(&upstream, routes(json!("bearer"), "env:TOKEN")).secret("env:TOKEN", SECRET).start();
    let answer = gate.curl(&["http://api.test/echo"]);
    assert_eq!((answer.status, answer.reason().as_str()), (403, "plaintext_credential"));
    gate.denied("plaintext_credential");
    assert!(upstream.seen().is_empty());
}

#[test]
fn pieces_and_codings_that_the_agent_chooses_are_not_asked_for() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, routes(json!("bearer"), "env:TOKEN")).secret("env:TOKEN", SECRET).start();
    let pieces = ["-H", "Range: bytes=0-3", "-H", "If-Range: \"tag\"", "-H", "Accept-Encoding: zstd"];
    gate.curl(&[&pieces[..], &["https://api.test/echo"]].concat());
    let seen = upstream.seen().pop().unwrap();
    assert_eq!((seen.header("range"), seen.header("if-range")), (None, None));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    // Compressed messages could not be masked.
    let answer = gate.curl(&["-H", "Sec-WebSocket-Extensions: permessage-deflate", "https://api.test/echo"]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(upstream.seen().pop().unwrap().header("sec-websocket-extensions"), None);
}

#[test]
fn a_refused_secret_is_read_anew_once_and_the_request_repeated() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate =
        setup(&upstream, routes(json!("bearer"), "command:token")).secret("command:token", "old-token-1").start();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let gate = &gate;
        scope.spawn(move || {
            let mut questions = gate.questions.lock().unwrap();
            while started.elapsed() < LIMIT {
                if let Ok(GateToKeeper::RefreshSecret { source }) = questions.try_recv() {
                    return gate.vault.deliver(&source, Ok(Secret::new("new-token-2".to_owned())));
                }
                std::thread::yield_now();
            }
        });
        let answer = gate.curl(&["-d", "payload", "https://api.test/refresh/new-token-2"]);
        assert_eq!(answer.status, 200, "{answer:?}");
    });
    let bodies: Vec<_> =
        upstream.seen().into_iter().map(|seen| (seen.header("authorization").unwrap().to_owned(), seen.body)).collect();
    assert_eq!(
        bodies,
        [
            ("Bearer old-token-1".to_owned(), b"payload".to_vec()),
            ("Bearer new-token-2".to_owned(), b"payload".to_vec())
        ]
    );
    // The new value is hidden, too; and a second refusal is the agent's to see.
    let answer = gate.curl(&["https://api.test/echo"]);
    assert!(!answer.body.contains("new-token-2"), "{answer:?}");
    assert_eq!(gate.curl(&["https://api.test/refresh/third"]).status, 401);
}

#[test]
fn a_secret_that_is_not_there_is_a_denial() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, routes(json!("bearer"), "env:TOKEN")).start();
    assert_eq!(gate.curl(&["https://api.test/"]).reason(), "secret_unavailable");
    assert!(upstream.seen().is_empty());
}
