//! `bot-bottle logs`: an agent's transcript, or what its terminal showed.

mod said;
mod transcript;

use super::list::{open, unreadable};
use crate::{compose::Context, error::CliError};
use bottle_runtime::{
    keeper::output::previous,
    store::{BottleDir, State, StoreError},
};
use bottle_spec::{escape::Escaped, slug::Slug};
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};

/// Show what an agent said and did
///
/// Where its provider keeps a transcript, that, made readable; else, or with --terminal, what its terminal showed.
/// On a terminal, control characters are written out; what a terminal showed goes into a file or a pipe as it was.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// Go on until the bottle ends
    #[arg(long, short)]
    follow: bool,
    /// What the agent's terminal showed, also where there is a transcript
    #[arg(long, conflicts_with = "transcript")]
    terminal: bool,
    /// The transcript, and nothing else where there is none
    #[arg(long)]
    transcript: bool,
    /// The bytes as they were, also on a terminal: they may do to it what they like. Of a transcript, its JSON lines
    #[arg(long)]
    raw: bool,
    /// The bottle, as `bot-bottle list` names it
    #[arg(value_name = "BOTTLE")]
    slug: Slug,
}

const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn run(args: LogsArgs, context: &Context) -> Result<ExitCode, CliError> {
    let store = open(context)?;
    let bottle = store.bottle(&args.slug);
    if !bottle.state.is_dir() {
        return Err(unreadable(StoreError::Unknown(args.slug)));
    }
    if !args.terminal && transcript::show(&args, &bottle, context)? {
        return Ok(ExitCode::SUCCESS);
    }
    if args.transcript {
        return Err(CliError::usage(format!("{} has no transcript", args.slug))
            .next("its provider says where there is one; --terminal shows what its terminal showed"));
    }
    terminal(&args, &bottle, context)
}

/// What the terminal showed.
fn terminal(args: &LogsArgs, bottle: &BottleDir, context: &Context) -> Result<ExitCode, CliError> {
    let path = bottle.output();
    let plain = context.ui.stdout_is_terminal && !args.raw;
    let mut reader = Reader { plain, held: Vec::new() };
    let Some(mut file) = opened(&path)? else {
        return Err(CliError::usage(format!("{} keeps no output: its agent has no terminal", args.slug))
            .next("what a program with pipes writes goes to who started it"));
    };
    if let Some(before) = opened(&previous(&path))? {
        reader.pass(before, context)?;
    }
    loop {
        let running = args.follow && runs(bottle);
        // Looked at before the file is read, so that the last words are not missed.
        file = reader.pass(file, context)?;
        if !running {
            return reader.end(context);
        }
        thread::sleep(LOOK);
        file = follow(file, &path)?;
    }
}

fn runs(bottle: &BottleDir) -> bool {
    matches!(bottle.state_now(bottle.metadata().ok().as_ref()), State::Running | State::Frozen | State::Creating)
}

fn opened(path: &Path) -> Result<Option<File>, CliError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::host("the output cannot be read").because(error)),
    }
}

/// The file that is written to now, if it was rotated at its place where it was.
fn follow(mut file: File, path: &Path) -> Result<File, CliError> {
    let lost = |error| CliError::host("the output cannot be read").because::<io::Error>(error);
    let read = file.stream_position().map_err(lost)?;
    let metadata = file.metadata().map_err(lost)?;
    match opened(path)? {
        // What is left of the old one comes first.
        Some(now) if now.metadata().map_err(lost)?.ino() != metadata.ino() && read >= metadata.len() => Ok(now),
        _ => {
            file.seek(SeekFrom::Start(read)).map_err(lost)?;
            Ok(file)
        }
    }
}

struct Reader {
    plain: bool,
    /// The beginning of a line or character whose end has not come yet.
    held: Vec<u8>,
}

impl Reader {
    fn pass(&mut self, mut file: File, context: &Context) -> Result<File, CliError> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count =
                file.read(&mut bytes).map_err(|error| CliError::host("the output cannot be read").because(error))?;
            if count == 0 {
                return Ok(file);
            }
            self.held.extend_from_slice(bytes.get(..count).unwrap_or_default());
            let whole = self.held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let whole = if self.plain { whole } else { self.held.len() };
            let part: Vec<u8> = self.held.drain(..whole).collect();
            self.show(&part, context)?;
        }
    }

    fn end(mut self, context: &Context) -> Result<ExitCode, CliError> {
        let rest = std::mem::take(&mut self.held);
        self.show(&rest, context)?;
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, bytes: &[u8], context: &Context) -> Result<(), CliError> {
        if !self.plain {
            return context.ui.bytes(bytes);
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(line);
            let text = text.trim_end_matches(['\r', '\n']);
            context.ui.result(&format!("{}\n", Escaped(text)))?;
        }
        Ok(())
    }
}
