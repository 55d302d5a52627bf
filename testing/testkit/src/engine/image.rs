//! The image that every engine of the tests has, as an archive of its root.

use super::SOON;
use crate::Running;
use std::{fs, io, os::unix::fs::symlink, path::Path, process::Command};

/// What is copied of this host, each with the libraries that it takes.
const PROGRAMS: [&str; 5] = [
    "/usr/bin/curl",
    "/usr/bin/git",
    "/usr/lib/git-core/git-remote-http",
    "/usr/lib/git-core/git-remote-https",
    // Tells the time by the nanosecond, which busybox's does not.
    "/usr/bin/date",
];
/// What a program written in Rust takes besides.
const LIBRARIES: [&str; 2] = ["/lib/x86_64-linux-gnu/libgcc_s.so.1", "/lib/aarch64-linux-gnu/libgcc_s.so.1"];

/// Gives the archive's path, in `directory`.
pub(super) fn pack(directory: &Path) -> io::Result<String> {
    let root = directory.join("image");
    root_file_system(&root)?;
    let archive = directory.join("image.tar").display().to_string();
    let root = root.display().to_string();
    Running::start(command("tar", &["-C", &root, "-cf", &archive, "."])).finish(SOON).success();
    Ok(archive)
}

/// A static busybox with its applets, the programs, and the libraries that they take.
pub(crate) fn root_file_system(root: &Path) -> io::Result<()> {
    for name in ["bin", "usr/bin", "etc", "lib64", "usr/share/git-core/templates"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    let applets = Running::start(command("busybox", &["--list"])).finish(SOON);
    for applet in applets.success().lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    for program in PROGRAMS {
        libraries(Path::new(program), root)?;
        copy(program, root)?;
    }
    for path in LIBRARIES.into_iter().filter(|path| Path::new(path).exists()) {
        copy(path, root)?;
    }
    Ok(())
}

/// Copies what a program of this host takes to the same places below `root`.
pub fn libraries(program: &Path, root: &Path) -> io::Result<()> {
    let listed = Running::start(command("ldd", &[&program.display().to_string()])).finish(SOON);
    // One that takes none says so with an exit code of its own.
    listed.stdout.split_ascii_whitespace().filter(|word| word.starts_with('/')).try_for_each(|path| copy(path, root))
}

/// To the same place below `root`.
pub fn copy(path: &str, root: &Path) -> io::Result<()> {
    let target = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(target.parent().expect("a file has a directory"))?;
    fs::copy(path, target).map(drop)
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
