//! What a request and a tunnel cost the gate in CPU: run with `--release -- --ignored --nocapture --test-threads=1
//! cost`; one at a time, as each measures the thread that is called `gate`.

use super::harness::{Gate, head, setup};
use bottle_testkit::TlsUpstream;
use serde_json::json;
use std::io::{Read, Write};

const REQUESTS: u32 = 20_000;
const TUNNELS: u32 = 1_000;

/// Nanoseconds that the gate's thread has been on a CPU.
fn cpu() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let gate = threads
        .map(|thread| thread.unwrap().path())
        .find(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "gate"));
    let stat = std::fs::read_to_string(gate.unwrap().join("schedstat")).unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

fn requests(gate: &Gate, name: &str, path: &str, body: usize) {
    let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: api.test\r\nUser-Agent: cost\r\nAccept: */*\r\n\r\n");
    let mut ask = || {
        tls.write_all(request.as_bytes()).unwrap();
        let head = head(&mut tls);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        if head.contains("content-length") {
            tls.read_exact(&mut vec![0; body]).unwrap();
        } else {
            let mut all = Vec::new();
            while !all.ends_with(b"0\r\n\r\n") {
                let mut piece = [0; 4096];
                let amount = tls.read(&mut piece).unwrap();
                all.extend_from_slice(&piece[..amount]);
            }
        }
    };
    (0..100).for_each(|_| ask());
    let before = cpu();
    (0..REQUESTS).for_each(|_| ask());
    println!("{name}: {:.1} µs of CPU per request", (cpu() - before) as f64 / 1e3 / f64::from(REQUESTS));
}

#[test]
#[ignore = "a measurement"]
fn cost_of_requests() {
    let plain = json!([{ "host": "api.test" }]);
    let secret = json!([{ "host": "api.test", "methods": ["GET"], "paths": ["/size/*"], "auth": { "carrier": "bearer", "secret": "env:TOKEN" } }]);
    for (alpn, version) in [(&["http/1.1"][..], "h1"), (&["h2"][..], "h2")] {
        let upstream = TlsUpstream::options(&["api.test"]).alpn(alpn).start();
        for (routes, kind) in [(&plain, "plain route"), (&secret, "methods, paths and a secret")] {
            let gate = setup(&upstream, routes.clone()).secret("env:TOKEN", "sk-live-4242-abcdef").start();
            requests(&gate, &format!("1 KiB, {version} upstream, {kind}"), "/size/1024", 1024);
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn cost_of_tunnels() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = setup(&upstream, json!([{ "host": "api.test" }])).start();
    gate.tunnel("api.test:443", "api.test").unwrap();
    let before = cpu();
    (0..TUNNELS).for_each(|_| drop(gate.tunnel("api.test:443", "api.test").unwrap()));
    println!("a new tunnel: {:.1} µs of CPU", (cpu() - before) as f64 / 1e3 / f64::from(TUNNELS));
}
