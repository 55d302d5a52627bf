//! What differs between the systems that smolvm runs on, as data.
//!
//! Bottles start on Linux. For macOS this is what was read off the wheel for it and off unix(4); nothing of it has run on
//! such a machine.

/// One that smolvm is published for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    Linux,
    Mac,
}

impl System {
    pub(super) const HERE: System = if cfg!(target_os = "macos") { System::Mac } else { System::Linux };

    /// Where smolvm writes down what its machines are, below its home.
    pub(super) fn record(self) -> &'static str {
        match self {
            System::Linux => ".local/share/smolvm/server/smolvm.db",
            System::Mac => "Library/Application Support/smolvm/server/smolvm.db",
        }
    }

    /// What it keeps for running, its machines' directories among it, below its home.
    pub(super) fn cache(self) -> &'static str {
        match self {
            System::Linux => ".cache/smolvm",
            System::Mac => "Library/Caches/smolvm",
        }
    }

    /// How long the path of a socket may be, without the zero at its end: unix(7), unix(4).
    pub(super) const fn longest_socket(self) -> usize {
        match self {
            System::Linux => 107,
            System::Mac => 103,
        }
    }

    /// Whether a file of the wheel is a library that a machine is made with.
    pub(super) fn is_library(self, name: &str) -> bool {
        let of_kind = match self {
            System::Linux => name.starts_with("libkrun") && name.contains(".so"),
            // libkrun wants the others beside it.
            System::Mac => name.starts_with("lib") && name.ends_with(".dylib"),
        };
        of_kind && !name.contains('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_own_places_and_names() {
        for (system, record, cache, socket) in [
            (System::Linux, ".local/share/smolvm/server/smolvm.db", ".cache/smolvm", 107),
            (System::Mac, "Library/Application Support/smolvm/server/smolvm.db", "Library/Caches/smolvm", 103),
        ] {
            assert_eq!((system.record(), system.cache(), system.longest_socket()), (record, cache, socket));
        }
        // As wheels have them.
        for (name, linux, mac) in [
            ("libkrun.so.2", true, false),
            ("libkrunfw.so.5.5.0", true, false),
            ("libkrun.dylib", false, true),
            ("libkrunfw.5.dylib", false, true),
            ("libepoxy.0.dylib", false, true),
            ("_native.abi3.so", false, false),
            ("licenses/libkrun-LICENSE.txt", false, false),
            ("licenses/libkrun.so", false, false),
            ("licenses/libkrun.dylib", false, false),
        ] {
            assert_eq!((System::Linux.is_library(name), System::Mac.is_library(name)), (linux, mac), "{name}");
        }
    }
}
