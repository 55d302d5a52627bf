//! `cargo xtask emulated`: what a machine must have that few that build have, in one that QEMU plays: limits by cgroup v2,
//! and with `smolmachines` machines of its own.
//!
//! Minutes, and some hundred MB from Debian the first time. A guest's clock goes by what it has done, so its limits on
//! time hold there and the one on the whole is kept out here.

use crate::build::{self, Profile, root};
use anyhow::{Context, Result, bail, ensure};
use bottle_testkit::smolvm::REAL;
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// One life of one bottle: minutes, for a second of the emulated machine takes tens.
const QUICK: &str = "smolmachines::life::a_machine_lives";
/// A machine in an emulated one hangs once in a while, whatever runs in it: it gets a second try.
const TRIES: usize = 2;
/// Where the smolvm is that is meant where none is named, beside others.
const TESTED: &str = "smolvm";
/// What `scripts/emulated-machine` ends with then.
const NEVER: i32 = 75;
/// What all tries together may take of a run of ci, and what one needs at the least.
const CI: Duration = Duration::from_secs(480);
const LEAST: Duration = Duration::from_secs(120);
/// The whole escape suite, or whatever else was asked for.
const LONG: Duration = Duration::from_secs(1500);

/// Whether what was to run in the emulated machine ran to its end.
#[derive(PartialEq, Eq)]
enum Played {
    ToItsEnd,
    Never,
}

pub(crate) fn run(options: &[&str]) -> Result<()> {
    if let ["smolmachines", options @ ..] = options {
        let (smolvm, options) = match options {
            ["--smolvm", version, rest @ ..] => (format!("smolvm-{version}"), rest),
            all => (TESTED.to_owned(), all),
        };
        let played = play(&smolvm, &command(options)?, LONG)?;
        ensure!(played == Played::ToItsEnd, "the emulated machine did not come to its end in any try");
        return Ok(());
    }
    let program = match options {
        [] => build::binary("bot-bottle", Profile::Dev)?,
        ["--built"] => build::beside("bot-bottle")?,
        _ => bail!("options: --built to build nothing"),
    };
    let scripts = root().join("scripts");
    let mut machine = Command::new(scripts.join("emulated-machine"));
    machine.arg(scripts.join("emulated/cgroup2.sh")).arg(program);
    let status = machine.status().context("the emulated machine cannot be started")?;
    ensure!(status.success(), "not all of it held");
    Ok(())
}

/// One life of a bottle that is a machine, with the real smolvm: here where machines can be started, else in the emulated
/// machine. What that does not play to its end, twice, is no failure of ours.
pub(crate) fn one_life() -> Result<()> {
    let Some(smolvm) = smolvm() else {
        println!("SKIPPED(no smolvm): a bottle in a real machine; see scripts/install-test-needs");
        return Ok(());
    };
    let command = command(&[])?;
    if starts_machines() {
        println!("with this machine's /dev/kvm");
        directly(&command, &smolvm)?;
    } else if play(TESTED, &command, CI)? == Played::Never {
        println!("SKIPPED(the emulated machine did not come to its end): a bottle in a real machine");
    }
    Ok(())
}

/// The tests of the program whose names hold one of `filters`, with the real smolvm (`--smolvm VERSION` before them: another
/// one that `scripts/install-test-needs` has put there); with `escape` that suite, with
/// `bench` what a start costs there.
fn command(filters: &[&str]) -> Result<Vec<PathBuf>> {
    let words: Option<Vec<&str>> = match filters {
        ["escape", part @ ..] => Some([&["escape", "smolmachines"], part, &["--user", "ordinary", "--built"]].concat()),
        ["bench"] => Some(vec!["bench", "--only", "machines", "--built"]),
        _ => None,
    };
    if let Some(words) = words {
        // What it takes stands beside this program.
        build::binary("bot-bottle", Profile::Dev)?;
        let own = std::env::current_exe().context("this program's own path")?;
        return Ok([own].into_iter().chain(words.iter().map(PathBuf::from)).collect());
    }
    let tests = build::tests("bot-bottle", "it")?;
    let filters = if filters.is_empty() { &[QUICK] } else { filters };
    let fixed = [tests, "--test-threads=1".into(), "--nocapture".into()];
    Ok(fixed.into_iter().chain(filters.iter().map(PathBuf::from)).collect())
}

/// On this machine, with a copy of smolvm that the ordinary user of the tests may go to.
fn directly(command: &[PathBuf], smolvm: &Path) -> Result<()> {
    let copy = tempfile::tempdir()?;
    std::fs::set_permissions(copy.path(), std::fs::Permissions::from_mode(0o755))?;
    let copied = Command::new("cp").arg("-r").args(smolvm.parent()).arg(copy.path().join("smolvm")).status()?;
    ensure!(copied.success(), "smolvm cannot be copied");
    let (program, words) = command.split_first().context("a command")?;
    let status = Command::new(program).args(words).env(REAL, copy.path().join("smolvm/smolvm")).status()?;
    ensure!(status.success(), "a bottle in a real machine failed");
    Ok(())
}

fn play(smolvm: &str, command: &[PathBuf], most: Duration) -> Result<Played> {
    let scripts = root().join("scripts");
    let until = Instant::now() + most;
    for turn in 1..=TRIES {
        let left = until.saturating_duration_since(Instant::now());
        // A first try that takes all of the time leaves none for a second.
        let share = if turn == 1 { most.mul_f32(0.7) } else { left };
        if share < LEAST {
            break;
        }
        let mut machine = Command::new(scripts.join("emulated-machine"));
        if std::env::var_os("EMULATED_SECONDS").is_none() {
            machine.env("EMULATED_SECONDS", share.as_secs().to_string());
        }
        machine.arg("--nested").arg(scripts.join("emulated/smolmachines.sh")).arg(smolvm).args(command);
        match machine.status().context("the emulated machine cannot be started")?.code() {
            Some(0) => return Ok(Played::ToItsEnd),
            Some(NEVER) => eprintln!("emulated: try {turn} of {TRIES} did not come to its end"),
            _ => bail!("not all of it held"),
        }
    }
    Ok(Played::Never)
}

/// The real one, where `scripts/install-test-needs` has put it.
fn smolvm() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let default = || Some(of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?.join("bot-bottle-tests"));
    let program = of("BOT_BOTTLE_TEST_CACHE").or_else(default)?.join("smolvm/smolvm");
    program.is_file().then_some(program)
}

/// Whether machines start here: a processor that runs them, and a device that those who run the tests may use. A
/// /dev/kvm alone tells little: some virtual machines have one that starts nothing.
fn starts_machines() -> bool {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = processor.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let virtualises = flags.split_ascii_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    // The tests give up root's rights where they have them.
    let device = Path::new("/dev/kvm");
    let open_to_all = device.metadata().is_ok_and(|it| it.permissions().mode() & 0o006 == 0o006);
    let both = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    let ours = !rustix::process::geteuid().is_root() && rustix::fs::access(device, both).is_ok();
    virtualises && (open_to_all || ours)
}
