//! The scanner from outside: what is hidden is found, and what a stream gives does not depend on how it is cut.

mod evasion;
mod hide;
mod memory;
mod split;

use bottle_policy::scan::{Finding, Known, Scanner, Shape};
use bytes::Bytes;
use std::sync::Arc;

/// What the rules detect: a GitHub token with a valid checksum. Of three parts, so that it stands nowhere as a whole.
pub(crate) const TOKEN: &str = concat!("ghp", "_q7Lm2XvTz9RkB4nYcW8sHdJ3fGpA6u", "1Gj56z");
/// What the gate injects.
pub(crate) const SECRET: &str = "Tr0ub4dor-and-3xtra/Zq==";
/// What was planted.
pub(crate) const CANARY: &str = "kX2vQp8sLw5nRt7yBd4hJc9m";

pub(crate) fn scanner() -> Arc<Scanner> {
    let known = Known::builder().secret("db", SECRET.as_bytes()).canary("aws", CANARY.as_bytes()).build();
    Arc::new(Scanner::new(known))
}

/// A value, and how its finding is told.
pub(crate) type Subject = (&'static str, fn(&Finding) -> bool);

pub(crate) fn subjects() -> [Subject; 3] {
    [
        (TOKEN, |it| it.rule.contains("github")),
        (SECRET, |it| it.rule == "known-secret" && it.name.as_deref() == Some("db")),
        (CANARY, |it| it.rule == "canary" && it.name.as_deref() == Some("aws")),
    ]
}

/// What a stream gives back and finds, in chunks of `size`.
pub(crate) fn through(shape: &Shape, text: &[u8], size: usize) -> (Vec<u8>, Vec<Finding>) {
    in_chunks(&scanner(), shape, text.chunks(size))
}

pub(crate) fn in_chunks<'t>(
    scanner: &Arc<Scanner>,
    shape: &Shape,
    chunks: impl Iterator<Item = &'t [u8]>,
) -> (Vec<u8>, Vec<Finding>) {
    let mut stream = scanner.stream(shape.clone());
    let (mut out, mut found) = (Vec::new(), Vec::new());
    for chunk in chunks {
        out.extend_from_slice(&stream.push(Bytes::copy_from_slice(chunk), &mut found));
    }
    out.extend_from_slice(&stream.finish(&mut found));
    (out, found)
}
