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

    pub fn bottles(&self) -> PathBuf {
        self.state.join("bottles")
    }
}
