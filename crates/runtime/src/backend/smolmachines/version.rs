//! Which smolvm it is, and what is relied on of it.

use std::{fmt, str::FromStr};

/// The oldest whose machines can be doors' and nothing else's: since then owners of files in an image are kept, and
/// sockets can be mounted with a packed image.
pub(super) const FLOOR: Version = Version(1, 8, 1);
/// The newest that the tests have run with.
pub const TESTED: Version = Version(1, 32, 2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

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
}

/// Without one of these there is no machine.
pub(super) const NEEDED: [&str; 9] =
    ["--image", "--cpus", "--mem", "--label", "--volume", "--mount-socket", "--user", "--stop-on-exit", "--state-dir"];

impl Features {
    pub fn of(version: Version, help: &str) -> Features {
        let named =
            |flag: &&str| help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == *flag);
        let missing = NEEDED.into_iter().filter(|flag| !named(flag)).collect();
        Features { version, missing }
    }

    pub fn is_newer_than_tested(&self) -> bool {
        self.version > TESTED
    }
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
    }

    #[test]
    fn a_flag_is_there_only_as_a_whole() {
        let help = "  -v, --volume <HOST>\n --mount-socket-dir <X>\n --image\n --cpus --mem --label --user";
        let missing = Features::of(TESTED, help).missing;
        assert_eq!(missing, ["--mount-socket", "--stop-on-exit", "--state-dir"]);
    }
}
