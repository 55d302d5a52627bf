//! The audit log: one line of JSON for each security decision, chained by hash ([`bottle_spec::event`]).
//!
//! Invariant: [`Audit::record`] returns `Ok` only after the whole line is in the file, so what was acted on is
//! written down; on `Err` the caller denies. One line is one `write(2)` to a file opened for appending.
//!
//! **What survives.** A line is in the kernel's hands when `record` returns: `kill -9` of any process loses none.
//! `fdatasync` runs when the gate starts and when it ends, not per line: a power cut may lose what the kernel had not
//! written back yet (30 s by default on Linux).
//!
//! **A torn end.** Bytes after the last line break are a line whose write did not finish: nothing was acted on by it.
//! [`verify`] reports them and calls the log whole; the next gate cuts them off and goes on behind the last line.
//! A last line that is complete but not a sound record is damage, and the gate does not start on it.
//!
//! **What the chain shows.** Any edit, removal or reordering of lines, and lines of another bottle. Not shown by the
//! file alone: whole lines cut off at its end (compare [`Summary::head`] with one noted earlier), or a log rewritten
//! from its first line by someone who owns the file.

mod chain;

use crate::limits::{MAX_AUDIT_BYTES, MAX_AUDIT_LINE};
use bottle_spec::{event::AuditEvent, slug::Slug};
use chain::Chain;
pub(crate) use chain::hex;
pub use chain::{Broken, Summary, VerifyError, verify};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("could not read the audit log")]
    Read(#[source] io::Error),
    #[error("could not set the audit log to appending")]
    Append(#[source] io::Error),
    #[error("could not cut the unfinished line off the audit log")]
    Cut(#[source] io::Error),
    #[error("the end of the audit log is damaged ({what}); move the file away to start another, and keep it")]
    Damaged { what: &'static str },
    #[error("could not write to the audit log")]
    Write(#[source] io::Error),
    #[error("could not bring the audit log to the disk")]
    Sync(#[source] io::Error),
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
}

#[derive(Debug)]
struct Log {
    file: File,
    length: u64,
    chain: Chain,
    line: Vec<u8>,
}

impl Audit {
    /// Goes on with the log in `file`, which must be open for reading and writing.
    pub fn resume(mut file: File, bottle: &Slug) -> Result<Audit, AuditError> {
        let flags = rustix::fs::fcntl_getfl(&file).map_err(|err| AuditError::Append(err.into()))?;
        rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::APPEND)
            .map_err(|err| AuditError::Append(err.into()))?;
        let whole = file.seek(SeekFrom::End(0)).map_err(AuditError::Read)?;
        let (length, last) = last_line(&mut file, whole)?;
        if length < whole {
            file.set_len(length).map_err(AuditError::Cut)?;
        }
        let chain = Chain::after(bottle, last.as_deref()).map_err(|what| AuditError::Damaged { what })?;
        file.sync_data().map_err(AuditError::Sync)?;
        Ok(Audit { log: Arc::new(Mutex::new(Log { file, length, chain, line: Vec::with_capacity(512) })) })
    }

    /// Writes one event. On an error nothing may be done that the event would have allowed.
    pub fn record(&self, event: AuditEvent) -> Result<(), AuditError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.log.lock().unwrap_or_else(PoisonError::into_inner).append(time, event)
    }

    /// Brings what was written to the disk. Blocks; for the start and the end of a gate.
    pub fn sync(&self) -> Result<(), AuditError> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).file.sync_data().map_err(AuditError::Sync)
    }
}

impl Log {
    fn append(&mut self, time: u64, event: AuditEvent) -> Result<(), AuditError> {
        let next = self.chain.link(time, event, &mut self.line).map_err(AuditError::Encode)?;
        let added = self.line.len();
        if added > MAX_AUDIT_LINE {
            return Err(AuditError::TooLong);
        }
        let length = self.length.saturating_add(added as u64);
        if length > MAX_AUDIT_BYTES {
            return Err(AuditError::Full);
        }
        if let Err(err) = self.file.write_all(&self.line) {
            // A part of the line may be there (a full disk). If it cannot be cut off now, the chain must not go on
            // behind it: every later write fails here again, until a new gate cuts it off.
            let cut = self.file.set_len(self.length);
            self.length = if cut.is_ok() { self.length } else { MAX_AUDIT_BYTES };
            return Err(AuditError::Write(err));
        }
        self.length = length;
        self.chain = next;
        Ok(())
    }
}

/// Where the last whole line ends, and that line without its break; reads the end of the file alone.
fn last_line(file: &mut File, whole: u64) -> Result<(u64, Option<Vec<u8>>), AuditError> {
    // A torn line and a whole one before it both fit.
    let start = whole.saturating_sub(2 * MAX_AUDIT_LINE as u64);
    file.seek(SeekFrom::Start(start)).map_err(AuditError::Read)?;
    let mut tail = Vec::new();
    file.take(whole - start).read_to_end(&mut tail).map_err(AuditError::Read)?;
    let mut lines = tail.rsplitn(3, |byte| *byte == b'\n');
    let torn = lines.next().map_or(0, <[u8]>::len) as u64;
    match lines.next() {
        Some(last) => Ok((whole - torn, Some(last.to_vec()))),
        // No line break in all of a short file: its only line is torn.
        None if start == 0 => Ok((0, None)),
        None => Err(AuditError::Damaged { what: "it is not made of lines" }),
    }
}

#[cfg(test)]
mod tests;
