//! Looking for the secret that the gate injects, everywhere a program inside can look.

use super::{
    Case,
    Control::{self, Depends, Escapes},
    Outcome,
    Section::Secrets,
};
use crate::{Field, field::contains};
use std::{
    collections::VecDeque,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

const fn case(name: &'static str, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section: Secrets, control, attempt }
}

pub(super) const CASES: &[Case] = &[
    case("secret in the environment", Escapes, environment),
    case("secret in /proc/*/environ", Escapes, |field| in_proc(field, "environ")),
    case("secret in /proc/*/cmdline", Escapes, |field| in_proc(field, "cmdline")),
    case("secret in files", Escapes, |field| in_files("the secret", &|bytes| field.holds_secret(bytes))),
    case("private keys in files", Depends, |_| {
        let mark = ["-----BEGIN ", "PRIVATE KEY-----"].concat();
        let other = ["-----BEGIN EC ", "PRIVATE KEY-----"].concat();
        in_files("a private key", &move |bytes| contains(bytes, mark.as_bytes()) || contains(bytes, other.as_bytes()))
    }),
    case("environment of init", Depends, init_environment),
];

fn environment(field: &Field) -> Outcome {
    let held = std::env::vars_os().filter(|(_, value)| field.holds_secret(value.as_encoded_bytes()));
    Outcome::none_of(held.map(|(name, _)| name.to_string_lossy().into_owned()).collect(), "in no variable")
}

fn in_proc(field: &Field, file: &str) -> Outcome {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = entries.filter(|entry| fs::read(entry.path().join(file)).is_ok_and(|bytes| field.holds_secret(&bytes)));
    Outcome::none_of(found.map(|entry| entry.path().display().to_string()).collect(), "in no process")
}

fn init_environment(field: &Field) -> Outcome {
    if field.bare {
        return Outcome::NotApplicable("the host's init is nobody's to read".to_owned());
    }
    match fs::read("/proc/1/environ") {
        Ok(bytes) if bytes.is_empty() => Outcome::Held("empty".to_owned()),
        Ok(bytes) => Outcome::Escaped(format!("{} bytes", bytes.len())),
        Err(error) => Outcome::Held(error.to_string()),
    }
}

/// The files that the bottle adds to the host's programs. Bounded in number and size.
fn in_files(what: &str, holds: &dyn Fn(&[u8]) -> bool) -> Outcome {
    const MOST_FILES: usize = 5_000;
    const MOST_BYTES: u64 = 1024 * 1024;
    let roots = ["/etc", "/tmp", "/dev/shm", "/workspace", "/run", "/home", "/var/tmp"];
    let mut queue: VecDeque<PathBuf> = roots.iter().map(PathBuf::from).chain(std::env::current_dir().ok()).collect();
    let mut seen = 0;
    while let Some(path) = queue.pop_front() {
        let Ok(kind) = fs::symlink_metadata(&path).map(|data| data.file_type()) else { continue };
        if kind.is_dir() {
            queue.extend(children(&path));
        } else if kind.is_file() && seen < MOST_FILES {
            seen += 1;
            let mut bytes = Vec::new();
            let read = fs::File::open(&path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
            if read.is_ok() && holds(&bytes) {
                return Outcome::Escaped(format!("{what} is in {}", path.display()));
            }
        }
    }
    Outcome::Held(format!("in none of {seen} files"))
}

fn children(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
