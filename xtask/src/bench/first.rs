//! From the command to the agent's first instruction, with the gate ready and all doors open: what the design's number
//! for launches is about. The agent is `date`, which says when it ran by the clock that the start was taken from; its
//! own start is in the figure. `bwrap` is measured as the design takes it, whole.

use super::{
    launch::bwrap,
    table::{Table, median, milliseconds, quantile, ratio},
};
use anyhow::{Context, Result, ensure};
use bottle_testkit::TestEnv;
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const ROUNDS: usize = 40;

/// In turns.
pub(super) fn measure(program: &Path) -> Result<Table> {
    let env = TestEnv::new(program);
    let (mut base, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let whole = whole(bwrap(&["true"]))?;
        let inside = until_it_runs(bwrap(&["date", "+%s%N"]))?;
        let bottle = until_it_runs(env.command(&["run", "--", "date", "+%s%N"]))?;
        // The first round fills the caches.
        if round > 0 {
            base.push(whole);
            theirs.push(inside);
            ours.push(bottle);
        }
    }
    let p50 = median(&base);
    let mut table = Table::new("To the agent's first instruction", &["what", "p50", "p99", "against bwrap"]);
    for (name, samples) in [
        ("`bwrap --unshare-all true`, whole", &base),
        ("`bwrap --unshare-all`, its program runs", &theirs),
        ("`bot-bottle run`, the agent runs", &ours),
    ] {
        let (middle, late) = (median(samples), quantile(samples, 0.99));
        table.row(vec![name.to_owned(), milliseconds(middle), milliseconds(late), ratio(middle, p50)]);
    }
    Ok(table)
}

fn whole(mut command: Command) -> Result<Duration> {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "bwrap failed");
    Ok(begun.elapsed())
}

pub(super) fn until_it_runs(mut command: Command) -> Result<Duration> {
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    ensure!(output.status.success(), "a launch failed");
    let said: u64 = String::from_utf8(output.stdout)?.trim().parse().context("what `date` says")?;
    Duration::from_nanos(said).checked_sub(begun).context("the clock was set back")
}
