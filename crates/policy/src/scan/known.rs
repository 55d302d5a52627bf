//! Values known beforehand: what the gate injects, what the user protects, and the canaries planted in the bottle.
//!
//! Rather than decoding a text in every way that would show a value, the value is spelled beforehand in every way that
//! does not depend on what stands around it ([`spell`]), and all spellings are searched at once ([`search`]): exactly,
//! and loosely in the text's letters and digits alone, folded to one case with digits that stand for letters.
//!
//! Invariant: values and spellings are wiped when this is dropped, and nothing prints them.

mod lines;
mod loose;
mod search;
mod spell;

use crate::scan::{
    Severity,
    finding::{CANARY, Finding, KNOWN_SECRET, Place, Shown, Steps},
};
use loose::Loose;
use search::Search;
use std::{fmt, ops::Range, sync::Arc};
use zeroize::Zeroizing;

pub(super) use spell::{ASCII85, RFC1924, Z85};
pub use spell::{MIN_KNOWN, MIN_LOOSE};

/// What is searched besides the rules. Empty by default.
#[derive(Debug, Default)]
pub struct Known {
    entries: Vec<Entry>,
    /// Exact spellings, and those of four to seven bytes apart: they would slow down the others' search.
    exact: Search,
    short: Search,
    /// Spellings in letters and digits alone, folded.
    loose: Loose,
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

    /// Gives every place where a value stands in `text`, in order of their starts as near as makes no difference.
    pub(super) fn find(&self, text: &[u8], hit: &mut dyn FnMut(&Entry, Range<usize>, Steps)) {
        if self.entries.is_empty() {
            return;
        }
        let mut tell = |entry: usize, span: Range<usize>, steps: Steps| {
            if let Some(entry) = self.entries.get(entry) {
                hit(entry, span, steps);
            }
        };
        self.exact.find(text, &mut tell);
        self.short.find(text, &mut tell);
        self.loose.find(text, &mut tell);
    }
}

/// One value.
pub(super) struct Entry {
    name: Arc<str>,
    canary: bool,
    shown: Shown,
}

impl Entry {
    pub(super) fn finding(&self, span: Option<Range<u64>>, through: Steps) -> Finding {
        Finding {
            rule: if self.canary { CANARY } else { KNOWN_SECRET },
            severity: Severity::Critical,
            place: Place::Body,
            shown: self.shown,
            name: Some(Arc::clone(&self.name)),
            span,
            through,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).field("canary", &self.canary).finish_non_exhaustive()
    }
}

/// Collects values for a [`Known`].
#[derive(Default)]
pub struct Builder {
    entries: Vec<(Entry, Zeroizing<Vec<u8>>)>,
}

impl Builder {
    /// A value that must not leave, by the name under which a finding tells it. One of less than [`MIN_KNOWN`] bytes is
    /// not searched.
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
            let entry = Entry { name, canary, shown: Shown::of(value) };
            self.entries.push((entry, Zeroizing::new(value.to_vec())));
        }
        self
    }

    #[must_use]
    pub fn build(self) -> Known {
        let mut known = Known::default();
        let (mut exact, mut short, mut loose) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (entry, value)) in self.entries.into_iter().enumerate() {
            spell::exact(&value, &mut |bytes, steps| {
                let group = if bytes.len() < search::MIN_PATTERN { &mut short } else { &mut exact };
                group.push((bytes, index, steps));
            });
            spell::loose(&value, &mut |bytes, steps| loose.push((bytes, index, steps)));
            known.entries.push(entry);
        }
        known.exact = Search::new(exact);
        known.short = Search::new(short);
        known.loose = Loose::new(loose);
        known
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(entry, _)| entry)).finish()
    }
}
