//! Every process of the bottle stands still, and later those go on that did not stand still before.
//!
//! Invariant: SIGSTOP goes to all at once, so that nothing can be born meanwhile and stay awake. What had stopped itself
//! (`ctrl-z`) is told from the others by the look right before; one that stops between look and signal goes on with them.

use crate::sys;
use rustix::process::{Pid, Signal, kill_process};
use std::{collections::BTreeSet, fs};

/// A process, by its number and when it began.
type Process = (i32, u64);

#[derive(Debug, Default)]
pub(crate) struct Still {
    /// Those that stood still before. `None` = nothing is held.
    before: Option<BTreeSet<Process>>,
}

impl Still {
    pub(crate) fn hold(&mut self) {
        self.before.get_or_insert_with(|| stopped().collect());
        // An error means that there is nothing to be stopped.
        let _ = sys::signal_all(libc::SIGSTOP);
    }

    pub(crate) fn release(&mut self) {
        let before = self.before.take().unwrap_or_default();
        if before.is_empty() {
            let _ = sys::signal_all(libc::SIGCONT);
            return;
        }
        for (pid, _) in stopped().filter(|process| !before.contains(process)) {
            // It may have been killed while it stood.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::CONT));
        }
    }
}

fn stopped() -> impl Iterator<Item = Process> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, stopped_since(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
    })
}

/// When a process began that `/proc/PID/stat` shows as stopped (proc_pid_stat(5)). Its name may hold anything.
fn stopped_since(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next() == Some("T") { fields.nth(18)?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_is_told_by_its_state() {
        let rest = "1 7 7 0 -1 4194304 90 0 0 0 0 0 0 0 20 0 1 0 4242 2818048 221 18446744073709551615";
        assert_eq!(stopped_since(&format!("7 (sleep) T {rest}")), Some(4242));
        assert_eq!(stopped_since(&format!("7 (x) T 1 (y) S {rest}")), None);
        assert_eq!(stopped_since(&format!("7 (a) b) T {rest}")), Some(4242));
        assert_eq!((stopped_since("7 (sleep) T"), stopped_since("")), (None, None));
    }
}
