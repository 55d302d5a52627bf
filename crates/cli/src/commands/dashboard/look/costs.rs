//! What bottles cost the host: processor time and memory of their keepers and all that descends from them, by one pass
//! over /proc every [`TICK`] seconds, however many bottles there are.
//!
//! A process that ended counts by the time that its parent has of it, so that an agent which starts a program after the
//! other is seen, too.

use bottle_runtime::{
    process::ProcessId,
    store::{Listed, Metadata},
};
use bottle_tui::event::TICK;
use rustix::param::{clock_ticks_per_second, page_size};
use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

/// Generations between a process and its keeper.
const DEEPEST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Costs {
    measured: Option<Instant>,
    keepers: HashMap<i32, Cost>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    started: u64,
    ticks: u64,
    /// Thousandths of a core since the measure before.
    pub(super) cpu: Option<u64>,
    pub(super) memory: u64,
}

/// Of one process; times in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    ticks: u64,
    started: u64,
    resident: u64,
}

impl Costs {
    /// Where the last measure is old enough.
    pub(super) fn measure(&mut self, listed: &[Listed]) {
        let live = |metadata: &&Metadata| metadata.keeper.pid > 1;
        let keepers: Vec<ProcessId> = listed
            .iter()
            .filter(|listed| super::is_live(listed.state))
            .filter_map(|listed| listed.metadata.as_ref())
            .filter(live)
            .map(|metadata| metadata.keeper)
            .collect();
        let elapsed = self.measured.map(|at| at.elapsed());
        if elapsed.is_some_and(|elapsed| elapsed < Duration::from_secs(TICK)) {
            return;
        }
        let before = std::mem::take(&mut self.keepers);
        self.measured = Some(Instant::now());
        if keepers.is_empty() {
            return;
        }
        let stats = stats();
        for keeper in &keepers {
            // The number may be another's by now.
            if stats.get(&keeper.pid).is_some_and(|stat| stat.started == keeper.started) {
                self.keepers.insert(keeper.pid, Cost { started: keeper.started, ..Cost::default() });
            }
        }
        let page = u64::try_from(page_size()).unwrap_or(4096);
        for pid in stats.keys() {
            let Some(cost) = ancestor(*pid, &stats, &self.keepers).and_then(|keeper| self.keepers.get_mut(&keeper))
            else {
                continue;
            };
            if let Some(stat) = stats.get(pid) {
                cost.ticks += stat.ticks;
                cost.memory += stat.resident * page;
            }
        }
        let Some(elapsed) = elapsed.and_then(|elapsed| u64::try_from(elapsed.as_millis()).ok()) else { return };
        let milliseconds = 1000 * 1000 / clock_ticks_per_second().max(1);
        for (pid, cost) in &mut self.keepers {
            let Some(old) = before.get(pid).filter(|old| old.started == cost.started) else { continue };
            cost.cpu = Some(cost.ticks.saturating_sub(old.ticks) * milliseconds / elapsed.max(1));
        }
    }

    pub(super) fn of(&self, keeper: ProcessId) -> Option<Cost> {
        self.keepers.get(&keeper.pid).filter(|cost| cost.started == keeper.started).copied()
    }
}

/// The keeper that a process descends from, or is.
fn ancestor(pid: i32, stats: &HashMap<i32, Stat>, keepers: &HashMap<i32, Cost>) -> Option<i32> {
    let mut pid = pid;
    for _ in 0..DEEPEST {
        if keepers.contains_key(&pid) {
            return Some(pid);
        }
        pid = stats.get(&pid)?.parent;
    }
    None
}

fn stats() -> HashMap<i32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stat = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)?))
    };
    entries.filter_map(stat).collect()
}

/// proc_pid_stat(5). The name in parentheses is the process's own and may hold anything, also a parenthesis.
fn stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first of them is the third of the file's.
    let number = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let times = [number(14)?, number(15)?, number(16)?, number(17)?];
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks: times.iter().sum(),
        started: number(22)?,
        resident: number(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_named_like_a_line_of_the_file() {
        let text =
            b"42 (a) R 1 ) 9) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 3 4 20 0 1 0 555 1000 33 18446744073709551615";
        assert_eq!(stat(text), Some(Stat { parent: 7, ticks: 37, started: 555, resident: 33 }));
        assert_eq!(stat(b"42 (a) S 7"), None);
        assert_eq!(stat(b""), None);
    }

    #[test]
    fn descendants_are_their_keepers() {
        let stat = |parent| Stat { parent, ticks: 1, started: 1, resident: 1 };
        let stats = HashMap::from([
            (10, stat(1)),
            (11, stat(10)),
            (12, stat(11)),
            (20, stat(1)),
            (30, stat(31)),
            (31, stat(30)),
        ]);
        let keepers = HashMap::from([(10, Cost::default())]);
        for (pid, keeper) in [(10, Some(10)), (12, Some(10)), (20, None), (30, None)] {
            assert_eq!(ancestor(pid, &stats, &keepers), keeper, "{pid}");
        }
    }
}
