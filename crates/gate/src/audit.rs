//! The audit log: one line of JSON for each security decision, chained by hash and signed at checkpoints
//! ([`bottle_spec::event`]; docs/audit.md has it all).
//!
//! Invariants: [`Audit::record`] returns `Ok` only after the whole line is in the file, so what was acted on is written
//! down; on `Err` the caller denies. No more than [`CHECKPOINT_RECORDS`] records stand without a checkpoint behind
//! them: where one cannot be written, no further record is. What is written at once is one `write(2)` to a file opened
//! for appending.
//!
//! **What survives.** A line is in the kernel's hands when `record` returns: `kill -9` of any process loses none of
//! them, only what [`Audit::later`] holds back for some seconds. The gate calls no `fsync` while it serves (it would
//! stop the event loop): at every checkpoint it tells the keeper, whose own thread brings the log to the disk and then
//! notes the checkpoint beside it. A power cut may lose what was written since, which is never more than the noted
//! checkpoint lacks.
//!
//! **A torn end.** Bytes after the last line break are a line whose write did not finish: nothing was acted on by it.
//! [`verify`] reports them and calls the log whole; the next gate cuts them off and goes on behind the last line.
//! A last line that is complete but not a sound record is damage, and so is a log that lacks what was noted of it: the
//! gate does not start on it.
//!
//! **What is shown.** Any edit, removal or reordering of lines, lines of another bottle, an end cut off before the
//! noted checkpoint, and anything rewritten before a checkpoint without the user's key. Not shown: changes behind the
//! last checkpoint by someone who owns the file, and anything at all by someone who has the user's key.

mod chain;
pub mod sign;
mod tail;
mod verify;

use crate::limits::{MAX_AUDIT_BYTES, MAX_AUDIT_LATER, MAX_AUDIT_LINE};
use bottle_spec::{
    event::{AuditEvent, Decision, Head},
    slug::Slug,
};
use chain::Chain;
pub(crate) use sign::hex;
use sign::{KeyError, Signer};
use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{Notify, watch};
pub use verify::{Against, Broken, Signed, Summary, VerifyError, verify};

/// The most records between two checkpoints.
pub const CHECKPOINT_RECORDS: u64 = 256;
/// The longest that a record waits for a checkpoint, and that [`Audit::later`] holds an event back.
pub const CHECKPOINT_TIME: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("could not read the audit log")]
    Read(#[source] io::Error),
    #[error("could not set the audit log to appending")]
    Append(#[source] io::Error),
    #[error("could not cut the unfinished line off the audit log")]
    Cut(#[source] io::Error),
    #[error("the end of the audit log is damaged ({what}); move its directory away to start another, and keep it")]
    Damaged { what: &'static str },
    #[error("the audit log cannot be signed")]
    Key(#[source] KeyError),
    #[error("could not write to the audit log")]
    Write(#[source] io::Error),
    #[error("the audit log has reached its {MAX_AUDIT_BYTES} bytes")]
    Full,
    #[error("the audit event does not fit a line")]
    TooLong,
    #[error("the audit event could not be put into JSON")]
    Encode(#[source] serde_json::Error),
}

/// Cheap to clone; all clones write one log.
#[derive(Debug, Clone)]
pub struct Audit {
    log: Arc<Mutex<Log>>,
    /// Wakes [`Audit::due`] when there is something to sign.
    dirty: Arc<Notify>,
    noted: watch::Sender<Option<Head>>,
}

#[derive(Debug)]
struct Log {
    file: File,
    length: u64,
    chain: Chain,
    signer: Signer,
    /// Records behind the last checkpoint.
    unsigned: u64,
    /// Decisions that could not be written.
    lost: u64,
    /// Held back by [`Audit::later`], with their times.
    later: Vec<(u64, AuditEvent)>,
    /// When the next checkpoint is due; `None` = there is nothing to sign.
    due: Option<Instant>,
    lines: Vec<u8>,
}

impl Audit {
    /// Goes on with the log in `file`, which must be open for reading and writing, and must hold what `noted` says.
    pub fn resume(mut file: File, bottle: &Slug, signer: Signer, noted: &Head) -> Result<Audit, AuditError> {
        let flags = rustix::fs::fcntl_getfl(&file).map_err(|err| AuditError::Append(err.into()))?;
        rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::APPEND)
            .map_err(|err| AuditError::Append(err.into()))?;
        let whole = file.seek(SeekFrom::End(0)).map_err(AuditError::Read)?;
        let (length, last) = tail::last_line(&mut file, whole)?;
        let chain = Chain::after(bottle, last.as_deref()).map_err(|what| AuditError::Damaged { what })?;
        let unsigned = tail::holds(&mut file, length, &chain, noted)?;
        if length < whole {
            file.set_len(length).map_err(AuditError::Cut)?;
        }
        let log = Log {
            file,
            length,
            chain,
            signer,
            unsigned,
            lost: 0,
            later: Vec::new(),
            due: None,
            lines: Vec::with_capacity(1024),
        };
        Ok(Audit { log: Arc::new(Mutex::new(log)), dirty: Arc::default(), noted: watch::Sender::new(None) })
    }

    /// Writes one event, and tells its `seq`. On an error nothing may be done that the event would have allowed.
    pub fn record(&self, event: AuditEvent) -> Result<u64, AuditError> {
        self.write(Some(event), Sign::WhereDue)
    }

    /// Writes one event and vouches for it at once.
    pub fn record_signed(&self, event: AuditEvent) -> Result<u64, AuditError> {
        self.write(Some(event), Sign::Now)
    }

    /// Takes an event that nothing depends on; it is written with the next that does, or at the next checkpoint.
    pub fn later(&self, event: AuditEvent) {
        let mut log = self.log();
        log.later.push((now(), event));
        let full = log.later.len() >= MAX_AUDIT_LATER;
        self.wake(&mut log);
        drop(log);
        if full && let Err(error) = self.write(None, Sign::WhereDue) {
            tracing::error!(%error, "what was held back for the audit log could not be written");
            self.log().later.clear();
        }
    }

    /// Writes a checkpoint, if there is anything to vouch for.
    pub fn checkpoint(&self) -> Result<(), AuditError> {
        self.write(None, Sign::Now).map(drop)
    }

    /// Returns when a checkpoint is due. Loses nothing when it is dropped.
    pub async fn due(&self) {
        loop {
            let due = self.log().due;
            match due {
                Some(due) => return tokio::time::sleep_until(due.into()).await,
                None => self.dirty.notified().await,
            }
        }
    }

    /// Hears of each checkpoint that is in the file; the newest one counts.
    pub fn noted(&self) -> watch::Receiver<Option<Head>> {
        self.noted.subscribe()
    }

    fn write(&self, event: Option<AuditEvent>, sign: Sign) -> Result<u64, AuditError> {
        let mut log = self.log();
        // A permission that cannot be written becomes a denial, and that is counted.
        let counts = event.as_ref().is_some_and(|event| !is_permission(event));
        let seq = match log.append(event, sign) {
            Ok(seq) => seq,
            Err(error) => {
                log.lost = log.lost.saturating_add(u64::from(counts));
                // Not at once again: the disk is full for a while.
                log.due = Some(Instant::now() + CHECKPOINT_TIME);
                self.dirty.notify_one();
                return Err(error);
            }
        };
        if log.unsigned == 0 {
            log.due = None;
            self.noted.send_replace(Some(log.chain.head()));
        } else {
            self.wake(&mut log);
        }
        Ok(seq)
    }

    fn wake(&self, log: &mut Log) {
        if log.due.is_none() {
            log.due = Some(Instant::now() + CHECKPOINT_TIME);
            self.dirty.notify_one();
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    WhereDue,
    Now,
}

impl Log {
    /// Writes what was lost, what was held back, and `event`, with the checkpoints that belong between them. All of it
    /// is written or nothing.
    fn append(&mut self, event: Option<AuditEvent>, sign: Sign) -> Result<u64, AuditError> {
        let before = (self.chain.clone(), self.unsigned);
        self.lines.clear();
        let written = self.compose(event, sign).and_then(|seq| self.put().map(|()| seq));
        match written {
            Ok(seq) => {
                self.later.clear();
                self.lost = 0;
                Ok(seq)
            }
            Err(error) => {
                (self.chain, self.unsigned) = before;
                Err(error)
            }
        }
    }

    fn compose(&mut self, event: Option<AuditEvent>, sign: Sign) -> Result<u64, AuditError> {
        let now = now();
        if self.lost > 0 {
            self.link(now, &AuditEvent::Gap { lost: self.lost })?;
        }
        let later = std::mem::take(&mut self.later);
        let linked = later.iter().try_for_each(|(time, event)| self.link(*time, event).map(drop));
        self.later = later;
        linked?;
        let seq = event.map_or(Ok(self.chain.seq), |event| self.link(now, &event))?;
        if sign == Sign::Now && self.unsigned > 0 {
            self.sign(now)?;
        }
        Ok(seq)
    }

    /// Puts an event behind the lines, and before it the checkpoint that it may not stand without.
    fn link(&mut self, time: u64, event: &AuditEvent) -> Result<u64, AuditError> {
        if self.unsigned >= CHECKPOINT_RECORDS {
            self.sign(time)?;
        }
        let (start, seq) = (self.lines.len(), self.chain.seq);
        self.chain.link(time, event, &mut self.lines).map_err(AuditError::Encode)?;
        self.unsigned = self.unsigned.saturating_add(1);
        if self.lines.len().saturating_sub(start) > MAX_AUDIT_LINE { Err(AuditError::TooLong) } else { Ok(seq) }
    }

    fn sign(&mut self, time: u64) -> Result<(), AuditError> {
        let Chain { bottle, seq, prev } = &self.chain;
        let checkpoint = AuditEvent::Checkpoint(self.signer.checkpoint(bottle, *seq, time, prev));
        self.chain.link(time, &checkpoint, &mut self.lines).map_err(AuditError::Encode)?;
        self.unsigned = 0;
        Ok(())
    }

    fn put(&mut self) -> Result<(), AuditError> {
        let length = self.length.saturating_add(self.lines.len() as u64);
        if length > MAX_AUDIT_BYTES {
            return Err(AuditError::Full);
        }
        if let Err(err) = self.file.write_all(&self.lines) {
            // A part of the lines may be there (a full disk). If it cannot be cut off now, the chain must not go on
            // behind it: every later write fails here again, until a new gate cuts it off.
            let cut = self.file.set_len(self.length);
            self.length = if cut.is_ok() { self.length } else { MAX_AUDIT_BYTES };
            return Err(AuditError::Write(err));
        }
        self.length = length;
        Ok(())
    }
}

fn is_permission(event: &AuditEvent) -> bool {
    match event {
        AuditEvent::Egress(egress) => egress.decision == Decision::Allow,
        AuditEvent::Git(git) => git.decision == Decision::Allow,
        _ => false,
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
