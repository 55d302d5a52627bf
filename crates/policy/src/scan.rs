//! What must not leave, found in bytes: the rules' detectors and the values known beforehand, in plain and in whatever
//! they are hidden in.
//!
//! [`Scanner::piece`] and [`Scanner::request_head`] look at short texts that are there as a whole, [`Scanner::stream`] at
//! bodies and messages as they pass. docs/scan.md says what is seen through and how far.
//!
//! Invariant: sans-I/O; bounded memory ([`Stream`]) and bounded work per byte on any input; no panic. What a sender says
//! about the form of a text only ever adds ways to look at it: the raw bytes are always searched.

mod checksum;
mod decode;
pub mod detect;
mod entropy;
mod filter;
pub mod finding;
mod identity;
pub mod known;
mod look;
mod normalise;
mod parts;
mod published;
pub mod rules;
mod shape;
mod stream;
mod unnamed;
mod whole;

pub(crate) use decode::escapes::unescape;
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
    /// What a control run does not see through: the evasions of that kind must then be missed.
    #[cfg(test)]
    blind: Option<Step>,
}

impl Scanner {
    #[must_use]
    pub fn new(known: Known) -> Scanner {
        Scanner {
            detectors: Detectors::shared(),
            known,
            #[cfg(test)]
            blind: None,
        }
    }

    /// A text that is there as a whole: a header, a file name, a message.
    #[must_use]
    pub fn piece(&self, place: Place, bytes: &[u8]) -> Vec<Finding> {
        whole::piece(self, &place, bytes)
    }

    /// All of a request but its body: each part, and what is split over several of them.
    #[must_use]
    pub fn request_head<'a>(
        &self,
        host: &str,
        path_and_query: &str,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<Finding> {
        whole::request_head(self, host, path_and_query, headers)
    }

    /// For a body, or for one direction of a WebSocket.
    #[must_use]
    pub fn stream(self: &Arc<Self>, shape: Shape) -> Stream {
        Stream::new(Arc::clone(self), &shape)
    }

    #[cfg(test)]
    fn is_blind(&self, step: Step) -> bool {
        self.blind == Some(step)
    }

    #[cfg(not(test))]
    #[inline(always)]
    fn is_blind(&self, _: Step) -> bool {
        false
    }

    /// What stands in `text` plainly, by rules and by what is known; by rules that only guess where `guesses`.
    fn plain(
        &self,
        text: &[u8],
        settled: usize,
        last: bool,
        guesses: bool,
        steps: Steps,
        found: &mut dyn FnMut(Finding, std::ops::Range<usize>),
    ) {
        self.detectors.search(text, settled, last, guesses, &mut |hit| {
            let finding = Finding {
                rule: hit.rule.id,
                severity: hit.rule.severity,
                place: Place::Body,
                shown: Shown::of(text.get(hit.span.clone()).unwrap_or_default()),
                name: None,
                span: None,
                through: steps,
            };
            found(finding, hit.span);
        });
        self.known.find(text, &mut |entry, span, through| {
            if (last || span.end < settled) && !through.iter().any(|step| self.is_blind(step)) {
                found(entry.finding(None, through.iter().fold(steps, Steps::then)), span);
            }
        });
    }
}
