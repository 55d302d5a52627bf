//! Building what the other tasks run, and finding it.

use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the source tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Which of cargo's profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Builds the binary `name`, which its package is called, too, and gives its path, as cargo says it.
pub(crate) fn binary(name: &str, profile: Profile) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked", "--quiet", "--message-format=json"]);
    match profile {
        // All together, so that dependencies have the features they have for the tests and are built once.
        Profile::Dev => command.args(["--workspace", "--bins"]),
        Profile::Release => command.args(["--package", name, "--bin", name, "--release"]),
    };
    built(command, name)
}

/// Builds the tests `name` of a package, with the program that they start.
pub(crate) fn tests(package: &str, name: &str) -> Result<PathBuf> {
    let mut command = cargo();
    // With all packages, as the tests are built, so that nothing is built anew.
    command.args(["test", "--no-run", "--locked", "--quiet", "--message-format=json", "--workspace", "--test", name]);
    built_by(command, &format!("#{package}@"), name)
}

/// Builds an example of a package, optimised, with features of that package's.
pub(crate) fn example(package: &str, name: &str, features: &[&str]) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked", "--quiet", "--message-format=json", "--release"]);
    command.args(["--package", package, "--example", name, "--features", &features.join(",")]);
    built(command, name)
}

/// Where cargo says that it put what it built.
fn built(command: Command, name: &str) -> Result<PathBuf> {
    built_by(command, "", name)
}

/// The same, of the package in whose identifier this stands.
fn built_by(mut command: Command, package: &str, name: &str) -> Result<PathBuf> {
    let output = command.stderr(std::process::Stdio::inherit()).output().context("cargo cannot be started")?;
    ensure!(output.status.success(), "{name} does not build");
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not text")?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == name)
        .filter(|message| message["package_id"].as_str().is_some_and(|id| id.contains(package)))
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo named no executable for {name}"))
}

/// The binary `name` as it was built before, beside this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{} is not built yet", path.display());
    Ok(path)
}

/// The static init on its own, to look at.
pub(crate) fn init() -> Result<()> {
    let status = cargo()
        .args(["build", "--locked", "--release", "--package", "bottle-init", "--target", "x86_64-unknown-linux-gnu"])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .context("cargo cannot be started")?;
    ensure!(status.success(), "bottle-init does not build");
    Ok(())
}
