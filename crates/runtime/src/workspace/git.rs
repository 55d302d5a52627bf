//! The stock git, run on the user's own repository and on new ones of ours; never on one that an agent could write to.
//!
//! Invariants: no hook, no fsmonitor and no filter runs, whatever a configuration says; nothing is asked for on a
//! terminal; the user's index, work tree and configuration are only read.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::{self, Write as _},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// What a configuration could make git run in the commands that we give, switched off; and what would write besides.
const OFF: &[(&str, &str)] = &[
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.unpackLimit", "1"),
    ("core.logAllRefUpdates", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
    ("protocol.file.allow", "always"),
];

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git cannot be started; install it, or use `--workspace copy`")]
    Start(#[source] io::Error),
    #[error("`git {command}` failed: {said}")]
    Failed { command: String, said: String },
    #[error("git gave an answer that is not one: {0}")]
    Answer(String),
}

/// A repository with the environment that git is run in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Git {
    at: PathBuf,
    /// `PATH`, and where the user's configuration is.
    variables: BTreeMap<String, String>,
    /// Over every configuration.
    settings: Vec<(String, String)>,
}

impl Git {
    /// The user's own repository, with the user's own configuration: it says what is ignored.
    pub(crate) fn of_user(at: &Path, environment: &BTreeMap<String, String>) -> Result<Git, GitError> {
        let names = ["PATH", "HOME", "XDG_CONFIG_HOME", "SUDO_UID"];
        let kept = environment.iter().filter(|(name, _)| names.contains(&name.as_str()));
        let mut variables: BTreeMap<_, _> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        if let Some(path) = variables.get_mut("PATH") {
            // A relative one would begin in the repository, where an agent may have left a program called git.
            *path = path.split(':').filter(|part| part.starts_with('/')).collect::<Vec<_>>().join(":");
        }
        let settings = OFF.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut git = Git { at: at.to_owned(), variables, settings };
        let names = git.run(&["config", "--null", "--name-only", "--get-regexp", r"^filter\."], None)?;
        for name in parts(&names.stdout).filter_map(|name| name.to_str().map(str::to_owned)) {
            let off = if name.to_ascii_lowercase().ends_with(".required") { "false" } else { "" };
            git.settings.push((name, off.to_owned()));
        }
        Ok(git)
    }

    /// One of ours: no configuration but its own.
    pub(crate) fn of_ours(&self, at: &Path) -> Git {
        let mut git = Git { at: at.to_owned(), ..self.clone() };
        for name in ["HOME", "XDG_CONFIG_HOME"] {
            git.variables.remove(name);
        }
        git.variables.insert("GIT_CONFIG_GLOBAL".to_owned(), "/dev/null".to_owned());
        git.variables.insert("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned());
        git
    }

    /// With another index than the repository's own.
    pub(crate) fn with_index(&self, index: &Path) -> Git {
        let mut git = self.clone();
        git.variables.insert("GIT_INDEX_FILE".to_owned(), index.to_string_lossy().into_owned());
        git
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Git {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What it says on standard output, without the last line break; its failure is an error.
    pub(crate) fn says<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String, GitError> {
        let bytes = self.gives(arguments, None)?;
        let text = String::from_utf8(bytes).map_err(|error| GitError::Answer(error.to_string()))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// As [`Git::says`]; `None` where it fails, which with these arguments is an answer.
    pub(crate) fn asks<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Option<String>, GitError> {
        let output = self.run(arguments, None)?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
        Ok((output.status.success() && !text.is_empty()).then_some(text))
    }

    /// Its standard output; `input` is its standard input.
    pub(crate) fn gives<S: AsRef<OsStr>>(&self, arguments: &[S], input: Option<&[u8]>) -> Result<Vec<u8>, GitError> {
        let output = self.run(arguments, input)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let command = arguments.first().map(|first| first.as_ref().to_string_lossy().into_owned()).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(GitError::Failed { command, said })
    }

    fn run<S: AsRef<OsStr>>(&self, arguments: &[S], input: Option<&[u8]>) -> Result<Output, GitError> {
        let mut command = Command::new("git");
        command.env_clear().envs(&self.variables).current_dir(&self.at).args(arguments);
        command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
        command.env("GIT_NO_LAZY_FETCH", "1").env("GIT_CONFIG_COUNT", self.settings.len().to_string());
        for (number, (name, value)) in self.settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), name).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child =
            command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(GitError::Start)?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // What it does not read it does not want; then it says why.
            let _ = stdin.write_all(input);
        }
        child.wait_with_output().map_err(GitError::Start)
    }
}

/// What a `-z` puts zeros between.
pub(crate) fn parts(bytes: &[u8]) -> impl Iterator<Item = OsString> {
    bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(|part| OsString::from_vec(part.to_vec()))
}

/// The other way round.
pub(crate) fn zeros<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for path in paths {
        bytes.extend_from_slice(path.as_os_str().as_bytes());
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn a_program_in_the_repository_is_not_taken_for_git() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("git");
        fs::write(&own, "#!/bin/sh\necho evil\n").unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!(".:bin::{}", std::env::var("PATH").unwrap());
        let git = Git::of_user(root.path(), &BTreeMap::from([("PATH".to_owned(), path)])).unwrap();
        assert!(git.says(&["version"]).unwrap().starts_with("git version"));
    }
}
