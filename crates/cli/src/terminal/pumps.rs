//! The pipes of a session without a terminal, and the threads that carry between them and our own streams.
//!
//! The agent gets pipes made for it, never our stdin, stdout and stderr: through those it could reopen a file, read
//! what others write, or push keys into the terminal.

use super::plain::Plain;
use crate::error::CliError;
use bottle_runtime::protocol::Console;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::fd::OwnedFd,
    thread::{self, JoinHandle},
};

/// As much as a pipe holds.
const CHUNK: usize = 64 << 10;

/// Our ends of the agent's standard input, output and error.
#[derive(Debug)]
pub(super) struct Pumps {
    /// `None` = the program finds the end of its input at once.
    input: Option<OwnedFd>,
    output: OwnedFd,
    errors: OwnedFd,
}

impl Pumps {
    pub(super) fn feed_nothing(&mut self) {
        self.input = None;
    }

    /// Our ends and the agent's, where the console is pipes.
    pub(super) fn for_console(console: Console) -> Result<Option<(Pumps, [OwnedFd; 3])>, CliError> {
        match console {
            Console::Terminal(_) => Ok(None),
            Console::Pipes => {
                Pumps::make().map(Some).map_err(|error| CliError::host("no pipes could be made").because(error))
            }
        }
    }

    fn make() -> io::Result<(Pumps, [OwnedFd; 3])> {
        let (stdin, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (output, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (errors, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Pumps { input: Some(input), output, errors }, [stdin, stdout, stderr]))
    }

    pub(super) fn start(self) -> Running {
        let stdout = Guarded::new(io::stdout(), io::stdout().is_terminal());
        let stderr = Guarded::new(io::stderr(), io::stderr().is_terminal());
        self.carry(stdout, stderr)
    }

    /// Carries output and errors to these, as they are.
    pub(super) fn start_to(
        self,
        output: impl io::Write + Send + 'static,
        errors: impl io::Write + Send + 'static,
    ) -> Running {
        self.carry(Guarded::new(output, false), Guarded::new(errors, false))
    }

    fn carry(
        self,
        to_output: Guarded<impl io::Write + Send + 'static>,
        to_errors: Guarded<impl io::Write + Send + 'static>,
    ) -> Running {
        let (stop, stopped) = match pipe_with(PipeFlags::CLOEXEC) {
            Ok((read, write)) => (Some(write), read.try_clone().ok().map(|copy| (read, copy))),
            Err(_) => (None, None),
        };
        let (first, second) = stopped.unzip();
        if let Some(input) = self.input.map(File::from) {
            // Not joined: it may wait for input that never comes.
            thread::spawn(move || feed(input));
        }
        let output = thread::spawn(move || drain(self.output, first, to_output));
        let errors = thread::spawn(move || drain(self.errors, second, to_errors));
        Running { stop, output, errors }
    }
}

#[derive(Debug)]
pub(super) struct Running {
    stop: Option<OwnedFd>,
    output: JoinHandle<()>,
    errors: JoinHandle<()>,
}

impl Running {
    /// The program has ended: carries what it has written, without waiting for those it left behind.
    pub(super) fn finish(self) {
        drop(self.stop);
        let _ = self.output.join();
        let _ = self.errors.join();
    }
}

/// One of our streams; where it is a terminal, only plain text and colours get through.
#[derive(Debug)]
struct Guarded<W: io::Write> {
    stream: W,
    plain: Option<Plain>,
}

impl<W: io::Write> Guarded<W> {
    fn new(stream: W, is_terminal: bool) -> Guarded<W> {
        Guarded { stream, plain: is_terminal.then(Plain::default) }
    }

    fn carry(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.plain {
            Some(plain) => self.stream.write_all(plain.push(bytes).as_bytes())?,
            None => self.stream.write_all(bytes)?,
        }
        self.stream.flush()
    }
}

impl<W: io::Write> Drop for Guarded<W> {
    fn drop(&mut self) {
        if let Some(plain) = &mut self.plain {
            // Where our side takes no more there is nobody to tell.
            let _ = self.stream.write_all(plain.finish().as_bytes()).and_then(|()| self.stream.flush());
        }
    }
}

fn feed(mut input: File) {
    let mut bytes = vec![0; CHUNK];
    loop {
        match io::stdin().lock().read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                if input.write_all(bytes.get(..count).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Until the pipe ends, our side takes no more, or `stopped` closes and the pipe is empty.
fn drain<W: io::Write>(pipe: OwnedFd, stopped: Option<OwnedFd>, mut to: Guarded<W>) {
    let mut bytes = vec![0; CHUNK];
    if rustix::io::ioctl_fionbio(&pipe, true).is_err() {
        return;
    }
    let mut ending = stopped.is_none();
    loop {
        match rustix::io::read(&pipe, &mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                if to.carry(bytes.get(..count).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if ending => return,
            Err(Errno::AGAIN) => {
                let mut watched = vec![PollFd::new(&pipe, PollFlags::IN)];
                watched.extend(stopped.iter().map(|stopped| PollFd::new(stopped, PollFlags::IN)));
                let _ = poll(&mut watched, None);
                ending = watched.get(1).is_some_and(|stopped| !stopped.revents().is_empty());
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_the_end_arrives_though_the_pipe_stays_open() {
        let (pipe, held) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&held, b"last words").unwrap();
        drop(stop);
        let mut seen = Vec::new();
        drain(pipe, Some(stopped), Guarded::new(&mut seen, false));
        assert_eq!(seen, b"last words");
    }
}
