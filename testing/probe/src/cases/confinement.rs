//! What the kernel says of the probe itself: its privileges, its limits and what it inherited.

use super::{
    Case,
    Control::{self, Depends, Escapes, EscapesAsRoot},
    Outcome,
    Section::GoingAround,
};
use crate::Field;
use std::{fs, os::fd::AsRawFd};

const fn case(name: &'static str, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section: GoingAround, control, attempt }
}

pub(super) const CASES: &[Case] = &[
    case("no_new_privs is off", Escapes, |_| status("NoNewPrivs", "1")),
    case("no seccomp filter", Escapes, |_| status("Seccomp", "2")),
    case("capabilities in the bounding set", Escapes, |_| status("CapBnd", NONE)),
    case("capabilities in effect", EscapesAsRoot, |_| status("CapEff", NONE)),
    case("capabilities permitted", EscapesAsRoot, |_| status("CapPrm", NONE)),
    case("capabilities inherited", Depends, |_| status("CapInh", NONE)),
    case("ambient capabilities", Depends, |_| status("CapAmb", NONE)),
    case("root's uid", EscapesAsRoot, uid),
    case("descriptors left open by our processes", Escapes, descriptors),
    case("processes of the host are visible", Escapes, host_process),
    case("processes of the host can be signalled", Escapes, signal),
    case("core dumps", Depends, core_dumps),
];

const NONE: &str = "0000000000000000";

fn status(key: &str, wanted: &str) -> Outcome {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
    match value {
        Some(value) if value == wanted => Outcome::Held(format!("{key} {value}")),
        Some(value) => Outcome::Escaped(format!("{key} {value}")),
        None => Outcome::Escaped(format!("/proc/self/status has no {key}")),
    }
}

fn uid(_: &Field) -> Outcome {
    let uid = rustix::process::geteuid();
    if uid.is_root() { Outcome::Escaped("uid 0".to_owned()) } else { Outcome::Held(format!("uid {}", uid.as_raw())) }
}

/// Everything above standard error that this process did not open itself. The case's process is started by the
/// probe, which hands on whatever it has inherited.
fn descriptors(_: &Field) -> Outcome {
    let Ok(directory) = fs::File::open("/proc/self/fd") else {
        return Outcome::Escaped("/proc/self/fd cannot be read, so nothing is known".to_owned());
    };
    let own = directory.as_raw_fd();
    let names = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let open = numbers.filter(|number| *number > 2 && *number != own).filter_map(|number| {
        let target = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        let listing = target.to_string_lossy().ends_with("/fd");
        (!listing).then(|| format!("{number} → {}", target.display()))
    });
    Outcome::none_of(open.collect(), "0, 1 and 2 alone")
}

fn host_process(field: &Field) -> Outcome {
    match fs::read(format!("/proc/{}/cmdline", field.host_process)) {
        Ok(line) if crate::field::contains(&line, field.abstract_socket.as_bytes()) || field.bare => {
            Outcome::Escaped(format!("process {} is there", field.host_process))
        }
        Ok(_) => Outcome::Held("another process has that number".to_owned()),
        Err(error) => Outcome::Held(error.to_string()),
    }
}

fn signal(field: &Field) -> Outcome {
    let Some(pid) = i32::try_from(field.host_process).ok().and_then(rustix::process::Pid::from_raw) else {
        return Outcome::NotApplicable("no process was named".to_owned());
    };
    match rustix::process::test_kill_process(pid) {
        Ok(()) if !field.bare && fs::metadata(format!("/proc/{}", field.host_process)).is_ok() => {
            Outcome::Held("another process has that number".to_owned())
        }
        other => Outcome::of(other, "it takes signals"),
    }
}

fn core_dumps(_: &Field) -> Outcome {
    match rustix::process::getrlimit(rustix::process::Resource::Core).maximum {
        Some(0) => Outcome::Held("RLIMIT_CORE is 0".to_owned()),
        other => Outcome::Escaped(format!("RLIMIT_CORE is {other:?}")),
    }
}
