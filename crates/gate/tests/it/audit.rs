//! The audit log of a real gate: on a disk that is full, and when it is killed again and again.

use crate::{
    child,
    keeper::{Bottle, Gate, user_key},
};
use bottle_gate::audit::{Against, Summary, sign::public_key, verify};
use bottle_spec::{door::Door, event::Head, gate_link::KeeperToGate};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    os::fd::AsFd,
    path::PathBuf,
    time::{Duration, Instant},
};

const POLICY: &str = r#"{"routes":[{"host":"api.example.com","ports":[443]}]}"#;

/// After a gate is gone, connections wait for the next one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks for a tunnel; the head of the answer.
fn tunnel(bottle: &Bottle, host: &str) -> Option<String> {
    let mut stream = TcpStream::connect(bottle.address(Door::Proxy)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").as_bytes()).ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

fn checked(log: &[u8], head: &Head) -> Summary {
    let signer = Some(public_key(&user_key()).unwrap());
    let against = Against { bottle: Some(head.bottle.clone()), signer, head: Some(head.clone()) };
    verify(log, &against).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(log)))
}

/// A file system of a few pages, mounted for one test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> SmallDisk {
        std::fs::create_dir(&path).unwrap();
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(c"size=32k")).unwrap();
        SmallDisk(path)
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[0; 512]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn on_a_full_disk_all_is_denied_and_with_space_it_goes_on() {
    if child::run_as().is_none() {
        return println!("SKIPPED(not root): a file system of its own cannot be mounted");
    }
    let bottle = Bottle::new(POLICY);
    let disk = SmallDisk::mount(bottle.dir.path().join("disk"));
    let path = disk.0.join("audit.jsonl");
    let log = File::options().read(true).append(true).create(true).open(&path).unwrap();
    let doors: Vec<_> = bottle.doors.iter().map(|(_, fd)| fd.as_fd()).collect();
    let mut gate = bottle.start_with(log.as_fd(), &doors);
    gate.ready();
    let allowed = |head: &str| head.starts_with("HTTP/1.1 200");
    assert!(allowed(&tunnel(&bottle, "api.example.com").unwrap()));
    disk.fill();
    // What is left of the log's last page is used up first.
    let denied = (0..100).map(|_| tunnel(&bottle, "api.example.com").unwrap()).find(|head| !allowed(head)).unwrap();
    assert!(denied.contains("x-bot-bottle-reason: policy_error"), "{denied}");
    let full = std::fs::read(&path).unwrap();
    assert_eq!(checked(&full, &bottle.head).torn, 0);
    // A denial that cannot be written is one all the same, and the bottle lives.
    let other = tunnel(&bottle, "denied.example").unwrap();
    assert!(other.contains("x-bot-bottle-reason: no_route"), "{other}");

    disk.free();
    assert!(allowed(&tunnel(&bottle, "api.example.com").unwrap()));
    gate.say(&KeeperToGate::Drain { seconds: 5 });
    let head = gate.last_words().unwrap();
    let log = std::fs::read(&path).unwrap();
    let summary = checked(&log, &head);
    assert_eq!(summary.signed.unwrap().records, summary.records);
    let lost =
        String::from_utf8(log).unwrap().lines().find(|line| line.contains(r#""event":"gap""#)).unwrap().to_owned();
    assert!(lost.contains(r#""lost":2"#), "{lost}");
}

#[test]
fn a_gate_killed_at_any_moment_leaves_a_log_that_verifies() {
    let mut bottle = Bottle::new(POLICY);
    let mut random = 0x9e37_79b9_u64;
    let mut noted = bottle.head.clone();
    for round in 0..12 {
        bottle.head = noted.clone();
        let mut gate: Gate = bottle.serve();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let life = Duration::from_micros(500 + (random >> 33) % 60_000);
        let until = Instant::now() + life;
        let answered: u64 = std::thread::scope(|scope| {
            let ask = || (0..20_000).map_while(|_| tunnel(&bottle, "denied.example")).count() as u64;
            let asking = [scope.spawn(ask), scope.spawn(ask)];
            while Instant::now() < until {
                std::thread::yield_now();
            }
            gate.child.kill().unwrap();
            gate.child.wait().unwrap();
            asking.map(|one| one.join().unwrap()).iter().sum()
        });
        // The test holds the listeners open as a keeper does; what was heard of the dead gate counts.
        noted = gate.last_words().unwrap_or(noted);
        let summary = checked(&bottle.log(), &noted);
        assert!(summary.records >= answered, "round {round}: {} records of {answered} answers", summary.records);
    }
    bottle.head = noted;
    let mut gate = bottle.serve();
    gate.say(&KeeperToGate::Drain { seconds: 5 });
    let head = gate.last_words().unwrap();
    let summary = checked(&bottle.log(), &head);
    assert_eq!((summary.torn, summary.records), (0, head.records));
    println!("{} records", summary.records);
}
