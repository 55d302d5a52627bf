//! Home and workspace in the making: what is mounted is guarded, what is copied or cloned is filled by a process of its
//! own, which is listened to and ends with the launch.

use super::{
    decoys,
    making::{Making, StepError},
};
use crate::{
    changes,
    guard::{self, Writable},
    protocol::{LaunchEvent, Origin},
    provision,
    store::private_directory,
    workspace::{
        self,
        fill::{FillEvent, FillOrder, Order},
    },
};
use bottle_spec::{git::DOOR_URL, plan::Workspace};
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

impl Making<'_> {
    pub(super) async fn workspace(&mut self) -> Result<(), StepError> {
        for path in [self.bottle.agent(), self.bottle.state.join("egress"), self.bottle.audit()] {
            private_directory(&path).map_err(StepError::Store)?;
        }
        let owner = self.metadata.host_id;
        let home = self.bottle.home();
        if !home.exists() {
            private_directory(&home).map_err(StepError::Store)?;
            if let Some(owner) = owner {
                workspace::give(&home, owner).map_err(|source| StepError::Make { path: home.clone(), source })?;
            }
            // Before the decoys, which write over nothing.
            let pieces = provision::home(&self.request.plan).map_err(StepError::Provision)?;
            provision::put_home(&home, &pieces, owner).map_err(StepError::Provision)?;
            if self.request.plan.canaries {
                let decoys = (self.parts.decoys)().map_err(StepError::Decoys)?;
                decoys::plant(self.bottle, &decoys, owner).map_err(StepError::Store)?;
            }
        }
        self.guard().await?;
        match &self.request.plan.workspace {
            Workspace::None | Workspace::Mount { .. } => Ok(()),
            // Resumed: it is the agent's by now.
            Workspace::Copy { .. } | Workspace::Clone { .. } if self.bottle.workspace().exists() => Ok(()),
            Workspace::Copy { .. } | Workspace::Clone { .. } => self.fill().await,
        }
    }

    async fn fill(&self) -> Result<(), StepError> {
        let order = FillOrder {
            slug: self.bottle.slug.clone(),
            state: self.bottle.state.clone(),
            workspace: self.request.plan.workspace.clone(),
            owner: self.metadata.host_id,
            environment: self.request.refresh_env.clone(),
            url: format!("{DOOR_URL}/{}", Workspace::REPOSITORY),
        };
        self.ordered(&Order::Fill(order), StepError::Workspace).await
    }

    /// By a process of its own, which is listened to until it is done.
    pub(super) async fn ordered(&self, order: &Order, failed: fn(FillingError) -> StepError) -> Result<(), StepError> {
        let mut filling = Filling::start(&self.parts.program, order).await.map_err(failed)?;
        loop {
            let next = tokio::select! {
                next = filling.next() => next.map_err(failed)?,
                () = self.broken_off() => return Err(StepError::BrokenOff),
            };
            match next {
                Some(event) => self.report(event).await,
                None => return Ok(()),
            }
        }
    }

    /// Of what the agent may write to, and is the user's own.
    async fn guard(&mut self) -> Result<(), StepError> {
        let plan = &self.request.plan;
        let mounts = plan.mounts.iter().filter(|mount| mount.writable);
        let mounts = mounts.map(|it| Writable { source: &it.source, target: &it.target, is_project: false });
        let workspace = match &plan.workspace {
            Workspace::Mount { source } => {
                Some(Writable { source, target: Path::new(Workspace::TARGET), is_project: true })
            }
            _ => None,
        };
        let directories: Vec<Writable<'_>> = workspace.into_iter().chain(mounts).collect();
        if directories.is_empty() {
            return Ok(());
        }
        let guards = guard::prepare(self.bottle, &directories).map_err(StepError::Guard)?;
        self.guards = guards.mounts;
        if let (Some(workspace), Origin::New { .. }) = (workspace, &self.request.origin) {
            changes::record_unguarded(self.bottle, workspace.source).map_err(StepError::Store)?;
        }
        if guards.cut_short {
            let text = "a writable directory has more directories than are looked through: repositories far down in it \
                        are not guarded";
            self.report(LaunchEvent::Notice { text: text.to_owned() }).await;
        }
        Ok(())
    }
}

/// Under way. Dropping it ends it.
pub(crate) struct Filling {
    _child: Child,
    told: Lines<BufReader<ChildStdout>>,
}

impl Filling {
    /// `program fill`.
    pub(crate) async fn start(program: &Path, order: &Order) -> Result<Filling, FillingError> {
        let order = serde_json::to_vec(order).map_err(|error| FillingError::Start(error.into()))?;
        let mut command = Command::new(program);
        command.arg("fill").env_clear().kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(FillingError::Start)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else { return Err(FillingError::Gone) };
        stdin.write_all(&order).await.map_err(FillingError::Start)?;
        Ok(Filling { _child: child, told: BufReader::new(stdout).lines() })
    }

    /// Until it is done, whatever it says meanwhile.
    pub(crate) async fn done(mut self) -> Result<(), FillingError> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// What happens next; `None` where it is done.
    pub(crate) async fn next(&mut self) -> Result<Option<LaunchEvent>, FillingError> {
        let line = self.told.next_line().await.ok().flatten().ok_or(FillingError::Gone)?;
        match serde_json::from_str(&line) {
            Ok(FillEvent::Copied { files, bytes }) => Ok(Some(LaunchEvent::Copied { files, bytes })),
            Ok(FillEvent::Fetching) => Ok(Some(LaunchEvent::Fetching)),
            Ok(FillEvent::Notice { text }) => Ok(Some(LaunchEvent::Notice { text })),
            Ok(FillEvent::Failed { causes }) => Err(FillingError::Said(causes)),
            Ok(FillEvent::Done) => Ok(None),
            Err(_) => Err(FillingError::Gone),
        }
    }
}
