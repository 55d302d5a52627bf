//! The example `gate`: this package's code as a process of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// The program. `cargo test` builds it with the tests; `cargo test --test it` does not, so it is built here if it is
/// older than its sources. (Not always: a nested cargo unifies features anew, and would build the world twice.)
pub(crate) fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().parent().unwrap().join("examples/gate");
        let sources = ["src", "examples"].iter().filter_map(|dir| newest(&Path::new(PACKAGE).join(dir)).ok()).max();
        if modified(&program).ok() < sources {
            let manifest = Path::new(PACKAGE).join("Cargo.toml");
            let build = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--example", "gate", "--manifest-path"])
                .arg(manifest)
                .status();
            assert!(build.is_ok_and(|status| status.success()), "the example `gate` could not be built");
        }
        program
    })
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// When the last file of a directory was changed.
fn newest(dir: &Path) -> io::Result<SystemTime> {
    fs::read_dir(dir)?.try_fold(SystemTime::UNIX_EPOCH, |newest, entry| {
        let path = entry?.path();
        Ok(newest.max(if path.is_dir() { self::newest(&path)? } else { modified(&path)? }))
    })
}

/// A uid and gid that the tests may take on: those of nobody that files could belong to.
pub(crate) const SOMEBODY: (u32, u32) = (0x7000_fffe, 0x7000_fffe);

/// What a gate started by this user is told to run as.
pub(crate) fn run_as() -> Option<(u32, u32)> {
    rustix::process::geteuid().is_root().then_some(SOMEBODY)
}
