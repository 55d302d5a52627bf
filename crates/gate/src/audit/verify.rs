//! Verifying a log from its first line to its end.
//!
//! Invariant: memory is bounded by one line, whatever the input; what cannot be understood is never taken for sound.

use super::{
    CHECKPOINT_RECORDS,
    chain::{Claims, sound},
    sign,
};
use crate::limits::MAX_AUDIT_LINE;
use bottle_spec::event::{AuditRecord, GENESIS, Head};
use std::io::{self, BufRead, Read};

/// What a log must agree with besides itself. The default is nothing.
#[derive(Debug, Clone, Default)]
pub struct Against {
    /// Whose log it is to be.
    pub bottle: Option<String>,
    /// The user's public key, in hex, that every checkpoint must come from.
    pub signer: Option<String>,
    /// What was noted of it: it must hold these records at least, and end them with that hash.
    pub head: Option<Head>,
}

/// What a whole log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub bottle: Option<String>,
    pub records: u64,
    /// The last line's hash: noted elsewhere, it shows later whether lines were cut off the end.
    pub head: Option<String>,
    /// Bytes of an unfinished line at the end, as `kill -9` or a full disk leaves it.
    pub torn: u64,
    /// The last checkpoint, whose signatures hold, as do those of all before it.
    pub signed: Option<Signed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// So many records are vouched for, the checkpoint included.
    pub records: u64,
    /// Milliseconds since the Unix epoch.
    pub time: u64,
    /// The user's public key, in hex.
    pub signer: String,
}

/// The first line, counted from 1, that does not belong where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the audit log: {what}")]
pub struct Broken {
    pub line: u64,
    pub what: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("could not read the audit log")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the end of the audit log is missing, or it is an older copy: it holds {found} of {noted} records noted")]
    Truncated { found: u64, noted: u64 },
    #[error("what is noted beside the audit log is about another bottle")]
    OthersHead,
}

/// Reads a log, checks its chain and signatures, and whether it is the one that is meant.
pub fn verify(mut log: impl BufRead, against: &Against) -> Result<Summary, VerifyError> {
    let mut reading = Reading::new(against)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = log.by_ref().take(MAX_AUDIT_LINE as u64 + 1).read_until(b'\n', &mut line);
        read.map_err(VerifyError::Read)?;
        match line.strip_suffix(b"\n") {
            Some(body) => reading.line(body)?,
            None if line.len() > MAX_AUDIT_LINE => {
                return Err(reading.broken("it is longer than any line that a gate writes").into());
            }
            None => return reading.end(line.len() as u64),
        }
    }
}

struct Reading<'a> {
    against: &'a Against,
    summary: Summary,
    /// The next record must be a checkpoint.
    must_sign: bool,
}

impl<'a> Reading<'a> {
    fn new(against: &'a Against) -> Result<Reading<'a>, VerifyError> {
        if let (Some(head), Some(bottle)) = (&against.head, &against.bottle)
            && head.bottle != *bottle
        {
            return Err(VerifyError::OthersHead);
        }
        let summary = Summary { bottle: against.bottle.clone(), records: 0, head: None, torn: 0, signed: None };
        Ok(Reading { against, summary, must_sign: false })
    }

    fn broken(&self, what: &'static str) -> Broken {
        Broken { line: self.summary.records.saturating_add(1), what }
    }

    fn line(&mut self, body: &[u8]) -> Result<(), Broken> {
        let claims = sound(body).map_err(|what| self.broken(what))?;
        if claims.seq != self.summary.records {
            return Err(self.broken("a line is missing, repeated or moved"));
        }
        if claims.prev != self.summary.head.as_deref().unwrap_or(GENESIS) {
            return Err(self.broken("it does not follow the line before it"));
        }
        if self.summary.bottle.as_ref().is_some_and(|bottle| *bottle != claims.bottle) {
            return Err(self.broken("it is another bottle's"));
        }
        self.signatures(body, &claims).map_err(|what| self.broken(what))?;
        let records = self.summary.records.saturating_add(1);
        if let Some(head) = &self.against.head
            && head.records == records
            && head.hash != claims.hash
        {
            return Err(self.broken("it is not the record that was noted beside the log"));
        }
        self.summary.records = records;
        self.summary.head = Some(claims.hash);
        self.summary.bottle = Some(claims.bottle);
        Ok(())
    }

    /// A gate signs at its start and then at least every so many records, whatever happens.
    fn signatures(&mut self, body: &[u8], claims: &Claims) -> Result<(), &'static str> {
        let unsigned = self.summary.records.saturating_sub(self.summary.signed.as_ref().map_or(0, |s| s.records));
        if claims.event != "checkpoint" {
            if self.must_sign || unsigned >= CHECKPOINT_RECORDS {
                return Err("a checkpoint is missing before it");
            }
            if self.against.signer.is_some() && claims.seq == 0 && claims.event != "gate_started" {
                return Err("a log begins with the start of a gate");
            }
            self.must_sign = claims.event == "gate_started";
            return Ok(());
        }
        self.must_sign = false;
        let record: AuditRecord = serde_json::from_slice(body).map_err(|_| "it is not a checkpoint")?;
        let bottle_spec::event::AuditEvent::Checkpoint(checkpoint) = record.event else {
            return Err("it is not a checkpoint");
        };
        sign::check(&checkpoint, &claims.bottle, claims.seq, claims.time, &claims.prev)?;
        if self.against.signer.as_ref().is_some_and(|signer| *signer != checkpoint.signer) {
            return Err("it is signed by another user's key");
        }
        let records = self.summary.records.saturating_add(1);
        self.summary.signed = Some(Signed { records, time: claims.time, signer: checkpoint.signer });
        Ok(())
    }

    fn end(mut self, torn: u64) -> Result<Summary, VerifyError> {
        let noted = self.against.head.as_ref().map_or(0, |head| head.records);
        if self.summary.records < noted {
            return Err(VerifyError::Truncated { found: self.summary.records, noted });
        }
        self.summary.torn = torn;
        Ok(self.summary)
    }
}
