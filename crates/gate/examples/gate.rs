//! The gate as a process of its own, for the tests: confinement cannot be undone, so they cannot call it themselves.
//!
//! `gate` serves the link that is its standard input. `gate probe PORT DIR [confine [UID GID]]` tries what a gate must
//! not be able to do, after confining itself if told so, and prints a line `ACT: done` or `ACT: refused` for each.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a child process tells its test")]

use rustix::{
    fd::AsFd,
    net::{AddressFamily, SocketType, ipproto, socket},
    process::{DumpableBehavior, Pid, PidfdFlags, getppid, pidfd_open, set_dumpable_behavior, test_kill_process},
};
use std::{
    error::Error,
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        [] => serve(),
        ["probe", port, dir, confine @ ..] => probe(port, Path::new(dir), confine),
        _ => Err("usage: gate [probe PORT DIR [confine [UID GID]]]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let link = std::io::stdin().as_fd().try_clone_to_owned()?;
    Ok(bottle_gate::serve(UnixStream::from(link))?)
}

type Act = (&'static str, Box<dyn FnOnce() -> Result<(), Box<dyn Error>>>);

fn probe(port: &str, dir: &Path, confine: &[&str]) -> Result<(), Box<dyn Error>> {
    let port: u16 = port.parse()?;
    // Open before, as the audit log of a gate is.
    let log = File::create(dir.join("log"))?;
    let needed = needed(port, log)?;
    let parent = getppid().ok_or("no parent")?;
    match confine {
        [] => {}
        ["confine"] => bottle_gate::confine::confine(None)?,
        ["confine", uid, gid] => bottle_gate::confine::confine(Some((uid.parse()?, gid.parse()?)))?,
        _ => return Err("confine takes nothing or UID GID".into()),
    }
    for (name, act) in forbidden(dir.to_owned(), parent).into_iter().chain(needed) {
        match act() {
            Ok(()) => println!("{name}: done"),
            Err(err) => println!("{name}: refused ({err})"),
        }
    }
    Ok(())
}

/// What an act gives is dropped: that it could be done is all that counts.
fn act<T>(name: &'static str, act: impl FnOnce() -> Result<T, Box<dyn Error>> + 'static) -> Act {
    (name, Box::new(move || act().map(drop)))
}

fn forbidden(dir: PathBuf, parent: Pid) -> Vec<Act> {
    let created = dir.join("created");
    let linked = dir.join("linked");
    let environment = format!("/proc/{}/environ", parent.as_raw_pid());
    vec![
        act("read a file", || Ok(File::open("/etc/passwd")?)),
        act("look at a file", || Ok(fs::metadata("/etc/passwd")?)),
        act("read its parent's environment", move || Ok(fs::read(environment)?)),
        act("list a directory", || Ok(fs::read_dir("/")?)),
        act("write a file", move || Ok(fs::write(created, "x")?)),
        act("make a link", move || Ok(std::os::unix::fs::symlink("/", linked)?)),
        act("change directory", || Ok(std::env::set_current_dir("/")?)),
        act("start a program", || Ok(Command::new("/bin/true").status()?)),
        act("start a thread", || Ok(thread::Builder::new().spawn(|| {})?.join())),
        act("make a unix socket", || Ok(UnixDatagram::unbound()?)),
        act("make a raw socket", || Ok(socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))?)),
        act("make a packet socket", || Ok(socket(AddressFamily::PACKET, SocketType::DGRAM, None)?)),
        act("make a netlink socket", || Ok(socket(AddressFamily::NETLINK, SocketType::RAW, None)?)),
        act("make a vsock socket", || Ok(socket(AddressFamily::VSOCK, SocketType::STREAM, None)?)),
        act("listen", || Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)),
        act("signal its parent", move || Ok(test_kill_process(parent)?)),
        act("hold its parent", move || Ok(pidfd_open(parent, PidfdFlags::empty())?)),
        act("become root", || Ok(rustix::thread::set_thread_uid(rustix::thread::Uid::ROOT)?)),
        act("mount", || {
            rustix::mount::mount("none", "/mnt", "tmpfs", rustix::mount::MountFlags::empty(), None)?;
            Ok(rustix::mount::unmount("/mnt", rustix::mount::UnmountFlags::DETACH)?)
        }),
        act("be dumped", || Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)),
    ]
}

/// What a gate cannot do without.
fn needed(port: u16, mut log: File) -> Result<Vec<Act>, Box<dyn Error>> {
    let cut = log.try_clone()?;
    Ok(vec![
        act("dial over TCP", move || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?.set_nodelay(true)?)),
        act("ask over UDP", move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            Ok(socket.send_to(b"x", (Ipv4Addr::LOCALHOST, port))?)
        }),
        act("write its log", move || Ok(log.write_all(b"line")?)),
        act("cut its log", move || Ok(cut.set_len(0)?)),
        act("allocate", || {
            // Above the allocator's threshold for a mapping of its own, then back.
            Ok(std::hint::black_box(vec![1_u8; 64 << 20]))
        }),
    ])
}
