//! The system calls that a serving gate makes, each with its reason. Every other call fails with `EPERM`.
//!
//! Invariant: nothing here opens a path, starts a process or thread, maps memory to execute, signals, traces, or makes
//! a socket of another kind than TCP and UDP. A call of another architecture's table kills the process.

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;

/// A call, the arguments it is allowed with (all of them must hold; none = any), and what the gate needs it for. A
/// call may stand in several rules: one that matches is enough.
struct Rule {
    call: i64,
    only: &'static [Arg],
    #[cfg_attr(not(test), expect(dead_code, reason = "for those who read the table, and its test"))]
    why: &'static str,
}

/// A condition on the 32-bit argument of this index.
enum Arg {
    Is(u8, i32),
    /// The bits of the mask (first) have this value (second).
    Bits(u8, i32, i32),
}

const fn any(call: i64, why: &'static str) -> Rule {
    Rule { call, only: &[], why }
}

const fn only(call: i64, only: &'static [Arg], why: &'static str) -> Rule {
    Rule { call, only, why }
}

/// The type in `socket(2)`'s second argument, without `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
const SOCKET_TYPE: i32 = 0xf;

const RULES: &[Rule] = &[
    // Waiting.
    #[cfg(target_arch = "x86_64")]
    any(libc::SYS_epoll_wait, "the event loop waits"),
    any(libc::SYS_epoll_pwait, "the event loop waits, on architectures without epoll_wait"),
    any(libc::SYS_epoll_ctl, "sockets join and leave the event loop"),
    any(libc::SYS_futex, "locks, and waking the event loop"),
    any(libc::SYS_restart_syscall, "the kernel goes on with a wait after a stop and continue"),
    any(libc::SYS_clock_gettime, "time, where the vDSO cannot tell it"),
    any(libc::SYS_sched_yield, "spinning locks of the resolver's cache"),
    // Sockets that the gate makes: upstreams and the host's name servers.
    only(
        libc::SYS_socket,
        &[Arg::Is(0, libc::AF_INET), Arg::Bits(1, SOCKET_TYPE, libc::SOCK_STREAM)],
        "dialling upstreams over IPv4",
    ),
    only(
        libc::SYS_socket,
        &[Arg::Is(0, libc::AF_INET6), Arg::Bits(1, SOCKET_TYPE, libc::SOCK_STREAM)],
        "dialling upstreams over IPv6",
    ),
    only(
        libc::SYS_socket,
        &[Arg::Is(0, libc::AF_INET), Arg::Bits(1, SOCKET_TYPE, libc::SOCK_DGRAM)],
        "asking the host's name servers over IPv4",
    ),
    only(
        libc::SYS_socket,
        &[Arg::Is(0, libc::AF_INET6), Arg::Bits(1, SOCKET_TYPE, libc::SOCK_DGRAM)],
        "asking the host's name servers over IPv6",
    ),
    any(libc::SYS_bind, "a random source port for a name server's answer"),
    any(libc::SYS_connect, "dialling upstreams and name servers"),
    any(libc::SYS_setsockopt, "TCP_NODELAY and the like"),
    any(libc::SYS_getsockopt, "whether a connect succeeded"),
    any(libc::SYS_getsockname, "which synthetic address a connection was for"),
    any(libc::SYS_getpeername, "who is at the other end"),
    any(libc::SYS_accept4, "connections at the doors; the listeners are the keeper's"),
    any(libc::SYS_shutdown, "ending one direction of a connection"),
    // Moving bytes on descriptors that are open.
    any(libc::SYS_read, "sockets, the event loop's wake-up"),
    any(libc::SYS_readv, "sockets"),
    any(libc::SYS_write, "sockets, the audit log, standard error"),
    any(libc::SYS_writev, "sockets, standard error"),
    any(libc::SYS_recvfrom, "sockets"),
    any(libc::SYS_recvmsg, "sockets"),
    any(libc::SYS_sendto, "sockets"),
    any(libc::SYS_sendmsg, "sockets"),
    any(libc::SYS_close, "ends of connections"),
    any(libc::SYS_ftruncate, "cutting an unfinished line off the audit log"),
    only(libc::SYS_fcntl, &[Arg::Is(1, libc::F_GETFL)], "making a socket non-blocking"),
    only(libc::SYS_fcntl, &[Arg::Is(1, libc::F_SETFL)], "making a socket non-blocking"),
    only(libc::SYS_fcntl, &[Arg::Is(1, libc::F_GETFD)], "debug builds look whether a closed descriptor was open"),
    only(libc::SYS_ioctl, &[Arg::Is(1, FIONBIO)], "making a socket non-blocking"),
    // Memory and the process's own end.
    any(libc::SYS_brk, "the allocator"),
    any(libc::SYS_munmap, "the allocator"),
    any(libc::SYS_mremap, "the allocator"),
    any(libc::SYS_madvise, "the allocator gives memory back"),
    only(libc::SYS_mmap, &[Arg::Bits(2, libc::PROT_EXEC, 0)], "the allocator; never to execute"),
    only(libc::SYS_mprotect, &[Arg::Bits(2, libc::PROT_EXEC, 0)], "the allocator; never to execute"),
    any(libc::SYS_getrandom, "keys, nonces, hash seeds"),
    any(libc::SYS_rt_sigreturn, "returning from the runtime's stack overflow handler"),
    any(libc::SYS_rt_sigaction, "the runtime's stack overflow handler gives way to the default"),
    any(libc::SYS_rt_sigprocmask, "ending the process on a failed assertion"),
    any(libc::SYS_sigaltstack, "the runtime frees the main thread's signal stack at exit"),
    any(libc::SYS_exit, "the end"),
    any(libc::SYS_exit_group, "the end"),
];

#[expect(clippy::cast_possible_truncation, reason = "0x5421; the type is wider than the argument")]
const FIONBIO: i32 = libc::FIONBIO as i32;

/// The table as a program for the kernel.
pub(super) fn filter() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in RULES {
        let alternatives = rules.entry(rule.call).or_default();
        // No conditions at all: the call's number is enough.
        if !rule.only.is_empty() {
            alternatives.push(SeccompRule::new(rule.only.iter().map(condition).collect::<Result<_, _>>()?)?);
        }
    }
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn condition(arg: &Arg) -> Result<SeccompCondition, BackendError> {
    let (index, operator, value) = match *arg {
        Arg::Is(index, value) => (index, SeccompCmpOp::Eq, value),
        Arg::Bits(index, mask, value) => (index, SeccompCmpOp::MaskedEq(bits(mask)), value),
    };
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, bits(value))
}

fn bits(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_holds_no_call_twice_and_nothing_that_opens_starts_or_signals() {
        let mut free = BTreeSet::new();
        for rule in RULES.iter().filter(|rule| rule.only.is_empty()) {
            assert!(free.insert(rule.call), "call {} ({}) stands twice", rule.call, rule.why);
        }
        for rule in RULES {
            assert!(!rule.why.is_empty());
            assert!(rule.only.is_empty() || !free.contains(&rule.call), "call {} is free anyway", rule.call);
        }
        let all: BTreeSet<i64> = RULES.iter().map(|rule| rule.call).collect();
        for call in [
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_pidfd_getfd,
            libc::SYS_kill,
            libc::SYS_tgkill,
            libc::SYS_tkill,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_keyctl,
            libc::SYS_listen,
            libc::SYS_prctl,
            libc::SYS_dup,
        ] {
            assert!(!all.contains(&call), "call {call} is allowed");
        }
    }

    #[test]
    fn the_kernel_can_take_the_filter() {
        let program = filter().unwrap();
        assert!(program.len() < 4096, "{} instructions", program.len());
    }
}
