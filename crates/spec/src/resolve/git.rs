//! The repositories of a plan: where they are and what reaching them takes of this host.

use super::Resolver;
use crate::{
    facts::PathKind,
    git::{GitRepository, Kind, Upstream},
    manifest::{GitUpstream, Mistake, Place, Placed, Written},
    plan::Workspace,
    request::{Request, WorkspaceMode, base},
};
use std::path::Path;

impl Resolver<'_> {
    pub(super) fn git(&mut self, request: &Request) -> Vec<GitRepository> {
        let mut repositories: Vec<GitRepository> = Vec::with_capacity(request.git.len());
        for asked in &request.git {
            if repositories.iter().any(|known| known.name == asked.value.name) {
                let message = format!("two repositories are called {}", asked.value.name);
                self.mistakes.push(Mistake::new(&asked.place, message).hint("give each its own name"));
            }
            repositories.extend(self.repository(asked));
        }
        let clone = (request.workspace.value == WorkspaceMode::Clone).then_some(&request.workspace.place);
        if let Some(place) = request.git.first().map(|first| &first.place).or(clone) {
            self.needs_program("git", place);
        }
        if let Some(place) = clone {
            repositories.extend(self.workspace_repository(&repositories, place));
        }
        repositories
    }

    /// The user's own repository. What may be pushed to it is under the bottle's name, which there is none yet.
    fn workspace_repository(&mut self, others: &[GitRepository], place: &Place) -> Option<GitRepository> {
        let name = Workspace::REPOSITORY;
        if others.iter().any(|known| known.name == name) {
            let message = format!("a repository is called {name}, as the workspace's own is");
            self.mistakes.push(Mistake::new(place, message).hint("give it another name"));
        }
        let Ok(upstream) = Upstream::of_path(&self.host.cwd) else {
            let message = format!("git cannot be given the path {}", self.host.cwd.display());
            self.mistakes.push(Mistake::new(place, message).hint("use `--workspace copy`"));
            return None;
        };
        let name = name.to_owned();
        Some(GitRepository { name, upstream, identity_file: None, known_hosts: None, auth: None, push: None })
    }

    fn repository(&mut self, asked: &Placed<GitUpstream>) -> Option<GitRepository> {
        let Placed { value, place } = asked;
        let upstream = match &value.upstream {
            Written::Url(upstream) => upstream.clone(),
            Written::Path(path) => {
                let absolute = self.host.absolute(path, base(place, &self.host.cwd));
                if self.host.paths.get(&absolute) != Some(&PathKind::Directory) {
                    let message = format!("there is no repository at {}", absolute.display());
                    self.mistakes.push(Mistake::new(place, message).hint("make it first, or correct the path"));
                    return None;
                }
                Upstream::of_path(&absolute).ok()?
            }
        };
        let identity_file = value.identity_file.as_deref().and_then(|path| self.key_file(path, place));
        let mut known_hosts = value.known_hosts.as_deref().and_then(|path| self.key_file(path, place));
        let is_ssh = matches!(upstream.kind(), Kind::Ssh { .. });
        if is_ssh {
            self.needs_program("ssh", place);
            known_hosts = known_hosts.or_else(|| self.users_known_hosts());
            if known_hosts.is_none() && value.known_hosts.is_none() {
                let message = format!("nothing says which host key {upstream} has");
                let hint = "connect once by ssh, or name a file under `known_hosts`";
                self.mistakes.push(Mistake::new(place, message).hint(hint).of_host());
            }
        } else if value.identity_file.is_some() || value.known_hosts.is_some() {
            let message = format!("{upstream} is not reached by ssh, which keys are for");
            self.mistakes.push(Mistake::new(place, message).hint("remove `identity_file` and `known_hosts`"));
        }
        let mut auth = value.auth.clone();
        if let Some(auth) = &mut auth {
            if !matches!(upstream.kind(), Kind::Https { .. }) {
                let message = format!("{upstream} is not reached by https, which `auth` is for");
                self.mistakes.push(Mistake::new(place, message).hint("remove `auth`"));
            }
            auth.secret = self.source(&auth.secret, place);
        }
        let name = value.name.clone();
        Some(GitRepository { name, upstream, identity_file, known_hosts, auth, push: value.push.clone() })
    }

    fn key_file(&mut self, path: &Path, place: &Place) -> Option<std::path::PathBuf> {
        let absolute = self.host.absolute(path, base(place, &self.host.cwd));
        if self.host.paths.get(&absolute) == Some(&PathKind::File) {
            return Some(absolute);
        }
        let message = format!("there is no file {}", absolute.display());
        self.mistakes.push(Mistake::new(place, message).hint("correct the path"));
        None
    }

    fn users_known_hosts(&self) -> Option<std::path::PathBuf> {
        let path = self.host.home.join(".ssh/known_hosts");
        (self.host.paths.get(&path) == Some(&PathKind::File)).then_some(path)
    }

    fn needs_program(&mut self, name: &str, place: &Place) {
        if !self.host.programs.contains(name) {
            let message = format!("the program `{name}` is not installed on this host");
            self.mistakes.push(Mistake::new(place, message).hint(format!("install {name}")).of_host());
        }
    }
}
