//! System calls that an agent has no use for. Each is made with arguments that do no harm where it is let through:
//! the kernel's complaint about the arguments (`EFAULT`, `EBADF`, `EINVAL`) shows that it was.

use super::{
    Case,
    Control::{self, Depends, EscapesAsRoot},
    Outcome,
    Section::GoingAround,
};
use crate::{Field, sys};
use std::ffi::c_long;

/// Nothing is mapped here.
const NOWHERE: usize = 8;
/// No such descriptor.
const NO_FD: usize = 0xfff_ffff;
/// `TIOCSTI`, whose type in libc differs between targets.
const TIOCSTI: usize = 0x5412;
const NEW_USER: usize = libc::CLONE_NEWUSER as usize;
const NEW_MOUNTS: usize = libc::CLONE_NEWNS as usize;
const NEW_NET: usize = libc::CLONE_NEWNET as usize;

const fn case(name: &'static str, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section: GoingAround, control, attempt }
}

pub(super) const CASES: &[Case] = &[
    case("user namespace (unshare)", Depends, |_| taken(libc::SYS_unshare, [NEW_USER, 0, 0, 0, 0, 0])),
    case("mount namespace (unshare)", EscapesAsRoot, |_| taken(libc::SYS_unshare, [NEW_MOUNTS, 0, 0, 0, 0, 0])),
    case("network namespace (unshare)", EscapesAsRoot, |_| taken(libc::SYS_unshare, [NEW_NET, 0, 0, 0, 0, 0])),
    case("user namespace (clone3)", Depends, clone3),
    case("setns into init's namespaces", EscapesAsRoot, setns),
    case("ptrace of init", EscapesAsRoot, ptrace),
    case("memory of init", EscapesAsRoot, |field| {
        Outcome::of(std::fs::File::open(format!("/proc/{}/mem", first_process(field))), "opened")
    }),
    case("mount (new API)", EscapesAsRoot, |_| taken(libc::SYS_fsopen, [c"tmpfs".as_ptr().addr(), 0, 0, 0, 0, 0])),
    case("32-bit system call", Depends, int80),
    case("x32 system call", Depends, |_| taken(0x4000_0000 + libc::SYS_getpid, [0; 6])),
    case("typing into a terminal (TIOCSTI)", Depends, tiocsti),
    case("mount", EscapesAsRoot, |_| taken(libc::SYS_mount, [NOWHERE, NOWHERE, NOWHERE, 0, 0, 0])),
    case("umount", EscapesAsRoot, |_| taken(libc::SYS_umount2, [NOWHERE, 0, 0, 0, 0, 0])),
    case("move_mount", EscapesAsRoot, |_| taken(libc::SYS_move_mount, [NO_FD, NOWHERE, NO_FD, NOWHERE, 0, 0])),
    case("open_tree", EscapesAsRoot, |_| taken(libc::SYS_open_tree, [NO_FD, NOWHERE, 1, 0, 0, 0])),
    case("mount_setattr", EscapesAsRoot, |_| taken(libc::SYS_mount_setattr, [NO_FD, NOWHERE, 0, NOWHERE, 32, 0])),
    case("pivot_root", EscapesAsRoot, |_| taken(libc::SYS_pivot_root, [NOWHERE, NOWHERE, 0, 0, 0, 0])),
    case("chroot", Depends, |_| taken(libc::SYS_chroot, [NOWHERE, 0, 0, 0, 0, 0])),
    case("bpf", Depends, |_| taken(libc::SYS_bpf, [0, NOWHERE, 72, 0, 0, 0])),
    case("io_uring", Depends, |_| taken(libc::SYS_io_uring_setup, [1, NOWHERE, 0, 0, 0, 0])),
    case("perf_event_open", Depends, |_| taken(libc::SYS_perf_event_open, [NOWHERE, 0, 0, NO_FD, 0, 0])),
    case("userfaultfd", Depends, |_| taken(libc::SYS_userfaultfd, [usize::MAX >> 1, 0, 0, 0, 0, 0])),
    case("keyctl", Depends, |_| taken(libc::SYS_keyctl, [0, 0xffff_fffd, 0, 0, 0, 0])),
    case("add_key", Depends, |_| taken(libc::SYS_add_key, [NOWHERE, NOWHERE, NOWHERE, 1, 0, 0])),
    case("request_key", Depends, |_| taken(libc::SYS_request_key, [NOWHERE, NOWHERE, NOWHERE, 0, 0, 0])),
    case("process_vm_readv of init", EscapesAsRoot, read_memory),
    case("pidfd_getfd of init", EscapesAsRoot, take_descriptor),
    case("kcmp", Depends, |_| taken(libc::SYS_kcmp, [1, 1, 0, 0, 0, 0])),
    case("open_by_handle_at", EscapesAsRoot, |_| taken(libc::SYS_open_by_handle_at, [NO_FD, NOWHERE, 0, 0, 0, 0])),
    case("fanotify_init", EscapesAsRoot, |_| taken(libc::SYS_fanotify_init, [0, 0, 0, 0, 0, 0])),
    case("init_module", Depends, |_| taken(libc::SYS_init_module, [NOWHERE, 0, NOWHERE, 0, 0, 0])),
    case("finit_module", Depends, |_| taken(libc::SYS_finit_module, [NO_FD, NOWHERE, 0, 0, 0, 0])),
    case("delete_module", Depends, |_| taken(libc::SYS_delete_module, [NOWHERE, 0, 0, 0, 0, 0])),
    case("kexec_load", Depends, |_| taken(libc::SYS_kexec_load, [0, 1, NOWHERE, 0xffff, 0, 0])),
    case("swapon", EscapesAsRoot, |_| taken(libc::SYS_swapon, [NOWHERE, 0, 0, 0, 0, 0])),
    case("acct", Depends, |_| taken(libc::SYS_acct, [NOWHERE, 0, 0, 0, 0, 0])),
    case("kernel log (syslog)", Depends, |_| taken(libc::SYS_syslog, [10, 0, 0, 0, 0, 0])),
    // Without its magic numbers it does nothing, wherever it is.
    case("reboot", EscapesAsRoot, |_| taken(libc::SYS_reboot, [1, 2, 3, 0, 0, 0])),
    case("setting the clock", EscapesAsRoot, |_| taken(libc::SYS_clock_settime, [0, NOWHERE, 0, 0, 0, 0])),
    case("I/O ports", Depends, |_| taken(libc::SYS_iopl, [3, 0, 0, 0, 0, 0])),
    case("becoming root (setuid)", EscapesAsRoot, |_| Outcome::of(sys::call(libc::SYS_setuid, [0; 6]), "uid 0")),
    case("dropping groups", EscapesAsRoot, |_| taken(libc::SYS_setgroups, [0; 6])),
    case("device node", EscapesAsRoot, device_node),
];

/// Whether the kernel got to look at the arguments.
fn taken(number: c_long, arguments: [usize; 6]) -> Outcome {
    match sys::call(number, arguments) {
        Ok(_) => Outcome::Escaped("it succeeded".to_owned()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EOPNOTSUPP) => Outcome::Held(error.to_string()),
            _ => Outcome::Escaped(format!("let through to the kernel: {error}")),
        },
    }
}

/// The bottle's PID 1; on the bare host, where that is nobody's to touch, the probe's own parent.
fn first_process(field: &Field) -> u32 {
    if field.bare { std::os::unix::process::parent_id() } else { 1 }
}

fn setns(field: &Field) -> Outcome {
    let mut found = Vec::new();
    let mut held = String::new();
    for kind in ["mnt", "net", "user", "pid", "ipc", "uts"] {
        match std::fs::File::open(format!("/proc/{}/ns/{kind}", first_process(field))) {
            Ok(file) => {
                use std::os::fd::AsRawFd;
                let fd = usize::try_from(file.as_raw_fd()).unwrap_or(NO_FD);
                match sys::call(libc::SYS_setns, [fd, 0, 0, 0, 0, 0]) {
                    Ok(_) => found.push(kind.to_owned()),
                    Err(error) => held = error.to_string(),
                }
            }
            Err(error) => held = error.to_string(),
        }
    }
    Outcome::none_of(found, &held)
}

fn ptrace(field: &Field) -> Outcome {
    let target = first_process(field) as usize;
    let seized = sys::call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, target, 0, 0, 0, 0]);
    Outcome::of(seized, "attached")
}

/// The permission is asked for before the address is looked at: `EFAULT` is a yes.
fn read_memory(field: &Field) -> Outcome {
    let mut byte = [0_u8];
    let (local, remote) = ([byte.as_mut_ptr().addr(), 1], [NOWHERE, 1]);
    let target = first_process(field) as usize;
    taken(libc::SYS_process_vm_readv, [target, local.as_ptr().addr(), 1, remote.as_ptr().addr(), 1, 0])
}

fn take_descriptor(field: &Field) -> Outcome {
    let pidfd = match sys::call(libc::SYS_pidfd_open, [first_process(field) as usize, 0, 0, 0, 0, 0]) {
        Ok(pidfd) => pidfd,
        Err(error) => return Outcome::Held(error.to_string()),
    };
    Outcome::of(sys::call(libc::SYS_pidfd_getfd, [pidfd, 1, 0, 0, 0, 0]), "a descriptor was taken")
}

fn clone3(_: &Field) -> Outcome {
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls. An exit signal
    // out of range makes the kernel refuse before it makes anything.
    let arguments: [u64; 8] = [NEW_USER as u64, 0, 0, 0, 0xffff, 0, 0, 0];
    taken(libc::SYS_clone3, [arguments.as_ptr().addr(), std::mem::size_of_val(&arguments), 0, 0, 0, 0])
}

#[cfg(target_arch = "x86_64")]
fn int80(_: &Field) -> Outcome {
    match sys::getpid_through_int80() {
        pid if pid == i64::from(std::process::id()) => Outcome::Escaped("getpid answered".to_owned()),
        other => Outcome::Held(format!("answered {other}")),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn int80(_: &Field) -> Outcome {
    Outcome::NotApplicable("x86-64 only".to_owned())
}

fn tiocsti(_: &Field) -> Outcome {
    let opened = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY);
    let terminal = match opened.and_then(|master| {
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(name, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY, 0.into())?;
        Ok((master, slave))
    }) {
        Ok(pair) => pair,
        Err(error) => return Outcome::Held(error.to_string()),
    };
    let _ = rustix::process::setsid();
    let _ = rustix::process::ioctl_tiocsctty(&terminal.1);
    use std::os::fd::AsRawFd;
    let fd = usize::try_from(terminal.1.as_raw_fd()).unwrap_or(NO_FD);
    let letter = b'x';
    let typed = sys::call(libc::SYS_ioctl, [fd, TIOCSTI, std::ptr::from_ref(&letter).addr(), 0, 0, 0]);
    Outcome::of(typed, "a letter was typed")
}

fn device_node(_: &Field) -> Outcome {
    let path = std::env::temp_dir().join(format!("probe-node-{}", std::process::id()));
    let (block, mode) = (rustix::fs::makedev(7, 0), 0o600.into());
    let made = rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::BlockDevice, mode, block);
    let _ = std::fs::remove_file(&path);
    Outcome::of(made, "a block device was made")
}
