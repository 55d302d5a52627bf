//! Connections to upstreams: one serves many requests, none of which meets what another left behind.

use super::harness::{Gate, LIMIT, head, setup};
use bottle_testkit::{TlsUpstream, wait_until};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Stands before an upstream, counts what comes, and can cut it off. Its threads end with the connections.
#[derive(Clone)]
struct Relay {
    address: SocketAddr,
    made: Arc<Mutex<Vec<TcpStream>>>,
    open: Arc<AtomicUsize>,
}

impl Relay {
    fn before(upstream: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Relay { address, made: Arc::default(), open: Arc::default() };
        let own = relay.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                own.pass(stream.unwrap(), TcpStream::connect(upstream).unwrap());
            }
        });
        relay
    }

    fn pass(&self, near: TcpStream, far: TcpStream) {
        self.made.lock().unwrap().push(near.try_clone().unwrap());
        self.open.fetch_add(1, Ordering::SeqCst);
        let (near_too, far_too, open) = (near.try_clone().unwrap(), far.try_clone().unwrap(), Arc::clone(&self.open));
        thread::spawn(move || {
            copy(near, far);
            open.fetch_sub(1, Ordering::SeqCst);
        });
        thread::spawn(move || copy(far_too, near_too));
    }

    fn made(&self) -> usize {
        self.made.lock().unwrap().len()
    }

    /// Closes all that there is, as an upstream does that has waited long enough.
    fn cut(&self) {
        self.made.lock().unwrap().iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // However it ends, both ends are over.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn open(alpn: &[&'static str]) -> (TlsUpstream, Relay, Gate) {
    let upstream = TlsUpstream::options(&["api.test"]).alpn(alpn).start();
    let relay = Relay::before(upstream.address());
    let setup = setup(&upstream, json!([{ "host": "api.test" }]));
    let gate = setup.set("resolve", json!({ "api.test": relay.address.to_string() })).start();
    (upstream, relay, gate)
}

/// The status of one request in a tunnel of its own.
fn ask(gate: &Gate, args: &[&str], path: &str) -> u16 {
    let url = format!("https://api.test{path}");
    gate.curl(&[args, &[&url]].concat()).status
}

#[test]
fn one_connection_serves_what_comes_one_after_the_other() {
    for alpn in [["http/1.1"], ["h2"]] {
        let (_upstream, relay, gate) = open(&alpn);
        let large = "x".repeat(300_000);
        std::fs::write(gate.path("large"), &large).unwrap();
        let large = format!("@{}", gate.path("large").display());
        for (args, path) in [
            (&[][..], "/echo"),
            (&["--head"], "/size/100"),
            (&[], "/status/204"),
            (&[], "/chunked"),
            (&["--data", "short"], "/echo"),
            (&["--data-binary", &large], "/sink"),
            (&["--data-binary", &large, "-H", "transfer-encoding: chunked"], "/echo"),
            (&[], "/size/1000000"),
            (&[], "/stream/300000"),
            (&[], "/echo"),
        ] {
            let status = ask(&gate, args, path);
            assert!(matches!(status, 200 | 204), "{alpn:?} {path}: {status}");
            // Of a long request's line the gate hears a moment later that it is ready.
            wait_until("the line to be given back", LIMIT, || {
                gate.egress.kept_lines() == usize::from(alpn == ["http/1.1"])
            });
        }
        assert_eq!(relay.made(), 1, "{alpn:?}");
    }
}

#[test]
fn one_that_was_closed_meanwhile_is_replaced() {
    for alpn in [["http/1.1"], ["h2"]] {
        let (upstream, relay, gate) = open(&alpn);
        for round in 1..=3 {
            assert_eq!(ask(&gate, &["--data", "once"], "/echo"), 200, "{alpn:?}");
            assert_eq!((relay.made(), upstream.seen().len()), (round, round), "{alpn:?}");
            relay.cut();
            wait_until("the end to be there", LIMIT, || relay.open.load(Ordering::SeqCst) == 0);
        }
    }
}

#[test]
fn what_was_broken_off_is_not_used_again() {
    let (_upstream, relay, gate) = open(&["http/1.1"]);
    for path in ["/drip/1000000", "/hang"] {
        let before = relay.made();
        let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
        tls.write_all(format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n\r\n").as_bytes()).unwrap();
        if path != "/hang" {
            assert!(head(&mut tls).starts_with("HTTP/1.1 200"));
            tls.read_exact(&mut [0; 8]).unwrap();
        }
        wait_until("the connection", LIMIT, || relay.made() > before);
        drop(tls);
        wait_until("its end", LIMIT, || relay.open.load(Ordering::SeqCst) == 0);
        assert_eq!(gate.egress.kept_lines(), 0);
        assert_eq!(ask(&gate, &[], "/cut"), 200);
        wait_until("its end", LIMIT, || relay.open.load(Ordering::SeqCst) == 0);
    }
    let before = relay.made();
    assert_eq!(ask(&gate, &[], "/echo"), 200);
    assert_eq!(relay.made(), before + 1);
}

#[test]
fn requests_at_once_have_a_connection_each_and_idle_ones_are_closed() {
    let (_upstream, relay, gate) = open(&["http/1.1"]);
    thread::scope(|scope| {
        (0..5).for_each(|_| drop(scope.spawn(|| assert_eq!(ask(&gate, &[], "/slow/200"), 200))));
    });
    assert!(relay.made() > 1, "{}", relay.made());
    assert!(relay.open.load(Ordering::SeqCst) >= 1);
    gate.hurried(|| wait_until("nothing to be kept", LIMIT, || relay.open.load(Ordering::SeqCst) == 0));
    assert_eq!(ask(&gate, &[], "/echo"), 200);
}
