//! The leader of a session on a terminal: what a shell is to its one job, and no more.
//!
//! A program that leads its session itself is nobody's job: nothing can stop it at its terminal, and one that
//! suspends itself at `ctrl-z` waits for an `fg` that nobody can say. Under this leader such a stop is over at once: the
//! program gets the terminal and is told to go on, and it draws its screen anew.
//!
//! Invariants: it is a copy of PID 1 as that is after confining itself, so no other process can look into it; it keeps
//! nothing open but the terminal; it ends when its program ends, with that code. A SIGSTOP, which no terminal sends, is
//! left alone: somebody meant it.

use crate::{reap::exit_code, sys};
use rustix::{
    fd::BorrowedFd,
    process::{Pid, Signal, WaitOptions, getpid, kill_process_group, setpgid, waitpid},
    stdio::stdin,
    termios::tcsetpgrp,
};
use std::io;

/// What a program of an unknown end gave.
const UNKNOWN: u8 = 255;

/// In the child that is to become the program: makes it the terminal's job.
pub(crate) fn follow() -> io::Result<()> {
    setpgid(None, None)?;
    // SIGTTOU is still ignored, as its leader ignores it.
    Ok(tcsetpgrp(stdin(), getpid())?)
}

/// In the leader, whose standard input is the terminal: waits for the program's end and ends likewise.
pub(crate) fn lead(program: i32) -> ! {
    // The copies of what PID 1 has open, the keeper's link above all.
    sys::close_from(3);
    sys::exit_now(Pid::from_raw(program).map_or(UNKNOWN, |program| end_of(program, stdin())).into())
}

fn end_of(program: Pid, terminal: BorrowedFd<'_>) -> u8 {
    loop {
        match waitpid(Some(program), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) => match (exit_code(status.as_raw()), status.stopping_signal()) {
                (Some(code), _) => return code,
                (None, Some(libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)) => {
                    // Either fails only where the program or its terminal has just ended.
                    let _ = tcsetpgrp(terminal, program);
                    let _ = kill_process_group(program, Signal::CONT);
                }
                (None, _) => {}
            },
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return UNKNOWN,
        }
    }
}
