//! A transcript on its way to the person: found, followed, made readable.
//!
//! Invariant: what the agent wrote is escaped line by line before it is shown, but with `--raw`.

use super::{LOOK, LogsArgs, runs, said};
use crate::{compose::Context, error::CliError};
use bottle_runtime::{
    store::BottleDir,
    transcript::{Line, Transcripts},
};
use bottle_spec::escape::Escaped;
use std::{
    path::{Path, PathBuf},
    thread,
};

/// Whether there was any: shows it, and with `--follow` all that comes until the bottle ends.
pub(super) fn show(args: &LogsArgs, bottle: &BottleDir, context: &Context) -> Result<bool, CliError> {
    // A bottle that never came to have a plan has no transcript either.
    let Ok(plan) = bottle.plan() else { return Ok(false) };
    if plan.provider.logs.is_empty() {
        return Ok(false);
    }
    let Ok(mut transcripts) = Transcripts::open(&bottle.home(), &plan.provider.logs) else { return Ok(false) };
    let mut shown = Shown { raw: args.raw, file: None, context };
    loop {
        let running = args.follow && runs(bottle);
        // Looked at before the files are read, so that the last words are not missed.
        transcripts.lines(!running, &mut |path, line| shown.line(path, line))?;
        if !running {
            return Ok(shown.file.is_some());
        }
        thread::sleep(LOOK);
    }
}

struct Shown<'a> {
    raw: bool,
    /// Whose lines are being shown.
    file: Option<PathBuf>,
    context: &'a Context,
}

impl Shown<'_> {
    fn line(&mut self, path: &Path, line: Line<'_>) -> Result<(), CliError> {
        let ui = &self.context.ui;
        let first = self.file.is_none();
        if self.file.as_deref() != Some(path) {
            self.file = Some(path.to_owned());
            if !self.raw && !first {
                ui.result(&format!("--- {}\n", Escaped(&path.display().to_string())))?;
            }
        }
        match line {
            Line::Whole(bytes) if self.raw => ui.bytes(&[bytes, b"\n"].concat()),
            Line::LeftOut if self.raw => Ok(()),
            Line::Whole(bytes) => ui.result(&said::readable(bytes)),
            Line::LeftOut => ui.result("(a very long line is left out)\n"),
        }
    }
}
