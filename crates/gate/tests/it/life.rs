//! A gate's life as its keeper sees it: start, orders, ends, and starts that must not be.

use crate::{
    child,
    keeper::{Bottle, Gate, user_key},
};
use bottle_gate::audit::{self, Against, Summary, VerifyError, sign::public_key};
use bottle_spec::{
    door::Door,
    gate_link::{GateToKeeper, KeeperToGate},
    policy::EgressPolicy,
};
use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream, UdpSocket},
    os::fd::AsFd,
    time::Duration,
};

const POLICY: &str = r#"{"routes":[{"host":"api.example.com","ports":[443]}]}"#;

/// `A` for a name, by hand: 12 bytes of header, the name, type and class.
fn question(name: &str) -> Vec<u8> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// The address at the end of an answer.
fn address(answer: &[u8]) -> Ipv4Addr {
    Ipv4Addr::from(*answer.last_chunk::<4>().unwrap())
}

fn ask_udp(bottle: &Bottle, name: &str) -> Ipv4Addr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(&question(name), bottle.address(Door::ResolverUdp)).unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).unwrap();
    address(&answer[..length])
}

fn audit_events(bottle: &Bottle) -> Vec<String> {
    let event = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["event"].as_str().unwrap().to_owned()
    };
    String::from_utf8(bottle.log()).unwrap().lines().map(event).collect()
}

/// As a user does who has only the key and what was noted.
fn verify(bottle: &Bottle) -> Result<Summary, VerifyError> {
    let against = Against {
        bottle: Some("tester-abcde".to_owned()),
        signer: Some(public_key(&user_key()).unwrap()),
        head: Some(bottle.head.clone()),
    };
    audit::verify(&*bottle.log(), &against)
}

fn drain(mut gate: Gate) {
    gate.say(&KeeperToGate::Drain { seconds: 5 });
    assert!(gate.ended().success());
}

#[test]
fn the_resolver_door_answers_over_udp_and_tcp() {
    let bottle = Bottle::new(POLICY);
    let gate = bottle.serve();
    let routed = ask_udp(&bottle, "api.example.com");
    assert_eq!(routed, Ipv4Addr::new(198, 18, 0, 1));
    assert_eq!(ask_udp(&bottle, "denied.example").octets()[..2], [198, 19]);

    // Two questions in one segment; the answers come in order.
    let mut stream = TcpStream::connect(bottle.address(Door::ResolverTcp)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let framed = |name| {
        let query = question(name);
        [&u16::try_from(query.len()).unwrap().to_be_bytes()[..], &query].concat()
    };
    stream.write_all(&[framed("denied.example"), framed("api.example.com")].concat()).unwrap();
    let answers = [(); 2].map(|()| {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        address(&answer)
    });
    assert_eq!(answers[1], routed);
    // A frame longer than any question ends the connection, and nothing else.
    stream.write_all(&[0xff; 2]).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(ask_udp(&bottle, "api.example.com"), routed);
    drain(gate);
}

#[test]
fn a_policy_is_taken_over_or_the_last_good_one_stays() {
    let bottle = Bottle::new(POLICY);
    let mut gate = bottle.serve();
    let mut reload = |policy: &str| {
        let policy: EgressPolicy = serde_json::from_str(policy).unwrap();
        gate.say(&KeeperToGate::Policy(Box::new(policy)));
        match gate.hear() {
            Some(GateToKeeper::PolicyApplied { accepted, message }) => (accepted, message),
            other => panic!("{other:?}"),
        }
    };
    let (accepted, message) = reload(r#"{"routes":[{"host":"a.example","ports":[443]}]}"#);
    assert_eq!((accepted, message.as_str()), (true, ""));
    let (accepted, message) = reload(r#"{"routes":[{"host":"a.example","ports":[443,8443,9443]}]}"#);
    assert!(accepted && message.starts_with("port 8443, 9443 is reached through the proxy alone"), "{message}");
    for (policy, why) in [
        (r#"{"routes":[{"host":"a.example","ports":[443],"paths":["no-slash"]}]}"#, "not valid"),
        (r#"{"routes":[{"host":"a.example","ports":[443],"auth":{"carrier":"bearer","secret":"env:T"}}]}"#, "env:T"),
        (r#"{"routes":[],"upstream_ca":["/etc/hostname"]}"#, "upstream_ca"),
    ] {
        let (accepted, message) = reload(policy);
        assert!(!accepted && message.contains(why), "{policy}: {message}");
    }
    drain(gate);
    let reloaded = "policy_reloaded";
    assert_eq!(
        audit_events(&bottle),
        ["gate_started", "checkpoint", reloaded, reloaded, reloaded, reloaded, reloaded, "gate_stopped", "checkpoint"],
    );
    let log = String::from_utf8(bottle.log()).unwrap();
    assert_eq!(log.matches(r#""accepted":true"#).count(), 2);
    verify(&bottle).unwrap();
}

#[test]
fn a_keeper_that_goes_takes_the_gate_with_it() {
    let bottle = Bottle::new(POLICY);
    assert!(bottle.serve().abandon().success());
    assert_eq!(audit_events(&bottle), ["gate_started", "checkpoint", "gate_stopped", "checkpoint"]);
}

#[test]
fn a_killed_gate_is_started_again_on_the_same_doors_and_log() {
    let bottle = Bottle::new(POLICY);
    let before = {
        let gate = bottle.serve();
        let address = ask_udp(&bottle, "api.example.com");
        gate.kill();
        address
    };
    // Killed within a write: half a line.
    File::options().append(true).open(bottle.log_path()).unwrap().write_all(br#"{"seq":1,"ti"#).unwrap();
    let summary = verify(&bottle).unwrap();
    assert_eq!((summary.records, summary.torn), (2, 12));

    let gate = bottle.serve();
    assert_eq!(ask_udp(&bottle, "api.example.com"), before);
    drain(gate);
    let summary = verify(&bottle).unwrap();
    assert_eq!((summary.records, summary.torn), (6, 0));
    assert_eq!(summary.signed.unwrap().records, 6);
    assert_eq!(
        audit_events(&bottle),
        ["gate_started", "checkpoint", "gate_started", "checkpoint", "gate_stopped", "checkpoint"]
    );
}

#[test]
fn a_serving_gate_is_locked_in() {
    let bottle = Bottle::new(POLICY);
    let gate = bottle.serve();
    assert_eq!(gate.status("NoNewPrivs"), "1");
    assert_eq!(gate.status("Seccomp"), "2");
    assert_eq!(gate.status("Threads"), "1");
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(gate.status(capabilities), "0000000000000000", "{capabilities}");
    }
    if let Some((uid, gid)) = child::run_as() {
        assert_eq!(gate.status("Uid"), [uid; 4].map(|uid| uid.to_string()).join(" "));
        assert_eq!(gate.status("Gid"), [gid; 4].map(|gid| gid.to_string()).join(" "));
        assert_eq!(gate.status("Groups"), "");
    }
    // What cannot be dumped belongs to root in /proc, whoever runs it: no sibling of its uid can look inside.
    let proc = std::fs::metadata(format!("/proc/{}/environ", gate.child.id())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&proc), 0);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gate.child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    println!("an idle gate: {} resident", gate.status("VmRSS"));
    drain(gate);
}

#[test]
fn what_cannot_be_right_is_no_start() {
    let secret = r#"{"routes":[{"host":"a.example","ports":[443],"auth":{"carrier":"bearer","secret":"env:T"}}]}"#;
    let authority = r#"{"routes":[],"upstream_ca":["/nonexistent/ca.pem"]}"#;
    for (policy, why) in [(secret, "env:T"), (authority, "/nonexistent/ca.pem")] {
        let bottle = Bottle::new(policy);
        refused(bottle.start(), why);
        assert!(audit_events(&bottle).is_empty());
    }
    let bottle = Bottle::new(POLICY);
    let log = File::options().read(true).append(true).create(true).open(bottle.log_path()).unwrap();
    let doors: Vec<_> = bottle.doors.iter().map(|(_, fd)| fd.as_fd()).collect();
    refused(bottle.start_with(log.as_fd(), &doors[1..]), "4 doors and an audit log came with 4 descriptors");

    let full = File::options().read(true).write(true).open("/dev/full").unwrap();
    refused(bottle.start_with(full.as_fd(), &doors), "audit log");

    let mut unsupported = Bottle::new(POLICY);
    unsupported.doors[0].0 = Door::Git;
    refused(unsupported.start(), "does not serve the door Git");

    std::fs::write(bottle.log_path(), "not a log\n").unwrap();
    refused(bottle.start(), "damaged");
    assert!(matches!(verify(&bottle), Err(VerifyError::Broken(_))));
}

fn refused(mut gate: Gate, why: &str) {
    match gate.hear() {
        Some(GateToKeeper::Failed { message }) => assert!(message.contains(why), "{why}: {message}"),
        other => panic!("{why}: {other:?}"),
    }
    assert!(!gate.ended().success(), "{why}: the exit status says all is well");
}

#[test]
fn a_secret_of_the_start_is_nowhere_to_be_read() {
    let bottle = Bottle::new(POLICY).secret("env:T", "s3cret-value");
    let gate = bottle.serve();
    let proc = format!("/proc/{}", gate.child.id());
    for file in ["environ", "cmdline"] {
        let bytes = std::fs::read(format!("{proc}/{file}")).unwrap();
        assert!(!bytes.windows(12).any(|window| window == b"s3cret-value"), "{file}");
    }
    drain(gate);
    assert!(!String::from_utf8(bottle.log()).unwrap().contains("s3cret-value"));
}
