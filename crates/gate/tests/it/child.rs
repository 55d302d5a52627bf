//! The example `gate`: this package's code as a process of its own.

use std::{path::PathBuf, process::Command, sync::OnceLock};

/// The program, built if this run did not build it (`cargo test --test it` leaves examples out).
pub fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let build = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--example", "gate", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .status();
        assert!(build.is_ok_and(|status| status.success()), "the example `gate` could not be built");
        let tests = std::env::current_exe().unwrap();
        tests.parent().unwrap().parent().unwrap().join("examples/gate")
    })
}

/// A uid and gid that the tests may take on: those of nobody that files could belong to.
pub const SOMEBODY: (u32, u32) = (0x7000_fffe, 0x7000_fffe);

/// What a gate started by this user is told to run as.
pub fn run_as() -> Option<(u32, u32)> {
    rustix::process::geteuid().is_root().then_some(SOMEBODY)
}
