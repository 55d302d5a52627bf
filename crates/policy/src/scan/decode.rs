//! Encodings in which a value can hide, each as a cheap look for where it may be and a decoder of what is there.
//!
//! Invariant: a decoder takes time and space linear in what it is given and in what it gives; none follows a length or
//! an offset that the text names without checking it.

pub(super) mod base64;
pub(super) mod bases;
pub(super) mod class;
pub(super) mod deflate;
pub(super) mod delimited;
pub(crate) mod escapes;
pub(super) mod inflate;
pub(super) mod lanes;
pub(super) mod quoted;
pub(super) mod runs;
pub(super) mod utf8;
