//! The end of a log that is gone on with: its last line, and what was noted of it.
//!
//! Invariant: only as much of a log is read as was written since the noted checkpoint, and one line more.

use super::{
    AuditError,
    chain::{Chain, sound},
};
use crate::limits::MAX_AUDIT_LINE;
use bottle_spec::event::Head;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

/// Where the last whole line ends, and that line without its break; reads the end of the file alone.
pub(super) fn last_line(file: &mut File, whole: u64) -> Result<(u64, Option<Vec<u8>>), AuditError> {
    // A torn line and a whole one before it both fit. What is torn may be several lines that were written at once.
    let start = whole.saturating_sub(2 * MAX_AUDIT_LINE as u64);
    let tail = read(file, start, whole)?;
    let mut lines = tail.rsplitn(3, |byte| *byte == b'\n');
    let torn = lines.next().map_or(0, <[u8]>::len) as u64;
    match lines.next() {
        Some(last) => Ok((whole - torn, Some(last.to_vec()))),
        // No line break in all of a short file: its only line is torn.
        None if start == 0 => Ok((0, None)),
        None => Err(AuditError::Damaged { what: "it is not made of lines" }),
    }
}

/// Whether the log that ends at `end` with `chain` holds what was noted; gives the number of records behind its last
/// checkpoint, or more.
pub(super) fn holds(file: &mut File, end: u64, chain: &Chain, noted: &Head) -> Result<u64, AuditError> {
    let damaged = |what| AuditError::Damaged { what };
    if noted.bottle != chain.bottle {
        return Err(damaged("what is noted beside it is about another bottle"));
    }
    if chain.seq < noted.records {
        return Err(damaged("lines are missing at its end"));
    }
    let mut reach = 2 * MAX_AUDIT_LINE as u64;
    loop {
        let start = end.saturating_sub(reach);
        let tail = read(file, start, end)?;
        let skip =
            if start == 0 { 0 } else { tail.iter().position(|byte| *byte == b'\n').map_or(tail.len(), |at| at + 1) };
        let lines = tail.get(skip..).unwrap_or_default().split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut first = None;
        for line in lines {
            let claims = sound(line).map_err(damaged)?;
            first.get_or_insert(claims.seq);
            if claims.seq.saturating_add(1) == noted.records && claims.hash != noted.hash {
                return Err(damaged("it is not the log that was noted beside it"));
            }
        }
        if start == 0 || first.is_some_and(|first| first < noted.records) {
            return Ok(chain.seq.saturating_sub(noted.records));
        }
        reach = reach.saturating_mul(4);
    }
}

fn read(file: &mut File, start: u64, end: u64) -> Result<Vec<u8>, AuditError> {
    file.seek(SeekFrom::Start(start)).map_err(AuditError::Read)?;
    let mut bytes = Vec::new();
    file.take(end.saturating_sub(start)).read_to_end(&mut bytes).map_err(AuditError::Read)?;
    Ok(bytes)
}
