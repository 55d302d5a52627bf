//! What the git gate is given.

use super::{
    super::{decoys, gate::Brief},
    Making, StepError, freeze,
};
use crate::store::private_directory;
use bottle_spec::gate_link::{GitStart, KeeperToGate};
use std::{os::fd::OwnedFd, path::PathBuf};

impl Making<'_> {
    pub(super) async fn serve_git(&mut self, listeners: Vec<OwnedFd>) -> Result<(), StepError> {
        let Some(gate) = &self.git else { return Ok(()) };
        let (state, requests, mirrors) = (self.bottle.git_gate(), self.bottle.requests(), self.request.dirs.mirrors());
        for path in [&state, &requests, &self.request.dirs.cache, &mirrors] {
            private_directory(path).map_err(StepError::Store)?;
        }
        let plan = &self.request.plan;
        let start = GitStart {
            bottle: self.bottle.slug.clone(),
            repositories: plan.git.clone(),
            secrets: self.request.secrets.clone(),
            canaries: decoys::planted(self.bottle).map_err(StepError::Store)?,
            frozen: freeze::has_sentinel(self.bottle),
            supervised: plan.supervise,
            wait: plan.wait,
            umask: self.umask,
            mirrors,
            state,
            requests,
            upstream_ca: plan.egress.upstream_ca.clone(),
            resolve: plan.egress.resolve.clone(),
            ssh_agent: self.request.refresh_env.get("SSH_AUTH_SOCK").map(PathBuf::from),
        };
        let brief = Brief { start: KeeperToGate::StartGit(Box::new(start)), audit: None, listeners };
        gate.brief(&brief).await.map_err(StepError::GitGate)?;
        self.git_brief = Some(brief);
        Ok(())
    }
}
