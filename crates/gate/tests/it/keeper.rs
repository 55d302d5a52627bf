//! Plays the keeper to a real gate process: makes the doors, sends the start, reads what the gate says.

use crate::child;
use bottle_gate::{
    audit::sign::{self, Signer},
    ca,
};
use bottle_spec::{
    door::Door,
    event::Head,
    gate_link::{Authority, GateStart, GateToKeeper, HeldSecret, KeeperToGate},
    policy::EgressPolicy,
    secret::Secret,
    slug::Slug,
    wire::{self, Decoder},
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::{
    fs::File,
    io::{IoSlice, Read, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// What outlives a gate: the keeper's side of a bottle.
pub(crate) struct Bottle {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) doors: Vec<(Door, OwnedFd)>,
    pub(crate) authority: Authority,
    pub(crate) policy: EgressPolicy,
    pub(crate) secrets: Vec<HeldSecret>,
    /// What is noted of the log.
    pub(crate) head: Head,
}

/// The key that signs for the user of the tests.
pub(crate) fn user_key() -> Secret {
    Secret::new("42".repeat(32))
}

pub(crate) fn signer(bottle: &Slug) -> Signer {
    Signer::new(&sign::certify(&user_key(), bottle).unwrap()).unwrap()
}

/// A running gate. Killed when dropped.
pub(crate) struct Gate {
    pub(crate) child: Child,
    link: UnixStream,
    decoder: Decoder,
    /// The last checkpoint that it told of.
    pub(crate) noted: Option<Head>,
}

impl Bottle {
    /// A bottle with every door of this issue, on ports of this machine's loopback.
    pub(crate) fn new(policy: &str) -> Bottle {
        let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let udp = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
        Bottle {
            dir: tempfile::tempdir().unwrap(),
            doors: vec![
                (Door::Proxy, tcp()),
                (Door::Transparent { port: 443 }, tcp()),
                (Door::ResolverUdp, udp),
                (Door::ResolverTcp, tcp()),
            ],
            authority: ca::generate(&"tester-abcde".parse().unwrap()).unwrap(),
            policy: serde_json::from_str(policy).unwrap(),
            secrets: Vec::new(),
            head: Head::of_nothing("tester-abcde"),
        }
    }

    pub(crate) fn secret(mut self, source: &str, value: &str) -> Bottle {
        self.secrets.push(HeldSecret {
            source: source.parse().unwrap(),
            value: Secret::new(value.to_owned()),
            placeholder: "placeholder".to_owned(),
            until: None,
        });
        self
    }

    /// Where a client inside would find this door.
    pub(crate) fn address(&self, door: Door) -> SocketAddr {
        let (_, descriptor) = self.doors.iter().find(|(kind, _)| *kind == door).unwrap();
        let address = rustix::net::getsockname(descriptor).unwrap();
        SocketAddr::try_from(address).unwrap()
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.path().join("audit.jsonl")
    }

    pub(crate) fn log(&self) -> Vec<u8> {
        std::fs::read(self.log_path()).unwrap()
    }

    /// Starts a gate and sends it everything.
    pub(crate) fn start(&self) -> Gate {
        let log = File::options().read(true).append(true).create(true).open(self.log_path()).unwrap();
        self.start_with(log.as_fd(), &self.doors.iter().map(|(_, fd)| fd.as_fd()).collect::<Vec<_>>())
    }

    pub(crate) fn start_with(&self, log: BorrowedFd<'_>, doors: &[BorrowedFd<'_>]) -> Gate {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let child = Command::new(child::program())
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.path().join("gate.log")).unwrap())
            .spawn()
            .unwrap();
        let start = GateStart {
            synthetic: bottle_spec::door::SYNTHETIC_NET.0,
            bottle: "tester-abcde".parse().unwrap(),
            policy: self.policy.clone(),
            doors: self.doors.iter().map(|(door, _)| *door).collect(),
            secrets: self.secrets.iter().map(copy).collect(),
            canaries: Vec::new(),
            frozen: false,
            metrics: false,
            supervised: false,
            wait: 60,
            authority: self.authority.clone(),
            audit_key: sign::certify(&user_key(), &"tester-abcde".parse().unwrap()).unwrap(),
            audit_head: self.head.clone(),
            run_as: child::run_as(),
        };
        let descriptors: Vec<BorrowedFd<'_>> = std::iter::once(log).chain(doors.iter().copied()).collect();
        send_with(&ours, &KeeperToGate::Start(Box::new(start)), &descriptors);
        Gate { child, link: ours, decoder: Decoder::default(), noted: None }
    }

    /// Starts a gate that serves.
    pub(crate) fn serve(&self) -> Gate {
        let mut gate = self.start();
        gate.ready();
        gate
    }
}

fn copy(secret: &HeldSecret) -> HeldSecret {
    HeldSecret {
        source: secret.source.clone(),
        value: secret.value.clone(),
        placeholder: secret.placeholder.clone(),
        until: None,
    }
}

fn send_with(mut link: &UnixStream, message: &KeeperToGate, descriptors: &[BorrowedFd<'_>]) {
    let frame = wire::encode(message).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(100))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    let sent = sendmsg(link, &[IoSlice::new(&frame)], &mut control, SendFlags::empty()).unwrap();
    link.write_all(&frame[sent..]).unwrap();
}

impl Gate {
    pub(crate) fn say(&mut self, message: &KeeperToGate) {
        self.link.write_all(&wire::encode(message).unwrap()).unwrap();
    }

    pub(crate) fn ready(&mut self) {
        let said = self.hear();
        assert!(matches!(said, Some(GateToKeeper::Ready)), "{said:?}");
    }

    /// Hears it to its end; its last checkpoint.
    pub(crate) fn last_words(&mut self) -> Option<Head> {
        while self.hear().is_some() {}
        self.child.wait().unwrap();
        self.noted.take()
    }

    /// The gate's next message; `None` = it closed the link.
    pub(crate) fn hear(&mut self) -> Option<GateToKeeper> {
        loop {
            match self.decoder.message().unwrap() {
                Some(GateToKeeper::Noted(head)) => {
                    self.noted = Some(head);
                    continue;
                }
                Some(message) => return Some(message),
                None => {}
            }
            let mut bytes = [0; 4096];
            match self.link.read(&mut bytes) {
                Ok(0) => return None,
                Ok(length) => self.decoder.push(&bytes[..length]),
                Err(err) if err.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(err) => panic!("the gate says nothing: {err}"),
            }
        }
    }

    /// Closes the link, as a keeper that dies, and waits for the gate's end.
    pub(crate) fn abandon(self) -> ExitStatus {
        let Gate { mut child, link, .. } = self;
        drop(link);
        child.wait().unwrap()
    }

    pub(crate) fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A field of `/proc/PID/status`.
    pub(crate) fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
