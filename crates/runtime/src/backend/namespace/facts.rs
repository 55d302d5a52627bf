//! What the host has that a room is made from. All reading of the host happens here, before there is a room;
//! what becomes of it is decided in [`super::layout`].
//!
//! The list of what is shown of `/etc` is closed: configuration that programs under `/usr` need and that holds no
//! credentials. Files that often do hold them (`gitconfig`, `npmrc`, `pip.conf`, `environment`, `profile.d`, `ssh`)
//! are left out on purpose.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The host's programs, besides `/usr` and `/opt`. On most systems these are links into `/usr`.
const PROGRAM_DIRECTORIES: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec"];

/// Entries of `/etc` that a room shows; a `*` at the end takes every entry that begins so.
const SHOWN_OF_ETC: &[&str] = &[
    "OpenCL",
    "R",
    "alternatives",
    "ant",
    "bash.bashrc",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "dotnet",
    "fonts",
    "gcrypt",
    "ghc",
    "glvnd",
    "inputrc",
    "java*",
    "jvm*",
    "ld.so.*",
    "locale.alias",
    "locale.conf",
    "lsb-release",
    "magic",
    "maven",
    "mime.types",
    "nanorc",
    "os-release",
    "paperspecs",
    "papersize",
    "perl",
    "php*",
    "protocols",
    "python*",
    "redhat-release",
    "rpc",
    "services",
    "sgml",
    "terminfo",
    "texmf",
    "vim",
    "vulkan",
    "xml",
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HostFacts {
    /// Top-level directories of programs, without the leading slash.
    pub(super) programs: Vec<Program>,
    /// Shown entries of `/etc`, relative to it.
    pub(super) etc: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    Directory(&'static str),
    /// A relative link into `/usr`, as it stands on the host.
    Link {
        name: &'static str,
        to: PathBuf,
    },
}

impl HostFacts {
    pub(super) fn read() -> io::Result<HostFacts> {
        Ok(HostFacts { programs: programs(Path::new("/"))?, etc: shown_of(Path::new("/etc"))? })
    }
}

fn programs(root: &Path) -> io::Result<Vec<Program>> {
    let mut found = Vec::new();
    for name in ["usr", "opt"].into_iter().chain(PROGRAM_DIRECTORIES) {
        let path = root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(entry) if entry.is_symlink() => {
                let to = fs::read_link(&path)?;
                // Debian and Fedora write `usr/bin`, Arch `usr/lib`; both also occur with a leading slash.
                if to.strip_prefix("/").unwrap_or(&to).starts_with("usr") {
                    found.push(Program::Link { name, to });
                }
            }
            Ok(entry) if entry.is_dir() => found.push(Program::Directory(name)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn shown_of(etc: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(etc)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if is_shown(&name) {
            found.push(name);
        }
    }
    found.push("ssl/openssl.cnf".to_owned());
    // Links are followed: what counts is what a program would read. A dangling one is left out.
    found.retain(|name| fs::metadata(etc.join(name)).is_ok_and(|entry| entry.is_dir() || entry.is_file()));
    found.sort();
    Ok(found)
}

fn is_shown(name: &str) -> bool {
    SHOWN_OF_ETC.iter().any(|shown| match shown.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *shown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hold_a_credential_is_not_shown() {
        for name in ["shadow", "gitconfig", "npmrc", "pip.conf", "ssh", "environment", "profile.d", "wgetrc", "ssl"] {
            assert!(!is_shown(name), "{name}");
        }
        for name in ["ld.so.cache", "ld.so.conf.d", "java-17-openjdk", "python3.11", "alternatives"] {
            assert!(is_shown(name), "{name}");
        }
    }

    #[test]
    fn links_out_of_usr_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        fs::create_dir(root.path().join("lib")).unwrap();
        std::os::unix::fs::symlink("usr/bin", root.path().join("bin")).unwrap();
        std::os::unix::fs::symlink("/home/x", root.path().join("sbin")).unwrap();
        let found = programs(root.path()).unwrap();
        let link = Program::Link { name: "bin", to: PathBuf::from("usr/bin") };
        assert_eq!(found, [Program::Directory("usr"), link, Program::Directory("lib")]);
    }
}
