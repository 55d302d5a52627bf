//! The file in which a client keeps its login: JSON, with the tokens where its provider says.
//!
//! Invariant: what is written back changes nothing but the tokens, and only where the file still holds what it was
//! last seen to hold.

use super::{Kept, Owned, Tokens, now, renewal::Renewed, write_whole};
use crate::time::rfc3339;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bottle_spec::{login::LoginSource, secret::Secret};
use serde_json::Value;
use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Larger files are no login.
const SIZE_MAX: u64 = 1 << 20;
/// A token is a header's value.
const TOKEN_MAX: usize = 16 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientFileError {
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0} is no JSON, or no file")]
    NoJson(PathBuf),
    #[error("{path} has no token at {pointer}")]
    NoToken { path: PathBuf, pointer: String },
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
}

pub(super) fn read(path: &Path, how: &LoginSource) -> Result<Tokens, ClientFileError> {
    let document = document(path)?;
    let found = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).and_then(token);
    let needed = |pointer: &str| {
        found(pointer).ok_or_else(|| ClientFileError::NoToken { path: path.to_owned(), pointer: pointer.to_owned() })
    };
    let (access, refresh) = (needed(&how.access)?, needed(&how.refresh)?);
    let given = how.expires.as_deref().and_then(|pointer| document.pointer(pointer)).and_then(Value::as_u64);
    let account = how.account.as_deref().and_then(found).map(|account| account.expose().to_owned());
    Ok(Tokens { until: given.or_else(|| end_of(access.expose())), access, refresh, account })
}

/// Gives the client the tokens that were renewed here. Not where its file holds others than it did.
pub(super) fn write_back(kept: &Kept, renewed: &Renewed) -> Result<bool, ClientFileError> {
    let (path, how) = (&kept.from, &kept.how);
    let mut document = document(path)?;
    let theirs = document.pointer(&how.refresh).and_then(Value::as_str);
    if theirs != Some(kept.theirs.expose()) {
        return Ok(false);
    }
    let mut put = |pointer: &str, value: Value| {
        if let Some(place) = document.pointer_mut(pointer) {
            *place = value;
        }
    };
    put(&how.access, kept.tokens.access.expose().into());
    put(&how.refresh, kept.tokens.refresh.expose().into());
    if let (Some(pointer), Some(until)) = (&how.expires, kept.tokens.until) {
        put(pointer, until.into());
    }
    if let Some(pointer) = &how.renewed {
        put(pointer, rfc3339(now()).into());
    }
    for (field, pointer) in &how.also {
        if let Some(value) = renewed.field(field) {
            put(pointer, value.clone());
        }
    }
    let written = fs::metadata(path).and_then(|metadata| {
        let text = Zeroizing::new(serde_json::to_vec_pretty(&document)?);
        let ours = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let by = Some((metadata.uid(), metadata.gid())).filter(|theirs| *theirs != ours);
        write_whole(path, &text, Owned { mode: metadata.permissions().mode() & 0o777, by })
    });
    written.map(|()| true).map_err(|source| ClientFileError::Write { path: path.clone(), source })
}

fn document(path: &Path) -> Result<Value, ClientFileError> {
    let failed = |source: io::Error| ClientFileError::Read { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > SIZE_MAX {
        return Err(ClientFileError::NoJson(path.to_owned()));
    }
    let bytes = fs::read(path).map(Zeroizing::new).map_err(failed)?;
    // The parser's own error may quote what it read.
    serde_json::from_slice(&bytes).map_err(|_| ClientFileError::NoJson(path.to_owned()))
}

/// What may stand in a header.
pub(super) fn token(text: &str) -> Option<Secret> {
    let whole = !text.is_empty() && text.len() <= TOKEN_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    whole.then(|| Secret::new(text.to_owned()))
}

/// When a token that is a JWT says that it expires, in milliseconds since 1970. Nothing else of it is believed.
pub(super) fn end_of(token: &str) -> Option<u64> {
    let payload = token.split('.').nth(1).filter(|_| token.split('.').count() == 3)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims.get("exp")?.as_u64()?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_says_when_it_expires_and_nothing_else_does() {
        let jwt = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(end_of(&jwt(r#"{"exp":1700000000}"#)), Some(1_700_000_000_000));
        for text in ["", "a.b.c", "sk-ant-oat01-x", &jwt("{}"), &jwt(r#"{"exp":-1}"#), &jwt(r#"{"exp":"1"}"#)] {
            assert_eq!(end_of(text), None, "{text}");
        }
        assert_eq!(end_of(&jwt(&format!(r#"{{"exp":{}}}"#, u64::MAX))), None);
    }

    #[test]
    fn a_token_is_one_word() {
        assert!(token("sk-ant-oat01-a_b.c").is_some());
        for text in ["", "a b", "a\r\nx: y", "ä", &"a".repeat(TOKEN_MAX + 1)] {
            assert!(token(text).is_none());
        }
    }
}
