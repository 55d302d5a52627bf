//! The hash chain, without input or output: makes lines, and reads them back.
//!
//! Invariant: a line's hash covers its exact bytes, so verifying depends on no JSON library's way of writing.

use super::sign::hex;
use bottle_spec::{
    event::{AuditEvent, GENESIS, Head},
    slug::Slug,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a line ends with while its hash is taken, and how much of that gives way to the hash.
const UNSEALED: &[u8] = b"\"hash\":\"\"}";
const AFTER_HASH: &[u8] = b"\"}";

/// Where the log stands: what the next line must say.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) bottle: String,
    pub(super) seq: u64,
    pub(super) prev: String,
}

/// [`bottle_spec::event::AuditRecord`], borrowed.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    time: u64,
    bottle: &'a str,
    #[serde(flatten)]
    event: &'a AuditEvent,
    prev: &'a str,
    hash: &'a str,
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

    /// Puts the next line behind `lines`, and goes on behind it. On an error nothing has changed but the end of
    /// `lines`.
    pub(super) fn link(&mut self, time: u64, event: &AuditEvent, lines: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let start = lines.len();
        let line = Line { seq: self.seq, time, bottle: &self.bottle, event, prev: &self.prev, hash: "" };
        serde_json::to_writer(&mut *lines, &line)?;
        let hash = hex(&Sha256::digest(lines.get(start..).unwrap_or_default()));
        lines.truncate(lines.len().saturating_sub(AFTER_HASH.len()));
        lines.extend_from_slice(hash.as_bytes());
        lines.extend_from_slice(AFTER_HASH);
        lines.push(b'\n');
        self.seq = self.seq.saturating_add(1);
        self.prev = hash;
        Ok(())
    }

    pub(super) fn head(&self) -> Head {
        Head { bottle: self.bottle.clone(), records: self.seq, hash: self.prev.clone() }
    }
}

/// What verifying needs of a line; the event may be of a kind that this version does not know.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) seq: u64,
    pub(super) time: u64,
    pub(super) bottle: String,
    #[serde(default)]
    pub(super) event: String,
    pub(super) prev: String,
    pub(super) hash: String,
}

/// The claims of a line whose hash is right.
pub(super) fn sound(line: &[u8]) -> Result<Claims, &'static str> {
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
