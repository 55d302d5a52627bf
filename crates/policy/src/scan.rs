//! What must not leave, found in bytes: the rules' detectors and the values known beforehand, in plain and in whatever
//! they are hidden in.
//!
//! [`Scanner::piece`] and [`Scanner::request_head`] look at short texts that are there as a whole, [`Scanner::stream`] at
//! bodies and messages as they pass. docs/scan.md says what is seen through and how far.
//!
//! Invariant: sans-I/O; bounded memory ([`Stream`]) and bounded work per byte on any input; no panic. What a sender says
//! about the form of a text only ever adds ways to look at it: the raw bytes are always searched.

mod checksum;
pub mod detect;
mod entropy;
mod filter;
pub mod finding;
mod identity;
pub mod known;
pub mod rules;
mod shape;
mod stream;
mod unnamed;

pub use detect::{Detectors, Hit, MAX_MATCH};
pub use finding::{CANARY, Finding, KNOWN_SECRET, Place, RuleId, Shown, Step, Steps, TOO_DEEP};
pub use known::Known;
pub use rules::{Rule, Severity};
pub use shape::Shape;
pub use stream::Stream;

use std::sync::Arc;

/// The rules' detectors and what is known of one bottle. Immutable; shared by all that is scanned for it.
#[derive(Debug)]
pub struct Scanner {
    detectors: &'static Detectors,
    known: Known,
}

impl Scanner {
    #[must_use]
    pub fn new(known: Known) -> Scanner {
        Scanner { detectors: Detectors::shared(), known }
    }

    /// A text that is there as a whole: a header, a file name, a message.
    #[must_use]
    pub fn piece(&self, place: Place, bytes: &[u8]) -> Vec<Finding> {
        let mut found = Vec::new();
        self.raw(bytes, bytes.len(), true, 0, &mut |mut finding| {
            finding.place = place.clone();
            found.push(finding);
        });
        found
    }

    /// All of a request but its body: each part, and what is split over several of them.
    #[must_use]
    pub fn request_head<'a>(
        &self,
        host: &str,
        path_and_query: &str,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<Finding> {
        let mut found = self.piece(Place::Host, host.as_bytes());
        found.extend(self.piece(Place::Target, path_and_query.as_bytes()));
        for (name, value) in headers {
            found.extend(self.piece(Place::header(name), value));
        }
        found
    }

    /// For a body, or for one direction of a WebSocket.
    #[must_use]
    pub fn stream(self: &Arc<Self>, shape: Shape) -> Stream {
        Stream::new(Arc::clone(self), shape)
    }

    /// What stands in `text` plainly; `base` is where it begins.
    fn raw(&self, text: &[u8], settled: usize, last: bool, base: u64, found: &mut dyn FnMut(Finding)) {
        let at = |offset: usize| base.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX));
        self.detectors.find(text, settled, last, &mut |hit| {
            found(Finding {
                rule: hit.rule.id,
                severity: hit.rule.severity,
                place: Place::Body,
                shown: Shown::of(text.get(hit.span.clone()).unwrap_or_default()),
                name: None,
                span: Some(at(hit.span.start)..at(hit.span.end)),
                through: Steps::default(),
            });
        });
        self.known.find(text, &mut |entry, span| {
            if last || span.end < settled {
                found(entry.finding(Some(at(span.start)..at(span.end))));
            }
        });
    }
}
