//! Names and TLS: which host is meant, and that nobody can mean two.

use super::harness::{LIMIT, bare, setup, until_closed};
use bottle_testkit::{TlsUpstream, authority::Shown, wait_until};
use hickory_proto::{
    op::{Message, MessageType},
    rr::{RData, Record},
};
use serde_json::json;
use std::{
    io::Write,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
};

#[test]
fn an_allowed_call_passes_over_each_http_version() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let answer = gate.curl(&[flag, "https://api.test/echo?q=1", "-d", "body"]);
        assert_eq!((answer.status, answer.version.as_str()), (200, version), "{answer:?}");
        let seen = upstream.take_seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/echo?q=1"));
        assert_eq!(
            (seen.host.as_str(), seen.sni.as_deref(), seen.body.as_slice()),
            ("api.test", Some("api.test"), &b"body"[..])
        );
    }
    assert!(gate.denials().is_empty());
    assert_eq!(gate.events().len(), 4, "one for each tunnel and one for each request");
}

#[test]
fn an_empty_allowlist_denies_all() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([])).start();
    let answer = gate.curl(&["https://api.test/"]);
    assert_eq!((answer.status, answer.connect), (0, 403), "{answer:?}");
    let answer = gate.curl(&["http://api.test/"]);
    assert_eq!((answer.status, answer.reason().as_str()), (403, "no_route"));
    assert_eq!(gate.denials(), ["no_route", "no_route"]);
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_denied_connect_says_why_and_what_to_do() {
    let gate = bare(json!([{ "host": "api.test" }])).start();
    let answer = gate.raw(b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("x-bot-bottle-reason: no_route\r\n"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((json["host"].as_str(), json["method"].as_str()), (Some("evil.test"), Some("CONNECT")));
    assert!(json["next_step"].as_str().unwrap().contains("--allow evil.test"), "{json}");
    let event = gate.events().pop().unwrap();
    assert_eq!((event.host.as_deref(), event.port, event.status), (Some("evil.test"), Some(443), Some(403)));
}

#[test]
fn hosts_that_are_none_are_refused() {
    for (target, reason) in [
        ("api.test\0.evil:443", "request_malformed"),
        ("api.test%00.evil:443", "host_invalid"),
        ("api.test .evil:443", "request_malformed"),
        ("good@api.test:443", "host_invalid"),
        ("api.test", "host_invalid"),
        ("api.test:0", "host_invalid"),
        ("api.test:99999", "host_invalid"),
        ("api.test.evil.org:443", "no_route"),
        ("xapi.test:443", "no_route"),
        ("127.0.0.1:443", "ip_literal"),
        ("2130706433:443", "ip_literal"),
        ("0x7f.1:443", "ip_literal"),
        ("017700000001:443", "ip_literal"),
        ("[::1]:443", "ip_literal"),
        ("[::ffff:127.0.0.1]:443", "ip_literal"),
        ("api.test:22", "port_not_allowed"),
        ("http://api.test/", "host_invalid"),
    ] {
        let gate = bare(json!([{ "host": "api.test" }])).start();
        let answer = gate.raw(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes());
        assert!(answer.contains(&format!("x-bot-bottle-reason: {reason}\r\n")), "{target}: {answer}");
        gate.denied(reason);
    }
}

#[test]
fn the_spelling_of_an_allowed_host_does_not_matter() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    let mut tls = gate.tunnel("API.Test.:443", "api.test").unwrap();
    tls.write_all(b"GET / HTTP/1.1\r\nHost: aPi.test.:443\r\nConnection: close\r\n\r\n").unwrap();
    assert!(until_closed(&mut tls).starts_with("HTTP/1.1 200"));
    assert_eq!(upstream.seen()[0].host, "api.test");
}

#[test]
fn connect_host_and_host_header_disagree() {
    let gate = bare(json!([{ "host": "api.test" }, { "host": "other.test" }])).start();
    let answer = gate.raw(b"CONNECT api.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n");
    assert!(answer.contains("host_mismatch"), "{answer}");
    gate.denied("host_mismatch");
}

#[test]
fn the_server_name_is_the_tunnels_host_or_nothing_is_answered() {
    let upstream = TlsUpstream::start(&["api.test"]);
    for (name, reason) in [("other.test", "host_mismatch"), ("127.0.0.1", "server_name_missing")] {
        for tls in ["intercept", "passthrough"] {
            let routes = json!([{ "host": "api.test", "tls": tls }, { "host": "other.test" }]);
            let gate = setup(&upstream, routes).start();
            let error = gate.tunnel("api.test:443", name).map(|_| ()).unwrap_err();
            // The alert `access_denied`, and no certificate before it.
            assert!(error.to_string().contains("AccessDenied"), "{tls} {name}: {error}");
            gate.denied(reason);
        }
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn passthrough_hands_on_and_a_hidden_name_is_refused() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test", "tls": "passthrough" }])).start();
    let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
    let shown = tls.conn.peer_certificates().unwrap()[0].clone();
    tls.write_all(b"GET /echo HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n").unwrap();
    assert!(until_closed(&mut tls).starts_with("HTTP/1.1 200"));
    let direct = gate.tls(std::net::TcpStream::connect(upstream.address()).unwrap(), "api.test").unwrap();
    assert_eq!(shown, direct.conn.peer_certificates().unwrap()[0], "the upstream's own certificate");
    assert!(gate.denials().is_empty());

    let mut stream = gate.stream();
    stream.write_all(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n").unwrap();
    super::harness::head(&mut stream);
    stream.write_all(&hello_with_ech("api.test")).unwrap();
    assert_eq!(until_closed(&mut stream).as_bytes()[0], 21, "an alert");
    gate.denied("host_mismatch");
}

/// A ClientHello with a server name and an extension 0xfe0d.
fn hello_with_ech(name: &str) -> Vec<u8> {
    let length = name.len() as u16;
    let sni = [&(length + 3).to_be_bytes()[..], &[0], &length.to_be_bytes(), name.as_bytes()].concat();
    let ech = [0u8; 8];
    let extensions =
        [&[0, 0][..], &(sni.len() as u16).to_be_bytes(), &sni, &[0xfe, 0x0d], &(ech.len() as u16).to_be_bytes(), &ech]
            .concat();
    let body =
        [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &(extensions.len() as u16).to_be_bytes(), &extensions]
            .concat();
    let message = [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    [&[22, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat()
}

#[test]
fn what_is_no_tls_does_not_pass_a_tunnel() {
    for tls in ["intercept", "passthrough"] {
        let upstream = TlsUpstream::start(&["api.test"]);
        let gate = setup(&upstream, json!([{ "host": "api.test", "tls": tls }])).start();
        let answer = gate.raw(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\nSSH-2.0-client\r\n");
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("SSH"), "{answer}");
        gate.denied("not_tls");
    }
}

#[test]
fn an_upstream_that_does_not_prove_its_name_is_refused() {
    for shown in [Shown::Expired, Shown::WrongHost, Shown::SelfSigned] {
        let upstream = TlsUpstream::options(&["api.test"]).shown(shown).start();
        let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
        let answer = gate.curl(&["https://api.test/"]);
        assert_eq!((answer.status, answer.reason().as_str()), (502, "upstream_tls"), "{shown:?}");
        gate.denied("upstream_tls");
        assert!(upstream.seen().is_empty());
    }
    // The control: nothing but the root makes the difference.
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }]))
        .roots(TlsUpstream::start(&["x.test"]).authority().roots())
        .start();
    assert_eq!(gate.curl(&["https://api.test/"]).reason(), "upstream_tls");
}

/// A name server that answers every question with the next of these addresses and remembers the names.
fn dns(addresses: &[&str]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let answers: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let names = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
            let query = question.queries[0].clone();
            names.lock().unwrap().push(query.name().to_string());
            let mut answer = question.clone();
            answer.metadata.message_type = MessageType::Response;
            for ip in &answers {
                let data = match ip {
                    IpAddr::V4(ip) => RData::A((*ip).into()),
                    IpAddr::V6(ip) => RData::AAAA((*ip).into()),
                };
                if data.record_type() == query.query_type() {
                    answer.answers.push(Record::from_rdata(query.name().clone(), 0, data));
                }
            }
            let _ = socket.send_to(&answer.to_vec().unwrap(), peer);
        }
    });
    (address, asked)
}

#[test]
fn names_that_lead_inward_are_not_dialled() {
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "192.168.1.1",
        "::1",
        "::ffff:127.0.0.1",
        "fd00:ec2::254",
        "fe80::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
    ] {
        let (server, asked) = dns(&[address]);
        let gate = bare(json!([{ "host": "rebind.test" }])).dns(server).start();
        let answer = gate.curl(&["https://rebind.test/"]);
        assert_eq!((answer.status, answer.reason().as_str()), (403, "address_forbidden"), "{address}");
        gate.denied("address_forbidden");
        assert!(asked.lock().unwrap().iter().all(|name| name == "rebind.test."));
    }
}

#[test]
fn a_private_route_may_lead_inward() {
    let upstream = TlsUpstream::options(&["in.test"]).start();
    let (server, _) = dns(&["127.0.0.1"]);
    let port = upstream.port();
    let routes = json!([{ "host": "in.test", "private": true, "ports": [port] }]);
    let gate = bare(routes).roots(upstream.authority().roots()).dns(server).start();
    let answer = gate.curl(&[&format!("https://in.test:{port}/echo")]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(upstream.seen()[0].host, format!("in.test:{port}"));
}

#[test]
fn a_denied_name_is_never_looked_up() {
    let (server, asked) = dns(&["192.0.2.1"]);
    let gate = bare(json!([{ "host": "api.test", "methods": ["GET"] }])).dns(server).start();
    gate.curl(&["https://secret-label.evil.test/"]);
    gate.curl(&["http://secret-label.evil.test/"]);
    gate.curl(&["-X", "POST", "https://api.test/"]);
    assert_eq!(gate.denials(), ["no_route", "no_route", "method_not_allowed"]);
    assert!(asked.lock().unwrap().is_empty(), "{asked:?}");
    // The control: an allowed one is.
    gate.curl(&["--max-time", "1", "http://api.test/"]);
    wait_until("a lookup", LIMIT, || asked.lock().unwrap().iter().any(|name| name == "api.test."));
}

#[test]
fn a_corporate_proxy_is_gone_through() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let target = upstream.address();
    let (asked, head) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        asked.send(super::harness::head(&mut stream)).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let mut up = std::net::TcpStream::connect(target).unwrap();
        let (mut from, mut to) = (stream.try_clone().unwrap(), up.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut up, &mut stream);
    });
    let setup =
        bare(json!([{ "host": "api.test" }])).roots(upstream.authority().roots()).secret("env:PROXY", "user:pass");
    let proxy = json!({ "host": "127.0.0.1", "port": proxy.port(), "auth": "env:PROXY" });
    let gate = setup.set("upstream_proxy", proxy).start();
    assert_eq!(gate.curl(&["https://api.test/echo"]).status, 200);
    let head = head.recv_timeout(LIMIT).unwrap();
    assert!(head.starts_with("CONNECT api.test:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
}

#[test]
fn a_redirect_is_the_agents_to_follow_under_the_same_policy() {
    let upstream = TlsUpstream::start(&["api.test", "other.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    let answer = gate.curl(&["-L", "https://api.test/redirect?to=https://other.test/echo"]);
    assert_eq!((answer.connect, upstream.seen().len()), (403, 1), "{answer:?}");
    gate.denied("no_route");
}
