//! Reads secrets where their references say. Called by the launching command, and by the keeper to read one anew.
//!
//! Invariant: no error, warning or `Debug` text here holds a value or anything a `command:` printed; what a command
//! writes to stderr is thrown away, because tools print tokens there.

use crate::{
    compose::{Context, Environment},
    login::{Access, LoginError, Logins},
    terminal::PROGRAM,
};
use bottle_spec::secret::{Secret, SecretRef};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process_group},
};
use std::{
    fs::File,
    io::{self, Read, Write as _},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};
use zeroize::Zeroizing;

/// The longest value, in bytes; a header that carried more would be refused by most servers.
const VALUE_MAX: u64 = 32 << 10;
/// A password manager may have to ask its person first.
const COMMAND_TIME: Duration = Duration::from_secs(120);

/// A secret, and what its person should know about where it is kept.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) value: Secret,
    /// When it expires, in milliseconds since 1970.
    pub(crate) until: Option<u64>,
    pub(crate) warning: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("the variable {0} is not set")]
    Unset(String),
    #[error("{0} is not an absolute path")]
    Relative(PathBuf),
    #[error("{path} could not be read")]
    File { path: PathBuf, source: io::Error },
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    #[error("`{program}` could not be run")]
    Spawn { program: &'static str, source: io::Error },
    #[error("the command failed ({0}); what it wrote to stderr is not shown, as it may hold the secret")]
    Failed(ExitStatus),
    #[error("the command did not end within {} seconds", COMMAND_TIME.as_secs())]
    Slow,
    #[error("what the command printed could not be read")]
    Output(#[source] io::Error),
    #[error("the keyring has no entry for service `{service}`, account `{account}`, or is locked")]
    NotInKeyring { service: String, account: String },
    #[error(transparent)]
    Login(LoginError),
    #[error("the login could not be renewed; `bot-bottle login NAME --renew` says why")]
    NotRenewed,
    #[error("the value is longer than {VALUE_MAX} bytes")]
    TooLong,
    #[error("the value is empty")]
    Empty,
    #[error("the value is not UTF-8 text on one line, and what the gate sends must be")]
    NotALine,
    #[error("the value is not UTF-8 text")]
    NotText,
}

impl SecretError {
    /// What its person can do about it.
    pub(crate) fn next_step(&self) -> &'static str {
        match self {
            SecretError::Unset(_) => "set the variable, or name another source (env:, file:, command:, keyring:)",
            SecretError::Relative(_) => "write the path in full, or with `~/`",
            SecretError::File { .. } | SecretError::NotAFile(_) => "check the path and its permissions",
            SecretError::Spawn { program: "secret-tool", .. } => {
                "install secret-tool (Debian: libsecret-tools), or use env:, file: or command:"
            }
            SecretError::NotInKeyring { .. } => {
                "store it: secret-tool store --label=bot-bottle service SERVICE account ACCOUNT"
            }
            SecretError::Spawn { .. } | SecretError::Failed(_) | SecretError::Slow | SecretError::Output(_) => {
                "run the command in a shell to see what it says"
            }
            SecretError::Login(error) => error.next_step(),
            SecretError::NotRenewed => "run: bot-bottle login NAME --renew",
            SecretError::TooLong | SecretError::Empty | SecretError::NotALine | SecretError::NotText => {
                "the source must give the bare secret and nothing else"
            }
        }
    }
}

/// What is done with a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It stands in a request, so it is one line.
    Sent,
    /// It is only looked for: a key or a file of several lines as well.
    LookedFor,
}

/// The secret as it is now.
pub(crate) fn read(source: &SecretRef, what_for: Use, context: &Context) -> Result<Reading, SecretError> {
    let SecretRef::Login(name) = source else { return read_here(source, what_for, &context.environment) };
    let Access { value, until } = Logins::of(context).access(name, None).map_err(SecretError::Login)?;
    Ok(Reading { value, until, warning: None })
}

/// The secret once more, after `held` was refused or before it expires. A login is renewed by a process of its own: the
/// keeper, which asks, reads no server's answers.
pub(crate) fn read_again(source: &SecretRef, held: &Secret, environment: &Environment) -> Result<Reading, SecretError> {
    let SecretRef::Login(name) = source else { return read_here(source, Use::Sent, environment) };
    let mut process = Command::new(PROGRAM);
    process.args(["login-token", name]);
    let (bytes, status) = output(&mut process, "bot-bottle", Some(held), environment, COMMAND_TIME)?;
    if !status.success() {
        return Err(SecretError::NotRenewed);
    }
    let Access { value, until } = serde_json::from_slice(&bytes).map_err(|_| SecretError::NotRenewed)?;
    Ok(Reading { value, until, warning: None })
}

fn read_here(source: &SecretRef, what_for: Use, environment: &Environment) -> Result<Reading, SecretError> {
    let mut warning = None;
    let bytes = match source {
        SecretRef::Env(name) => {
            let value = environment.value(name).ok_or_else(|| SecretError::Unset(name.clone()))?;
            Zeroizing::new(value.as_bytes().to_vec())
        }
        SecretRef::File(path) => {
            let (bytes, mode) = read_file(path, environment)?;
            if mode & 0o077 != 0 {
                warning = Some(format!(
                    "{} can be read by others on this machine (mode {:03o}); run: chmod 600 {0}",
                    path.display(),
                    mode & 0o777
                ));
            }
            bytes
        }
        SecretRef::Command(line) => {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(line);
            let (bytes, status) = output(&mut shell, "/bin/sh", None, environment, COMMAND_TIME)?;
            if !status.success() {
                return Err(SecretError::Failed(status));
            }
            bytes
        }
        SecretRef::Keyring { service, account } => {
            let mut tool = Command::new("secret-tool");
            tool.args(["lookup", "service", service, "account", account]);
            let (bytes, status) = output(&mut tool, "secret-tool", None, environment, COMMAND_TIME)?;
            if !status.success() {
                return Err(SecretError::NotInKeyring { service: service.clone(), account: account.clone() });
            }
            bytes
        }
        SecretRef::Login(_) => return Err(SecretError::NotRenewed),
    };
    Ok(Reading { value: bare(&bytes, what_for)?, until: None, warning })
}

/// The value without one trailing line break. Control characters are refused: they would end a header. Those of text with
/// several lines are none where it is only looked for.
fn bare(bytes: &[u8], what_for: Use) -> Result<Secret, SecretError> {
    if bytes.len() as u64 > VALUE_MAX {
        return Err(SecretError::TooLong);
    }
    let (refused, is_layout): (_, fn(char) -> bool) = match what_for {
        Use::Sent => (SecretError::NotALine, |_| false),
        Use::LookedFor => (SecretError::NotText, |letter| matches!(letter, '\n' | '\r' | '\t')),
    };
    let Ok(text) = std::str::from_utf8(bytes) else { return Err(refused) };
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text {
        "" => Err(SecretError::Empty),
        text if text.chars().any(|letter| letter.is_control() && !is_layout(letter)) => Err(refused),
        text => Ok(Secret::new(text.to_owned())),
    }
}

/// Gives back the file's mode too. A FIFO or a device is not opened for long: it would hang or never end.
fn read_file(path: &Path, environment: &Environment) -> Result<(Zeroizing<Vec<u8>>, u32), SecretError> {
    let path = match (path.strip_prefix("~"), environment.value("HOME")) {
        (Ok(rest), Some(home)) => Path::new(home).join(rest),
        _ => path.to_owned(),
    };
    if !path.is_absolute() {
        return Err(SecretError::Relative(path));
    }
    let failed = |source: io::Error| SecretError::File { path: path.clone(), source };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(SecretError::NotAFile(path));
    }
    let bytes = bounded(file).map_err(failed)?;
    Ok((bytes, metadata.mode()))
}

/// One byte more than is allowed, so that too long shows.
fn bounded(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // Of full size from the start: growing would leave copies of the value behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(VALUE_MAX).unwrap_or(0) + 1));
    source.take(VALUE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Runs a program in a process group of its own, so that all of it can be ended when it takes too long.
fn output(
    command: &mut Command,
    program: &'static str,
    input: Option<&Secret>,
    environment: &Environment,
    time: Duration,
) -> Result<(Zeroizing<Vec<u8>>, ExitStatus), SecretError> {
    let mut child = command
        .env_clear()
        .envs(environment.variables())
        .current_dir(environment.value("PWD").unwrap_or("/"))
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|source| SecretError::Spawn { program, source })?;
    if let (Some(input), Some(mut to)) = (input, child.stdin.take()) {
        // A token fits into a pipe; one that reads nothing says so by how it ends.
        let _ = to.write_all(input.expose().as_bytes());
    }
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || sender.send(collect(child)));
    let result = receiver.recv_timeout(time);
    if result.is_err()
        && let Some(group) = group
    {
        // The group may be gone this very moment; the reader then ends by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = reader.join();
    result.map_err(|_| SecretError::Slow)?.map_err(SecretError::Output)
}

fn collect(mut child: Child) -> io::Result<(Zeroizing<Vec<u8>>, ExitStatus)> {
    let bytes = match child.stdout.take() {
        Some(stdout) => bounded(stdout),
        None => Ok(Zeroizing::default()),
    };
    let status = child.wait()?;
    Ok((bytes?, status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

    fn environment() -> Environment {
        let variables = [("PATH", "/usr/bin:/bin"), ("TOKEN", "hunter2"), ("EMPTY", "")];
        Environment::from(BTreeMap::from(variables.map(|(name, value)| (name.to_owned(), value.to_owned()))))
    }

    fn value(source: &str) -> Result<String, SecretError> {
        value_for(source, Use::Sent)
    }

    fn value_for(source: &str, what_for: Use) -> Result<String, SecretError> {
        read_here(&source.parse().unwrap(), what_for, &environment()).map(|reading| reading.value.expose().to_owned())
    }

    #[test]
    fn a_value_is_one_line_from_wherever_it_comes() {
        assert_eq!(value("env:TOKEN").unwrap(), "hunter2");
        assert_eq!(value("command:echo $TOKEN").unwrap(), "hunter2");
        assert_eq!(value("command:printf 'a b\\r\\n'").unwrap(), "a b");
        assert!(matches!(value("env:EMPTY"), Err(SecretError::Unset(_))));
        assert!(matches!(value("env:ABSENT"), Err(SecretError::Unset(_))));
        assert!(matches!(value("command:printf 'a\\nb'"), Err(SecretError::NotALine)));
        assert!(matches!(value("command:printf '\\377'"), Err(SecretError::NotALine)));
        assert!(matches!(value("command:true"), Err(SecretError::Empty)));
        assert!(matches!(value("command:yes"), Err(SecretError::TooLong | SecretError::Failed(_))));
    }

    #[test]
    fn what_is_only_looked_for_may_have_several_lines() {
        assert_eq!(value_for("command:printf 'a\\r\\n\\tb\\r\\n'", Use::LookedFor).unwrap(), "a\r\n\tb");
        for other in ["command:printf '\\377'", "command:printf 'a\\033b'"] {
            assert!(matches!(value_for(other, Use::LookedFor), Err(SecretError::NotText)), "{other}");
        }
        assert!(matches!(value_for("command:echo", Use::LookedFor), Err(SecretError::Empty)));
    }

    #[test]
    fn a_failing_command_does_not_show_what_it_wrote() {
        let error = value("command:echo hunter2 >&2; echo hunter2; exit 3").unwrap_err();
        assert!(matches!(error, SecretError::Failed(_)));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_hanging_command_is_ended_with_all_its_children() {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "sleep 600 & sleep 600"]);
        let result = output(&mut shell, "/bin/sh", None, &environment(), Duration::from_millis(50));
        assert!(matches!(result, Err(SecretError::Slow)));
    }

    #[test]
    fn files_are_bounded_regular_and_warned_about() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let source = SecretRef::File(path.clone());
        fs::write(&path, "hunter2\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let reading = read_here(&source, Use::Sent, &environment()).unwrap();
        assert_eq!(reading.value.expose(), "hunter2");
        assert!(reading.warning.unwrap().contains("mode 640"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_here(&source, Use::Sent, &environment()).unwrap().warning, None);
        fs::write(&path, "x".repeat(40_000)).unwrap();
        assert!(matches!(read_here(&source, Use::Sent, &environment()), Err(SecretError::TooLong)));
        let folder = SecretRef::File(dir.path().to_owned());
        assert!(matches!(read_here(&folder, Use::Sent, &environment()), Err(SecretError::NotAFile(_))));
        assert!(matches!(value("file:token"), Err(SecretError::Relative(_))));
        assert!(matches!(value("file:/nonexistent/x"), Err(SecretError::File { .. })));
    }
}
