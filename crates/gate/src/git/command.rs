//! How git is run: with an environment made from nothing and a configuration of ours.
//!
//! Invariants: no configuration of the user, the system or a hook of anybody's but ours takes effect; a transport that
//! the upstream does not need is off; nothing asks a terminal; no secret is in an argument or in the environment.

use super::upstream::Access;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::{
    ffi::OsStr,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    process::{Command as StdCommand, Output, Stdio},
};

/// Where the git gate keeps what is this bottle's own.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    state: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum GitFailure {
    #[error("git could not be started")]
    Start(#[source] io::Error),
    /// What git said, in one line, without the upstream's credential (git never has it).
    #[error("{0}")]
    Said(String),
}

impl Home {
    /// Makes what every git finds: configuration, hooks, a home that is empty.
    pub(crate) fn make(state: &Path, upstream_paths: &[PathBuf]) -> io::Result<Home> {
        let home = Home { state: state.to_owned() };
        for directory in [home.temporary(), home.empty(), home.hooks(), home.repositories()] {
            std::fs::create_dir_all(directory)?;
        }
        super::hooks::write(&home.hooks())?;
        std::fs::write(home.receiving(), receiving(&home.hooks()))?;
        std::fs::write(home.config(), configuration(upstream_paths))?;
        Ok(home)
    }

    pub(crate) fn repositories(&self) -> PathBuf {
        self.state.join("repositories")
    }

    pub(crate) fn hooks(&self) -> PathBuf {
        self.state.join("hooks")
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.state.join("tmp")
    }

    fn empty(&self) -> PathBuf {
        self.state.join("home")
    }

    fn config(&self) -> PathBuf {
        self.state.join("gitconfig")
    }

    fn receiving(&self) -> PathBuf {
        self.state.join("receive.gitconfig")
    }

    /// `git receive-pack` for what the bottle pushes.
    pub(crate) fn receive_pack(&self, repository: &Path, stateless: &[&str]) -> StdCommand {
        let include = format!("include.path={}", self.receiving().display());
        let path = repository.display().to_string();
        self.git(&[&["-c", &include, "receive-pack"], stateless, &["--", &path]].concat())
    }

    /// `git` with nothing inherited. Its standard streams are closed until they are set.
    pub(crate) fn git<S: AsRef<OsStr>>(&self, arguments: &[S]) -> StdCommand {
        let mut command = StdCommand::new("git");
        command.args(arguments).env_clear().current_dir(self.empty());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.env("HOME", self.empty()).env("TMPDIR", self.temporary());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", self.config());
        command.env("GIT_ATTR_NOSYSTEM", "1").env("GIT_NO_REPLACE_OBJECTS", "1").env("GIT_TERMINAL_PROMPT", "0");
        command.env("GIT_ALLOW_PROTOCOL", "none").env("GIT_ADVICE", "0");
        command
    }

    /// The same in a repository of ours.
    pub(crate) fn git_in<S: AsRef<OsStr>>(&self, repository: &Path, arguments: &[S]) -> StdCommand {
        let mut command = self.git(arguments);
        command.env("GIT_DIR", repository);
        command
    }

    /// The same with what reaching an upstream takes.
    pub(crate) fn git_to<S: AsRef<OsStr>>(
        &self,
        access: &Access,
        repository: Option<&Path>,
        arguments: &[S],
    ) -> io::Result<StdCommand> {
        let mut command = self.git(arguments);
        if let Some(repository) = repository {
            command.env("GIT_DIR", repository);
        }
        access.equip(&mut command, &self.config())?;
        Ok(command)
    }
}

/// What one process that reads a bottle's objects may take: a small pack can hold huge ones.
const MEMORY: u64 = 1 << 30;
/// Seconds on a processor.
const TIME: u64 = 900;

/// Bounds a process of ours that has just been started, and all that it will start.
pub(crate) fn bound(process: Option<u32>) -> io::Result<()> {
    let process = process.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let Some(process) = process else { return Ok(()) };
    for (resource, most) in [(Resource::Data, MEMORY), (Resource::Cpu, TIME)] {
        match prlimit(Some(process), resource, Rlimit { current: Some(most), maximum: Some(most) }) {
            // It has ended.
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Runs to the end; its output, where it succeeds.
pub(crate) async fn output(mut command: StdCommand) -> Result<Vec<u8>, GitFailure> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await.map_err(GitFailure::Start)?;
    if output.status.success() { Ok(output.stdout) } else { Err(GitFailure::Said(said(&output))) }
}

/// The same with something to read.
pub(crate) async fn output_of(mut command: StdCommand, input: Vec<u8>) -> Result<Vec<u8>, GitFailure> {
    use tokio::io::AsyncWriteExt as _;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().map_err(GitFailure::Start)?;
    let mut stdin = child.stdin.take();
    let feed = async {
        if let Some(stdin) = &mut stdin {
            // One that ends before it has read everything says why by its status.
            let _ = stdin.write_all(&input).await;
        }
        drop(stdin);
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.map_err(GitFailure::Start)?;
    if output.status.success() { Ok(output.stdout) } else { Err(GitFailure::Said(said(&output))) }
}

/// Runs to the end; both outputs, however it ended. Given up, it ends with all that it has started: an upstream by path
/// has its hooks here.
pub(crate) async fn both(mut command: StdCommand) -> io::Result<(Vec<u8>, Vec<u8>)> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let id = child.id();
    let ended = child.wait_with_output();
    tokio::pin!(ended);
    // Declared last and so dropped first: once the parent is gone, whose its children were is no longer known.
    let mut descent = Descent(id);
    let output = ended.as_mut().await?;
    descent.0 = None;
    Ok((output.stdout, output.stderr))
}

/// Ends the descendants of a process when it is dropped.
struct Descent(Option<u32>);

impl Drop for Descent {
    fn drop(&mut self) {
        let Some(root) = self.0.and_then(|id| i32::try_from(id).ok()) else { return };
        let parents = parents();
        let mut ending = vec![root];
        let mut at = 0;
        while let Some(parent) = ending.get(at).copied() {
            ending.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        for pid in ending.into_iter().filter_map(Pid::from_raw) {
            // One that has ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Every process with its parent.
fn parents() -> Vec<(i32, i32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold anything; after it come the state and the parent.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}

/// The last line that says what is wrong: git puts the cause under `fatal:` or `error:`.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.truncate(40);
    let telling = |line: &&&str| {
        line.starts_with("fatal:")
            || line.starts_with("error:")
            || line.starts_with("remote:")
            || line.contains("denied")
    };
    let line = lines.iter().find(telling).or(lines.last()).copied().unwrap_or("git failed and said nothing");
    line.chars().take(300).collect()
}

/// For every git that is run here. What stands in a repository's own configuration is ours too.
fn configuration(upstream_paths: &[PathBuf]) -> String {
    let mut text = format!("{CONFIGURATION}[safe]\n");
    for path in upstream_paths {
        // As they are, and as the kernel has them.
        let _ = writeln!(text, "\tdirectory = {}", quoted(path));
    }
    text
}

/// For what a bottle pushes, and not for an upstream by path, whose hooks are its own.
fn receiving(hooks: &Path) -> String {
    format!("[core]\n\thooksPath = {}\n\talternateRefsCommand = true\n{RECEIVING}", quoted(hooks))
}

const CONFIGURATION: &str = "\
[core]
\tfsmonitor = false
\tbigFileThreshold = 64m
[gc]
\tauto = 0
[maintenance]
\tauto = false
[uploadpack]
\tallowFilter = true
\tallowAnySHA1InWant = false
\tkeepAlive = 5
[push]
\tnegotiate = false
[fetch]
\twriteCommitGraph = false
\tunpackLimit = 1
[http]
\tlowSpeedLimit = 100
\tlowSpeedTime = 60
";

const RECEIVING: &str = "\
[receive]
\tfsckObjects = true
\tautogc = false
\tkeepAlive = 5
\tunpackLimit = 1
\tmaxInputSize = 2147483648
\tadvertisePushOptions = false
\tadvertiseAtomic = true
\tshallowUpdate = false
\tdenyCurrentBranch = ignore
\tprocReceiveRefs = refs
";

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_finds_our_configuration_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::make(dir.path(), &[PathBuf::from("/srv/a \"b")]).unwrap();
        let mut command = home.git(&["config", "--list", "--show-origin", "--includes"]);
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("uploadpack.allowfilter=true"), "{text}");
        assert!(text.contains("safe.directory=/srv/a \"b"), "{text}");
        let ours = home.config().display().to_string();
        assert!(text.lines().all(|line| line.contains(&ours)), "{text}");
    }

    #[test]
    fn the_environment_is_made_from_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::make(dir.path(), &[]).unwrap();
        let command = home.git(&["version"]);
        assert!(command.get_envs().all(|(name, value)| value.is_some() && name != "USER"));
    }
}
