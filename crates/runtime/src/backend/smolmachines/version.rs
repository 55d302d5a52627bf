//! Which smolvm it is, and what is relied on of it.

use std::{fmt, str::FromStr};

/// The oldest whose machines have what a room needs: a kernel with Landlock, and sockets that are seen where the image is.
/// From 1.6.4 on they were in the machine, beside the image.
pub(super) const FLOOR: Version = Version(1, 8, 0);
/// The newest that the tests have run with.
pub const TESTED: Version = Version(1, 32, 2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    pub fn is_newer_than_tested(self) -> bool {
        self > TESTED
    }

    /// What a user should know before it makes a machine.
    pub fn notice(self) -> Option<String> {
        self.is_newer_than_tested().then(|| {
            format!(
                "smolvm {self} is newer than any that was tested; a machine that it makes otherwise than told does not start"
            )
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = ();

    /// From `smolvm 1.32.2`, or the number alone.
    fn from_str(text: &str) -> Result<Version, ()> {
        let number = text.trim().split_ascii_whitespace().next_back().ok_or(())?;
        // What comes after a hyphen or a plus makes no other version of it.
        let number = number.split(['-', '+']).next().unwrap_or_default();
        let mut parts = number.split('.').map(|part| part.parse::<u16>());
        let mut next = || parts.next().and_then(Result::ok).ok_or(());
        let version = Version(next()?, next()?, next()?);
        if parts.next().is_some() { Err(()) } else { Ok(version) }
    }
}

/// What `machine create --help` names, of that which a machine is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    pub version: Version,
    /// Flags that are needed and not there.
    pub missing: Vec<&'static str>,
    pub(super) flags: Flags,
}

/// What makes a machine better and is not told to a smolvm that does not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    /// Whose machine it is, for whoever looks at it with smolvm.
    pub(super) label: bool,
    /// A directory names no user, so without this it is root as well.
    pub(super) user: bool,
    /// The machine goes with its workload. Without this the porter switches it off, and the keeper kills what is left.
    pub(super) stop_on_exit: bool,
}

/// Without one of these there is no machine.
pub(super) const NEEDED: [&str; 6] = ["--name", "--image", "--cpus", "--mem", "--volume", "--mount-socket"];

impl Features {
    pub fn of(version: Version, help: &str) -> Features {
        let named = |flag: &str| names(help, flag);
        let missing = NEEDED.into_iter().filter(|flag| !named(flag)).collect();
        let flags = Flags { label: named("--label"), user: named("--user"), stop_on_exit: named("--stop-on-exit") };
        Features { version, missing, flags }
    }
}

/// Whether a `--help` names a flag, as a whole.
pub(super) fn names(help: &str, flag: &str) -> bool {
    help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        for (text, version) in [
            ("smolvm 1.32.2\n", Some(Version(1, 32, 2))),
            ("1.8.1", Some(Version(1, 8, 1))),
            ("smolvm 2.0.0-rc.1", Some(Version(2, 0, 0))),
            ("smolvm 1.9.0+linux", Some(Version(1, 9, 0))),
            ("smolvm", None),
            ("1.2", None),
            ("1.2.3.4", None),
            ("1.x.3", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), version, "{text}");
        }
        assert!(Version(1, 9, 0) < Version(1, 32, 0), "not as text");
        assert!(Version(TESTED.0, TESTED.1 + 1, 0).notice().is_some_and(|it| it.contains("newer than any")));
    }

    #[test]
    fn a_flag_is_there_only_as_a_whole() {
        let help = "  -v, --volume <HOST>\n --mount-socket-dir <X>\n --image\n --cpus --mem --labels --username --name";
        let features = Features::of(TESTED, help);
        assert_eq!(features.missing, ["--mount-socket"]);
        assert_eq!(features.flags, Flags { label: false, user: false, stop_on_exit: false });
    }

    /// By what `machine create --help` of each release names, read off the wheels.
    #[test]
    fn each_release_is_told_what_it_knows() {
        let all = "--name --image --cpus --mem --volume";
        for (version, more, socket, known) in [
            (Version(1, 4, 0), "", false, [false; 3]),
            (Version(1, 6, 3), "", false, [false; 3]),
            (Version(1, 6, 4), "--mount-socket", true, [false; 3]),
            (Version(1, 7, 0), "--mount-socket", true, [false; 3]),
            (Version(1, 8, 0), "--mount-socket --label", true, [true, false, false]),
            (Version(1, 12, 0), "--mount-socket --label", true, [true, false, false]),
            (Version(1, 14, 0), "--mount-socket --label --user", true, [true, true, false]),
            (Version(1, 22, 0), "--mount-socket --label --user --stop-on-exit", true, [true; 3]),
            (TESTED, "--mount-socket --label --user --stop-on-exit --state-dir", true, [true; 3]),
        ] {
            let features = Features::of(version, &format!("{all} {more}"));
            assert_eq!(features.missing.is_empty(), socket, "{version}");
            let Flags { label, user, stop_on_exit } = features.flags;
            assert_eq!([label, user, stop_on_exit], known, "{version}");
            assert!(socket || version < FLOOR, "{version}");
            assert_eq!(version.notice(), None, "{version}");
        }
    }
}
