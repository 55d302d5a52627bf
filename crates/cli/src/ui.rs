//! The terminal: results on stdout, words for people on stderr, questions on stderr.
//!
//! What comes from a manifest, an agent or the network goes through [`bottle_spec::escape::Escaped`] before it gets
//! here; this module writes what it is given.

use crate::error::CliError;
use serde::Serialize;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

/// Longer answers to a question are not read.
const ANSWER_MAX: u64 = 256;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    pub(crate) stdin_is_terminal: bool,
    pub(crate) stdout_is_terminal: bool,
    pub(crate) stderr_is_terminal: bool,
    /// Whether anything is written at all.
    silent: bool,
}

impl Ui {
    pub(crate) fn of_process() -> Ui {
        Ui {
            stdin_is_terminal: io::stdin().is_terminal(),
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            silent: false,
        }
    }

    /// For work behind a screen that is somebody else's: nobody can be asked, and nothing is written.
    pub(crate) fn silent() -> Ui {
        Ui { stdin_is_terminal: false, stdout_is_terminal: false, stderr_is_terminal: false, silent: true }
    }

    /// Writes a result to stdout as it is. A reader that went away (`| head`) is no error.
    pub(crate) fn result(&self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())
    }

    /// As [`Ui::result`], for what need not be text.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        if self.silent {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(CliError::host("the result could not be written to stdout").because(error)),
            Ok(()) => Ok(()),
        }
    }

    /// Writes a result as JSON and a line break.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|error| CliError::bug("a result has no JSON form").because(error))?;
        text.push('\n');
        self.result(&text)
    }

    /// A line for people, on stderr. Where stderr is closed there is nobody to tell.
    pub(crate) fn say(&self, line: &str) {
        if !self.silent {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Asks a question that only `y` or `yes` answers with yes. The end of input is no.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool, CliError> {
        let mut stderr = io::stderr();
        let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
        let mut answer = String::new();
        io::stdin()
            .lock()
            .take(ANSWER_MAX)
            .read_line(&mut answer)
            .map_err(|error| CliError::host("the answer could not be read").because(error))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Whether a question can be asked at all.
    pub(crate) fn can_ask(&self) -> bool {
        self.stdin_is_terminal && self.stderr_is_terminal
    }
}
