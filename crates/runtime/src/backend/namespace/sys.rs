//! The system calls that no safe wrapper offers, one function each and nothing more.

#![expect(unsafe_code, reason = "raw system calls; every block says why it is sound")]

use rustix::{
    fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    mount::MountAttrFlags,
};
use std::{ffi::CStr, io, ptr};

/// The two sides of [`clone_process`].
#[derive(Debug)]
pub(super) enum Cloned {
    Parent { pid: i32, pidfd: OwnedFd },
    Child,
}

/// `clone3(2)` without a stack: a `fork` into the namespaces of `namespaces`, and into `cgroup` where one is given.
///
/// The child is a copy of the caller with one thread, so the caller must have one thread only: another thread's locks
/// would stay taken in the child for ever.
pub(super) fn clone_process(namespaces: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    /// linux/sched.h; the constant of `libc` is too narrow for it.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: `clone_args` is plain integers; all zero is its documented default.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from((namespaces | libc::CLONE_PIDFD).cast_unsigned());
    args.pidfd = ptr::from_mut(&mut pidfd).expose_provenance() as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: the arguments outlive the call, `pidfd` is writable, and without a stack the child returns here on a copy
    // of this one, as after fork.
    let result = unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&args), size_of::<libc::clone_args>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: i32::try_from(pid).unwrap_or(i32::MAX), pidfd })
        }
    }
}

/// `_exit(2)`: ends a cloned child without running what the parent registered for its own exit.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Debug, Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// `mount_setattr(2)`: adds attributes to the mount that `mount` is the root of, and to those below it if `recursive`.
pub(super) fn add_mount_attributes(mount: BorrowedFd<'_>, set: MountAttrFlags, recursive: bool) -> io::Result<()> {
    set_mount_attributes(mount, &MountAttr { set: u64::from(set.bits()), ..MountAttr::default() }, recursive)
}

/// `mount_setattr(2)`: on `mount`, which is attached nowhere, and on those below it, files have the owners that the
/// user namespace `owners` maps theirs to. None of these mounts tells another what is mounted on it.
pub(super) fn map_mount_owners(mount: BorrowedFd<'_>, owners: BorrowedFd<'_>) -> io::Result<()> {
    let attr = MountAttr {
        set: MountAttrFlags::MOUNT_ATTR_IDMAP.bits().into(),
        propagation: libc::MS_PRIVATE,
        userns: owners.as_raw_fd().cast_unsigned().into(),
        ..MountAttr::default()
    };
    set_mount_attributes(mount, &attr, true)
}

fn set_mount_attributes(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path and struct outlive the call; the size is that of the struct.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `unshare(2)` of the cgroup namespace.
pub(super) fn new_cgroup_namespace() -> io::Result<()> {
    // SAFETY: a cgroup namespace changes what paths this process is shown and nothing of its memory or descriptors.
    let result = unsafe { libc::unshare(libc::CLONE_NEWCGROUP) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `close_range(2)`: closes every descriptor from `first` to `last`, both included, or marks them close-on-exec.
pub(super) fn close_range(first: u32, last: u32, on_exec_only: bool) -> io::Result<()> {
    let flags = if on_exec_only { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: callers own every descriptor in the range or run in a child that is about to end or exec; no memory is
    // touched.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `dup3(2)` onto a number that the new program expects; the copy survives exec.
pub(super) fn duplicate_to(from: BorrowedFd<'_>, to: i32) -> io::Result<()> {
    if from.as_raw_fd() == to {
        // dup3 refuses equal numbers; the descriptor is there already and only must survive exec.
        // SAFETY: F_SETFD takes an integer and touches no memory.
        let result = unsafe { libc::fcntl(to, libc::F_SETFD, 0) };
        return if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    }
    // SAFETY: no memory is touched; what `to` named before belongs to a child that is about to exec.
    let result = unsafe { libc::dup3(from.as_raw_fd(), to, 0) };
    if result == to { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `execveat(2)` of an open file, with one argument and an empty environment. Returns only on failure.
pub(super) fn execute(image: BorrowedFd<'_>, name: &CStr) -> io::Error {
    let arguments = [name.as_ptr(), ptr::null()];
    let environment: [*const libc::c_char; 1] = [ptr::null()];
    // SAFETY: both arrays end in a null pointer and outlive the call, as do the strings.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            image.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// The Landlock ABI of this kernel; `None` where it has none or was booted without it.
pub(super) fn landlock_abi() -> Option<u32> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with the VERSION flag the kernel reads no attributes.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<libc::c_void>(), 0, VERSION) };
    u32::try_from(abi).ok().filter(|abi| *abi > 0)
}

/// Sets `IFF_UP` on an interface of this network namespace.
pub(super) fn interface_up(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    const IFF_UP: libc::c_short = 1;
    // SAFETY: `ifreq` is plain bytes; all zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = IFF_UP;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, ptr::from_ref(&request)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
