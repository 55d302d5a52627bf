//! A push, from the objects in quarantine to the refs upstream.
//!
//! **The order.** Each ref is judged by the rules; the objects of those that are left are looked at ([`screen`]); what
//! is refused whole leaves the quarantine empty. Then the operator is asked where the rules or what was found say so;
//! the decision goes to the audit log; the very objects that were looked at are pushed upstream, each ref on condition
//! that it is where the agent thinks; and what upstream took is moved here.
//!
//! Invariants: no ref moves here that did not move upstream; a refusal is told for each ref; of an atomic push all refs
//! go upstream or none; whatever fails on the way is a refusal.

use super::{
    approve::{Answer, Waiting},
    command::{bound, output},
    door::Door,
    hooks::{FROM_GATE, HookError, Hooks, Received, TO_GATE, Update},
    repository::Repository,
    screen::{ScreenError, Screened, Screening},
    shown,
};
use bottle_policy::{
    git::{Change, Refusal, judge},
    scan::{CANARY, Place},
};
use bottle_spec::{
    door::MCP_URL,
    escape::Escaped,
    event::{AuditEvent, Decision, FindingAction, FindingEvent, GitEnded, GitEvent, GitOperation, GitReason},
    gate_link::GateToKeeper,
    git::Approval,
};
use command_fds::{CommandFdExt as _, FdMapping};
use std::{io, path::Path, process::Stdio, sync::Arc, time::Duration};
use tokio::net::{
    TcpStream,
    unix::pipe::{Receiver, Sender},
};

/// How often somebody who pushes much hears how far the search is.
const NEWS: Duration = Duration::from_secs(2);

/// Whether a ref is refused, and what the agent reads of it.
type Verdict = Result<(), (GitReason, String)>;

#[derive(Debug)]
struct Judged {
    update: Update,
    verdict: Verdict,
}

impl Door {
    /// Gives the connection to `git receive-pack` and answers its hooks.
    pub(super) async fn push(
        &self,
        stream: TcpStream,
        version: u8,
        name: &str,
        repository: &Arc<Repository>,
    ) -> io::Result<()> {
        let (input, output) = super::door::both(stream)?;
        let mut command = self.home.receive_pack(repository.path(), &[]);
        if version > 0 {
            command.env("GIT_PROTOCOL", format!("version={version}"));
        }
        command.stdin(Stdio::from(input)).stdout(Stdio::from(output));
        self.receive(command, name, repository).await
    }

    /// Runs a `git receive-pack` whose streams are set.
    pub(super) async fn receive(
        &self,
        mut command: std::process::Command,
        name: &str,
        repository: &Arc<Repository>,
    ) -> io::Result<()> {
        let (hear, says) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (hears, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mappings =
            vec![FdMapping { parent_fd: says, child_fd: TO_GATE }, FdMapping { parent_fd: hears, child_fd: FROM_GATE }];
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
        bound(child.id())?;
        let hooks = Hooks::new(Receiver::from_owned_fd(hear)?, Sender::from_owned_fd(tell)?);
        let decided = self.decide(hooks, name, repository);
        tokio::pin!(decided);
        tokio::select! {
            decided = &mut decided => {
                match decided {
                    Ok(()) => {}
                    // Nothing to push, or a client that went away.
                    Err(HookError::Gone(_)) => {}
                    Err(error) => tracing::warn!(%error, "a push"),
                }
                child.wait().await?;
            }
            ended = child.wait() => drop(ended?),
        }
        Ok(())
    }

    async fn decide(&self, mut hooks: Hooks, name: &str, repository: &Arc<Repository>) -> Result<(), HookError> {
        // What is new is told by upstream's refs as they are now; they come while the client packs.
        let (received, refreshed) = tokio::join!(hooks.received(), repository.refresh(&self.home));
        let received = received?;
        if let Err(error) = refreshed {
            tracing::warn!(%error, "a push goes no further: its repository cannot be brought up to date");
            return Err(HookError::Stale);
        }
        let mut flags = std::collections::BTreeSet::new();
        let mut judged = Vec::with_capacity(received.updates.len());
        let mut seen = Vec::new();
        for update in &received.updates {
            let verdict = self.judge(&mut hooks, update, &received, name, repository, &mut seen, &mut flags).await;
            judged.push(Judged { update: update.clone(), verdict });
        }
        if judged.iter().all(|judged| judged.verdict.is_err()) {
            // None of it stays: git takes over an empty quarantine.
            empty(Path::new(&received.objects));
        }
        hooks.go_on().await?;
        let atomic = hooks.is_atomic().await?;
        if atomic && judged.iter().any(|judged| judged.verdict.is_err()) {
            for judged in judged.iter_mut().filter(|judged| judged.verdict.is_ok()) {
                judged.verdict = Err((GitReason::Atomic, "another ref of this atomic push was refused".to_owned()));
            }
        }
        self.carry_out(&mut hooks, &mut judged, &flags, atomic, name, repository).await?;
        let answers: Vec<_> = judged
            .into_iter()
            .map(|judged| (judged.update.reference, judged.verdict.map_err(|(_, why)| why)))
            .collect();
        hooks.answer(&answers).await?;
        if answers.iter().any(|(_, answer)| answer.is_ok()) {
            // The mirror gets now what upstream took, so that the next push or fetch need not wait for it.
            let (home, repository) = (self.home.clone(), Arc::clone(repository));
            tokio::spawn(async move {
                if let Err(error) = repository.refresh(&home).await {
                    tracing::info!(%error, "the mirror is brought up to date when it is next asked");
                }
            });
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what a ref is judged by, and what comes of it besides")]
    async fn judge(
        &self,
        hooks: &mut Hooks,
        update: &Update,
        received: &Received,
        name: &str,
        repository: &Arc<Repository>,
        seen: &mut Vec<String>,
        flags: &mut std::collections::BTreeSet<String>,
    ) -> Verdict {
        let change = self.change(update, received, repository).await?;
        judge(repository.rules().as_ref(), &update.reference, change).map_err(|refusal| {
            let reason = match refusal {
                Refusal::Delete => GitReason::DeleteNotAllowed,
                Refusal::Force => GitReason::ForceNotAllowed,
                Refusal::Nothing | Refusal::Name(_) | Refusal::Malformed => GitReason::RefNotAllowed,
            };
            let told = match refusal {
                Refusal::Name(_) if self.supervised => {
                    let reference = serde_json::Value::from(update.reference.as_str());
                    let name = serde_json::Value::from(name);
                    format!(
                        "{refusal}; ask for it: call request_git of {MCP_URL} with \
                         {{\"repository\":{name},\"refs\":[{reference}],\"reason\":\"\"}}"
                    )
                }
                refusal => refusal.to_string(),
            };
            (reason, told)
        })?;
        let exempt = repository.rules().as_ref().map_or_else(Vec::new, |rules| rules.exempt.clone());
        let scanner = self.searching.scanner();
        let named = scanner.piece(Place::Name, update.reference.as_bytes());
        let mut screened = Screened::default();
        if let Some(tip) = &update.new {
            let screening = Screening {
                home: self.home.clone(),
                repository: repository.path().to_owned(),
                objects: received.objects.clone(),
                alternates: received.alternates.clone(),
                scanner,
                tip: tip.clone(),
                seen: seen.clone(),
                exempt: exempt.clone(),
                progress: Arc::default(),
            };
            let progress = Arc::clone(&screening.progress);
            let mut searching = tokio::task::spawn_blocking(move || screening.run());
            let ran = loop {
                tokio::select! {
                    ran = &mut searching => break ran,
                    () = tokio::time::sleep(NEWS) => {
                        if let Err(error) = hooks.say(&format!("searching: {progress}")).await {
                            // Nobody waits for the end of it.
                            progress.stop();
                            return Err((GitReason::Malformed, error.to_string()));
                        }
                    }
                }
            };
            screened = ran.unwrap_or(Err(ScreenError::Malformed)).map_err(|error| {
                let reason = match error {
                    ScreenError::TooLarge => GitReason::TooLarge,
                    _ => GitReason::Malformed,
                };
                (reason, Escaped(&error.to_string()).to_string())
            })?;
            let _ = hooks.say(&format!("{}: {} new objects were searched", update.reference, screened.objects)).await;
        }
        screened.found(named, "ref", "", &exempt);
        if let Some(first) = screened.found.first() {
            let why = format!("{} at {}", first.finding, Escaped(&first.at));
            for found in &screened.found {
                let _ = hooks.say(&format!("found {} at {}", found.finding, Escaped(&found.at))).await;
            }
            self.tell_of(&screened, name).await;
            return Err((GitReason::Secret, format!("this would leave: {why}")));
        }
        seen.extend(update.new.clone());
        flags.extend(screened.flags);
        Ok(())
    }

    /// What a ref's update is. Where the agent thinks that it is upstream is checked when it is pushed.
    async fn change(
        &self,
        update: &Update,
        received: &Received,
        repository: &Repository,
    ) -> Result<Change, (GitReason, String)> {
        let git = |arguments: &[&str]| {
            let mut command = self.home.git_in(repository.path(), arguments);
            command.env("GIT_OBJECT_DIRECTORY", &received.objects);
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &received.alternates);
            output(command)
        };
        let malformed = |what: &str| (GitReason::Malformed, what.to_owned());
        let Some(new) = &update.new else { return Ok(Change::Delete) };
        if update.reference.starts_with("refs/heads/") {
            let kind = git(&["cat-file", "-t", new]).await.map_err(|_| malformed("the object is missing"))?;
            if kind.trim_ascii() != b"commit" {
                return Err(malformed("a branch is at a commit"));
            }
        }
        let Some(old) = &update.old else { return Ok(Change::Create) };
        let forward = update.reference.starts_with("refs/heads/")
            && git(&["merge-base", "--is-ancestor", old, new]).await.is_ok();
        Ok(if forward { Change::Forward } else { Change::Force })
    }

    async fn tell_of(&self, screened: &Screened, repository: &str) {
        if screened.found.iter().any(|found| found.finding.rule == CANARY) {
            // It froze or it is gone; the push is refused either way.
            let _ = self.keeper.send(GateToKeeper::CanaryLeft);
        }
        for found in &screened.found {
            let event = FindingEvent {
                action: FindingAction::Block,
                rule: found.finding.rule.to_owned(),
                name: found.finding.name.as_deref().map(str::to_owned),
                place: found.finding.place.to_string(),
                shown: found.finding.shown.to_string(),
                through: found.finding.through.to_string(),
                host: None,
                method: Some("git push".to_owned()),
                path: Some(format!("{repository}: {}", found.at)),
            };
            if let Err(error) = self.recorder.record(AuditEvent::Finding(event)).await {
                tracing::error!(%error, "a finding is not in the audit log");
            }
        }
    }

    /// Approval, log, upstream, and the refs here.
    async fn carry_out(
        &self,
        hooks: &mut Hooks,
        judged: &mut [Judged],
        flags: &std::collections::BTreeSet<String>,
        atomic: bool,
        name: &str,
        repository: &Arc<Repository>,
    ) -> Result<(), HookError> {
        let asks = repository.rules().as_ref().is_none_or(|rules| rules.approval == Approval::Ask) || !flags.is_empty();
        let mut approved = false;
        if asks && judged.iter().any(|judged| judged.verdict.is_ok()) {
            match self.ask(hooks, judged, flags, name, repository).await? {
                Ok(()) => approved = true,
                Err(refusal) => refuse_all(judged, &refusal),
            }
        }
        if *self.frozen.borrow() {
            refuse_all(judged, &(GitReason::Frozen, "the bottle is frozen".to_owned()));
        }
        let mut allowed = Vec::new();
        for judged in judged.iter_mut() {
            let decision = if judged.verdict.is_ok() { Decision::Allow } else { Decision::Deny };
            let event = GitEvent {
                reason: judged.verdict.as_ref().err().map(|(reason, _)| *reason),
                reference: Some(judged.update.reference.clone()),
                old: judged.update.old.clone(),
                new: judged.update.new.clone(),
                approved: approved && judged.verdict.is_ok(),
                ..GitEvent::new(GitOperation::Push, name, decision)
            };
            match self.recorder.record(AuditEvent::Git(event)).await {
                Ok(seq) if judged.verdict.is_ok() => allowed.push((judged, seq)),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "a decision about a push is not in the audit log");
                    if judged.verdict.is_ok() {
                        judged.verdict = Err((GitReason::Frozen, "the audit log cannot be written".to_owned()));
                    }
                }
            }
        }
        if allowed.is_empty() {
            return Ok(());
        }
        let _ = hooks.say("pushing upstream").await;
        let updates: Vec<Update> = allowed.iter().map(|(judged, _)| judged.update.clone()).collect();
        let outcome = repository.mirror.push(&self.home, repository.path(), &updates, atomic).await;
        for line in &outcome.remarks {
            let _ = hooks.say(line).await;
        }
        let mut taken = Vec::new();
        for (judged, seq) in allowed {
            let answer = outcome.answers.get(&judged.update.reference).cloned();
            let refused = answer.unwrap_or_else(|| Err("the upstream said nothing of this ref".to_owned()));
            if refused.is_ok() {
                taken.push(judged.update.clone());
            }
            let ended = GitEnded { of: seq, taken: refused.is_ok() };
            judged.verdict = refused.map_err(|why| (GitReason::Moved, why));
            if let Err(error) = self.recorder.record(AuditEvent::GitEnded(ended)).await {
                tracing::error!(%error, "what became of a push is not in the audit log");
            }
        }
        repository.moved(&self.home, &taken).await;
        Ok(())
    }

    async fn ask(
        &self,
        hooks: &mut Hooks,
        judged: &[Judged],
        flags: &std::collections::BTreeSet<String>,
        name: &str,
        repository: &Arc<Repository>,
    ) -> Result<Verdict, HookError> {
        let updates: Vec<&Update> =
            judged.iter().filter(|judged| judged.verdict.is_ok()).map(|judged| &judged.update).collect();
        let request = shown::request(&self.home, repository, name, &updates, flags).await;
        let waiting = match Waiting::new(&self.requests, &self.bottle, request, self.wait) {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "the operator cannot be asked");
                return Ok(Err((GitReason::Unanswered, "the operator cannot be asked".to_owned())));
            }
        };
        for flag in flags {
            hooks.say(&format!("the operator is asked, for this changes {}", Escaped(flag))).await?;
        }
        let (minutes, seconds) = (self.wait.as_secs() / 60, self.wait.as_secs() % 60);
        let longest =
            if seconds == 0 { format!("{minutes} minutes") } else { format!("{} seconds", self.wait.as_secs()) };
        hooks.say(&format!("waiting for the operator: request {} (at most {longest})", waiting.id)).await?;
        Ok(match waiting.answer().await {
            Answer::Allow => Ok(()),
            Answer::Deny(why) => {
                let why = why.map(|why| format!(": {}", Escaped(&why))).unwrap_or_default();
                Err((GitReason::Denied, format!("the operator said no{why}")))
            }
            Answer::None => Err((GitReason::Unanswered, "the operator did not answer in time".to_owned())),
        })
    }
}

fn refuse_all(judged: &mut [Judged], refusal: &(GitReason, String)) {
    for judged in judged.iter_mut().filter(|judged| judged.verdict.is_ok()) {
        judged.verdict = Err(refusal.clone());
    }
}

/// Takes away what is in the quarantine, and leaves its directory to git.
fn empty(quarantine: &Path) {
    // git names it so; anything else is not ours to empty.
    if !quarantine.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tmp_objdir-incoming-")) {
        return;
    }
    for entry in std::fs::read_dir(quarantine).into_iter().flatten().flatten() {
        let path = entry.path();
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed {
            tracing::warn!(%error, "objects of a refused push stay");
        }
    }
}
