//! Asking the operator: a request as a file, the answer as another.
//!
//! Invariants: no answer in time is a no; an answer counts only for the very file that was shown; a request whose
//! asker is gone goes with it.

use bottle_spec::operator::{DECISION, OperatorDecision, OperatorRequest, PushRequest, REQUEST, Requested, digest};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long the operator has at most: as long as a client waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How often it is looked for an answer.
const LOOK: Duration = Duration::from_millis(40);

#[derive(Debug, thiserror::Error)]
pub(super) enum ApproveError {
    #[error("the request cannot be written down")]
    Write(#[source] io::Error),
    #[error("the request has no JSON form")]
    Encode(#[source] serde_json::Error),
}

/// What the operator said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Allow,
    Deny(Option<String>),
    /// Nothing in time.
    None,
}

/// A request that waits; dropped, it is taken back.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: String,
    request: PathBuf,
    decision: PathBuf,
    digest: String,
    /// How long the operator has.
    wait: Duration,
}

impl Waiting {
    /// Writes the request where the operator's command finds it.
    pub(super) fn new(
        directory: &Path,
        bottle: &str,
        push: PushRequest,
        wait: Duration,
    ) -> Result<Waiting, ApproveError> {
        let mut letters = [0_u8; 6];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut letters)
            .map_err(|_| ApproveError::Write(io::Error::other("no random numbers could be had")))?;
        let id: String = letters.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        let made = now();
        let expires = made.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let what = Requested::Push(push);
        let request = OperatorRequest { id: id.clone(), bottle: bottle.to_owned(), made, expires, what };
        let text = serde_json::to_vec_pretty(&request).map_err(ApproveError::Encode)?;
        let waiting = Waiting {
            request: directory.join(format!("{id}{REQUEST}")),
            decision: directory.join(format!("{id}{DECISION}")),
            digest: digest(&text),
            wait,
            id,
        };
        // Whole or not at all.
        let making = directory.join(format!(".{}.new", waiting.id));
        fs::write(&making, &text).and_then(|()| fs::rename(&making, &waiting.request)).map_err(ApproveError::Write)?;
        Ok(waiting)
    }

    pub(super) async fn answer(&self) -> Answer {
        let looking = async {
            loop {
                if let Some(answer) = self.look() {
                    return answer;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(self.wait, looking).await.unwrap_or(Answer::None)
    }

    /// An answer that is not to this request is a no.
    fn look(&self) -> Option<Answer> {
        let text = fs::read(&self.decision).ok()?;
        let decision = serde_json::from_slice::<OperatorDecision>(&text).ok();
        let own = decision.filter(|decision| decision.id == self.id && decision.request == self.digest);
        Some(match own {
            Some(OperatorDecision { allow: true, .. }) => Answer::Allow,
            Some(OperatorDecision { why, .. }) => Answer::Deny(why),
            None => Answer::Deny(Some("the answer was to another request".to_owned())),
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // What stays is old by its own word.
        let _ = (fs::remove_file(&self.request), fs::remove_file(&self.decision));
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push() -> PushRequest {
        PushRequest {
            repository: "app".to_owned(),
            upstream: "/x".to_owned(),
            refs: Vec::new(),
            flags: Vec::new(),
            commits: Vec::new(),
            diff: String::new(),
            cut: false,
        }
    }

    #[tokio::test]
    async fn only_an_answer_to_this_very_request_is_a_yes() {
        let dir = tempfile::tempdir().unwrap();
        let waiting = Waiting::new(dir.path(), "a-bcdef", push(), PATIENCE).unwrap();
        let answer =
            |request: String| OperatorDecision { allow: true, ..OperatorDecision::no(&waiting.id, request, "") };
        fs::write(&waiting.decision, serde_json::to_vec(&answer("0".repeat(64))).unwrap()).unwrap();
        assert!(matches!(waiting.answer().await, Answer::Deny(Some(_))));
        let shown = digest(&fs::read(&waiting.request).unwrap());
        fs::write(&waiting.decision, serde_json::to_vec(&answer(shown)).unwrap()).unwrap();
        assert_eq!(waiting.answer().await, Answer::Allow);
        drop(waiting);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_a_no() {
        let dir = tempfile::tempdir().unwrap();
        let waiting = Waiting::new(dir.path(), "a-bcdef", push(), PATIENCE).unwrap();
        assert_eq!(waiting.answer().await, Answer::None);
    }
}
