//! The hash chain, without input or output: makes lines, and verifies a log.
//!
//! Invariant: a line's hash covers its exact bytes, so verifying depends on no JSON library's way of writing.

use bottle_spec::{
    event::{AuditEvent, AuditRecord},
    slug::Slug,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, Read};

use crate::limits::MAX_AUDIT_LINE;

/// The `prev` of the first line.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What a line ends with while its hash is taken, and how much of that gives way to the hash.
const UNSEALED: &[u8] = b"\"hash\":\"\"}";
const AFTER_HASH: &[u8] = b"\"}";

/// Where the log stands: what the next line must say.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    bottle: String,
    seq: u64,
    prev: String,
}

impl Chain {
    /// The chain behind a log's last line (`None` = an empty log).
    pub(super) fn after(bottle: &Slug, last: Option<&[u8]>) -> Result<Chain, &'static str> {
        let mut chain = Chain { bottle: bottle.to_string(), seq: 0, prev: GENESIS.to_owned() };
        if let Some(line) = last {
            let claims = sound(line)?;
            if claims.bottle != chain.bottle {
                return Err("it is another bottle's");
            }
            chain.seq = claims.seq.saturating_add(1);
            chain.prev = claims.hash;
        }
        Ok(chain)
    }

    /// Puts the next line into `line`, and gives the chain behind it.
    pub(super) fn link(&self, time: u64, event: AuditEvent, line: &mut Vec<u8>) -> Result<Chain, serde_json::Error> {
        let record = AuditRecord {
            seq: self.seq,
            time,
            bottle: self.bottle.clone(),
            event,
            prev: self.prev.clone(),
            hash: String::new(),
        };
        line.clear();
        serde_json::to_writer(&mut *line, &record)?;
        let hash = hex(&Sha256::digest(&*line));
        line.truncate(line.len().saturating_sub(AFTER_HASH.len()));
        line.extend_from_slice(hash.as_bytes());
        line.extend_from_slice(AFTER_HASH);
        line.push(b'\n');
        Ok(Chain { bottle: record.bottle, seq: self.seq.saturating_add(1), prev: hash })
    }
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
}

/// Reads a log from its first line to its end. Memory is bounded by one line, whatever the input.
pub fn verify(mut log: impl BufRead) -> Result<Summary, VerifyError> {
    let mut summary = Summary { bottle: None, records: 0, head: None, torn: 0 };
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = log.by_ref().take(MAX_AUDIT_LINE as u64 + 1).read_until(b'\n', &mut line);
        read.map_err(VerifyError::Read)?;
        let broken = |what| Broken { line: summary.records.saturating_add(1), what };
        let Some(body) = line.strip_suffix(b"\n") else {
            if line.len() > MAX_AUDIT_LINE {
                return Err(broken("it is longer than any line that a gate writes").into());
            }
            summary.torn = line.len() as u64;
            return Ok(summary);
        };
        let claims = sound(body).map_err(broken)?;
        if claims.seq != summary.records {
            return Err(broken("a line is missing, repeated or moved").into());
        }
        if claims.prev != summary.head.as_deref().unwrap_or(GENESIS) {
            return Err(broken("it does not follow the line before it").into());
        }
        if summary.bottle.as_ref().is_some_and(|bottle| *bottle != claims.bottle) {
            return Err(broken("it is another bottle's").into());
        }
        summary.records = summary.records.saturating_add(1);
        summary.head = Some(claims.hash);
        summary.bottle = Some(claims.bottle);
    }
}

/// What verifying needs of a line; the event may be of a kind that this version does not know.
#[derive(Deserialize)]
struct Claims {
    seq: u64,
    bottle: String,
    prev: String,
    hash: String,
}

/// The claims of a line whose hash is right.
fn sound(line: &[u8]) -> Result<Claims, &'static str> {
    let claims: Claims = serde_json::from_slice(line).map_err(|_| "it is not an audit record")?;
    let unsealed = line
        .strip_suffix(AFTER_HASH)
        .and_then(|line| line.strip_suffix(claims.hash.as_bytes()))
        .map(|head| [head, AFTER_HASH].concat())
        .filter(|line| line.ends_with(UNSEALED))
        .ok_or("its hash does not stand at its end")?;
    if hex(&Sha256::digest(&unsealed)) != claims.hash {
        return Err("it was changed after it was written");
    }
    Ok(claims)
}

/// Two digits for each byte; twice per request, so not by the machinery of `fmt`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
