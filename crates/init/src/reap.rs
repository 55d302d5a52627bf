//! Which programs the keeper started, and how they ended. Everything else that ends is an orphan: reaped in silence.

use rustix::{
    io::Errno,
    process::{Pid, WaitOptions, wait},
};
use std::{collections::HashMap, io};

/// Programs by the pid of the child whose end is theirs.
#[derive(Debug, Default)]
pub(crate) struct Programs(HashMap<i32, Program>);

#[derive(Debug, Clone, Copy)]
struct Program {
    id: u32,
    group: i32,
}

/// What is left to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// There are processes, and none has ended.
    Some,
    /// There is no process but this one.
    Nothing,
}

impl Programs {
    pub(crate) fn started(&mut self, pid: i32, group: i32, id: u32) {
        self.0.insert(pid, Program { id, group });
    }

    /// A program's process group, while it runs.
    pub(crate) fn group(&self, id: u32) -> Option<i32> {
        self.0.values().find(|program| program.id == id).map(|program| program.group)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = i32> {
        self.0.values().map(|program| program.group)
    }

    /// Reaps all that has ended; gives each program's id and exit code, and what is left.
    pub(crate) fn reap(&mut self) -> io::Result<(Vec<(u32, u8)>, Left)> {
        let mut ended = Vec::new();
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => ended.extend(self.ended(pid, status.as_raw())),
                Ok(None) => return Ok((ended, Left::Some)),
                Err(Errno::CHILD) => return Ok((ended, Left::Nothing)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ended(&mut self, pid: Pid, status: i32) -> Option<(u32, u8)> {
        let code = exit_code(status)?;
        self.0.remove(&pid.as_raw_pid()).map(|program| (program.id, code))
    }
}

/// As a shell has it: the program's own code, or 128 and the signal. `None` for a stop, which is not an end.
pub(crate) fn exit_code(status: i32) -> Option<u8> {
    let code = if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        return None;
    };
    u8::try_from(code).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_a_shells() {
        // wait(2): the code is in bits 8 to 15, the signal in bits 0 to 6.
        for (raw, expected) in [(0, Some(0)), (3 << 8, Some(3)), (255 << 8, Some(255)), (9, Some(137)), (15, Some(143))]
        {
            assert_eq!(exit_code(raw), expected, "{raw:#x}");
        }
        assert_eq!(exit_code(0x137f), None, "stopped");
    }

    #[test]
    fn an_orphan_is_not_a_program() {
        let mut programs = Programs::default();
        programs.started(7, 9, 1);
        let pid = |raw| Pid::from_raw(raw).unwrap();
        assert_eq!(programs.ended(pid(8), 0), None);
        assert_eq!(programs.group(1), Some(9));
        assert_eq!(programs.ended(pid(7), 0), Some((1, 0)));
        assert_eq!(programs.group(1), None);
    }
}
