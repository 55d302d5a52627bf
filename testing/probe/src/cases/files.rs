//! Files of the host: reading them, writing them, and the files through which a kernel is told what to do.

use super::{
    Case,
    Control::{self, Depends, Escapes, EscapesAsRoot},
    Outcome,
    Section::GoingAround,
};
use crate::Field;
use std::{
    fs,
    path::{Path, PathBuf},
};

const fn case(name: &'static str, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section: GoingAround, control, attempt }
}

pub(super) const CASES: &[Case] = &[
    case("planted files of the host", Escapes, planted),
    case("planted files through /proc/1/root", Depends, through_init),
    case("planted files through /proc/self/cwd and ..", Escapes, upwards),
    case("password hashes", EscapesAsRoot, password_hashes),
    case("ssh keys", Depends, ssh_keys),
    case("entries of /home, /root, /run, /var, /srv of the host", Escapes, host_directories),
    case("writing to system directories", EscapesAsRoot, system_directories),
    case("writing to /etc", EscapesAsRoot, |_| writes_into("/etc")),
    case("devices besides the harmless ones", Depends, devices),
    case("core_pattern", EscapesAsRoot, |_| opens_to_write(&["/proc/sys/kernel/core_pattern"])),
    case("modprobe path and hotplug helper", Depends, |_| {
        opens_to_write(&["/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper", "/proc/sys/kernel/hotplug"])
    }),
    case("binfmt_misc", Depends, |_| opens_to_write(&["/proc/sys/fs/binfmt_misc/register"])),
    case("sysrq", Depends, |_| opens_to_write(&["/proc/sysrq-trigger"])),
    case("kernel settings", EscapesAsRoot, |_| {
        opens_to_write(&["/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/pid_max", "/proc/sys/kernel/hostname"])
    }),
    case("kernel memory", Depends, |_| reads_a_byte(&["/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port"])),
    case("kernel log", Depends, |_| reads_a_byte(&["/dev/kmsg", "/proc/kmsg"])),
    case("kernel keys and timers", Depends, |_| {
        reads_something(&["/proc/keys", "/proc/timer_list", "/proc/sched_debug"])
    }),
    case("cgroup release_agent and cgroup files", EscapesAsRoot, cgroups),
    case("/sys can be written to", EscapesAsRoot, |_| {
        opens_to_write(&["/sys/kernel/profiling", "/sys/power/state", "/sys/module/kernel/parameters/panic"])
    }),
    case("firmware and debug file systems", Depends, |_| {
        lists(&["/sys/firmware/efi", "/sys/kernel/debug", "/sys/kernel/security", "/sys/fs/bpf"])
    }),
];

fn planted(field: &Field) -> Outcome {
    let read = field.planted.iter().filter(|path| fs::read(path).is_ok_and(|bytes| field.holds_nonce(&bytes)));
    Outcome::none_of(read.map(|path| path.display().to_string()).collect(), "none is there")
}

fn through_init(field: &Field) -> Outcome {
    let below = |path: &&std::path::PathBuf| Path::new("/proc/1/root").join(path.strip_prefix("/").unwrap_or(path));
    let read = field.planted.iter().filter(|path| fs::read(below(path)).is_ok_and(|bytes| field.holds_nonce(&bytes)));
    Outcome::none_of(read.map(|path| path.display().to_string()).collect(), "none is there")
}

fn upwards(field: &Field) -> Outcome {
    let mut found = Vec::new();
    for path in &field.planted {
        let tail = path.strip_prefix("/").unwrap_or(path);
        let up = Path::new("/proc/self/cwd").join("../".repeat(20)).join(tail);
        if fs::read(&up).is_ok_and(|bytes| field.holds_nonce(&bytes)) {
            found.push(up.display().to_string());
        }
    }
    Outcome::none_of(found, "none is there")
}

fn password_hashes(_: &Field) -> Outcome {
    match fs::read_to_string("/etc/shadow") {
        Ok(text) if text.lines().any(|line| line.split(':').nth(1).is_some()) => {
            Outcome::Escaped(format!("{} lines", text.lines().count()))
        }
        Ok(_) => Outcome::Held("empty".to_owned()),
        Err(error) => Outcome::Held(error.to_string()),
    }
}

fn ssh_keys(field: &Field) -> Outcome {
    let homes = fs::read_dir("/home").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found = Vec::new();
    for home in homes.chain([Path::new("/root").to_owned()]) {
        let entries = fs::read_dir(home.join(".ssh")).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        // A bottle's own canary is meant to be found. What is another's shows by the planted files' words.
        let canary = |path: &PathBuf| !field.bare && path.starts_with("/home/agent/.ssh");
        found.extend(paths.filter(|path| !canary(path)).map(|path| path.display().to_string()));
    }
    Outcome::none_of(found, "none but a canary")
}

fn host_directories(field: &Field) -> Outcome {
    let mut found = Vec::new();
    for directory in ["/home", "/root", "/run", "/var", "/srv", "/boot", "/mnt", "/media"] {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        // Podman's mark of a container, with nothing in it.
        let mark = |entry: &fs::DirEntry| {
            entry.file_name() == ".containerenv" && entry.metadata().is_ok_and(|it| it.is_file() && it.len() == 0)
        };
        let names = entries.filter(|entry| field.bare || !mark(entry));
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // A bottle has its own home, and what programs expect to find in an empty /run and /var.
        let own = |name: &String| {
            ["agent", "tmp", "lib", "lock", "run", "cache", "log", "empty", "user", "shm"].contains(&name.as_str())
        };
        found.extend(names.filter(|name| field.bare || !own(name)).map(|name| format!("{directory}/{name}")));
    }
    found.truncate(8);
    Outcome::none_of(found, "nothing but the bottle's own")
}

fn writes_into(directory: &str) -> Outcome {
    let path = Path::new(directory).join(format!(".probe-{}", std::process::id()));
    let made = fs::write(&path, b"");
    let _ = fs::remove_file(&path);
    Outcome::of(made, "a file was made")
}

fn system_directories(_: &Field) -> Outcome {
    let directories = ["/usr", "/usr/bin", "/usr/lib", "/usr/local/bin", "/bin", "/sbin", "/lib", "/opt", "/"];
    let written = directories.iter().filter(|directory| matches!(writes_into(directory), Outcome::Escaped(_)));
    Outcome::none_of(written.map(|directory| (*directory).to_owned()).collect(), "none can be written to")
}

fn devices(_: &Field) -> Outcome {
    const HARMLESS: [&str; 17] = [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "stdin", "stdout", "stderr",
        "console", "core", "mqueue", "log",
    ];
    let names = fs::read_dir("/dev").into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    Outcome::none_of(names.filter(|name| !HARMLESS.contains(&name.as_str())).take(8).collect(), "the harmless ones")
}

fn opens_to_write(paths: &[&str]) -> Outcome {
    let open = paths.iter().filter(|path| fs::OpenOptions::new().write(true).open(path).is_ok());
    Outcome::none_of(open.map(|path| (*path).to_owned()).collect(), "none can be written to")
}

/// Without waiting for more to be logged.
fn reads_a_byte(paths: &[&str]) -> Outcome {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let read = paths.iter().filter(|path| {
        let mut bytes = [0; 8192];
        open(**path, flags, Mode::empty())
            .and_then(|file| rustix::io::read(file, &mut bytes))
            .is_ok_and(|read| read > 0)
    });
    Outcome::none_of(read.map(|path| (*path).to_owned()).collect(), "none says anything")
}

/// Masked files read as empty.
fn reads_something(paths: &[&str]) -> Outcome {
    let read = paths.iter().filter(|path| fs::read(path).is_ok_and(|bytes| !bytes.is_empty()));
    Outcome::none_of(read.map(|path| (*path).to_owned()).collect(), "none says anything")
}

fn lists(paths: &[&str]) -> Outcome {
    let entries = |path: &&&str| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    Outcome::none_of(paths.iter().filter(entries).map(|path| (*path).to_owned()).collect(), "nothing there")
}

fn cgroups(_: &Field) -> Outcome {
    let mut roots = vec![Path::new("/sys/fs/cgroup").to_owned()];
    let below = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    roots.extend(below.map(|entry| entry.path()).filter(|path| path.is_dir()));
    let files = ["release_agent", "cgroup.procs", "notify_on_release", "devices.allow"];
    let paths = roots.iter().flat_map(|root| files.iter().map(move |file| root.join(file)));
    let open = paths.filter(|path| fs::OpenOptions::new().write(true).open(path).is_ok());
    Outcome::none_of(open.take(4).map(|path| path.display().to_string()).collect(), "none can be written to")
}
