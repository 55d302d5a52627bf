//! The door itself: who is served what.
//!
//! Invariants: a connection over the limit is closed at once; a request that is not understood, or for a repository
//! that is not listed, gets one line and nothing else; a decision is in the audit log before it takes effect.

use super::{
    command::Home,
    known::Searching,
    mirror::Freshness,
    record::Recorder,
    relay,
    repository::{Repository, RepositoryError},
};
use crate::door_listener::DoorListener;
use bottle_policy::git::{
    Asked, Request, RequestError, Service,
    pkt::{self, Length},
    request::MAX_REQUEST,
};
use bottle_spec::{
    escape::Escaped,
    event::{AuditEvent, Decision, GitEvent, GitOperation, GitReason},
    gate_link::GateToKeeper,
    git::Kind,
    operator::{Gives, Grant},
};
use std::{collections::BTreeMap, io, os::fd::OwnedFd, path::PathBuf, process::Stdio, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};

/// Connections served at once; each may hold a git or two.
pub(super) const MAX_CONNECTIONS: usize = 32;
/// From the connection to the end of its first line.
const REQUEST_TIME: Duration = Duration::from_secs(15);
/// For a client that was refused to read why; and what it may say meanwhile.
const FAREWELL: Duration = Duration::from_secs(2);
const MAX_UNREAD: u64 = 1 << 20;
/// Seconds that a client may be silent for.
pub(super) const SILENCE: &str = "--timeout=600";

#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) home: Home,
    pub(crate) repositories: BTreeMap<String, Arc<Repository>>,
    pub(crate) recorder: Recorder,
    pub(crate) frozen: watch::Sender<bool>,
    /// Whether refusals say how to ask the operator.
    pub(super) supervised: bool,
    pub(super) searching: Searching,
    /// Where requests to the operator go.
    pub(super) requests: PathBuf,
    /// How long the operator has for an answer.
    pub(super) wait: Duration,
    pub(super) bottle: String,
    /// For what the keeper should hear besides records.
    pub(super) keeper: mpsc::UnboundedSender<GateToKeeper>,
    pub(super) connections: Arc<Semaphore>,
}

/// Why a client gets nothing; what it reads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("{0}")]
    Request(RequestError),
    #[error(
        "the git gate serves no repository `{}` here; it serves: {served}. Your operator can list it under `git:` in the bottle's manifest: ask for that with the supervise tool `ask_operator`",
        Escaped(asked)
    )]
    Unlisted { asked: String, served: String },
    #[error("the bottle is frozen")]
    Frozen,
    #[error("the audit log cannot be written, so nothing is served")]
    Audit,
    #[error("the upstream cannot be reached: {0}")]
    Upstream(String),
    #[error("nothing may be pushed to {0}")]
    Push(String),
    #[error("git could not be started")]
    Start,
}

impl Door {
    /// Goes by these grants from now on, and by no others.
    pub(super) fn grant(&self, grants: &[Grant]) {
        for (name, repository) in &self.repositories {
            let refs = grants.iter().filter_map(|grant| match &grant.gives {
                Gives::Refs { repository, refs } if repository == name => Some(refs.clone()),
                _ => None,
            });
            repository.grant(refs.flatten().collect());
        }
    }

    /// Begins to make the mirrors that are not there, and names their repositories: an agent's first clone waits for
    /// what is left of that, and one that gives up does not begin it anew. A repository of this machine is quickly
    /// copied when it is asked for.
    pub(super) fn mirror_ahead(self: &Arc<Self>) -> Vec<String> {
        let is_wanted = |repository: &Repository| {
            let is_here = matches!(repository.mirror.access().upstream.kind(), Kind::Path(_));
            !is_here && !repository.mirror.is_there()
        };
        let wanted: Vec<_> = self.repositories.iter().filter(|(_, repository)| is_wanted(repository)).collect();
        for (name, repository) in &wanted {
            let (door, name, repository) = (Arc::clone(self), (*name).clone(), Arc::clone(repository));
            tokio::spawn(async move {
                tokio::select! {
                    made = repository.refresh(&door.home) => if let Err(error) = made {
                        // Whoever fetches tries again, and is told.
                        tracing::warn!(%error, name, "a mirror cannot be made ahead");
                    },
                    () = door.freezes() => {}
                }
            });
        }
        wanted.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// Serves until it is dropped, and with it every connection.
    pub(crate) async fn serve(self: Arc<Self>, listener: DoorListener) -> io::Result<()> {
        let mut served = tokio::task::JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = served.join_next() => continue,
            };
            let stream = match accepted {
                Ok(arrival) => arrival.stream,
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else { continue };
            let _ = stream.set_nodelay(true);
            let door = Arc::clone(&self);
            served.spawn(async move {
                let _permit = permit;
                if let Err(error) = door.connection(stream).await {
                    tracing::debug!(%error, "a connection at the git door");
                }
            });
        }
    }

    /// A length of hexadecimal digits begins with `0`, for a request is short; what begins otherwise is HTTP.
    async fn connection(self: &Arc<Self>, mut stream: TcpStream) -> io::Result<()> {
        let mut first = [0];
        match timeout(REQUEST_TIME, stream.peek(&mut first)).await {
            Ok(Ok(1..)) if first != *b"0" => return super::http::serve(Arc::clone(self), stream).await,
            Ok(Ok(1..)) => {}
            _ => return Ok(()),
        }
        let asked = match timeout(REQUEST_TIME, request(&mut stream)).await {
            Ok(asked) => asked?,
            Err(_) => return Ok(()),
        };
        let served = match asked {
            Ok(request) => self.serve_git(stream, request).await,
            Err(error) => Err((stream, Denied::Request(error))),
        };
        let Err((mut stream, denied)) = served else { return Ok(()) };
        stream.write_all(&pkt::line(format!("ERR {denied}\n").as_bytes())).await?;
        stream.shutdown().await?;
        // Who goes on writing to a connection that is closed does not get to read why.
        let mut rest = stream.take(MAX_UNREAD);
        let _ = timeout(FAREWELL, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
        Ok(())
    }

    async fn serve_git(&self, stream: TcpStream, request: Request) -> Result<(), (TcpStream, Denied)> {
        let (repository, freshness) = match self.admit(&request).await {
            Ok(admitted) => admitted,
            Err(denied) => return Err((stream, denied)),
        };
        let Asked::Name(name) = &request.asked else { return Ok(()) };
        if request.service == Service::ReceivePack {
            // What upstream has now is not known: what is new could not be told.
            if let Freshness::Stale(why) = freshness {
                return Err((stream, Denied::Upstream(why)));
            }
            let pushing = self.push(stream, request.version, name, &repository);
            ended(self.unless_frozen(GitOperation::Push, name, pushing).await);
            return Ok(());
        }
        let path = repository.path().display().to_string();
        let mut command = self.home.git(&["upload-pack", "--strict", SILENCE, "--", &path]);
        if request.version > 0 {
            command.env("GIT_PROTOCOL", format!("version={}", request.version));
        }
        let fetching = async {
            if let Freshness::Stale(why) = freshness {
                return relay::with_warning(command, stream, &stale(&why)).await;
            }
            // git has the connection itself: what it serves goes through no hands of ours.
            let (input, output) = both(stream)?;
            command.stdin(Stdio::from(input)).stdout(Stdio::from(output));
            tokio::process::Command::from(command).kill_on_drop(true).spawn()?.wait().await.map(drop)
        };
        ended(self.unless_frozen(GitOperation::Fetch, name, fetching).await);
        Ok(())
    }

    /// Which repository is served, brought up to date; all that may be said against it is said here.
    pub(crate) async fn admit(&self, request: &Request) -> Result<(Arc<Repository>, Freshness), Denied> {
        let operation = match request.service {
            Service::UploadPack => GitOperation::Fetch,
            Service::ReceivePack => GitOperation::Push,
        };
        let name = match &request.asked {
            Asked::Name(name) | Asked::Other(name) => name.clone(),
        };
        let listed = match &request.asked {
            Asked::Name(name) => self.repositories.get(name),
            Asked::Other(_) => None,
        };
        let Some(repository) = listed else {
            self.deny(operation, &name, GitReason::UnlistedRepository).await;
            let served = self.repositories.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(Denied::Unlisted { asked: self.asked_for(&name), served });
        };
        if *self.frozen.borrow() {
            self.deny(operation, &name, GitReason::Frozen).await;
            return Err(Denied::Frozen);
        }
        if operation == GitOperation::Push && repository.rules().is_none() {
            self.deny(operation, &name, GitReason::RefNotAllowed).await;
            return Err(Denied::Push(name));
        }
        // Of a push, each ref has a record of its own.
        if operation == GitOperation::Fetch {
            let allowed = GitEvent::new(operation, &name, Decision::Allow);
            self.recorder.record(AuditEvent::Git(allowed)).await.map_err(|error| {
                tracing::error!(%error, "a fetch is refused");
                Denied::Audit
            })?;
        }
        let refresh = async {
            match operation {
                GitOperation::Fetch => repository.refresh(&self.home).await,
                GitOperation::Push => repository.ready(&self.home).await,
            }
        };
        let refreshed = tokio::select! {
            refreshed = refresh => refreshed,
            () = self.freezes() => {
                self.deny(operation, &name, GitReason::Frozen).await;
                return Err(Denied::Frozen);
            }
        };
        match refreshed {
            Ok(freshness) => Ok((Arc::clone(repository), freshness)),
            Err(error) => {
                tracing::warn!(%error, "a repository cannot be served");
                Err(match error {
                    RepositoryError::Mirror(error) => Denied::Upstream(error.to_string()),
                    _ => Denied::Start,
                })
            }
        }
    }

    /// Does what was admitted, unless the bottle freezes meanwhile: then it is broken off, and that is written down.
    pub(super) async fn unless_frozen(
        &self,
        operation: GitOperation,
        name: &str,
        work: impl Future<Output = io::Result<()>>,
    ) -> io::Result<()> {
        tokio::select! {
            done = work => done,
            () = self.freezes() => {
                self.deny(operation, name, GitReason::Frozen).await;
                Err(io::Error::other("the bottle is frozen"))
            }
        }
    }

    /// Comes once the bottle is frozen.
    async fn freezes(&self) {
        // The sender is ours.
        let _ = self.frozen.subscribe().wait_for(|frozen| *frozen).await;
    }

    /// As the agent would recognise it: `insteadOf` has put our name before what follows the upstream's.
    fn asked_for(&self, asked: &str) -> String {
        let unlisted = format!("{}/", bottle_spec::git::UNLISTED);
        let begun = asked.split_once('/').and_then(|(name, rest)| {
            let upstream = self.repositories.get(name)?.mirror.access().upstream.as_str();
            Some(format!("{}{rest}", upstream.strip_suffix(".git").unwrap_or(upstream)))
        });
        begun.unwrap_or_else(|| asked.strip_prefix(&unlisted).unwrap_or(asked).to_owned())
    }

    /// Best effort: it is a denial either way.
    async fn deny(&self, operation: GitOperation, asked: &str, reason: GitReason) {
        let mut event = GitEvent::new(operation, asked, Decision::Deny);
        event.reason = Some(reason);
        if let Err(error) = self.recorder.record(AuditEvent::Git(event)).await {
            tracing::error!(%error, "a denial at the git door is not in the audit log");
        }
    }
}

pub(super) fn ended(served: io::Result<()>) {
    if let Err(error) = served {
        tracing::warn!(%error, "what was asked at the git door was not done");
    }
}

pub(super) fn stale(why: &str) -> String {
    format!("warning: the upstream cannot be reached, so this may be out of date: {}", Escaped(why))
}

pub(super) fn both(stream: TcpStream) -> io::Result<(OwnedFd, OwnedFd)> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok((OwnedFd::from(stream.try_clone()?), OwnedFd::from(stream)))
}

/// Reads the first line and not a byte more: the rest is git's.
async fn request(stream: &mut TcpStream) -> io::Result<Result<Request, RequestError>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let Ok(Length::Data(length @ 1..=MAX_REQUEST)) = pkt::length(header) else {
        return Ok(Err(RequestError::Malformed));
    };
    let mut line = vec![0; length];
    stream.read_exact(&mut line).await?;
    Ok(Request::parse(&line))
}
