//! Set-id bits: making a program that runs as somebody else, and running one that is there.

use super::{
    Case,
    Control::{self, Depends, Escapes},
    Outcome,
    Section::GoingAround,
};
use crate::Field;
use rustix::fs::{CWD, Mode, OFlags};
use std::{
    fs,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const SET_ID: u32 = 0o6000;

const fn case(name: &'static str, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section: GoingAround, control, attempt }
}

pub(super) const CASES: &[Case] = &[
    case("set-id bit by chmod", Escapes, |_| {
        bit("chmod", |path| {
            fs::write(path, b"")?;
            fs::set_permissions(path, fs::Permissions::from_mode(SET_ID | 0o755))
        })
    }),
    case("set-id bit by open", Escapes, |_| {
        bit("open", |path| {
            fs::OpenOptions::new().write(true).create_new(true).mode(SET_ID | 0o755).open(path).map(drop)
        })
    }),
    case("set-id bit by mknod", Escapes, |_| {
        bit("mknod", |path| {
            let mode = Mode::from_raw_mode(SET_ID | 0o755);
            Ok(rustix::fs::mknodat(CWD, path, rustix::fs::FileType::RegularFile, mode, 0)?)
        })
    }),
    case("set-id bit by a link to a file without a name", Depends, |_| bit("tmpfile", nameless)),
    case("set-id bit on a directory", Escapes, |_| {
        bit("mkdir", |path| {
            fs::create_dir(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o2755))
        })
    }),
    case("mounts that obey set-id bits", Escapes, obeyed),
    case("writable mounts with devices", Depends, devices),
];

/// Whether the file that `make` leaves at a new path has such a bit.
fn bit(how: &str, make: impl Fn(&Path) -> std::io::Result<()>) -> Outcome {
    let path: PathBuf = std::env::temp_dir().join(format!("probe-set-id-{how}-{}", std::process::id()));
    let made = make(&path);
    let mode = fs::symlink_metadata(&path).map(|data| data.mode() & SET_ID);
    let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    match (mode, made) {
        (Ok(mode), _) if mode != 0 => Outcome::Escaped(format!("a file with {mode:o}")),
        (_, Err(error)) => Outcome::Held(error.to_string()),
        (_, Ok(())) => Outcome::Held("without the bit".to_owned()),
    }
}

fn nameless(path: &Path) -> std::io::Result<()> {
    let mode = Mode::from_raw_mode(SET_ID | 0o755);
    let directory = path.parent().unwrap_or(Path::new("/tmp"));
    let file = rustix::fs::open(directory, OFlags::TMPFILE | OFlags::WRONLY, mode)?;
    use std::os::fd::AsRawFd;
    let by_number = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, by_number, CWD, path, rustix::fs::AtFlags::SYMLINK_FOLLOW)?)
}

/// What a mount lets through, `no_new_privs` of every process of an engine's bottle does not (execve(2)).
fn obeyed(field: &Field) -> Outcome {
    if !field.by_engine {
        return mounts_without("nosuid");
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("NoNewPrivs:")).unwrap_or("NoNewPrivs: unknown");
    if line.ends_with('1') { Outcome::Held("no_new_privs".to_owned()) } else { Outcome::Escaped(line.to_owned()) }
}

/// A device that is made in a home that is no `nodev` mount would open; none can be made.
fn devices(field: &Field) -> Outcome {
    if !field.by_engine {
        return mounts_without("nodev");
    }
    let made = ["/home/agent", "/tmp", "/dev", "/dev/shm"].into_iter().filter(|directory| {
        let path = Path::new(directory).join(format!("probe-device-{}", std::process::id()));
        let null = rustix::fs::makedev(1, 3);
        let made = rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::CharacterDevice, Mode::RWXU, null);
        let _ = fs::remove_file(&path);
        made.is_ok()
    });
    Outcome::none_of(made.map(str::to_owned).collect(), "no device can be made")
}

/// Mount points without that option, and for devices only directories that can be written to: a bottle has the
/// harmless devices as files, and terminals of its own.
fn mounts_without(option: &str) -> Outcome {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let found = text.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(4);
        let (at, options) = (fields.next()?, fields.next()?);
        let has = |wanted: &str| options.split(',').any(|it| it == wanted);
        let matters = option != "nodev" || has("rw") && Path::new(at).is_dir() && at != "/dev/pts";
        (matters && !has(option)).then(|| at.to_owned())
    });
    Outcome::none_of(found.take(4).collect(), &format!("all are {option}"))
}
