//! `cargo xtask fuzz [TARGET] [--seconds N]`: libFuzzer on the parsers of hostile bytes, with the stable toolchain.
//!
//! What `cargo fuzz` does needs a nightly compiler for its flags alone; the pass that counts edges can be asked for as
//! well. No sanitiser of addresses: what is fuzzed is safe code, whose mistakes are panics.

use crate::build::{cargo, root};
use anyhow::{Context, Result, bail, ensure};
use std::process::Command;

/// Counts of edges inline, as libFuzzer reads them; crates that are told of `fuzzing` leave out what only slows it down.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";
const SECONDS: &str = "60";

pub(crate) fn run(options: &[&str]) -> Result<()> {
    let (mut target, mut seconds) = (None, SECONDS);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--seconds" => seconds = options.next().context("--seconds takes a number")?,
            name if !name.starts_with('-') && target.is_none() => target = Some(name),
            other => bail!("fuzz takes [TARGET] [--seconds N], not `{other}`"),
        }
    }
    let fuzz = root().join("fuzz");
    let all = targets()?;
    let chosen: Vec<&String> = all.iter().filter(|it| target.is_none_or(|target| target == it.as_str())).collect();
    ensure!(!chosen.is_empty(), "no such target; there are: {}", all.join(", "));
    // A target triple keeps the flags from build scripts and procedural macros.
    let host = host()?;
    let mut build = cargo();
    build.current_dir(&fuzz).env("RUSTFLAGS", FLAGS).args(["build", "--release", "--target", &host]);
    build.arg("--target-dir").arg(fuzz.join("target"));
    for target in &chosen {
        build.args(["--bin", target]);
    }
    ensure!(build.status().context("cargo cannot be started")?.success(), "the fuzz targets do not build");
    for target in chosen {
        println!("== {target}, {seconds} s");
        let corpus = fuzz.join("corpus").join(target);
        let artifacts = fuzz.join("artifacts").join(target);
        for directory in [&corpus, &artifacts] {
            std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        }
        let mut command = Command::new(fuzz.join("target").join(&host).join("release").join(target));
        command.arg(&corpus);
        let seeds = fuzz.join("seeds").join(target);
        if seeds.is_dir() {
            command.arg(seeds);
        }
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.args([format!("-max_total_time={seconds}"), "-timeout=10".into(), "-rss_limit_mb=1024".into()]);
        command.args(["-max_len=65536", "-print_final_stats=1", "-verbosity=0"]);
        let status = command.status().with_context(|| format!("{target} cannot be started"))?;
        ensure!(status.success(), "{target} found something: see {}", artifacts.display());
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let directory = root().join("fuzz/fuzz_targets");
    let files = std::fs::read_dir(&directory).with_context(|| format!("{} cannot be read", directory.display()))?;
    let mut names: Vec<String> =
        files.filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say its host")
}
