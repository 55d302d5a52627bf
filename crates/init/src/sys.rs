//! The system calls that no safe wrapper offers, one function each and nothing more.

#![expect(unsafe_code, reason = "raw system calls; every block says why it is sound")]

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
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
    // SAFETY: where this program has other threads (`machine::stream`), the C library takes its own locks over the fork,
    // so the child may allocate; of ours it takes none, and it uses nothing that those threads have.
    match checked(unsafe { libc::fork() })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// `clone3(2)` without a stack: a `fork` into new namespaces. (After `unshare(2)` of the pid namespace a process could have
/// no thread any more.)
pub(crate) fn fork_into(namespaces: libc::c_int) -> io::Result<Forked> {
    // SAFETY: `clone_args` is plain integers; all zero is its documented default.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(namespaces.cast_unsigned());
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: the arguments outlive the call; without a stack the child returns here on a copy of this one, as after
    // fork, and this program has one thread when it forks.
    let result = unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&args), size_of::<libc::clone_args>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(i32::try_from(pid).unwrap_or(i32::MAX))),
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

/// `execv(3)`: with the environment that this program was given. Returns only on failure.
pub(crate) fn execute_as_it_is(program: &CStr, arguments: &[CString]) -> io::Error {
    let arguments: Vec<_> = arguments.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
    // SAFETY: the array ends in a null pointer, and it and the strings it points to outlive the call.
    unsafe { libc::execv(program.as_ptr(), arguments.as_ptr()) };
    io::Error::last_os_error()
}

/// `execveat(2)` of an open file, with one argument and an empty environment. Returns only on failure.
pub(crate) fn execute_file(program: BorrowedFd<'_>, name: &CStr) -> io::Error {
    let arguments = [name.as_ptr(), ptr::null()];
    let environment: [*const libc::c_char; 1] = [ptr::null()];
    // SAFETY: both arrays end in a null pointer and outlive the call, as do the strings.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// `unshare(2)`.
pub(crate) fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: none of the namespaces that callers name changes memory or descriptors of this process.
    checked(unsafe { libc::unshare(namespaces) }).map(drop)
}

/// Makes `kept`, which has a greater number, the only descriptor from `number` on that the next program has.
pub(crate) fn only_descriptor(kept: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: close-on-exec touches no memory, and closes nothing here; whatever `number` named before is a copy that
    // nobody uses any more, for the next thing that this process does is to execute.
    unsafe {
        checked(libc::dup3(kept.as_raw_fd(), number, libc::O_CLOEXEC))?;
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, number + 1, libc::c_uint::MAX, flags) != 0 {
            return Err(io::Error::last_os_error());
        }
        checked(libc::fcntl(number, libc::F_SETFD, 0)).map(drop)
    }
}

/// Sets `IFF_UP` on an interface of this network namespace.
pub(crate) fn interface_up(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    const IFF_UP: libc::c_short = 1;
    // SAFETY: `ifreq` is plain bytes; all zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = IFF_UP;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which outlives the call.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, ptr::from_ref(&request)) }).map(drop)
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
