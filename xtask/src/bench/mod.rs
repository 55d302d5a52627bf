//! `cargo xtask bench`: the figures of docs/benchmarks.md, each a ratio between things measured in this run.
//!
//! What is compared is measured in turns, so that a machine that slows down slows all alike; figures are medians.
//! Everything runs on loopback and ends with the run.

mod agents;
mod contained;
mod dashboard;
mod door;
mod engine;
mod first;
mod git;
mod launch;
pub(crate) mod load;
mod machines;
mod memory;
mod proxy;
mod rivals;
pub(crate) mod scan;
mod table;

use crate::build::{self, Profile, root};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use table::Table;

const START: &str = "<!-- xtask bench: from here -->";
const END: &str = "<!-- xtask bench: to here -->";
const GIT_START: &str = "<!-- xtask bench git: from here -->";
const GIT_END: &str = "<!-- xtask bench git: to here -->";
const SCAN_START: &str = "<!-- xtask bench scan: from here -->";
const SCAN_END: &str = "<!-- xtask bench scan: to here -->";
const MACHINES_START: &str = "<!-- xtask bench machines: from here -->";
const MACHINES_END: &str = "<!-- xtask bench machines: to here -->";
const AGENTS_START: &str = "<!-- xtask bench agents: from here -->";
const AGENTS_END: &str = "<!-- xtask bench agents: to here -->";
const CONTAINED_START: &str = "<!-- xtask bench docker: from here -->";
const CONTAINED_END: &str = "<!-- xtask bench docker: to here -->";
const DASHBOARD_START: &str = "<!-- xtask bench dashboard: from here -->";
const DASHBOARD_END: &str = "<!-- xtask bench dashboard: to here -->";

pub(crate) fn run(options: &[&str]) -> Result<()> {
    let mut write = false;
    let mut only = None;
    let mut built = false;
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match *word {
            "--write" => write = true,
            "--built" => built = true,
            "--only" => only = words.next().copied(),
            other => {
                bail!(
                    "no option `{other}`: --write, --built (what lies beside, for a try), --only launch|proxy|memory|scan|git|agents|docker|machines|dashboard|decisions"
                )
            }
        }
    }
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    if only == Some("scan") {
        let text = format!("{}\n", scan::measure()?);
        println!("{text}");
        return if write { record(&text, SCAN_START, SCAN_END) } else { Ok(()) };
    }
    let program = if built { build::beside("bot-bottle")? } else { build::binary("bot-bottle", Profile::Release)? };
    // Starts twenty bottles: only where it is asked for.
    if only == Some("dashboard") {
        let text: String = dashboard::measure(&program)?.iter().map(|table| format!("{table}\n")).collect();
        println!("{text}");
        return if write { record(&text, DASHBOARD_START, DASHBOARD_END) } else { Ok(()) };
    }
    // By the stand-in, or by the real one where it is named, which takes long in an emulated machine.
    if only == Some("machines") {
        let text = format!("{}\n", machines::measure(&program)?);
        println!("{text}");
        return if write { record(&text, MACHINES_START, MACHINES_END) } else { Ok(()) };
    }
    // Needs a real client: only where it is asked for.
    if only == Some("agents") {
        let text = format!("{}\n", agents::measure(&program)?);
        println!("{text}");
        return if write { record(&text, AGENTS_START, AGENTS_END) } else { Ok(()) };
    }
    // Starts engines and twenty containers: only where it is asked for.
    if only == Some("docker") {
        let text: String = contained::measure(&program)?.iter().map(|table| format!("{table}\n")).collect();
        println!("{text}");
        return if write { record(&text, CONTAINED_START, CONTAINED_END) } else { Ok(()) };
    }
    // The part of it that a busy machine tells nothing of, and that takes half a minute.
    if only == Some("decisions") {
        println!("{}", dashboard::effect(&program)?);
        return Ok(());
    }
    // Takes minutes and gigabytes: only where it is asked for.
    if only == Some("git") {
        let text = format!("{}\n", git::measure(&program)?);
        println!("{text}");
        return if write { record(&text, GIT_START, GIT_END) } else { Ok(()) };
    }
    let mut tables: Vec<Table> = Vec::new();
    if wanted("launch") {
        tables.push(first::measure(&program)?);
        tables.push(launch::one(&program)?);
        tables.push(launch::many(&program)?);
    }
    if wanted("proxy") {
        tables.extend(proxy::measure(&program)?);
    }
    if wanted("memory") {
        tables.push(memory::measure(&program)?);
    }
    let mut text = String::new();
    for table in &tables {
        writeln!(text, "{table}")?;
    }
    println!("{text}");
    if write { record(&text, START, END) } else { Ok(()) }
}

/// Replaces the measured part of docs/benchmarks.md; what people wrote around it stays.
fn record(text: &str, start: &str, end: &str) -> Result<()> {
    let path = root().join("docs/benchmarks.md");
    let old = std::fs::read_to_string(&path).unwrap_or_else(|_| format!("# Benchmarks\n\n{start}\n{end}\n"));
    let (before, rest) = old.split_once(start).context("docs/benchmarks.md has lost its first mark")?;
    let (_, after) = rest.split_once(end).context("docs/benchmarks.md has lost its second mark")?;
    std::fs::create_dir_all(root().join("docs"))?;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let new = format!(
        "{before}{start}\nMeasured in one run of `cargo xtask bench --write`, {cores} cores, Linux {kernel}.\n\n{text}{end}{after}"
    );
    std::fs::write(&path, new).with_context(|| format!("{} cannot be written", path.display()))
}
