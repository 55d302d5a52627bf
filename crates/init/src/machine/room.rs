//! The room within the machine: what the image has, read-only, with the bottle's own places over it. Runs in the child
//! that becomes init, with every capability over the machine until the end, and never returns but with an error.
//!
//! Invariants: the bottle's programs see nothing of the machine but the image: not its disk, its sockets or its `/run`,
//! no device but those named here, no network but an empty one. Every place is looked for as if the new root were the
//! only one there is, so no link in an image or a home leads out of it.

use super::PorterError;
use crate::sys;
use bottle_spec::machine_link::{HOME, MachineRoom, Place, WORKSPACE};
use rustix::{
    fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, mkdirat, openat, openat2},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
        mount_remount, unmount,
    },
    net::{AddressFamily, SocketFlags, SocketType},
    process::Signal,
    thread::{CapabilitySet, CapabilitySets},
};
use std::{
    convert::Infallible,
    ffi::CString,
    fmt::Display,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// Where it is put together, in the image's root, which is writable until then and thrown away with the machine.
const ROOT: &str = "/bot-bottle/root";
const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Says which step it was.
trait During<T> {
    fn during(self, step: impl Display) -> Result<T, PorterError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: impl Display) -> Result<T, PorterError> {
        self.map_err(|error| PorterError::Room { step: step.to_string(), source: error.into() })
    }
}

/// Makes the room and becomes its init, which finds `link` as descriptor 3, in the control group that `share` lets it join.
pub(super) fn become_init(spec: &MachineRoom, share: Option<&File>, program: &OwnedFd, link: &OwnedFd) -> PorterError {
    match build(spec, share, program, link) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn build(
    spec: &MachineRoom,
    share: Option<&File>,
    program: &OwnedFd,
    link: &OwnedFd,
) -> Result<Infallible, PorterError> {
    die_with_porter()?;
    if let Some(mut share) = share {
        share.write_all(b"0").during("joining its share of the memory")?;
    }
    let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    sys::unshare(namespaces | libc::CLONE_NEWCGROUP).during("new namespaces")?;
    network()?;
    rustix::system::sethostname(spec.host_name.as_bytes()).during("its name")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).during("private mounts")?;
    fs::create_dir_all(ROOT).during(ROOT)?;
    mount_bind("/", ROOT).during(ROOT)?;
    let root = openat(CWD, ROOT, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).during(ROOT)?;
    Root { root: &root, spec }.fill()?;
    mount_remount(ROOT, MountFlags::BIND | MountFlags::RDONLY | PLAIN, "").during("sealing the root")?;
    rustix::process::fchdir(&root).during("entering the root")?;
    rustix::process::pivot_root(".", ".").during("entering the root")?;
    unmount(".", UnmountFlags::DETACH).during("leaving the machine's root")?;
    rustix::process::chdir("/").during("entering the root")?;
    give_up(spec)?;
    die_with_porter()?;
    let null = openat(CWD, "/dev/null", OFlags::RDWR, Mode::empty()).during("/dev/null")?;
    let kept = rustix::io::fcntl_dupfd_cloexec(link, 10).during("the link")?;
    let program = rustix::io::fcntl_dupfd_cloexec(program, 10).during("the program")?;
    rustix::stdio::dup2_stdin(&null).during("standard input")?;
    rustix::stdio::dup2_stdout(&null).during("standard output")?;
    rustix::stdio::dup2_stderr(&null).during("standard error")?;
    sys::only_descriptor(kept.as_fd(), 3).during("the link")?;
    Err(sys::execute_file(program.as_fd(), c"init")).during("executing init")
}

fn die_with_porter() -> Result<(), PorterError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during("ending with the porter")
}

/// Loopback alone, with ports that need no right.
fn network() -> Result<(), PorterError> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .during("loopback")?;
    sys::interface_up(socket.as_fd(), c"lo").during("loopback")?;
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").during("low ports")
}

/// Another user, no capability, and no way to get one.
fn give_up(spec: &MachineRoom) -> Result<(), PorterError> {
    for number in 0..u64::BITS {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error).during("the bounding set"),
        }
    }
    let (uid, gid) = (Uid::from_raw(spec.uid), Gid::from_raw(spec.gid));
    // Where there are none to give up, it may be that nobody may.
    if !rustix::process::getgroups().during("groups")?.is_empty() {
        rustix::thread::set_thread_groups(&[]).during("groups")?;
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid).during("the group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).during("the user")?;
    rustix::thread::clear_ambient_capability_set().during("ambient capabilities")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).during("capabilities")
}

struct Root<'a> {
    root: &'a OwnedFd,
    spec: &'a MachineRoom,
}

impl Root<'_> {
    fn fill(&self) -> Result<(), PorterError> {
        self.file_system("/proc", "proc", "", MountFlags::NOEXEC)?;
        self.file_system("/sys", "tmpfs", "size=0,nr_inodes=1,mode=555", MountFlags::RDONLY)?;
        self.devices()?;
        let (bytes, inodes) = self.spec.scratch;
        for (place, bytes, mode) in
            [("/tmp", bytes, "1777"), ("/var/tmp", bytes, "1777"), ("/run", bytes.min(64 << 20), "755")]
        {
            let MachineRoom { uid, gid, .. } = self.spec;
            let options = format!("size={bytes},nr_inodes={inodes},mode={mode},uid={uid},gid={gid}");
            self.file_system(place, "tmpfs", &options, MountFlags::empty())?;
        }
        for place in &self.spec.places {
            self.show(place).during(&place.target)?;
        }
        self.masks()
    }

    fn file_system(&self, target: &str, kind: &str, options: &str, more: MountFlags) -> Result<(), PorterError> {
        let place = self.place(target, true).during(target)?;
        let options = CString::new(options).map_err(io::Error::from).during(target)?;
        mount(kind, name(&place), kind, PLAIN | more, options.as_c_str()).during(target)
    }

    fn devices(&self) -> Result<(), PorterError> {
        self.file_system("/dev", "tmpfs", "size=64k,nr_inodes=64,mode=755", MountFlags::empty())?;
        for device in DEVICES {
            let target = format!("/dev/{device}");
            self.place(&target, false).and_then(|place| self.device(&target, &place, &target)).during(&target)?;
        }
        let directory = self.place("/dev", true).during("/dev")?;
        for (link, to) in DEVICE_LINKS {
            rustix::fs::symlinkat(to, &directory, link).during(format_args!("/dev/{link}"))?;
        }
        let terminals = "newinstance,ptmxmode=0666,mode=0620";
        let place = self.place("/dev/pts", true).during("/dev/pts")?;
        let options = CString::new(terminals).map_err(io::Error::from).during("/dev/pts")?;
        mount("devpts", name(&place), "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, options.as_c_str())
            .during("/dev/pts")?;
        let (bytes, inodes) = self.spec.scratch;
        self.file_system(
            "/dev/shm",
            "tmpfs",
            &format!("size={bytes},nr_inodes={inodes},mode=1777"),
            MountFlags::empty(),
        )
    }

    /// One of the machine's own devices over `place`, which is what `target` names.
    fn device(&self, device: &str, place: &OwnedFd, target: &str) -> io::Result<()> {
        mount_bind(device, name(place))?;
        let on = self.open(Path::new(target), OFlags::PATH)?;
        Ok(mount_remount(name(&on), MountFlags::BIND | MountFlags::NOSUID | MountFlags::NOEXEC, "")?)
    }

    fn show(&self, place: &Place) -> io::Result<()> {
        let on = self.place(&place.target, place.directory)?;
        mount_bind_recursive(&*place.source, name(&on))?;
        // The mount that is there now, and not what it hides.
        let on = self.open(Path::new(&place.target), OFlags::PATH)?;
        let access = if place.writable { MountFlags::empty() } else { MountFlags::RDONLY };
        mount_remount(name(&on), MountFlags::BIND | PLAIN | access, "")?;
        Ok(())
    }

    /// What a kernel shows in `/proc` and no program of a bottle needs, as on every backend.
    fn masks(&self) -> Result<(), PorterError> {
        for file in &self.spec.masked_files {
            if let Ok(place) = self.open(Path::new(file), OFlags::PATH) {
                self.device("/dev/null", &place, file).during(file)?;
            }
        }
        for directory in &self.spec.masked_directories {
            if let Ok(place) = self.open(Path::new(directory), OFlags::PATH) {
                mount("tmpfs", name(&place), "tmpfs", PLAIN | MountFlags::RDONLY, c"size=0,nr_inodes=1")
                    .during(directory)?;
            }
        }
        for path in &self.spec.frozen {
            if let Ok(place) = self.open(Path::new(path), OFlags::PATH) {
                mount_bind(name(&place), name(&place)).during(path)?;
                let place = self.open(Path::new(path), OFlags::PATH).during(path)?;
                let flags = MountFlags::BIND | PLAIN | MountFlags::NOEXEC | MountFlags::RDONLY;
                mount_remount(name(&place), flags, "").during(path)?;
            }
        }
        Ok(())
    }

    /// A place to mount on, made where it is missing. A link that an image has in the place of a file of ours goes.
    fn place(&self, target: &str, directory: bool) -> io::Result<OwnedFd> {
        let target = Path::new(target);
        let mut at = self.open(Path::new("/"), OFlags::PATH)?;
        let mut walked = Path::new("/").to_owned();
        let mut parts = target.strip_prefix("/").map_err(io::Error::other)?.components().peekable();
        while let Some(part) = parts.next() {
            let part = Path::new(part.as_os_str());
            if parts.peek().is_none() && !directory {
                return self.file(&at, part, &walked.join(part));
            }
            walked.push(part);
            at = match self.open(&walked, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(found) => found,
                Err(_) => {
                    match mkdirat(&at, part, Mode::from_raw_mode(0o755)) {
                        Err(Errno::EXIST) => {
                            rustix::fs::unlinkat(&at, part, AtFlags::empty())?;
                            mkdirat(&at, part, Mode::from_raw_mode(0o755))?;
                        }
                        other => other?,
                    }
                    let made = self.open(&walked, OFlags::RDONLY | OFlags::DIRECTORY)?;
                    self.own(&walked, &made)?;
                    made
                }
            };
        }
        Ok(at)
    }

    fn file(&self, at: &OwnedFd, part: &Path, walked: &Path) -> io::Result<OwnedFd> {
        let found = rustix::fs::statat(at, part, AtFlags::SYMLINK_NOFOLLOW);
        match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
            Ok(FileType::RegularFile | FileType::CharacterDevice) => {}
            Ok(FileType::Directory) => return Err(Errno::ISDIR.into()),
            Ok(_) => {
                rustix::fs::unlinkat(at, part, AtFlags::empty())?;
                self.make_file(at, part, walked)?;
            }
            Err(Errno::NOENT) => self.make_file(at, part, walked)?,
            Err(error) => return Err(error.into()),
        }
        Ok(openat(at, part, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn make_file(&self, at: &OwnedFd, part: &Path, walked: &Path) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let made = openat(at, part, flags, Mode::from_raw_mode(0o644))?;
        self.own(walked, &made)
    }

    /// What is made in the agent's own places is the agent's. Its file system may say so by itself, and refuse.
    fn own(&self, walked: &Path, made: &OwnedFd) -> io::Result<()> {
        let of_agent = self.spec.places.iter().any(|place| {
            [HOME, WORKSPACE].contains(&&*place.source)
                && walked.starts_with(&place.target)
                && walked != Path::new(&place.target)
        });
        if of_agent {
            let _ = fchown(made, Some(Uid::from_raw(self.spec.uid)), Some(Gid::from_raw(self.spec.gid)));
        }
        Ok(())
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }
}

/// An open place, for a call that takes names.
fn name(place: impl AsFd) -> String {
    let place: BorrowedFd<'_> = place.as_fd();
    format!("/proc/self/fd/{}", place.as_raw_fd())
}
