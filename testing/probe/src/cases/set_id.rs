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
    case("mounts that obey set-id bits", Escapes, |_| mounts_without("nosuid")),
    case("writable mounts with devices", Depends, |_| mounts_without("nodev")),
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
