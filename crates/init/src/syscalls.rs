//! The system calls of a bottle, as data. Two tables, each group with its reason:
//!
//! [`ALLOW`] is what may be called at all. Everything else answers ENOSYS, as on a kernel that does not have it, so
//! that a libc falls back (`clone3` to `clone`) and what the next kernel adds is not there.
//!
//! [`REFUSE`] answers EPERM, and goes before `ALLOW`: what is known to be dangerous, wholly or with some arguments. It
//! says "you may not" where ENOSYS would make programs try something else.

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID,
    CLONE_NEWUSER, CLONE_NEWUTS, IPPROTO_TCP, IPPROTO_UDP, O_CREAT, O_DIRECTORY, O_TMPFILE, S_ISGID, S_ISUID,
    SOCK_DCCP, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET, TIOCLINUX, TIOCSETD, TIOCSTI, c_long,
};

/// System calls that share a reason.
#[derive(Debug)]
pub(crate) struct Group {
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader, and for the tests that demand one"))]
    pub(crate) reason: &'static str,
    pub(crate) calls: &'static [c_long],
}

/// Calls that answer EPERM.
#[derive(Debug)]
pub(crate) struct Refusal {
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader, and for the tests that demand one"))]
    pub(crate) reason: &'static str,
    pub(crate) calls: &'static [c_long],
    /// With any of these arguments; with all, where there is none.
    pub(crate) when: &'static [&'static [Argument]],
}

/// A condition on the low 32 bits of an argument, which is all that the kernel reads of those compared here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Argument {
    Is(u8, u32),
    IsNot(u8, u32),
    /// The bits of the mask have this value.
    Bits {
        index: u8,
        mask: u32,
        value: u32,
    },
}

use Argument::{Bits, Is, IsNot};

// One call on a line would hide the groups.
#[rustfmt::skip]
pub(crate) const ALLOW: &[Group] = &[
    Group {
        reason: "files: open, read, write, seek, and the state of an open file",
        calls: &[
            libc::SYS_openat, libc::SYS_close, libc::SYS_close_range, libc::SYS_read,
            libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
            libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_lseek,
            libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync, libc::SYS_syncfs, libc::SYS_sync_file_range,
            libc::SYS_readahead, libc::SYS_fadvise64, libc::SYS_fallocate, libc::SYS_truncate, libc::SYS_ftruncate,
            libc::SYS_flock, libc::SYS_fcntl, libc::SYS_dup, libc::SYS_dup3, libc::SYS_copy_file_range,
            libc::SYS_sendfile, libc::SYS_splice, libc::SYS_tee, libc::SYS_vmsplice, SYS_CACHESTAT,
        ],
    },
    Group {
        reason: "names: look up, link, rename, remove, and what a file is",
        calls: &[
            libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
            libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_chdir,
            libc::SYS_fchdir, libc::SYS_mkdirat, libc::SYS_mknodat, libc::SYS_linkat, libc::SYS_symlinkat,
            libc::SYS_readlinkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_unlinkat, libc::SYS_utimensat,
            libc::SYS_umask,
        ],
    },
    Group {
        reason: "owner, mode and attributes: tar, git, npm and installers set them; set-id bits are refused below",
        calls: &[
            libc::SYS_fchmod, libc::SYS_fchmodat, SYS_FCHMODAT2, libc::SYS_fchown, libc::SYS_fchownat,
            libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_getxattr, libc::SYS_lgetxattr,
            libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr,
            libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr,
        ],
    },
    Group {
        reason: "watching files and waiting for many things at once: every event loop",
        calls: &[
            libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch, libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_ppoll, libc::SYS_pselect6,
            libc::SYS_eventfd2, libc::SYS_signalfd4, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
            libc::SYS_timerfd_gettime, libc::SYS_pipe2,
        ],
    },
    Group {
        reason: "asynchronous I/O of databases; io_uring, its successor, is left out for its record",
        calls: &[
            libc::SYS_io_setup, libc::SYS_io_destroy, libc::SYS_io_submit, libc::SYS_io_cancel,
            libc::SYS_io_getevents, SYS_IO_PGETEVENTS,
        ],
    },
    Group { reason: "devices: terminals above all; TIOCSTI and its like are refused below", calls: &[libc::SYS_ioctl] },
    Group {
        reason: "memory of its own: map, protect, lock, share by descriptor",
        calls: &[
            libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise,
            libc::SYS_mincore, libc::SYS_msync, libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock,
            libc::SYS_mlockall, libc::SYS_munlockall, libc::SYS_memfd_create, libc::SYS_pkey_alloc,
            libc::SYS_pkey_free, libc::SYS_pkey_mprotect, libc::SYS_mseal, libc::SYS_membarrier, libc::SYS_mbind,
            libc::SYS_get_mempolicy, libc::SYS_set_mempolicy, SYS_MAP_SHADOW_STACK,
        ],
    },
    Group {
        reason: "processes and threads; new namespaces are refused below",
        calls: &[
            libc::SYS_clone, libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group,
            libc::SYS_wait4, libc::SYS_waitid, libc::SYS_set_tid_address, libc::SYS_set_robust_list,
            libc::SYS_get_robust_list, libc::SYS_rseq, libc::SYS_futex, SYS_FUTEX_WAITV, SYS_FUTEX_WAKE,
            SYS_FUTEX_WAIT, SYS_FUTEX_REQUEUE, libc::SYS_prctl, libc::SYS_personality, libc::SYS_getpid,
            libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getpgid, libc::SYS_setpgid, libc::SYS_getsid,
            libc::SYS_setsid, libc::SYS_restart_syscall,
        ],
    },
    Group {
        reason: "signals, to processes of this pid namespace and Landlock domain",
        calls: &[
            libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigpending, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_sigreturn, libc::SYS_rt_sigsuspend,
            libc::SYS_rt_sigtimedwait, libc::SYS_rt_tgsigqueueinfo, libc::SYS_sigaltstack, libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
        ],
    },
    Group {
        reason: "debuggers: gdb, strace, dlv, sanitizers; init is not traceable and no other user's process is here",
        calls: &[
            libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd,
            libc::SYS_kcmp,
        ],
    },
    Group {
        reason: "ids: programs set those they have; there is one of each, and no capability to take others",
        calls: &[
            libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid,
            libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid,
            libc::SYS_setregid, libc::SYS_setresuid, libc::SYS_setresgid, libc::SYS_setfsuid, libc::SYS_setfsgid,
            libc::SYS_setgroups, libc::SYS_capget, libc::SYS_capset,
        ],
    },
    Group {
        reason: "scheduling and limits of its own processes",
        calls: &[
            libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity, libc::SYS_sched_getattr,
            libc::SYS_sched_setattr, libc::SYS_sched_getparam, libc::SYS_sched_setparam, libc::SYS_sched_getscheduler,
            libc::SYS_sched_setscheduler, libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
            libc::SYS_sched_rr_get_interval, libc::SYS_getpriority, libc::SYS_setpriority, libc::SYS_ioprio_get,
            libc::SYS_ioprio_set, libc::SYS_getrusage, libc::SYS_getrlimit, libc::SYS_setrlimit, libc::SYS_prlimit64,
            libc::SYS_getcpu,
        ],
    },
    Group {
        reason: "clocks to read and timers",
        calls: &[
            libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_gettimeofday,
            libc::SYS_nanosleep, libc::SYS_times, libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_timer_create,
            libc::SYS_timer_settime, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun, libc::SYS_timer_delete,
        ],
    },
    Group {
        reason: "sockets, of the families left below: loopback is all there is",
        calls: &[
            libc::SYS_socket, libc::SYS_socketpair, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept,
            libc::SYS_accept4, libc::SYS_connect, libc::SYS_shutdown, libc::SYS_getsockname, libc::SYS_getpeername,
            libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg,
            libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg,
        ],
    },
    Group {
        reason: "System V and POSIX message passing, in an ipc namespace of its own: databases use it",
        calls: &[
            libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_shmdt, libc::SYS_semget, libc::SYS_semop,
            libc::SYS_semtimedop, libc::SYS_semctl, libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv,
            libc::SYS_msgctl, libc::SYS_mq_open, libc::SYS_mq_unlink, libc::SYS_mq_timedsend,
            libc::SYS_mq_timedreceive, libc::SYS_mq_notify, libc::SYS_mq_getsetattr,
        ],
    },
    Group {
        reason: "what the machine is, and random numbers",
        calls: &[libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom],
    },
    Group {
        reason: "sandboxes of the agent's own, which can only take away",
        calls: &[
            libc::SYS_seccomp, libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule,
            libc::SYS_landlock_restrict_self,
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "what x86-64 kept from before the calls above, and older programs still use",
        calls: &[
            libc::SYS_open, libc::SYS_creat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_getdents,
            libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_mknod, libc::SYS_link, libc::SYS_symlink, libc::SYS_readlink,
            libc::SYS_rename, libc::SYS_unlink, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime,
            libc::SYS_utimes, libc::SYS_futimesat, libc::SYS_dup2, libc::SYS_pipe, libc::SYS_poll, libc::SYS_select,
            libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_signalfd,
            libc::SYS_inotify_init, libc::SYS_fork, libc::SYS_vfork, libc::SYS_getpgrp, libc::SYS_alarm,
            libc::SYS_pause, libc::SYS_time, libc::SYS_arch_prctl,
        ],
    },
];

/// Numbers that `libc` does not name on every target (kernel, `syscall.tbl`).
#[cfg(target_arch = "x86_64")]
const SYS_IO_PGETEVENTS: c_long = 333;
#[cfg(not(target_arch = "x86_64"))]
const SYS_IO_PGETEVENTS: c_long = 292;
const SYS_FUTEX_WAITV: c_long = 449;
const SYS_CACHESTAT: c_long = 451;
const SYS_FCHMODAT2: c_long = 452;
const SYS_MAP_SHADOW_STACK: c_long = 453;
const SYS_FUTEX_WAKE: c_long = 454;
const SYS_FUTEX_WAIT: c_long = 455;
const SYS_FUTEX_REQUEUE: c_long = 456;

const ALWAYS: &[&[Argument]] = &[];
/// Obsolete, and still a way to packet sockets.
const SOCK_PACKET: i32 = 10;
/// Of a socket's type, what is not SOCK_NONBLOCK or SOCK_CLOEXEC.
const SOCKET_TYPE: u32 = 0xf;
/// The bit of O_TMPFILE that is its own.
const NAMELESS: u32 = (O_TMPFILE & !O_DIRECTORY).cast_unsigned();

#[rustfmt::skip]
pub(crate) const REFUSE: &[Refusal] = &[
    Refusal {
        reason: "another namespace would bring capabilities over it, and with them most of the kernel's attack surface",
        calls: &[libc::SYS_unshare, libc::SYS_setns],
        when: ALWAYS,
    },
    Refusal {
        reason: "the same by clone; clone3, whose flags a filter cannot read, is not there at all",
        calls: &[libc::SYS_clone],
        when: &[
            &[flag(CLONE_NEWUSER)],
            &[flag(CLONE_NEWNS)],
            &[flag(CLONE_NEWPID)],
            &[flag(CLONE_NEWNET)],
            &[flag(CLONE_NEWIPC)],
            &[flag(CLONE_NEWUTS)],
            &[flag(CLONE_NEWCGROUP)],
        ],
    },
    Refusal {
        reason: "mounts are the room's walls",
        calls: &[
            libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_fsopen,
            libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_move_mount, libc::SYS_open_tree,
            libc::SYS_mount_setattr, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_quotactl, libc::SYS_acct,
        ],
        when: ALWAYS,
    },
    Refusal {
        reason: "file handles go around path checks (the shocker exploit of 2014)",
        calls: &[libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at, libc::SYS_fanotify_init],
        when: ALWAYS,
    },
    Refusal {
        reason: "code in the kernel, and its counters",
        calls: &[
            libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_init_module, libc::SYS_finit_module,
            libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_syslog,
        ],
        when: ALWAYS,
    },
    Refusal {
        reason: "keyrings are the host user's, not the room's",
        calls: &[libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key],
        when: ALWAYS,
    },
    Refusal {
        reason: "stops the kernel in the middle of a copy: the tool of most races",
        calls: &[libc::SYS_userfaultfd],
        when: ALWAYS,
    },
    Refusal {
        reason: "the host's clock, name, power and consoles",
        calls: &[
            libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex,
            libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_reboot, libc::SYS_vhangup,
        ],
        when: ALWAYS,
    },
    #[cfg(target_arch = "x86_64")]
    Refusal {
        reason: "ports and segments of the processor, with a record of their own",
        calls: &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt],
        when: ALWAYS,
    },
    Refusal {
        reason: "types into, pastes into or changes the driver of a terminal (CVE-2017-5226, CVE-2023-6546)",
        calls: &[libc::SYS_ioctl],
        when: &[&[ioctl(TIOCSTI)], &[ioctl(TIOCLINUX)], &[ioctl(TIOCSETD)]],
    },
    Refusal {
        reason: "only unix, IP and route-netlink sockets: vsock reaches the hypervisor, the others old protocols",
        calls: &[libc::SYS_socket, libc::SYS_socketpair],
        when: &[
            &[not_family(AF_UNIX), not_family(AF_INET), not_family(AF_INET6), not_family(AF_NETLINK)],
            &[family(AF_NETLINK), IsNot(2, 0)],
        ],
    },
    // mkdir and mkdirat ignore these bits. openat2, whose mode a filter cannot read, is not there at all.
    Refusal {
        reason: "set-id bits: on the host, such a file in a mounted directory would run as that directory's owner",
        calls: &[libc::SYS_fchmod],
        when: &[&[has(1, S_ISUID)], &[has(1, S_ISGID)]],
    },
    Refusal {
        reason: "set-id bits, where the mode comes third",
        calls: &[libc::SYS_fchmodat, SYS_FCHMODAT2, libc::SYS_mknodat],
        when: &[&[has(2, S_ISUID)], &[has(2, S_ISGID)]],
    },
    Refusal {
        reason: "set-id bits of a file that is made; without these flags the kernel does not look at the mode",
        calls: &[libc::SYS_openat],
        when: &[
            &[has(2, O_CREAT.cast_unsigned()), has(3, S_ISUID)],
            &[has(2, O_CREAT.cast_unsigned()), has(3, S_ISGID)],
            &[has(2, NAMELESS), has(3, S_ISUID)],
            &[has(2, NAMELESS), has(3, S_ISGID)],
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Refusal {
        reason: "set-id bits by the older calls",
        calls: &[libc::SYS_chmod, libc::SYS_creat, libc::SYS_mknod],
        when: &[&[has(1, S_ISUID)], &[has(1, S_ISGID)]],
    },
    #[cfg(target_arch = "x86_64")]
    Refusal {
        reason: "set-id bits by the older call that makes a file",
        calls: &[libc::SYS_open],
        when: &[
            &[has(1, O_CREAT.cast_unsigned()), has(2, S_ISUID)],
            &[has(1, O_CREAT.cast_unsigned()), has(2, S_ISGID)],
            &[has(1, NAMELESS), has(2, S_ISUID)],
            &[has(1, NAMELESS), has(2, S_ISGID)],
        ],
    },
    Refusal {
        reason: "of IP only TCP and UDP: no raw packets, ICMP, SCTP, DCCP, MPTCP",
        calls: &[libc::SYS_socket],
        when: &[
            &[family(AF_INET), socket_type(SOCK_RAW)],
            &[family(AF_INET6), socket_type(SOCK_RAW)],
            &[family(AF_INET), socket_type(SOCK_SEQPACKET)],
            &[family(AF_INET6), socket_type(SOCK_SEQPACKET)],
            &[family(AF_INET), IsNot(2, 0), not_protocol(IPPROTO_TCP), not_protocol(IPPROTO_UDP)],
            &[family(AF_INET6), IsNot(2, 0), not_protocol(IPPROTO_TCP), not_protocol(IPPROTO_UDP)],
        ],
    },
    Refusal {
        reason: "socket types that no family left has a use for; the last opens packet sockets by their old name",
        calls: &[libc::SYS_socket],
        when: &[&[socket_type(SOCK_RDM)], &[socket_type(SOCK_DCCP)], &[socket_type(SOCK_PACKET)]],
    },
    Refusal {
        reason: "other ABIs weaken address randomisation and have bugs of their own; gdb's and the native one stay",
        calls: &[libc::SYS_personality],
        when: &[&[IsNot(0, 0), IsNot(0, 0xffff_ffff), IsNot(0, libc::ADDR_NO_RANDOMIZE.cast_unsigned())]],
    },
];

const fn flag(flag: i32) -> Argument {
    has(0, flag.cast_unsigned())
}

const fn has(index: u8, bits: u32) -> Argument {
    Bits { index, mask: bits, value: bits }
}

#[expect(clippy::cast_possible_truncation, reason = "the kernel reads 32 bits of an ioctl's number")]
const fn ioctl(request: libc::Ioctl) -> Argument {
    Is(1, request as u32)
}

const fn family(family: i32) -> Argument {
    Is(0, family.cast_unsigned())
}

const fn not_family(family: i32) -> Argument {
    IsNot(0, family.cast_unsigned())
}

const fn socket_type(kind: i32) -> Argument {
    Bits { index: 1, mask: SOCKET_TYPE, value: kind.cast_unsigned() }
}

const fn not_protocol(protocol: i32) -> Argument {
    IsNot(2, protocol.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_group_has_a_reason_of_its_own_and_something_to_say() {
        let mut reasons = BTreeSet::new();
        let groups = ALLOW.iter().map(|group| (group.reason, group.calls));
        for (reason, calls) in groups.chain(REFUSE.iter().map(|refusal| (refusal.reason, refusal.calls))) {
            assert!(reason.len() > 10 && reasons.insert(reason), "{reason:?}");
            assert!(!calls.is_empty(), "{reason:?} names no call");
        }
    }

    #[test]
    fn no_rule_is_redundant() {
        let mut allowed = BTreeSet::new();
        for call in ALLOW.iter().flat_map(|group| group.calls) {
            assert!(allowed.insert(*call), "system call {call} is allowed twice");
        }
        let mut refused = BTreeSet::new();
        let mut conditions = BTreeSet::new();
        for Refusal { calls, when, reason } in REFUSE {
            for call in *calls {
                if when.is_empty() {
                    assert!(refused.insert(*call), "system call {call} is refused twice");
                    assert!(!allowed.contains(call), "{reason}: system call {call} is allowed and refused");
                } else {
                    assert!(allowed.contains(call), "{reason}: {call} is not there, a condition on it says nothing");
                }
                for condition in *when {
                    assert!(conditions.insert(format!("{call} {condition:?}")), "{reason}: the same condition twice");
                }
            }
        }
    }

    #[test]
    fn what_must_not_be_callable_is_not_allowed() {
        let allowed: BTreeSet<_> = ALLOW.iter().flat_map(|group| group.calls).collect();
        let structs = [libc::SYS_clone3, libc::SYS_openat2, libc::SYS_io_uring_setup];
        for call in structs.into_iter().chain([libc::SYS_mount, libc::SYS_bpf, libc::SYS_setns]) {
            assert!(!allowed.contains(&call), "{call}");
        }
    }
}
