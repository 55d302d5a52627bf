//! The process that fills a workspace, as the keeper sees it: started, listened to, ended with the launch.

use crate::{
    protocol::LaunchEvent,
    workspace::fill::{FillEvent, FillOrder},
};
use std::{io, path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

#[derive(Debug, thiserror::Error)]
pub enum FillingError {
    #[error("the process that copies cannot be started")]
    Start(#[source] io::Error),
    #[error("{}", .0.join(": "))]
    Said(Vec<String>),
    #[error("the process that copies went away")]
    Gone,
}

/// Under way. Dropping it ends it.
pub(crate) struct Filling {
    _child: Child,
    told: Lines<BufReader<ChildStdout>>,
}

impl Filling {
    /// `program fill`.
    pub(crate) async fn start(program: &Path, order: &FillOrder) -> Result<Filling, FillingError> {
        let order = serde_json::to_vec(order).map_err(|error| FillingError::Start(error.into()))?;
        let mut command = Command::new(program);
        command.arg("fill").env_clear().kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(FillingError::Start)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else { return Err(FillingError::Gone) };
        stdin.write_all(&order).await.map_err(FillingError::Start)?;
        Ok(Filling { _child: child, told: BufReader::new(stdout).lines() })
    }

    /// What happens next; `None` where it is done.
    pub(crate) async fn next(&mut self) -> Result<Option<LaunchEvent>, FillingError> {
        let line = self.told.next_line().await.ok().flatten().ok_or(FillingError::Gone)?;
        match serde_json::from_str(&line) {
            Ok(FillEvent::Copied { files, bytes }) => Ok(Some(LaunchEvent::Copied { files, bytes })),
            Ok(FillEvent::Notice { text }) => Ok(Some(LaunchEvent::Notice { text })),
            Ok(FillEvent::Failed { causes }) => Err(FillingError::Said(causes)),
            Ok(FillEvent::Done) => Ok(None),
            Err(_) => Err(FillingError::Gone),
        }
    }
}
