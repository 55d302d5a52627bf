//! smolvm, installed from the wheel in which its authors publish it, into a directory of the user's own.
//!
//! Invariants: a wheel is read only after its digest was found to be the one that is written down here; what is installed
//! appears whole or not at all, and whoever installs the same at the same time waits, and finds it there.

mod wheel;

use super::version::TESTED;
use crate::{backend::system::System, beneath, store::private_directory};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};
use wheel::Members;

/// What it is called where packages are.
pub const PACKAGE: &str = "smolmachines";
const PROGRAM: &str = "smolvm";
/// More than any part of it takes.
const LARGEST: u64 = 1 << 30;

/// A file of the package, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    pub file: &'static str,
    pub sha256: &'static str,
}

/// Of the version that the tests run with: [`TESTED`].
const X86_64: Wheel = Wheel {
    file: "smolmachines-1.32.2-cp39-abi3-manylinux_2_28_x86_64.whl",
    sha256: "81b104e2622aa0b187b6b7054397c391151b83db2638a16d0e54c517684f0dc2",
};
const AARCH64: Wheel = Wheel {
    file: "smolmachines-1.32.2-cp39-abi3-manylinux_2_28_aarch64.whl",
    sha256: "5cdd53c71369f149639f00197ce9deaafd204d2bda03b323b1ae3ee35ba4cf8b",
};
const MAC: Wheel = Wheel {
    file: "smolmachines-1.32.2-cp39-abi3-macosx_11_0_arm64.whl",
    sha256: "af690651bd2d2e329f3ab15d35acd7037a3a94581b3f79c08d1df867e8ef54f9",
};

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("the file is not the one that this program knows: its SHA-256 is {found} and not {expected}")]
    Digest { found: String, expected: &'static str },
    #[error("the wheel cannot be read: {0}")]
    Wheel(&'static str),
    #[error("the wheel has no {0}")]
    Lacks(&'static str),
    #[error("{} cannot be written", .0.display())]
    Write(PathBuf, #[source] io::Error),
}

impl Wheel {
    /// What it is asked for by.
    pub fn requirement(&self) -> String {
        format!("{PACKAGE}=={TESTED}")
    }

    /// `None` where its authors publish none for a machine like this.
    pub fn of_this_machine() -> Option<Wheel> {
        Wheel::of(std::env::consts::OS, std::env::consts::ARCH)
    }

    fn of(system: &str, processor: &str) -> Option<Wheel> {
        match (system, processor) {
            ("linux", "x86_64") => Some(X86_64),
            ("linux", "aarch64") => Some(AARCH64),
            ("macos", "aarch64") => Some(MAC),
            _ => None,
        }
    }
}

/// The program, where it was installed into this directory.
pub fn installed(directory: &Path) -> Option<PathBuf> {
    let program = directory.join(TESTED.to_string()).join(PROGRAM);
    program.is_file().then_some(program)
}

/// Installs the wheel whose bytes these are, and gives the path of the program.
pub fn install(wheel: &Wheel, bytes: &[u8], directory: &Path) -> Result<PathBuf, InstallError> {
    let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != wheel.sha256 {
        return Err(InstallError::Digest { found, expected: wheel.sha256 });
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| InstallError::Write(path, error)
    };
    private_directory(directory).map_err(|error| failed(directory)(io::Error::other(error)))?;
    let lock = directory.join("lock");
    let held = File::options().create(true).truncate(false).write(true).open(&lock).map_err(failed(&lock))?;
    flock(&held, FlockOperation::LockExclusive).map_err(|error| failed(&lock)(error.into()))?;
    if let Some(program) = installed(directory) {
        return Ok(program);
    }
    let (whole, part) = (directory.join(TESTED.to_string()), directory.join("part"));
    for left in [&whole, &part] {
        beneath::remove_tree(left).map_err(failed(left))?;
    }
    let done = unpack(bytes, &part).and_then(|()| fs::rename(&part, &whole).map_err(failed(&whole)));
    if done.is_err() {
        let _ = beneath::remove_tree(&part);
    }
    done.map(|()| whole.join(PROGRAM))
}

/// As smolvm looks for itself: the program, and beside it `lib` and `rootfs`.
fn unpack(bytes: &[u8], to: &Path) -> Result<(), InstallError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| InstallError::Write(path, error)
    };
    let (lib, rootfs) = (to.join("lib"), to.join("rootfs"));
    for directory in [&lib, &rootfs] {
        fs::create_dir_all(directory).map_err(failed(directory))?;
    }
    let (mut has_program, mut has_library, mut has_root) = (false, false, false);
    for member in Members::of(bytes)? {
        let (name, content) = member?;
        match name.strip_prefix("smol/") {
            Some("smol-vmm") => {
                write(&to.join(PROGRAM), content, 0o755).map_err(failed(to))?;
                has_program = true;
            }
            Some(library) if System::HERE.is_library(library) => {
                write(&lib.join(library), content, 0o755).map_err(failed(&lib))?;
                has_library = true;
            }
            Some("agent-rootfs.tar.zst") => {
                let plain = zstd::stream::read::Decoder::new(content).map_err(failed(&rootfs))?;
                tar::Archive::new(plain.take(LARGEST)).unpack(&rootfs).map_err(failed(&rootfs))?;
                has_root = true;
            }
            _ => {}
        }
    }
    for (is_there, what) in [(has_program, "program"), (has_library, "library"), (has_root, "root for its machines")] {
        if !is_there {
            return Err(InstallError::Lacks(what));
        }
    }
    Ok(())
}

fn write(path: &Path, content: impl Read, mode: u32) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    io::copy(&mut content.take(LARGEST), &mut file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A wheel as small as it can be, with its own digest.
    fn wheel(members: &[(&str, &[u8])]) -> (Vec<u8>, Wheel) {
        let bytes = wheel::tests::zip(members);
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        (bytes, Wheel { file: "small.whl", sha256: digest.leak() })
    }

    fn root() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(4);
        tar.append_data(&mut header, "sbin/init", &b"init"[..]).unwrap();
        zstd::stream::encode_all(&tar.into_inner().unwrap()[..], 1).unwrap()
    }

    #[test]
    fn each_machine_has_the_wheel_of_its_own_kind() {
        for (system, processor, tag) in [
            ("linux", "x86_64", Some("manylinux_2_28_x86_64")),
            ("linux", "aarch64", Some("manylinux_2_28_aarch64")),
            ("macos", "aarch64", Some("macosx_11_0_arm64")),
            ("macos", "x86_64", None),
            ("linux", "riscv64", None),
        ] {
            let wheel = Wheel::of(system, processor);
            assert_eq!(wheel.is_some(), tag.is_some(), "{system} {processor}");
            if let Some((wheel, tag)) = wheel.zip(tag) {
                assert_eq!(wheel.file, format!("smolmachines-{TESTED}-cp39-abi3-{tag}.whl"));
                assert!(wheel.sha256.len() == 64 && wheel.requirement() == format!("smolmachines=={TESTED}"));
            }
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_in_a_wheel_is_laid_out_as_smolvm_wants_it() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("smolvm");
        let root = root();
        let (bytes, wheel) = wheel(&[
            ("smol/__init__.py", b"python"),
            ("smol/smol-vmm", b"the program"),
            ("smol/libkrun.so", b"a library"),
            ("smol/libkrunfw.so.5", b"another"),
            ("smol/agent-rootfs.tar.zst", &root),
        ]);
        assert_eq!(installed(&directory), None);
        let program = install(&wheel, &bytes, &directory).unwrap();
        assert_eq!(installed(&directory).as_ref(), Some(&program));
        assert_eq!(fs::read(&program).unwrap(), b"the program");
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o111, 0o111);
        let beside = program.parent().unwrap();
        assert_eq!(names(beside), ["lib", "rootfs", "smolvm"]);
        assert_eq!(names(&beside.join("lib")), ["libkrun.so", "libkrunfw.so.5"]);
        assert_eq!(fs::read(beside.join("rootfs/sbin/init")).unwrap(), b"init");
        // A second time nothing is written.
        fs::write(&program, b"as it is").unwrap();
        assert_eq!(install(&wheel, &bytes, &directory).unwrap(), program);
        assert_eq!(fs::read(&program).unwrap(), b"as it is");
    }

    #[test]
    fn another_file_is_not_even_opened_and_half_a_wheel_installs_nothing() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("smolvm");
        let (mut bytes, whole) = wheel(&[("smol/smol-vmm", b"the program")]);
        let error = install(&whole, &bytes, &directory).unwrap_err();
        assert!(matches!(error, InstallError::Lacks("library")), "{error}");
        assert_eq!(names(&directory), ["lock"]);
        bytes[40] ^= 1;
        assert!(matches!(install(&whole, &bytes, &directory), Err(InstallError::Digest { .. })));
        let (bytes, cut) = {
            let (bytes, _) = wheel(&[("smol/smol-vmm", b"the program")]);
            let bytes = bytes[..bytes.len() - 30].to_vec();
            let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            (bytes, Wheel { file: "cut.whl", sha256: digest.leak() })
        };
        assert!(matches!(install(&cut, &bytes, &directory), Err(InstallError::Wheel(_))));
        assert_eq!(names(&directory), ["lock"]);
    }

    #[test]
    fn the_wheels_are_those_of_the_version_that_was_tested() {
        for wheel in [X86_64, AARCH64] {
            assert!(wheel.file.starts_with(&format!("{PACKAGE}-{TESTED}-")), "{wheel:?}");
            assert_eq!(wheel.sha256.len(), 64);
        }
    }
}
