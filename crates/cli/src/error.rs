//! What went wrong, told once: the one place where errors become text on stderr and an exit code.

use bottle_spec::{escape::Escaped, manifest::Mistakes};
use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

/// Whose turn it is to act, and with that the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command line is wrong.
    Usage = 2,
    /// A manifest is wrong.
    Manifest = 3,
    /// This machine cannot do it, as it is now.
    Host = 4,
    /// Someone or some rule said no.
    Denied = 5,
    /// We are wrong.
    Bug = 70,
}

/// An error for the person at the terminal: what could not be done, why (the chain of sources) and what to do next.
#[derive(Debug)]
pub(crate) struct CliError {
    kind: Kind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    next_step: Option<String>,
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>) -> CliError {
        CliError::new(Kind::Usage, message)
    }

    pub(crate) fn manifest(message: impl Into<String>) -> CliError {
        CliError::new(Kind::Manifest, message)
    }

    pub(crate) fn host(message: impl Into<String>) -> CliError {
        CliError::new(Kind::Host, message)
    }

    pub(crate) fn denied(message: impl Into<String>) -> CliError {
        CliError::new(Kind::Denied, message)
    }

    pub(crate) fn bug(message: impl Into<String>) -> CliError {
        CliError::new(Kind::Bug, message)
    }

    fn new(kind: Kind, message: impl Into<String>) -> CliError {
        CliError { kind, message: message.into(), source: None, next_step: None }
    }

    /// The error that led to this one; its own sources are printed with it.
    pub(crate) fn because<E: Into<Box<dyn Error + Send + Sync>>>(mut self, source: E) -> CliError {
        self.source = Some(source.into());
        self
    }

    /// One sentence in the imperative: what the person can do about it.
    pub(crate) fn next(mut self, step: impl Into<String>) -> CliError {
        self.next_step = Some(step.into());
        self
    }

    /// The exit code of a process that ends with it.
    pub(crate) fn code(&self) -> u8 {
        self.kind as u8
    }

    /// Mistakes in what was asked for. What only this machine lacks is the host's, not the manifest's; `asked_by`
    /// says which of the two kinds of asking it was.
    pub(crate) fn mistakes(mistakes: &Mistakes, asked_by: Kind) -> CliError {
        let kind = if mistakes.all_of_host() { Kind::Host } else { asked_by };
        let message = match mistakes.len() {
            1 => mistakes.to_string(),
            count => format!("{count} mistakes\n{mistakes}"),
        };
        CliError::new(kind, message)
    }
}

/// Prints an error with its chain and gives back its exit code.
pub(crate) fn report(error: &CliError) -> ExitCode {
    let mut text = format!("error: {}\n", lines(&error.message));
    let mut source = error.source.as_deref().map(|source| source as &dyn Error);
    while let Some(cause) = source {
        let _ = writeln!(text, "  because: {}", lines(&cause.to_string()));
        source = cause.source();
    }
    if let Some(step) = &error.next_step {
        let _ = writeln!(text, "  next: {}", lines(step));
    }
    if error.kind == Kind::Bug {
        text.push_str("  This is a bug in bot-bottle. Please report it with the lines above.\n");
    }
    // Nothing is left to do where stderr is closed; the exit code still tells.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(error.code())
}

/// The error and its causes in one line, for a screen that has no more.
pub(crate) fn in_a_line(error: &CliError) -> String {
    let mut text = error.message.clone();
    let mut source = error.source.as_deref().map(|source| source as &dyn Error);
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Escapes each line on its own, so that our own line breaks stay.
fn lines(text: &str) -> String {
    text.split('\n').map(|line| Escaped(line).to_string()).collect::<Vec<_>>().join("\n")
}

/// Help and version go to stdout with success, all else to stderr with the usage code.
pub(crate) fn report_clap(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(Kind::Usage as u8) } else { ExitCode::SUCCESS }
}
