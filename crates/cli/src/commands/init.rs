//! `bot-bottle init`: a commented example to start from.

use crate::{compose::Context, error::CliError};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    process::ExitCode,
};

const AGENT: &str = include_str!("../../../../examples/agents/example.md");
const BOTTLE: &str = include_str!("../../../../examples/bottles/example.yaml");

/// Write a commented example: an agent and its bottle. Never overwrites
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {}

pub(crate) fn run(_args: InitArgs, context: &Context) -> Result<ExitCode, CliError> {
    let files = [(context.agents().join("example.md"), AGENT), (context.bottles().join("example.yaml"), BOTTLE)];
    for (path, text) in &files {
        let shown = context.short(path);
        match write_new(path, text) {
            Ok(()) => context.ui.say(&format!("wrote {shown}")),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                context.ui.say(&format!("kept {shown}, which is there already"));
            }
            Err(error) => {
                return Err(CliError::host(format!("{shown} could not be written"))
                    .because(error)
                    .next("make its folder yours, or set XDG_CONFIG_HOME"));
            }
        }
    }
    context.ui.say("next: bot-bottle start example");
    Ok(ExitCode::SUCCESS)
}

/// Exclusive, so that neither a file nor a link that leads elsewhere is written through.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}
