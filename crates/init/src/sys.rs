//! The system calls that no safe wrapper offers, one function each and nothing more.

#![expect(unsafe_code, reason = "raw system calls; every block says why it is sound")]

use rustix::fd::{FromRawFd, OwnedFd, RawFd};
use std::{
    ffi::{CStr, CString},
    io, ptr,
};

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes ownership of a descriptor that the program was started with, and marks it close-on-exec.
pub(crate) fn adopt_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on a number touches no memory; it fails if nothing is open there.
    checked(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and called once, at the start, before anything else could own it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The two sides of [`fork`].
#[derive(Debug)]
pub(crate) enum Forked {
    Parent(i32),
    Child,
}

/// `fork(2)`.
pub(crate) fn fork() -> io::Result<Forked> {
    // SAFETY: this program has one thread, so the child may go on as the parent would.
    match checked(unsafe { libc::fork() })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// `_exit(2)`.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// `execve(2)`. Returns only on failure.
pub(crate) fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end in a null pointer; they and the strings they point to outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Blocks SIGCHLD and gives a descriptor that is readable when it is pending.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: `set` is initialised by sigemptyset before it is read; the calls touch nothing else. The descriptor is
    // new and ours.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        checked(libc::sigemptyset(&raw mut set))?;
        checked(libc::sigaddset(&raw mut set, libc::SIGCHLD))?;
        checked(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()))?;
        let fd = checked(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// What a terminal and [`signal_group`] send, and the leader of a session outlives.
const OF_TERMINALS: [libc::c_int; 7] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Ignores what a terminal sends.
pub(crate) fn ignore_terminal() {
    for signal in OF_TERMINALS {
        // SAFETY: SIG_IGN installs no handler; the signals are among those that may be ignored.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Closes every descriptor from this number on.
pub(crate) fn close_from(number: libc::c_uint) {
    // SAFETY: callers own no descriptor of these any more: they wait, and then exit without running destructors. It
    // cannot fail for a range that ends with the largest number.
    unsafe { libc::syscall(libc::SYS_close_range, number, libc::c_uint::MAX, 0) };
}

/// Gives a program about to be started the signal mask and the dispositions that programs expect: none blocked, none
/// ignored.
pub(crate) fn default_signals() -> io::Result<()> {
    // SAFETY: as in `child_signals`; SIG_DFL installs no handler. Real-time signals were never touched.
    unsafe {
        for signal in OF_TERMINALS.into_iter().chain([libc::SIGPIPE]) {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        checked(libc::sigemptyset(&raw mut set))?;
        checked(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()))?;
    }
    Ok(())
}

/// `kill(-1, signal)`: every process of the bottle but this one.
pub(crate) fn signal_all(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: kill touches no memory; as PID 1 of a pid namespace, -1 is what is in it, without us.
    checked(unsafe { libc::kill(-1, signal) }).map(drop)
}

/// `kill(-group, signal)`.
pub(crate) fn signal_group(group: i32, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: kill touches no memory. Callers give the positive pid of a group's leader.
    checked(unsafe { libc::kill(-group, signal) }).map(drop)
}

/// `unshare(2)` of the user namespace, for the probe: it must fail.
pub(crate) fn new_user_namespace() -> io::Result<()> {
    // SAFETY: changes credentials at most, in a child that ends right after.
    checked(unsafe { libc::unshare(libc::CLONE_NEWUSER) }).map(drop)
}
