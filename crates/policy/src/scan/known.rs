//! Values known beforehand: what the gate injects, what the user protects, and the canaries planted in the bottle.
//!
//! Invariant: values are wiped when this is dropped, and nothing prints them.

use crate::scan::{
    Severity,
    finding::{CANARY, Finding, KNOWN_SECRET, Place, Shown, Steps},
};
use std::{fmt, ops::Range, sync::Arc};
use zeroize::Zeroizing;

/// Shorter values are not searched at all: they would be found everywhere.
pub const MIN_KNOWN: usize = 4;

/// What is searched besides the rules. Empty by default.
#[derive(Debug, Default)]
pub struct Known {
    entries: Vec<Entry>,
}

impl Known {
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives every place where a value stands in `text`.
    pub(super) fn find(&self, text: &[u8], hit: &mut dyn FnMut(&Entry, Range<usize>)) {
        for entry in &self.entries {
            for start in memchr::memmem::find_iter(text, entry.value.as_slice()) {
                hit(entry, start..start + entry.value.len());
            }
        }
    }
}

/// One value.
pub(super) struct Entry {
    name: Arc<str>,
    canary: bool,
    value: Zeroizing<Vec<u8>>,
}

impl Entry {
    pub(super) fn finding(&self, span: Option<Range<u64>>) -> Finding {
        Finding {
            rule: if self.canary { CANARY } else { KNOWN_SECRET },
            severity: Severity::Critical,
            place: Place::Body,
            shown: Shown::of(&self.value),
            name: Some(Arc::clone(&self.name)),
            span,
            through: Steps::default(),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).field("canary", &self.canary).finish_non_exhaustive()
    }
}

/// Collects values for a [`Known`].
#[derive(Debug, Default)]
pub struct Builder {
    entries: Vec<Entry>,
}

impl Builder {
    /// A value that must not leave, by the name under which a finding tells it.
    #[must_use]
    pub fn secret(self, name: impl Into<Arc<str>>, value: &[u8]) -> Builder {
        self.entry(name.into(), false, value)
    }

    /// A planted value; that it leaves proves that somebody looks for secrets.
    #[must_use]
    pub fn canary(self, name: impl Into<Arc<str>>, value: &[u8]) -> Builder {
        self.entry(name.into(), true, value)
    }

    fn entry(mut self, name: Arc<str>, canary: bool, value: &[u8]) -> Builder {
        if value.len() >= MIN_KNOWN {
            self.entries.push(Entry { name, canary, value: Zeroizing::new(value.to_vec()) });
        }
        self
    }

    #[must_use]
    pub fn build(self) -> Known {
        Known { entries: self.entries }
    }
}
