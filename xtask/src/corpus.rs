//! `cargo xtask corpus DIRECTORY…`: what the whole scanner finds in real files that hold no secrets, per 100 MB: sources,
//! documentation, and the pictures, fonts, archives and modules among them.
//!
//! Without a directory it reads what a Rust toolchain and cargo's registry have here. Findings are listed with file and
//! rule, redacted. Private keys and hashes of passwords are counted apart: in the tests of a package they are such all the
//! same. Both numbers are told.

use crate::bench::scan;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Larger ones are read by nobody.
const FILE_MAX: u64 = 20 << 20;

pub(crate) fn run(directories: &[&str]) -> Result<()> {
    let roots = if directories.is_empty() { usual()? } else { directories.iter().map(PathBuf::from).collect() };
    let mut files = Vec::new();
    for root in &roots {
        list(root, &mut files)?;
    }
    let mut child = Command::new(scan::program()?)
        .arg("find")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the example cannot be started")?;
    let mut names = child.stdin.take().context("no standard input")?;
    let text: String = files.iter().filter_map(|it| it.to_str()).map(|it| format!("{it}\n")).collect();
    let writer = std::thread::spawn(move || names.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    ensure!(writer.join().is_ok_and(|it| it.is_ok()) && output.status.success(), "the example failed");
    report(&String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn report(said: &str) {
    let (mut bytes, mut alarms, mut keys) = (0u64, 0u64, 0u64);
    for line in said.lines() {
        match line.split('\t').collect::<Vec<_>>().as_slice() {
            [size] => bytes += size.parse().unwrap_or(0),
            [_, rule, ..] => {
                let true_there = rule.ends_with("private-key") || rule.ends_with("-hash");
                *(if true_there { &mut keys } else { &mut alarms }) += 1;
                println!("{line}");
            }
            _ => {}
        }
    }
    let megabytes = bytes as f64 / 1e6;
    println!(
        "{megabytes:.0} MB: {alarms} findings, {:.1} per 100 MB; {keys} private keys and hashes besides, {:.1} with them",
        alarms as f64 * 100.0 / megabytes.max(1.0),
        (alarms + keys) as f64 * 100.0 / megabytes.max(1.0)
    );
}

fn usual() -> Result<Vec<PathBuf>> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().context("rustc cannot be started")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|it| it.join(".cargo"))).context("no home of cargo")?;
    Ok(vec![sysroot.join("share/doc"), home.join("registry/src")])
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if kind.is_file() && entry.metadata()?.len() <= FILE_MAX {
            files.push(entry.path());
        }
    }
    Ok(())
}
