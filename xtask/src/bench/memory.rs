//! What one idle bottle holds on the host side: keeper, gate and the waiting cli.

use super::table::Table;
use anyhow::Result;
use bottle_testkit::{TestEnv, env::leftovers, wait_for};
use std::{fs, path::Path, thread, time::Duration};

/// What is idle has been for so long.
const IDLE: Duration = Duration::from_secs(3);

pub(super) fn measure(program: &Path) -> Result<Table> {
    let env = TestEnv::new(program);
    let running = env.spawn(&["run", "--allow", "up.test", "--", "sleep", "60"]);
    let mark = env.program().to_string_lossy().into_owned();
    let ours = wait_for("a bottle with cli, keeper and gate", Duration::from_secs(30), || {
        let ours = leftovers::processes(&mark);
        let asleep =
            leftovers::processes(&env.root().to_string_lossy()).iter().any(|(_, line)| line.starts_with("sleep"));
        (asleep && ours.len() >= 3).then_some(ours)
    });
    thread::sleep(IDLE);
    let mut table = Table::new("Memory of an idle bottle on the host side", &["process", "RSS", "PSS"]);
    let (mut rss, mut pss) = (0, 0);
    for (pid, line) in ours.iter().filter(|(_, line)| line.contains("bot-bottle") || line.contains("exe")) {
        let (own_rss, own_pss) = memory(*pid);
        rss += own_rss;
        pss += own_pss;
        let role = line.split(' ').nth(1).unwrap_or("?").to_owned();
        table.row(vec![role, mebibytes(own_rss), mebibytes(own_pss)]);
    }
    table.row(vec!["all".to_owned(), mebibytes(rss), mebibytes(pss)]);
    drop(running);
    wait_for("the bottle to end", Duration::from_secs(30), || env.leftovers().is_empty().then_some(()));
    Ok(table)
}

/// In KiB.
fn memory(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let of = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    (of("Rss:"), of("Pss:"))
}

fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", kibibytes as f64 / 1024.0)
}
