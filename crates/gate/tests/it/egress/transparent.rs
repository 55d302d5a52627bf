//! The transparent door, in a network namespace of its own where every synthetic address is local.

use super::harness::setup;
use bottle_spec::host::HostName;
use bottle_testkit::TlsUpstream;
use serde_json::json;
use std::{net::TcpStream, process::Command};

const INSIDE: &str = "GATE_TEST_INSIDE";

#[test]
fn names_hold_where_no_proxy_is_asked() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let me = std::env::current_exe().unwrap();
    let ready = "ip link set lo up && ip route add local 198.18.0.0/15 dev lo && exec \"$0\" --exact \
                 egress::transparent::names_hold_where_no_proxy_is_asked --nocapture";
    let status = Command::new("unshare").args(["-rn", "sh", "-ec", ready]).arg(me).env(INSIDE, "1").status();
    let possible = Command::new("unshare").args(["-rn", "ip", "link", "set", "lo", "up"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("SKIPPED(no user and network namespaces, or no `unshare` and `ip`)");
        return;
    }
    assert!(status.unwrap().success());
}

fn inside() {
    let upstream = TlsUpstream::start(&["api.test", "other.test"]);
    let routes = json!([
        { "host": "api.test", "paths": ["/echo"], "auth": { "carrier": "bearer", "secret": "env:TOKEN" } },
        { "host": "other.test", "tls": "passthrough" },
    ]);
    let gate = setup(&upstream, routes).secret("env:TOKEN", "sk-live-4242").transparent_everywhere().start();
    let port = gate.transparent.port();
    let at = |name: &str| gate.names.address_for(&HostName::parse(name).unwrap());
    let to = |name: &str| format!("{name}:443:{}:{port}", at(name));

    let allowed = gate.curl_bare(&["--connect-to", &to("api.test"), "https://api.test/echo"]);
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert_eq!(upstream.take_seen()[0].header("authorization"), Some("Bearer sk-live-4242"));
    let refused = gate.curl_bare(&["--connect-to", &to("api.test"), "https://api.test/other"]);
    assert_eq!(refused.reason(), "path_not_allowed");
    // No route: TLS is ended all the same, so that the agent can read why.
    let unknown = gate.curl_bare(&["--connect-to", &to("evil.test"), "https://evil.test/"]);
    assert_eq!(unknown.reason(), "no_route");
    let plain = format!("http://api.test:{port}/echo");
    let plain = gate.curl_bare(&[
        "--resolve",
        &format!("api.test:{port}:{}", at("api.test")),
        "-H",
        "Host: api.test:443",
        &plain,
    ]);
    assert_eq!(plain.reason(), "plaintext_credential");
    let other_name = TcpStream::connect((at("api.test"), port)).unwrap();
    assert!(gate.tls(other_name, "other.test").is_err());
    let handed_on = gate.tls(TcpStream::connect((at("other.test"), port)).unwrap(), "other.test").unwrap();
    assert!(!handed_on.conn.peer_certificates().unwrap().is_empty());
    let never_given = TcpStream::connect(("198.19.255.254", port)).unwrap();
    assert!(gate.tls(never_given, "api.test").is_err());
    let expected = ["path_not_allowed", "no_route", "plaintext_credential", "host_mismatch", "ip_literal"];
    assert_eq!(gate.denials(), expected);
}
