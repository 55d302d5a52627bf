//! The source files of the workspace, for the tasks that read them.

use crate::build::root;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A Rust file, its path relative to the root.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// The text before the inline tests.
    pub(crate) fn product(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default()
    }

    /// The crate's folder: `crates/gate`, `xtask`.
    pub(crate) fn package(&self) -> String {
        let parts: Vec<_> = self.path.iter().map(|part| part.to_string_lossy()).collect();
        let length = if matches!(parts.first().map(AsRef::as_ref), Some("crates" | "testing")) { 2 } else { 1 };
        parts.iter().take(length).map(AsRef::as_ref).collect::<Vec<_>>().join("/")
    }
}

/// Every `.rs` file below `crates`, `testing` and `xtask`, in order.
pub(crate) fn all() -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for directory in ["crates", "testing", "xtask"] {
        gather(&root().join(directory), &mut sources)?;
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn gather(directory: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("{} cannot be read", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            gather(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            let relative = path.strip_prefix(root()).unwrap_or(&path).to_owned();
            sources.push(Source { path: relative, text });
        }
    }
    Ok(())
}
