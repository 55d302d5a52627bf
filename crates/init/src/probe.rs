//! The self-probe: tries from inside, under the agent's own confinement, what must fail and what must work.
//!
//! Runs in a forked child, so that a peer that stalls or answers nonsense costs a process and not PID 1.

use crate::sys::{self, Forked};
use bottle_spec::{
    door::{PROXY_PORT, RESOLVER_PORT},
    init_link::Probe,
};
use rustix::{
    fs::Access,
    net::{AddressFamily, SocketType},
};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

/// A door answers within microseconds; a machine that starts fifty bottles at once takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What must be unreachable is so at once: there is no route.
const UNREACHABLE: Duration = Duration::from_millis(500);

/// Addresses set aside for documentation (RFC 5737, RFC 3849): nobody answers there, but a packet would have left.
const OUTSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// What the room fails at, as sentences; empty where it is tight and every door answers.
pub(crate) fn run(probe: &Probe) -> io::Result<Vec<String>> {
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let pid = match sys::fork()? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            let text = failures(probe).join("\n");
            let written = File::from(tell).write_all(text.as_bytes());
            sys::exit_now(if written.is_ok() { 0 } else { 1 })
        }
    };
    drop(tell);
    let mut text = String::new();
    File::from(told).read_to_string(&mut text)?;
    let status = rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::empty())?;
    // A probe that died has proven nothing.
    match status.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(text.lines().map(str::to_owned).collect()),
        _ => Err(io::Error::other("the probe died")),
    }
}

fn failures(probe: &Probe) -> Vec<String> {
    let mut failures = Vec::new();
    failures.extend(outside());
    failures.extend(routes());
    failures.extend(raw_sockets());
    failures.extend(namespaces());
    failures.extend(canary(probe.canary_port));
    failures.extend(siblings());
    failures.extend(own_places());
    failures.extend(probe.doors.iter().filter_map(|port| door(*port)));
    failures
}

fn outside() -> Option<String> {
    OUTSIDE.into_iter().find_map(|address| {
        let address = SocketAddr::new(address, 443);
        // A timeout counts as well: then there is a route, and packets leave.
        let error = TcpStream::connect_timeout(&address, UNREACHABLE).err();
        let tight = error.is_some_and(|error| error.kind() != io::ErrorKind::TimedOut);
        (!tight).then(|| format!("a packet to {address} leaves the bottle"))
    })
}

/// What is local needs no route that the kernel lists here; one that leads nowhere yet may lead somewhere later.
fn routes() -> Option<String> {
    match fs::read_to_string("/proc/net/route") {
        Ok(table) if table.lines().count() <= 1 => None,
        Ok(_) => Some("a route leads out of the bottle".to_owned()),
        Err(error) => Some(format!("the bottle's routes cannot be looked at: {error}")),
    }
}

fn raw_sockets() -> Option<String> {
    [(AddressFamily::INET, "IP"), (AddressFamily::INET6, "IPv6"), (AddressFamily::PACKET, "packet")]
        .into_iter()
        .find_map(|(family, name)| {
            let opened = rustix::net::socket(family, SocketType::RAW, None).is_ok();
            opened.then(|| format!("a raw {name} socket can be opened"))
        })
}

fn namespaces() -> Option<String> {
    sys::new_user_namespace().is_ok().then(|| "a user namespace can be made".to_owned())
}

/// A listener waits for this on the host's loopback: reaching it would mean that the loopback here is the host's.
fn canary(port: u16) -> Option<String> {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let reached = addresses
        .into_iter()
        .any(|address| TcpStream::connect_timeout(&SocketAddr::new(address, port), UNREACHABLE).is_ok());
    reached.then(|| format!("the host's loopback can be reached (port {port})"))
}

/// Podman's mark of a container: a file with nothing in it, where the container has no rights on its host.
const MARK: &str = ".containerenv";

/// Sockets of other bottles, and of the host, would lie in `/run` or have abstract names.
fn siblings() -> Option<String> {
    let is_mark = |entry: &fs::DirEntry| {
        entry.file_name() == MARK && entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
    };
    let strange = |entry: io::Result<fs::DirEntry>| !entry.is_ok_and(|entry| is_mark(&entry));
    if fs::read_dir("/run").is_ok_and(|entries| entries.into_iter().any(strange)) {
        return Some("something of the host's is in /run".to_owned());
    }
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    // Each line: seven columns, then the name if the socket has one.
    let named = sockets.lines().skip(1).any(|line| line.split_ascii_whitespace().nth(7).is_some());
    named.then(|| "a named socket of somebody else can be seen".to_owned())
}

/// Whoever makes the room may map users, and show the agent its own places as somebody else's.
fn own_places() -> Option<String> {
    ["/home/agent", "/tmp", "/var/tmp"].into_iter().find_map(|place| {
        let error = rustix::fs::access(place, Access::WRITE_OK | Access::EXEC_OK).err()?;
        Some(format!("the agent may not write to {place}: {error}; does the container engine map users (rootless)?"))
    })
}

fn door(port: u16) -> Option<String> {
    let answer = match port {
        PROXY_PORT => proxy(),
        RESOLVER_PORT => resolver(),
        _ => connect(port).map(drop),
    };
    answer.err().map(|error| format!("the door on port {port} does not answer: {error}"))
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A name that no policy can allow (RFC 6761) must be refused, by the gate itself: that it speaks shows that it works.
fn proxy() -> io::Result<()> {
    const REQUEST: &[u8] =
        b"CONNECT bot-bottle-probe.invalid:443 HTTP/1.1\r\nHost: bot-bottle-probe.invalid:443\r\n\r\n";
    let mut stream = connect(PROXY_PORT)?;
    stream.write_all(REQUEST)?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    // A frozen bottle's gate refuses with 503.
    match &status {
        b"HTTP/1.1 403" | b"HTTP/1.1 503" => Ok(()),
        other => Err(io::Error::other(format!("it said {:?}", String::from_utf8_lossy(other)))),
    }
}

/// The resolver door must answer a question over UDP, whatever the answer.
fn resolver() -> io::Result<()> {
    connect(RESOLVER_PORT)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((Ipv4Addr::LOCALHOST, RESOLVER_PORT))?;
    socket.send(QUESTION)?;
    let mut answer = [0; 512];
    let count = socket.recv(&mut answer)?;
    match answer.get(..count) {
        // The same id, and the bit that marks a response.
        Some([0xb0, 0x77, flags, ..]) if flags & 0x80 != 0 => Ok(()),
        _ => Err(io::Error::other("it said something that is no answer")),
    }
}

/// `probe.invalid IN A?` with id 0xb077 (RFC 1035, 4.1).
const QUESTION: &[u8] = b"\xb0\x77\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05probe\x07invalid\x00\x00\x01\x00\x01";
