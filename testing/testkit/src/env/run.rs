//! Running a program to its end with both outputs kept, and never for longer than it was given.

use crate::wait::comes_within;
use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What a program left: everything as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output of a program that must have succeeded.
    #[track_caller]
    pub fn success(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self}");
        &self.stdout
    }

    /// Standard error of a program that must have ended with `code`.
    #[track_caller]
    pub fn failure(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self}");
        &self.stderr
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// A program under way. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    #[track_caller]
    pub fn start(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Running { child, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the end; panics, with what was said so far, if it does not come in time.
    #[track_caller]
    pub fn finish(self, timeout: Duration) -> Ran {
        let pid = self.pid();
        self.wait(timeout).unwrap_or_else(|ran| panic!("process {pid} did not end in {timeout:?}: {ran}"))
    }

    /// Waits for the end; after `timeout` kills it and gives what was said as the error.
    pub fn wait(mut self, timeout: Duration) -> Result<Ran, Ran> {
        let deadline = Instant::now() + timeout;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                _ => break None,
            }
        };
        if status.is_none() {
            self.kill();
        }
        let text = |reader: Option<JoinHandle<String>>| reader.map(join_soon).unwrap_or_default();
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        let ran = Ran { code: status.and_then(|status| status.code()), stdout, stderr };
        if status.is_some() { Ok(ran) } else { Err(ran) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A program that ended may have left its output open in a child; that is a fault of its own.
fn join_soon(reader: JoinHandle<String>) -> String {
    match comes_within(Duration::from_secs(10), || reader.is_finished().then_some(())) {
        Some(()) => reader.join().unwrap_or_default(),
        None => "<output still open in another process>".to_owned(),
    }
}
