//! Where bottles live on this host. The cli reads the environment; here are only paths.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Both are bot-bottle's own and private to the user (0700); [`crate::store::Store::open`] makes and checks them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dirs {
    /// `$XDG_STATE_HOME/bot-bottle`.
    pub state: PathBuf,
    /// `$XDG_RUNTIME_DIR/bot-bottle`, or `run` beneath [`Dirs::state`] where there is no such variable. Sockets are
    /// reached through a descriptor of their directory, so a long path does no harm.
    pub runtime: PathBuf,
    /// `$XDG_CACHE_HOME/bot-bottle`: what can be had again.
    pub cache: PathBuf,
}

/// Where a user's files are, below the home, where no variable says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Homes {
    pub config: &'static str,
    pub state: &'static str,
    pub cache: &'static str,
    /// Names a directory of the user's alone that is emptied in time and has a short path, besides `XDG_RUNTIME_DIR`.
    pub runtime_variable: Option<&'static str>,
}

impl Homes {
    pub const HERE: Homes = if cfg!(target_os = "macos") { Homes::MAC } else { Homes::XDG };
    const XDG: Homes = Homes { config: ".config", state: ".local/state", cache: ".cache", runtime_variable: None };
    /// State is apart from the configuration, for both have a directory `bottles`.
    const MAC: Homes = Homes {
        config: "Library/Application Support",
        state: "Library/Application Support/bot-bottle/state",
        cache: "Library/Caches",
        runtime_variable: Some("TMPDIR"),
    };
}

impl Dirs {
    /// From `$XDG_STATE_HOME` (or its default) and `$XDG_RUNTIME_DIR`.
    pub fn new(state_home: &Path, runtime_home: Option<&Path>) -> Dirs {
        let state = state_home.join("bot-bottle");
        let runtime = runtime_home.map_or_else(|| state.join("run"), |home| home.join("bot-bottle"));
        let cache = state.join("cache");
        Dirs { state, runtime, cache }
    }

    /// The same with `$XDG_CACHE_HOME` or its default.
    #[must_use]
    pub fn with_cache(self, cache_home: &Path) -> Dirs {
        Dirs { cache: cache_home.join("bot-bottle"), ..self }
    }

    /// Images that were pulled, by digest.
    pub fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// smolvm, where `doctor --fix` installed it.
    pub fn smolvm(&self) -> PathBuf {
        self.cache.join("smolvm")
    }

    /// One of each git upstream, shared by all bottles.
    pub fn mirrors(&self) -> PathBuf {
        self.cache.join("mirrors")
    }

    /// Machines that others are branched from.
    pub fn prepared(&self) -> PathBuf {
        self.state.join("warm")
    }

    pub fn bottles(&self) -> PathBuf {
        self.state.join("bottles")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kinds_of_files_share_a_directory() {
        for homes in [Homes::XDG, Homes::MAC] {
            let home = Path::new("/Users/you");
            let config = home.join(homes.config).join("bot-bottle");
            let dirs = Dirs::new(&home.join(homes.state), None).with_cache(&home.join(homes.cache));
            assert!(!config.starts_with(&dirs.state) && dirs.bottles() != config.join("bottles"), "{dirs:?}");
            assert!(!dirs.cache.starts_with(&config) && !dirs.cache.starts_with(&dirs.state), "{dirs:?}");
        }
        let mac = Dirs::new(Path::new(Homes::MAC.state), Some(Path::new("/var/folders/ab/0123456789abcdefghij/T")));
        assert_eq!(mac.runtime, Path::new("/var/folders/ab/0123456789abcdefghij/T/bot-bottle"));
    }
}
