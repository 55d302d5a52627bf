//! Starts one program: in a session of its own, on three pipes or, as the job of a leader of ours, on a terminal.

use crate::{
    leader,
    sys::{self, Forked},
};
use bottle_spec::init_link::{Spawn, WindowSize};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::Mode,
    pipe::PipeFlags,
    pty::OpenptFlags,
    termios::Winsize,
};
use std::{
    ffi::CString,
    fs::File,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// Where a program without `PATH` is looked for.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Started {
    /// Leads its session, and ends with it: the program, or on a terminal its leader.
    pub(crate) pid: i32,
    /// The program's process group.
    pub(crate) group: i32,
    /// The master side of its terminal, where it has one.
    pub(crate) terminal: Option<OwnedFd>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("a program needs a name, and no NUL in its arguments and environment")]
    Malformed,
    #[error("its standard input, output and error did not come with the message")]
    Descriptors,
    #[error("opening a terminal")]
    Terminal(#[source] io::Error),
    #[error("forking")]
    Fork(#[source] io::Error),
    #[error("entering {path}")]
    Directory {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("preparing the process")]
    Prepare(#[source] io::Error),
    #[error("{program} cannot be executed")]
    Execute {
        program: String,
        #[source]
        source: io::Error,
    },
}

impl SpawnError {
    /// What a shell answers: 127 for what is not there, 126 for all else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            SpawnError::Execute { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            _ => 126,
        }
    }
}

/// Everything a child needs, made before the fork.
struct Prepared {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: CString,
}

/// `streams` are standard input, output and error, where there is no terminal.
pub(crate) fn spawn(order: &Spawn, streams: Option<[OwnedFd; 3]>) -> Result<Started, SpawnError> {
    let prepared = prepare(order)?;
    let (terminal, streams) = match order.tty {
        Some(size) => {
            let (master, slave) = terminal(size).map_err(SpawnError::Terminal)?;
            (Some(master), Streams::Terminal(slave))
        }
        None => (None, Streams::Pipes(streams.ok_or(SpawnError::Descriptors)?)),
    };
    let (told, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| SpawnError::Fork(error.into()))?;
    let pid = match sys::fork().map_err(SpawnError::Fork)? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            let tell = File::from(tell);
            let (stage, error) = become_session(&prepared, &streams, &tell);
            let _ = (&tell).write_all(&stage.message(&error));
            sys::exit_now(126)
        }
    };
    drop((tell, streams));
    let told = Told::read(told, order);
    match told.failure {
        None => Ok(Started { pid, group: told.group.unwrap_or(pid), terminal }),
        // What is left of it ends by itself; the loop would take it for an orphan.
        Some(error) => Err(error),
    }
}

enum Streams {
    Terminal(OwnedFd),
    Pipes([OwnedFd; 3]),
}

/// How far a child came.
#[derive(Clone, Copy)]
enum Stage {
    Prepare = 0,
    Directory = 1,
    Execute = 2,
    /// No failure: a leader has started the program, which is this process.
    Led = 3,
}

impl Stage {
    fn message(self, error: &io::Error) -> [u8; 5] {
        self.with(error.raw_os_error().unwrap_or(libc::EIO))
    }

    fn with(self, number: i32) -> [u8; 5] {
        let [a, b, c, d] = number.to_ne_bytes();
        [self as u8, a, b, c, d]
    }
}

/// What children say before one becomes the program.
#[derive(Default)]
struct Told {
    /// Where a leader started it.
    group: Option<i32>,
    failure: Option<SpawnError>,
}

impl Told {
    /// Reads until nobody can say more, in any order.
    fn read(told: OwnedFd, order: &Spawn) -> Told {
        let (mut told, mut all) = (File::from(told), Told::default());
        let mut message = [0; 5];
        while told.read_exact(&mut message).is_ok() {
            let [stage, number @ ..] = message;
            let number = i32::from_ne_bytes(number);
            let source = io::Error::from_raw_os_error(number);
            all.failure = Some(match stage {
                1 => SpawnError::Directory { path: order.cwd.clone(), source },
                2 => SpawnError::Execute { program: order.argv.first().cloned().unwrap_or_default(), source },
                3 => {
                    all.group = Some(number);
                    continue;
                }
                _ => SpawnError::Prepare(source),
            });
        }
        all
    }
}

/// Runs in the child; returns only when something fails.
fn become_session(prepared: &Prepared, streams: &Streams, tell: &File) -> (Stage, io::Error) {
    let prepare = |error| (Stage::Prepare, error);
    if let Err(error) = take_streams(streams) {
        return prepare(error);
    }
    if let Streams::Terminal(_) = streams {
        sys::ignore_terminal();
        match sys::fork() {
            Err(error) => return prepare(error),
            Ok(Forked::Parent(program)) => {
                let mut tell = tell;
                // PID 1 is gone if this fails, and with it everything.
                let _ = tell.write_all(&Stage::Led.with(program));
                leader::lead(program)
            }
            Ok(Forked::Child) => {
                if let Err(error) = leader::follow() {
                    return prepare(error);
                }
            }
        }
    }
    become_program(prepared)
}

/// Returns only when something fails.
fn become_program(prepared: &Prepared) -> (Stage, io::Error) {
    if let Err(error) = rustix::process::chdir(&prepared.directory) {
        return (Stage::Directory, error.into());
    }
    if let Err(error) = sys::default_signals() {
        return (Stage::Prepare, error);
    }
    let mut last = io::Error::from(rustix::io::Errno::NOENT);
    for program in &prepared.candidates {
        let error = sys::execute(program, &prepared.arguments, &prepared.environment);
        // As execvp: a file that is there and cannot be run says more than the next directory that lacks it.
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
            last = error;
            if last.raw_os_error() != Some(libc::EACCES) {
                break;
            }
        }
    }
    (Stage::Execute, last)
}

fn take_streams(streams: &Streams) -> io::Result<()> {
    rustix::process::setsid()?;
    let [input, output, error] = match streams {
        Streams::Terminal(slave) => {
            rustix::process::ioctl_tiocsctty(slave)?;
            [slave, slave, slave]
        }
        Streams::Pipes([input, output, error]) => [input, output, error],
    };
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(error)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// A new terminal of this size: master and slave, neither of them anyone's controlling terminal yet.
fn terminal(size: WindowSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&master)?;
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(master.as_fd(), flags)?;
    Ok((master, slave))
}

fn prepare(order: &Spawn) -> Result<Prepared, SpawnError> {
    let string = |text: &str| CString::new(text).map_err(|_| SpawnError::Malformed);
    let program = order.argv.first().filter(|name| !name.is_empty()).ok_or(SpawnError::Malformed)?;
    let path = order.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let environment = order.env.iter().map(|(name, value)| string(&format!("{name}={value}")));
    Ok(Prepared {
        candidates: candidates(program, path).iter().map(|path| string(path)).collect::<Result<_, _>>()?,
        arguments: order.argv.iter().map(|argument| string(argument)).collect::<Result<_, _>>()?,
        environment: environment.collect::<Result<_, _>>()?,
        directory: CString::new(Path::new(&order.cwd).as_os_str().as_bytes()).map_err(|_| SpawnError::Malformed)?,
    })
}

/// Where a program may be, in order: as given where it has a slash, else in each directory of `PATH`. An empty entry,
/// which means the working directory to a shell, is left out.
fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    path.split(':')
        .filter(|directory| !directory.is_empty())
        .map(|directory| format!("{directory}/{program}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn order(argv: &[&str]) -> Spawn {
        let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
        Spawn { id: 1, argv, env: BTreeMap::new(), cwd: "/".to_owned(), tty: None }
    }

    #[test]
    fn a_name_is_looked_for_and_a_path_is_not() {
        assert_eq!(candidates("sh", "/a::/b"), ["/a/sh", "/b/sh"]);
        assert_eq!(candidates("./sh", "/a"), ["./sh"]);
        assert_eq!(candidates("/bin/sh", "/a"), ["/bin/sh"]);
    }

    #[test]
    fn what_cannot_be_a_command_is_refused_before_the_fork() {
        for argv in [&[][..], &[""][..], &["a\0b"][..]] {
            assert!(matches!(prepare(&order(argv)), Err(SpawnError::Malformed)), "{argv:?}");
        }
        assert!(prepare(&order(&["sh"])).is_ok());
    }

    #[test]
    fn exit_codes_of_failures_are_a_shells() {
        let error = |errno| SpawnError::Execute { program: "x".into(), source: io::Error::from_raw_os_error(errno) };
        assert_eq!(error(libc::ENOENT).exit_code(), 127);
        assert_eq!(error(libc::EACCES).exit_code(), 126);
        assert_eq!(SpawnError::Malformed.exit_code(), 126);
    }
}
