//! From a fresh clone to init: a straight line of system calls, in the one order in which they work.
//!
//! Runs in the child, which has one thread and a copy of the keeper's memory. It never returns: it becomes init, or it
//! tells the keeper which step failed and exits. Until the end it has every capability over the new namespaces and
//! none over the host's.

use super::{
    error::{During, Failure, Step},
    ids,
    layout::Entry,
    net,
    report::Reporter,
    root::Root,
    sys,
};
use crate::backend::room::RoomSpec;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{CWD, Mode, OFlags},
    mount::{MountPropagationFlags, UnmountFlags},
    process::Signal,
    thread::{CapabilitySet, CapabilitySets},
};

/// What the child works with, besides the spec; everything else of the keeper's is closed.
#[derive(Debug)]
pub(super) struct Descriptors {
    pub(super) reporter: Reporter,
    /// Becomes descriptor 3 of init.
    pub(super) link: OwnedFd,
    pub(super) image: OwnedFd,
    /// See [`owners::mapped`](super::owners::mapped).
    pub(super) mapped: Vec<Option<OwnedFd>>,
}

/// Holds a new user namespace until the keeper has got hold of it, closed its end of the socket, or died.
pub(super) fn hold(socket: OwnedFd) -> ! {
    // The keeper's locks and sockets, its end of this one among them, must not live on in this process.
    if close_all_but(&[socket.as_fd()]).is_ok() {
        // Nothing is ever sent: this waits for the end.
        let _ = rustix::io::read(&socket, &mut [0]);
    }
    sys::exit_now(0)
}

/// Builds the room and becomes its init.
pub(super) fn run(spec: &RoomSpec<'_>, layout: &[Entry], mut descriptors: Descriptors) -> ! {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| build(spec, layout, &mut descriptors)));
    if let Ok(Err(failure)) = outcome {
        descriptors.reporter.failed(failure);
    }
    sys::exit_now(1)
}

fn build(
    spec: &RoomSpec<'_>,
    layout: &[Entry],
    descriptors: &mut Descriptors,
) -> Result<std::convert::Infallible, Failure> {
    // First of all: from here on a dead keeper means a dead child, even if it dies before the next line.
    die_with_keeper()?;
    // Before anything can fail or block: the keeper's locks, logs and sockets must not live on in this process.
    let own = [descriptors.reporter.as_fd(), descriptors.link.as_fd(), descriptors.image.as_fd()];
    let kept: Vec<_> = own.into_iter().chain(descriptors.mapped.iter().flatten().map(AsFd::as_fd)).collect();
    close_all_but(&kept)?;
    // Until the keeper has written the maps, this process has no uid that a file could be created under.
    descriptors.reporter.wait_for_keeper().during(Step::Wait, "keeper")?;

    // Before the first mount, or the host would see it (and we, later, the host's).
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .during(Step::PrivateMounts, "/")?;
    // Still with the keeper's own host uid: the bottle's may not walk the path to its home. Where root is the keeper,
    // that is all the privilege left here, and it ends with the next line.
    let sources = Root::open_sources(layout, std::mem::take(&mut descriptors.mapped))?;
    // Before anything is created: what exists in the room belongs to the agent's uid.
    ids::take_on(spec.host_ids.is_some())?;
    // Again, because a change of uid clears it.
    die_with_keeper()?;

    // Now, not in clone: a new cgroup namespace is rooted where its maker is, and by now that is the bottle's cgroup.
    sys::new_cgroup_namespace().during(Step::CgroupNamespace, "cgroup")?;
    rustix::system::sethostname(spec.slug.as_str().as_bytes()).during(Step::HostName, spec.slug)?;

    // The network while the host's /proc is still here to set it up with; the agent cannot, its /proc/sys is frozen.
    net::raise_loopback()?;
    for door in spec.doors {
        let listener = net::open_door(*door)?;
        descriptors.reporter.door(*door, listener.as_fd()).during(Step::HandOver, format_args!("{door:?}"))?;
    }

    // The new root is mounted over /tmp, a directory that is everywhere and that nobody here needs any more.
    let root = Root::make("/tmp")?;
    root.fill(layout, sources)?;
    // Last of the mounts, for every entry of the root had to be made first.
    root.seal()?;
    enter(&root)?;

    // After the last mount, which needed them. Init could not do it: it has none from its first instruction on.
    drop_capabilities()?;
    descriptors.reporter.built().during(Step::HandOver, "room")?;
    // From here on descriptors 0 to 3 are init's. All others close at exec, and that closing tells the keeper so.
    arrange(descriptors)?;
    Err(Failure {
        step: Step::StartInit,
        subject: "init".to_owned(),
        source: sys::execute(descriptors.image.as_fd(), c"init"),
    })
}

fn die_with_keeper() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during(Step::DieWithKeeper, "SIGKILL")
}

/// Closes every descriptor but these and 0 to 2, which [`arrange`] replaces.
fn close_all_but(kept: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept {
        if number > first {
            sys::close_range(first, number - 1, false).during(Step::CloseDescriptors, number)?;
        }
        first = first.max(number + 1);
    }
    sys::close_range(first, u32::MAX, false).during(Step::CloseDescriptors, "rest")
}

/// Makes `root` the root directory and lets go of the host's.
fn enter(root: &Root) -> Result<(), Failure> {
    rustix::process::fchdir(root.directory()).during(Step::EnterRoot, "chdir")?;
    // With both arguments the same, the old root is stacked on the new one: no directory for it is needed.
    rustix::process::pivot_root(".", ".").during(Step::EnterRoot, "pivot")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).during(Step::EnterRoot, "detach")?;
    rustix::process::chdir("/").during(Step::EnterRoot, "/")
}

/// Empties the bounding set first, which takes a capability, and then all others.
fn drop_capabilities() -> Result<(), Failure> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error).during(Step::DropCapabilities, number),
        }
    }
    rustix::thread::clear_ambient_capability_set().during(Step::DropCapabilities, "ambient")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).during(Step::DropCapabilities, "all")
}

/// 0 to 2 are the room's `/dev/null`, 3 is the link, and nothing else survives exec.
fn arrange(descriptors: &Descriptors) -> Result<(), Failure> {
    let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .during(Step::ArrangeDescriptors, "/dev/null")?;
    // It may have got the number 3, and would take the link with it when it goes.
    let null = rustix::io::fcntl_dupfd_cloexec(null, 4).during(Step::ArrangeDescriptors, "/dev/null")?;
    sys::close_range(3, u32::MAX, true).during(Step::ArrangeDescriptors, "close on exec")?;
    for standard in 0..=2 {
        sys::duplicate_to(null.as_fd(), standard).during(Step::ArrangeDescriptors, standard)?;
    }
    sys::duplicate_to(descriptors.link.as_fd(), 3).during(Step::ArrangeDescriptors, 3)
}
