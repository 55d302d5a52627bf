//! How init is built for use: static, small, and with a build of its own, for its flags are not those of the rest.
//! Included by the build script of the executable and by the tests of the runtime.
//!
//! There need not be a musl target: glibc links statically as well, and init looks up no names.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Builds init and gives the path of its executable. `target` is the outer build's target directory: all builds of all
/// profiles share one image in it.
pub(crate) fn build(target: &Path) -> Result<PathBuf, String> {
    // As cargo says it now: a target directory that was copied holds programs compiled elsewhere.
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let init = Path::new(&package).join("../init");
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let directory = target.join("init-image");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--release", "--target", &triple, "--bin", "bottle-init"]);
    cargo.arg("--manifest-path").arg(init.join("Cargo.toml")).arg("--target-dir").arg(&directory);
    for setting in ["panic=\"abort\"", "opt-level=\"s\"", "lto=true", "codegen-units=1", "strip=true", "debug=false"] {
        cargo.args(["--config", &format!("profile.release.{setting}")]);
    }
    // What an outer cargo, or clippy, set for its own compiler runs.
    for inherited in ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"] {
        cargo.env_remove(inherited);
    }
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = cargo.status().map_err(|error| format!("cargo cannot be started: {error}"))?;
    if !status.success() {
        return Err("building init failed; its messages stand above".to_owned());
    }
    Ok(directory.join(triple).join("release/bottle-init"))
}
