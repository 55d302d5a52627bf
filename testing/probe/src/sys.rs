//! System calls by number, for what no safe wrapper should offer.
#![expect(unsafe_code, reason = "the attempts are system calls that a library would not make")]

use std::{ffi::c_long, io};

/// Makes a system call. The attempts pass plain numbers, or addresses of buffers that live across the call and are
/// as long as the kernel is told.
pub(crate) fn call(number: c_long, arguments: [usize; 6]) -> io::Result<usize> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: no attempt passes an address that the kernel could write to, but of a buffer the caller holds mutably
    // and whose length it passes; bad addresses make the kernel answer EFAULT.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// `getpid` through the 32-bit entry of the kernel, which a filter for the 64-bit one does not see.
#[cfg(target_arch = "x86_64")]
pub(crate) fn getpid_through_int80() -> i64 {
    let result: i64;
    // SAFETY: call 20 of the i386 table takes no arguments and touches no memory; rbx, which the compiler reserves,
    // is not changed by it, and r8 to r11 are declared lost.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

/// A child that does nothing until it is killed, and dies with its parent. Its process id, or why there is none.
pub(crate) fn idle_child() -> io::Result<i32> {
    // SAFETY: the child calls only async-signal-safe functions (prctl, pause, _exit) before it ends.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: as above; PR_SET_PDEATHSIG takes a signal number and no address.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::alarm(20);
                libc::pause();
                libc::_exit(0)
            }
        }
        child => Ok(child),
    }
}

/// Kills and reaps a child made by [`idle_child`].
pub(crate) fn end_child(child: i32) {
    // SAFETY: both take numbers; waitpid is told to write no status.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}
