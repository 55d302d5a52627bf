//! The upstreams, asked by a client that shares no code with them.

#[path = "it/attacks.rs"]
mod attacks;

use bottle_testkit::{ScriptedUpstream, TlsUpstream, authority::Shown};
use std::process::{Command, Output};

/// `curl` against `https://up.test:PORT`, trusting the upstream's authority.
fn curl(upstream: &TlsUpstream, path: &str, more: &[&str]) -> Output {
    ask(upstream.port(), upstream.authority().pem(), path, more)
}

fn ask(port: u16, pem: &str, path: &str, more: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--max-time", "10", "--cacert"])
        .arg(ca)
        .args(["--resolve", &format!("up.test:{port}:127.0.0.1")])
        .args(more)
        .arg(format!("https://up.test:{port}{path}"))
        .output()
        .expect("curl is installed")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_echo_holds_what_was_sent_and_the_record_agrees() {
    let upstream = TlsUpstream::start(&["up.test"]);
    for (flag, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let answer = text(&curl(&upstream, "/echo?a=1", &[flag, "-H", "x-mark: 7", "-d", "body"]));
        let echo: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(echo["version"], version);
        assert_eq!(echo["sni"], "up.test");
        assert_eq!(echo["body"], "body");
        let seen = upstream.take_seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.path(), seen.header("x-mark")), ("POST", "/echo", Some("7")));
        assert_eq!(seen.host, format!("up.test:{}", upstream.port()));
    }
}

#[test]
fn bodies_of_every_kind_arrive_whole() {
    let upstream = TlsUpstream::start(&["up.test"]);
    let cases = [
        ("/size/5", "abcde"),
        ("/stream/5", "abcde"),
        ("/drip/3", "abc"),
        ("/sse/2", "data: 0\n\ndata: 1\n\n"),
        ("/chunked", "one two three"),
        ("/slow/1", "slow"),
    ];
    for flag in ["--http1.1", "--http2"] {
        for (path, body) in cases {
            assert_eq!(text(&curl(&upstream, path, &[flag])), body, "{path} {flag}");
        }
        assert!(text(&curl(&upstream, "/gzip", &[flag, "--compressed"])).contains(r#""target":"/gzip""#));
        assert!(text(&curl(&upstream, "/split", &[flag])).contains(r#""target":"/split""#));
        assert_eq!(text(&curl(&upstream, "/sink", &[flag, "-d", "12345"])), r#"{"bytes":5}"#);
        assert_eq!(text(&curl(&upstream, "/pipe", &[flag, "-d", "there and back"])), "there and back");
        assert!(!curl(&upstream, "/cut", &[flag]).status.success());
    }
}

#[test]
fn statuses_redirects_and_refusals() {
    let upstream = TlsUpstream::start(&["up.test"]);
    let status = ["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"];
    assert_eq!(text(&curl(&upstream, "/status/418", &status)), "418 ");
    assert_eq!(text(&curl(&upstream, "/redirect?to=https://evil.test/", &status)), "302 https://evil.test/");
    assert_eq!(text(&curl(&upstream, "/refresh/new", &status)), "401 ");
    let fresh = [&status[..], &["-H", "authorization: Bearer new"]].concat();
    assert_eq!(text(&curl(&upstream, "/refresh/new", &fresh)), "200 ");
}

#[test]
fn a_bad_certificate_is_one_that_clients_refuse() {
    for shown in [Shown::Expired, Shown::WrongHost, Shown::SelfSigned] {
        let upstream = TlsUpstream::options(&["up.test"]).shown(shown).start();
        let output = curl(&upstream, "/echo", &[]);
        assert_eq!(output.status.code(), Some(60), "{shown:?}");
        assert!(upstream.seen().is_empty());
    }
}

#[test]
fn a_script_is_played_as_written() {
    let upstream = ScriptedUpstream::start(&["up.test"], b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    let output = ask(upstream.address().port(), upstream.authority().pem(), "/", &[]);
    assert_eq!(text(&output), "hi");
}
