//! Naming a process so that a later look cannot mistake another for it: pid and start time.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::{fs, io, os::fd::OwnedFd, time::Duration};

/// A process as the journal records it. A pid is used again; a pid with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// In clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub started: u64,
}

impl ProcessId {
    /// Of a process that is there now and has not been reaped.
    pub fn of(pid: i32) -> io::Result<ProcessId> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started = start_time(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(ProcessId { pid, started })
    }

    pub fn own() -> io::Result<ProcessId> {
        ProcessId::of(rustix::process::getpid().as_raw_pid())
    }

    /// A descriptor of this very process, `None` where it is gone.
    pub fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let held = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(held) => held,
            // The second where the number still names a session or a group that others are left in.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The descriptor is taken first: what is compared now is the process that it names, or nothing.
        match fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            // One that has ended and waits for its parent to notice is gone for our purposes.
            Ok(stat) if start_time(&stat) == Some(self.started) && !has_ended(&stat) => Ok(Some(held)),
            _ => Ok(None),
        }
    }

    /// Kills it and waits for its end; whether there was anything to kill.
    pub fn kill(self, patience: Duration) -> io::Result<bool> {
        let Some(held) = self.open()? else { return Ok(false) };
        kill_and_wait(&held, patience)?;
        Ok(true)
    }
}

/// Names this process for `ps` and `top`: started by way of `/proc/self/exe`, it is called `exe`.
pub fn name_self(name: &std::ffi::CStr) {
    // A name is a courtesy.
    let _ = rustix::thread::set_name(name);
}

/// SIGKILL by descriptor, then waits (without reaping) until the process has ended.
pub(crate) fn kill_and_wait(held: &OwnedFd, patience: Duration) -> io::Result<()> {
    match pidfd_send_signal(held, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    if ended(held, patience)? { Ok(()) } else { Err(io::Error::from(io::ErrorKind::TimedOut)) }
}

/// Whether the process has ended, after waiting for at most `patience`.
pub(crate) fn ended(held: &OwnedFd, patience: Duration) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut watched = [PollFd::new(held, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut watched, Some(&timeout)))?;
    Ok(ready > 0)
}

/// The name in field 2 may hold spaces and parentheses, so fields are counted from the last `)`.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn has_ended(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 1";
        assert_eq!(start_time(stat), Some(4242));
    }

    #[test]
    fn only_the_process_itself_is_killed() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        let other = ProcessId { started: id.started + 1, ..id };
        assert!(!other.kill(Duration::from_secs(5)).unwrap());
        assert!(child.try_wait().unwrap().is_none());
        assert!(id.kill(Duration::from_secs(5)).unwrap());
        assert!(!id.kill(Duration::from_secs(5)).unwrap(), "a zombie was killed");
        child.wait().unwrap();
        assert!(!id.kill(Duration::from_secs(5)).unwrap());
    }
}
